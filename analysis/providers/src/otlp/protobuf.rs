//! Protobuf bodies: `opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest`.
//!
//! Field numbers are those of opentelemetry-proto 1.10. The tree is walked by `wire.rs`; resources and points
//! are decoded into the generated types.

use analysis::Exponential;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::{DecodeError, Message};

use super::decode::{Collector, LARGEST_LEAF};
use super::model::{Attributes, Metric, Point, Reason, Shape, Temporality, Value, scope};
use super::wire::{Field, Fields};

/// The flag of a point that says that nothing was recorded.
pub(super) const NO_RECORDED_VALUE: u32 = 1;

/// Hands everything in a body to the collector.
///
/// # Errors
/// When the body is not Protobuf.
pub(super) fn walk(body: &[u8], collector: &mut Collector<'_>) -> Result<(), String> {
    for resource_metrics in Fields::of(body).messages(1) {
        resource(resource_metrics.map_err(told)?, collector).map_err(told)?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "it is used as a function to map with")]
fn told(error: DecodeError) -> String {
    error.to_string()
}

fn resource(message: &[u8], collector: &mut Collector<'_>) -> Result<(), DecodeError> {
    // Scalar fields may stand behind the lists that they belong to, so they are looked for first.
    let mut encoded = None;
    for field in Fields::of(message) {
        if let (1, Field::Bytes(bytes)) = field? {
            encoded = Some(bytes);
        }
    }
    let attributes = match encoded {
        None => Some(Attributes::new()),
        Some(bytes) if bytes.len() > LARGEST_LEAF => None,
        Some(bytes) => Some(attributes(Resource::decode(bytes)?.attributes)),
    };
    if !collector.resource(attributes) {
        return Ok(());
    }
    for scope_metrics in Fields::of(message).messages(2) {
        let scope_metrics = scope_metrics?;
        let scope = Fields::of(scope_metrics).messages(1).next().transpose()?.map_or(0, scope);
        for encoded in Fields::of(scope_metrics).messages(2) {
            metric(encoded?, scope, collector)?;
        }
    }
    Ok(())
}

fn metric(message: &[u8], scope: u64, collector: &mut Collector<'_>) -> Result<(), DecodeError> {
    let (mut name, mut unit, mut points) = (&[][..], &[][..], None);
    for field in Fields::of(message) {
        match field? {
            (1, Field::Bytes(bytes)) => name = bytes,
            (3, Field::Bytes(bytes)) => unit = bytes,
            // A gauge, a sum, a histogram, an exponential one; summaries (11) have no counts.
            (tag @ (5 | 7 | 9 | 10), Field::Bytes(bytes)) => points = Some((tag, bytes)),
            _ => {}
        }
    }
    let Some((tag, message)) = points else { return Ok(()) };
    let (mut temporality, mut monotonic) = (0, false);
    for field in Fields::of(message) {
        match field? {
            (2, Field::Number(number)) => temporality = number,
            (3, Field::Number(number)) => monotonic = number != 0,
            _ => {}
        }
    }
    let shape = match tag {
        5 => Shape::Gauge,
        7 => Shape::Sum { monotonic },
        9 => Shape::Histogram,
        _ => Shape::Exponential,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let header = Metric {
        scope,
        name: text(name),
        unit: text(unit),
        shape,
        temporality: Temporality::of(i64::try_from(temporality).unwrap_or(0)),
    };
    if !collector.metric(header) {
        return Ok(());
    }
    for encoded in Fields::of(message).messages(1) {
        let encoded = encoded?;
        if !collector.has_room() {
            continue;
        }
        if encoded.len() > LARGEST_LEAF {
            collector.refuse(Reason::TooWide);
            continue;
        }
        match point(encoded, shape)? {
            Ok(Some(point)) => collector.point(point),
            Ok(None) => {}
            Err(reason) => collector.refuse(reason),
        }
    }
    Ok(())
}

/// A point; `None` when it says that nothing was recorded.
fn point(encoded: &[u8], shape: Shape) -> Result<Result<Option<Point>, Reason>, DecodeError> {
    let (attributes, start, time, flags, value) = match shape {
        Shape::Gauge | Shape::Sum { .. } => {
            let point = NumberDataPoint::decode(encoded)?;
            let value = match point.value {
                Some(number_data_point::Value::AsInt(value)) => Ok(Value::Int(value)),
                Some(number_data_point::Value::AsDouble(value)) => Ok(Value::Double(value)),
                None => Err(Reason::NoCount),
            };
            let (start, time) = (point.start_time_unix_nano, point.time_unix_nano);
            (point.attributes, start, time, point.flags, value)
        }
        Shape::Histogram => {
            let point = HistogramDataPoint::decode(encoded)?;
            let value = Value::Histogram {
                count: point.count,
                bounds: point.explicit_bounds,
                counts: point.bucket_counts,
            };
            let (start, time) = (point.start_time_unix_nano, point.time_unix_nano);
            (point.attributes, start, time, point.flags, Ok(value))
        }
        Shape::Exponential => {
            let point = ExponentialHistogramDataPoint::decode(encoded)?;
            let positive = point.positive.unwrap_or_default();
            let negative = point.negative.unwrap_or_default();
            let value = exponential(
                point.count,
                i64::from(point.scale),
                point.zero_count,
                (i64::from(positive.offset), positive.bucket_counts),
                &negative.bucket_counts,
            );
            let (start, time) = (point.start_time_unix_nano, point.time_unix_nano);
            (point.attributes, start, time, point.flags, value)
        }
    };
    if flags & NO_RECORDED_VALUE != 0 {
        return Ok(Ok(None));
    }
    Ok(value
        .map(|value| Some(Point { attributes: self::attributes(attributes), start, time, value })))
}

/// An exponential histogram with our index: OpenTelemetry's bucket `k` is `k + 1`.
///
/// # Errors
/// When its counts do not fit, or its scale or index is beyond what is kept.
pub(super) fn exponential(
    count: u64,
    scale: i64,
    zero: u64,
    (offset, mut counts): (i64, Vec<u64>),
    negative: &[u64],
) -> Result<Value, Reason> {
    // Durations are not negative.
    if negative.iter().any(|count| *count > 0) {
        return Err(Reason::NoCount);
    }
    let kept = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    counts.truncate(kept);
    let total = counts.iter().try_fold(zero, |sum, one| sum.checked_add(*one));
    if total != Some(count) {
        return Err(Reason::BadHistogram);
    }
    let scale = i8::try_from(scale).map_err(|_| Reason::BadScale)?;
    let first = offset.checked_add(1).and_then(|first| i32::try_from(first).ok());
    let first = if counts.is_empty() { Some(0) } else { first };
    let first = first.ok_or(Reason::BadScale)?;
    Ok(Value::Exponential(Exponential { scale, zero, first, counts }))
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    pairs.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}

/// A value as text; lists and maps only so that they differ when they do.
fn text(value: Option<AnyValue>) -> String {
    let Some(AnyValue { value: Some(value) }) = value else { return String::new() };
    match value {
        any_value::Value::StringValue(text) => text,
        any_value::Value::BoolValue(flag) => flag.to_string(),
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::DoubleValue(number) => number.to_string(),
        composite @ (any_value::Value::ArrayValue(_)
        | any_value::Value::KvlistValue(_)
        | any_value::Value::BytesValue(_)
        | any_value::Value::StringValueStrindex(_)) => format!("{composite:?}"),
    }
}
