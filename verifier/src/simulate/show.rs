//! How a script shows what Serin did.

use jiff::Timestamp;
use rollout::{Finished, GitOutcome, State, Weight};

/// Columns of a line of output.
const WIDTH: usize = 100;

/// Columns before the text of a line.
const MARGIN: usize = 9;

/// `12:04  text`, wrapped.
pub(super) fn line(since: Timestamp, now: Timestamp, text: &str) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let clock = if 0 < hours {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    };
    wrapped(&format!("{clock:>7}  "), text)
}

/// Something that changed in the world.
pub(super) fn effect(what: &str, text: &str) -> String {
    wrapped(&format!("{:MARGIN$}{what:<8} ", ""), text)
}

pub(super) fn traffic(weight: Weight) -> String {
    effect("traffic", &format!("canary {weight}, stable {}", weight.rest()))
}

pub(super) fn git(outcome: &GitOutcome) -> Option<String> {
    match outcome {
        GitOutcome::Pushed { revision, subject } => {
            Some(effect("git", &format!("{} {subject} pushed to main", revision.short())))
        }
        GitOutcome::Branch { name, .. } => {
            Some(effect("git", &format!("branch {name} waits for a person")))
        }
        GitOutcome::AlreadyDone { .. }
        | GitOutcome::Conflict { .. }
        | GitOutcome::NotWritten { .. } => None,
    }
}

pub(super) fn told(channels: &[String], text: &str) -> String {
    effect("tell", &format!("{}: {text}", channels.join(", ")))
}

pub(super) fn told_of_end(channels: &[String], end: &Finished) -> String {
    let failures = match end.canary_failures {
        0 => String::new(),
        1 => "; the canary failed 1 request".to_owned(),
        n => format!("; the canary failed {n} requests"),
    };
    told(channels, &format!("\"{}\" {}{failures}", end.commit.subject, end.outcome.words()))
}

pub(super) fn told_to_decide(channels: &[String], so_far: &Finished, ask: &str) -> String {
    told(channels, &format!("\"{}\" waits for you: {ask}", so_far.commit.subject))
}

pub(super) fn told_of_trouble(channels: &[String], so_far: &Finished) -> String {
    let subject = &so_far.commit.subject;
    told(
        channels,
        &format!("undoing \"{subject}\" takes longer than it should; it is tried until it works"),
    )
}

/// What a service does now, one line for each check.
pub(super) fn status(state: &State) -> Vec<String> {
    let Some(live) = &state.live else {
        let serves = state.stable.as_ref().map_or_else(
            || "nothing serves yet".to_owned(),
            |stable| {
                format!("{} \"{}\" serves all traffic", stable.revision.short(), stable.subject)
            },
        );
        let hold = state.hold.iter().map(|hold| format!("waits for a person: {}", hold.why));
        return std::iter::once(serves).chain(hold).collect();
    };
    let paused =
        live.paused.as_ref().map_or_else(String::new, |pause| format!(", paused by {}", pause.by));
    let first = format!(
        "{} \"{}\" is {}, {} of traffic{paused}",
        live.deployment.canary.revision().short(),
        live.deployment.canary.commit.subject,
        live.phase.words(),
        live.shift.weight,
    );
    let findings = live.verdict.iter().flat_map(|verdict| &verdict.findings);
    let findings = findings.map(|finding| format!("{}: {}", finding.check, finding.sentence));
    std::iter::once(first).chain(findings).collect()
}

/// Breaks at blanks; what follows the first line stands below its text.
fn wrapped(head: &str, text: &str) -> String {
    let indent = head.chars().count();
    let mut out = head.to_owned();
    let mut column = indent;
    for (index, word) in text.split_whitespace().enumerate() {
        let width = word.chars().count();
        if index > 0 {
            if column + 1 + width > WIDTH {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else {
                out.push(' ');
                column += 1;
            }
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
    out
}
