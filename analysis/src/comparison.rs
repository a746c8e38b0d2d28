//! One comparison of the arms: the ratio test, its mirror and the interval, fed with the same counts.
//!
//! An errors check has one, a latency check one per threshold.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::{
    Counts, EffectiveTolerance,
    calm::Calm,
    sequential::{Absolute, Exposure, Mirror, Ratio, RatioInterval, as_f64, weighted_sum},
};

/// Requests since the last bake that make a reference of their own.
const ENOUGH_FOR_REFERENCE: u64 = 500;

/// Share of the evidence that rests on everything since the rollout began; the rest is for restarts.
const SINCE_THE_BEGINNING: f64 = 0.95;

/// How fast the proportion of the arms that planning uses forgets, per scrape.
const RECENT: f64 = 0.9;

/// State of one comparison, about 1.1 KB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Comparison {
    /// Bucket bounds in seconds, for latency.
    pub(crate) bounds: Option<Bounds>,
    /// Evidence since the rollout began.
    worse: Ratio,
    restart: Restart,
    pub(crate) mirror: Mirror,
    pub(crate) calm: Calm,
    pub(crate) interval: RatioInterval,
    pub(crate) canary: Counts,
    pub(crate) baseline: Counts,
    /// Requests per scrape lately, canary and baseline.
    recent: (f64, f64),
    /// Both arms together, without the scrapes in which stable was not as usual.
    calm_total: Counts,
    /// Both arms together since a bake was left, where what was unusual has shown to be the same for both.
    segment: Option<Counts>,
    /// The canary alone against what the ramp showed, while baking.
    pub(crate) bake: Option<Watch>,
}

/// The canary alone, held against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Watch {
    /// Since the bake began: sees what is only a little too much.
    pub(crate) whole: Absolute,
    /// Since the current watch began: sees what begins late, which hours of good data would hide.
    pub(crate) lately: Absolute,
}

/// Evidence since a bake was left for a comparison: an hour of good data before must not hide what began late.
///
/// With weights that are fixed beforehand, 0.95 for the beginning and 0.05 x 2^-j for the j-th restart, and
/// each restart counting 1 before it begins, the weighted sum is an e-process again, whenever one restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Restart {
    /// How often.
    count: u8,
    /// What finished restarts have left, weighted.
    banked: f64,
    process: Option<Box<Ratio>>,
}

impl Restart {
    /// After these, restarts no longer begin anew: their weight would be nothing.
    const MOST: u8 = 40;

    fn weight(&self) -> f64 {
        (1.0 - SINCE_THE_BEGINNING) * 0.5_f64.powi(self.count.into())
    }

    fn begin(&mut self, ratio: f64, absolute: f64) {
        if self.count >= Self::MOST {
            return;
        }
        if let Some(process) = &self.process {
            // A stopped process keeps its value. Far beyond any threshold it may as well be cut.
            self.banked += self.weight() * process.log_e().min(300.0).exp();
        }
        self.count += 1;
        self.process = Some(Box::new(Ratio::new(ratio, absolute)));
    }

    /// Weights and logarithms of all parts.
    fn parts(&self) -> [(f64, f64); 3] {
        let process =
            self.process.as_ref().map_or((0.0, 0.0), |process| (self.weight(), process.log_e()));
        // Restarts to come weigh as much as the current one.
        [(self.banked, 0.0), process, (self.weight(), 0.0)]
    }
}

/// Requests slower than these are compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    pub(crate) baseline: f64,
    pub(crate) canary: f64,
}

impl Comparison {
    pub(crate) fn errors(ratio: f64, absolute: f64) -> Self {
        Self {
            bounds: None,
            worse: Ratio::new(ratio, absolute),
            restart: Restart::default(),
            mirror: Mirror::new(ratio),
            calm: Calm::default(),
            interval: RatioInterval::default(),
            canary: Counts::default(),
            baseline: Counts::default(),
            recent: (0.0, 0.0),
            calm_total: Counts::default(),
            segment: None,
            bake: None,
        }
    }

    pub(crate) fn slower(tolerance: &EffectiveTolerance, absolute: f64) -> Self {
        let bounds = Bounds { baseline: tolerance.baseline_bound, canary: tolerance.canary_bound };
        Self { bounds: Some(bounds), ..Self::errors(tolerance.ratio, absolute) }
    }

    /// The same with what is usual for the service, from earlier rollouts.
    pub(crate) fn knowing(mut self, usual: Counts) -> Self {
        self.calm = Calm::knowing(usual);
        self
    }

    /// Takes in one stratum of one scrape with both arms.
    pub(crate) fn update(&mut self, canary: Counts, baseline: Counts) {
        let seen = Exposure::new(canary, baseline);
        self.worse.update(&seen);
        if let Some(restarted) = &mut self.restart.process {
            restarted.update(&seen);
        }
        if self.calm.take(baseline) {
            self.mirror.update(&seen);
            self.calm_total.add(canary);
            self.calm_total.add(baseline);
        }
        if let Some(segment) = &mut self.segment {
            segment.add(canary);
            segment.add(baseline);
        }
        self.interval.update(&seen);
        for (total, more) in [(&mut self.canary, canary), (&mut self.baseline, baseline)] {
            total.add(more);
        }
        self.recent.0 = RECENT * self.recent.0 + seen.canary;
        self.recent.1 = RECENT * self.recent.1 + seen.baseline;
    }

    /// Natural logarithm of the evidence that the canary is worse than tolerated.
    pub(crate) fn log_e(&self) -> f64 {
        let [banked, restarted, to_come] = self.restart.parts();
        let since_the_beginning = (SINCE_THE_BEGINNING, self.worse.log_e());
        weighted_sum([since_the_beginning, banked, restarted, to_come].into_iter())
    }

    /// What the test tolerates: ratio and additional share.
    pub(crate) fn tolerance(&self) -> (f64, f64) {
        (self.worse.ratio(), self.worse.absolute())
    }

    /// Canary and baseline requests in the proportion of late.
    pub(crate) fn proportion(&self) -> (f64, f64) {
        self.recent
    }

    /// Begins to hold the canary alone against what both arms showed so far.
    ///
    /// The reference is an upper confidence bound of the share over both arms, of everything seen while stable was as usual and of all that was seen since the last bake, whichever is larger; what the ramp would have
    /// promoted is tolerated on top: `ratio` x reference + the larger of the tolerance and `harm`.
    pub(crate) fn enter_bake(&mut self, harm: f64, false_alarm: f64) {
        // A tenth of alpha for the reference itself, so that it adds little to the false alarms.
        let mut reference = upper_share(self.calm_total, false_alarm / 10.0);
        if let Some(segment) = self.segment.filter(|s| s.of >= ENOUGH_FOR_REFERENCE) {
            reference = reference.max(upper_share(segment, false_alarm / 10.0));
        }
        let limit = self.worse.ratio() * reference + self.worse.absolute().max(harm);
        let limit = Absolute::new(limit.min(1.0));
        self.bake = Some(Watch { whole: limit, lately: limit });
    }

    pub(crate) fn leave_bake(&mut self) {
        self.bake = None;
        self.restart.begin(self.worse.ratio(), self.worse.absolute());
        self.segment = Some(Counts::default());
    }
}

impl Watch {
    pub(crate) fn update(&mut self, seen: Counts) {
        self.whole.update(seen);
        self.lately.update(seen);
    }

    /// Begins to watch anew for what begins late.
    pub(crate) fn restart(&mut self) {
        self.lately = Absolute::new(self.whole.at_most());
    }
}

/// Upper confidence bound of a share at confidence 1 - `miss`, in [0, 1].
///
/// Wilson's score bound (1927), which for rare events lies above the exact one, and unlike it is cheap and
/// precise for every number of requests.
fn upper_share(counts: Counts, miss: f64) -> f64 {
    let (events, of) = (as_f64(counts.events), as_f64(counts.of));
    let z = Normal::standard().inverse_cdf(1.0 - miss.clamp(1e-12, 0.5));
    let half = z * z / 2.0;
    let root = z * (events * (1.0 - counts.share()) + half / 2.0).sqrt();
    let bound = (events + half + root) / (of + 2.0 * half);
    if bound.is_finite() { bound.clamp(0.0, 1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_share_is_above_the_exact_bound_and_close_to_it() {
        // Exact (Clopper and Pearson) upper bounds at 99.9 %, from a Beta quantile.
        for (events, of, exact) in
            [(0, 1000, 0.006_884), (10, 1000, 0.024_14), (1_000_000, 1_000_000_000, 0.001_003)]
        {
            let bound = upper_share(Counts { events, of }, 0.001);
            assert!(exact <= bound && bound < exact * 1.4, "{events} of {of}: {bound}");
        }
        for (events, of) in [(0, 0), (5, u64::MAX), (u64::MAX, u64::MAX)] {
            let bound = upper_share(Counts { events, of }, 0.001);
            assert!((0.0..=1.0).contains(&bound));
        }
    }

    #[test]
    fn a_second_bake_also_knows_what_was_seen_since_the_first() {
        let mut comparison = Comparison::errors(1.25, 0.001);
        comparison.update(Counts { events: 1, of: 1000 }, Counts { events: 99, of: 99_000 });
        comparison.enter_bake(0.001, 0.01);
        let first = comparison.bake.unwrap().whole.at_most();
        comparison.leave_bake();
        comparison.update(Counts { events: 50, of: 5000 }, Counts { events: 50, of: 5000 });
        comparison.enter_bake(0.001, 0.01);
        let second = comparison.bake.unwrap().whole.at_most();
        assert!((0.002..0.003).contains(&first), "{first}");
        assert!(second > 0.0125, "{second}");
    }
}
