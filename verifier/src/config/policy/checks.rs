//! `spec.checks`: what is compared, and how much worse the canary may be.

use std::time::Duration;

use analysis::{Check, OnBreach, Test};

use super::duration_within;
use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::units::{self, Percent};
use crate::config::{defaults, values};

const EXPECTED: &str = "a list of checks, e.g. [errors, latency] or [errors: { tolerance: { ratio: 1.25, absolute: 0.1% } }]";

/// Checks share the false-alarm probability: with more of them none could ever speak up.
const MOST_CHECKS: usize = 32;

/// What a check measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Errors,
    Latency,
}

impl Measure {
    fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
        }
    }

    /// The comparison that is made if nothing more is written.
    fn default_test(self) -> Test {
        match self {
            Self::Errors => Test::Errors {
                ratio: defaults::ERRORS_RATIO,
                absolute: defaults::ERRORS_ABSOLUTE.share(),
            },
            Self::Latency => Test::Latency {
                stretch: defaults::LATENCY_STRETCH.share(),
                ratio: defaults::LATENCY_RATIO,
            },
        }
    }
}

/// A check before it has its final name.
struct Item<'a> {
    at: At<'a>,
    name: Option<String>,
    measure: Measure,
    test: Test,
}

/// The checks; errors and latency if nothing is written.
pub(super) fn read(at: Option<&At<'_>>) -> Vec<Check> {
    let default = || {
        let check = |measure: Measure| Check {
            name: measure.name().to_owned(),
            reads: measure.name().to_owned(),
            test: measure.default_test(),
        };
        vec![check(Measure::Errors), check(Measure::Latency)]
    };
    at.and_then(|at| {
        let before = at.source().count();
        let items = at.list(EXPECTED)?;
        if items.len() > MOST_CHECKS {
            let hint = "keep the few that would make you undo a deployment";
            at.wrong(Wrong::new(format!("there are more than {MOST_CHECKS} checks"), hint));
            return None;
        }
        let items: Vec<_> = items.iter().filter_map(item).collect();
        if at.source().count() == before {
            contradictions(at, &items);
        }
        Some(named(items))
    })
    .unwrap_or_else(default)
}

fn item<'a>(at: &At<'a>) -> Option<Item<'a>> {
    if at.is_text() {
        let measure = at.word(&[("errors", Measure::Errors), ("latency", Measure::Latency)])?;
        return Some(Item { at: at.clone(), name: None, measure, test: measure.default_test() });
    }
    at.map("a check, e.g. errors or errors: { objective: 99.5% }", |fields| {
        let name = fields.get("name").and_then(|at| at.parse("a name", values::name));
        let (errors, latency) = (fields.raw("errors"), fields.raw("latency"));
        let (measure, value) = match (errors, latency) {
            (Some(_), Some(_)) => {
                let hint = "begin a new line with a hyphen for the second";
                at.wrong(Wrong::new("one item holds two checks, `errors` and `latency`", hint));
                return None;
            }
            (Some(value), None) => (Measure::Errors, value),
            (None, Some(value)) => (Measure::Latency, value),
            (None, None) => {
                if !fields.has_strangers() {
                    let hint = "write errors or latency, e.g. - errors: {}";
                    at.wrong(Wrong::new("the item holds no check", hint));
                }
                return None;
            }
        };
        let test = if value.is_null() {
            Some(measure.default_test())
        } else {
            value
                .map("a map, e.g. { tolerance: { ratio: 1.25 } }", |fields| test(fields, measure))?
        };
        Some(Item { at: at.clone(), name, measure, test: test? })
    })?
}

fn test(fields: &Fields<'_>, measure: Measure) -> Option<Test> {
    let (tolerance, objective) = (fields.get("tolerance"), fields.get("objective"));
    let (threshold, on_breach) = (fields.get("threshold"), fields.get("onBreach"));
    if let (Some(_), Some(at)) = (&tolerance, &objective) {
        let hint = "write two checks: one with `tolerance`, one with `objective`";
        at.wrong(Wrong::new(
            "a check compares (`tolerance`) or holds to an objective, not both",
            hint,
        ));
        return None;
    }
    if objective.is_none() {
        for (name, at) in [("threshold", &threshold), ("onBreach", &on_breach)] {
            if let Some(at) = at {
                let hint = "add an objective, e.g. objective: 99%, or leave it out";
                at.wrong(Wrong::new(
                    format!("`{name}` belongs to a check with an objective"),
                    hint,
                ));
            }
        }
        return match (tolerance, measure) {
            (None, measure) => Some(measure.default_test()),
            (Some(at), Measure::Errors) => {
                at.map("a map, e.g. { ratio: 1.25, absolute: 0.1% }", errors_tolerance)
            }
            (Some(at), Measure::Latency) => {
                at.map("a map, e.g. { stretch: 10%, ratio: 1.1 }", latency_tolerance)
            }
        };
    }
    let at_most = objective.and_then(|at| at.parse("a percentage, e.g. 99.5%", objective_rest));
    let words = [("pause", OnBreach::Pause), ("rollBack", OnBreach::RollBack)];
    let on_breach = on_breach.and_then(|at| at.word(&words)).unwrap_or(OnBreach::Pause);
    match measure {
        Measure::Errors => {
            if let Some(at) = threshold {
                let hint = "leave it out, or make it a `latency` check";
                at.wrong(Wrong::new("`threshold` is a duration, which errors do not have", hint));
            }
            Some(Test::ErrorObjective { at_most: at_most?, on_breach })
        }
        Measure::Latency => {
            let example = "threshold: 300ms, what counts as slow";
            let threshold = fields.required("threshold", example).and_then(|at| {
                duration_within(&at, Duration::from_millis(1), Duration::from_hours(1))
            });
            Some(Test::LatencyObjective {
                threshold: threshold?.as_secs_f64(),
                at_most: at_most?,
                on_breach,
            })
        }
    }
}

/// `99.5%` asks for at most 0.5 % of bad requests.
fn objective_rest(text: &str) -> Result<f64, Wrong> {
    let percent = Percent::parse(text)?;
    if percent == Percent::whole(0) || Percent::whole(100) <= percent {
        let message = format!("{} is not an objective that can be kept or broken", quote(text));
        return Err(Wrong::new(
            message,
            "write the share of good requests, below 100%, e.g. 99.5%",
        ));
    }
    Ok(percent.rest().share())
}

fn errors_tolerance(fields: &Fields<'_>) -> Test {
    let ratio = fields
        .or("ratio", defaults::ERRORS_RATIO, |at| at.parse("a factor, e.g. 1.25", units::ratio));
    let absolute = fields.or("absolute", defaults::ERRORS_ABSOLUTE, |at| {
        at.parse("a percentage, e.g. 0.1%", |text| match Percent::parse(text)? {
            percent if percent < Percent::whole(100) => Ok(percent),
            _ => Err(Wrong::new(
                format!("{} tolerates every error", quote(text)),
                "write a small share, e.g. 0.1%",
            )),
        })
    });
    Test::Errors { ratio, absolute: absolute.share() }
}

fn latency_tolerance(fields: &Fields<'_>) -> Test {
    let stretch = fields.or("stretch", defaults::LATENCY_STRETCH, |at| {
        at.parse("a percentage, e.g. 10%", |text| match Percent::parse(text)? {
            percent if percent <= Percent::whole(1_000) => Ok(percent),
            _ => Err(Wrong::new(
                format!("{} is out of range", quote(text)),
                "write at most 1000%, e.g. 10%",
            )),
        })
    });
    let ratio = fields
        .or("ratio", defaults::LATENCY_RATIO, |at| at.parse("a factor, e.g. 1.1", units::ratio));
    Test::Latency { stretch: stretch.share(), ratio }
}

/// What is wrong with the list as a whole.
fn contradictions(at: &At<'_>, items: &[Item<'_>]) {
    let compares = |measure: Option<Measure>| {
        items.iter().any(|item| {
            matches!(item.test, Test::Errors { .. } | Test::Latency { .. })
                && measure.is_none_or(|measure| item.measure == measure)
        })
    };
    if !compares(None) {
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
            Test::Errors { .. } | Test::Latency { .. } => OnBreach::Pause,
        };
        if breach == OnBreach::RollBack && !compares(Some(item.measure)) {
            let hint =
                format!("add `- {}` to the checks, or write onBreach: pause", item.measure.name());
            let message = "an objective rolls back only together with a check of its kind that compares, and there is none";
            item.at.wrong(Wrong::new(message, hint));
        }
    }
}

/// Gives each check a name of its own: `errors`, `errors-2` ...
fn named(items: Vec<Item<'_>>) -> Vec<Check> {
    let mut checks: Vec<Check> = vec![];
    let written: Vec<String> = items.iter().filter_map(|item| item.name.clone()).collect();
    for item in items {
        let base = item.measure.name();
        let free = |name: &String| !checks.iter().any(|check| check.name == *name);
        let name = match item.name {
            Some(name) => {
                if !free(&name) {
                    let hint = "give one of them another name";
                    item.at.wrong(Wrong::new(format!("two checks are named `{name}`"), hint));
                }
                name
            }
            None => std::iter::once(base.to_owned())
                .chain((2..=2 * MOST_CHECKS + 2).map(|number| format!("{base}-{number}")))
                .find(|name| free(name) && !written.contains(name))
                .expect("there are more numbers than names given so far and names written"),
        };
        checks.push(Check { name, reads: base.to_owned(), test: item.test });
    }
    checks
}
