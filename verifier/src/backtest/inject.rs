//! Regressions of stated size, added to counts that were measured.
//!
//! Only whole requests are changed, each by its own draw, so that the sizes of samples and their chance stay real.
//! Failures: successes become failures. Slowness: within a bucket the durations are unknown; they are taken as
//! spread evenly over a classic bucket, and evenly by their logarithm over an exponential one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use analysis::kayenta::{Metric, Value};
use analysis::observation::MOST_BUCKETS;
use analysis::{Exponential, Observation, Sample, Settings, Test};
use rand::Rng;
use rand_distr::{Binomial, Distribution};

/// A regression of stated size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Injection {
    /// So many times as many failures, above 1: `5x`.
    Times(f64),
    /// An additional share of failing requests, in (0, 1]: `1%`.
    Plus(f64),
    /// Every request takes so many times as long, above 1: `slow1.5x`.
    Slow(f64),
}

/// A text that is no injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write 5x for five times as many failures, 1% for so many more, or slow1.5x for durations")]
pub struct BadInjection;

impl FromStr for Injection {
    type Err = BadInjection;

    fn from_str(text: &str) -> Result<Self, BadInjection> {
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| BadInjection);
        let factor = |text: &str| {
            let factor = number(text)?;
            if 1.0 < factor && factor <= 1_000.0 { Ok(factor) } else { Err(BadInjection) }
        };
        let text = text.trim();
        if let Some(percent) = text.strip_suffix('%') {
            let percent = number(percent)?;
            let possible = 0.0 < percent && percent <= 100.0;
            return if possible { Ok(Self::Plus(percent / 100.0)) } else { Err(BadInjection) };
        }
        let times = text.strip_suffix('x').ok_or(BadInjection)?;
        match times.strip_prefix("slow") {
            Some(times) => factor(times).map(Self::Slow),
            None => factor(times).map(Self::Times),
        }
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}x"),
            // 0.07 x 100 is 7.000000000000001.
            Self::Plus(share) => write!(f, "{}%", (share * 1e8).round() / 1e6),
            Self::Slow(times) => write!(f, "slow{times}x"),
        }
    }
}

/// Failed and completed requests of each check and stratum while it was quiet.
#[derive(Debug, Default)]
pub(super) struct Shares {
    counts: BTreeMap<(String, Option<String>), (u64, u64)>,
    /// Observations that hold failures of requests.
    errors: BTreeSet<String>,
    histograms: bool,
}

impl Shares {
    /// Which observations count failures, by the checks that read them.
    pub(super) fn new(settings: &Settings) -> Self {
        let counting = settings.checks.iter().filter(|check| {
            matches!(
                check.test,
                Test::Errors { .. }
                    | Test::ErrorObjective { .. }
                    | Test::Kayenta(Metric { value: Value::ErrorShare, .. })
            )
        });
        let errors = counting.flat_map(|check| [check.reads.clone(), check.name.clone()]);
        Self { errors: errors.collect(), ..Self::default() }
    }

    pub(super) fn learn(&mut self, observation: &Observation) {
        match &observation.sample {
            Sample::Events { events, of } if self.errors.contains(&observation.check) => {
                let key = (observation.check.clone(), observation.stratum.clone());
                let (failed, all) = self.counts.entry(key).or_default();
                *failed = failed.saturating_add(*events);
                *all = all.saturating_add(*of);
            }
            Sample::Histogram { .. } | Sample::Exponential(_) => self.histograms = true,
            Sample::Events { .. } | Sample::Gauge { .. } | Sample::Attempt { .. } => {}
        }
    }

    /// Share of failures that a check read, over all strata.
    fn of_check(&self, check: &str) -> Option<f64> {
        let of = self.counts.iter().filter(|((name, _), _)| name == check);
        let (failed, all) = of.fold((0_u64, 0_u64), |sum, (_, add)| {
            (sum.0.saturating_add(add.0), sum.1.saturating_add(add.1))
        });
        (0 < all).then(|| share(failed, all))
    }

    /// Why an injection cannot be added, if so.
    pub(super) fn refuses(&self, injection: Injection) -> Option<String> {
        let (failed, all) = self.counts.values().fold((0_u64, 0_u64), |sum, add| {
            (sum.0.saturating_add(add.0), sum.1.saturating_add(add.1))
        });
        match injection {
            Injection::Times(_) | Injection::Plus(_) if all == 0 => {
                Some("no check of errors had data".to_owned())
            }
            Injection::Times(_) if failed == 0 => {
                Some("no request failed, so that there is nothing to multiply".to_owned())
            }
            Injection::Slow(_) if !self.histograms => {
                Some("no check of latency had data".to_owned())
            }
            Injection::Times(_) | Injection::Plus(_) | Injection::Slow(_) => None,
        }
    }

    /// Whether every check that compares tolerates it, so that finding it would be wrong.
    pub(super) fn tolerates(&self, settings: &Settings, injection: Injection) -> bool {
        settings.checks.iter().all(|check| match (&check.test, injection) {
            (Test::Errors { ratio, absolute }, Injection::Times(times)) => self
                .of_check(&check.reads)
                .is_none_or(|share| times * share <= ratio * share + absolute),
            (Test::Errors { ratio, absolute }, Injection::Plus(more)) => self
                .of_check(&check.reads)
                .is_none_or(|share| share + more <= ratio * share + absolute),
            (Test::Latency { stretch, .. }, Injection::Slow(times)) => times <= 1.0 + stretch,
            // Kayenta's judge tolerates no stated size.
            (Test::Kayenta(metric), Injection::Slow(_)) => {
                !matches!(metric.value, Value::Latency(_))
            }
            (Test::Kayenta(metric), Injection::Times(_) | Injection::Plus(_)) => {
                metric.value != Value::ErrorShare
            }
            _ => true,
        })
    }

    /// Adds the regression to one observation of the pseudo-canary.
    pub(super) fn add(
        &self,
        injection: Injection,
        observation: &mut Observation,
        rng: &mut impl Rng,
    ) {
        let key = (observation.check.clone(), observation.stratum.clone());
        let usual = self.counts.get(&key).map_or(0.0, |(failed, all)| share(*failed, *all));
        match (&mut observation.sample, injection) {
            (Sample::Events { events, of }, Injection::Times(_) | Injection::Plus(_))
                if self.errors.contains(&observation.check) =>
            {
                let more = match injection {
                    Injection::Times(times) => (times - 1.0) * usual,
                    Injection::Plus(more) => more,
                    Injection::Slow(_) => 0.0,
                };
                // A success fails with this probability, so that the share is `usual + more` on average.
                let fails = more / (1.0 - usual).max(f64::MIN_POSITIVE);
                *events += draw(rng, of.saturating_sub(*events), fails);
            }
            (Sample::Histogram { le, counts }, Injection::Slow(times)) => {
                *counts = stretched(le, counts, times, rng);
            }
            (Sample::Exponential(histogram), Injection::Slow(times)) => {
                *histogram = moved(histogram.clone(), times, rng);
            }
            (
                Sample::Events { .. }
                | Sample::Histogram { .. }
                | Sample::Exponential(_)
                | Sample::Gauge { .. }
                | Sample::Attempt { .. },
                Injection::Times(_) | Injection::Plus(_) | Injection::Slow(_),
            ) => {}
        }
    }
}

fn share(failed: u64, all: u64) -> f64 {
    super::report::as_f64(failed) / super::report::as_f64(all).max(1.0)
}

/// How many of `of` happen, each with probability `p` by itself.
pub(super) fn draw(rng: &mut impl Rng, of: u64, p: f64) -> u64 {
    if of == 0 || p.is_nan() || p <= 0.0 {
        return 0;
    }
    // At probability 1, or if the numbers were impossible, which they are not: all.
    if p >= 1.0 { of } else { Binomial::new(of, p).map_or(of, |binomial| binomial.sample(rng)) }
}

/// Classic buckets with every duration `times` as long.
fn stretched(le: &[f64], counts: &[u64], times: f64, rng: &mut impl Rng) -> Vec<u64> {
    let mut out = vec![0_u64; counts.len()];
    let last = counts.len().saturating_sub(1);
    for (index, count) in counts.iter().copied().enumerate() {
        let upper = le.get(index).copied().filter(|upper| 0.0 < *upper);
        let Some(upper) = upper.filter(|_| 0 < count && index < last) else {
            // Beyond the last bound, or no time at all: it stays.
            out[index] = out[index].saturating_add(count);
            continue;
        };
        let lower = index.checked_sub(1).map_or(0.0, |before| le[before].max(0.0));
        let (from, to) = (lower * times, upper * times);
        let (mut left, mut begin) = (count, from);
        for (target, bound) in le.iter().copied().enumerate().skip(index) {
            if left == 0 || begin >= to {
                break;
            }
            if bound <= begin {
                continue;
            }
            let here = draw(rng, left, (bound.min(to) - begin) / (to - begin));
            out[target] = out[target].saturating_add(here);
            left -= here;
            begin = bound.min(to);
        }
        out[last] = out[last].saturating_add(left);
    }
    out
}

/// Exponential buckets with every duration `times` as long: a shift of the index, whose fraction is drawn.
fn moved(mut histogram: Exponential, times: f64, rng: &mut impl Rng) -> Exponential {
    if histogram.counts.len() >= MOST_BUCKETS {
        histogram.coarsen(histogram.scale.saturating_sub(1));
    }
    let shift = times.log2() * f64::from(histogram.scale).exp2();
    let whole = shift.floor();
    let mut counts = vec![0_u64; histogram.counts.len() + 1];
    for (index, count) in histogram.counts.iter().copied().enumerate() {
        let further = draw(rng, count, shift - whole);
        counts[index] = counts[index].saturating_add(count - further);
        counts[index + 1] = counts[index + 1].saturating_add(further);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 10 x 2^20 buckets, and saturating"
    )]
    let first = histogram.first.saturating_add(whole as i32);
    Exponential { first, counts, ..histogram }
}
