//! The pods of a rollout: how old each is, and which part of its arm it belongs to.
//!
//! The tests on requests hold for these pods. That it is the *code* that is worse needs more: that no single pod
//! makes the difference, and that stable's own pods do not differ among themselves. For that every pod is put,
//! once and for good, into a part of its arm; the counts of each part are then kept apart.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Arm;

/// Pods that are told apart in one rollout; the rest counts as one pod.
const MOST_PODS: usize = 1_024;

/// Parts of the canary that can be left out one by one; more pods share them.
pub(crate) const GROUPS: usize = 4;

/// Sets of stable pods that play the canary against the rest, to learn how much stable differs by itself.
pub(crate) const PSEUDO: usize = 3;

/// Stable pods from which on such a set says something.
const ENOUGH_FOR_PSEUDO: usize = 10;

/// Where the counts of a pod belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Tag(u8);

impl Tag {
    const CANARY: u8 = 1;
    const YOUNG: u8 = 2;
    /// Canary: its group in the bits from here on. Baseline: its half, then its pseudo-canaries.
    const PART: u8 = 4;

    pub(crate) fn is_canary(self) -> bool {
        self.0 & Self::CANARY != 0
    }

    /// Still warming up.
    pub(crate) fn is_young(self) -> bool {
        self.0 & Self::YOUNG != 0
    }

    /// The canary's group, below `GROUPS`.
    pub(crate) fn group(self) -> usize {
        usize::from(self.0 / Self::PART) % GROUPS
    }

    /// The baseline's half, 0 or 1.
    pub(crate) fn half(self) -> usize {
        usize::from(self.0 / Self::PART) & 1
    }

    /// Whether a stable pod plays the canary in set `set`.
    pub(crate) fn plays(self, set: usize) -> bool {
        (self.0 / Self::PART) >> (1 + set) & 1 == 1
    }
}

/// Every pod seen so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pods {
    canary: BTreeMap<String, u16>,
    baseline: BTreeMap<String, u16>,
    known: Vec<Pod>,
    /// Whether stable's pods were divided; that happens when both arms are there for the first time.
    divided: bool,
    /// Whether stable has pseudo-canaries.
    pseudo: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Pod {
    arm: Arm,
    /// When it appeared or restarted; nothing if it was there before the rollout.
    born: Option<Timestamp>,
    part: u8,
}

impl Pods {
    /// Notes a pod at its time. `first`: this is the first scrape, whose stable pods were there before.
    /// Calls within one scrape must come in the order of arm and name, so that the parts do not depend on it.
    pub(crate) fn see(&mut self, arm: Arm, name: &str, at: Timestamp, first: bool) {
        if let Some(place) = self.place(arm, name) {
            if let Some(born) = &mut self.known[place].born {
                *born = (*born).min(at);
            }
            return;
        }
        if self.known.len() >= MOST_PODS {
            return;
        }
        let count = self.of(arm).len();
        let part = match arm {
            Arm::Canary => count % GROUPS,
            Arm::Baseline => usize::from(hash(name, 0) % 2 == 1),
        };
        let born = (arm == Arm::Canary || !first).then_some(at);
        let Ok(place) = u16::try_from(self.known.len()) else { return };
        self.known.push(Pod { arm, born, part: u8::try_from(part).unwrap_or(0) });
        let index = match arm {
            Arm::Canary => &mut self.canary,
            Arm::Baseline => &mut self.baseline,
        };
        index.insert(name.to_owned(), place);
    }

    /// A pod restarted: it is young again.
    pub(crate) fn restarted(&mut self, arm: Arm, name: &str, at: Timestamp) {
        if let Some(index) = self.of(arm).get(name).copied() {
            self.known[usize::from(index)].born = Some(at);
        }
    }

    /// Divides stable's pods into halves and pseudo-canaries, once, when both arms are known.
    pub(crate) fn divide(&mut self) {
        if self.divided || self.canary.is_empty() || self.baseline.is_empty() {
            return;
        }
        self.divided = true;
        let mut order: Vec<(&String, u16)> =
            self.baseline.iter().map(|(name, index)| (name, *index)).collect();
        let playing = self.canary.len();
        self.pseudo = order.len() >= ENOUGH_FOR_PSEUDO && order.len() >= 2 * playing;
        for set in (0..=PSEUDO).rev() {
            order.sort_by_key(|(name, _)| (hash(name, set as u64 + 1), *name));
            for (rank, (_, index)) in order.iter().enumerate() {
                let part = &mut self.known[usize::from(*index)].part;
                if set == 0 {
                    *part = (*part & !1) | u8::from(rank % 2 == 1);
                } else if self.pseudo && rank < playing {
                    *part |= 1 << set;
                }
            }
        }
    }

    /// Where the counts of a pod at a moment belong, while pods younger than `warm_up` are kept apart.
    pub(crate) fn tag(&self, arm: Arm, name: &str, at: Timestamp, warm_up: SignedDuration) -> Tag {
        let canary = if arm == Arm::Canary { Tag::CANARY } else { 0 };
        let Some(pod) = self.of(arm).get(name).map(|index| &self.known[usize::from(*index)]) else {
            return Tag(canary);
        };
        let young = pod.born.is_some_and(|born| at.duration_since(born) < warm_up);
        let young = if young { Tag::YOUNG } else { 0 };
        Tag(canary | young | (pod.part * Tag::PART))
    }

    /// The place of a pod among all, for counts per pod.
    pub(crate) fn place(&self, arm: Arm, name: &str) -> Option<usize> {
        self.of(arm).get(name).map(|index| usize::from(*index))
    }

    /// The name of a pod.
    pub(crate) fn name(&self, arm: Arm, place: usize) -> Option<&str> {
        self.of(arm)
            .iter()
            .find(|(_, index)| usize::from(**index) == place)
            .map(|(name, _)| name.as_str())
    }

    /// Whether a place is a pod of the arm.
    pub(crate) fn is_of(&self, arm: Arm, place: usize) -> bool {
        self.known.get(place).is_some_and(|pod| pod.arm == arm)
    }

    /// The part of a canary pod that is left out together.
    pub(crate) fn group(&self, place: usize) -> usize {
        self.known.get(place).map_or(0, |pod| usize::from(pod.part) % GROUPS)
    }

    /// Whether stable's pods are in two halves that can be compared.
    pub(crate) fn has_halves(&self) -> bool {
        self.divided && self.baseline.len() >= 2
    }

    /// Whether sets of stable pods play the canary.
    pub(crate) fn has_pseudo(&self) -> bool {
        self.divided && self.pseudo
    }

    /// Seconds until the last canary pod is older than `warm_up`, or nothing if all are.
    pub(crate) fn warming(&self, at: Timestamp, warm_up: SignedDuration) -> Option<i64> {
        self.known
            .iter()
            .filter(|pod| pod.arm == Arm::Canary)
            .filter_map(|pod| Some((warm_up - at.duration_since(pod.born?)).as_secs()))
            .max()
            .filter(|seconds| *seconds > 0)
    }

    fn of(&self, arm: Arm) -> &BTreeMap<String, u16> {
        match arm {
            Arm::Canary => &self.canary,
            Arm::Baseline => &self.baseline,
        }
    }
}

/// FNV-1a of a name, the same on every machine.
fn hash(name: &str, salt: u64) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15), |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn pods(canary: usize, baseline: usize) -> Pods {
        let mut pods = Pods::default();
        for index in 0..baseline {
            pods.see(Arm::Baseline, &format!("b{index}"), at(0), true);
        }
        for index in 0..canary {
            pods.see(Arm::Canary, &format!("c{index}"), at(0), true);
        }
        pods.divide();
        pods
    }

    #[test]
    fn stable_pods_fall_into_equal_halves_and_pseudo_canaries() {
        let pods = pods(4, 36);
        let tags: Vec<Tag> = (0..36)
            .map(|index| pods.tag(Arm::Baseline, &format!("b{index}"), at(0), SignedDuration::ZERO))
            .collect();
        assert_eq!(tags.iter().filter(|tag| tag.half() == 1).count(), 18);
        for set in 0..PSEUDO {
            assert_eq!(tags.iter().filter(|tag| tag.plays(set)).count(), 4, "set {set}");
        }
        assert!(tags.iter().all(|tag| !tag.is_canary() && !tag.is_young()));
    }

    #[test]
    fn few_stable_pods_play_no_canary() {
        assert!(!pods(1, 9).has_pseudo());
        assert!(pods(1, 9).has_halves());
        assert!(!pods(1, 1).has_halves());
    }

    #[test]
    fn canary_pods_are_young_and_what_was_there_is_not() {
        let mut pods = pods(5, 2);
        let warm_up = SignedDuration::from_secs(30);
        let young = |pods: &Pods, arm, name: &str, second| {
            pods.tag(arm, name, at(second), warm_up).is_young()
        };
        assert!(young(&pods, Arm::Canary, "c0", 29) && !young(&pods, Arm::Canary, "c0", 30));
        assert!(!young(&pods, Arm::Baseline, "b0", 0));
        pods.see(Arm::Baseline, "b2", at(100), false);
        assert!(young(&pods, Arm::Baseline, "b2", 120));
        pods.restarted(Arm::Baseline, "b0", at(200));
        assert!(young(&pods, Arm::Baseline, "b0", 210));
        assert_eq!(pods.warming(at(10), warm_up), Some(20));
        assert_eq!(pods.warming(at(30), warm_up), None);
        assert_eq!(pods.tag(Arm::Canary, "c4", at(0), warm_up).group(), 0);
    }

    #[test]
    fn more_pods_than_can_be_told_apart_still_count() {
        let pods = pods(0, 2_000);
        assert_eq!(pods.baseline.len(), MOST_PODS);
        assert!(!pods.tag(Arm::Baseline, "b1999", at(0), SignedDuration::ZERO).is_canary());
    }
}
