//! One comparison of the arms: the ratio test, its mirror and the interval, fed with the same counts.
//!
//! An errors check has one, a latency check one per threshold.

mod parts;
mod restart;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::{
    Counts, EffectiveTolerance,
    calm::Calm,
    pods::{GROUPS, PSEUDO},
    sequential::{
        Absolute, Dispersion, Exposure, Mirror, Onset, Ratio, RatioInterval, as_f64, log_factor,
        weighted_sum,
    },
};

pub(crate) use self::parts::Parts;
use self::restart::Restart;

/// Requests since the last bake that make a reference of their own.
const ENOUGH_FOR_REFERENCE: u64 = 500;

/// Share of the evidence that rests on the rollout as a whole; the rest begins anew after a bake.
const SINCE_THE_BEGINNING: f64 = 0.97;

/// Starts of the late-onset mixture, one a minute: a ramp that takes longer than this is rare.
const STARTS: u8 = 20;

/// While pods warm up, only a canary this many times as bad as stable is a regression.
const CATASTROPHIC: f64 = 10.0;

/// How fast the proportion of the arms that planning uses forgets, per scrape.
const RECENT: f64 = 0.9;

/// State of one comparison: 1.5 KB, and 0.6 KB more per canary pod where there are several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Comparison {
    /// Bucket bounds in seconds, for latency.
    pub(crate) bounds: Option<Bounds>,
    absolute: f64,
    /// What one event counts (12): less than one where stable's events come in bursts.
    weight: f64,
    /// Evidence since the rollout began, and since each minute of it.
    worse: Onset,
    restart: Restart,
    /// The same without one group of canary pods, by group, where this check has several.
    without: Vec<Onset>,
    /// Groups of canary pods that this check has counted, one bit each.
    groups: u8,
    /// Young canary pods, which are held against a much larger ratio.
    catastrophic: Option<Box<Ratio>>,
    /// Stable's halves against each other, both ways: what it says can only be noise.
    control: Option<Box<[Ratio; 2]>>,
    /// Sets of stable pods against the rest, as if they were the canary.
    pseudo: Vec<Ratio>,
    pub(crate) mirror: Mirror,
    pub(crate) calm: Calm,
    pub(crate) interval: RatioInterval,
    pub(crate) dispersion: Dispersion,
    pub(crate) canary: Counts,
    pub(crate) baseline: Counts,
    /// Of canary pods that warmed up.
    pub(crate) young: Counts,
    /// Requests per scrape lately, canary and baseline.
    recent: (f64, f64),
    /// Both arms together, without the scrapes in which stable was not as usual.
    calm_total: Counts,
    /// Both arms together since a bake was left, where what was unusual has shown to be the same for both.
    segment: Option<Counts>,
    /// The canary alone against what the ramp showed, while baking.
    pub(crate) bake: Option<Watch>,
}

/// How a scrape's counts are taken in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// 1 to add, -1 to take back what was added.
    pub(crate) sign: f64,
    /// It lies before the newest start of the late-onset mixture.
    pub(crate) late: bool,
    /// The tolerated ratio is multiplied by this (11).
    pub(crate) margin: f64,
    /// Stable's pods are in two halves.
    pub(crate) halves: bool,
    /// Sets of stable pods play the canary.
    pub(crate) pseudo: bool,
}

/// The canary alone, held against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Watch {
    /// Since the bake began: sees what is only a little too much.
    pub(crate) whole: Absolute,
    /// Since the current watch began: sees what begins late, which hours of good data would hide.
    pub(crate) lately: Absolute,
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
            absolute,
            weight: 1.0,
            worse: Onset::new(STARTS),
            restart: Restart::default(),
            without: Vec::new(),
            groups: 0,
            catastrophic: None,
            control: None,
            pseudo: Vec::new(),
            mirror: Mirror::new(ratio),
            calm: Calm::default(),
            interval: RatioInterval::default(),
            dispersion: Dispersion::default(),
            canary: Counts::default(),
            baseline: Counts::default(),
            young: Counts::default(),
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

    /// The same with what is usual for the service, from earlier rollouts; `dispersion` is its index of
    /// dispersion, at least 1.
    pub(crate) fn knowing(mut self, usual: Counts, dispersion: f64) -> Self {
        self.calm = Calm::knowing(usual);
        self.weight = 1.0 / dispersion.max(1.0);
        self
    }

    /// The same with a test of its own for pods that warm up.
    pub(crate) fn warming_up(mut self) -> Self {
        self.catastrophic =
            Some(Box::new(Ratio::new(CATASTROPHIC * self.mirror.ratio().max(1.0), self.absolute)));
        self
    }

    /// Begins the starts of the late-onset mixture that are due, `minutes` after the first scrape.
    pub(crate) fn begin(&mut self, minutes: u8) {
        while self.worse.begun() < minutes.min(STARTS) {
            self.worse.begin();
            self.without.iter_mut().for_each(Onset::begin);
        }
    }

    /// Nothing before the newest start of the late-onset mixture is expected any more.
    pub(crate) fn forget_start(&mut self) {
        self.worse.forget_newest();
        self.without.iter_mut().for_each(Onset::forget_newest);
    }

    /// Minutes of the newest start.
    pub(crate) fn begun(&self) -> u8 {
        self.worse.begun()
    }

    /// Takes in, or back, one stratum of one scrape with both arms. `calm` says whether it counts for the canary;
    /// what is added for the first time decides that itself.
    pub(crate) fn apply(&mut self, parts: &Parts, how: How, calm: Option<bool>) -> bool {
        let sign = how.sign;
        let ratio = self.mirror.ratio() * how.margin;
        self.grow(parts, how);
        let seen = self.exposure(parts.canary, parts.baseline);
        if let Some(factor) = log_factor(&seen, ratio, self.absolute) {
            self.worse.add(&factor, sign, how.late);
        }
        // Leaving a pod out allows for what a pod may do already: no margin on top of it.
        for group in (0..self.without.len()).filter(|group| self.groups >> group & 1 == 1) {
            let rest = less(parts.canary, parts.groups[group]);
            let seen = self.exposure(rest, parts.baseline);
            if let Some(factor) = log_factor(&seen, self.mirror.ratio(), self.absolute) {
                self.without[group].add(&factor, sign, how.late);
            }
        }
        self.restart.add(&seen, ratio, self.absolute, sign);
        self.by_themselves(parts, ratio, sign);
        let young = self.exposure(parts.young, parts.baseline);
        if let Some(process) = &mut self.catastrophic
            && let Some(factor) = log_factor(&young, process.ratio() * how.margin, self.absolute)
        {
            process.add(&factor, sign);
        }
        let calm = calm.unwrap_or_else(|| self.calm.is_usual(parts.baseline));
        if calm {
            self.mirror.add(&seen, sign);
            change(&mut self.calm_total, parts.canary, sign);
            change(&mut self.calm_total, parts.baseline, sign);
        }
        if let Some(segment) = &mut self.segment {
            change(segment, parts.canary, sign);
            change(segment, parts.baseline, sign);
        }
        self.interval.add(&seen, sign);
        change(&mut self.canary, parts.canary, sign);
        change(&mut self.baseline, parts.baseline, sign);
        change(&mut self.young, parts.young, sign);
        calm
    }

    /// Stable against itself: the control and the pseudo-canaries.
    fn by_themselves(&mut self, parts: &Parts, ratio: f64, sign: f64) {
        let [left, right] = parts.halves;
        let ways = [(left, right), (right, left)].map(|(one, other)| self.exposure(one, other));
        if let Some(control) = &mut self.control {
            for (process, seen) in control.iter_mut().zip(ways) {
                if let Some(factor) = log_factor(&seen, ratio, self.absolute) {
                    process.add(&factor, sign);
                }
            }
        }
        for set in 0..self.pseudo.len() {
            let playing = parts.pseudo[set];
            let seen = self.exposure(playing, less(parts.baseline, playing));
            if let Some(factor) = log_factor(&seen, ratio, self.absolute) {
                self.pseudo[set].add(&factor, sign);
            }
        }
    }

    /// Begins the processes that need several pods, as soon as there are several.
    fn grow(&mut self, parts: &Parts, how: How) {
        let before = self.groups;
        for (group, seen) in parts.groups.iter().enumerate() {
            self.groups |= u8::from(seen.of > 0) << group;
        }
        if self.groups.count_ones() >= 2 && before != self.groups {
            // Without the only group so far there was no canary; without a new one there is everything so far.
            let alone = |group: usize| before == 1 << group;
            self.without.resize(GROUPS, Onset::new(STARTS));
            for group in (0..GROUPS).filter(|group| self.groups >> group & 1 == 1) {
                if alone(group) {
                    self.without[group] = Onset::new(STARTS);
                    (0..self.worse.begun()).for_each(|_| self.without[group].begin());
                } else if before >> group & 1 == 0 {
                    self.without[group] = self.worse.clone();
                }
            }
        }
        if how.halves && self.control.is_none() {
            let process = Ratio::new(self.mirror.ratio(), self.absolute);
            self.control = Some(Box::new([process.clone(), process]));
        }
        if how.pseudo && self.pseudo.is_empty() {
            self.pseudo = vec![Ratio::new(self.mirror.ratio(), self.absolute); PSEUDO];
        }
    }

    fn exposure(&self, canary: Counts, baseline: Counts) -> Exposure {
        Exposure::new(canary, baseline).scaled(self.weight)
    }

    /// No more counts will come for this scrape: learns from it what is usual. `calm` is what was said of it last.
    /// `neighbour`: it follows the one before.
    pub(crate) fn retire(&mut self, parts: &Parts, calm: bool, neighbour: bool) {
        let usual = self.look_again(parts, calm);
        self.calm.learn(parts.baseline, usual);
        if neighbour {
            self.dispersion.update(parts.baseline);
        }
    }

    /// More is known of what is usual than when `apply` said `calm`: counts the scrape for the canary, or no
    /// longer. Every answer rests on scrapes before this one, as the proof in `calm` asks.
    pub(crate) fn look_again(&mut self, parts: &Parts, calm: bool) -> bool {
        let usual = self.calm.is_usual(parts.baseline);
        if usual != calm {
            let seen = self.exposure(parts.canary, parts.baseline);
            let sign = if usual { 1.0 } else { -1.0 };
            self.mirror.add(&seen, sign);
            change(&mut self.calm_total, parts.canary, sign);
            change(&mut self.calm_total, parts.baseline, sign);
        }
        usual
    }

    /// Notes how the requests divide between the arms lately.
    pub(crate) fn note_proportion(&mut self, parts: &Parts) {
        self.recent.0 = RECENT * self.recent.0 + as_f64(parts.canary.of);
        self.recent.1 = RECENT * self.recent.1 + as_f64(parts.baseline.of);
    }

    /// Natural logarithm of the evidence that the canary is worse than tolerated, all pods together.
    pub(crate) fn log_e(&self) -> f64 {
        self.mixed(&self.worse)
    }

    /// The same without one group of canary pods.
    pub(crate) fn log_e_without(&self, group: usize) -> f64 {
        self.without.get(group).map_or_else(|| self.log_e(), |without| self.mixed(without))
    }

    /// Groups of canary pods that can be left out: none where this check counts one only.
    pub(crate) fn groups(&self) -> impl Iterator<Item = usize> + use<> {
        let groups = if self.without.is_empty() { 0 } else { self.groups };
        (0..GROUPS).filter(move |group| groups >> group & 1 == 1)
    }

    fn mixed(&self, onset: &Onset) -> f64 {
        let [banked, restarted, to_come] = self.restart.parts();
        let whole = (SINCE_THE_BEGINNING, onset.log_e());
        weighted_sum([whole, banked, restarted, to_come].into_iter())
    }

    /// Natural logarithm of the evidence that young pods fail badly; 0 where nothing warms up.
    pub(crate) fn log_catastrophic(&self) -> f64 {
        self.catastrophic.as_ref().map_or(0.0, |process| process.log_e())
    }

    /// Whether it has a test for young pods.
    pub(crate) fn warms_up(&self) -> bool {
        self.catastrophic.is_some()
    }

    /// Natural logarithm of the evidence that stable's halves differ; 0 with fewer than two pods.
    pub(crate) fn log_control(&self) -> f64 {
        self.control.as_ref().map_or(0.0, |control| {
            weighted_sum(control.iter().map(|process| (0.5, process.log_e())))
        })
    }

    /// Natural logarithm of the evidence of each set of stable pods that plays the canary.
    pub(crate) fn log_pseudo(&self, set: usize) -> Option<f64> {
        self.pseudo.get(set).map(Ratio::log_e)
    }

    /// What the test tolerates: ratio and additional share.
    pub(crate) fn tolerance(&self) -> (f64, f64) {
        (self.mirror.ratio(), self.absolute)
    }

    /// What one event counts, in (0, 1].
    pub(crate) fn weight(&self) -> f64 {
        self.weight
    }

    /// Canary and baseline requests in the proportion of late.
    pub(crate) fn proportion(&self) -> (f64, f64) {
        self.recent
    }

    /// Begins to hold the canary alone against what both arms showed so far.
    ///
    /// The reference is an upper confidence bound of the share over both arms, of everything seen while stable was as
    /// usual and of all that was seen since the last bake, whichever is larger; what the ramp would have
    /// promoted is tolerated on top: `ratio` x reference + the larger of the tolerance and `harm`.
    pub(crate) fn enter_bake(&mut self, harm: f64, false_alarm: f64) {
        // A tenth of alpha for the reference itself, so that it adds little to the false alarms.
        let mut reference = upper_share(self.calm_total, false_alarm / 10.0);
        if let Some(segment) = self.segment.filter(|s| s.of >= ENOUGH_FOR_REFERENCE) {
            reference = reference.max(upper_share(segment, false_alarm / 10.0));
        }
        let limit = self.mirror.ratio() * reference + self.absolute.max(harm);
        let limit = Absolute::new(limit.min(1.0));
        self.bake = Some(Watch { whole: limit, lately: limit });
    }

    pub(crate) fn leave_bake(&mut self) {
        self.bake = None;
        self.restart.begin(self.mirror.ratio(), self.absolute);
        self.segment = Some(Counts::default());
    }
}

/// What is left of an arm without a part of it.
fn less(all: Counts, part: Counts) -> Counts {
    Counts { events: all.events.saturating_sub(part.events), of: all.of.saturating_sub(part.of) }
}

/// Adds counts, or with `sign` -1 takes them away.
fn change(total: &mut Counts, seen: Counts, sign: f64) {
    if sign > 0.0 { total.add(seen) } else { *total = less(*total, seen) }
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
        let take = |comparison: &mut Comparison, canary, baseline| {
            let how = How { sign: 1.0, late: false, margin: 1.0, halves: false, pseudo: false };
            comparison.apply(&Parts { canary, baseline, ..Parts::default() }, how, None);
        };
        take(&mut comparison, Counts { events: 1, of: 1000 }, Counts { events: 99, of: 99_000 });
        comparison.enter_bake(0.001, 0.01);
        let first = comparison.bake.unwrap().whole.at_most();
        comparison.leave_bake();
        take(&mut comparison, Counts { events: 50, of: 5000 }, Counts { events: 50, of: 5000 });
        comparison.enter_bake(0.001, 0.01);
        let second = comparison.bake.unwrap().whole.at_most();
        assert!((0.002..0.003).contains(&first), "{first}");
        assert!(second > 0.0125, "{second}");
    }

    #[test]
    fn the_published_case_of_one_bad_pod_holds() {
        let seen = |events, of| Counts { events, of };
        let mut comparison = Comparison::errors(1.25, 0.0);
        for (pods, baseline) in [
            ([seen(6, 60), seen(1, 60), seen(0, 62)], seen(3, 1700)),
            ([seen(7, 61), seen(0, 59), seen(1, 60)], seen(4, 1720)),
        ] {
            let mut canary = Counts::default();
            let mut groups = [Counts::default(); GROUPS];
            for (group, pod) in groups.iter_mut().zip(pods) {
                canary.add(pod);
                *group = pod;
            }
            let parts = Parts { canary, baseline, groups, ..Parts::default() };
            let how = How { sign: 1.0, late: false, margin: 1.0, halves: false, pseudo: false };
            comparison.apply(&parts, how, None);
        }
        // What is told also counts starts and restarts to come, which are 1: nine tenths of 0.97 are the case.
        let plain = |log_e: f64| ((log_e.exp() - 0.03 - 0.97 * 0.1) / (0.97 * 0.9)).ln();
        assert!((plain(comparison.log_e()) - 16.884_217_945_746_865).abs() < 1e-8);
        let without: Vec<f64> =
            comparison.groups().map(|group| plain(comparison.log_e_without(group))).collect();
        let expected = [0.227_416_843_061_003_57, 19.789_753_769_856_915, 19.924_715_874_831_1];
        assert_eq!(without.len(), 3);
        for (got, expected) in without.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-8, "{without:?}");
        }
    }
}
