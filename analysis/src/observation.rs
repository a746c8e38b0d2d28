//! What a provider returns: raw counts of one metric, one arm, one instance, since the scrape before.
//!
//! Counts, never averages or ratios: a ratio without its sample size cannot be tested.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Exponential;

/// More requests than this between two scrapes are no measurement but a broken counter.
pub const MOST_REQUESTS: u64 = 1_000_000_000_000;

/// Most buckets of one histogram.
pub const MOST_BUCKETS: usize = 512;

/// Longest name of a check, instance or stratum, in bytes.
pub const LONGEST_NAME: usize = 256;

/// Whose requests were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// The version that serves now.
    Baseline,
    /// The candidate.
    Canary,
}

/// Counts since the scrape before, counter resets already handled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Sample {
    /// `events` bad requests out of `of` completed ones; `events <= of`.
    Events {
        /// Requests that failed.
        events: u64,
        /// Requests that completed, good and bad.
        of: u64,
    },
    /// Requests by duration.
    Histogram {
        /// Upper bounds in seconds, finite and strictly rising.
        le: Vec<f64>,
        /// Requests per bucket, not cumulative; one more than `le`, the last for the rest.
        counts: Vec<u64>,
    },
    /// Requests by duration in buckets whose bounds grow by a constant factor (native histograms).
    Exponential(Exponential),
    /// One attempt at a synthetic journey. Both arms' attempts of one instance in one scrape are a pair.
    Attempt {
        /// Whether an expectation was not met, or no answer came.
        failed: bool,
        /// How long it took, in seconds; finite and at least 0.
        seconds: f64,
    },
    /// The value of a gauge now, in its own unit: memory, CPU, queue length. Finite.
    Gauge {
        /// The value.
        value: f64,
    },
}

impl Sample {
    /// Whether it counts at least one request, or holds a value.
    pub fn says_something(&self) -> bool {
        match self {
            Self::Events { of, .. } => 0 < *of,
            Self::Histogram { counts, .. } => counts.iter().any(|count| 0 < *count),
            Self::Exponential(histogram) => {
                0 < histogram.zero || histogram.counts.iter().any(|count| 0 < *count)
            }
            Self::Gauge { value } => value.is_finite(),
            Self::Attempt { .. } => true,
        }
    }
}

/// One measurement of one arm on one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Whose requests.
    pub arm: Arm,
    /// The process or pod that counted them.
    pub instance: String,
    /// What was measured: `errors`, `latency`, or the name of a check with a query of its own.
    pub check: String,
    /// A part of the traffic that is compared only with itself (route, zone), if the metric has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stratum: Option<String>,
    /// The counts.
    pub sample: Sample,
}

/// Everything that was measured at one moment. An arm that is absent is missing data, not zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scrape {
    /// When the counters were read.
    pub at: Timestamp,
    /// What they said.
    pub observations: Vec<Observation>,
}

/// Why an observation was left out. Leaving out is always safe: missing data never decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// More bad requests than requests.
    #[error("more events than requests")]
    MoreEventsThanRequests,
    /// A count that no service reaches between two scrapes.
    #[error(
        "more than {MOST_REQUESTS} requests between two scrapes; is it a difference of counters?"
    )]
    TooMany,
    /// Counts do not belong to the bounds.
    #[error("a histogram needs one count more than bounds")]
    CountsDoNotFit,
    /// Bounds that are NaN, infinite, or not strictly rising.
    #[error("bucket bounds must be finite and strictly rising")]
    BadBounds,
    /// No bounds, or more of them than are read.
    #[error("a histogram needs 1 to {MOST_BUCKETS} bounds")]
    BoundCount,
    /// A name too long to be kept.
    #[error("names of checks, instances and strata have at most {LONGEST_NAME} bytes")]
    LongName,
    /// Counts of failures for a latency check, or a histogram for an error check.
    #[error(
        "an errors check reads `events` and `of`, a latency check `le` or `scale` with `counts`, a gauge `value`, \
         a journey `failed` and `seconds`"
    )]
    WrongKind,
    /// A gauge that is NaN or infinite.
    #[error("the value of a gauge must be a finite number")]
    NotFinite,
    /// A duration that is negative, NaN or infinite.
    #[error("a journey takes a finite number of seconds, at least 0")]
    BadDuration,
    /// A resolution or an index that no exponential histogram has.
    #[error("an exponential histogram has a scale from -4 to 20 and bounds that a number can hold")]
    BadScale,
    /// The histogram shares no bound with those that the rollout compares.
    #[error("its bucket bounds are not those that this rollout began with")]
    OtherBounds,
    /// More strata than are kept.
    #[error("too many strata for one check; merge routes that behave alike")]
    TooManyStrata,
}

impl Observation {
    /// Whether its counts can be real.
    ///
    /// # Errors
    /// The first thing that is wrong; leave the observation out and say so.
    pub fn validate(&self) -> Result<(), Refusal> {
        let names =
            [self.instance.len(), self.check.len(), self.stratum.as_ref().map_or(0, String::len)];
        if names.iter().any(|length| *length > LONGEST_NAME) {
            return Err(Refusal::LongName);
        }
        match &self.sample {
            Sample::Events { events, of } => {
                if events > of {
                    return Err(Refusal::MoreEventsThanRequests);
                }
                if *of > MOST_REQUESTS {
                    return Err(Refusal::TooMany);
                }
            }
            Sample::Histogram { le, counts } => {
                if le.is_empty() || le.len() > MOST_BUCKETS {
                    return Err(Refusal::BoundCount);
                }
                if counts.len() != le.len() + 1 {
                    return Err(Refusal::CountsDoNotFit);
                }
                if !le.iter().all(|bound| bound.is_finite())
                    || !le.windows(2).all(|pair| pair[0] < pair[1])
                {
                    return Err(Refusal::BadBounds);
                }
                let total = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
                if total > MOST_REQUESTS {
                    return Err(Refusal::TooMany);
                }
            }
            Sample::Exponential(histogram) => histogram.validate()?,
            Sample::Gauge { value } => {
                if !value.is_finite() {
                    return Err(Refusal::NotFinite);
                }
            }
            Sample::Attempt { seconds, .. } => {
                if !seconds.is_finite() || *seconds < 0.0 {
                    return Err(Refusal::BadDuration);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(sample: Sample) -> Option<Refusal> {
        let observation = Observation {
            arm: Arm::Canary,
            instance: "c1".into(),
            check: "errors".into(),
            stratum: None,
            sample,
        };
        observation.validate().err()
    }

    #[test]
    fn impossible_counts_are_refused() {
        let events = |events, of| refusal(Sample::Events { events, of });
        assert_eq!(events(0, 0), None);
        assert_eq!(events(2, 1), Some(Refusal::MoreEventsThanRequests));
        assert_eq!(events(u64::MAX, u64::MAX), Some(Refusal::TooMany));

        let buckets = |le: &[f64], counts: &[u64]| {
            refusal(Sample::Histogram { le: le.to_vec(), counts: counts.to_vec() })
        };
        assert_eq!(buckets(&[0.1], &[1, 2]), None);
        assert_eq!(buckets(&[], &[1]), Some(Refusal::BoundCount));
        assert_eq!(buckets(&[0.1], &[1]), Some(Refusal::CountsDoNotFit));
        assert_eq!(buckets(&[0.2, 0.1], &[1, 2, 3]), Some(Refusal::BadBounds));
        assert_eq!(buckets(&[f64::NAN], &[1, 2]), Some(Refusal::BadBounds));
        assert_eq!(buckets(&[f64::INFINITY], &[1, 2]), Some(Refusal::BadBounds));
        assert_eq!(buckets(&[0.1], &[u64::MAX, u64::MAX]), Some(Refusal::TooMany));
    }
}
