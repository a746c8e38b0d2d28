//! What was found, for people.

use super::look::{Looked, LookedCheck, Threshold};
use crate::cli::findings::seconds;
use crate::cli::table::count;

pub(super) fn told(looked: &Looked) -> String {
    let mut text = format!("{} at {}\n", looked.service, looked.place);
    text += &format!("  {}\n", versions(looked));
    for line in &looked.told {
        text += &format!("  problem: {line}\n");
    }
    for check in &looked.checks {
        text += &of_check(check, looked.is_page);
    }
    text
}

fn versions(looked: &Looked) -> String {
    match (&*looked.versions, looked.is_page) {
        (_, true) => {
            "a page tells of one version; whether both are there shows in a rollout".to_owned()
        }
        ([], false) => "no version has requests".to_owned(),
        ([one], false) => format!(
            "one version has requests: {one}; that is usual between deployments, and a canary's show by the same label"
        ),
        (all, false) => format!("versions with requests: {}", all.join(", ")),
    }
}

fn of_check(check: &LookedCheck, is_page: bool) -> String {
    let mut text = match (&check.problem, &check.metric) {
        (Some(problem), _) => format!("  {}: problem: {problem}\n", check.check),
        (None, Some(metric)) => format!("  {}: {metric}\n", check.check),
        (None, None) => format!("  {}\n", check.check),
    };
    let counted: Vec<String> = (check.counted.iter())
        .filter(|(_, requests)| 0 < **requests)
        .map(|(version, requests)| {
            #[expect(
                clippy::cast_precision_loss,
                reason = "for people; below 2^53 nothing is lost"
            )]
            let requests = count(*requests as f64);
            if version.is_empty() { requests } else { format!("{requests} of {version}") }
        })
        .collect();
    if !counted.is_empty() {
        let newest = check.newest.map_or(String::new(), |at| format!(", the newest at {at}"));
        text += &format!("    counted: {}{newest}\n", counted.join(", "));
    }
    match check.instances {
        0 => {}
        1 if is_page => {}
        1 => {
            text += "    pods: one, or they cannot be told apart by a label `pod` or `instance`\n";
        }
        pods => text += &format!("    pods: {pods} are told apart\n"),
    }
    if !check.strata.is_empty() {
        let shown = check.strata.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        let more = check.strata.len().saturating_sub(8);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text += &format!("    compared by themselves: {shown}{more}\n");
    }
    for at in &check.thresholds {
        text += &format!("    {}\n", threshold(at));
    }
    for warning in &check.warnings {
        text += &format!("    warning: {warning}\n");
    }
    text
}

fn threshold(at: &Threshold) -> String {
    let name = format!("{:.1}", at.quantile * 100.0);
    let name = name.trim_end_matches('0').trim_end_matches('.');
    let ratio = (at.ratio * 100.0).round() / 100.0;
    if at.canary > at.baseline {
        let longer = ((at.canary / at.baseline - 1.0) * 100.0).round();
        format!(
            "p{name}: as many slower than {} ({longer} % longer) as stable's slower than {}, times {ratio} at most",
            seconds(at.canary),
            seconds(at.baseline)
        )
    } else {
        format!(
            "p{name}: {ratio} x as many slower than {} as stable's at most",
            seconds(at.baseline)
        )
    }
}
