//! Quantiles of a stream of durations within about 1 %, in a few kilobytes.
//!
//! A histogram whose bounds grow by a constant factor, as `DDSketch` has it (Masson, Rim and Lee, 2019, PVLDB 12:12):
//! whatever the distribution, a quantile is off by at most half a bucket. Too wide a range collapses the
//! shortest durations, since only the upper quantiles are asked for.

use crate::statistics::as_f64;

/// Buckets for each doubling: each is 1.09 % wide.
const PER_OCTAVE: f64 = 64.0;

/// Most buckets: the longest durations of sixteen doublings are told apart.
const MOST_BUCKETS: usize = 1_024;

/// 2^60 seconds are beyond every clock.
const FARTHEST: f64 = 60.0 * PER_OCTAVE;

/// Durations, or any positive numbers, by size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Not positive, or no number.
    zero: u64,
    /// Index of the first of `counts`: bucket `i` holds (2^((i-1)/64), 2^(i/64)].
    first: i32,
    counts: Vec<u32>,
    total: u64,
}

impl Sketch {
    /// Counts one; what is not positive and finite counts as 0.
    pub fn add(&mut self, value: f64) {
        self.total = self.total.saturating_add(1);
        if !(value.is_finite() && value > 0.0) {
            self.zero = self.zero.saturating_add(1);
            return;
        }
        let place = self.place(index(value));
        self.counts[place] = self.counts[place].saturating_add(1);
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The quantile `q` by nearest rank, off by at most 0.55 %; `None` if nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q.clamp(0.0, 1.0) * as_f64(self.total)).ceil().max(1.0);
        let mut below = as_f64(self.zero);
        if self.total == 0 {
            return None;
        }
        if below >= rank {
            return Some(0.0);
        }
        let mut bound = f64::from(self.first);
        for count in &self.counts {
            below += f64::from(*count);
            if below >= rank {
                break;
            }
            bound += 1.0;
        }
        Some(((bound - 0.5) / PER_OCTAVE).exp2())
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.counts.capacity() * size_of::<u32>()
    }

    /// Where the bucket of this index is in `counts`, made where it is missing.
    fn place(&mut self, index: i32) -> usize {
        if self.counts.is_empty() {
            (self.first, self.counts) = (index, vec![0]);
        }
        if index < self.first {
            let missing = usize::try_from(self.first - index).unwrap_or(usize::MAX);
            let room = MOST_BUCKETS.saturating_sub(self.counts.len()).min(missing);
            self.counts.splice(0..0, std::iter::repeat_n(0, room));
            self.first -= i32::try_from(room).unwrap_or(0);
        }
        let place = usize::try_from(index - self.first).unwrap_or(0);
        if place < self.counts.len() {
            return place;
        }
        self.counts.resize(place + 1, 0);
        let surplus = self.counts.len().saturating_sub(MOST_BUCKETS);
        if surplus > 0 {
            let folded = self.counts.drain(..surplus).fold(0_u32, u32::saturating_add);
            self.counts[0] = self.counts[0].saturating_add(folded);
            self.first = self.first.saturating_add(i32::try_from(surplus).unwrap_or(0));
        }
        self.counts.len() - 1
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to a few thousand")]
fn index(value: f64) -> i32 {
    (value.log2() * PER_OCTAVE).ceil().clamp(-FARTHEST, FARTHEST) as i32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::quantile;

    #[test]
    fn without_values_there_is_no_quantile() {
        assert_eq!(Sketch::default().quantile(0.5), None);
        let mut sketch = Sketch::default();
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            sketch.add(value);
        }
        assert_eq!((sketch.quantile(0.99), sketch.total()), (Some(0.0), 4));
    }

    #[test]
    fn the_longest_of_a_wide_range_are_told_apart() {
        let mut sketch = Sketch::default();
        for exponent in -200..200_i32 {
            sketch.add(f64::from(exponent).exp2());
        }
        assert!(sketch.counts.len() <= MOST_BUCKETS && sketch.bytes() < 16_000);
        // Beyond 2^60 all is one.
        let longest = sketch.quantile(1.0).unwrap().log2();
        assert!((longest - 60.0).abs() < 0.02, "{longest}");
        sketch.add(1e-9);
        assert_eq!(sketch.counts.iter().map(|count| u64::from(*count)).sum::<u64>(), 401);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_a_percent(mut values in proptest::collection::vec(1e-3..30.0_f64, 1..300)) {
            let mut sketch = Sketch::default();
            for value in &values {
                sketch.add(*value);
            }
            for q in [0.0, 0.5, 0.95, 0.99, 1.0] {
                let (found, wanted) = (sketch.quantile(q).unwrap(), quantile(&mut values, q));
                prop_assert!((found / wanted - 1.0).abs() < 0.01, "{q}: {found} for {wanted}");
            }
        }
    }
}
