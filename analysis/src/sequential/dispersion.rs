//! The index of dispersion for tempering (12): do events come in bursts?
//!
//! Retries and single clients make failures arrive in batches. Then counts vary more than Poisson counts and the
//! likelihood ratios of (2) claim more than the data say; raised to the power 1/phi they are about right
//! (exact for batches of a fixed size, first-order otherwise).
//!
//! phi comes from pairs of successive scrapes of one arm. Given the `m = x1 + x2` events of a pair, a Poisson
//! count has `E[(x1 n2 - x2 n1)^2] = m n1 n2`, whatever the common rate: so a rate that drifts from pair to pair
//! (load, time of day) is no dispersion. Pairs do not overlap, which keeps them independent.
//! A pair weighs by its events up to ten, then no more. A pair with one batch shows that batch's size only, and
//! would pull an equally weighted mean down to the mean size of a batch (3 instead of 5 for geometric
//! batches of mean 3); a weight without a limit would let the edge of one incident outweigh an hour.

use serde::{Deserialize, Serialize};

use super::as_f64;
use crate::Counts;

/// Pairs before anything but 1 is reported.
const ENOUGH_PAIRS: f64 = 30.0;

/// Events beyond which a pair weighs no more.
const FULL_WEIGHT: f64 = 10.0;

/// Scrapes of one pair have requests within this factor of each other: very unlike ones say little.
const ALIKE: f64 = 4.0;

/// The dispersion of one arm's counts, from scrape to scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Dispersion {
    /// The scrape that waits for its partner.
    waiting: Option<Counts>,
    /// Sum of weights times statistics.
    statistic: f64,
    /// Sum of weights.
    weight: f64,
    /// Sum of squared weights, for how many equal pairs these are worth.
    squares: f64,
}

impl Dispersion {
    /// Takes in one scrape of one arm: its events and requests. A scrape without requests makes no difference.
    pub fn update(&mut self, seen: Counts) {
        if seen.of == 0 {
            return;
        }
        let Some(before) = self.waiting.take() else {
            self.waiting = Some(seen);
            return;
        };
        let (x1, n1) = (as_f64(before.events), as_f64(before.of));
        let (x2, n2) = (as_f64(seen.events), as_f64(seen.of));
        if n1 > ALIKE * n2 || n2 > ALIKE * n1 {
            self.waiting = Some(seen);
            return;
        }
        let events = x1 + x2;
        if events <= 0.0 {
            return;
        }
        // Divided by the requests first: products of three counts could exceed what a number holds.
        let difference = x1 * (n2 / n1).sqrt() - x2 * (n1 / n2).sqrt();
        let weight = events.min(FULL_WEIGHT);
        self.statistic += weight * difference * difference / events;
        self.weight += weight;
        self.squares += weight * weight;
    }

    /// Adds the pairs of another arm, pod or rollout.
    pub fn merge(&mut self, other: &Self) {
        self.statistic += other.statistic;
        self.weight += other.weight;
        self.squares += other.squares;
    }

    /// Lets history fade: everything known counts `share` as much, in [0, 1]. A waiting scrape is dropped, as
    /// its partner would come from another time.
    pub fn scale(&mut self, share: f64) {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.waiting = None;
        self.statistic *= share;
        self.weight *= share;
        self.squares *= share;
    }

    /// How many equally weighted pairs the pairs so far are worth; never negative.
    pub fn pairs(&self) -> f64 {
        if self.squares > 0.0 { self.weight * self.weight / self.squares } else { 0.0 }
    }

    /// The index of dispersion, at least 1, to divide every count of (2) by. 1 with fewer than 30 pairs, and 1
    /// unless it exceeds 1 by two standard errors: Poisson counts are not tempered for noise.
    pub fn phi(&self) -> f64 {
        let pairs = self.pairs();
        let phi = self.statistic / self.weight;
        let known = pairs >= ENOUGH_PAIRS && phi > 1.0 + 2.0 * (2.0 / pairs).sqrt();
        if known && phi.is_finite() { phi } else { 1.0 }
    }

    /// What to divide every count by so that bursts are allowed for: the index with three standard errors on top where
    /// there are bursts, since a few hundred pairs of bursts place it by a quarter only, and too little of it makes
    /// false alarms.
    pub fn allowance(&self) -> f64 {
        let phi = self.phi();
        if phi > 1.0 { phi * (1.0 + 3.0 * (2.0 / self.pairs()).sqrt()) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::draws::Draws;

    fn of(scrapes: u32, mut draw: impl FnMut(u32) -> Counts) -> Dispersion {
        let mut dispersion = Dispersion::default();
        for scrape in 0..scrapes {
            dispersion.update(draw(scrape));
        }
        dispersion
    }

    fn bursts(draws: &mut Draws, batches: f64) -> u64 {
        (0..draws.poisson(batches)).map(|_| draws.geometric(3.0)).sum()
    }

    #[test]
    fn poisson_counts_are_not_tempered() {
        let mut draws = Draws::new(7);
        for mean in [0.1, 1.0, 5.0, 200.0] {
            let mut tempered = 0;
            for _ in 0..200 {
                let dispersion = of(240, |_| Counts { events: draws.poisson(mean), of: 2375 });
                tempered += u32::from(dispersion.phi() > 1.0);
                assert!(dispersion.phi() < 1.8, "mean {mean}: {}", dispersion.phi());
            }
            // Two standard errors: about 2.5 %, a little more as squares are skewed.
            assert!(tempered <= 16, "mean {mean}: {tempered} of 200");
        }
    }

    #[test]
    fn batches_show_their_dispersion_at_any_rate() {
        let mut draws = Draws::new(8);
        for batches in [0.05, 0.3, 1.7, 7.0, 60.0] {
            let phi =
                of(20_000, |_| Counts { events: bursts(&mut draws, batches), of: 100_000 }).phi();
            assert!((4.3..5.5).contains(&phi), "{batches} batches a scrape: {phi}");
        }
    }

    #[test]
    fn drift_of_rate_and_load_is_no_dispersion() {
        let mut draws = Draws::new(9);
        let phi = of(17_280, |scrape| {
            // A day of scrapes five seconds apart: rate and load each double and halve.
            let day = (f64::from(scrape) / 17_280.0 * std::f64::consts::TAU).sin();
            Counts { events: draws.poisson(10.0 * 4.0_f64.powf(day)), of: 2000 + u64::from(scrape) }
        })
        .phi();
        assert!(phi <= 1.0 + 1e-12, "{phi}");
    }

    #[test]
    fn too_few_pairs_say_nothing_and_history_fades() {
        let burst = |scrape: u32| Counts {
            events: if scrape.is_multiple_of(2) { 40 } else { 0 },
            of: 1000,
        };
        assert!((of(58, burst).phi() - 1.0).abs() < 1e-15);
        let mut known = of(80, burst);
        assert!((known.phi() - 40.0).abs() < 1e-9);
        known.scale(0.5);
        assert!((known.pairs() - 20.0).abs() < 1e-9 && (known.phi() - 1.0).abs() < 1e-15);
        let mut both = known;
        both.merge(&of(40, burst));
        assert!((both.phi() - 40.0).abs() < 1e-9);
        both.scale(f64::NAN);
        assert!(both.pairs().abs() < f64::MIN_POSITIVE);
    }

    #[test]
    fn extreme_counts_stay_finite() {
        let huge = Counts { events: u64::MAX, of: u64::MAX };
        let odd = [huge, Counts::default(), Counts { events: 0, of: 1 }, huge, huge];
        let dispersion = of(500, |scrape| odd[scrape as usize % odd.len()]);
        assert!(dispersion.phi().is_finite());
    }
}
