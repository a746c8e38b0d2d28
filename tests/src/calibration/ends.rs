//! How the runs of a row ended for one tool: how many, how soon, and after how many requests.

use super::{Limit, binomial};

/// One run's end: seconds since the start and requests until then.
pub(super) type End = Option<(u32, u64)>;

/// How one run went for one tool.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Outcome {
    /// When it was rolled back, and after how many canary requests (in a ramp: failed ones).
    pub(super) reverted: End,
    /// When all of the traffic was allowed.
    pub(super) promoted: End,
}

/// The runs that ended in one way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ends {
    runs: u32,
    seconds: Vec<u32>,
    requests: Vec<u64>,
}

/// What one tool made of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The tool's name.
    pub tool: &'static str,
    /// Rolled back.
    pub reverts: Ends,
    /// Given all of the traffic; `None` where the tool was not asked.
    pub promotes: Option<Ends>,
    /// Whether a rollback would be wrong: the truth lies within what the tool tolerates.
    pub harmless: bool,
    /// Whether a promotion is wrong: the canary is worse than full weight allows.
    pub worse: bool,
    /// Wald's bound for the rollback.
    pub limit: Option<Limit>,
}

impl Ends {
    pub(super) fn of(ends: impl Iterator<Item = End>) -> Self {
        let mut all = Self::default();
        for end in ends {
            all.runs += 1;
            if let Some((second, requests)) = end {
                all.seconds.push(second);
                all.requests.push(requests);
            }
        }
        all.seconds.sort_unstable();
        all.requests.sort_unstable();
        all
    }

    /// All runs, also those that did not end so.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Runs that ended so.
    pub fn count(&self) -> u32 {
        self.seconds.len() as u32
    }

    /// Their share of all runs.
    pub fn share(&self) -> f64 {
        f64::from(self.count()) / f64::from(self.runs.max(1))
    }

    /// Exact 95 % limits of the share.
    pub fn limits(&self) -> (f64, f64) {
        binomial::limits(self.count(), self.runs)
    }

    /// Seconds until a share of all runs had ended so; `None` when fewer ever did.
    pub fn second(&self, quantile: f64) -> Option<u32> {
        self.seconds.get(self.index(quantile)).copied()
    }

    /// Requests until then.
    pub fn requests(&self, quantile: f64) -> Option<u64> {
        self.requests.get(self.index(quantile)).copied()
    }

    /// Runs that had not ended so by `second`.
    pub fn later_than(&self, second: u32) -> u32 {
        self.runs - self.seconds.partition_point(|ended| *ended <= second) as u32
    }

    /// Runs that had not ended so after this many requests.
    pub fn after(&self, requests: u64) -> u32 {
        self.runs - self.requests.partition_point(|ended| *ended <= requests) as u32
    }

    fn index(&self, quantile: f64) -> usize {
        ((quantile * f64::from(self.runs)).ceil() as usize).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_count_the_runs_that_never_ended() {
        let ends = Ends::of([Some((10, 100)), None, Some((5, 50)), None].into_iter());
        assert_eq!((ends.runs(), ends.count()), (4, 2));
        assert_eq!(
            (ends.second(0.25), ends.second(0.5), ends.second(0.75)),
            (Some(5), Some(10), None)
        );
        assert_eq!(ends.requests(0.5), Some(100));
        assert_eq!((ends.later_than(5), ends.later_than(4)), (3, 4));
    }
}
