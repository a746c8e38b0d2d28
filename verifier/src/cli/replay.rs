//! `serin replay`: a finished deployment's evidence bundle, offline, to the same verdict bit for bit.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use rollout::Weight;

use super::{Exit, complain, findings, print};
use crate::bundle::{self, Heard, Replayed};

/// What is replayed.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The bundle, as `serin explain DEPLOYMENT --bundle FILE` writes it
    bundle: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Replays; exits 0 for the same verdict, 1 for another one, 2 for what is no bundle.
pub(super) fn run(options: &Options) -> Exit {
    let name = options.bundle.display();
    let file = match File::open(&options.bundle) {
        Ok(file) => file,
        Err(error) => {
            complain(&format!(
                "failed to read {name}: {error}\nhint: write a bundle with `serin explain DEPLOYMENT --bundle FILE`"
            ));
            return Exit::WrongInput;
        }
    };
    let json = options.json;
    let hear =
        |heard: Heard<'_>| print(&if json { heard_json(&heard) } else { heard_text(&heard) });
    match bundle::replay(BufReader::new(file), hear) {
        Ok(replayed) => {
            print(&if json { end_json(&replayed) } else { end_text(&replayed) });
            if replayed.is_same() { Exit::Done } else { Exit::Failed }
        }
        Err(problems) => {
            for problem in problems {
                complain(&format!("{name}: {problem}"));
            }
            Exit::WrongInput
        }
    }
}

fn heard_json(heard: &Heard<'_>) -> String {
    let text = match heard {
        Heard::Header(header) => serde_json::json!({
            "deployment": header.deployment,
            "service": header.service,
            "canary": header.canary,
            "subject": header.subject,
            "stable": header.stable,
            "began": header.began,
            "outcome": header.outcome,
            "reason": header.reason,
        }),
        Heard::Verdict { at, asks, verdict } => {
            serde_json::json!({ "at": at, "weight": asks, "verdict": verdict })
        }
    };
    text.to_string()
}

fn heard_text(heard: &Heard<'_>) -> String {
    match heard {
        Heard::Header(header) => {
            let ended = match (&header.outcome, &header.reason) {
                (Some(outcome), Some(reason)) => format!("{outcome}: {reason}"),
                (_, _) => "not over yet".to_owned(),
            };
            format!(
                "{}: \"{}\" of {}, {} over {}\n{ended}\n\nwhat the evidence said",
                header.deployment,
                header.subject,
                header.service,
                short(&header.canary),
                short(&header.stable)
            )
        }
        Heard::Verdict { at, asks, verdict } => format!(
            "  {at}  for {}: {}: {}",
            Weight::from_share(*asks),
            findings::word(verdict.outcome),
            verdict.suspicion.as_ref().unwrap_or(&verdict.reason)
        ),
    }
}

/// The first digits of a commit.
fn short(revision: &str) -> &str {
    revision.get(..7).unwrap_or(revision)
}

fn end_json(replayed: &Replayed) -> String {
    let text = serde_json::json!({
        "scrapes": replayed.scrapes,
        "leftOut": replayed.header.left_out,
        "same": replayed.is_same(),
        "intact": replayed.intact,
        "difference": replayed.difference,
        "verdict": replayed.verdict,
    });
    text.to_string()
}

fn end_text(replayed: &Replayed) -> String {
    let mut lines = Vec::new();
    match &replayed.verdict {
        Some(verdict) => {
            lines.push(format!("\n{}: {}", findings::word(verdict.outcome), verdict.reason));
            lines.push("\nevidence".to_owned());
            lines.extend(findings::lines(verdict));
        }
        None => lines.push("\nno verdict in the end".to_owned()),
    }
    let left_out = match replayed.header.left_out {
        0 => String::new(),
        count => format!(", {count} impossible observations had been left out"),
    };
    lines.push(format!("\n{} scrapes replayed{left_out}", replayed.scrapes));
    if !replayed.intact {
        lines.push(
            "the observations are not those that were recorded: their checksum differs".to_owned(),
        );
    }
    lines.push(match &replayed.difference {
        None => "the same verdict as recorded, bit for bit".to_owned(),
        Some(other) => format!(
            "not the verdict that was recorded: {} was {} and is {} here; the file was changed, or another version of Serin recorded it",
            other.at,
            cut(&other.recorded),
            cut(&other.replayed)
        ),
    });
    lines.join("\n")
}

/// The beginning of what may be a whole verdict; numbers are shorter.
fn cut(text: &str) -> String {
    const MOST: usize = 60;
    if text == "null" {
        return "nothing".to_owned();
    }
    let shown: String = text.chars().take(MOST).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests;
