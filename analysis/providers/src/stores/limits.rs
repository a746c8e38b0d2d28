//! When a store may be asked: what it said with `Retry-After`, 429 and its rate-limit headers, and how many
//! requests a minute it documents.
//!
//! A store that is asked again while it refuses refuses for longer, and shares its limit with the dashboards of
//! the people who need them during an incident. The present moment is told by the provider's `at`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::error::FetchError;

/// How long a store that says 429 and no more is left alone.
const UNTOLD: SignedDuration = SignedDuration::from_secs(60);

/// The longest that a store is believed: a header in a wrong unit must not silence a source for days.
const LONGEST: SignedDuration = SignedDuration::from_secs(3_600);

/// How the moment of the next window is spelled: IETF drafts, Datadog, Dynatrace and others.
const RESET: [&str; 3] = ["x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset"];
const REMAINING: [&str; 3] =
    ["x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining"];

/// Remembers until when a store must not be asked.
#[derive(Debug)]
pub(crate) struct Limits {
    per_minute: Option<u32>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    until: Option<Timestamp>,
    minute: Timestamp,
    used: u32,
}

impl Limits {
    /// No limit is known yet but at most `per_minute` requests in each minute.
    pub(crate) fn new(per_minute: Option<u32>) -> Self {
        let never = Timestamp::UNIX_EPOCH;
        let state = State { now: never, until: None, minute: never, used: 0 };
        Self { per_minute, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the present moment.
    pub(crate) fn begin(&self, at: Timestamp) {
        let mut state = self.lock();
        state.now = at;
        if at.duration_since(state.minute) >= SignedDuration::from_mins(1) {
            state.minute = at;
            state.used = 0;
        }
        state.until = state.until.filter(|until| *until > at);
    }

    /// Until when the store asked to be left alone.
    pub(crate) fn waiting(&self, shown: &str) -> Option<FetchError> {
        self.lock().until.map(|until| {
            FetchError::transient(format!(
                "{shown} limits how often it is asked: the next attempt is after {until:.0}"
            ))
        })
    }

    /// Takes one request of the minute's number.
    ///
    /// # Errors
    /// When the store asked to be left alone or the number is used up; transient.
    pub(crate) fn permit(&self, shown: &str) -> Result<(), FetchError> {
        if let Some(error) = self.waiting(shown) {
            return Err(error);
        }
        let mut state = self.lock();
        if let Some(most) = self.per_minute
            && state.used >= most
        {
            let next = later(state.minute, SignedDuration::from_mins(1));
            return Err(FetchError::transient(format!(
                "{shown} takes {most} requests a minute, and these are used up: the next attempt is after \
                 {next:.0}"
            )));
        }
        state.used += 1;
        Ok(())
    }

    /// Learns from an answer's status and headers.
    pub(crate) fn heard(&self, status: StatusCode, headers: &HeaderMap) {
        let mut state = self.lock();
        let refused = status == StatusCode::TOO_MANY_REQUESTS;
        let said = retry_after(headers, state.now).filter(|_| !status.is_success());
        let used_up = first(headers, &REMAINING).is_some_and(|text| text.trim() == "0");
        let wait = if refused {
            Some(said.or_else(|| reset(headers, state.now)).unwrap_or(UNTOLD))
        } else if said.is_some() {
            said
        } else if used_up {
            reset(headers, state.now)
        } else {
            None
        };
        if let Some(wait) = wait {
            state.wait(wait);
        }
    }

    /// Remembers a refusal that stands in the body of an answer and tells no time.
    pub(crate) fn refused(&self) {
        self.lock().wait(UNTOLD);
    }
}

impl State {
    fn wait(&mut self, wait: SignedDuration) {
        let wait = wait.clamp(SignedDuration::from_secs(1), LONGEST);
        self.until = self.until.max(Some(later(self.now, wait)));
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn first<'a>(headers: &'a HeaderMap, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| headers.get(*name)?.to_str().ok())
}

/// Seconds, or a moment as HTTP writes it; a moment is read by the store's own clock where it tells that.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<SignedDuration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(SignedDuration::from_secs(seconds.into()));
    }
    let until = moment(text)?;
    let its_now = headers.get(DATE).and_then(|d| d.to_str().ok()).and_then(moment).unwrap_or(now);
    Some(until.duration_since(its_now))
}

fn moment(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// Small numbers are seconds from now, larger ones a moment in seconds, milliseconds or microseconds.
fn reset(headers: &HeaderMap, now: Timestamp) -> Option<SignedDuration> {
    let number = first(headers, &RESET)?.trim().parse::<f64>().ok()?;
    if !number.is_finite() || number < 0.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "casts saturate, and waits are clamped")]
    let whole = number.ceil() as i64;
    let until = match whole {
        ..100_000_000 => return Some(SignedDuration::from_secs(whole)),
        100_000_000..100_000_000_000 => Timestamp::from_second(whole),
        100_000_000_000..100_000_000_000_000 => Timestamp::from_millisecond(whole),
        _ => Timestamp::from_microsecond(whole),
    };
    until.ok().map(|until| until.duration_since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(status: u16, headers: &[(&'static str, &str)]) -> Option<i64> {
        let limits = Limits::new(None);
        let now = Timestamp::from_second(1_764_000_000).unwrap();
        limits.begin(now);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        limits.heard(StatusCode::from_u16(status).unwrap(), &map);
        let until = limits.lock().until;
        until.map(|until| until.duration_since(now).as_secs())
    }

    #[test]
    fn every_spelling_of_a_limit_is_understood() {
        assert_eq!(waits(200, &[]), None);
        assert_eq!(waits(429, &[]), Some(60));
        assert_eq!(waits(429, &[("retry-after", "17")]), Some(17));
        assert_eq!(waits(503, &[("retry-after", "17")]), Some(17));
        assert_eq!(waits(200, &[("retry-after", "17")]), None);
        assert_eq!(waits(500, &[]), None);
        let date = [
            ("retry-after", "Mon, 24 Nov 2025 17:00:30 GMT"),
            ("date", "Mon, 24 Nov 2025 17:00:00 GMT"),
        ];
        assert_eq!(waits(503, &date), Some(30));
        assert_eq!(waits(429, &[("x-ratelimit-reset", "42")]), Some(42));
        assert_eq!(waits(429, &[("x-ratelimit-reset", "1764000042")]), Some(42));
        assert_eq!(waits(429, &[("x-ratelimit-reset", "1764000042000")]), Some(42));
        assert_eq!(waits(429, &[("x-ratelimit-reset", "1764000042000000")]), Some(42));
        let last = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9")];
        assert_eq!(waits(200, &last), Some(9));
        assert_eq!(waits(200, &[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "9")]), None);
        for nonsense in ["-1", "NaN", "soon", "1e300", "", "99999999999999999999"] {
            let wait = waits(429, &[("retry-after", nonsense), ("x-ratelimit-reset", nonsense)]);
            assert!(wait.is_some_and(|wait| (1..=3_600).contains(&wait)), "{nonsense}: {wait:?}");
        }
    }

    #[test]
    fn a_minute_has_so_many_requests_and_waiting_ends() {
        let at = |second: i64| Timestamp::from_second(1_764_000_000 + second).unwrap();
        let limits = Limits::new(Some(2));
        limits.begin(at(0));
        assert!(limits.permit("s").is_ok() && limits.permit("s").is_ok());
        let used_up = limits.permit("https://store.example").unwrap_err();
        limits.begin(at(59));
        assert!(limits.permit("s").is_err());
        limits.begin(at(60));
        assert!(limits.permit("s").is_ok());
        limits.refused();
        let told = limits.permit("https://store.example").unwrap_err();
        insta::assert_snapshot!(format!("{used_up}\n{told}"));
        limits.begin(at(119));
        assert!(limits.permit("s").is_err());
        limits.begin(at(120));
        assert!(limits.permit("s").is_ok());
    }
}
