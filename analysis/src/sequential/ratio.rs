//! The ratio e-process (2) with absolute tolerance (2a): is the canary worse than tolerated?
//!
//! Null hypothesis: at every scrape the canary's share of events is at most `ratio` x the baseline's +
//! `absolute`. Given both arms' requests, an event comes from the canary with a probability in which the common
//! rate cancels, so a shared incident, a daily cycle or a changed weight is no evidence (Lindon and Malek,
//! "Anytime-Valid Inference for Multinomial Count Data", 2022, arXiv 2011.03567, sections 3 and 4).
//! Under the null the process is a nonnegative supermartingale from 1, so it ever reaches 1/alpha with
//! probability at most alpha (Ville).

use serde::{Deserialize, Serialize};

use super::{
    Exposure,
    grid::{GRID, Lanes, POINTS, log_mean_exp},
};

/// Evidence that the canary is worse than tolerated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    tolerated: f64,
    absolute: f64,
    lanes: Lanes,
}

impl Ratio {
    /// No evidence yet, against the null "canary <= `ratio` x baseline + `absolute`".
    /// `ratio` is positive and `absolute` a share in [0, 1).
    pub fn new(ratio: f64, absolute: f64) -> Self {
        Self { tolerated: ratio, absolute, lanes: [0.0; POINTS] }
    }

    /// The tolerated ratio of shares.
    pub fn ratio(&self) -> f64 {
        self.tolerated
    }

    /// The tolerated additional share.
    pub fn absolute(&self) -> f64 {
        self.absolute
    }

    /// Takes in one stratum of one scrape. An arm without requests makes no difference.
    pub fn update(&mut self, seen: &Exposure) {
        if let Some(factor) = log_factor(seen, self.tolerated, self.absolute) {
            self.add(&factor, 1.0);
        }
    }

    /// Multiplies by a scrape's factor, or with `sign` -1 takes it back.
    pub(crate) fn add(&mut self, factor: &Lanes, sign: f64) {
        for (lane, factor) in self.lanes.iter_mut().zip(factor) {
            *lane += sign * factor;
        }
    }

    /// Natural logarithm of the e-process; 0 without evidence.
    pub fn log_e(&self) -> f64 {
        log_mean_exp(&self.lanes)
    }
}

/// Natural logarithm of one scrape's factor for each alternative; nothing where it is 1 for all.
///
/// The tolerated `ratio` may differ from scrape to scrape: each factor by itself has a mean of at most 1 while
/// the canary's share is at most `ratio` x the baseline's + `absolute`.
pub(crate) fn log_factor(seen: &Exposure, ratio: f64, absolute: f64) -> Option<Lanes> {
    if !seen.compares() {
        return None;
    }
    let grid = &*GRID;
    let scaled = ratio * seen.canary;
    let events = seen.canary_events + seen.baseline_events;
    let at_null = scaled + seen.baseline;
    let leeway = absolute * seen.canary * seen.baseline;
    let mut factor = [0.0; POINTS];
    // Most scrapes of a healthy service have no event: they need no logarithm at all.
    if events > 0.0 {
        for (lane, (h, worse)) in factor.iter_mut().zip(grid.log_ratio.iter().zip(&grid.worse)) {
            let here = scaled * worse + seen.baseline;
            *lane = seen.canary_events * h
                - events * (here / at_null).ln()
                - leeway * (worse - 1.0) / here;
        }
    } else if leeway > 0.0 {
        for (lane, worse) in factor.iter_mut().zip(&grid.worse) {
            *lane = -leeway * (worse - 1.0) / (scaled * worse + seen.baseline);
        }
    } else {
        return None;
    }
    Some(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposure(x_c: f64, x_b: f64, n_c: f64, n_b: f64) -> Exposure {
        Exposure { canary_events: x_c, baseline_events: x_b, canary: n_c, baseline: n_b }
    }

    #[test]
    fn three_canary_errors_give_the_published_number() {
        let mut process = Ratio::new(1.0, 0.0);
        process.update(&exposure(3.0, 0.0, 125.0, 2375.0));
        assert!((process.log_e() - 6.360_642_856_417_509).abs() < 1e-9);
    }

    #[test]
    fn one_arm_alone_makes_no_difference() {
        let mut process = Ratio::new(1.25, 0.001);
        process.update(&exposure(30.0, 0.0, 125.0, 0.0));
        process.update(&exposure(0.0, 30.0, 0.0, 125.0));
        assert_eq!(process, Ratio::new(1.25, 0.001));
    }

    #[test]
    fn shared_incident_is_no_evidence() {
        let mut process = Ratio::new(1.0, 0.0);
        for _ in 0..100 {
            process.update(&exposure(400.0, 400.0, 1000.0, 1000.0));
        }
        assert!(process.log_e() < 0.0);
    }

    #[test]
    fn absolute_tolerance_only_lowers_the_evidence() {
        let seen = exposure(5.0, 1.0, 1000.0, 9000.0);
        let mut strict = Ratio::new(1.25, 0.0);
        let mut lenient = Ratio::new(1.25, 0.001);
        strict.update(&seen);
        lenient.update(&seen);
        assert!(lenient.log_e() < strict.log_e());
    }
}
