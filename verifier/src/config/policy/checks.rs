//! `spec.checks`: what is compared, and how much worse the canary may be.
//!
//! A check that says where its numbers are found reads them under its own name; one that does not reads
//! `errors`, `latency` or `restarts`, which are looked for among the usual metrics. Checks that describe the
//! same source share it.

mod kayenta;
mod promql;
mod source;
mod test;

use std::collections::BTreeMap;
use std::time::Duration;

use analysis::{Check, NEW_ERRORS, OnBreach, Test};
use rollout::policy::{Browsers, EDGE, Measurement, Metrics, RESTARTS, Source};

pub(in crate::config) use self::kayenta::{DIRECTIONS, MEASURES, NAN_STRATEGIES};
pub(in crate::config) use self::source::UNITS;
use super::duration_within;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::source::Span;
use crate::config::{defaults, values};

const EXPECTED: &str = "a list of checks, e.g. [errors, latency] or [errors: { tolerance: { ratio: 1.25, absolute: 0.1% } }]";

/// Checks share the false-alarm probability: with more of them none could ever speak up.
const MOST_CHECKS: usize = 32;

/// What a check measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Measure {
    /// Failed requests.
    Errors,
    /// Durations.
    Latency,
    /// Restarts of processes.
    Restarts,
    /// Errors that nobody saw before.
    NewErrors,
    /// What browsers report.
    Browsers(Browsers),
    /// A gauge by its name.
    Gauge,
}

/// All of them; the last one is nothing without more.
const KINDS: [Measure; 11] = [
    Measure::Errors,
    Measure::Latency,
    Measure::Restarts,
    Measure::NewErrors,
    Measure::Browsers(Browsers::Lcp),
    Measure::Browsers(Browsers::Inp),
    Measure::Browsers(Browsers::Cls),
    Measure::Browsers(Browsers::Fcp),
    Measure::Browsers(Browsers::Ttfb),
    Measure::Browsers(Browsers::ScriptErrors),
    Measure::Gauge,
];

impl Measure {
    /// Its key.
    pub(in crate::config) fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Restarts => RESTARTS,
            Self::NewErrors => NEW_ERRORS,
            Self::Browsers(reported) => reported.name(),
            Self::Gauge => "gauge",
        }
    }

    /// Where it is found if nothing is said.
    fn measurement(self) -> Measurement {
        match self {
            Self::Browsers(reported) => {
                Measurement { source: Source::Browsers(reported), by: None }
            }
            Self::Errors | Self::Latency | Self::Restarts | Self::NewErrors | Self::Gauge => {
                Measurement::default()
            }
        }
    }

    /// Whether it never holds a weight back: few browsers report, and late.
    fn only_against(self) -> bool {
        matches!(self, Self::Browsers(_))
    }

    fn warm_up(self) -> Duration {
        match self {
            Self::Latency => defaults::LATENCY_WARM_UP,
            Self::Errors | Self::Restarts | Self::NewErrors | Self::Browsers(_) | Self::Gauge => {
                defaults::WARM_UP
            }
        }
    }
}

/// A check before it has its final name.
struct Item<'a> {
    at: At<'a>,
    name: Option<(At<'a>, String)>,
    measure: Measure,
    test: Test,
    measurement: Measurement,
    warm_up: Option<Duration>,
}

impl<'a> Item<'a> {
    /// The check of a bare word.
    fn plain(at: &At<'a>, measure: Measure) -> Self {
        Self {
            at: at.clone(),
            name: None,
            measure,
            test: measure.default_test(),
            measurement: measure.measurement(),
            warm_up: None,
        }
    }

    /// Whether it says where its numbers are found.
    fn has_source(&self) -> bool {
        self.measurement != Measurement::default()
    }

    fn same_source(&self, other: &Self) -> bool {
        self.measure == other.measure && self.measurement == other.measurement
    }

    /// Whether it compares the canary with the baseline, so that a step can pass.
    fn compares(&self) -> bool {
        match self.test {
            Test::Errors { .. } | Test::Latency { .. } => !self.measure.only_against(),
            Test::Kayenta(ref metric) => !metric.muted,
            Test::ErrorObjective { .. }
            | Test::LatencyObjective { .. }
            | Test::Restarts { .. }
            | Test::NewErrors
            | Test::Journey { .. }
            | Test::Gauge { .. } => false,
        }
    }
}

/// What the checks make of a policy.
#[derive(Default)]
pub(super) struct Checks {
    /// The checks, each with a name of its own.
    pub(super) all: Vec<Check>,
    /// What they read, where the policy says where it is found.
    pub(super) sources: BTreeMap<String, Measurement>,
    /// What they look for among the usual metrics, and where that is written.
    pub(super) usual: Vec<(Option<Span>, Measure)>,
}

/// The checks; errors and latency if nothing is written. `warm_up` is what the policy says for all of them.
pub(super) fn read(at: Option<&At<'_>>, metrics: &Metrics, warm_up: Option<Duration>) -> Checks {
    let default = || {
        let check = |measure: Measure| Check {
            warm_up: warm_up.unwrap_or(measure.warm_up()),
            ..Check::new(measure.name(), measure.default_test())
        };
        Checks {
            all: vec![check(Measure::Errors), check(Measure::Latency)],
            sources: BTreeMap::new(),
            usual: vec![(None, Measure::Errors), (None, Measure::Latency)],
        }
    };
    at.and_then(|at| {
        let before = at.source().count();
        let items = at.list(EXPECTED)?;
        if items.len() > MOST_CHECKS {
            let hint = "keep the few that would make you undo a deployment";
            at.wrong(Wrong::new(format!("there are more than {MOST_CHECKS} checks"), hint));
            return None;
        }
        let items: Vec<_> = items.iter().filter_map(|at| item(at, metrics)).collect();
        if at.source().count() == before {
            contradictions(at, &items);
        }
        Some(named(&items, warm_up))
    })
    .unwrap_or_else(default)
}

fn item<'a>(at: &At<'a>, metrics: &Metrics) -> Option<Item<'a>> {
    if at.is_text() {
        let words = KINDS.map(|measure| (measure.name(), measure));
        let measure = at.word(&words[..words.len() - 1])?;
        return Some(Item::plain(at, measure));
    }
    at.map("a check, e.g. errors or errors: { objective: 99.5% }", |fields| {
        let name = fields.get("name");
        let name = name.and_then(|at| at.parse("a name", values::name).map(|name| (at, name)));
        let mut found =
            KINDS.iter().filter_map(|measure| Some((*measure, fields.raw(measure.name())?)));
        let (first, second) = (found.next(), found.next());
        // Each key was asked for, so that all of them are known.
        drop(found.last());
        let (measure, value) = match (first, second) {
            (Some((one, _)), Some((other, _))) => {
                let hint = "begin a new line with a hyphen for the second";
                let (one, other) = (one.name(), other.name());
                let message = format!("one item holds two checks, `{one}` and `{other}`");
                at.wrong(Wrong::new(message, hint));
                return None;
            }
            (Some(one), None) => one,
            (None, _) => {
                if !fields.has_strangers() {
                    let hint = "write errors or latency, e.g. - errors: {}";
                    at.wrong(Wrong::new("the item holds no check", hint));
                }
                return None;
            }
        };
        let plain = Item { name, ..Item::plain(at, measure) };
        let before = at.source().count();
        let item = if value.is_null() {
            plain
        } else {
            value.map("a map, e.g. { tolerance: { ratio: 1.25 } }", |fields| {
                body(fields, plain, metrics)
            })??
        };
        // What is wrong in its source is no missing source.
        if measure == Measure::Gauge && at.source().count() == before {
            check_gauge(&item);
        }
        Some(item)
    })?
}

/// Everything below the key of a check.
fn body<'a>(fields: &Fields<'_>, plain: Item<'a>, metrics: &Metrics) -> Option<Item<'a>> {
    let test = test::read(fields, plain.measure);
    let measurement = match plain.measure {
        Measure::NewErrors | Measure::Browsers(_) => plain.measure.measurement(),
        Measure::Errors | Measure::Latency | Measure::Restarts | Measure::Gauge => {
            source::read(fields, plain.measure, metrics)
        }
    };
    let warm_up = match plain.measure {
        Measure::NewErrors | Measure::Browsers(_) => None,
        Measure::Errors | Measure::Latency | Measure::Restarts | Measure::Gauge => {
            fields.get("warmUp").and_then(|at| warm_up(&at))
        }
    };
    Some(Item { test: test?, measurement, warm_up, ..plain })
}

/// How long a pod's requests do not count after it appears.
pub(super) fn warm_up(at: &At<'_>) -> Option<Duration> {
    duration_within(at, Duration::ZERO, Duration::from_hours(1))
}

/// A gauge is nothing without a metric and a name: there is no usual one.
fn check_gauge(item: &Item<'_>) {
    if item.measurement.source == Source::Auto {
        let hint = "add its metric, e.g. metric: process_resident_memory_bytes";
        item.at.wrong(Wrong::new("the gauge does not say what it reads", hint));
    } else if item.name.is_none() {
        let hint = "add one, e.g. - { name: memory, gauge: { ... } }";
        item.at.wrong(Wrong::new("the gauge has no name", hint));
    }
}

/// What is wrong with the list as a whole.
fn contradictions(at: &At<'_>, items: &[Item<'_>]) {
    if !items.iter().any(Item::compares) {
        let message = if items.is_empty() {
            "there is no check"
        } else {
            "no check compares the canary with the baseline"
        };
        let hint = "add errors or latency, e.g. [errors, latency]; without a comparison no step could ever pass";
        at.wrong(Wrong::new(message, hint));
        return;
    }
    for item in items {
        let breach = match item.test {
            Test::ErrorObjective { on_breach, .. } | Test::LatencyObjective { on_breach, .. } => {
                on_breach
            }
            Test::Errors { .. }
            | Test::Latency { .. }
            | Test::Restarts { .. }
            | Test::NewErrors
            | Test::Journey { .. }
            | Test::Gauge { .. }
            | Test::Kayenta(_) => OnBreach::Pause,
        };
        let fails = |other: &Item<'_>| {
            matches!(other.test, Test::Errors { .. } | Test::Latency { .. })
                && other.same_source(item)
        };
        if breach == OnBreach::RollBack && !items.iter().any(fails) {
            let add = if item.has_source() {
                "add one with the same source and a tolerance".to_owned()
            } else {
                format!("add `- {}` to the checks", item.measure.name())
            };
            let hint = format!("{add}, or write onBreach: pause");
            let message = "an objective rolls back only together with a check of its kind that compares, and there is none";
            item.at.wrong(Wrong::new(message, hint));
        }
    }
}

/// Gives each check a name of its own: `errors`, `errors-2` ...
fn named(items: &[Item<'_>], warm_up: Option<Duration>) -> Checks {
    let mut found = Checks::default();
    let written: Vec<String> =
        items.iter().filter_map(|item| Some(item.name.as_ref()?.1.clone())).collect();
    // What checks without a source read; a check with one of its own may have the name if nobody does.
    let read_by_others: Vec<&str> =
        items.iter().filter(|item| !item.has_source()).map(|item| item.measure.name()).collect();
    let mut reads: Vec<String> = vec![];
    for item in items {
        let base = item.measure.name();
        let free = |name: &str| !found.all.iter().any(|check| check.name == name);
        let reserved = |name: &str| {
            let plain = KINDS.iter().any(|m| m.name() == name);
            item.has_source() && plain && (name != base || read_by_others.contains(&name))
        };
        let name = match &item.name {
            Some((at, name)) => {
                if !free(name) {
                    let hint = "give one of them another name";
                    item.at.wrong(Wrong::new(format!("two checks are named `{name}`"), hint));
                } else if name == EDGE {
                    let message = "`edge` is what Serin's own check at the proxy is named";
                    at.wrong(Wrong::new(message, "give it another name"));
                } else if reserved(name) {
                    let message =
                        format!("`{name}` is what checks without a source of their own read");
                    at.wrong(Wrong::new(message, "give it another name"));
                }
                name.clone()
            }
            None => std::iter::once(base.to_owned())
                .chain((2..=2 * MOST_CHECKS + 2).map(|number| format!("{base}-{number}")))
                .find(|name| free(name) && !written.contains(name) && !reserved(name))
                .expect("there are more numbers than names given so far and names written"),
        };
        let shared = items.iter().zip(&reads).find(|(other, _)| other.same_source(item));
        let read = match shared {
            Some((_, read)) => read.clone(),
            None if item.has_source() => name.clone(),
            None => base.to_owned(),
        };
        if item.has_source() {
            found.sources.insert(read.clone(), item.measurement.clone());
        }
        if item.measurement.source == Source::Auto && item.measure != Measure::NewErrors {
            found.usual.push((Some(item.at.span()), item.measure));
        }
        reads.push(read.clone());
        let beside = matches!(item.measure, Measure::NewErrors | Measure::Browsers(_));
        let warm_up = item.warm_up.or(warm_up).filter(|_| !beside);
        let warm_up = warm_up.unwrap_or(item.measure.warm_up());
        let (test, only_against) = (item.test.clone(), item.measure.only_against());
        found.all.push(Check { name, reads: read, test, warm_up, only_against });
    }
    found
}
