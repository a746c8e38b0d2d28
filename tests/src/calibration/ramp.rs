//! The ramp by evidence: the weight follows what the engine allows, along a ladder.

use analysis::{Assessment, History, Outcome as Answer, Settings};

use super::{
    ends::Outcome,
    serin::{Setup, fill},
    streams::{Model, Stream},
};

/// Rungs of a ramp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ladder {
    /// Each weight is this many times the one before, from 1 %.
    pub factor: f64,
    /// Rungs that may be climbed on one verdict.
    pub at_once: u32,
}

impl Ladder {
    fn weight(self, rung: u32) -> f64 {
        (0.01 * self.factor.powi(rung as i32)).min(1.0)
    }
}

/// One rollout: requests of its end are the canary's failed ones.
pub(super) fn run(
    setup: &Setup,
    settings: &Settings,
    ladder: Ladder,
    model: &Model,
    seed: u64,
) -> Outcome {
    let mut stream = Stream::new(model, seed);
    let mut engine = Assessment::new(settings, &History::default());
    let mut scrape = analysis::Scrape { at: jiff::Timestamp::UNIX_EPOCH, observations: Vec::new() };
    let mut rung = 0;
    let mut outcome = Outcome::default();
    while let Some(seen) = stream.next(ladder.weight(rung)) {
        let end = Some((seen.second, seen.canary_failures));
        fill(&mut scrape, seen, setup.view);
        engine.observe(settings, &scrape);
        let verdict = engine.verdict(settings, ladder.weight(rung + 1));
        match verdict.outcome {
            Answer::Fail => {
                outcome.reverted = end;
                break;
            }
            Answer::Pass => {
                let reaches = |rung: u32| verdict.allowed >= ladder.weight(rung) * (1.0 - 1e-9);
                for _ in 0..ladder.at_once {
                    if !reaches(rung + 1) {
                        break;
                    }
                    rung += 1;
                }
                if ladder.weight(rung) >= 1.0 {
                    outcome.promoted = end;
                    break;
                }
            }
            Answer::Undecided | Answer::Inconclusive => {}
        }
    }
    outcome
}

/// One rollout in which the weight is never taken back: when the engine first allowed more than the true excess
/// of canary failures does, which the guarantee of the ramp is about.
pub(super) fn overshoot(
    settings: &Settings,
    setup: &Setup,
    ladder: Ladder,
    model: &Model,
    allowed: f64,
    seed: u64,
) -> Outcome {
    let mut stream = Stream::new(model, seed);
    let mut engine = Assessment::new(settings, &History::default());
    let mut scrape = analysis::Scrape { at: jiff::Timestamp::UNIX_EPOCH, observations: Vec::new() };
    let mut rung = 0;
    let mut outcome = Outcome::default();
    // At 100 % there is nothing left to compare with.
    while let Some(seen) = stream.next(ladder.weight(rung).min(0.5)) {
        let end = Some((seen.second, seen.canary_failures));
        fill(&mut scrape, seen, setup.view);
        engine.observe(settings, &scrape);
        let now = engine.verdict(settings, ladder.weight(rung + 1)).allowed;
        if now > allowed {
            outcome.promoted = end;
            break;
        }
        if now >= ladder.weight(rung + 1) {
            rung += 1;
        }
    }
    outcome
}
