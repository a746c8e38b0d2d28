//! `serin explain`: a deployment's story, and its evidence as a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use analysis::Verdict;
use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::remote::{ask, encoded, failed, text};
use super::{Exit, Server, colourful, complain, findings, print, width};
use crate::cause::{self, Cause};

/// Longest wait for a bundle, which may have some ten megabytes.
const PATIENCE: Duration = Duration::from_mins(2);

/// What is explained.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The deployment's id, e.g. checkout-4f2c1a9-7
    deployment: String,
    /// Write its evidence to this file instead, for `serin replay`
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// Tells a deployment's story, or writes its bundle.
pub(super) async fn run(options: &Options) -> Exit {
    let Options { deployment, bundle, server } = options;
    let path = format!("/api/v1/deployments/{}", encoded(deployment));
    if let Some(file) = bundle {
        return write(server, &format!("{path}/bundle"), file).await;
    }
    match ask(server, Method::GET, &path, None).await {
        Ok(story) if server.json => print(&story.to_string()),
        Ok(story) => print(&told(&story, width(), colourful())),
        Err(error) => return failed(&error),
    }
    Exit::Done
}

async fn write(server: &Server, path: &str, file: &Path) -> Exit {
    let bundle = match text(server, path, PATIENCE).await {
        Ok(bundle) => bundle,
        Err(error) => return failed(&error),
    };
    let name = file.display().to_string();
    if let Err(error) = tokio::fs::write(file, &bundle).await {
        complain(&format!(
            "failed to write {name}: {error}; name a file in a folder that you may write to"
        ));
        return Exit::WrongInput;
    }
    if server.json {
        print(&serde_json::json!({ "file": name, "bytes": bundle.len() }).to_string());
    } else {
        print(&format!(
            "wrote {} bytes of evidence; judge it again with\n  serin replay {name}",
            bundle.len()
        ));
    }
    Exit::Done
}

fn told(story: &Value, width: usize, colour: bool) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut lines = vec![format!(
        "{}: \"{}\" by {}",
        text(&story["id"]),
        text(&story["commit"]["subject"]),
        text(&story["commit"]["author"])
    )];
    let ended = &story["ended"];
    if ended.is_object() {
        lines.push(format!("{}: {}", text(&ended["outcome"]), text(&ended["reason"])));
        if let Some(git) = ended["git"]["sentence"].as_str() {
            lines.push(git.to_owned());
        }
        if let Some(patch) = ended["git"]["patch"].as_str() {
            lines.push(format!("\nwhat a revert would write:\n{patch}"));
        }
    } else if let Some(phase) = story["live"]["phase"].as_str() {
        lines.push(format!("still {phase}"));
    }
    if let Ok(verdict) = serde_json::from_value::<Verdict>(story["verdict"].clone())
        && !verdict.findings.is_empty()
    {
        lines.push("\nevidence".to_owned());
        lines.extend(findings::lines(&verdict));
    }
    match serde_json::from_value::<Cause>(story["cause"].clone()) {
        Ok(cause) => lines.push(format!("\nroot cause\n{}", cause::text(&cause, width, colour))),
        Err(_) => {
            if let Some(why) = ended["cause"].as_str() {
                lines.push(format!("\nroot cause\n  {why}"));
            }
        }
    }
    lines.push("\nwhat happened".to_owned());
    for moment in list(&story["moments"]) {
        lines.push(format!("  {}  {}", text(&moment["at"]), text(&moment["reason"])));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_shows_what_the_evidence_rests_on() {
        let interval = |estimate: f64| serde_json::json!({ "lower": estimate * 0.8, "estimate": estimate, "upper": estimate * 1.5 });
        let verdict = serde_json::json!({
            "outcome": "fail", "log_evidence": 5.2, "log_threshold": 4.605, "allowed": 0.0,
            "breached": false, "suspicion": null, "reason": "latency: slower",
            "findings": [{
                "check": "latency", "status": "fail", "log_evidence": 5.2, "allowed": 0.0,
                "canary": { "events": 40, "of": 400 }, "baseline": { "events": 90, "of": 9_000 },
                "threshold": 0.25, "ratio": null, "needs": null,
                "quantiles": [{ "quantile": 0.99, "canary": interval(0.3), "baseline": interval(0.02) }],
                "notes": ["buckets near 250 ms are coarse: 25 % slower is seen, 10 % is not"],
                "sentence": "10 % of canary requests took longer than 250 ms",
            }],
            "notes": ["12 % of the requests reach the canary, 10 % were to be expected"],
        });
        let story = serde_json::json!({
            "id": "shop-4f2c1a9-2", "commit": { "subject": "Add gift cards", "author": "Ada" },
            "ended": { "outcome": "rolledBack", "reason": "latency: slower", "git": { "sentence": "reverted in Git by 77b1c0d" } },
            "verdict": verdict,
            "moments": [{ "at": "2026-01-01T00:00:00Z", "reason": "starting canary 4f2c1a9" }],
        });
        insta::assert_snapshot!(told(&story, 100, false), @r#"
        shop-4f2c1a9-2: "Add gift cards" by Ada
        rolledBack: latency: slower
        reverted in Git by 77b1c0d

        evidence
          latency         5.2 of 4.6  10 % of canary requests took longer than 250 ms
            p99: canary 300 ms (240 ms to 450 ms), stable 20 ms (16 ms to 30 ms)
            note: buckets near 250 ms are coarse: 25 % slower is seen, 10 % is not
          note: 12 % of the requests reach the canary, 10 % were to be expected

        what happened
          2026-01-01T00:00:00Z  starting canary 4f2c1a9
        "#);
    }
}
