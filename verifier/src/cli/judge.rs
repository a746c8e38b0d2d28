//! `serin judge`: the engine on any data. Observations come in as lines of JSON, a verdict goes out
//! after each scrape, and the exit code says what it came to: for load tests, notebooks and doubts.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use analysis::text::Reader;
use analysis::{Assessment, History, Outcome, Scrape, Settings, Verdict};
use clap::Args;
use rollout::Weight;

use super::{Exit, colourful, complain};
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
    let mut outcome = Outcome::Undecided;
    let mut take = |scrape: &Scrape| {
        assessment.observe(settings, scrape);
        let verdict = assessment.verdict(settings, next);
        outcome = verdict.outcome;
        // A reader that has gone away has seen what it wanted.
        writeln!(output, "{}", shown(scrape, &verdict, options.json)).is_ok()
    };
    let mut reader = Reader::default();
    for line in input.split(b'\n') {
        let line = line.map_err(|error| format!("failed to read standard input: {error}"))?;
        if let Some(scrape) = reader.line(&line).map_err(|error| error.to_string())?
            && !take(&scrape)
        {
            return Ok(outcome);
        }
    }
    if let Some(scrape) = reader.finish() {
        take(&scrape);
    }
    Ok(outcome)
}

fn shown(scrape: &Scrape, verdict: &Verdict, json: bool) -> String {
    if json {
        return serde_json::json!({ "at": scrape.at, "verdict": verdict }).to_string();
    }
    let word = match verdict.outcome {
        Outcome::Undecided => "undecided",
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Inconclusive => "inconclusive",
    };
    format!("{}  {word}: {}", scrape.at, verdict.reason)
}

/// The checks of one policy of a file.
fn settings(file: &Path, service: Option<&str>) -> Result<Settings, String> {
    let text = std::fs::read(file)
        .map_err(|error| format!("failed to read {}: {error}", file.display()))?;
    let colour = if colourful() { Colour::Always } else { Colour::Never };
    let policies = config::policies(&file.display().to_string(), &text)
        .map_err(|problems| config::render_problems(&problems, colour))?;
    let known = policies.iter().map(|p| p.name.clone()).collect::<Vec<_>>().join(", ");
    let mut wanted = policies.into_iter().filter(|p| service.is_none_or(|name| p.name == name));
    match (wanted.next(), wanted.next()) {
        (Some(policy), None) => Ok(policy.analysis),
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
        1970-01-01T00:00:10Z  fail: errors: 3 % of canary requests failed (12 of 399) against 0.1 % of stable's (18 of 17,624); tolerated is 1.25 x + 0.1 %; evidence 14.9 of 4.6 needed
        ");
        let (outcome, output) = judged(&scrape(5, 1, 9000), true);
        assert_eq!(outcome, Ok(Outcome::Pass));
        let line: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!(line["verdict"]["outcome"], "pass");
        assert_eq!(judged("", false), (Ok(Outcome::Undecided), String::new()));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let (outcome, _) = judged("{\"t\": 5}\n", false);
        assert!(outcome.unwrap_err().starts_with("line 1: "));
    }
}
