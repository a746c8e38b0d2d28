//! When to hush: the same news is told once, and a standing trouble again only now and then.
//!
//! Time is an argument, so that a restart, a test and a simulation decide alike. The number of
//! keys is bounded: the oldest is forgotten first, at the price of telling one thing twice.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::alert::Kind;

/// How many keys are remembered by default: a year of deployments of a busy house, below 5 MB.
pub const CAPACITY: usize = 10_000;

/// How often a standing trouble is told again, in seconds: often enough to be seen at a change of
/// shift, seldom enough not to be muted.
const AGAIN_SECONDS: i64 = 3_600;

/// Whether and when the same key may be told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Once and for all: an ending happens once.
    Never,
    /// Again when this much time has passed, for a trouble that lasts.
    After(SignedDuration),
}

impl Repeat {
    /// What suits a kind: a failed duty is told again every hour, everything else once.
    pub fn of(kind: &Kind) -> Self {
        if matches!(kind, Kind::DutyFailed { .. }) {
            Self::After(SignedDuration::from_secs(AGAIN_SECONDS))
        } else {
            Self::Never
        }
    }
}

/// What to do with an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// Tell it.
    Say,
    /// It was told before.
    Hush {
        /// When.
        since: Timestamp,
    },
}

/// The keys that were told, with their times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    said: BTreeMap<String, Timestamp>,
    oldest: BTreeSet<(Timestamp, String)>,
    capacity: usize,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl Throttle {
    /// A throttle that remembers this many keys, at least one.
    pub fn new(capacity: usize) -> Self {
        Self { said: BTreeMap::new(), oldest: BTreeSet::new(), capacity: capacity.max(1) }
    }

    /// Decides about one alert and remembers it if it is told. A clock that goes back hushes.
    pub fn admit(&mut self, key: &str, repeat: Repeat, now: Timestamp) -> Admission {
        if let Some(&since) = self.said.get(key) {
            let over = match repeat {
                Repeat::Never => false,
                Repeat::After(pause) => now.duration_since(since) >= pause,
            };
            if !over {
                return Admission::Hush { since };
            }
        }
        self.resolve(key);
        if self.said.len() >= self.capacity
            && let Some((_, forgotten)) = self.oldest.pop_first()
        {
            self.said.remove(&forgotten);
        }
        self.said.insert(key.to_owned(), now);
        self.oldest.insert((now, key.to_owned()));
        Admission::Say
    }

    /// Forgets a key: the trouble is over, and the next one is news again.
    pub fn resolve(&mut self, key: &str) {
        if let Some(since) = self.said.remove(key) {
            self.oldest.remove(&(since, key.to_owned()));
        }
    }

    /// How many keys are remembered, at most the capacity.
    pub fn len(&self) -> usize {
        self.said.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const HOURLY: Repeat = Repeat::After(SignedDuration::from_secs(3_600));

    #[test]
    fn an_ending_is_told_once() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.admit("a", Repeat::Never, at(0)), Admission::Say);
        assert_eq!(
            throttle.admit("a", Repeat::Never, at(1 << 30)),
            Admission::Hush { since: at(0) }
        );
        assert_eq!(throttle.admit("b", Repeat::Never, at(1)), Admission::Say);
    }

    #[test]
    fn a_standing_trouble_is_told_every_hour_and_anew_after_it_was_over() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.admit("a", HOURLY, at(0)), Admission::Say);
        assert_eq!(throttle.admit("a", HOURLY, at(3_599)), Admission::Hush { since: at(0) });
        assert_eq!(throttle.admit("a", HOURLY, at(3_600)), Admission::Say);
        assert_eq!(throttle.admit("a", HOURLY, at(-9_999)), Admission::Hush { since: at(3_600) });
        throttle.resolve("a");
        assert!(throttle.is_empty());
        assert_eq!(throttle.admit("a", HOURLY, at(3_601)), Admission::Say);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut throttle = Throttle::new(2);
        for (key, second) in [("a", 0), ("b", 1), ("c", 2)] {
            assert_eq!(throttle.admit(key, Repeat::Never, at(second)), Admission::Say);
        }
        assert_eq!(throttle.len(), 2);
        assert_eq!(throttle.admit("c", Repeat::Never, at(3)), Admission::Hush { since: at(2) });
        assert_eq!(throttle.admit("a", Repeat::Never, at(4)), Admission::Say);
    }
}
