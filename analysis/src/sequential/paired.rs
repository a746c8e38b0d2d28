//! Paired attempts: baseline and canary are asked for the same in turn, and differ by the version only.
//!
//! Pairs cancel drift, load and time of day, so a few dozen synthetic attempts say what live traffic needs thousands
//! of requests for. Two questions, each an e-process that every pair updates:
//!
//! - *Failures.* Null hypothesis: a pair of which one attempt failed is the canary's failure with probability at
//!   most 1/2, whatever came before (the sign test; `McNemar`, Psychometrika 12, 1947).
//! - *Latency*, from pairs of which both passed. Null hypothesis: after the canary's time is divided by the
//!   tolerated stretch it is the longer one with probability at most 1/2, whatever the size of the difference. The
//!   size enters by its rank among the newest differences (signed sequential ranks; Reynolds, "A sequential signed-rank
//!   test for symmetry", Annals of Statistics 3, 1975), in logarithms, so that slow and fast journeys count alike.
//!
//! Both are products of `2 / (1 + exp(-h s u))`: `s` is 1 against the canary and -1 for it, `u` the rank in (0, 1),
//! 1 for failures, and `h` an alternative's logarithm of odds. Its mean over `s` is at most 1 under the null, so the
//! product is a supermartingale (Ramdas, Ruf, Larsson and Koolen, 2020, arXiv 2009.03167, on symmetry). A
//! calibrated p-value per block of 20 pairs would be as valid and answer only once a block, with less.
//!
//! Put the two attempts of a pair in alternating order: what the second of two gains or loses by being second then
//! cancels as well.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use statrs::function::beta::{beta_reg, inv_beta_reg};

use super::{as_f64, weighted_mean};

/// How many alternatives both questions mix over.
const POINTS: usize = 8;

/// One number per alternative.
type Lanes = [f64; POINTS];

/// `h` of the first alternative: odds of 1.5, below which a few hundred pairs show nothing.
const LEAST: f64 = 0.4;

/// How many times larger `h` of the last one is: odds of 3,000, a canary that nearly always fails. Evenly in the
/// logarithm between them, as in (2), the mixture costs at most ln 8 = 2.1 nats.
const SPAN: f64 = 20.0;

/// How many of the newest differences are kept, for ranks and the exact p-value.
const MOST_KEPT: usize = 50;

/// Logarithms of times closer than this are ties: below a nanosecond in a second.
const TIE: f64 = 1e-12;

/// Evidence from which on nothing passes: an error probability of 5 %.
const DOUBT: f64 = 20.0;

/// One attempt of each version at the same journey; index 0 is the baseline, 1 the canary.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Whether the attempt failed.
    pub failed: [bool; 2],
    /// Seconds that it took; only of interest where both passed.
    pub seconds: [f64; 2],
}

/// Pairs by their outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Both attempts passed.
    pub both_passed: u64,
    /// The baseline passed and the canary failed.
    pub canary_failed: u64,
    /// The canary passed and the baseline failed.
    pub baseline_failed: u64,
    /// Both attempts failed: the journey or something shared is broken.
    pub both_failed: u64,
}

impl Tally {
    /// Pairs of which the baseline passed; only these can speak for the canary.
    pub fn baseline_passed(&self) -> u64 {
        self.both_passed.saturating_add(self.canary_failed)
    }
}

/// Evidence from pairs that the canary fails more often, or is slower than tolerated. Memory is bounded, and adding
/// a pair or reading the evidence takes about a microsecond.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    stretch: f64,
    tally: Tally,
    failures: Lanes,
    latency: Lanes,
    /// The newest logarithms of the canary's time over the tolerated one, oldest first; no ties.
    kept: VecDeque<f64>,
}

impl Paired {
    /// No evidence yet. The canary may take `1 + stretch` times as long, e.g. 0.25; what is no finite number of at
    /// least 0 counts as 0.
    pub fn new(stretch: f64) -> Self {
        Self {
            stretch: if stretch.is_finite() { stretch.max(0.0) } else { 0.0 },
            tally: Tally::default(),
            failures: [0.0; POINTS],
            latency: [0.0; POINTS],
            kept: VecDeque::new(),
        }
    }

    /// Takes in one pair. Times that are not finite and positive are no latency; equal times neither.
    pub fn add(&mut self, pair: Pair) {
        let count = match pair.failed {
            [false, false] => &mut self.tally.both_passed,
            [false, true] => &mut self.tally.canary_failed,
            [true, false] => &mut self.tally.baseline_failed,
            [true, true] => &mut self.tally.both_failed,
        };
        *count = count.saturating_add(1);
        match pair.failed {
            [false, false] => self.add_times(pair.seconds),
            [false, true] => bet(&mut self.failures, 1.0),
            [true, false] => bet(&mut self.failures, -1.0),
            [true, true] => {}
        }
    }

    fn add_times(&mut self, seconds: [f64; 2]) {
        if !seconds.iter().all(|time| time.is_finite() && *time > 0.0) {
            return;
        }
        let difference = seconds[1].ln() - seconds[0].ln() - self.stretch.ln_1p();
        if difference.abs() < TIE {
            return;
        }
        if self.kept.len() == MOST_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(difference);
        // The midrank of this difference among the kept ones, itself included, scaled into (0, 1).
        let size = difference.abs();
        let (mut below, mut ties) = (0_u64, 0_u64);
        for other in &self.kept {
            if (other.abs() - size).abs() < TIE {
                ties += 1;
            } else if other.abs() < size {
                below += 1;
            }
        }
        let rank = (as_f64(below) + as_f64(ties) / 2.0) / as_f64(self.kept.len() as u64);
        bet(&mut self.latency, difference.signum() * rank);
    }

    /// Natural logarithm of the evidence that the canary is worse: the mean of both e-processes. At ln(1/alpha) it
    /// is wrong, at any time, with probability at most alpha. 0 without evidence.
    pub fn log_evidence(&self) -> f64 {
        weighted_mean([(1.0, self.log_failures()), (1.0, self.log_latency())].into_iter())
    }

    /// Natural logarithm of the evidence that the canary fails more often.
    pub fn log_failures(&self) -> f64 {
        mean(&self.failures)
    }

    /// Natural logarithm of the evidence that the canary takes longer than tolerated.
    pub fn log_latency(&self) -> f64 {
        mean(&self.latency)
    }

    /// The tolerated stretch: 0.25 lets the canary take 1.25 times as long.
    pub fn stretch(&self) -> f64 {
        self.stretch
    }

    /// Pairs so far, whatever their outcome.
    pub fn pairs(&self) -> u64 {
        let tally = self.tally;
        [tally.canary_failed, tally.baseline_failed, tally.both_failed]
            .into_iter()
            .fold(tally.both_passed, u64::saturating_add)
    }

    /// Pairs by their outcome.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// How many times as long as the baseline the canary takes: the median of the newest 50 pairs of which both
    /// passed. Nothing before the first.
    pub fn slowdown(&self) -> Option<f64> {
        let mut ratios: Vec<f64> = self.kept.iter().copied().collect();
        ratios.sort_by(f64::total_cmp);
        let middle = ratios.len() / 2;
        let upper = *ratios.get(middle)?;
        let lower = if ratios.len().is_multiple_of(2) { ratios[middle - 1] } else { upper };
        Some((f64::midpoint(lower, upper) + self.stretch.ln_1p()).exp())
    }

    /// The exact one-sided p-value of the sign test on failures, in [0, 1]: for the report, as it is for one look only.
    pub fn p_failures(&self) -> f64 {
        let (canary, baseline) = (self.tally.canary_failed, self.tally.baseline_failed);
        if canary == 0 {
            return 1.0;
        }
        // At least `canary` heads of so many coins, as an incomplete beta function.
        beta_reg(as_f64(canary), as_f64(baseline) + 1.0, 0.5)
    }

    /// The exact one-sided p-value of Wilcoxon's signed-rank test on the newest 50 pairs of which both passed, in
    /// (0, 1]: for the report, as it is for one look only. 1 without any.
    pub fn p_latency(&self) -> f64 {
        let differences: Vec<f64> = self.kept.iter().copied().collect();
        signed_rank_p(&differences)
    }

    /// Whether the canary may have its first real traffic, after at least `least` pairs of which the baseline passed.
    ///
    /// Two things must hold. There is less evidence against it than a 5 % error probability needs. And the share of
    /// journeys that fail on the canary only is bounded, at 95 % and one-sided (Clopper and Pearson, Biometrika 26,
    /// 1934), as low as `least` pairs without any such failure bound it: 14 % for 20. So 20 pairs do without
    /// such a failure, 33 with one, 44 with two; a canary that fails every second journey gets through with
    /// probability one in a million, one that fails every fifth with 2 %. Pairs of which the baseline failed
    /// say nothing here, so a journey that never works does not open the gate. With `least` 0 there is no gate.
    pub fn passes(&self, least: u64) -> bool {
        if least == 0 {
            return true;
        }
        let pairs = self.tally.baseline_passed();
        pairs >= least
            && self.log_evidence() < DOUBT.ln()
            && failing_at_most(self.tally.canary_failed, pairs)
                <= failing_at_most(0, least) * (1.0 + TIE)
    }
}

/// Multiplies each alternative's evidence by `2 / (1 + exp(-h signed))`.
fn bet(lanes: &mut Lanes, signed: f64) {
    let mut h = LEAST;
    let step = SPAN.powf(1.0 / (as_f64(POINTS as u64) - 1.0));
    for lane in lanes {
        *lane += std::f64::consts::LN_2 - (-h * signed).exp().ln_1p();
        h *= step;
    }
}

/// Natural logarithm of the mean over the alternatives.
fn mean(lanes: &Lanes) -> f64 {
    weighted_mean(lanes.iter().map(|lane| (1.0, *lane)))
}

/// Upper confidence bound, at 95 %, of a probability of which `events` were seen in `pairs`, in (0, 1].
fn failing_at_most(events: u64, pairs: u64) -> f64 {
    if events >= pairs {
        return 1.0;
    }
    if events == 0 {
        // What the quantile below is in closed form.
        return -(0.05_f64.ln() / as_f64(pairs)).exp_m1();
    }
    inv_beta_reg(as_f64(events) + 1.0, as_f64(pairs - events), 0.95)
}

/// Probability, if each difference is as likely positive as negative, that the ranks of the positive ones sum to at
/// least what they do. Zeros are dropped; ties share the mean of their ranks, and the distribution is the exact one of
/// these very ranks. The cost grows with the cube of the number of differences: 50 take some 50 microseconds.
fn signed_rank_p(differences: &[f64]) -> f64 {
    let mut sorted: Vec<f64> =
        differences.iter().copied().filter(|difference| difference.abs() >= TIE).collect();
    sorted.sort_by(|left, right| left.abs().total_cmp(&right.abs()));
    // Twice the ranks, so that the mean of tied ones is whole.
    let mut ranks: Vec<usize> = Vec::with_capacity(sorted.len());
    for tied in sorted.chunk_by(|left, right| right.abs() - left.abs() < TIE) {
        let before = ranks.len();
        ranks.extend(std::iter::repeat_n(2 * before + tied.len() + 1, tied.len()));
    }
    let observed: usize =
        ranks.iter().zip(&sorted).filter(|(_, value)| **value > 0.0).map(|(rank, _)| rank).sum();
    let mut probability = vec![0.0; ranks.iter().sum::<usize>() + 1];
    probability[0] = 1.0;
    let mut reached = 0;
    for rank in ranks {
        reached += rank;
        for sum in (0..=reached).rev() {
            let with = if sum >= rank { probability[sum - rank] } else { 0.0 };
            probability[sum] = 0.5 * (probability[sum] + with);
        }
    }
    // The smallest first, for precision.
    probability[observed..].iter().rev().sum::<f64>().min(1.0)
}

#[cfg(test)]
mod tests;
