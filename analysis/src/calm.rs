//! Whether stable behaves as usual: while it does not, nothing is concluded *for* the canary.
//!
//! In an incident that hits both versions alike the canary looks no worse, however bad it is at other
//! times, and its many failures would count as much evidence. So the mirrored process (3) leaves out
//! scrapes in which stable has more events than a cap that is known before the scrape.
//!
//! That keeps its guarantee. Given the past, the factor of a scrape rises with the baseline's events
//! `x` (B >= 1 in lemma 1): let `m(x)` be its mean over the canary's events. Above the cap it counts 1
//! instead. If `m(cap) >= 1`, every value replaced was at least 1 and the mean only falls; if
//! `m(cap) < 1`, every value kept is below 1 and so is the mean. The process against the canary (2)
//! has no such cap: there the same selection would create evidence.

use serde::{Deserialize, Serialize};

use crate::{Counts, sequential::as_f64};

/// What is usual forgets at this rate per scrape, so that a change that stays becomes usual.
const FORGETTING: f64 = 0.999;

/// How much an unusual scrape teaches: an incident should not become usual before it is over.
const LESSON: f64 = 0.1;

/// Baseline requests before anything can be called unusual.
const ENOUGH: f64 = 500.0;

/// Requests of earlier rollouts that count at most: more would keep a service that has changed since
/// waiting for too long.
const MOST_KNOWN: f64 = 5_000.0;

/// Standard deviations above twice the usual: a quiet service exceeds them less than once in 30,000 scrapes.
const DEVIATIONS: f64 = 4.0;

/// Recent baseline requests and events, forgetting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calm {
    events: f64,
    of: f64,
    /// Baseline counts of this rollout while it was as usual.
    seen: Counts,
}

impl Calm {
    /// Begins with what earlier rollouts showed of the baseline.
    pub(crate) fn knowing(usual: Counts) -> Self {
        let scale = (MOST_KNOWN / as_f64(usual.of).max(1.0)).min(1.0);
        Self {
            events: as_f64(usual.events.min(usual.of)) * scale,
            of: as_f64(usual.of) * scale,
            seen: Counts::default(),
        }
    }

    /// What the baseline showed in this rollout while it was as usual.
    pub(crate) fn usual(&self) -> Counts {
        self.seen
    }

    /// Learns from a scrape, in the order of time; `usual` is what `is_usual` said of it.
    pub(crate) fn learn(&mut self, baseline: Counts, usual: bool) {
        if usual {
            self.seen.add(baseline);
        }
        let lesson = if usual { 1.0 } else { LESSON };
        self.events = FORGETTING * self.events + lesson * as_f64(baseline.events);
        self.of = FORGETTING * self.of + lesson * as_f64(baseline.of);
    }

    /// Whether stable behaves as usual in a scrape.
    pub(crate) fn is_usual(&self, baseline: Counts) -> bool {
        if self.of < ENOUGH {
            return true;
        }
        let usual = self.events / self.of;
        // Twice the usual, or half of the way to everything, whichever is less.
        let share = (2.0 * usual).min(f64::midpoint(1.0, usual));
        let expected = share * as_f64(baseline.of);
        let spread = (expected * (1.0 - share)).max(0.0).sqrt();
        as_f64(baseline.events) <= expected + DEVIATIONS * spread + 3.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Calm {
        fn take(&mut self, baseline: Counts) -> bool {
            let usual = self.is_usual(baseline);
            self.learn(baseline, usual);
            usual
        }
    }

    fn after(scrapes: usize, events: u64) -> Calm {
        let mut calm = Calm::default();
        for _ in 0..scrapes {
            calm.take(Counts { events, of: 1000 });
        }
        calm
    }

    #[test]
    fn the_first_requests_cannot_be_unusual() {
        assert!(Calm::default().take(Counts { events: 900, of: 1000 }));
    }

    #[test]
    fn an_incident_that_was_there_from_the_start_is_unusual_to_whoever_knows_the_service() {
        let mut calm = Calm::knowing(Counts { events: 2_000, of: 1_000_000 });
        assert!(!calm.take(Counts { events: 200, of: 1000 }));
        assert!(calm.take(Counts { events: 2, of: 1000 }));
        assert_eq!(calm.usual(), Counts { events: 2, of: 1000 });
    }

    #[test]
    fn an_incident_is_unusual_and_chance_is_not() {
        assert!(after(20, 2).take(Counts { events: 7, of: 1000 }));
        assert!(!after(20, 2).take(Counts { events: 40, of: 1000 }));
        // Also where half of all requests count, as above a median latency.
        assert!(after(20, 500).take(Counts { events: 560, of: 1000 }));
        assert!(!after(20, 500).take(Counts { events: 980, of: 1000 }));
    }

    #[test]
    fn a_change_that_stays_becomes_usual() {
        let mut calm = after(200, 2);
        let disturbed =
            (0..1200).take_while(|_| !calm.take(Counts { events: 40, of: 1000 })).count();
        assert!((100..1000).contains(&disturbed), "{disturbed}");
    }
}
