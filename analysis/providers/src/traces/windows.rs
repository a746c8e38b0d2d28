//! The time in parts.
//!
//! A search answers some of what matches, often the newest or whatever was found first. Small searches of many
//! parts of the time spread a sample over all of it.

use jiff::{SignedDuration, Timestamp};

/// Part of the time; `from` is before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Window {
    /// Its beginning in whole seconds, rounded down.
    pub(super) fn first_second(self) -> i64 {
        self.from.as_millisecond().div_euclid(1_000)
    }

    /// Its end in whole seconds, rounded up.
    pub(super) fn last_second(self) -> i64 {
        -(-self.to.as_millisecond()).div_euclid(1_000)
    }

    /// Longer by `by` before and after.
    pub(super) fn wider(self, by: SignedDuration) -> Self {
        Self {
            from: self.from.checked_sub(by).unwrap_or(Timestamp::MIN),
            to: self.to.checked_add(by).unwrap_or(Timestamp::MAX),
        }
    }

    /// At most `count` parts of whole seconds, in an order in which the first few lie spread over the whole.
    pub(super) fn parts(self, count: usize) -> Vec<Self> {
        let (first, last) = (self.first_second(), self.last_second());
        let seconds = last.saturating_sub(first).max(1);
        let count = i64::try_from(count).unwrap_or(i64::MAX).clamp(1, seconds.min(MOST_PARTS));
        let border = |part: i64| match part {
            0 => self.from,
            part if part == count => self.to,
            part => Timestamp::from_second(first + seconds * part / count).unwrap_or(self.to),
        };
        let mut order: Vec<i64> = (0..count).collect();
        order.sort_by_key(|part| part.cast_unsigned().reverse_bits());
        let part = |part: i64| Self { from: border(part), to: border(part + 1) };
        order.into_iter().map(part).filter(|part| part.from < part.to).collect()
    }
}

/// Most parts of one time; more searches cost more than they spread.
const MOST_PARTS: i64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: &str, to: &str) -> Window {
        let day = |time: &str| format!("2026-11-24T{time}Z").parse().unwrap();
        Window { from: day(from), to: day(to) }
    }

    #[test]
    fn parts_cover_the_time_once_and_begin_apart() {
        let all = window("10:00:00.25", "10:10:00");
        let mut parts = all.parts(4);
        let starts: Vec<String> = parts.iter().map(|part| part.from.to_string()).collect();
        assert_eq!(starts[0], "2026-11-24T10:00:00.25Z");
        assert_eq!(starts[1], "2026-11-24T10:05:00Z");
        parts.sort_by_key(|part| part.from);
        assert!(parts.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert_eq!((parts[0].from, parts[3].to), (all.from, all.to));
    }

    #[test]
    fn parts_are_no_shorter_than_seconds_and_not_too_many() {
        assert_eq!(window("10:00:00.25", "10:00:00.5").parts(8).len(), 1);
        assert_eq!(window("10:00:00", "10:00:03").parts(8).len(), 3);
        assert_eq!(window("00:00:00", "23:00:00").parts(usize::MAX).len(), 64);
        let all = Window { from: Timestamp::MIN, to: Timestamp::MAX };
        assert_eq!(all.parts(3).len(), 3);
        assert_eq!(all.wider(SignedDuration::MAX), all);
        let short = window("10:00:00.25", "10:00:00.5");
        assert_eq!(short.last_second() - short.first_second(), 1);
        assert_eq!(short.to.duration_since(short.from), SignedDuration::from_millis(250));
    }
}
