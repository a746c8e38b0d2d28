//! What a check tolerates where the policy does not say it itself, and where a histogram is cut.

use crate::{
    Counts, Sample, Settings, Test,
    latency::{effective_tolerance, position_of},
};

/// The relative tolerance beside an objective that rolls back, if the policy names none: as in the defaults.
const USUAL_RATIO: f64 = 1.25;
const USUAL_ABSOLUTE: f64 = 0.001;

/// Requests above a bound, if the histogram has it.
pub(super) fn slower_than(sample: &Sample, bound: f64) -> Option<Counts> {
    match sample {
        Sample::Histogram { le, counts } => {
            let index = position_of(le, bound)?;
            // Validated before: the sum stays far below the largest number.
            let (below, above) = counts.split_at(index + 1);
            let events = above.iter().sum();
            Some(Counts { events, of: below.iter().sum::<u64>() + events })
        }
        Sample::Exponential(histogram) => histogram.slower_than(bound),
        Sample::Events { .. } | Sample::Gauge { .. } | Sample::Attempt { .. } => None,
    }
}

/// The tolerance of the policy's errors check on the same measurement, or the usual one.
pub(super) fn errors_tolerance(settings: &Settings, reads: &str) -> (f64, f64) {
    let mut same = settings.checks.iter().filter(|check| check.reads == reads);
    same.find_map(|check| match &check.test {
        Test::Errors { ratio, absolute } => Some((sane_ratio(*ratio), sane_share(*absolute))),
        Test::Latency { .. }
        | Test::ErrorObjective { .. }
        | Test::LatencyObjective { .. }
        | Test::Restarts { .. }
        | Test::NewErrors
        | Test::Journey { .. }
        | Test::Gauge { .. }
        | Test::Kayenta(_) => None,
    })
    .unwrap_or((USUAL_RATIO, USUAL_ABSOLUTE))
}

/// The same for the share of requests slower than one bound.
pub(super) fn latency_tolerance(settings: &Settings, reads: &str, bound: f64) -> (f64, f64) {
    settings
        .checks
        .iter()
        .filter(|check| check.reads == reads)
        .find_map(|check| effective_tolerance(&[bound], &check.test).first().copied())
        .map_or((USUAL_RATIO, USUAL_ABSOLUTE), |tolerance| (sane_ratio(tolerance.ratio), 0.0))
}

/// The configuration validates ranges; whatever comes here must still not poison the state.
pub(super) fn sane_ratio(ratio: f64) -> f64 {
    if ratio.is_finite() { ratio.clamp(1e-3, 1e3) } else { USUAL_RATIO }
}

pub(super) fn sane_share(share: f64) -> f64 {
    if share.is_finite() { share.clamp(0.0, 1.0) } else { USUAL_ABSOLUTE }
}
