//! Two populations of entry subtrees in, what made the canary worse out.
//!
//! Runs once, after the verdict, and explains it; no verdict depends on it. Pure: the same traces give the same
//! answer.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::blame::{Blame, also_changed, blame, examples, examples_of, places_of_errors};
use crate::code::{Diff, Matched, suspect, telling_words};
use crate::contrast::{Found, contrasts, explains};
use crate::errors::Fingerprint;
use crate::finding::{Cause, Change, Confidence, Examples, Finding, RootCause};
use crate::frames::Frame;
use crate::hosts::{bad_host, is_place};
use crate::latency::{Draft, Latency};
use crate::mix::{ArmMix, ENTRY, compare as compare_mix, mix};
use crate::operation::Operation;
use crate::pods::pod_spread;
use crate::points::{Point, columns, points};
use crate::report;
use crate::rows::{NOBODY, Rows};
use crate::statistics::{Moments, as_f64, len_f64};
use crate::strata::{stratify, uniform};
use crate::summary::{change, elsewhere, moves, outside, service_of, summary, table_rows};
use crate::suspects::{ErrorDraft, error_drafts};
use crate::tree::EntrySubtree;

/// Chance of naming a kind of requests by itself where there is none.
const FALSE_CONTRAST: f64 = 0.02;

/// A finding is said to be of one kind of requests only from this coverage on.
const COVERS: f64 = 0.6;

/// Requests of both arms while the traces were taken, as metrics count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Of the baseline.
    pub baseline: u64,
    /// Of the canary.
    pub canary: u64,
}

/// How two populations are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Requests by arm, where they are known: the fair share of errors. Without them the numbers of traces count.
    pub requests: Option<Requests>,
    /// Errors of the last 24 hours or of earlier deployments: not new, whoever shows them.
    pub known_errors: BTreeSet<Fingerprint>,
    /// Expected share of wrongly named operations; in (0, 0.5].
    pub false_discovery: f64,
    /// Traces of an entry operation that each arm needs; at least 2.
    pub least_traces: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            requests: None,
            known_errors: BTreeSet::new(),
            false_discovery: 0.1,
            least_traces: 20,
        }
    }
}

/// Compares the canary's subtrees with the baseline's of the same time, and what is found with the deployed range.
pub fn compare(
    baseline: &[EntrySubtree],
    canary: &[EntrySubtree],
    settings: &Settings,
    diff: Option<&Diff>,
) -> RootCause {
    let arms = [baseline, canary];
    let mut rows = Rows::new(baseline, canary);
    let strata = stratify(&mut rows, settings.least_traces);
    let service = service_of(arms);
    let points = points(&rows, &strata);
    let places = columns(&points, arms, is_place, false);
    let attributes = columns(&points, arms, explains, true);
    let mut seconds = Moments::default();
    uniform(&rows.baseline).for_each(|(row, _)| seconds.add(row.seconds));
    let pods = pod_spread(&points, arms, seconds.mean());
    let latency = Latency::new(&rows, &strata, pods);
    let (drafts, moved) = latency.drafts(settings.false_discovery);

    let comparison = Comparison {
        arms,
        rows: &rows,
        diff,
        latency: &latency,
        also_changed: also_changed(arms, &service),
        contrasts: contrasts(&points, &attributes),
        points: &points,
    };
    let mut findings: Vec<Finding> =
        drafts.iter().map(|draft| comparison.of_latency(draft)).collect();
    for draft in error_drafts(arms, &rows, settings) {
        comparison.add_error(draft, &mut findings);
    }
    comparison.add_contrast(&mut findings);
    let change = change(&rows, &strata, &latency, &findings);
    let mut mixes = mix(&points, &attributes);
    mixes.extend(entry_mix(&points, &rows));
    comparison.add_mix(mixes, change, &mut findings);
    if let Some(host) = bad_host(&points, &places) {
        let mut finding = bare(Cause::BadHost, 4.0);
        finding.examples = comparison.examples_at(&host.attribute, &host.value);
        finding.host = Some(host);
        finding.confidence = Confidence::Medium;
        findings.push(finding);
    }
    if findings.iter().any(|finding| !finding.cause.blames_code() && finding.score >= 3.0) {
        for finding in findings.iter_mut().filter(|finding| finding.cause.blames_code()) {
            finding.suspect = None;
            finding.confidence = Confidence::Low;
        }
    }
    findings.sort_by(|a, b| b.score.total_cmp(&a.score));
    for finding in &mut findings {
        finding.sentence = report::sentence(finding, change, &service);
    }
    let (operations, rest) = table_rows(&rows, &latency);
    let mut root_cause = RootCause {
        service,
        baseline: summary(baseline, &rows.baseline),
        canary: summary(canary, &rows.canary),
        change,
        entries: strata.all.clone(),
        elsewhere: elsewhere(&findings, diff),
        findings,
        moved: moves(&rows, &moved),
        operations,
        rest,
        outside: outside(&rows),
        notes: Vec::new(),
        paragraph: String::new(),
        table: String::new(),
    };
    root_cause.notes = report::notes(&root_cause, settings);
    root_cause.paragraph = report::paragraph(&root_cause);
    root_cause.table = report::table(&root_cause);
    root_cause
}

/// What the findings are made from.
struct Comparison<'a> {
    arms: [&'a [EntrySubtree]; 2],
    rows: &'a Rows,
    diff: Option<&'a Diff>,
    latency: &'a Latency<'a>,
    also_changed: HashMap<String, Vec<String>>,
    contrasts: Vec<Found>,
    points: &'a [Point],
}

impl Comparison<'_> {
    fn of_latency(&self, draft: &Draft) -> Finding {
        let operation = self.rows.operations.get(draft.operation).cloned();
        let Blame { caller, places } =
            blame(self.rows, self.arms[1], draft.operation, draft.caller);
        let whole = if draft.tail_only {
            self.latency.tail_total.change
        } else {
            self.latency.total.change
        };
        let share = if whole > 0.0 { draft.explains / whole } else { 0.0 };
        // Ranked among themselves by what they add; a share of a change that others undo can be anything.
        let score = share.clamp(0.0, 1.0).max(0.01) * if draft.tail_only { 0.8 } else { 1.0 };
        let mut finding = bare(draft.cause, score);
        if draft.cause == Cause::Retries {
            finding.score += 0.5;
        }
        finding.share = share;
        finding.effect = Some(draft.effect);
        finding.tail_only = draft.tail_only;
        finding.repeats = draft.repeats;
        finding.caller = caller;
        finding.only = self.only();
        finding.examples = examples(self.rows, draft.operation);
        finding.also_changed = operation
            .as_ref()
            .and_then(|operation| self.also_changed.get(&operation.service))
            .map(|versions| versions.join(" and "));
        let words = operation.as_ref().map(|operation| telling_words(&operation.name));
        finding.operation = operation;
        finding.places = places;
        self.find_commit(&mut finding, &words.unwrap_or_default());
        let is_most = share > 0.5;
        finding.confidence = confidence(&finding, is_most);
        finding
    }

    /// The kind of requests in which most of the damage is.
    fn only(&self) -> Option<crate::contrast::Contrast> {
        let strong = |found: &&Found| {
            found.contrast.coverage >= COVERS && found.contrast.p <= FALSE_CONTRAST
        };
        self.contrasts.iter().find(strong).map(|found| found.contrast.clone())
    }

    fn find_commit(&self, finding: &mut Finding, words: &[String]) {
        let Some(diff) = self.diff else { return };
        let weighted: Vec<(Frame, f64)> = (0_u32..)
            .zip(&finding.places)
            .map(|(depth, place)| (place.clone(), 0.5_f64.powi(depth.min(20).cast_signed())))
            .collect();
        finding.suspect = suspect(&weighted, words, diff);
    }

    fn add_error(&self, draft: ErrorDraft, findings: &mut Vec<Finding>) {
        let ErrorDraft { cause, evidence, spans } = draft;
        let operation = spans.first().and_then(|(row, span)| {
            let number = *self.rows.numbers[1].get(*row)?.get(*span)?;
            self.rows.operations.get(self.rows.renamed(number)).cloned()
        });
        // A call that fails more often and is tried again is one finding.
        let retried = findings.iter_mut().find(|finding| {
            finding.cause == Cause::Retries && cause == Cause::MoreErrors && {
                finding.operation == operation || self.is_below(&spans, finding.operation.as_ref())
            }
        });
        if let Some(finding) = retried {
            if finding.error.is_none() {
                finding.error = Some(evidence);
                finding.score += 1.0;
            }
            return;
        }
        let share = as_f64(evidence.canary) / len_f64(self.arms[1].len().max(1));
        let mut finding =
            bare(cause, if cause == Cause::NewError { 2.0 } else { 1.0 } + share.min(0.9));
        finding.examples = examples_of(self.rows, spans.iter().map(|(row, _)| *row));
        finding.places = places_of_errors(self.arms[1], &spans, &evidence.error.frames);
        finding.only = self.only();
        finding.also_changed = operation
            .as_ref()
            .and_then(|operation| self.also_changed.get(&operation.service))
            .map(|versions| versions.join(" and "));
        let words = operation.as_ref().map(|operation| telling_words(&operation.name));
        finding.operation = operation;
        finding.error = Some(evidence);
        self.find_commit(&mut finding, &words.unwrap_or_default());
        finding.confidence = confidence(&finding, cause == Cause::NewError);
        findings.push(finding);
    }

    /// Whether the error began right below this operation.
    fn is_below(&self, spans: &[(usize, usize)], operation: Option<&Operation>) -> bool {
        spans.first().is_some_and(|(row, span)| {
            let parent = self.arms[1].get(*row).and_then(|subtree| subtree.parent(*span));
            let number = parent.and_then(|parent| self.rows.numbers[1].get(*row)?.get(parent));
            let above =
                number.and_then(|number| self.rows.operations.get(self.rows.renamed(*number)));
            above.is_some() && above == operation
        })
    }

    /// A kind of requests that is worse although no operation stands out.
    fn add_contrast(&self, findings: &mut Vec<Finding>) {
        let found = self.contrasts.iter().find(|found| found.contrast.p <= FALSE_CONTRAST);
        let Some(found) = found.filter(|_| findings.iter().all(|finding| finding.only.is_none()))
        else {
            return;
        };
        let mut finding = bare(Cause::SomeRequests, 0.2);
        finding.share = found.contrast.coverage;
        let rows = found.members.iter().zip(self.points);
        let rows = rows.filter(|(member, point)| **member && point.arm == 1 && point.bad);
        finding.examples = examples_of(self.rows, rows.map(|(_, point)| point.row));
        finding.only = Some(found.contrast.clone());
        findings.push(finding);
    }

    fn add_mix(&self, mixes: Vec<ArmMix>, change: Change, findings: &mut Vec<Finding>) {
        // Entry operations are compared each with itself: their mix is told apart already.
        let is_told_apart = |mix: &ArmMix| {
            mix.attribute == ENTRY
                || mix.attribute.starts_with("http.route")
                || mix.attribute.starts_with("http.request.method")
                || mix.attribute.starts_with("url.template")
        };
        let confounds = mixes.iter().position(|mix| !is_told_apart(mix));
        let by_entry = mixes.iter().any(is_told_apart);
        let Some(at) = confounds.filter(|_| !by_entry).or((!mixes.is_empty()).then_some(0)) else {
            return;
        };
        let share = if change.raw > 0.0 { (change.mix / change.raw).clamp(0.0, 1.0) } else { 0.0 };
        let score = if by_entry { 0.3 + 0.6 * share } else { 3.0 };
        let mut finding = bare(Cause::TrafficMix, score);
        finding.share = share;
        finding.confidence = Confidence::Medium;
        finding.mix = mixes.into_iter().nth(at);
        if let Some(mix) = finding.mix.as_ref().filter(|mix| mix.attribute != ENTRY) {
            finding.examples = self.examples_at(&mix.attribute, &mix.value);
        }
        findings.push(finding);
    }

    /// Canary traces whose entry has this attribute.
    fn examples_at(&self, attribute: &str, value: &str) -> Examples {
        let has = |subtree: &EntrySubtree| {
            let entry = subtree.entry();
            [&entry.attributes, &entry.resource.attributes]
                .iter()
                .any(|all| all.get(attribute).is_some_and(|found| found.to_string() == value))
        };
        let rows = self.rows.canary.iter().filter(|row| has(&self.arms[1][row.index]));
        examples_of(self.rows, rows.map(|row| row.index))
    }
}

/// High needs a changed line or function; another suspect lowers it.
fn confidence(finding: &Finding, is_most: bool) -> Confidence {
    let matched = finding.suspect.as_ref().map(|suspect| suspect.matched);
    let full = match (matched, is_most) {
        (Some(Matched::Line | Matched::Function), true) => Confidence::High,
        (Some(Matched::Text), _) if finding.operation.is_none() => Confidence::Low,
        (Some(_), _) => Confidence::Medium,
        (None, _) if finding.operation.is_some() => Confidence::Medium,
        (None, _) => Confidence::Low,
    };
    match (&finding.also_changed, full) {
        (Some(_), Confidence::High) => Confidence::Medium,
        (Some(_), Confidence::Medium | Confidence::Low) => Confidence::Low,
        (None, full) => full,
    }
}

fn bare(cause: Cause, score: f64) -> Finding {
    Finding {
        cause,
        operation: None,
        caller: None,
        score,
        share: 0.0,
        effect: None,
        tail_only: false,
        repeats: None,
        error: None,
        only: None,
        host: None,
        mix: None,
        places: Vec::new(),
        suspect: None,
        also_changed: None,
        confidence: Confidence::Low,
        examples: Examples::default(),
        sentence: String::new(),
    }
}

/// Whether the arms were asked for the same entry operations.
fn entry_mix(points: &[Point], rows: &Rows) -> Option<ArmMix> {
    let mut texts: Vec<String> = Vec::new();
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let mut values = Vec::with_capacity(points.len());
    for point in points {
        let arm = if point.arm == 0 { &rows.baseline } else { &rows.canary };
        let entry = arm.get(point.row).map_or(NOBODY, |row| row.entry);
        let next = u32::try_from(texts.len() + 1).unwrap_or(u32::MAX);
        let number = *numbers.entry(entry).or_insert(next);
        if number == next {
            texts.push(rows.operations.get(entry).map(ToString::to_string).unwrap_or_default());
        }
        values.push(number);
    }
    compare_mix(points, ENTRY, &values, &texts)
        .filter(|mix| mix.p < 1e-3 && (mix.canary - mix.baseline).abs() >= 0.05)
}

#[cfg(test)]
mod tests;
