//! How often somebody may send: one bucket of tokens for each origin and for each session.
//!
//! A bucket is one number, the time at which it is full again (the generic cell rate algorithm, ITU-T I.371), so that
//! a full bucket need not be kept at all. Nobody can make the table grow: what is full is dropped, and beyond a bound
//! newcomers wait.

use std::collections::HashMap;

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests per second in the long run; at least 1.
    pub per_second: u32,
    /// Requests at once; at least 1.
    pub burst: u32,
}

/// Buckets by who sends.
#[derive(Debug)]
pub(super) struct Buckets {
    rate: Rate,
    most: usize,
    /// When each is full again; nanoseconds since 1970.
    full: HashMap<u128, i64>,
    /// When full ones were last dropped.
    swept: i64,
}

impl Buckets {
    pub(super) fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, full: HashMap::new(), swept: i64::MIN }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// Seconds until there is one.
    pub(super) fn take(&mut self, who: u128, now: i64) -> Result<(), u32> {
        let token = SECOND / i64::from(self.rate.per_second.max(1));
        let ahead = token.saturating_mul(i64::from(self.rate.burst.max(1)) - 1);
        let full = self.full.get(&who).copied();
        if full.is_none() && self.full.len() >= self.most {
            if now.saturating_sub(self.swept) >= SECOND {
                self.swept = now;
                self.full.retain(|_, full| *full > now);
            }
            if self.full.len() >= self.most {
                return Err(1);
            }
        }
        let full = full.map_or(now, |full| full.max(now));
        let wait = full.saturating_sub(ahead).saturating_sub(now);
        if wait > 0 {
            return Err(u32::try_from(wait.saturating_add(SECOND - 1) / SECOND).unwrap_or(u32::MAX));
        }
        self.full.insert(who, full.saturating_add(token));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_so_many_a_second() {
        let mut buckets = Buckets::new(Rate { per_second: 2, burst: 3 }, 10);
        let taken =
            |buckets: &mut Buckets, now| (0..10).filter(|_| buckets.take(1, now).is_ok()).count();
        assert_eq!(taken(&mut buckets, 0), 3);
        assert_eq!(buckets.take(1, 0), Err(1));
        assert_eq!(buckets.take(2, 0), Ok(()), "another has a bucket of its own");
        assert_eq!(taken(&mut buckets, SECOND), 2);
        assert_eq!(taken(&mut buckets, 60 * SECOND), 3);
        let mut slow = Buckets::new(Rate { per_second: 1, burst: 1 }, 10);
        assert_eq!((slow.take(1, 0), slow.take(1, 1)), (Ok(()), Err(1)));
    }

    #[test]
    fn the_table_is_bounded_and_full_buckets_leave_it() {
        let mut buckets = Buckets::new(Rate { per_second: 1, burst: 1 }, 3);
        let all: Vec<_> = (0..5).map(|who| buckets.take(who, 0).is_ok()).collect();
        assert_eq!(all, [true, true, true, false, false]);
        assert!(buckets.take(9, SECOND / 2).is_err());
        assert!(buckets.take(9, 2 * SECOND).is_ok());
        assert_eq!(buckets.full.len(), 1);
    }
}
