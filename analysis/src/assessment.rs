//! All evidence of one rollout: every check's state, fed scrape by scrape.
//!
//! Checks are merged by the weighted mean of their evidence, never by a product: they look at the same
//! requests. It is one process over all steps, so steps and looks cost nothing.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use crate::history::History;
use crate::{
    Check, Observation, Refusal, Scrape, Settings, Test, Verdict,
    comparison::{Comparison, Watch},
    evidence::{CheckEvidence, can_fail},
    judgement, sentence,
    sequential::{Absolute, weighted_mean},
};

/// Evidence of one rollout so far. Serialises exactly, so that a replay resumes bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// In the order of the settings' checks.
    pub(crate) evidence: Vec<CheckEvidence>,
    /// Highest merged evidence so far. The first crossing counts (Ville), so a failure stays one.
    pub(crate) peak: f64,
    /// Time of the latest scrape.
    pub(crate) latest: Option<Timestamp>,
    pub(crate) bake: Option<Bake>,
    refused: Refused,
    history: History,
}

/// The canary alone at full weight.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bake {
    pub(crate) suspicion: Option<String>,
    /// Watches finished so far.
    watches: u32,
    /// When the current watch began.
    since: Option<Timestamp>,
}

/// How long one watch of the bake is. Good data of an hour would hide what begins late; five minutes do not.
const WATCH: SignedDuration = SignedDuration::from_mins(5);

/// Observations that were left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// How many.
    pub count: u64,
    /// Why the last one was, naming arm, instance and check.
    pub last: Option<String>,
}

impl Assessment {
    /// An assessment without evidence.
    pub fn new(settings: &Settings, history: &History) -> Self {
        Self {
            evidence: settings
                .checks
                .iter()
                .map(|check| CheckEvidence::new(settings, check, history))
                .collect(),
            peak: 0.0,
            latest: None,
            bake: None,
            refused: Refused::default(),
            history: history.clone(),
        }
    }

    /// Takes in one scrape. Malformed observations are counted and left out, never guessed.
    ///
    /// The order of the observations makes no difference. An arm that is absent although it was there before
    /// makes the other one's counts wait, for five minutes at most; an arm that is there without requests says
    /// nothing.
    pub fn observe(&mut self, settings: &Settings, scrape: &Scrape) {
        self.latest = self.latest.max(Some(scrape.at));
        let baking = self.bake.is_some();
        self.keep_watch(scrape.at);
        for observation in &scrape.observations {
            if let Err(refusal) = observation.validate() {
                self.refused.note(observation, refusal);
            }
        }
        for (check, evidence) in settings.checks.iter().zip(&mut self.evidence) {
            let fed = || {
                scrape.observations.iter().filter(|observation| {
                    feeds(check, observation) && observation.validate().is_ok()
                })
            };
            if matches!(check.test, Test::Latency { .. }) {
                for observation in fed() {
                    evidence.learn(check, observation, &self.history);
                }
            }
            for observation in fed() {
                if let Err(refusal) = evidence.take(settings, check, observation, scrape.at) {
                    evidence.trouble = Some(refusal.to_string());
                    self.refused.note(observation, refusal);
                }
            }
            evidence.settle(check, scrape.at, baking);
        }
        self.peak = self.peak.max(self.merged(settings));
        self.suspect(settings);
    }

    /// The canary now serves everything: from here on it is held against what the ramp showed.
    ///
    /// Every relative check keeps an upper bound of what both arms showed so far as its reference. Scrapes with
    /// (nearly) only the canary are tested against it; scrapes with both arms go on being compared.
    pub fn enter_bake(&mut self, settings: &Settings) {
        for (check, evidence) in settings.checks.iter().zip(&mut self.evidence) {
            evidence.drop_waiting();
            let harm = match &check.test {
                Test::Errors { .. } => settings.harm,
                Test::Latency { .. } => settings.latency_harm,
                Test::ErrorObjective { .. } | Test::LatencyObjective { .. } => continue,
            };
            for comparison in &mut evidence.comparisons {
                comparison.enter_bake(harm.clamp(0.0, 1.0), settings.false_alarm);
            }
        }
        self.bake = Some(Bake::default());
    }

    /// The bake is suspended for a comparison on split traffic: its suspicion is cleared, the comparison of the
    /// arms goes on where it was. A part of its evidence begins anew, so that what began late is found as fast as
    /// it would have been at first. Entering the bake again takes fresh references. Without a bake nothing happens.
    pub fn leave_bake(&mut self) {
        if self.bake.is_none() {
            return;
        }
        for evidence in &mut self.evidence {
            evidence.drop_waiting();
            for comparison in &mut evidence.comparisons {
                comparison.leave_bake();
            }
        }
        self.bake = None;
    }

    /// What the evidence says about raising the weight to `next`, a share in (0, 1].
    pub fn verdict(&self, settings: &Settings, next: f64) -> Verdict {
        judgement::judge(self, settings, next)
    }

    /// What the next rollout should know about the service: the baseline's errors and durations of this one,
    /// merged with what was known before.
    pub fn history(&self) -> History {
        let mut history = self.history.clone();
        for evidence in &self.evidence {
            let errors = evidence
                .comparisons
                .first()
                .filter(|comparison| comparison.bounds.is_none())
                .map_or(crate::Counts::default(), |errors| errors.calm.usual());
            history.absorb(&evidence.name, errors, &evidence.profile);
        }
        history
    }

    /// Natural logarithm of the highest merged evidence so far: at ln(1/alpha) the canary has failed.
    /// Much cheaper than a whole verdict.
    pub fn peak(&self) -> f64 {
        self.peak
    }

    /// Observations that were left out so far. Those that no check reads are not counted.
    pub fn refused(&self) -> &Refused {
        &self.refused
    }

    /// Natural logarithm of the merged evidence (10), all checks that can fail with equal weight.
    pub(crate) fn merged(&self, settings: &Settings) -> f64 {
        weighted_mean(
            settings
                .checks
                .iter()
                .zip(&self.evidence)
                .filter(|(check, _)| can_fail(check))
                .map(|(_, evidence)| (1.0, evidence.current)),
        )
    }

    /// While baking: does the canary look worse than the ramp led to expect?
    ///
    /// Half of alpha is spent on the bake as a whole, half on its watches, the i-th of which gets the share
    /// 1/(i (i + 1)): together they raise a false suspicion with probability at most alpha, however long the
    /// bake is.
    fn suspect(&mut self, settings: &Settings) {
        let Some(bake) = &self.bake else { return };
        if bake.suspicion.is_some() {
            return;
        }
        let baking =
            settings.checks.iter().zip(&self.evidence).filter(|(check, _)| {
                matches!(check.test, Test::Errors { .. } | Test::Latency { .. })
            });
        let merged = |process: Part| {
            weighted_mean(baking.clone().map(|(_, evidence)| {
                let log_e =
                    |at: &Comparison| at.bake.as_ref().map_or(0.0, |bake| process(bake).log_e());
                (1.0, weighted_mean(evidence.comparisons.iter().map(|at| (1.0, log_e(at)))))
            }))
        };
        let share = (f64::from(bake.watches) + 1.0) * (f64::from(bake.watches) + 2.0);
        let threshold = judgement::log_threshold(settings.false_alarm) + 2.0_f64.ln();
        let processes: [(Part, f64); 2] =
            [(|bake| &bake.lately, threshold + share.ln()), (|bake| &bake.whole, threshold)];
        let Some((process, _)) =
            processes.into_iter().find(|(process, threshold)| merged(*process) >= *threshold)
        else {
            return;
        };
        let suspicion = baking
            .flat_map(|(check, evidence)| evidence.comparisons.iter().map(move |at| (check, at)))
            .filter_map(|(check, at)| Some((check, at, process(at.bake.as_ref()?))))
            .max_by(|left, right| left.2.log_e().total_cmp(&right.2.log_e()))
            .map(|(check, at, process)| sentence::suspicion(&check.name, at, process));
        if let Some(bake) = &mut self.bake {
            bake.suspicion = suspicion;
        }
    }

    /// Begins the next watch of the bake when the current one is over.
    fn keep_watch(&mut self, at: Timestamp) {
        let Some(bake) = &mut self.bake else { return };
        let since = *bake.since.get_or_insert(at);
        if at.duration_since(since) < WATCH {
            return;
        }
        bake.since = Some(at);
        bake.watches = bake.watches.saturating_add(1);
        for comparison in self.evidence.iter_mut().flat_map(|evidence| &mut evidence.comparisons) {
            if let Some(watch) = &mut comparison.bake {
                watch.restart();
            }
        }
    }
}

/// One of the two processes of a watch.
type Part = fn(&Watch) -> &Absolute;

impl Refused {
    fn note(&mut self, observation: &Observation, refusal: Refusal) {
        self.count = self.count.saturating_add(1);
        self.last = Some(sentence::refused(observation, refusal));
    }
}

/// Whether an observation names what a check reads, or the check itself.
fn feeds(check: &Check, observation: &Observation) -> bool {
    observation.check == check.reads || observation.check == check.name
}

#[cfg(test)]
mod tests;
