//! All evidence of one rollout: every check's state, fed scrape by scrape.
//!
//! Checks are merged by the weighted mean of their evidence, never by a product: they look at the same
//! requests. It is one process over all steps, so steps and looks cost nothing.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use crate::history::History;
use crate::{
    Arm, Check, Observation, Refusal, Sample, Scrape, Settings, Test, Verdict,
    check::RESTARTS,
    comparison::{Comparison, Watch},
    evidence::{Around, CheckEvidence, can_fail},
    judgement,
    pods::Pods,
    sentence,
    sequential::{Absolute, SampleRatio, regressed, weighted_mean},
};

/// Evidence of one rollout so far. Serialises exactly, so that a replay resumes bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// In the order of the settings' checks.
    pub(crate) evidence: Vec<CheckEvidence>,
    pub(crate) pods: Pods,
    /// Highest merged evidence so far. The first crossing counts (Ville), so a failure stays one.
    pub(crate) peak: f64,
    /// The same for all canary pods together, whether or not one alone makes the difference.
    pub(crate) together_peak: f64,
    /// Checks that regressed when the evidence first crossed the threshold, by closed testing.
    pub(crate) blamed: Vec<String>,
    /// Time of the first scrape.
    began: Option<Timestamp>,
    /// Time of the latest scrape.
    pub(crate) latest: Option<Timestamp>,
    pub(crate) bake: Option<Bake>,
    pub(crate) routing: Routing,
    refused: Refused,
    history: History,
}

/// Whether requests follow the weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Routing {
    /// The canary's configured share, and whether a whole scrape has passed since it was set.
    share: Option<(f64, bool)>,
    pub(crate) ratio: SampleRatio,
    pub(crate) canary: u64,
    pub(crate) all: u64,
    /// Canary requests that were to be expected.
    pub(crate) expected: f64,
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
            pods: Pods::default(),
            peak: 0.0,
            together_peak: 0.0,
            blamed: Vec::new(),
            began: None,
            latest: None,
            bake: None,
            routing: Routing::default(),
            refused: Refused::default(),
            history: history.clone(),
        }
    }

    /// The share of requests that the router gives the canary from now on, in (0, 1); nothing if it is not known
    /// or left to no chance. The scrape in which it changed is not held against it.
    pub fn expect(&mut self, share: Option<f64>) {
        if self.routing.share.map(|(known, _)| known) != share {
            self.routing.share = share.map(|share| (share, false));
        }
    }

    /// Takes in one scrape. Malformed observations are counted and left out, never guessed.
    ///
    /// The order of the observations makes no difference, nor does the order of scrapes among the three newest
    /// of a check: what belongs to an earlier moment is counted there. An arm that is absent although it was there
    /// before makes the other one's counts wait, for five minutes at most; an arm that is there without requests
    /// says nothing.
    pub fn observe(&mut self, settings: &Settings, scrape: &Scrape) {
        self.latest = self.latest.max(Some(scrape.at));
        let baking = self.bake.is_some();
        self.keep_watch(scrape.at);
        let mut valid: Vec<&Observation> = Vec::with_capacity(scrape.observations.len());
        for observation in &scrape.observations {
            match observation.validate() {
                Ok(()) => valid.push(observation),
                Err(refusal) => self.refused.note(observation, refusal),
            }
        }
        valid.retain(|observation| settings.checks.iter().any(|check| feeds(check, observation)));
        // Pods and strata are numbered as they appear, whatever the order within the scrape.
        valid.sort_by(|left, right| key(left).cmp(&key(right)));
        let counted = |observation: &&Observation| {
            settings.checks.iter().any(|check| counts_pods(check) && feeds(check, observation))
        };
        let of_pods: Vec<&Observation> = valid.iter().copied().filter(counted).collect();
        if !of_pods.is_empty() {
            self.meet(&of_pods, scrape.at);
        }
        let began = self.began.unwrap_or(scrape.at);
        for (check, evidence) in settings.checks.iter().zip(&mut self.evidence) {
            let fed = || valid.iter().copied().filter(|observation| feeds(check, observation));
            for observation in fed() {
                evidence.learn(check, observation, scrape.at, &self.pods, &self.history);
            }
            for observation in fed() {
                if let Err(refusal) =
                    evidence.take(settings, check, observation, scrape.at, &self.pods)
                {
                    evidence.trouble = Some(refusal.to_string());
                    self.refused.note(observation, refusal);
                }
            }
            evidence.settle(check, scrape.at, Around { pods: &self.pods, began, baking });
        }
        self.routing.observe(settings, &valid);
        self.merge(settings);
        self.suspect(settings);
    }

    /// Notes the pods of a scrape, how old they are and where they belong.
    fn meet(&mut self, observations: &[&Observation], at: Timestamp) {
        let began = *self.began.get_or_insert(at);
        for observation in observations {
            self.pods.see(observation.arm, &observation.instance, at, at <= began);
            // A restarted pod warms up again.
            if observation.check == RESTARTS
                && let Sample::Events { events: 1.., .. } = observation.sample
            {
                self.pods.restarted(observation.arm, &observation.instance, at);
            }
        }
        self.pods.divide();
    }

    /// Merges the checks, and says which of them regressed when the threshold is crossed.
    fn merge(&mut self, settings: &Settings) {
        let threshold = judgement::log_threshold(settings.false_alarm);
        let before = self.peak;
        self.peak = self.peak.max(self.merged(settings, |evidence| evidence.current));
        let together = self.merged(settings, |evidence| evidence.together);
        self.together_peak = self.together_peak.max(together);
        if self.peak < threshold || before >= threshold {
            return;
        }
        let failing: Vec<&CheckEvidence> = (settings.checks.iter().zip(&self.evidence))
            .filter(|(check, _)| can_fail(check))
            .map(|(_, evidence)| evidence)
            .collect();
        let evidence: Vec<f64> = failing.iter().map(|evidence| evidence.current).collect();
        let mut regressed = regressed(&evidence, settings.false_alarm.clamp(1e-12, 1.0));
        if regressed.is_empty() {
            // Together they say it, none of them alone: the strongest is shown.
            let strongest =
                (0..evidence.len()).max_by(|l, r| evidence[*l].total_cmp(&evidence[*r]));
            regressed.extend(strongest);
        }
        self.blamed = regressed.into_iter().map(|index| failing[index].name.clone()).collect();
    }

    /// The canary now serves everything: from here on it is held against what the ramp showed.
    ///
    /// Every relative check keeps an upper bound of what both arms showed so far as its reference. Scrapes with
    /// (nearly) only the canary are tested against it; scrapes with both arms go on being compared.
    pub fn enter_bake(&mut self, settings: &Settings) {
        let (began, baking) = self.times();
        for (check, evidence) in settings.checks.iter().zip(&mut self.evidence) {
            evidence.close(Around { pods: &self.pods, began, baking });
            let harm = match &check.test {
                Test::Errors { .. } => settings.harm,
                Test::Latency { .. } => settings.latency_harm,
                Test::ErrorObjective { .. }
                | Test::LatencyObjective { .. }
                | Test::Restarts { .. }
                | Test::NewErrors
                | Test::Journey { .. }
                | Test::Gauge { .. }
                | Test::Kayenta(_) => continue,
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

    /// What the next rollout should know about the service: the baseline's errors and durations of this one, how
    /// its pods differ and how bursty its events are, merged with what was known before.
    pub fn history(&self) -> History {
        let mut history = self.history.clone();
        let (began, baking) = self.times();
        for evidence in &self.evidence {
            let around = Around { pods: &self.pods, began, baking };
            history.absorb(&evidence.name, evidence.lesson(around));
            if let Some(novelty) = &evidence.novelty {
                history.know(novelty.of_baseline());
            }
        }
        history
    }

    /// Natural logarithm of the highest merged evidence so far: at ln(1/alpha) the canary has failed.
    /// Much cheaper than a whole verdict.
    pub fn peak(&self) -> f64 {
        self.peak
    }

    /// Whether a verdict could be a failure: the evidence crossed its threshold, or Kayenta's judge said so. Much
    /// cheaper than a whole verdict, which may still say that stable's own pods differ too much.
    pub fn may_have_failed(&self, settings: &Settings) -> bool {
        self.peak >= judgement::log_threshold(settings.false_alarm) || self.failed_by_kayenta()
    }

    pub(crate) fn failed_by_kayenta(&self) -> bool {
        let mut judged = self.evidence.iter().filter_map(|evidence| evidence.kayenta.as_ref());
        judged.any(|judged| judged.failed)
    }

    /// Observations that were left out so far. Those that no check reads are not counted.
    pub fn refused(&self) -> &Refused {
        &self.refused
    }

    fn times(&self) -> (Timestamp, bool) {
        (self.began.unwrap_or(Timestamp::UNIX_EPOCH), self.bake.is_some())
    }

    /// Natural logarithm of the merged evidence (10), all checks that can fail with equal weight.
    pub(crate) fn merged(&self, settings: &Settings, of: fn(&CheckEvidence) -> f64) -> f64 {
        weighted_mean(
            settings
                .checks
                .iter()
                .zip(&self.evidence)
                .filter(|(check, _)| can_fail(check))
                .map(|(_, evidence)| (1.0, of(evidence))),
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

impl Routing {
    /// Holds the requests of a scrape against the configured share, as the first check that counts them sees them.
    fn observe(&mut self, settings: &Settings, observations: &[&Observation]) {
        let Some((share, whole)) = &mut self.share else { return };
        let counting =
            settings.checks.iter().find(|check| matches!(check.test, Test::Errors { .. }));
        let Some(check) = counting else { return };
        let (mut canary, mut baseline) = (0_u64, 0_u64);
        for observation in observations.iter().filter(|observation| feeds(check, observation)) {
            let Sample::Events { of, .. } = observation.sample else { continue };
            let arm = match observation.arm {
                Arm::Canary => &mut canary,
                Arm::Baseline => &mut baseline,
            };
            *arm = arm.saturating_add(of);
        }
        let all = canary.saturating_add(baseline);
        if all == 0 {
            return;
        }
        if std::mem::replace(whole, true) {
            self.ratio.update(canary, baseline, *share);
            self.canary = self.canary.saturating_add(canary);
            self.all = self.all.saturating_add(all);
            self.expected += *share * crate::sequential::as_f64(all);
        }
    }
}

/// What orders the observations of a scrape.
fn key(observation: &Observation) -> (&str, Option<&str>, Arm, &str) {
    (&observation.check, observation.stratum.as_deref(), observation.arm, &observation.instance)
}

/// Whether a check's instances are the pods whose differences are allowed for: those of traces have names of their
/// own, and those of journeys are pairs.
fn counts_pods(check: &Check) -> bool {
    !matches!(check.test, Test::NewErrors | Test::Journey { .. })
}

/// Whether an observation names what a check reads, or the check itself.
fn feeds(check: &Check, observation: &Observation) -> bool {
    observation.check == check.reads || observation.check == check.name
}

#[cfg(test)]
mod tests;
