//! Charts as numbers and path texts: pure, so that what is drawn can be tested.
//!
//! A plot is 1000 wide and 100 high and stretched by the page; labels are laid over it at
//! percentages of its height, so that they keep their size on a phone.

use std::fmt::Write as _;

use analysis::{Check, Interval, Test};
use jiff::Timestamp;
use rollout::Policy;
use rollout::replay::Point;
use serde::Serialize;

use super::past::Told;
use super::show;

/// Points that are drawn: about one for two pixels of a usual plot.
const MOST_POINTS: usize = 160;

/// Ratio charts that are drawn, one for each check in the policy's order.
const MOST_RATIOS: usize = 4;

/// Rows of the table that says the same as the charts.
const MOST_ROWS: usize = 24;

/// The charts of one deployment.
#[derive(Debug, Serialize)]
pub(super) struct Charts {
    start: String,
    middle: String,
    end: String,
    /// Where the end of the deployment was decided, 0 to 1000.
    decided: Option<f64>,
    evidence: Evidence,
    ratios: Vec<Ratio>,
    /// The canary's share as a stepped area.
    weight: String,
    weight_top: String,
    weight_half: String,
    weight_summary: String,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Evidence {
    line: String,
    area: String,
    /// From the top, 0 to 100.
    threshold: f64,
    ticks: Vec<Tick>,
    summary: String,
}

#[derive(Debug, Serialize)]
struct Ratio {
    check: String,
    band: String,
    line: String,
    tolerance: Option<f64>,
    ticks: Vec<Tick>,
    summary: String,
}

#[derive(Debug, Serialize)]
struct Tick {
    /// From the top, 0 to 100.
    y: f64,
    label: String,
    /// `plain` or `limit`.
    kind: &'static str,
}

#[derive(Debug, Serialize)]
struct Row {
    at: String,
    weight: String,
    evidence: String,
    ratios: Vec<String>,
}

/// The charts of a story; `None` before there are two points to join.
pub(super) fn charts(told: &Told, policy: Option<&Policy>) -> Option<Charts> {
    let points = chosen(&told.story.points, MOST_POINTS);
    let (first, last) = (points.first()?, points.last()?);
    let length = last.at.duration_since(first.at).as_secs_f64();
    if length <= 0.0 {
        return None;
    }
    let across = |at: Timestamp| at.duration_since(first.at).as_secs_f64() / length * 1_000.0;
    let half = first.at.checked_add(last.at.duration_since(first.at) / 2).unwrap_or(last.at);
    let decided =
        told.finished().map(|f| across(f.decided)).filter(|x| (0.0..=1_000.0).contains(x));
    let checks = policy.map(|policy| &*policy.analysis.checks).unwrap_or_default();
    let most = points.iter().map(|point| point.weight.share()).fold(0.0, f64::max);
    let top = [0.05, 0.1, 0.2, 0.5].into_iter().find(|top| most < *top).unwrap_or(1.0);
    let names: Vec<&str> = compared(last);
    let ratios: Vec<Ratio> =
        names.iter().filter_map(|name| ratio(name, checks, &points, &across)).collect();
    Some(Charts {
        start: show::clock(first.at),
        middle: show::clock(half),
        end: show::clock(last.at),
        decided,
        evidence: evidence(&points, &across),
        weight: stepped(&points, &across, top),
        weight_top: show::percent(top),
        weight_half: show::percent(top / 2.0),
        weight_summary: format!(
            "Share of traffic on the canary over time: from {} to {}.",
            first.weight, last.weight
        ),
        rows: chosen(&told.story.points, MOST_ROWS)
            .iter()
            .map(|point| row(point, &names))
            .collect(),
        ratios,
    })
}

/// Checks that compare the two arms, as the newest verdict has them.
fn compared(last: &Point) -> Vec<&str> {
    let compared = last.verdict.findings.iter().filter(|finding| finding.ratio.is_some());
    compared.map(|finding| &*finding.check).take(MOST_RATIOS).collect()
}

/// At most `most` of them, evenly chosen, with both ends.
fn chosen<T>(all: &[T], most: usize) -> Vec<&T> {
    if all.len() <= most {
        return all.iter().collect();
    }
    (0..most).map(|k| &all[k * (all.len() - 1) / (most - 1)]).collect()
}

/// A number between two, as a height from the top.
fn height(value: f64, low: f64, high: f64) -> f64 {
    let value = if value.is_nan() { low } else { value.clamp(low, high) };
    ((high - value) / (high - low) * 100.0 * 10.0).round() / 10.0
}

fn path(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut text = String::new();
    for (x, y) in points {
        let letter = if text.is_empty() { 'M' } else { 'L' };
        write!(text, "{letter}{x:.0} {y:.1}").expect("writing to a string does not fail");
    }
    text
}

fn evidence(points: &[&Point], across: &impl Fn(Timestamp) -> f64) -> Evidence {
    let last = &points[points.len() - 1].verdict;
    let threshold = last.log_threshold.max(1.0);
    let most =
        points.iter().map(|p| p.verdict.log_evidence).filter(|e| e.is_finite()).fold(0.0, f64::max);
    // Far beyond the threshold nothing more is to be seen.
    let (low, high) = (-0.08 * threshold, (most * 1.05).clamp(threshold * 1.25, threshold * 2.5));
    let at = |value| height(value, low, high);
    let line = path(points.iter().map(|p| (across(p.at), at(p.verdict.log_evidence))));
    let area = format!("{line}L1000 {0:.1}L0 {0:.1}Z", at(low));
    let tick = |log: f64, kind, before: &str| Tick {
        y: at(log),
        label: format!("{before}{} (odds {})", show::evidence(log), show::odds(log)),
        kind,
    };
    let mut ticks = vec![Tick { y: at(0.0), label: "0".to_owned(), kind: "plain" }];
    let tens = [10.0_f64, 100.0, 1_000.0, 10_000.0].map(f64::ln).into_iter();
    ticks.extend(tens.filter(|log| *log < threshold * 0.8).map(|log| tick(log, "plain", "")));
    ticks.push(tick(threshold, "limit", "fails at "));
    Evidence {
        line,
        area,
        threshold: at(threshold),
        ticks,
        summary: format!(
            "Evidence against the canary over time: at the end {} of {} needed to fail it.",
            show::evidence(last.log_evidence),
            show::evidence(last.log_threshold)
        ),
    }
}

/// Where a check's ratio of shares fails, if it compares.
fn tolerance(checks: &[Check], name: &str) -> Option<f64> {
    let check = checks.iter().find(|check| check.name == name)?;
    match check.test {
        Test::Errors { ratio, .. } | Test::Latency { ratio, .. } | Test::Restarts { ratio } => {
            Some(ratio)
        }
        Test::ErrorObjective { .. }
        | Test::LatencyObjective { .. }
        | Test::NewErrors
        | Test::Journey { .. }
        | Test::Gauge { .. }
        | Test::Kayenta(_) => None,
    }
}

fn ratio(
    name: &str,
    checks: &[Check],
    points: &[&Point],
    across: &impl Fn(Timestamp) -> f64,
) -> Option<Ratio> {
    /// Ratios beyond these are drawn at the edge.
    const BOUNDS: (f64, f64) = (1.0 / 64.0, 64.0);
    /// A label higher than this would be cut.
    const TOP: f64 = 12.0;
    let of = |point: &&Point| {
        let finding = point.verdict.findings.iter().find(|finding| finding.check == name)?;
        Some((across(point.at), finding.ratio.filter(|ratio| ratio.estimate.is_finite())?))
    };
    let known: Vec<Option<(f64, Interval)>> = points.iter().map(of).collect();
    // Where nothing is known nothing is drawn: each run of known ratios is a path of its own.
    let runs: Vec<Vec<(f64, Interval)>> = known
        .split(Option::is_none)
        .filter(|run| run.len() > 1)
        .map(|run| run.iter().flatten().copied().collect())
        .collect();
    let (_, last) = *runs.last()?.last()?;
    let tolerance = tolerance(checks, name);
    // The whole of the newest interval is to be seen; that of the beginning may be cut.
    let ends = [Some(last.estimate), last.lower, last.upper, tolerance, Some(1.0)];
    let ends = ends.into_iter().flatten().filter(|v| v.is_finite());
    let (low, high) = ends.fold((1.0_f64, 1.0_f64), |(low, high), v| (low.min(v), high.max(v)));
    let low = (low / 1.5).max(BOUNDS.0).min(0.6).ln();
    let high = (high * 1.5).min(BOUNDS.1).max(2.0).ln();
    let at = |value: f64| height(value.max(f64::MIN_POSITIVE).ln(), low, high);
    let band = |run: &Vec<(f64, Interval)>| {
        let upper = run.iter().map(|(x, r)| (*x, at(r.upper.unwrap_or(f64::MAX))));
        let lower = run.iter().rev().map(|(x, r)| (*x, at(r.lower.unwrap_or(0.0))));
        format!("{}Z", path(upper.chain(lower)))
    };
    let line = |run: &Vec<(f64, Interval)>| path(run.iter().map(|(x, r)| (*x, at(r.estimate))));
    let plain =
        |value: f64, label: &str| Tick { y: at(value), label: label.to_owned(), kind: "plain" };
    let far = |value: f64| (value.ln() - tolerance.unwrap_or(1.0).ln()).abs() > (high - low) * 0.12;
    let mut ticks = vec![];
    let marks = [0.125_f64, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
    let step = if high - low > 4.0 { 2 } else { 1 };
    for (index, mark) in marks.into_iter().enumerate() {
        let shown = low < mark.ln() && TOP < at(mark) && far(mark) && index % step == 1 % step;
        if shown {
            ticks.push(plain(
                mark,
                &if mark < 1.0 { format!("× {mark}") } else { format!("× {mark:.0}") },
            ));
        }
    }
    if let Some(tolerance) = tolerance {
        let label = format!("tolerated × {}", show::ratio(tolerance));
        ticks.push(Tick { y: at(tolerance), label, kind: "limit" });
    }
    let interval = match (last.lower, last.upper) {
        (Some(lower), Some(upper)) => {
            format!("between {} and {}", show::ratio(lower), show::ratio(upper))
        }
        (Some(lower), None) => format!("at least {}", show::ratio(lower)),
        (None, Some(upper)) => format!("at most {}", show::ratio(upper)),
        (None, None) => "not yet bounded".to_owned(),
    };
    Some(Ratio {
        check: name.to_owned(),
        band: runs.iter().map(band).collect(),
        line: runs.iter().map(line).collect(),
        tolerance: tolerance.map(at),
        ticks,
        summary: format!(
            "Ratio of canary to baseline for {name} over time: at the end {}, {interval}{}.",
            show::ratio(last.estimate),
            tolerance.map_or_else(String::new, |t| format!(", tolerated up to {}", show::ratio(t)))
        ),
    })
}

fn stepped(points: &[&Point], across: &impl Fn(Timestamp) -> f64, top: f64) -> String {
    let at = |point: &Point| height(point.weight.share(), 0.0, top);
    let mut text = "M0 100".to_owned();
    for (index, point) in points.iter().enumerate() {
        let x = across(point.at);
        let x = if index == 0 { 0.0 } else { x };
        write!(text, "H{x:.0}V{:.1}", at(point)).expect("writing to a string does not fail");
    }
    text.push_str("H1000V100Z");
    text
}

fn row(point: &Point, names: &[&str]) -> Row {
    let ratio = |name: &&str| {
        let finding = point.verdict.findings.iter().find(|finding| finding.check == **name);
        finding
            .and_then(|finding| finding.ratio)
            .map_or_else(|| "–".to_owned(), |ratio| show::ratio(ratio.estimate))
    };
    Row {
        at: show::clock(point.at),
        weight: point.weight.to_string(),
        evidence: show::evidence(point.verdict.log_evidence),
        ratios: names.iter().map(ratio).collect(),
    }
}

#[cfg(test)]
mod tests;
