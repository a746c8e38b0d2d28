//! `judge: kayenta`: the judge of Spinnaker, for teams that come from there.
//!
//! The keys and their defaults are those of a canary configuration of Spinnaker, so that one can be carried over line
//! by line. Every default is filled in here, for `serin validate --show` to print.

use analysis::kayenta::{self, Direction, EffectSize, Metric, NanStrategy, Outliers, Value};

use super::Measure;
use crate::config::policy::boolean;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::{defaults, units};

/// Words for the direction that counts against the canary.
pub(in crate::config) const DIRECTIONS: [(&str, Direction); 3] = [
    ("increase", Direction::Increase),
    ("decrease", Direction::Decrease),
    ("either", Direction::Either),
];

/// Words for what a missing value means.
pub(in crate::config) const NAN_STRATEGIES: [(&str, NanStrategy); 2] =
    [("remove", NanStrategy::Remove), ("replace", NanStrategy::Replace)];

/// Words for how an effect is measured.
pub(in crate::config) const MEASURES: [(&str, kayenta::Measure); 2] =
    [("meanRatio", kayenta::Measure::MeanRatio), ("cles", kayenta::Measure::Cles)];

/// Who judges.
pub(super) enum Judge {
    /// Serin itself.
    Serin,
    /// Kayenta's judge.
    Kayenta(Metric),
    /// Nobody that is known; it is noted.
    Unknown,
}

/// Reads `judge` and what belongs to it.
pub(super) fn read(fields: &Fields<'_>, measure: Measure) -> Judge {
    let judge = fields.get("judge");
    let settings = fields.get("kayenta");
    let quantile = match measure {
        Measure::Latency => fields.get("quantile"),
        Measure::Errors
        | Measure::Restarts
        | Measure::NewErrors
        | Measure::Browsers(_)
        | Measure::Gauge => None,
    };
    let Some(judge) = judge else {
        for (name, at) in [("kayenta", &settings), ("quantile", &quantile)] {
            if let Some(at) = at {
                let hint = "add judge: kayenta, or leave it out";
                let message = format!("`{name}` belongs to a check with Kayenta's judge");
                at.wrong(Wrong::new(message, hint));
            }
        }
        return Judge::Serin;
    };
    let judged = judge.word(&[("kayenta", ())]);
    let quantile = quantile.and_then(|at| at.parse("a quantile, e.g. p99", units::quantile));
    let metric = Metric::new(match measure {
        Measure::Errors | Measure::Restarts | Measure::NewErrors | Measure::Browsers(_) => {
            Value::ErrorShare
        }
        Measure::Latency => Value::Latency(quantile.unwrap_or(defaults::QUANTILE)),
        Measure::Gauge => Value::Gauge,
    });
    let example = "a map, e.g. { effectSize: { allowedIncrease: 1.1 } }";
    let metric = settings
        .and_then(|at| at.map(example, |fields| self::metric(fields, &metric)))
        .unwrap_or_else(|| metric.clone());
    judged.map_or(Judge::Unknown, |()| Judge::Kayenta(filled(&metric)))
}

fn metric(fields: &Fields<'_>, plain: &Metric) -> Metric {
    let flag = |name| fields.or(name, false, boolean);
    Metric {
        direction: fields.get("direction").and_then(|at| at.word(&DIRECTIONS)),
        nan_strategy: fields.or("nanStrategy", plain.nan_strategy, |at| at.word(&NAN_STRATEGIES)),
        outliers: fields.or("outliers", plain.outliers, outliers),
        critical: flag("critical"),
        must_have_data: flag("mustHaveData"),
        muted: flag("muted"),
        effect_size: fields.or("effectSize", plain.effect_size, |at| {
            at.map("a map, e.g. { measure: meanRatio, allowedIncrease: 1.1 }", effect_size)
        }),
        ..plain.clone()
    }
}

/// `keep`, `remove`, or `{ factor: 3 }`, which removes with another factor than Kayenta's.
fn outliers(at: &At<'_>) -> Option<Outliers> {
    let remove = Outliers::Remove { factor: defaults::OUTLIER_FACTOR };
    if at.is_text() {
        return at.word(&[("keep", Outliers::Keep), ("remove", remove)]);
    }
    at.map("keep, remove or { factor: 3 }", |fields| {
        let factor = fields.required("factor", "factor: 3");
        let within = |text: &str| match units::number(text)? {
            0.0 => Err(Wrong::new("a factor of 0 leaves everything out", "write e.g. 3")),
            factor => Ok(factor),
        };
        let factor = factor.and_then(|at| at.parse("a number, e.g. 3", within));
        Outliers::Remove { factor: factor.unwrap_or(defaults::OUTLIER_FACTOR) }
    })
}

fn effect_size(fields: &Fields<'_>) -> EffectSize {
    let measure = fields.or("measure", kayenta::Measure::MeanRatio, |at| at.word(&MEASURES));
    let limit = |name| {
        let within = |text: &str| match (units::number(text)?, measure) {
            (number, kayenta::Measure::Cles) if 1.0 < number => Err(Wrong::new(
                "an effect size by CLES is a probability",
                "write a number from 0 to 1, where 0.5 is no change",
            )),
            (number, _) => Ok(number),
        };
        fields.get(name).and_then(|at| at.parse("a number, e.g. 1.1", within))
    };
    EffectSize {
        measure,
        allowed_increase: limit("allowedIncrease"),
        allowed_decrease: limit("allowedDecrease"),
        critical_increase: limit("criticalIncrease"),
        critical_decrease: limit("criticalDecrease"),
    }
}

/// With every default written out.
fn filled(metric: &Metric) -> Metric {
    let size = &metric.effect_size;
    let effect_size = EffectSize {
        measure: size.measure,
        allowed_increase: Some(size.allowed_increase()),
        allowed_decrease: Some(size.allowed_decrease()),
        critical_increase: Some(size.critical_increase()),
        critical_decrease: Some(size.critical_decrease()),
    };
    Metric { direction: Some(metric.direction()), effect_size, ..metric.clone() }
}
