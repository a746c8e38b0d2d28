//! What Prometheus answers: the envelope, and series with the samples of counters and native histograms.
//!
//! Decoded here and not by `prometheus-http-query` 0.9: its types have no native histograms, refuse a series
//! that has only such, and drop the store's warnings. Decoding goes straight from the text into series, so that
//! an answer of 100,000 samples takes some ten milliseconds and little more memory than its numbers.

use std::fmt;

use reqwest::StatusCode;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{FetchError, bounded};
use crate::http;
use crate::reads::native::{NativeBucket, NativeHistogram};
use crate::selector::Series;

/// An answer that is no error.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) series: Vec<Samples>,
    /// The store's own word that something may be missing.
    pub(super) warnings: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Too much was asked for, or wrongly; the same for fewer subjects may be answered.
    Excessive(FetchError),
    /// No answer in time; the same for fewer subjects may come earlier.
    Slow(FetchError),
    /// Anything else.
    Other(FetchError),
}

impl Failure {
    /// The error for people.
    pub(super) fn into_error(self) -> FetchError {
        match self {
            Self::Excessive(error) | Self::Slow(error) | Self::Other(error) => error,
        }
    }
}

/// One series with its samples, in the order of time; seconds since 1970.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Samples {
    pub(super) series: Series,
    pub(super) numbers: Vec<(f64, f64)>,
    pub(super) histograms: Vec<(f64, NativeHistogram)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    data: Option<Body>,
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    /// `VictoriaMetrics`: a storage node did not answer.
    #[serde(default)]
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
struct Body {
    result: Everything,
}

/// Reads an answer.
pub(super) fn decode(
    status: StatusCode,
    body: &[u8],
    query: &str,
    shown: &str,
) -> Result<Answer, Failure> {
    if matches!(status.as_u16(), 401 | 403) {
        let error = http::refused(status, shown, "; set the provider's credentials");
        return Err(Failure::Other(error));
    }
    let envelope: Envelope = serde_json::from_slice(body)
        .map_err(|error| Failure::Other(unreadable(status, &error, shown)))?;
    match (envelope.status.as_str(), envelope.data) {
        ("success", Some(data)) => {
            let mut warnings = envelope.warnings.unwrap_or_default();
            if envelope.is_partial == Some(true) {
                warnings.push("isPartial, a part of the store did not answer".to_owned());
            }
            Ok(Answer { series: data.result.0, warnings })
        }
        ("success", None) => {
            Err(Failure::Other(FetchError::transient(format!("{shown} answered without data"))))
        }
        _ => {
            let kind = envelope.error_type.unwrap_or_else(|| status.to_string());
            let error = bounded(envelope.error.unwrap_or_else(|| "no reason given".to_owned()));
            let query = bounded(query.to_owned());
            let text = format!("{shown} refused a query ({kind}: {error}): {query}");
            Err(match kind.as_str() {
                "bad_data" => Failure::Excessive(FetchError::permanent(format!(
                    "{text}; hint: check the labels and the query that the policy writes"
                ))),
                // `VictoriaMetrics` has its status here instead of a kind.
                "execution" | "422" => Failure::Excessive(FetchError::permanent(format!(
                    "{text}; hint: select fewer series, or raise the store's limits"
                ))),
                "not_found" => Failure::Other(FetchError::permanent(text)),
                _ => Failure::Other(FetchError::transient(text)),
            })
        }
    }
}

/// What a body that is not of the query API means.
fn unreadable(status: StatusCode, error: &serde_json::Error, shown: &str) -> FetchError {
    if status == StatusCode::NOT_FOUND {
        let hint = "; set the address under which /api/v1/query is found";
        return http::refused(status, shown, hint);
    }
    if !status.is_success() {
        return http::refused(status, shown, "");
    }
    FetchError::transient(if error.is_eof() {
        format!("the answer of {shown} broke off")
    } else {
        format!("{shown} answered what the query API does not: {}", bounded(error.to_string()))
    })
}

/// The series of a vector or a matrix; none for a scalar, whose result is a bare pair.
struct Everything(Vec<Samples>);

impl<'de> Deserialize<'de> for Everything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Everything;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the series of a result")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Everything, A::Error> {
                let mut series = Vec::new();
                while let Some(Element(samples)) = elements.next_element()? {
                    series.extend(samples);
                }
                Ok(Everything(series))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

/// A series, or a part of a scalar.
struct Element(Option<Samples>);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Element;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a series with its samples")
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Element, E> {
                Ok(Element(None))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Element, E> {
                Ok(Element(None))
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Element, E> {
                Ok(Element(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Element, A::Error> {
                let mut samples = Samples::default();
                while let Some(name) = fields.next_key::<Name>()? {
                    match name {
                        Name::Metric => samples.series = fields.next_value::<Labels>()?.0,
                        Name::Value => samples.numbers.push(fields.next_value::<Number>()?.0),
                        Name::Values => {
                            let numbers = fields.next_value::<Vec<Number>>()?;
                            samples.numbers = numbers.into_iter().map(|number| number.0).collect();
                        }
                        Name::Histogram => {
                            samples.histograms.push(fields.next_value::<Histogram>()?.into());
                        }
                        Name::Histograms => {
                            let all = fields.next_value::<Vec<Histogram>>()?;
                            samples.histograms = all.into_iter().map(Into::into).collect();
                        }
                        Name::Other => {
                            fields.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Element(Some(samples)))
            }
        }
        deserializer.deserialize_any(Fields)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    Metric,
    Value,
    Values,
    Histogram,
    Histograms,
    #[serde(other)]
    Other,
}

/// The labels of a series, its name among them.
struct Labels(Series);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Labels, A::Error> {
                let (mut name, mut labels) = (String::new(), Vec::with_capacity(8));
                while let Some((label, value)) = pairs.next_entry::<String, String>()? {
                    if label == "__name__" {
                        name = value;
                    } else {
                        labels.push((label, value));
                    }
                }
                Ok(Labels(Series::new(name, labels)))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A moment with a number.
#[derive(Deserialize)]
#[serde(from = "(f64, Quoted)")]
struct Number((f64, f64));

impl From<(f64, Quoted)> for Number {
    fn from((at, Quoted(value)): (f64, Quoted)) -> Self {
        Self((at, value))
    }
}

/// A number as a JSON string: `"1027"`, `"NaN"`, `"+Inf"`.
#[derive(Clone, Copy)]
struct Quoted(f64);

impl<'de> Deserialize<'de> for Quoted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Quoted;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number in quotes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Quoted, E> {
                let number = crate::exposition::parse_number(text);
                number.map(Quoted).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A moment with a native histogram.
#[derive(Deserialize)]
struct Histogram(f64, Fields);

#[derive(Deserialize)]
struct Fields {
    count: Quoted,
    #[serde(default)]
    buckets: Vec<(u8, Quoted, Quoted, Quoted)>,
}

impl From<Histogram> for (f64, NativeHistogram) {
    fn from(Histogram(at, Fields { count, buckets }): Histogram) -> Self {
        let buckets = buckets.into_iter().map(|(rule, left, right, count)| NativeBucket {
            closed: rule == 3,
            left: left.0,
            right: right.0,
            count: count.0,
        });
        (at, NativeHistogram { count: count.0, buckets: buckets.collect() })
    }
}
