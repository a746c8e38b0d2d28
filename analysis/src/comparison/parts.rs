//! One stratum of one scrape, summed by part of the arms.

use crate::{
    Counts,
    pods::{GROUPS, PSEUDO, Tag},
};

/// One stratum of one scrape for one comparison, by part of the arms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Parts {
    pub(crate) canary: Counts,
    pub(crate) baseline: Counts,
    /// Canary pods that warm up.
    pub(super) young: Counts,
    pub(super) groups: [Counts; GROUPS],
    pub(super) halves: [Counts; 2],
    pub(super) pseudo: [Counts; PSEUDO],
}

impl Parts {
    /// The canary's pods, young or not.
    pub(crate) fn all_of_canary(&self) -> Counts {
        let mut all = self.canary;
        all.add(self.young);
        all
    }

    /// Sums one of `stride` columns of the counts by part.
    pub(crate) fn of(keys: &[(u8, Tag)], counts: &[Counts], stride: usize, column: usize) -> Self {
        let mut parts = Self::default();
        for ((_, tag), row) in keys.iter().zip(counts.chunks(stride.max(1))) {
            let seen = row.get(column).copied().unwrap_or_default();
            match (tag.is_canary(), tag.is_young()) {
                (true, true) => parts.young.add(seen),
                (true, false) => {
                    parts.canary.add(seen);
                    parts.groups[tag.group()].add(seen);
                }
                (false, true) => {}
                (false, false) => {
                    parts.baseline.add(seen);
                    parts.halves[tag.half()].add(seen);
                    for (set, pseudo) in parts.pseudo.iter_mut().enumerate() {
                        if tag.plays(set) {
                            pseudo.add(seen);
                        }
                    }
                }
            }
        }
        parts
    }
}
