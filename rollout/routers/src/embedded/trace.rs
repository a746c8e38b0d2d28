//! Starts a trace where the client has none, so that every answer can be found again.
//!
//! Follows W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context/>): a valid
//! `traceparent` is passed on unchanged, whatever its version; a malformed one is replaced, and
//! its `tracestate` dropped with it.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::random::Random;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of a version 00 value: 2 + 1 + 32 + 1 + 16 + 1 + 2.
const LENGTH: usize = 55;

/// Gives a request without a valid trace a new one, marked as sampled.
pub(super) fn start_if_absent(headers: &mut HeaderMap, random: &Random) {
    let mut present = headers.get_all(TRACEPARENT).iter();
    let valid = match (present.next(), present.next()) {
        (Some(only), None) => is_valid(only.as_bytes()),
        (None | Some(_), _) => false,
    };
    if !valid {
        headers.remove(TRACESTATE);
        headers.insert(TRACEPARENT, fresh(random));
    }
}

/// `00-<trace id>-<parent id>-01`. Ids need to be unlikely to meet, not to be unguessable.
fn fresh(random: &Random) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut value = *b"00-00000000000000000000000000000000-0000000000000000-01";
    for (from, word) in [(3, random.next()), (19, random.next()), (36, random.next())] {
        // An id of zeros is invalid; the lowest bit set makes that impossible.
        for (place, byte) in value[from..from + 16].iter_mut().zip((0..16).rev()) {
            *place = DIGITS[usize::try_from((word | 1) >> (4 * byte) & 15).unwrap_or(0)];
        }
    }
    HeaderValue::from_bytes(&value).expect("hexadecimal digits and dashes are a valid value")
}

fn is_valid(value: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |part: &[u8]| part.iter().all(|c| *c == b'0');
    if value.len() < LENGTH || value[2] != b'-' || value[35] != b'-' || value[52] != b'-' {
        return false;
    }
    let (version, trace, parent, flags) =
        (&value[..2], &value[3..35], &value[36..52], &value[53..55]);
    // A later version may be longer, after a dash.
    let length_fits = match version {
        b"00" => value.len() == LENGTH,
        _ => value.len() == LENGTH || value[LENGTH] == b'-',
    };
    hex(version)
        && version != b"ff"
        && length_fits
        && hex(trace)
        && !zero(trace)
        && hex(parent)
        && !zero(parent)
        && hex(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_standard_calls_valid_is_valid() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_valid(good.as_bytes()));
        assert!(is_valid(good.replacen("00", "01", 1).as_bytes()));
        assert!(is_valid(format!("{}-more", good.replacen("00", "cc", 1)).as_bytes()));
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_new_trace_is_valid_and_its_own() {
        let random = Random::seeded();
        let (one, two) = (fresh(&random), fresh(&random));
        assert!(is_valid(one.as_bytes()));
        assert_ne!(one, two);
    }

    #[test]
    fn two_values_are_malformed() {
        let mut headers = HeaderMap::new();
        let good =
            HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        headers.append(TRACEPARENT, good.clone());
        headers.append(TRACEPARENT, good.clone());
        headers.append(TRACESTATE, HeaderValue::from_static("a=b"));
        start_if_absent(&mut headers, &Random::seeded());
        assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
        assert_ne!(headers[TRACEPARENT], good);
        assert!(!headers.contains_key(TRACESTATE));
    }
}
