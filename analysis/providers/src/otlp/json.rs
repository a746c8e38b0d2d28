//! JSON bodies, read tolerantly: unknown keys are passed over, whole numbers may be texts, empty values are
//! taken, and ids are not looked at.
//!
//! The outer objects are cut out as text and only leaves are decoded, for the reason that `wire.rs` gives. The
//! generated types cannot be used: they refuse a whole body for one empty `AnyValue`. The mapping:
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding> (1.9).

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::decode::{Collector, LARGEST_LEAF};
use super::model::{Attributes, Metric, Point, Reason, Shape, Temporality, Value, scope};
use super::protobuf::{NO_RECORDED_VALUE, exponential};

/// Hands everything in a body to the collector.
///
/// # Errors
/// When the body is not JSON of this shape.
pub(super) fn walk(body: &[u8], collector: &mut Collector<'_>) -> Result<(), String> {
    let request: Request<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    each(request.resource_metrics, |raw| {
        let metrics: ResourceMetrics<'_> = leaf(raw)?;
        let attributes = match metrics.resource {
            None => Some(Attributes::new()),
            Some(raw) if raw.get().len() > LARGEST_LEAF => None,
            Some(raw) => Some(pairs(leaf::<Resource<'_>>(raw)?.attributes)),
        };
        if !collector.resource(attributes) {
            return Ok(());
        }
        each(metrics.scope_metrics, |raw| {
            let scope: ScopeMetrics<'_> = leaf(raw)?;
            let identity = scope.scope.map_or(0, |raw| self::scope(raw.get().as_bytes()));
            each(scope.metrics, |raw| metric(leaf(raw)?, identity, collector))
        })
    })
}

fn metric(
    message: MetricMessage<'_>,
    scope: u64,
    collector: &mut Collector<'_>,
) -> Result<(), String> {
    let found = [
        (Shape::Gauge, message.gauge),
        (Shape::Sum { monotonic: false }, message.sum),
        (Shape::Histogram, message.histogram),
        (Shape::Exponential, message.exponential_histogram),
    ];
    let Some((shape, raw)) = found.into_iter().find_map(|(s, raw)| Some((s, raw?))) else {
        return Ok(());
    };
    let points: Listed<'_> = leaf(raw)?;
    let shape = match shape {
        Shape::Sum { .. } => Shape::Sum { monotonic: points.is_monotonic.unwrap_or(false) },
        Shape::Gauge | Shape::Histogram | Shape::Exponential => shape,
    };
    let temporality = points.aggregation_temporality.and_then(|whole| i64::try_from(whole.0).ok());
    let header = Metric {
        scope,
        name: message.name.unwrap_or_default(),
        unit: message.unit.unwrap_or_default(),
        shape,
        temporality: Temporality::of(temporality.unwrap_or(0)),
    };
    if !collector.metric(header) {
        return Ok(());
    }
    each(points.data_points, |raw| {
        if !collector.has_room() {
            return Ok(());
        }
        if raw.get().len() > LARGEST_LEAF {
            collector.refuse(Reason::TooWide);
            return Ok(());
        }
        match point(leaf(raw)?, shape) {
            Ok(Some(point)) => collector.point(point),
            Ok(None) => {}
            Err(reason) => collector.refuse(reason),
        }
        Ok(())
    })
}

/// A point; `None` when it says that nothing was recorded.
fn point(message: PointMessage<'_>, shape: Shape) -> Result<Option<Point>, Reason> {
    let flags = message.flags.map_or(Ok(0), |flags| u32::try_from(flags.0));
    if flags.unwrap_or(0) & NO_RECORDED_VALUE != 0 {
        return Ok(None);
    }
    let number = |whole: Option<Whole>| whole.map_or(Ok(0), Whole::count);
    let value = match shape {
        Shape::Gauge | Shape::Sum { .. } => match (message.as_int, message.as_double) {
            (Some(whole), _) => Value::Int(i64::try_from(whole.0).map_err(|_| Reason::NoCount)?),
            (None, Some(real)) => Value::Double(real.0),
            (None, None) => return Err(Reason::NoCount),
        },
        Shape::Histogram => Value::Histogram {
            count: number(message.count)?,
            bounds: message.explicit_bounds.unwrap_or_default().iter().map(|b| b.0).collect(),
            counts: numbers(message.bucket_counts)?,
        },
        Shape::Exponential => {
            let whole = |whole: Option<Whole>| {
                whole.map_or(Ok(0), |w| i64::try_from(w.0)).map_err(|_| Reason::BadScale)
            };
            let positive = message.positive.unwrap_or_default();
            let negative = message.negative.unwrap_or_default();
            exponential(
                number(message.count)?,
                whole(message.scale)?,
                number(message.zero_count)?,
                (whole(positive.offset)?, numbers(positive.bucket_counts)?),
                &numbers(negative.bucket_counts)?,
            )?
        }
    };
    let start = number(message.start_time_unix_nano)?;
    let time = number(message.time_unix_nano)?;
    Ok(Some(Point { attributes: pairs(message.attributes), start, time, value }))
}

fn numbers(all: Option<Vec<Whole>>) -> Result<Vec<u64>, Reason> {
    all.unwrap_or_default().into_iter().map(Whole::count).collect()
}

fn pairs(all: Option<Vec<KeyValue<'_>>>) -> Attributes {
    let pairs = all.unwrap_or_default().into_iter();
    pairs.map(|pair| (pair.key.unwrap_or_default(), text(pair.value))).collect()
}

/// A value as text; lists and maps only so that they differ when they do.
fn text(value: Option<AnyValue<'_>>) -> String {
    let value = value.unwrap_or_default();
    let composite = || value.array_value.or(value.kvlist_value).or(value.bytes_value);
    if let Some(text) = value.string_value {
        text
    } else if let Some(flag) = value.bool_value {
        flag.to_string()
    } else if let Some(whole) = value.int_value {
        whole.0.to_string()
    } else if let Some(real) = value.double_value {
        real.0.to_string()
    } else {
        composite().map_or_else(String::new, |raw| raw.get().to_owned())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    resource_metrics: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceMetrics<'a> {
    #[serde(borrow, default)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, default)]
    scope_metrics: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow, default)]
    attributes: Option<Vec<KeyValue<'a>>>,
}

#[derive(Deserialize)]
struct ScopeMetrics<'a> {
    #[serde(borrow, default)]
    scope: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metrics: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct MetricMessage<'a> {
    name: Option<String>,
    unit: Option<String>,
    #[serde(borrow)]
    gauge: Option<&'a RawValue>,
    #[serde(borrow)]
    sum: Option<&'a RawValue>,
    #[serde(borrow)]
    histogram: Option<&'a RawValue>,
    #[serde(borrow)]
    exponential_histogram: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Listed<'a> {
    #[serde(borrow)]
    data_points: Option<&'a RawValue>,
    aggregation_temporality: Option<Whole>,
    is_monotonic: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PointMessage<'a> {
    #[serde(borrow)]
    attributes: Option<Vec<KeyValue<'a>>>,
    start_time_unix_nano: Option<Whole>,
    time_unix_nano: Option<Whole>,
    flags: Option<Whole>,
    as_int: Option<Whole>,
    as_double: Option<Real>,
    count: Option<Whole>,
    bucket_counts: Option<Vec<Whole>>,
    explicit_bounds: Option<Vec<Real>>,
    scale: Option<Whole>,
    zero_count: Option<Whole>,
    positive: Option<Buckets>,
    negative: Option<Buckets>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Buckets {
    offset: Option<Whole>,
    bucket_counts: Option<Vec<Whole>>,
}

#[derive(Deserialize)]
struct KeyValue<'a> {
    #[serde(default)]
    key: Option<String>,
    #[serde(borrow, default)]
    value: Option<AnyValue<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "the names that the format has")]
struct AnyValue<'a> {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Whole>,
    double_value: Option<Real>,
    #[serde(borrow)]
    array_value: Option<&'a RawValue>,
    #[serde(borrow)]
    kvlist_value: Option<&'a RawValue>,
    #[serde(borrow)]
    bytes_value: Option<&'a RawValue>,
}

/// A whole number of up to 64 bits, as a number or as text.
#[derive(Debug, Clone, Copy)]
struct Whole(i128);

impl Whole {
    fn count(self) -> Result<u64, Reason> {
        u64::try_from(self.0).map_err(|_| Reason::NoCount)
    }
}

/// A number, or `NaN`, `Infinity`, `-Infinity` or a number as text.
#[derive(Debug, Clone, Copy)]
struct Real(f64);

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number or its text")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Whole, E> {
        Ok(Whole(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Whole, E> {
        Ok(Whole(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Whole, E> {
        // As Protobuf's own mapping: 1e3 and 5.0 are whole.
        if value.fract() == 0.0 && value.abs() < 1.9e19 {
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 65 bits")]
            Ok(Whole(value as i128))
        } else {
            Err(E::custom(format_args!("{value} is not a whole number")))
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Whole, E> {
        text.trim().parse().map(Whole).map_err(|_| {
            let shown = crate::error::bounded(text.chars().take(40).collect());
            E::custom(format_args!("`{shown}` is not a whole number"))
        })
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor)
    }
}

struct RealVisitor;

impl Visitor<'_> for RealVisitor {
    type Value = Real;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or its text")
    }

    #[expect(clippy::cast_precision_loss, reason = "bounds and values are floating point numbers")]
    fn visit_u64<E>(self, value: u64) -> Result<Real, E> {
        Ok(Real(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "bounds and values are floating point numbers")]
    fn visit_i64<E>(self, value: i64) -> Result<Real, E> {
        Ok(Real(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Real, E> {
        Ok(Real(value))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Real, E> {
        text.trim().parse().map(Real).map_err(|_| {
            let shown = crate::error::bounded(text.chars().take(40).collect());
            E::custom(format_args!("`{shown}` is not a number"))
        })
    }
}

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RealVisitor)
    }
}

pub(crate) fn leaf<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(told)
}

/// What is wrong, without the place, which counts from the beginning of a part.
#[expect(clippy::needless_pass_by_value, reason = "it is used as a function to map with")]
fn told(error: serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or_else(|| text.clone(), |(what, _)| what.to_owned())
}

/// Hands over each element of a list without keeping any.
pub(crate) fn each<'a>(
    list: Option<&'a RawValue>,
    mut take: impl FnMut(&'a RawValue) -> Result<(), String>,
) -> Result<(), String> {
    let Some(list) = list else { return Ok(()) };
    let mut failed = None;
    let elements = Each(|raw: &'a RawValue| match take(raw) {
        Ok(()) => true,
        Err(text) => {
            failed = Some(text);
            false
        }
    });
    let read = serde_json::Deserializer::from_str(list.get()).deserialize_seq(elements);
    failed.map_or_else(|| read.map_err(told), Err)
}

struct Each<F>(F);

impl<'de, F: FnMut(&'de RawValue) -> bool> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(raw) = list.next_element::<&'de RawValue>()? {
            if !(self.0)(raw) {
                return Err(A::Error::custom("an element could not be read"));
            }
        }
        Ok(())
    }
}
