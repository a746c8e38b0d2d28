//! `serin traces compare`: what made a version slower or failing, from two dumps of traces, with no Serin running.
//!
//! The comparison is the one that explains a rollback; here its traces come from files in whatever format a store or
//! a collector writes, and the commits from any clone of the repository.

mod input;
mod range;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use analysis_providers::spans::Refusals;
use analysis_traces::{
    ArmLabel, Arms, EntrySubtree, Refused, RootCause, Settings, Span, Split, compare, entries,
    traces,
};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use self::range::Range;
use super::{Exit, complain, print};
use crate::git::DeployedRange;

/// Services that a message names.
const NAMED: usize = 10;

/// What is done with traces.
#[derive(Debug, Subcommand)]
pub(super) enum Traces {
    /// Say which operation, error, line and commit made the canary worse than the baseline
    ///
    /// Reads OTLP (JSON or Protobuf, also one document a line), Jaeger, Tempo, Zipkin v2 and Datadog JSON, each
    /// also packed with gzip. Times are compared among at least 20 traces of each version; some hundred are good.
    Compare(Options),
}

/// Which traces, of which service, and which commits lie between.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Traces of the version that served before; - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "versions")]
    baseline: Option<PathBuf>,
    /// Traces of the version under suspicion; - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "versions")]
    canary: Option<PathBuf>,
    /// Tell the versions apart by `service.version` or commit instead, also within one file
    #[arg(long, value_name = "OLD,NEW", value_parser = versions)]
    versions: Option<Versions>,
    /// The service that was deployed; without it requests are compared from the first span of each trace
    #[arg(long)]
    service: Option<String>,
    /// A clone of the service's repository
    #[arg(long, value_name = "DIR", requires = "range")]
    repo: Option<PathBuf>,
    /// The commits between both versions, e.g. v1.4..v1.5
    #[arg(long, value_name = "A..B")]
    range: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--versions` names.
#[derive(Debug, Clone)]
struct Versions {
    old: String,
    new: String,
}

fn versions(text: &str) -> Result<Versions, String> {
    match text.split(',').map(str::trim).collect::<Vec<_>>()[..] {
        [old, new] if !old.is_empty() && !new.is_empty() && old != new => {
            Ok(Versions { old: old.to_owned(), new: new.to_owned() })
        }
        _ => Err("write two different versions, the older first, e.g. 1.4.2,1.5.0".to_owned()),
    }
}

/// Compares; exits 0, or 2 when there is nothing that could be compared.
pub(super) fn run(traces: &Traces) -> Exit {
    let Traces::Compare(options) = traces;
    match compared(options) {
        Ok(report) if options.json => match serde_json::to_string_pretty(&report.json()) {
            Ok(text) => {
                print(&text);
                Exit::Done
            }
            Err(error) => {
                complain(&format!("the comparison cannot be written as JSON: {error}"));
                Exit::Failed
            }
        },
        Ok(report) => {
            print(&report.told());
            Exit::Done
        }
        Err(problem) => {
            complain(&problem);
            Exit::WrongInput
        }
    }
}

/// What came of it.
struct Report {
    root: RootCause,
    range: Option<DeployedRange>,
    /// Subtrees that are of neither version.
    unlabelled: u64,
    refused: Vec<refusals::Reason>,
}

impl Report {
    fn json(&self) -> serde_json::Value {
        let range = self.range.as_ref().map(|range| {
            serde_json::json!({
                "commits": range.diff.commits.len(), "leftOut": range.left_out.told()
            })
        });
        serde_json::json!({
            "rootCause": self.root,
            "range": range,
            "unlabelled": self.unlabelled,
            "refused": self.refused,
        })
    }

    fn told(&self) -> String {
        let mut text = format!("{}\n", self.root.paragraph);
        if !self.root.table.is_empty() {
            text += &format!("\n{}", self.root.table);
        }
        let mut left_out: Vec<String> = self.refused.iter().map(ToString::to_string).collect();
        if self.unlabelled > 0 {
            left_out.push(format!(
                "{} requests are of neither version, and were not compared",
                self.unlabelled
            ));
        }
        if let Some(range) = &self.range {
            left_out.extend(range.left_out.told());
        }
        if !left_out.is_empty() {
            text += &format!("\nleft out\n  {}\n", left_out.join("\n  "));
        }
        text
    }
}

fn compared(options: &Options) -> Result<Report, String> {
    // What is quick to find wrong is found before long files are read.
    let repo = options.repo.as_deref().unwrap_or(Path::new("."));
    let range = options.range.as_deref().map(|range| Range::find(repo, range)).transpose()?;
    let paths = [options.baseline.as_deref(), options.canary.as_deref()];
    if options.versions.is_none() && paths[0] == paths[1] {
        return Err("both versions are in one place: name a file for each, or tell them apart with --versions OLD,NEW".to_owned());
    }
    let files = input::read(&paths)?;
    let mut refused = Refusals::default();
    files.iter().flatten().for_each(|file| refused.add(&file.refused));
    let mut trees = Refused::default();
    let bar = waiting("comparing");
    let arms = arms(options, files.map(|file| file.map(|file| file.spans)), &mut trees)?;
    let range = range.map(Range::diff).transpose()?;
    let diff = range.as_ref().map(|range| &range.diff);
    let root = compare(&arms.baseline, &arms.canary, &Settings::default(), diff);
    bar.finish_and_clear();
    let refused = refusals::reasons(&refused, trees);
    Ok(Report { root, range, unlabelled: arms.unlabelled, refused })
}

/// The requests of each version.
fn arms(
    options: &Options,
    files: [Option<Vec<Span>>; 2],
    refused: &mut Refused,
) -> Result<Split, String> {
    let service = options.service.as_deref();
    let mut requests = |spans: Vec<Span>, whose: &str| {
        let services = services(&spans);
        let found: Vec<EntrySubtree> =
            traces(spans).into_iter().flat_map(|trace| entries(trace, service, refused)).collect();
        if found.is_empty() {
            return Err(nothing(whose, service, &services, *refused));
        }
        Ok((found, services))
    };
    let Some(Versions { old, new }) = &options.versions else {
        let [baseline, canary] = files.map(Option::unwrap_or_default);
        let (baseline, _) = requests(baseline, "the baseline's file")?;
        let (canary, _) = requests(canary, "the canary's file")?;
        return Ok(Split { baseline, canary, unlabelled: 0 });
    };
    let spans: Vec<Span> = files.into_iter().flatten().flatten().collect();
    if spans.is_empty() {
        return Err("no traces are given: name their file with --baseline, or two files with --baseline and --canary".to_owned());
    }
    let (found, services) = requests(spans, "the file")?;
    let label = |name: &String| ArmLabel {
        version: Some(name.clone()),
        revision: Some(name.clone()),
        ..ArmLabel::default()
    };
    let there: BTreeSet<&str> =
        found.iter().filter_map(|request| request.entry().resource.version()).collect();
    let there: Vec<&str> = there.into_iter().take(NAMED).collect();
    let hint = match service {
        _ if !there.is_empty() => format!("they are of {}", there.join(", ")),
        Some(_) => "export traces that have it".to_owned(),
        None => format!("or name the service whose versions these are with --service: {services}"),
    };
    let arms = Arms { baseline: label(old), canary: label(new) };
    arms.split(found).map_err(|error| format!("{error}\nhint: {hint}"))
}

/// A line for each, indented.
fn indented(reasons: &[impl std::fmt::Display]) -> String {
    reasons.iter().fold(String::new(), |text, reason| format!("{text}\n  {reason}"))
}

/// Why a file that holds spans holds no request that could be compared.
fn nothing(file: &str, service: Option<&str>, services: &str, trees: Refused) -> String {
    let left_out = refusals::reasons(&Refusals::default(), trees);
    let left_out = indented(&left_out);
    if trees.subtrees() > 0 {
        return format!("{file} holds no request that could be compared{left_out}");
    }
    match service {
        Some(service) => format!(
            "{file} holds no request that {service} answered\nhint: it holds requests of {services}{left_out}"
        ),
        None => format!(
            "{file} holds no whole request: the first span of every trace is missing\nhint: name the service whose requests are compared with --service: {services}{left_out}"
        ),
    }
}

/// The services of these spans, those that answer most requests first.
fn services(spans: &[Span]) -> String {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for span in spans {
        *found.entry(&*span.resource.service).or_default() += usize::from(span.kind.receives());
    }
    let mut found: Vec<(&str, usize)> = found.into_iter().collect();
    found.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let more = found.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let name = |name: &str| if name.is_empty() { "one without a name" } else { name }.to_owned();
    let shown: Vec<String> = found.iter().take(NAMED).map(|(service, _)| name(service)).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") + &more }
}

/// Shown on a terminal only.
fn waiting(what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style).with_message(what);
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests;
