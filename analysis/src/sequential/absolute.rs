//! The absolute e-process (5): does one arm alone exceed a fixed share?
//!
//! Null hypothesis: each request is an event with probability at most `at_most`. A mixture of Bernoulli
//! likelihood ratios (Howard, Ramdas and others, "Time-uniform, nonparametric, nonasymptotic
//! confidence sequences", 2021, arXiv 1810.08240). It depends on the two totals only, so they are the state.
//! It does not cancel shared incidents: on its own it pauses or raises suspicion, it never fails a canary.

use serde::{Deserialize, Serialize};

use super::{
    as_f64,
    grid::{GRID, POINTS, log_mean_exp},
};
use crate::Counts;

/// Evidence that more than `at_most` of all requests are events.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Absolute {
    at_most: f64,
    counts: Counts,
}

impl Absolute {
    /// No evidence yet, against the null "share of events <= `at_most`", a share in (0, 1).
    pub fn new(at_most: f64) -> Self {
        Self { at_most, counts: Counts::default() }
    }

    /// The share that the null allows.
    pub fn at_most(&self) -> f64 {
        self.at_most
    }

    /// What was seen since the evidence began.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes in one scrape.
    pub fn update(&mut self, seen: Counts) {
        self.counts.add(seen);
    }

    /// Natural logarithm of the e-process; 0 without evidence, and 0 where no share could exceed the limit.
    pub fn log_e(&self) -> f64 {
        let limit = self.at_most;
        if !(0.0 < limit && limit < 1.0) {
            return 0.0;
        }
        let events = as_f64(self.counts.events);
        let rest = as_f64(self.counts.of.saturating_sub(self.counts.events));
        let mut lanes = [0.0; POINTS];
        for (lane, worse) in lanes.iter_mut().zip(&GRID.worse) {
            let share = (limit * worse).min(f64::midpoint(1.0, limit));
            *lane = events * (share / limit).ln() + rest * ((1.0 - share) / (1.0 - limit)).ln();
        }
        log_mean_exp(&lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_case() {
        let mut process = Absolute::new(0.001);
        process.update(Counts { events: 25, of: 5000 });
        assert!((process.log_e() - 17.550_157_978_724_993).abs() < 1e-8);
    }

    #[test]
    fn within_the_limit_the_evidence_falls() {
        let mut process = Absolute::new(0.01);
        process.update(Counts { events: 5, of: 1000 });
        assert!(process.log_e() < 0.0);
    }

    #[test]
    fn impossible_limits_and_huge_totals_stay_finite() {
        for limit in [0.0, 1.0, 2.0, f64::NAN] {
            let mut process = Absolute::new(limit);
            process.update(Counts { events: 10, of: 10 });
            assert!(process.log_e().abs() < f64::MIN_POSITIVE);
        }
        let mut process = Absolute::new(1e-12);
        process.update(Counts { events: u64::MAX, of: u64::MAX });
        process.update(Counts { events: u64::MAX, of: u64::MAX });
        assert!(process.log_e().is_finite());
    }
}
