//! The newest scrapes of a check, kept until no late counts are expected for them any more.
//!
//! Counts of one moment may arrive in any order, pod by pod. What a scrape contributed is taken back when more
//! of it arrives, and added anew: the evidence is the same as if everything had come in the order of time.
//!
//! An arm that is missing from a scrape although it was there before makes the other one's counts wait: counters
//! go on counting, so the next difference of the missing arm spans both intervals.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Counts, pods::Tag};

/// Scrapes that can still be added to.
pub(crate) const LATE: usize = 3;

/// Counts of one arm waiting for the other are dropped after this long: older ones describe another time.
pub(crate) const CARRY: SignedDuration = SignedDuration::from_mins(5);

/// Counts by stratum and part of the arms, one row of comparisons each; rising by stratum and part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cells {
    pub(crate) keys: Vec<(u8, Tag)>,
    /// `stride` numbers for each key.
    pub(crate) counts: Vec<Counts>,
}

impl Cells {
    /// Adds a row.
    pub(crate) fn add(&mut self, stratum: u8, tag: Tag, row: &[Counts]) {
        let key = (stratum, tag);
        let stride = row.len();
        let place = match self.keys.binary_search(&key) {
            Ok(place) => place,
            Err(place) => {
                self.keys.insert(place, key);
                let from = place * stride;
                self.counts.splice(from..from, std::iter::repeat_n(Counts::default(), stride));
                place
            }
        };
        for (sum, more) in self.counts[place * stride..].iter_mut().zip(row) {
            sum.add(*more);
        }
    }

    fn has(&self, canary: bool) -> bool {
        self.keys.iter().any(|(_, tag)| tag.is_canary() == canary)
    }
}

/// One moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) at: Timestamp,
    /// The tolerated ratio was multiplied by this.
    pub(crate) margin: f64,
    pub(crate) cells: Cells,
    /// Per stratum that was compared: which comparisons counted it for the canary, one bit each.
    pub(crate) calm: Vec<u8>,
}

/// One stratum's counts of one arm that wait for the other arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Waiting {
    stratum: u8,
    since: Timestamp,
    cells: Cells,
}

/// When each arm of a stratum was first seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stratum {
    /// Empty where observations name none.
    pub(crate) name: String,
    pub(crate) canary: Option<Timestamp>,
    pub(crate) baseline: Option<Timestamp>,
}

/// The newest scrapes, rising in time, and what waited before and after them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub(crate) slots: Vec<Slot>,
    before: Vec<Waiting>,
    after: Vec<Waiting>,
}

/// Where new counts of a moment go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// After all others: nothing has to be taken back.
    New,
    /// Among or into the others.
    Within,
    /// Before all that can still be changed.
    TooLate,
}

impl Tail {
    /// Where counts of a moment would go.
    pub(crate) fn place(&self, at: Timestamp) -> Place {
        match (self.slots.first(), self.slots.last()) {
            (Some(_), Some(last)) if last.at < at => Place::New,
            (Some(first), Some(_)) if at < first.at && self.slots.len() >= LATE => Place::TooLate,
            (Some(_), Some(_)) => Place::Within,
            (None, _) | (_, None) => Place::New,
        }
    }

    /// Puts counts of a moment in their place, which must not be too late.
    pub(crate) fn insert(&mut self, at: Timestamp, margin: f64, cells: Cells, stride: usize) {
        match self.slots.binary_search_by(|slot| slot.at.cmp(&at)) {
            Ok(place) => {
                for ((stratum, tag), row) in
                    cells.keys.iter().zip(cells.counts.chunks(stride.max(1)))
                {
                    self.slots[place].cells.add(*stratum, *tag, row);
                }
            }
            Err(place) => self.slots.insert(place, Slot { at, margin, cells, calm: Vec::new() }),
        }
    }

    /// Walks the newest slot, and remembers what waits after it.
    pub(crate) fn newest(&mut self, strata: &[Stratum], stride: usize, each: &mut Each<'_>) {
        let Self { slots, after, .. } = self;
        if let Some(slot) = slots.last_mut() {
            step(after, slot, strata, stride, each);
        }
    }

    /// Walks all slots in the order of time.
    pub(crate) fn all(&mut self, strata: &[Stratum], stride: usize, each: &mut Each<'_>) {
        let Self { slots, before, after } = self;
        after.clone_from(before);
        for slot in slots {
            step(after, slot, strata, stride, each);
        }
    }

    /// Takes out the oldest slot, walking it for the last time.
    pub(crate) fn retire(&mut self, strata: &[Stratum], stride: usize, each: &mut Each<'_>) {
        if self.slots.is_empty() {
            return;
        }
        let mut slot = self.slots.remove(0);
        step(&mut self.before, &mut slot, strata, stride, each);
    }

    /// Forgets what waits.
    pub(crate) fn drop_waiting(&mut self) {
        self.before.clear();
        self.after.clear();
    }
}

/// Is called with the slot's time, margin and calm bits, and the keys and counts of one stratum that has both arms.
pub(crate) type Each<'a> = dyn FnMut(Timestamp, f64, &mut u8, &[(u8, Tag)], &[Counts]) + 'a;

fn step(
    waiting: &mut Vec<Waiting>,
    slot: &mut Slot,
    strata: &[Stratum],
    stride: usize,
    each: &mut Each<'_>,
) {
    waiting.retain(|waiting| slot.at.duration_since(waiting.since) <= CARRY);
    let (mut from, mut compared) = (0, 0);
    while let Some((stratum, _)) = slot.cells.keys.get(from).copied() {
        let to = slot.cells.keys.partition_point(|(other, _)| *other <= stratum);
        let keys = &slot.cells.keys[from..to];
        let counts = &slot.cells.counts[from * stride..to * stride];
        from = to;
        let waited = waiting.iter().position(|waiting| waiting.stratum == stratum);
        let has = |canary: bool| {
            keys.iter().any(|(_, tag)| tag.is_canary() == canary)
                || waited.is_some_and(|place| waiting[place].cells.has(canary))
        };
        let (canary, baseline) = (has(true), has(false));
        if canary && baseline {
            if slot.calm.len() <= compared {
                slot.calm.push(0);
            }
            let calm = &mut slot.calm[compared];
            compared += 1;
            if let Some(place) = waited {
                let mut merged = waiting.swap_remove(place).cells;
                for ((stratum, tag), row) in keys.iter().zip(counts.chunks(stride)) {
                    merged.add(*stratum, *tag, row);
                }
                each(slot.at, slot.margin, calm, &merged.keys, &merged.counts);
            } else {
                each(slot.at, slot.margin, calm, keys, counts);
            }
            continue;
        }
        // Only an arm that was there before is waited for.
        let known = strata.get(usize::from(stratum));
        let missing = known.and_then(|known| if canary { known.baseline } else { known.canary });
        if missing.is_some_and(|since| since < slot.at) {
            let place = waited.unwrap_or_else(|| {
                waiting.push(Waiting { stratum, since: slot.at, cells: Cells::default() });
                waiting.len() - 1
            });
            for ((stratum, tag), row) in keys.iter().zip(counts.chunks(stride)) {
                waiting[place].cells.add(*stratum, *tag, row);
            }
        }
    }
    waiting.sort_by_key(|waiting| waiting.stratum);
}
