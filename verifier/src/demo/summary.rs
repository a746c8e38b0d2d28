//! What the demo measured, as a table, and where to look next.

use std::path::Path;
use std::time::Duration;

use rollout::{Explained, GitOutcome, Outcome};

use super::RATE;
use super::scenario::Played;
use crate::cli;
use crate::run::Handle;

/// `12.3 s`
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Prints the summary to standard output.
pub(super) fn print(results: &[Played], look: &Look<'_>) {
    cli::print(&text(results, look));
}

/// Where people can look afterwards.
pub(super) enum Look<'a> {
    /// In this folder, and on the page while it stays up.
    Here(&'a Path, &'a Handle),
    /// Nowhere: everything is deleted.
    Nowhere,
}

fn text(results: &[Played], look: &Look<'_>) -> String {
    let mut text = format!(
        "\nAt {RATE} requests per second, first weight 10 %, harm 0.5 %, false alarms 0.1 %:\n\n{:<27} {:<12} {:>8} {:>10} {:>10} {:>12}  git\n",
        "commit", "outcome", "took", "decided", "traffic", "failed"
    );
    for played in results {
        let finished = &played.finished;
        let since = finished.exposed.unwrap_or(finished.began);
        let after =
            |at: jiff::Timestamp| seconds(at.duration_since(since).try_into().unwrap_or_default());
        let back = finished.traffic_back.map_or_else(
            || "-".to_owned(),
            |at| format!("{} ms", at.duration_since(finished.decided).as_millis()),
        );
        let git = match &finished.git {
            Some(GitOutcome::Pushed { revision, .. }) => {
                format!("reverted by {}", revision.short())
            }
            Some(other) => other.sentence(),
            None => "unchanged".to_owned(),
        };
        let verdict = if played.as_it_must() {
            finished.outcome.words().to_owned()
        } else {
            format!("{} (!)", finished.outcome.words())
        };
        text += &format!(
            "{:<27} {:<12} {:>8} {:>10} {:>10} {:>12}  {git}\n",
            played.subject,
            verdict,
            seconds(played.took),
            after(finished.decided),
            back,
            played.canary.failed
        );
    }
    text += "\n  took     from the push to the end, bake and removal included\n  decided  after the canary's first traffic\n  traffic  from the decision until stable was confirmed to serve everything\n  failed   requests that the canary failed, as the senders saw it\n\n";
    for played in results {
        if let Some(exposed) = played.exposed {
            text += &format!(
                "\"{}\": stable served everything again {} after the first failed request of the canary ({} requests failed)\n",
                played.subject,
                seconds(exposed),
                played.canary.failed
            );
        }
    }
    for played in results {
        if let Some(cause) = played.finished.cause.as_ref().and_then(Explained::found) {
            text += &format!("\"{}\": {}\n", played.subject, cause.headline);
        }
    }
    if let Some(last) = results.last() {
        text += &format!("newest commit: {}\n", last.tip);
    }
    text += &match look {
        Look::Here(folder, handle) => {
            let mut finished = results.iter().rev().map(|played| &played.finished);
            let bad = finished.find(|finished| finished.outcome == Outcome::RolledBack);
            let id = bad.map_or("DEPLOYMENT", |finished| finished.id.as_str());
            format!(
                "\nThe reverts, with their evidence:  git -C {} log\nThe page:                          http://{address}\nWhy a version failed (operation, line, commit), on its page or by\n                                   serin explain {id} --server http://{address}\n",
                folder.join("shop.git").display(),
                address = handle.address,
            )
        }
        Look::Nowhere => {
            "\nTo look at the repository, the page and why versions failed (`serin explain`): --dir DIR, and without --once\n"
                .to_owned()
        }
    };
    text
}
