//! JSON as real senders write it: scalars of any kind, lists and maps element by element, several documents.
//!
//! A field of an unexpected kind must cost that field only, so every scalar field is a [`Scalar`], which any JSON
//! can be read into. Lists and maps are cut out as text and their elements decoded one at a time, for the reason
//! that `otlp/wire.rs` gives.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::builder::{Builder, Found};
use super::{Format, Unreadable};
use crate::otlp::json::each;

/// After so many documents of another shape a file is none of spans; the rest is not looked at.
const MOST_BROKEN: u64 = 1_000;

/// Keys of an unknown document that are shown.
const SHOWN_KEYS: usize = 8;

/// Any JSON; lists and maps without their content.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Scalar<'a> {
    /// Left out, or null.
    #[default]
    Nothing,
    Flag(bool),
    Whole(i128),
    Real(f64),
    Text(Cow<'a, str>),
    Composite,
}

impl Scalar<'_> {
    pub(super) const fn is_there(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// The text; empty when it is none.
    pub(super) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    /// A whole number, also as text or as `5.0`.
    pub(super) fn whole(&self) -> Option<i128> {
        match self {
            Self::Whole(number) => Some(*number),
            // As Protobuf's own mapping: 1e3 is whole.
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 65 bits")]
            Self::Real(number) if number.fract() == 0.0 && number.abs() < 1.9e19 => {
                Some(*number as i128)
            }
            Self::Text(text) => text.trim().parse().ok(),
            Self::Nothing | Self::Flag(_) | Self::Real(_) | Self::Composite => None,
        }
    }

    /// A whole number that is not negative.
    pub(super) fn count(&self) -> Option<u64> {
        self.whole().and_then(|number| u64::try_from(number).ok())
    }

    /// Any number, also as text, `NaN` and infinities too.
    #[expect(clippy::cast_precision_loss, reason = "a number that is asked for as a real one")]
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(*number as f64),
            Self::Real(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Nothing | Self::Flag(_) | Self::Composite => None,
        }
    }

    /// Whether it says yes.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Flag(flag) => *flag,
            Self::Whole(number) => *number != 0,
            Self::Text(text) => text.eq_ignore_ascii_case("true") || text == "1",
            Self::Nothing | Self::Real(_) | Self::Composite => false,
        }
    }

    /// A time or duration in units of so many nanoseconds; `None` beyond 64 bits of nanoseconds.
    pub(super) fn nanoseconds(&self, unit: u32) -> Option<u64> {
        if let Some(count) = self.count() {
            return count.checked_mul(u64::from(unit));
        }
        let nanoseconds = (self.number()? * f64::from(unit)).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0 and 2^64, as asked just before"
        )]
        (0.0..1.8e19).contains(&nanoseconds).then_some(nanoseconds as u64)
    }

    /// As an attribute's value; null is an empty text.
    pub(super) fn found(&self) -> Found<'_> {
        match self {
            Self::Nothing | Self::Composite => Found::Text(&[]),
            Self::Flag(flag) => Found::Flag(*flag),
            Self::Whole(number) => whole(*number),
            Self::Real(number) => Found::Number(*number),
            Self::Text(text) => Found::Text(text.as_bytes()),
        }
    }
}

/// A whole number of up to 64 bits; larger ones lose their last digits.
#[expect(clippy::cast_precision_loss, reason = "a larger number is no count")]
pub(super) fn whole(number: i128) -> Found<'static> {
    i64::try_from(number).map_or(Found::Number(number as f64), Found::Integer)
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Whole(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Whole(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Real(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Composite)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Composite)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// What any JSON says as a scalar.
pub(super) fn scalar(raw: &RawValue) -> Scalar<'_> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// The first character that says what kind of JSON it is.
pub(super) fn mark(raw: &RawValue) -> u8 {
    raw.get().bytes().next().unwrap_or_default()
}

/// Takes an attribute whose value is any JSON: lists and maps as they are written.
pub(super) fn attribute(name: &str, raw: &RawValue, builder: &mut Builder<'_>) {
    if matches!(mark(raw), b'[' | b'{') {
        builder.attribute(name.as_bytes(), Found::Text(raw.get().as_bytes()));
    } else {
        builder.attribute(name.as_bytes(), scalar(raw).found());
    }
}

/// Hands over each element of a list, if it is one.
///
/// # Errors
/// When it is something else.
pub(super) fn elements<'a>(
    list: &'a RawValue,
    mut take: impl FnMut(&'a RawValue),
) -> Result<(), String> {
    each(Some(list), |element| {
        take(element);
        Ok(())
    })
}

/// Hands over each element of what may be a list; anything else has none.
pub(super) fn each_of<'a>(list: Option<&'a RawValue>, take: impl FnMut(&'a RawValue)) {
    if let Some(list) = list.filter(|raw| mark(raw) == b'[') {
        // What was cut out as a list is one, to its last element.
        elements(list, take).unwrap_or_default();
    }
}

/// The first element of what may be a list.
pub(super) fn first_of(list: &RawValue) -> Option<&RawValue> {
    let mut first = None;
    each_of(Some(list), |element| {
        first.get_or_insert(element);
    });
    first
}

/// Hands over each entry of a map without keeping any; a key may come twice.
///
/// # Errors
/// When it is something else, or a key is no text that can be read.
pub(super) fn entries<'a>(
    map: &'a RawValue,
    take: impl FnMut(&str, &'a RawValue),
) -> Result<(), String> {
    let read = serde_json::Deserializer::from_str(map.get()).deserialize_map(Entries(take));
    read.map_err(|error| error.to_string())
}

/// Hands over each entry of what may be a map; says how many attributes are lost with a key that cannot be read.
pub(super) fn each_tag<'a>(map: Option<&'a RawValue>, take: impl FnMut(&str, &'a RawValue)) -> u64 {
    map.filter(|raw| mark(raw) == b'{').map_or(0, |map| u64::from(entries(map, take).is_err()))
}

struct Entries<F>(F);

impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Entries<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, raw)) = map.next_entry::<Scalar<'de>, &'de RawValue>()? {
            (self.0)(key.text(), raw);
        }
        Ok(())
    }
}

/// Hands over each document of a body, one after the other or one a line.
///
/// # Errors
/// When the first is broken or `take` refuses it. A later one is counted: the end of a file that is being written.
pub(super) fn documents(
    body: &[u8],
    format: Format,
    builder: &mut Builder<'_>,
    mut take: impl FnMut(&RawValue, &mut Builder<'_>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let text = String::from_utf8_lossy(body);
    if matches!(text, Cow::Owned(_)) {
        builder.refused.invalid_text += 1;
    }
    let text = text.trim_start_matches('\u{feff}');
    let mut is_first = true;
    for document in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let taken = document
            .map_err(|error| Unreadable::Json { format, cause: error.to_string() })
            .and_then(|raw| take(raw, builder));
        match taken {
            Err(error) if is_first => return Err(error),
            Err(_) => builder.refused.broken_documents += 1,
            Ok(()) => {}
        }
        if builder.refused.broken_documents >= MOST_BROKEN {
            break;
        }
        is_first = false;
    }
    if is_first { Err(Unreadable::Empty) } else { Ok(()) }
}

/// A document of another shape than a format has.
pub(super) fn shape(format: Format, raw: &RawValue, expected: &'static str) -> Unreadable {
    Unreadable::Shape { format, found: described(raw), expected }
}

/// What a document is, in words.
pub(super) fn described(raw: &RawValue) -> String {
    match mark(raw) {
        b'{' => {
            let (mut keys, mut more) = (Vec::new(), 0_u64);
            let read = entries(raw, |key, _| {
                if keys.len() < SHOWN_KEYS {
                    keys.push(format!("`{}`", key.chars().take(40).collect::<String>()));
                } else {
                    more += 1;
                }
            });
            match (read, keys.is_empty()) {
                (Err(_), true) => "a JSON object that cannot be read".to_owned(),
                (Ok(()), true) => "an empty JSON object".to_owned(),
                (_, false) if more > 0 => {
                    format!("a JSON object with the keys {} and {more} more", keys.join(", "))
                }
                (_, false) => format!("a JSON object with the keys {}", keys.join(", ")),
            }
        }
        b'[' => match first_of(raw) {
            None => "an empty JSON list".to_owned(),
            Some(first) if mark(first) == b'[' => "a JSON list of lists".to_owned(),
            Some(first) => format!("a JSON list that begins with {}", described(first)),
        },
        b'"' => "a JSON text".to_owned(),
        _ => "a JSON number or constant".to_owned(),
    }
}
