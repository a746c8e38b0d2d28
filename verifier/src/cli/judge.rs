//! `serin judge`: the engine on any data. Observations come in as lines of JSON, a verdict goes out
//! after each scrape, and the exit code says what it came to: for load tests, notebooks and doubts.
//!
//! Counts, histograms with bounds or with exponential buckets, and gauges are read; a line may come late.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use analysis::text::Reader;
use analysis::{Assessment, History, Outcome, Scrape, Settings, Verdict};
use clap::Args;
use rollout::{Policy, Weight};

use super::{Exit, colourful, complain, findings};
use crate::config::{self, Colour};

/// What judges, and about what.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The policy whose checks and tolerances judge
    #[arg(long)]
    policy: PathBuf,
    /// Which one, if the file holds several
    #[arg(long)]
    service: Option<String>,
    /// The weight that asks for permission, in per cent
    #[arg(long, default_value_t = 100.0, value_parser = percent)]
    weight: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Judges standard input; exits 0 if the weight is allowed at the end, 1 if the canary fails, 3 if
/// nothing is proven, 2 for a wrong input.
pub(super) fn run(options: &Options) -> Exit {
    let settings = match settings(&options.policy, options.service.as_deref()) {
        Ok(settings) => settings,
        Err(problem) => {
            complain(&problem);
            return Exit::WrongInput;
        }
    };
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    match judge(&settings, options, input, &mut output) {
        Ok(outcome) => match outcome {
            Outcome::Pass => Exit::Done,
            Outcome::Fail => Exit::Failed,
            Outcome::Undecided | Outcome::Inconclusive => Exit::Inconclusive,
        },
        Err(problem) => {
            complain(&problem);
            Exit::WrongInput
        }
    }
}

fn judge(
    settings: &Settings,
    options: &Options,
    input: impl BufRead,
    output: &mut impl Write,
) -> Result<Outcome, String> {
    let next = Weight::from_share(options.weight / 100.0).share();
    let mut assessment = Assessment::new(settings, &History::default());
    let mut last: Option<Verdict> = None;
    // A note is said when it first holds, not after each scrape.
    let mut noted: BTreeSet<String> = BTreeSet::new();
    let mut take = |scrape: &Scrape, output: &mut dyn Write| {
        assessment.observe(settings, scrape);
        let verdict = assessment.verdict(settings, next);
        let mut text = shown(scrape, &verdict, options.json);
        if !options.json {
            let new =
                findings::notes(&verdict).into_iter().filter(|note| noted.insert(note.clone()));
            text.extend(new.map(|note| format!("\n  note: {note}")));
        }
        last = Some(verdict);
        // A reader that has gone away has seen what it wanted.
        writeln!(output, "{text}").is_ok()
    };
    let mut reader = Reader::default();
    for line in input.split(b'\n') {
        let line = line.map_err(|error| format!("failed to read standard input: {error}"))?;
        if let Some(scrape) = reader.line(&line).map_err(|error| error.to_string())?
            && !take(&scrape, output)
        {
            break;
        }
    }
    if let Some(scrape) = reader.finish() {
        take(&scrape, output);
    }
    let Some(last) = last else { return Ok(Outcome::Undecided) };
    if !options.json {
        for finding in &last.findings {
            for line in findings::quantiles(finding) {
                // As above.
                let _ = writeln!(output, "  {} {line}", finding.check);
            }
        }
    }
    Ok(last.outcome)
}

fn shown(scrape: &Scrape, verdict: &Verdict, json: bool) -> String {
    if json {
        return serde_json::json!({ "at": scrape.at, "verdict": verdict }).to_string();
    }
    let word = findings::word(verdict.outcome);
    format!("{}  {word}: {}", scrape.at, verdict.reason)
}

/// The checks of one policy of a file.
fn settings(file: &Path, service: Option<&str>) -> Result<Settings, String> {
    policy(file, service).map(|policy| policy.analysis)
}

/// One policy of a file.
pub(super) fn policy(file: &Path, service: Option<&str>) -> Result<Policy, String> {
    let text = std::fs::read(file)
        .map_err(|error| format!("failed to read {}: {error}", file.display()))?;
    let colour = if colourful() { Colour::Always } else { Colour::Never };
    let policies = config::policies(&file.display().to_string(), &text)
        .map_err(|problems| config::render_problems(&problems, colour))?;
    let known = policies.iter().map(|p| p.name.clone()).collect::<Vec<_>>().join(", ");
    let mut wanted = policies.into_iter().filter(|p| service.is_none_or(|name| p.name == name));
    match (wanted.next(), wanted.next()) {
        (Some(policy), None) => Ok(policy),
        (Some(_), Some(_)) => Err(format!(
            "{} holds several policies\nhint: choose with --service: {known}",
            file.display()
        )),
        (None, _) => {
            Err(format!("{} holds no such policy\nhint: it holds: {known}", file.display()))
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if 0.0 < percent && percent <= 100.0 => Ok(percent),
        Ok(_) | Err(_) => Err("write a weight above 0 and at most 100, e.g. 25".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &str, json: bool) -> (Result<Outcome, String>, String) {
        let policy = b"apiVersion: serin.dev/v1\nkind: CanaryPolicy\nmetadata: { name: shop }\nspec:\n  paths: [a]\n  target: { process: { command: a } }\n  checks: [errors]\n";
        let settings = config::policies("policy", policy).unwrap().remove(0).analysis;
        let options = Options { policy: PathBuf::new(), service: None, weight: 10.0, json };
        let mut output = Vec::new();
        let outcome = judge(&settings, &options, lines.as_bytes(), &mut output);
        (outcome, String::from_utf8(output).unwrap())
    }

    fn scrape(second: u32, canary: u32, of: u32) -> String {
        format!(
            "{{\"t\": {second}, \"arm\": \"canary\", \"instance\": \"c\", \"check\": \"errors\", \"events\": {canary}, \"of\": {of}}}\n{{\"t\": {second}, \"arm\": \"baseline\", \"instance\": \"b\", \"check\": \"errors\", \"events\": 9, \"of\": 8812}}\n"
        )
    }

    #[test]
    fn a_verdict_follows_each_scrape_and_the_last_one_counts() {
        let (outcome, output) = judged(&(scrape(5, 0, 10) + &scrape(10, 12, 389)), false);
        assert_eq!(outcome, Ok(Outcome::Fail));
        insta::assert_snapshot!(output, @"
        1970-01-01T00:00:05Z  undecided: errors: 0 % of canary requests failed (0 of 10) against 0.1 % of stable's (9 of 8,812); tolerated is 1.25 x + 0.1 %; evidence -0.1 of 4.6 needed; about 520 more canary requests until 10 % is allowed
        1970-01-01T00:00:10Z  fail: errors: 3 % of canary requests failed (12 of 399) against 0.1 % of stable's (18 of 17,624); tolerated is 1.25 x + 0.1 %; evidence 15.0 of 4.6 needed
        ");
        let (outcome, output) = judged(&scrape(5, 1, 9000), true);
        assert_eq!(outcome, Ok(Outcome::Pass));
        let line: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!(line["verdict"]["outcome"], "pass");
        assert_eq!(judged("", false), (Ok(Outcome::Undecided), String::new()));
    }

    #[test]
    fn every_kind_of_line_is_judged_and_quantiles_come_last() {
        let policy = b"apiVersion: serin.dev/v1\nkind: CanaryPolicy\nmetadata: { name: shop }\nspec:\n  paths: [a]\n  target: { process: { command: a } }\n  checks: [latency, { name: memory, gauge: { metric: process_resident_memory_bytes } }]\n  metrics: scrape\n  warmUp: 0s\n";
        let settings = config::policies("policy", policy).unwrap().remove(0).analysis;
        let mut lines = String::new();
        for second in [1, 3, 2, 4] {
            for (arm, count, memory) in [("canary", 400, 2e8), ("baseline", 4000, 1e8)] {
                lines += &format!(
                    "{{\"t\": {second}, \"arm\": \"{arm}\", \"instance\": \"{arm}\", \"check\": \"latency\", \"scale\": 2, \"first\": -20, \"zero\": 1, \"counts\": [{count}, {count}, {}, 3]}}\n{{\"t\": {second}, \"arm\": \"{arm}\", \"instance\": \"{arm}\", \"check\": \"memory\", \"value\": {memory}}}\n",
                    count / 10
                );
            }
        }
        let options = Options { policy: PathBuf::new(), service: None, weight: 1.0, json: false };
        let mut output = Vec::new();
        let outcome = judge(&settings, &options, lines.as_bytes(), &mut output);
        assert_eq!(outcome, Ok(Outcome::Pass));
        insta::assert_snapshot!(String::from_utf8(output).unwrap(), @"
        1970-01-01T00:00:01Z  undecided: latency: no scrape with requests of both arms yet
        1970-01-01T00:00:03Z  pass: 1 % is allowed: 844 canary requests show that it harms less than the budget (0.1 % of all requests failing or 1 % slower); the evidence carries up to 100 %
        1970-01-01T00:00:02Z  pass: 1 % is allowed: 1,688 canary requests show that it harms less than the budget (0.1 % of all requests failing or 1 % slower); the evidence carries up to 100 %
        1970-01-01T00:00:04Z  pass: 1 % is allowed: 2,532 canary requests show that it harms less than the budget (0.1 % of all requests failing or 1 % slower); the evidence carries up to 100 %
          latency p50: canary 31.6 ms (26.3 ms to 37.2 ms), stable 31.5 ms (31.2 ms to 37.2 ms)
          latency p95: canary 37.3 ms (31.2 ms to 44.2 ms), stable 37.1 ms (31.2 ms to 44.2 ms)
          latency p99: canary 43.2 ms (37.2 ms to 44.2 ms), stable 42.8 ms (37.2 ms to 44.2 ms)
        ");
    }

    fn of_checks(checks: &str, lines: &str) -> (Result<Outcome, String>, String) {
        let policy = format!(
            "metadata: {{ name: shop }}\nspec:\n  paths: [a]\n  target: {{ process: {{ command: a }} }}\n  warmUp: 0s\n  checks: {checks}\n"
        );
        let settings = config::policies("policy", policy.as_bytes()).unwrap().remove(0).analysis;
        let options = Options { policy: PathBuf::new(), service: None, weight: 10.0, json: false };
        let mut output = Vec::new();
        let outcome = judge(&settings, &options, lines.as_bytes(), &mut output);
        (outcome, String::from_utf8(output).unwrap())
    }

    #[test]
    fn restarts_fail_a_canary_and_the_judge_of_kayenta_waits_for_its_fifty_scrapes() {
        let line = |second: u32, arm: &str, check: &str, events: u32, of: u32| {
            format!(
                "{{\"t\": {second}, \"arm\": \"{arm}\", \"instance\": \"{arm}\", \"check\": \"{check}\", \"events\": {events}, \"of\": {of}}}\n"
            )
        };
        let mut lines = String::new();
        for second in 1..=8 {
            lines += &line(second, "canary", "restarts", 1, 60);
            lines += &line(second, "baseline", "restarts", 0, 600);
        }
        let (outcome, output) = of_checks("[errors, restarts]", &lines);
        assert_eq!(outcome, Ok(Outcome::Fail), "{output}");
        insta::assert_snapshot!(output.lines().last().unwrap(), @"1970-01-01T00:00:08Z  fail: restarts: the canary restarted 8 times in 8 min of running against 0 times in 80 min of stable's; tolerated is 2 x as often; evidence 11.7 of 4.6 needed");

        let judged = |scrapes: u32| {
            let lines: String = (1..=scrapes)
                .map(|second| {
                    let noise = second * 7 % 5;
                    line(second, "canary", "errors", 40 + noise, 100)
                        + &line(second, "baseline", "errors", noise, 1_000)
                })
                .collect();
            let checks = "[{ errors: { judge: kayenta, kayenta: { direction: increase, critical: true } } }]";
            of_checks(checks, &lines)
        };
        let (outcome, output) = judged(49);
        assert_eq!(outcome, Ok(Outcome::Undecided), "{output}");
        let (outcome, output) = judged(50);
        assert_eq!(outcome, Ok(Outcome::Fail), "{output}");
        insta::assert_snapshot!(output.lines().skip(48).collect::<Vec<_>>().join("\n"), @"
        1970-01-01T00:00:49Z  undecided: errors: Kayenta's judge needs 1 more scrapes of both arms
        1970-01-01T00:00:50Z  fail: errors: canary is higher than baseline: difference 0.418 (98 % interval 0.41 to 0.426), mean 210 times the baseline's; Kayenta's judge, without a bound on false alarms
        ");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let (outcome, _) = judged("{\"t\": 5}\n", false);
        assert!(outcome.unwrap_err().starts_with("line 1: "));
    }
}
