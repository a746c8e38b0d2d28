//! A pushed metrics body, decoded: the same for Protobuf and JSON.
//!
//! Holds only what counting needs: exemplars, sums, minima, maxima and descriptions are left out.

use std::collections::{BTreeMap, BTreeSet};

use analysis::Exponential;

/// Names and values of attributes, sorted by name.
pub(super) type Attributes = Vec<(String, String)>;

/// The value of an attribute; `None` when it is absent.
pub(super) fn attribute<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    let at = attributes.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok()?;
    Some(attributes[at].1.as_str())
}

/// What a metric's points are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// A value now.
    Gauge,
    /// A counter, or an up-down counter where it is not monotonic.
    Sum { monotonic: bool },
    /// Buckets with bounds of their own.
    Histogram,
    /// Buckets whose bounds grow by a constant factor.
    Exponential,
}

/// Since when a point counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Temporality {
    /// Not said; such points cannot be read, a gauge's apart.
    Unspecified,
    /// Since the point before.
    Delta,
    /// Since the stream began.
    Cumulative,
}

impl Temporality {
    /// The wire's number.
    pub(super) fn of(number: i64) -> Self {
        match number {
            1 => Self::Delta,
            2 => Self::Cumulative,
            _ => Self::Unspecified,
        }
    }
}

/// A metric without its points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metric {
    /// Which instrumentation library counts, as a hash: two may use one name.
    pub(super) scope: u64,
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) shape: Shape,
    pub(super) temporality: Temporality,
}

/// The identity of an instrumentation library from its encoded form.
pub(super) fn scope(encoded: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hasher, encoded);
    std::hash::Hasher::finish(&hasher)
}

/// One point of one stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) attributes: Attributes,
    /// Nanoseconds since 1970; 0 when unknown.
    pub(super) start: u64,
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    pub(super) value: Value,
}

/// What a point says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Double(f64),
    /// Finite rising bounds; one count more than bounds, or neither where only `count` is kept.
    Histogram {
        count: u64,
        bounds: Vec<f64>,
        counts: Vec<u64>,
    },
    /// Already with the index of `Exponential`, in the metric's own unit.
    Exponential(Exponential),
}

/// The metrics of one resource that somebody waits for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    pub(super) service: String,
    pub(super) resource: Attributes,
    pub(super) metrics: Vec<(Metric, Vec<Point>)>,
}

/// A decoded body.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Export {
    pub(super) batches: Vec<Batch>,
    /// Every `service.name` that occurs, at most [`MOST_SEEN`].
    pub(super) seen: BTreeSet<String>,
    pub(super) refused: Refused,
}

/// Services that one body may make known.
pub(super) const MOST_SEEN: usize = 64;

/// Points that were refused, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refused(BTreeMap<Reason, u64>);

impl Refused {
    /// Counts one.
    pub(super) fn add(&mut self, reason: Reason) {
        *self.0.entry(reason).or_default() += 1;
    }

    /// Adds what others counted.
    pub(super) fn extend(&mut self, other: &Self) {
        for (reason, count) in &other.0 {
            *self.0.entry(*reason).or_default() += count;
        }
    }

    /// How many.
    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Each reason in words, the most frequent first.
    pub(super) fn told(&self) -> Vec<String> {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), **reason));
        let noun = |count: u64| if count == 1 { "point" } else { "points" };
        all.into_iter()
            .map(|(reason, count)| format!("{count} {} {reason}", noun(*count)))
            .collect()
    }
}

/// Why a point is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Reason {
    #[error("of a gauge where the check counts; name a counter or a histogram")]
    NotCounter,
    #[error("of a counter where the check reads a gauge; name a gauge")]
    NotGauge,
    #[error("beyond what one request may hold; send smaller batches")]
    TooMany,
    #[error("with too many attributes or too long a name")]
    TooWide,
    #[error("whose counter is not a whole number; count whole events")]
    NotWhole,
    #[error("that no counter can have: negative, too large, or not a number")]
    NoCount,
    #[error("whose histogram does not fit: its counts, bounds and total disagree")]
    BadHistogram,
    #[error("whose exponential histogram has a scale or durations beyond what is read")]
    BadScale,
    #[error("without a temporality; set it to cumulative or delta")]
    NoTemporality,
    #[error("of an up-down counter as deltas, which has no value; export it as cumulative")]
    DeltaValue,
    #[error("with an end before its start")]
    Backwards,
    #[error(
        "of a stream that another process writes too; give each process its own service.instance.id"
    )]
    TwoWriters,
    #[error("of more streams than are kept; drop attributes with many values")]
    TooManyStreams,
    #[error("whose buckets cannot be added to those of the other streams")]
    OtherBuckets,
    #[error("in a unit that is no duration; use s, ms, us or ns, or set the unit in the policy")]
    NoDuration,
}
