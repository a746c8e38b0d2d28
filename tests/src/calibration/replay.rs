//! What a recorded rollout owes whoever plays it again, and what an unsettled one owes whoever waits.

use analysis::{Assessment, Check, History, Outcome, Scrape, Settings, Status, Test};

use super::{
    durations::{Change, Shape},
    serin::{ALPHA, BETA, View, fill},
    streams::{Errors, Incident, Model, Stream, Truth, Weights, World},
};

const SEED: u64 = 16;

fn settings() -> Settings {
    Settings {
        false_alarm: ALPHA,
        false_promotion: BETA,
        harm: 0.001,
        latency_harm: 0.01,
        checks: vec![
            Check::new("errors", Test::Errors { ratio: 1.25, absolute: 0.001 }),
            Check::new("latency", Test::Latency { stretch: 0.1, ratio: 1.1 }),
        ],
    }
}

fn errors(baseline: f64, canary: f64, pods: Option<f64>) -> Truth {
    Truth::Errors(Errors {
        baseline,
        canary,
        from: 0,
        metrics: 1,
        incident: Incident::None,
        bursts: false,
        pods,
    })
}

fn world(rps: f64, weight: f64, truth: Truth) -> World {
    World { rps, scrape: 5, horizon: 1200, swing: 0.3, weights: Weights::Constant(weight), truth }
}

fn scrapes(world: &World, view: View, seed: u64) -> Vec<Scrape> {
    let model = Model::new(world.clone());
    let mut stream = Stream::new(&model, seed);
    let mut all = Vec::new();
    while let Some(seen) = stream.next(world.weight(0)) {
        let mut scrape = Scrape { at: jiff::Timestamp::UNIX_EPOCH, observations: Vec::new() };
        fill(&mut scrape, seen, view);
        all.push(scrape);
    }
    all
}

/// Twenty minutes of failures by pod, and of failures with durations. The canary is a little worse than tolerated, so
/// that evidence grows and settles nothing.
fn recorded() -> [Vec<Scrape>; 2] {
    let failures =
        |view, pods| scrapes(&world(100.0, 0.1, errors(0.005, 0.0095, pods)), view, SEED);
    let slow = Truth::Latency(Shape::LogNormal, Change::Stretch(1.26));
    let mut timed = failures(View::Classic, None);
    for (scrape, more) in
        timed.iter_mut().zip(scrapes(&world(100.0, 0.1, slow), View::Classic, SEED))
    {
        scrape.observations.extend(more.observations);
    }
    [failures(View::Pods, Some(0.3)), timed]
}

/// Replays rollouts through JSON and with every scrape's observations in another order.
/// The number of scrapes after which all verdicts were the same.
///
/// # Errors
/// Where they first differ.
pub fn is_exact() -> Result<usize, String> {
    let settings = settings();
    let recorded = recorded();
    for scrapes in &recorded {
        let mut plain = Assessment::new(&settings, &History::default());
        let mut stored = plain.clone();
        let mut shuffled = plain.clone();
        for (index, scrape) in scrapes.iter().enumerate() {
            plain.observe(&settings, scrape);
            stored.observe(&settings, scrape);
            let text = serde_json::to_string(&stored).map_err(|error| error.to_string())?;
            stored = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let mut other = scrape.clone();
            other.observations.reverse();
            let middle = index % other.observations.len();
            other.observations.rotate_left(middle);
            shuffled.observe(&settings, &other);
            let verdict = plain.verdict(&settings, 0.5);
            for (copy, what) in [(&stored, "through JSON"), (&shuffled, "in another order")] {
                if copy.verdict(&settings, 0.5) != verdict {
                    return Err(format!("differs after scrape {} {what}", index + 1));
                }
            }
        }
    }
    Ok(recorded.iter().map(Vec::len).sum())
}

/// Log evidence of both recordings at the end, as they come out of `change`.
fn ends(change: impl Fn(&mut Vec<Scrape>)) -> Vec<f64> {
    let settings = settings();
    let mut ends = Vec::new();
    for mut scrapes in recorded() {
        change(&mut scrapes);
        let mut engine = Assessment::new(&settings, &History::default());
        for scrape in &scrapes {
            engine.observe(&settings, scrape);
        }
        let verdict = engine.verdict(&settings, 0.5);
        ends.push(verdict.log_evidence);
        ends.extend(verdict.findings.iter().map(|finding| finding.log_evidence));
    }
    ends
}

/// Largest difference in log evidence at the end when every tenth scrape comes three scrapes late.
pub fn late_scrapes() -> f64 {
    // Thresholds of latency are chosen from what comes first; that is not about lateness.
    let late = ends(|scrapes| {
        for index in (10..scrapes.len() - 3).step_by(10) {
            scrapes[index..=index + 3].rotate_left(1);
        }
    });
    ends(|_| {}).iter().zip(&late).map(|(one, other)| (one - other).abs()).fold(0.0, f64::max)
}

/// A rollout that cannot be settled in 20 minutes at 5 requests/s: whether its verdict says so with the number of
/// requests that it still needs, and what it says.
pub fn at_the_deadline() -> (bool, String) {
    let settings =
        Settings { checks: settings().checks.into_iter().take(1).collect(), ..settings() };
    let mut engine = Assessment::new(&settings, &History::default());
    for scrape in scrapes(&world(5.0, 0.05, errors(0.001, 0.001, None)), View::Classic, SEED) {
        engine.observe(&settings, &scrape);
    }
    let verdict = engine.verdict(&settings, 1.0);
    let Some(finding) = verdict.findings.first() else { return (false, "no finding".to_owned()) };
    let met = verdict.outcome == Outcome::Undecided
        && finding.status == Status::Undecided
        && finding.needs.is_some_and(|needs| needs > 0);
    let needs = finding.needs.map_or("an unknown number of".to_owned(), |needs| needs.to_string());
    (met, format!("{:?}, needs {needs} more canary requests", verdict.outcome).to_lowercase())
}

/// Bytes of one errors check after a rollout: eight per number of its state, one per mark of a pod. Names are
/// left out.
pub fn state_bytes() -> usize {
    let settings =
        Settings { checks: settings().checks.into_iter().take(1).collect(), ..settings() };
    let mut engine = Assessment::new(&settings, &History::default());
    for scrape in scrapes(&world(500.0, 0.05, errors(0.001, 0.001, None)), View::Classic, SEED) {
        engine.observe(&settings, &scrape);
    }
    let state = serde_json::to_value(&engine).unwrap_or_default();
    let marks: usize = state.pointer("/evidence/0/tail/slots").map_or(0, |slots| {
        slots.as_array().into_iter().flatten().map(|slot| numbers(&slot["cells"]["keys"])).sum()
    });
    8 * numbers(&state["evidence"]) - 7 * marks
}

fn numbers(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Number(_) => 1,
        Value::Array(values) => values.iter().map(numbers).sum(),
        Value::Object(fields) => fields.values().map(numbers).sum(),
        Value::Null | Value::Bool(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scrape_makes_a_difference() {
        let (all, less) = (ends(|_| {}), ends(|scrapes| drop(scrapes.remove(100))));
        // The first recording has no durations.
        for (index, (one, other)) in all.iter().zip(&less).enumerate().filter(|at| at.0 != 2) {
            assert!((one - other).abs() > 1e-6, "{index}: {all:?} and {less:?}");
        }
    }
}
