//! The late-onset mixture (9): a leak that begins after ten good minutes must not be hidden by them.
//!
//! `E = 9/10 E_0 + 1/10 mean over starts s of E_(s..K)`, with `E_(s..K) = 1` before s: the finite-horizon version of
//! the e-detector of Shin, Ramdas and Rinaldo ("E-detectors", 2022, arXiv 2203.03532). A weighted mean of
//! supermartingales from 1 is one again, whatever began when. Most regressions are there from the first request, and
//! halves would make each of these cost 0.7 nats instead of 0.1; a late one costs 1.6 more this way.
//!
//! All parts share the alternatives of the grid, so `E_(s..K)` is the mean over them of `exp(L_g(K) - L_g(s))`, and
//! the mixture is the mean of `exp(L_g(K)) W_g` with `W_g = 9/10 + 1/10 mean over starts of exp(-L_g(s))`, which
//! changes at a start only: three numbers per alternative, not one process per start.

use serde::{Deserialize, Serialize};

use super::grid::{Lanes, POINTS, log_mean_exp};

/// Share of the mixture that rests on everything since the beginning.
const SINCE_THE_BEGINNING: f64 = 0.9;

/// Evidence that the canary is worse than tolerated, since the beginning or since one of the starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Onset {
    /// `L_g`: everything so far.
    lanes: Lanes,
    /// `L_g(s)` of the newest start, as long as a late scrape may lie before it.
    newest: Option<Box<Lanes>>,
    /// `ln W_g` over the starts that have begun.
    weight: Lanes,
    planned: u8,
    begun: u8,
}

impl Onset {
    /// No evidence yet; `planned` starts will share a tenth of the weight.
    pub fn new(planned: u8) -> Self {
        let weight = if planned == 0 { 1.0 } else { SINCE_THE_BEGINNING };
        let none = [0.0; POINTS];
        Self { lanes: none, newest: None, weight: [weight.ln(); POINTS], planned, begun: 0 }
    }

    /// Starts that have begun.
    pub fn begun(&self) -> u8 {
        self.begun
    }

    /// The next of the planned starts is now; beyond the last one nothing happens.
    pub fn begin(&mut self) {
        if self.begun >= self.planned {
            return;
        }
        let share = self.share().ln();
        for (weight, lane) in self.weight.iter_mut().zip(&self.lanes) {
            *weight = log_add(*weight, share - lane);
        }
        self.newest = Some(Box::new(self.lanes));
        self.begun += 1;
    }

    /// Multiplies by a scrape's factor, or with `sign` -1 takes it back. `late`: the scrape lies before the
    /// newest start, which it must not count for.
    pub(crate) fn add(&mut self, factor: &Lanes, sign: f64, late: bool) {
        for (lane, factor) in self.lanes.iter_mut().zip(factor) {
            *lane += sign * factor;
        }
        let share = self.share().ln();
        if let Some(newest) = self.newest.as_mut().filter(|_| late) {
            for ((newest, weight), factor) in newest.iter_mut().zip(&mut self.weight).zip(factor) {
                let before = share - *newest;
                *newest += sign * factor;
                *weight = exchanged(*weight, before, share - *newest);
            }
        }
    }

    /// Nothing can be late any more for the newest start. What still comes is counted for it, which is valid too.
    pub(crate) fn forget_newest(&mut self) {
        self.newest = None;
    }

    /// What one start weighs.
    fn share(&self) -> f64 {
        (1.0 - SINCE_THE_BEGINNING) / f64::from(self.planned)
    }

    /// Natural logarithm of the mixture; 0 without evidence.
    pub fn log_e(&self) -> f64 {
        let mut lanes = self.lanes;
        for (lane, weight) in lanes.iter_mut().zip(&self.weight) {
            *lane += weight;
        }
        let begun = log_mean_exp(&lanes);
        if self.begun >= self.planned {
            return begun;
        }
        // Starts to come count 1.
        log_add(begun, (self.share() * f64::from(self.planned - self.begun)).ln())
    }
}

/// `ln(exp(sum) - exp(out) + exp(in))`, where `out` is a part of the sum.
fn exchanged(sum: f64, out: f64, new: f64) -> f64 {
    let highest = sum.max(new);
    let rest = ((sum - highest).exp() - (out - highest).exp()).max(0.0) + (new - highest).exp();
    highest + rest.max(f64::MIN_POSITIVE).ln()
}

fn log_add(left: f64, right: f64) -> f64 {
    let (high, low) = if left > right { (left, right) } else { (right, left) };
    high + (low - high).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequential::{Exposure, Ratio, ratio::log_factor};

    fn seen(x_c: u32, x_b: u32, n_c: u32, n_b: u32) -> Exposure {
        Exposure {
            canary_events: x_c.into(),
            baseline_events: x_b.into(),
            canary: n_c.into(),
            baseline: n_b.into(),
        }
    }

    /// The mixture by one process for each start, given as scrapes counted from 0.
    fn direct(scrapes: &[Exposure], starts: &[usize], ratio: f64) -> f64 {
        let process = |scrapes: &[Exposure]| {
            let mut process = Ratio::new(ratio, 0.0);
            for seen in scrapes {
                process.update(seen);
            }
            process.log_e().exp()
        };
        let since: f64 =
            starts.iter().map(|start| process(&scrapes[(*start).min(scrapes.len())..])).sum();
        (0.9 * process(scrapes) + 0.1 * since / crate::sequential::as_f64(starts.len() as u64)).ln()
    }

    fn mixed(scrapes: &[Exposure], starts: &[usize], ratio: f64) -> Onset {
        let mut onset = Onset::new(u8::try_from(starts.len()).unwrap());
        for (index, seen) in scrapes.iter().enumerate() {
            for _ in starts.iter().filter(|start| **start == index) {
                onset.begin();
            }
            if let Some(factor) = log_factor(seen, ratio, 0.0) {
                onset.add(&factor, 1.0, false);
            }
        }
        onset
    }

    #[test]
    fn the_published_case_holds() {
        let mut scrapes = vec![seen(0, 2, 125, 2375); 6];
        scrapes.extend(vec![seen(3, 2, 125, 2375); 4]);
        let onset = mixed(&scrapes, &[0, 3, 6], 1.0);
        // It gives the mean over the starts alone.
        let plain = 13.285_212_641_870_359_f64;
        let starts = (10.0 * onset.log_e().exp() - 9.0 * plain.exp()).ln();
        assert!((starts - 19.188_620_105_202_7).abs() < 1e-9, "{starts}");
    }

    proptest! {
        #[test]
        fn it_is_the_sum_over_separate_processes(
            scrapes in proptest::collection::vec((0..5_u32, 0..20_u32, 0..200_u32, 1..2000_u32), 1..40),
            gap in 1..9_usize,
        ) {
            let scrapes: Vec<Exposure> =
                scrapes.into_iter().map(|(x_c, x_b, n_c, n_b)| seen(x_c.min(n_c), x_b.min(n_b), n_c, n_b)).collect();
            let starts: Vec<usize> = (1..=6).map(|start| start * gap).collect();
            let log_e = mixed(&scrapes, &starts, 1.25).log_e();
            let expected = direct(&scrapes, &starts, 1.25);
            prop_assert!((log_e - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{log_e} {expected}");
        }

        #[test]
        fn a_late_scrape_counts_as_if_it_had_come_in_time(
            scrapes in proptest::collection::vec((0..5_u32, 0..20_u32, 1..200_u32, 1..2000_u32), 4..20),
        ) {
            let scrapes: Vec<Exposure> =
                scrapes.into_iter().map(|(x_c, x_b, n_c, n_b)| seen(x_c.min(n_c), x_b.min(n_b), n_c, n_b)).collect();
            let starts = [1, scrapes.len() - 1];
            let in_time = mixed(&scrapes, &starts, 1.25).log_e();
            // The one before the newest start comes last.
            let late = scrapes.len() - 2;
            let mut onset = Onset::new(2);
            for (index, seen) in scrapes.iter().enumerate() {
                if starts.contains(&index) {
                    onset.begin();
                }
                if let Some(factor) = (index != late).then(|| log_factor(seen, 1.25, 0.0)).flatten() {
                    onset.add(&factor, 1.0, false);
                }
            }
            if let Some(factor) = log_factor(&scrapes[late], 1.25, 0.0) {
                onset.add(&factor, 1.0, true);
            }
            prop_assert!((onset.log_e() - in_time).abs() < 1e-9 * (1.0 + in_time.abs()));
        }
    }
}
