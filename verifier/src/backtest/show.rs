//! A report as tables for people.

use super::report::{Answer, Found, Injected, NoData, PastDeployment, Quiet, Rate, Report, Spread};

/// The report in plain text, within some 110 columns but for the engine's sentences.
pub fn table(report: &Report) -> String {
    let mut out = format!(
        "backtest of {}, {} to {}, every {}\n",
        report.service,
        report.from,
        report.to,
        time(report.step_seconds)
    );
    out += "\nversions\n";
    for version in &report.versions {
        let instances = counted(version.instances, "instance");
        out += &format!(
            "  {:<12}  {} to {}  {instances}\n",
            short(&version.version),
            version.from,
            version.to
        );
    }
    out += "\npast deployments\n";
    if report.deployments.is_empty() {
        out += "  none: never did two versions have data at the same time\n";
    }
    for past in &report.deployments {
        out += &deployment(past);
    }
    out += &match &report.quiet {
        Some(quiet) => shown(quiet, report.false_alarm),
        None => "\nquiet periods\n  none: never did one version have data alone for ten scrapes\n"
            .to_owned(),
    };
    if !report.notes.is_empty() {
        out += "\nnotes\n";
        for note in &report.notes {
            out += &format!("  {note}\n");
        }
    }
    out
}

fn deployment(past: &PastDeployment) -> String {
    let allowed = percent(past.allowed);
    let answer = match (past.answer, past.seconds) {
        (Answer::Fail, Some(seconds)) => format!("fail after {}", time(seconds)),
        (Answer::Fail, None) => "fail".to_owned(),
        (Answer::Hold, _) => "held for a person".to_owned(),
        (Answer::Pass, _) => format!("pass up to {allowed}"),
        (Answer::Undecided, _) => format!("undecided, {allowed} allowed"),
    };
    let mut out = format!(
        "  {}  {} against {}: {answer}, {} canary requests\n    {}\n",
        past.from,
        short(&past.canary),
        short(&past.baseline),
        number(past.canary_requests),
        past.reason
    );
    for gap in &past.no_data {
        let NoData { check, without, of } = gap;
        out += &if without >= of {
            format!("    {check}: no data at any time\n")
        } else {
            format!("    {check}: no data for {} of {}\n", time(*without), time(*of))
        };
    }
    if past.guessed {
        out += "    both were there from the start: the one with fewer requests is taken for the canary\n";
    }
    out
}

fn shown(quiet: &Quiet, false_alarm: f64) -> String {
    let mut out = format!(
        "\nquiet periods: {} in {}, tried as {} of up to {}, {} each\n",
        time(quiet.seconds),
        counted(quiet.periods, "period"),
        counted(quiet.windows, "window"),
        time(quiet.window_seconds),
        counted(usize::try_from(quiet.splits).unwrap_or(usize::MAX), "split")
    );
    out += &format!(
        "  some of stable's own instances play the canary, with {} of its requests\n",
        percent(quiet.canary_share)
    );
    if 0 < quiet.by_requests {
        out += &format!(
            "  {} had one instance only: its requests were split at random, so that pods could not be tested\n",
            counted(quiet.by_requests, "window")
        );
    }
    out += &format!(
        "\n  nothing is wrong      trials\n  false reverts         {}, the policy allows {}\n",
        rate(quiet.false_reverts),
        percent(false_alarm)
    );
    out += &format!("  held for a person     {}\n", rate(quiet.held));
    out += &format!("  first step allowed    {}\n", rate(quiet.first_step));
    for NoData { check, without, of } in &quiet.no_data {
        out += &format!("  {check}: no data in {without} of {of} trials\n");
    }
    if !quiet.injected.is_empty() {
        out += &format!(
            "\n  {:<10}  {:<38}  {:<17}  {}\n",
            "injected", "caught", "seconds", "canary requests"
        );
        out += &format!("  {:<10}  {:<38}  {:<17}  median, p95\n", "", "", "median, p95");
        for injected in &quiet.injected {
            out += &line(injected);
        }
    }
    out
}

fn line(injected: &Injected) -> String {
    let Injected { what, found, note } = injected;
    let note = note.as_deref().unwrap_or_default();
    match found {
        None => format!("  {what:<10}  not tried: {note}\n"),
        Some(Found { caught, seconds, requests }) => {
            let tail = if note.is_empty() { String::new() } else { format!("  ({note})") };
            let (caught, seconds, requests) = (rate(*caught), spread(*seconds), spread(*requests));
            format!("  {what:<10}  {caught:<38}  {seconds:<17}  {requests}{tail}\n")
        }
    }
}

fn rate(rate: Rate) -> String {
    format!(
        "{} ({} of {}, 95 %: {} to {})",
        percent(rate.share()),
        number(rate.count),
        number(rate.of),
        percent(rate.lower),
        percent(rate.upper)
    )
}

fn spread(spread: Spread) -> String {
    let one = |value: Option<f64>| value.map_or_else(|| "not".to_owned(), |v| format!("{v:.0}"));
    format!("{}, {}", one(spread.median), one(spread.p95))
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = usize::from(0.0 < percent && percent < 10.0);
    format!("{percent:.digits$} %")
}

fn time(seconds: f64) -> String {
    let rounded = std::time::Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
    let whole = rounded.as_secs();
    let (hours, minutes, left) = (whole / 3_600, whole / 60 % 60, whole % 60);
    if whole < 60 {
        return format!("{} s", (seconds * 10.0).round() / 10.0);
    }
    let parts = [(hours, "h"), (minutes, "min"), (left, "s")];
    let shown = parts.iter().filter(|(n, _)| 0 < *n).map(|(n, unit)| format!("{n} {unit}"));
    shown.collect::<Vec<_>>().join(" ")
}

fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Enough of a version to know it by.
fn short(version: &str) -> String {
    version.chars().take(12).collect()
}
