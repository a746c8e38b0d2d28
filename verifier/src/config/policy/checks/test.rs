//! What one check asks: a comparison with a tolerance, an objective, a guardrail, or another's judge.

use std::time::Duration;

use analysis::{OnBreach, Test};

use super::Measure;
use super::kayenta::{self, Judge};
use crate::config::defaults;
use crate::config::policy::duration_within;
use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::units::{self, Percent};

/// Nothing is judged by a guardrail that must be exceeded for longer.
const LONGEST_GAUGE: Duration = Duration::from_hours(24);

impl Measure {
    /// The comparison that is made if nothing more is written.
    pub(super) fn default_test(self) -> Test {
        match self {
            Self::Errors => Test::Errors {
                ratio: defaults::ERRORS_RATIO,
                absolute: defaults::ERRORS_ABSOLUTE.share(),
            },
            Self::Latency => Test::Latency {
                stretch: defaults::LATENCY_STRETCH.share(),
                ratio: defaults::LATENCY_RATIO,
            },
            Self::Restarts => Test::Restarts { ratio: defaults::RESTARTS_RATIO },
            Self::NewErrors => Test::NewErrors,
            Self::Browsers(_) => Test::Errors {
                ratio: defaults::ERRORS_RATIO,
                absolute: defaults::BROWSERS_ABSOLUTE.share(),
            },
            Self::Gauge => Test::Gauge { at_most: None, sustained: defaults::GAUGE_FOR },
        }
    }
}

/// Reads the test of a check of this kind.
pub(super) fn read(fields: &Fields<'_>, measure: Measure) -> Option<Test> {
    match measure {
        Measure::Restarts => match fields.get("tolerance") {
            Some(at) => at.map("a map, e.g. { ratio: 3 }", |fields| Test::Restarts {
                ratio: fields.or("ratio", defaults::RESTARTS_RATIO, |at| {
                    at.parse("a factor, e.g. 3", units::ratio)
                }),
            }),
            None => Some(measure.default_test()),
        },
        Measure::Gauge => {
            let (at_most, sustained) = (fields.get("atMost"), fields.get("for"));
            let judge = kayenta::read(fields, measure);
            if matches!(judge, Judge::Serin) {
                return Some(gauge(at_most.as_ref(), sustained.as_ref()));
            }
            meaningless(&[("atMost", &at_most), ("for", &sustained)]);
            by_kayenta(judge)
        }
        Measure::NewErrors => Some(measure.default_test()),
        Measure::Browsers(_) => match fields.get("tolerance") {
            Some(at) => at.map("a map, e.g. { ratio: 1.25, absolute: 1% }", |fields| {
                errors_tolerance(fields, defaults::BROWSERS_ABSOLUTE)
            }),
            None => Some(measure.default_test()),
        },
        Measure::Errors | Measure::Latency => of_requests(fields, measure),
    }
}

fn gauge(at_most: Option<&At<'_>>, sustained: Option<&At<'_>>) -> Test {
    if let (None, Some(at)) = (at_most, sustained) {
        let hint = "add one, e.g. atMost: 1.5GB, or leave it out";
        at.wrong(Wrong::new(
            "`for` says how long a limit is exceeded, and there is no limit",
            hint,
        ));
    }
    let limit = at_most.map(|at| at.parse("a quantity, e.g. 1.5GB or 80%", units::quantity));
    let within = |at: &At<'_>| duration_within(at, Duration::ZERO, LONGEST_GAUGE);
    let sustained = sustained.and_then(within).unwrap_or(defaults::GAUGE_FOR);
    Test::Gauge { at_most: limit.flatten(), sustained }
}

fn by_kayenta(judge: Judge) -> Option<Test> {
    match judge {
        Judge::Kayenta(metric) => Some(Test::Kayenta(metric)),
        Judge::Serin | Judge::Unknown => None,
    }
}

/// What says how Serin compares means nothing to another's judge.
fn meaningless(given: &[(&str, &Option<At<'_>>)]) {
    for (name, at) in given {
        if let Some(at) = at {
            let hint = "leave it out, or leave out `judge`; what Kayenta allows is below `kayenta`";
            at.wrong(Wrong::new(format!("`{name}` means nothing to Kayenta's judge"), hint));
        }
    }
}

fn of_requests(fields: &Fields<'_>, measure: Measure) -> Option<Test> {
    let (tolerance, objective) = (fields.get("tolerance"), fields.get("objective"));
    let (threshold, on_breach) = (fields.get("threshold"), fields.get("onBreach"));
    let judge = kayenta::read(fields, measure);
    if !matches!(judge, Judge::Serin) {
        meaningless(&[
            ("tolerance", &tolerance),
            ("objective", &objective),
            ("threshold", &threshold),
            ("onBreach", &on_breach),
        ]);
        return by_kayenta(judge);
    }
    if let (Some(_), Some(at)) = (&tolerance, &objective) {
        let hint = "write two checks: one with `tolerance`, one with `objective`";
        at.wrong(Wrong::new(
            "a check compares (`tolerance`) or holds to an objective, not both",
            hint,
        ));
        return None;
    }
    let Some(objective) = objective else {
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
            (Some(at), Measure::Latency) => {
                at.map("a map, e.g. { stretch: 10%, ratio: 1.1 }", latency_tolerance)
            }
            (
                Some(at),
                Measure::Errors
                | Measure::Restarts
                | Measure::NewErrors
                | Measure::Browsers(_)
                | Measure::Gauge,
            ) => at.map("a map, e.g. { ratio: 1.25, absolute: 0.1% }", |fields| {
                errors_tolerance(fields, defaults::ERRORS_ABSOLUTE)
            }),
        };
    };
    let at_most = objective.parse("a percentage, e.g. 99.5%", objective_rest);
    let words = [("pause", OnBreach::Pause), ("rollBack", OnBreach::RollBack)];
    let on_breach = on_breach.and_then(|at| at.word(&words)).unwrap_or(OnBreach::Pause);
    if measure == Measure::Latency {
        let example = "threshold: 300ms, what counts as slow";
        let threshold = fields
            .required("threshold", example)
            .and_then(|at| duration_within(&at, Duration::from_millis(1), Duration::from_hours(1)));
        return Some(Test::LatencyObjective {
            threshold: threshold?.as_secs_f64(),
            at_most: at_most?,
            on_breach,
        });
    }
    if let Some(at) = threshold {
        let hint = "leave it out, or make it a `latency` check";
        at.wrong(Wrong::new("`threshold` is a duration, which errors do not have", hint));
    }
    Some(Test::ErrorObjective { at_most: at_most?, on_breach })
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

fn errors_tolerance(fields: &Fields<'_>, absolute: Percent) -> Test {
    let ratio = fields
        .or("ratio", defaults::ERRORS_RATIO, |at| at.parse("a factor, e.g. 1.25", units::ratio));
    let absolute = fields.or("absolute", absolute, |at| {
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
