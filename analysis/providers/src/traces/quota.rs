//! Serin's own share of what a store permits to everybody who shares an account.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::error::FetchError;

/// At most so many requests in each stretch of time.
#[derive(Debug)]
pub(super) struct Quota {
    most: u32,
    per: SignedDuration,
    /// What is counted, for people.
    what: &'static str,
    /// When the stretch began, and how many were made since.
    state: Mutex<(Timestamp, u32)>,
}

impl Quota {
    /// None was made yet.
    pub(super) fn new(most: u32, per: SignedDuration, what: &'static str) -> Self {
        Self { most, per, what, state: Mutex::new((Timestamp::MIN, 0)) }
    }

    /// Takes one.
    ///
    /// # Errors
    /// When all are used up: transient, with when there are new ones.
    pub(super) fn take(&self, now: Timestamp) -> Result<(), FetchError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(state.0) >= self.per {
            *state = (now, 0);
        }
        if state.1 >= self.most {
            let next = state.0.checked_add(self.per).unwrap_or(Timestamp::MAX);
            return Err(FetchError::transient(format!(
                "Serin's share of {} is used up: the next attempt is after {next:.0}",
                self.what
            )));
        }
        state.1 += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_used_up_and_comes_back() {
        let at = |second: i64| Timestamp::from_second(1_764_000_000 + second).unwrap();
        let quota = Quota::new(2, SignedDuration::from_hours(1), "the 300 searches an hour");
        assert!(quota.take(at(0)).is_ok() && quota.take(at(9)).is_ok());
        insta::assert_snapshot!(quota.take(at(3_599)).unwrap_err(), @"Serin's share of the 300 searches an hour is used up: the next attempt is after 2025-11-24T17:00:00Z");
        assert!(quota.take(at(3_600)).is_ok());
        assert!(quota.take(at(0)).is_ok(), "a clock that goes back");
    }
}
