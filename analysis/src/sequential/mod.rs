//! The sequential tests: each stays valid however often one looks.
//!
//! Everything here is plain arithmetic on counts, in log space, without time or randomness. Formula numbers
//! are those of the crate's README. One test per file; `grid` holds the alternatives that two of them share.

pub mod absolute;
pub mod attribution;
pub mod dispersion;
#[cfg(test)]
mod draws;
mod grid;
pub mod interval;
pub mod merge;
pub mod mirror;
pub mod novelty;
pub mod onset;
pub mod paired;
pub mod permutation;
pub mod planning;
pub mod pods;
pub mod quantile;
pub mod ratio;
pub mod sample_ratio;

pub use absolute::Absolute;
pub use attribution::{closed_testing, regressed};
pub use dispersion::Dispersion;
pub use interval::{RatioInterval, ratio_interval};
pub use merge::weighted_mean;
pub(crate) use merge::weighted_sum;
pub use mirror::Mirror;
pub use novelty::{LEAST_APART, LEAST_TIMES, Look, New, NewErrors, Seen};
pub use onset::Onset;
pub use paired::{Pair, Paired, Tally};
pub use permutation::{Method, Permutation, permutation_test, smallest_p};
pub use planning::{
    canary_errors_to_revert, expected_log_growth, requests_until_allowed, scrapes_to_decide,
};
pub use pods::{between_pods_cv, inflated_margin};
pub use quantile::{QuantileInterval, QuantileRadii, quantile_interval, quantile_radii};
pub use ratio::Ratio;
pub(crate) use ratio::log_factor;
pub use sample_ratio::{Mismatch, SampleRatio};

/// Requests and events of both arms between two scrapes, already summed over instances.
///
/// Numbers are floating point because the formulas are; whole numbers up to 2^53 are exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exposure {
    /// Canary events, at least 0.
    pub canary_events: f64,
    /// Baseline events, at least 0.
    pub baseline_events: f64,
    /// Canary requests, at least 0.
    pub canary: f64,
    /// Baseline requests, at least 0.
    pub baseline: f64,
}

impl Exposure {
    /// From whole counts.
    pub fn new(canary: crate::Counts, baseline: crate::Counts) -> Self {
        Self {
            canary_events: as_f64(canary.events),
            baseline_events: as_f64(baseline.events),
            canary: as_f64(canary.of),
            baseline: as_f64(baseline.of),
        }
    }

    /// The same with every count multiplied by `weight`, for events that come in bursts (12): of bursts of
    /// fixed size, each is one event.
    #[must_use]
    pub fn scaled(self, weight: f64) -> Self {
        Self {
            canary_events: self.canary_events * weight,
            baseline_events: self.baseline_events * weight,
            canary: self.canary * weight,
            baseline: self.baseline * weight,
        }
    }

    /// Whether it can say anything: both arms served requests. Otherwise its factor is 1.
    pub fn compares(&self) -> bool {
        self.canary > 0.0 && self.baseline > 0.0
    }
}

/// A count as the formulas need it.
#[expect(
    clippy::cast_precision_loss,
    reason = "observations are bounded far below 2^53, and a sum beyond it loses nothing that matters"
)]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}
