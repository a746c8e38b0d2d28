//! Moments as stores write them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Number;

/// A moment in seconds since 1970, whole or with a fraction; `None` for what no calendar has.
pub(crate) fn of_seconds(number: &Number) -> Option<Timestamp> {
    if let Some(whole) = number.as_i64() {
        return Timestamp::from_second(whole).ok();
    }
    of_duration(SignedDuration::try_from_secs_f64(number.as_f64()?).ok()?)
}

/// A moment in milliseconds since 1970.
pub(crate) fn of_millis(number: &Number) -> Option<Timestamp> {
    if let Some(whole) = number.as_i64() {
        return Timestamp::from_millisecond(whole).ok();
    }
    of_duration(SignedDuration::try_from_secs_f64(number.as_f64()? / 1_000.0).ok()?)
}

/// A moment by RFC 3339, or without an offset, which stores mean as UTC.
pub(crate) fn of_text(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let plain: DateTime = text.parse().ok()?;
        Some(plain.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })
}

/// A moment to the millisecond: a float has no more to say of a moment in our time.
fn of_duration(since: SignedDuration) -> Option<Timestamp> {
    let since = since.round(jiff::SignedDurationRound::new().smallest(jiff::Unit::Millisecond));
    Timestamp::from_duration(since.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_same_moment_in_every_writing() {
        let at: Timestamp = "2024-05-01T12:00:00.5Z".parse().unwrap();
        for text in
            ["2024-05-01T12:00:00.5Z", "2024-05-01T14:00:00.500+02:00", "2024-05-01T12:00:00.5"]
        {
            assert_eq!(of_text(text), Some(at), "{text}");
        }
        assert_eq!(of_seconds(&number("1714564800.5")), Some(at));
        assert_eq!(of_seconds(&number("1.7145648005E9")), Some(at));
        assert_eq!(of_millis(&number("1714564800500")), Some(at));
        assert_eq!(of_millis(&number("1714564800500.0")), Some(at));
        assert_eq!(of_text("2024-05-01 12:00:00.5"), Some(at));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in ["", "now", "2024-13-01T00:00:00Z", "99999-01-01T00:00:00Z"] {
            assert_eq!(of_text(text), None, "{text}");
        }
        for text in ["1e300", "9223372036854775807", "-1e300", "18446744073709551615"] {
            assert_eq!(of_seconds(&number(text)), None, "{text}");
        }
    }
}
