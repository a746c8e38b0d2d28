//! What is judged and how: Kayenta's analysis configuration of one metric, with its names and defaults.
//!
//! Plain values that mean the same as in a canary configuration of Spinnaker, so that a team can carry it over line
//! by line. Only what Kayenta fixes in its code is missing.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Which value of each scrape is judged, and how. Everything but `value` may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// The value per scrape and arm.
    pub value: Value,
    /// Which change counts against the canary; `None`: what is usual for `value`, see [`Metric::direction`].
    #[serde(default)]
    pub direction: Option<Direction>,
    /// What a missing value means.
    #[serde(default)]
    pub nan_strategy: NanStrategy,
    /// Whether extreme values are left out, in each arm by itself.
    #[serde(default)]
    pub outliers: Outliers,
    /// Whether a change beyond the critical effect size, or no values at all, fails the deployment by itself.
    #[serde(default)]
    pub critical: bool,
    /// Whether an arm without values counts against the canary; without effect on a critical metric, which then
    /// fails anyway.
    #[serde(default)]
    pub must_have_data: bool,
    /// Whether it is only reported and never scored.
    #[serde(default)]
    pub muted: bool,
    /// How large a change must be.
    #[serde(default)]
    pub effect_size: EffectSize,
}

/// The value per scrape and arm that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// The share of failed requests.
    ErrorShare,
    /// A quantile of the durations in seconds, interpolated within its bucket; in (0, 1).
    Latency(f64),
    /// The mean of a gauge over the pods.
    Gauge,
}

/// Which change counts against the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// Higher values.
    Increase,
    /// Lower values.
    Decrease,
    /// Both.
    Either,
}

/// What a missing value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NanStrategy {
    /// Nothing: it is left out.
    #[default]
    Remove,
    /// Zero, and an arm without any values passes.
    Replace,
}

/// Whether extreme values are left out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outliers {
    /// All values count.
    #[default]
    Keep,
    /// Leaves out values more than `factor` interquartile ranges beyond the quartiles, unless they lie within the
    /// 1st to 99th percentile.
    Remove {
        /// Above zero.
        #[serde(default = "usual_factor")]
        factor: f64,
    },
}

fn usual_factor() -> f64 {
    3.0
}

/// How large a change must be. `None` is Kayenta's default: no change, which is 1 for the mean ratio, 0.5 for CLES.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectSize {
    /// How the effect is measured.
    #[serde(default)]
    pub measure: Measure,
    /// An effect of at least this is high.
    #[serde(default)]
    pub allowed_increase: Option<f64>,
    /// An effect of at most this is low.
    #[serde(default)]
    pub allowed_decrease: Option<f64>,
    /// A high effect of at least this is critical, if the metric is.
    #[serde(default)]
    pub critical_increase: Option<f64>,
    /// A low effect of at most this is critical, if the metric is.
    #[serde(default)]
    pub critical_decrease: Option<f64>,
}

/// How the effect of the canary is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// Mean of the canary over mean of the baseline; at least 0. Not checked where either mean is zero.
    #[default]
    MeanRatio,
    /// Common language effect size: the probability that a value of the canary is higher than one of the baseline.
    Cles,
}

/// A configuration that cannot be meant.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum Invalid {
    /// A quantile of the latency outside (0, 1).
    #[error("the latency quantile {0} is not between 0 and 1; write 0.99 for the 99th percentile")]
    Quantile(f64),
    /// A factor that leaves out everything or nothing.
    #[error("the outlier factor {0} is not above 0; Kayenta's usual one is 3.0")]
    Factor(f64),
    /// An effect size that its measure never has.
    #[error("`{field}` is {value}, but {range}")]
    EffectSize {
        /// Name of the field.
        field: &'static str,
        /// What it holds.
        value: f64,
        /// What it may hold and means.
        range: &'static str,
    },
}

impl Metric {
    /// A metric with Kayenta's defaults.
    pub fn new(value: Value) -> Self {
        Self {
            value,
            direction: None,
            nan_strategy: NanStrategy::default(),
            outliers: Outliers::default(),
            critical: false,
            must_have_data: false,
            muted: false,
            effect_size: EffectSize::default(),
        }
    }

    /// Which change counts: as configured, else an increase of errors and latency, and either change of a gauge.
    ///
    /// Kayenta's own default is always either; fewer errors or a faster service are no reason to stop a deployment.
    pub fn direction(&self) -> Direction {
        self.direction.unwrap_or(match self.value {
            Value::ErrorShare | Value::Latency(_) => Direction::Increase,
            Value::Gauge => Direction::Either,
        })
    }

    /// Whether the configuration can be meant.
    ///
    /// # Errors
    /// The first value out of its range; correct it.
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Value::Latency(quantile) = self.value
            && !(quantile > 0.0 && quantile < 1.0)
        {
            return Err(Invalid::Quantile(quantile));
        }
        if let Outliers::Remove { factor } = self.outliers
            && !(factor > 0.0 && factor.is_finite())
        {
            return Err(Invalid::Factor(factor));
        }
        let size = &self.effect_size;
        let (most, range) = match size.measure {
            Measure::MeanRatio => (f64::MAX, "a mean ratio is at least 0, and 1 is no change"),
            Measure::Cles => (1.0, "CLES is from 0 to 1, and 0.5 is no change"),
        };
        let limits = [
            ("allowedIncrease", size.allowed_increase),
            ("allowedDecrease", size.allowed_decrease),
            ("criticalIncrease", size.critical_increase),
            ("criticalDecrease", size.critical_decrease),
        ];
        for (field, limit) in limits {
            if let Some(value) = limit
                && !(0.0..=most).contains(&value)
            {
                return Err(Invalid::EffectSize { field, value, range });
            }
        }
        Ok(())
    }
}

impl EffectSize {
    /// The effect from which on values are high.
    pub fn allowed_increase(&self) -> f64 {
        self.allowed_increase.unwrap_or_else(|| self.no_change())
    }

    /// The effect down from which values are low.
    pub fn allowed_decrease(&self) -> f64 {
        self.allowed_decrease.unwrap_or_else(|| self.no_change())
    }

    /// The effect from which on high values are critical.
    pub fn critical_increase(&self) -> f64 {
        self.critical_increase.unwrap_or_else(|| self.no_change())
    }

    /// The effect down from which low values are critical.
    pub fn critical_decrease(&self) -> f64 {
        self.critical_decrease.unwrap_or_else(|| self.no_change())
    }

    fn no_change(&self) -> f64 {
        match self.measure {
            Measure::MeanRatio => 1.0,
            Measure::Cles => 0.5,
        }
    }
}
