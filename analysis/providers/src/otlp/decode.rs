//! From the bytes of a request to its points, within hard limits.
//!
//! One collector takes what both formats find, so that the limits hold for both alike. Points that nobody
//! waits for are passed over without being decoded.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::model::{
    Attributes, Batch, Export, MOST_SEEN, Metric, Point, Reason, Shape, Temporality, Value,
    attribute,
};
use super::{Content, Rejected, json, names, protobuf};

/// Points that one request may hold; SDKs send some thousand at most.
const MOST_POINTS: u64 = 100_000;

/// Attributes of one point or resource; the SDKs' own limit.
const MOST_ATTRIBUTES: usize = 128;

/// Longest name of a metric, a service or an attribute in bytes.
const LONGEST_NAME: usize = 256;

/// Longer values of attributes are cut.
const LONGEST_VALUE: usize = 1_024;

/// Bytes of one encoded point or resource, exemplars included.
pub(super) const LARGEST_LEAF: usize = 256 * 1_024;

/// Memory that the decoded points of one request may take, in bytes.
const MOST_MEMORY: usize = 64 * 1_024 * 1_024;

/// Says of a service whether somebody waits for it, and then the names of metrics that policies give.
pub(super) type Wanted<'w> = &'w dyn Fn(&str) -> Option<Vec<String>>;

/// Decodes a body.
pub(super) fn decode(
    body: &[u8],
    encoding: Option<&str>,
    content: Content,
    most_bytes: usize,
    wanted: Wanted<'_>,
) -> Result<Export, Rejected> {
    let body = unpacked(body, encoding, most_bytes)?;
    let mut collector = Collector::new(wanted);
    match content {
        Content::Protobuf => protobuf::walk(&body, &mut collector),
        Content::Json => json::walk(&body, &mut collector),
    }
    .map_err(|cause| Rejected::Malformed { what: content.named(), cause })?;
    Ok(collector.export)
}

/// A body without its `Content-Encoding`, within the limit.
pub(crate) fn unpacked<'b>(
    body: &'b [u8],
    encoding: Option<&str>,
    limit: usize,
) -> Result<Cow<'b, [u8]>, Rejected> {
    if body.len() > limit {
        return Err(Rejected::TooLarge { limit });
    }
    match encoding.map(str::trim) {
        None | Some("" | "identity") => Ok(Cow::Borrowed(body)),
        Some(gzip) if gzip.eq_ignore_ascii_case("gzip") => gunzip(body, limit).map(Cow::Owned),
        Some(other) => {
            Err(Rejected::Encoding(crate::error::bounded(other.chars().take(40).collect())))
        }
    }
}

pub(crate) fn gunzip(body: &[u8], limit: usize) -> Result<Vec<u8>, Rejected> {
    let mut plain = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = MultiGzDecoder::new(body).take(most).read_to_end(&mut plain);
    read.map_err(|error| Rejected::Malformed { what: "gzip", cause: error.to_string() })?;
    if plain.len() > limit { Err(Rejected::TooLarge { limit }) } else { Ok(plain) }
}

/// Takes what a decoder finds, in the order resource, metric, points.
pub(super) struct Collector<'w> {
    wanted: Wanted<'w>,
    /// The names that policies give, for the resource under way; `None` when nobody waits for it.
    names: Option<Vec<String>>,
    /// Why the points of the resource or metric under way are refused.
    refusing: Option<Reason>,
    points: u64,
    memory: usize,
    pub(super) export: Export,
}

impl<'w> Collector<'w> {
    pub(super) fn new(wanted: Wanted<'w>) -> Self {
        let export = Export::default();
        Self { wanted, names: None, refusing: None, points: 0, memory: MOST_MEMORY, export }
    }

    /// Begins a resource; says whether its metrics are wanted. `None`: it was too large to be decoded.
    pub(super) fn resource(&mut self, attributes: Option<Attributes>) -> bool {
        (self.names, self.refusing) = (None, None);
        let Some(attributes) = attributes.and_then(tidy) else { return false };
        let Some(service) = attribute(&attributes, "service.name") else { return false };
        if service.is_empty() || service.len() > LONGEST_NAME {
            return false;
        }
        let service = service.to_owned();
        if self.export.seen.len() < MOST_SEEN {
            self.export.seen.insert(service.clone());
        }
        let Some(names) = (self.wanted)(&service) else { return false };
        self.names = Some(names);
        self.export.batches.push(Batch { service, resource: attributes, metrics: Vec::new() });
        true
    }

    /// Begins a metric of the resource; says whether its points are wanted.
    pub(super) fn metric(&mut self, metric: Metric) -> bool {
        self.refusing = None;
        let Some(policies) = &self.names else { return false };
        if metric.name.len() > LONGEST_NAME || metric.unit.len() > LONGEST_NAME {
            return false;
        }
        let called = names::Called::of(&metric);
        if !called.is_usual() && !policies.iter().any(|name| called.is(name)) {
            return false;
        }
        self.refusing = match (metric.shape, metric.temporality) {
            (Shape::Sum { monotonic: false }, Temporality::Delta) => Some(Reason::DeltaValue),
            (Shape::Gauge, _) | (_, Temporality::Cumulative | Temporality::Delta) => None,
            (_, Temporality::Unspecified) => Some(Reason::NoTemporality),
        };
        if let Some(batch) = self.export.batches.last_mut() {
            batch.metrics.push((metric, Vec::new()));
        }
        true
    }

    /// Whether the next point can still be taken in; else it is counted as refused.
    pub(super) fn has_room(&mut self) -> bool {
        self.points += 1;
        let reason = if self.points > MOST_POINTS || self.memory == 0 {
            Some(Reason::TooMany)
        } else {
            self.refusing
        };
        reason.map(|reason| self.export.refused.add(reason)).is_none()
    }

    /// Counts a point that could not be taken in.
    pub(super) fn refuse(&mut self, reason: Reason) {
        self.export.refused.add(reason);
    }

    /// Takes a point of the metric.
    pub(super) fn point(&mut self, point: Point) {
        let Some(attributes) = tidy(point.attributes) else {
            return self.refuse(Reason::TooWide);
        };
        let point = Point { attributes, ..point };
        if let Err(reason) = check(&point) {
            return self.refuse(reason);
        }
        let taken = self.export.batches.last_mut().and_then(|batch| batch.metrics.last_mut());
        if let Some((_, points)) = taken {
            self.memory = self.memory.saturating_sub(size(&point));
            points.push(point);
        }
    }
}

/// Attributes in order, without doubles, and none too long; `None` when there are too many.
fn tidy(mut attributes: Attributes) -> Option<Attributes> {
    let long = |(name, _): &(String, String)| name.len() > LONGEST_NAME;
    if attributes.len() > MOST_ATTRIBUTES || attributes.iter().any(long) {
        return None;
    }
    for (_, value) in &mut attributes {
        if value.len() > LONGEST_VALUE {
            let cut = (0..=LONGEST_VALUE).rev().find(|at| value.is_char_boundary(*at));
            value.truncate(cut.unwrap_or(0));
        }
    }
    attributes.sort();
    attributes.dedup_by(|later, earlier| later.0 == earlier.0);
    Some(attributes)
}

/// Whether a point can be real.
fn check(point: &Point) -> Result<(), Reason> {
    if point.start > point.time {
        return Err(Reason::Backwards);
    }
    match &point.value {
        Value::Int(_) | Value::Double(_) => Ok(()),
        Value::Histogram { count, bounds, counts } => {
            let total = counts.iter().try_fold(0_u64, |sum, one| sum.checked_add(*one));
            let rising = bounds.iter().all(|b| b.is_finite())
                && bounds.windows(2).all(|pair| pair[0] < pair[1]);
            let none = bounds.is_empty() && counts.is_empty();
            let fit = counts.len() == bounds.len() + 1
                && bounds.len() <= analysis::observation::MOST_BUCKETS;
            if none || (rising && fit && total == Some(*count)) {
                Ok(())
            } else {
                Err(Reason::BadHistogram)
            }
        }
        Value::Exponential(histogram) => histogram.validate().map_err(|_| Reason::BadScale),
    }
}

/// Roughly what a point takes in memory.
fn size(point: &Point) -> usize {
    let attributes: usize = point.attributes.iter().map(|(k, v)| 64 + k.len() + v.len()).sum();
    let buckets = match &point.value {
        Value::Int(_) | Value::Double(_) => 0,
        Value::Histogram { counts, .. } => 16 * counts.len(),
        Value::Exponential(histogram) => 8 * histogram.counts.len(),
    };
    256 + attributes + buckets
}
