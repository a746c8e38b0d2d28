//! Which arm a request goes to.
//!
//! Each request has a *position* in [0, 1), here 32 bits, and goes to the canary when the position
//! is below the weight. Positions come from one counter per service, multiplied by the golden
//! ratio (a Weyl sequence). Any run of requests, however cut, then holds its share almost exactly:
//! 10,000 requests at 1 % give 100 give or take two, where a coin would give or take 20. The
//! multiplier is irrational, so traffic that alternates with any period is split as fairly.
//!
//! A sticky client keeps its position in a cookie, for its browser's session. So the canary's
//! clients stay when the weight rises, only the missing share joins them, and the sticky share is
//! the weight itself: it cannot exceed it, and at weight 0 it is nobody.

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use rollout::Weight;

use super::random::{GOLDEN, Random};

/// Where a request stands between 0 and 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position(u32);

impl Position {
    /// Whether the canary's share reaches this far.
    pub(super) fn is_canary(self, weight: Weight) -> bool {
        u64::from(self.0) * 10_000 < u64::from(weight.basis_points()) << 32
    }

    /// The position in the client's cookie `name`, if there is a well-formed one.
    pub(super) fn from_cookie(headers: &HeaderMap, name: &str) -> Option<Self> {
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .filter(|(_, value)| value.len() == 8 && value.bytes().all(|c| c.is_ascii_hexdigit()))
            .and_then(|(_, value)| u32::from_str_radix(value, 16).ok())
            .map(Self)
    }

    /// The `Set-Cookie` value that keeps this position for the browser's session.
    pub(super) fn to_cookie(self, name: &str) -> Option<HeaderValue> {
        let cookie = format!("{name}={:08x}; Path=/; HttpOnly; SameSite=Lax", self.0);
        HeaderValue::from_str(&cookie).ok()
    }
}

/// The positions of a service's requests.
#[derive(Debug)]
pub(super) struct Sequence(AtomicU64);

impl Sequence {
    pub(super) fn new(random: &Random) -> Self {
        Self(AtomicU64::new(random.next()))
    }

    pub(super) fn next(&self) -> Position {
        // Adding the multiplier each time is multiplying the count by it.
        let place = self.0.fetch_add(GOLDEN, Ordering::Relaxed);
        Position(u32::try_from(place >> 32).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary(points: u16, requests: u32) -> u32 {
        let weight = Weight::from_basis_points(points).expect("at most 10000");
        let sequence = Sequence::new(&Random::seeded());
        (0..requests).map(|_| u32::from(sequence.next().is_canary(weight))).sum()
    }

    #[test]
    fn any_run_of_requests_holds_its_share() {
        for (points, requests, expected, off) in [
            (0, 100_000, 0, 0),
            (1, 1_000_000, 100, 4),
            (100, 10_000, 100, 3),
            (5_000, 10_000, 5_000, 4),
            (9_999, 1_000_000, 999_900, 4),
            (10_000, 100_000, 100_000, 0),
        ] {
            let got = canary(points, requests);
            assert!(got.abs_diff(expected) <= off, "{points} bp of {requests}: {got}");
        }
    }

    #[test]
    fn every_second_request_is_split_as_fairly() {
        let sequence = Sequence::new(&Random::seeded());
        let weight = Weight::from_share(0.1);
        let mut even = 0;
        for _ in 0..5_000 {
            even += u32::from(sequence.next().is_canary(weight));
            sequence.next();
        }
        assert!((495..=505).contains(&even), "{even}");
    }

    #[test]
    fn a_cookie_keeps_the_position_and_a_bad_one_counts_for_nothing() {
        let cookie = Position(0xab).to_cookie("arm").expect("a valid name");
        let pair = cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.append(COOKIE, HeaderValue::from_str(text).expect("valid"));
            Position::from_cookie(&headers, "arm")
        };
        assert_eq!(read(&format!("x=1; {pair}; y=2")), Some(Position(0xab)));
        for bad in ["arm=", "arm=+0000001", "arm=zzzzzzzz", "arm=123456789", "Arm=00000000", "arm"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_canary_client_stays_when_the_weight_rises_and_leaves_at_zero() {
        let sequence = Sequence::new(&Random::seeded());
        let (low, high) = (Weight::from_share(0.05), Weight::from_share(0.5));
        for position in std::iter::repeat_with(|| sequence.next()).take(1_000) {
            assert!(!position.is_canary(low) || position.is_canary(high));
            assert!(!position.is_canary(Weight::ZERO));
        }
    }
}
