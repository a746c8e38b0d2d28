//! Which webhooks were seen already, in bounded memory and with time as an argument.
//!
//! A signature proves who wrote a message, not that it is new. Identifiers are kept as checksums,
//! so that each takes the same room whatever its length. A full store refuses instead of
//! forgetting, because forgetting would let an old message in again; only authentic messages get
//! this far, so strangers cannot fill it.

use std::collections::{HashSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::verify::TOLERANCE;

/// How many identifiers are remembered by default: some 7 MB when full.
pub const CAPACITY: usize = 65_536;

/// Identifiers that were seen within a span of time.
#[derive(Debug, Clone)]
pub struct ReplayStore {
    seen: HashSet<[u8; 32]>,
    order: VecDeque<(Timestamp, [u8; 32])>,
    capacity: usize,
    keep: SignedDuration,
}

/// Why a message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It was seen before: answer as if it were taken, and do nothing.
    #[error("this webhook was received before")]
    Replayed,
    /// Nothing more can be remembered: answer 503, so that the sender comes again.
    #[error("too many webhooks at once: {capacity} are remembered already")]
    Full {
        /// How many are remembered.
        capacity: usize,
    },
}

impl ReplayStore {
    /// For Standard Webhooks: a message is authentic for twice the tolerance, from five minutes
    /// before its time to five minutes after it, and so long it is remembered.
    pub fn standard() -> Self {
        Self::new(CAPACITY, TOLERANCE * 2)
    }

    /// For signatures without a time, such as GitHub's: a day, which is longer than its
    /// redeliveries by a person are useful.
    pub fn timeless() -> Self {
        Self::new(CAPACITY, SignedDuration::from_hours(24))
    }

    /// A store of at most `capacity` identifiers, at least one, each remembered for `keep`.
    pub fn new(capacity: usize, keep: SignedDuration) -> Self {
        let (seen, order) = (HashSet::new(), VecDeque::new());
        Self { seen, order, capacity: capacity.max(1), keep }
    }

    /// Takes an identifier that was not seen before and remembers it.
    ///
    /// # Errors
    /// [`ReplayError::Replayed`] and [`ReplayError::Full`], each with what to answer.
    pub fn admit(&mut self, id: &str, now: Timestamp) -> Result<(), ReplayError> {
        while let Some(&(at, sum)) = self.order.front() {
            if now.duration_since(at) <= self.keep {
                break;
            }
            self.order.pop_front();
            self.seen.remove(&sum);
        }
        let sum: [u8; 32] = Sha256::digest(id.as_bytes()).into();
        if self.seen.contains(&sum) {
            return Err(ReplayError::Replayed);
        }
        if self.order.len() >= self.capacity {
            return Err(ReplayError::Full { capacity: self.capacity });
        }
        self.seen.insert(sum);
        self.order.push_back((now, sum));
        Ok(())
    }

    /// Forgets an identifier, for a message that was taken but could not be acted on, so that the
    /// sender's next attempt counts.
    pub fn forget(&mut self, id: &str) {
        let sum: [u8; 32] = Sha256::digest(id.as_bytes()).into();
        if self.seen.remove(&sum) {
            self.order.retain(|(_, other)| *other != sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_message_is_taken_once_while_it_is_authentic() {
        let mut store = ReplayStore::standard();
        assert_eq!(store.admit("a", at(0)), Ok(()));
        assert_eq!(store.admit("a", at(600)), Err(ReplayError::Replayed));
        assert_eq!(store.admit("a", at(-600)), Err(ReplayError::Replayed));
        assert_eq!(store.admit("b", at(600)), Ok(()));
        assert_eq!(store.admit("a", at(601)), Ok(()));
        assert_eq!(store.admit("b", at(601)), Err(ReplayError::Replayed));
    }

    #[test]
    fn a_full_store_refuses_until_there_is_room() {
        let mut store = ReplayStore::new(2, SignedDuration::from_secs(10));
        assert_eq!(store.admit("a", at(0)), Ok(()));
        assert_eq!(store.admit("b", at(5)), Ok(()));
        assert_eq!(store.admit("c", at(9)), Err(ReplayError::Full { capacity: 2 }));
        assert_eq!(store.admit("c", at(11)), Ok(()));
        assert_eq!(store.admit("b", at(11)), Err(ReplayError::Replayed));
    }

    #[test]
    fn a_message_that_could_not_be_acted_on_may_come_again() {
        let mut store = ReplayStore::timeless();
        assert_eq!(store.admit("a", at(0)), Ok(()));
        store.forget("a");
        store.forget("never seen");
        assert_eq!(store.admit("a", at(1)), Ok(()));
        assert_eq!(store.admit("a", at(2)), Err(ReplayError::Replayed));
    }
}
