//! Which requests were counted already: an exporter that got no answer in time sends its batch again.

use std::collections::HashSet;

use analysis_traces::{Span, trace_rank};

/// Requests of one generation; with the one before, some minutes of thousands a second.
const MOST: usize = 1 << 18;

/// After this a generation ends; nanoseconds. Exporters give up before.
const LONGEST: u64 = 300 * 1_000_000_000;

/// The spans of the last minutes by which requests are counted, in two generations.
#[derive(Debug, Default)]
pub(super) struct Decided {
    now: HashSet<u64>,
    before: HashSet<u64>,
    since: u64,
}

impl Decided {
    pub(super) fn contains(&self, span: &Span) -> bool {
        let key = key(span);
        self.now.contains(&key) || self.before.contains(&key)
    }

    /// Remembers a span; says whether it is new.
    pub(super) fn insert(&mut self, span: &Span, at: u64) -> bool {
        if self.now.len() >= MOST || at > self.since.saturating_add(LONGEST) {
            self.before = std::mem::take(&mut self.now);
            self.since = at;
        }
        !self.before.contains(&key(span)) && self.now.insert(key(span))
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        // A key and a byte of control each.
        (self.now.capacity() + self.before.capacity()) * (size_of::<u64>() + 1)
    }
}

/// Differs within a trace by the span's id; traces differ by a hash of 64 bits.
fn key(span: &Span) -> u64 {
    trace_rank(span.trace).wrapping_add(span.id.0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::samples::entry;
    use super::*;

    #[test]
    fn the_last_minutes_are_remembered_in_bounded_memory() {
        let mut decided = Decided::default();
        let most = u64::try_from(MOST).unwrap();
        for id in 0..3 * most {
            assert!(decided.insert(&entry(u128::from(id), 1), 1));
        }
        assert!(!decided.insert(&entry(u128::from(3 * most - 1), 1), 1));
        assert!(decided.contains(&entry(u128::from(2 * most + 1), 1)));
        assert!(!decided.contains(&entry(0, 1)));
        assert!(decided.now.len() + decided.before.len() <= 2 * MOST);
        assert!(decided.bytes() < 16 * 1024 * 1024);
    }
}
