//! Scrapes in the order of time: compared, taken back and compared anew, retired, or held against the bake.

use jiff::{SignedDuration, Timestamp};

use super::{Around, CheckEvidence, NEARLY_NONE};
use crate::{
    Counts,
    comparison::{How, Parts},
    tail::{Cells, LATE, Place, Tail},
};

/// Which part of the tail is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    Newest,
    All,
    Retire,
    LookAgain,
}

impl CheckEvidence {
    /// Compares a scrape in its place in time.
    pub(super) fn compare_all(&mut self, cells: Cells, at: Timestamp, around: Around<'_>) {
        let place = self.tail.place(at);
        if place == Place::TooLate {
            // Whole scrapes still count, with what is known by now; halves cannot be put together any more.
            let mut alone = Tail::default();
            alone.insert(at, self.margin, cells, self.comparisons.len());
            std::mem::swap(&mut alone, &mut self.tail);
            self.walk(Walk::Newest, 1.0, around);
            self.walk(Walk::Retire, 1.0, around);
            std::mem::swap(&mut alone, &mut self.tail);
            return;
        }
        if place == Place::Within {
            self.walk(Walk::All, -1.0, around);
        }
        self.begin(at, around);
        self.tail.insert(at, self.margin, cells, self.comparisons.len());
        if place == Place::Within {
            self.walk(Walk::All, 1.0, around);
        } else {
            self.walk(Walk::Newest, 1.0, around);
        }
        if self.tail.slots.len() > LATE {
            self.walk(Walk::Retire, 1.0, around);
            self.walk(Walk::LookAgain, 1.0, around);
            self.forget_start(around);
        }
    }

    /// Forgets what late scrapes before the newest start would need, once all that can be added to are after it.
    fn forget_start(&mut self, around: Around<'_>) {
        let Some(oldest) = self.tail.slots.first() else { return };
        let since = oldest.at.duration_since(around.began);
        for comparison in &mut self.comparisons {
            if since >= SignedDuration::from_mins(comparison.begun().into()) {
                comparison.forget_start();
            }
        }
    }

    /// Begins the starts of the late-onset mixture that are due.
    fn begin(&mut self, at: Timestamp, around: Around<'_>) {
        let minutes = at.duration_since(around.began).as_mins().clamp(0, 255);
        let minutes = u8::try_from(minutes).unwrap_or(0);
        for comparison in &mut self.comparisons {
            comparison.begin(minutes);
        }
    }

    fn walk(&mut self, walk: Walk, sign: f64, around: Around<'_>) {
        let Self { comparisons, strata, tail, usable, disturbed, .. } = self;
        let stride = comparisons.len();
        let mut how = How {
            sign,
            late: false,
            margin: 1.0,
            halves: around.pods.has_halves(),
            pseudo: around.pods.has_pseudo(),
        };
        let retire = walk == Walk::Retire;
        let look_again = walk == Walk::LookAgain;
        let mut each = |at: Timestamp,
                        margin: f64,
                        calm: &mut u8,
                        keys: &[(u8, crate::pods::Tag)],
                        counts: &[Counts]| {
            let first = sign > 0.0 && !retire && !look_again;
            for (column, comparison) in comparisons.iter_mut().enumerate() {
                let parts = Parts::of(keys, counts, stride, column);
                let bit = 1_u8 << column.min(7);
                if retire {
                    // Neighbours in time are compared within one stratum only.
                    let first_stratum = keys.first().is_some_and(|(stratum, _)| *stratum == 0);
                    comparison.retire(&parts, *calm & bit != 0, first_stratum);
                    continue;
                }
                if look_again {
                    let usual = comparison.look_again(&parts, *calm & bit != 0);
                    *calm = if usual { *calm | bit } else { *calm & !bit };
                    continue;
                }
                let start = SignedDuration::from_mins(comparison.begun().into());
                how.late = at.duration_since(around.began) < start;
                how.margin = margin;
                // What is taken back was counted as its bit says; what is added is looked at anew.
                let known = (sign < 0.0).then_some(*calm & bit != 0);
                let is_calm = comparison.apply(&parts, how, known);
                if first {
                    if walk == Walk::Newest {
                        comparison.note_proportion(&parts);
                    }
                    *calm = if is_calm { *calm | bit } else { *calm & !bit };
                    *disturbed = !is_calm;
                }
            }
            if first {
                *usable = (*usable).max(Some(at));
            }
        };
        match walk {
            Walk::Newest => tail.newest(strata, stride, &mut each),
            Walk::All | Walk::LookAgain => tail.all(strata, stride, &mut each),
            Walk::Retire => tail.retire(strata, stride, &mut each),
        }
    }

    /// The canary alone against what the ramp showed; scrapes that still have both arms are compared as well.
    pub(super) fn bake(&mut self, cells: &Cells, at: Timestamp) {
        let stride = self.comparisons.len();
        let how = How { sign: 1.0, late: false, margin: self.margin, halves: false, pseudo: false };
        let mut from = 0;
        while let Some((stratum, _)) = cells.keys.get(from).copied() {
            let to = cells.keys.partition_point(|(other, _)| *other <= stratum);
            let (keys, counts) = (&cells.keys[from..to], &cells.counts[from * stride..to * stride]);
            from = to;
            for (column, comparison) in self.comparisons.iter_mut().enumerate() {
                let parts = Parts::of(keys, counts, stride, column);
                let canary = parts.all_of_canary();
                if canary.of > 0 && parts.baseline.of > 0 {
                    let calm = comparison.apply(&parts, how, None);
                    comparison.retire(&parts, calm, false);
                } else {
                    comparison.canary.add(canary);
                }
                if canary.of > 0 {
                    self.usable = self.usable.max(Some(at));
                }
                if parts.baseline.of.saturating_mul(NEARLY_NONE) < canary.of
                    && let Some(bake) = &mut comparison.bake
                {
                    bake.update(canary);
                }
            }
        }
    }

    /// Nothing more is expected for what was seen so far: traffic changes its meaning when a bake begins or ends.
    pub(crate) fn close(&mut self, around: Around<'_>) {
        while !self.tail.slots.is_empty() {
            self.walk(Walk::Retire, 1.0, around);
        }
        self.tail.drop_waiting();
    }
}
