//! What evidence and time decide: raise the weight, hold it, promote, or give it up.

use analysis::{Arm, Assessment, Observation, Sample, Scrape, Status, Test, Verdict};
use jiff::{SignedDuration, Timestamp};

use super::Turn;
use crate::action::{News, Occasion};
use crate::deployment::{DeploymentId, Outcome};
use crate::freeze;
use crate::policy::{EDGE, OnInconclusive, Policy, Router};
use crate::state::{Live, Phase};
use crate::weight::Weight;

/// Where a suspicious bake is compared again: both arms get the most data per request at one half.
const COMPARING: Weight = match Weight::from_basis_points(5_000) {
    Ok(weight) => weight,
    Err(_) => Weight::ZERO,
};

/// The moments at which time alone may change something, if nothing else happens.
pub(super) fn due(live: &Live) -> Vec<Timestamp> {
    match &live.phase {
        Phase::Progressing { step, overdue } => {
            let step = live.deployment.plan.step(*step);
            let passed =
                live.verdict.as_ref().is_some_and(|v| v.outcome == analysis::Outcome::Pass);
            let stay = live.shift.confirmed.map(|at| later(at, step.at_least)).filter(|_| passed);
            let deadline = (!overdue).then(|| later(live.shift.asked, step.deadline));
            stay.into_iter().chain(deadline).collect()
        }
        Phase::Baking { since: Some(since), overdue } => {
            let end = later(*since, live.deployment.canary.policy.bake);
            let stale = (!overdue).then(|| later(end, freshness(live)));
            std::iter::once(end).chain(stale).collect()
        }
        Phase::Comparing { since, overdue, .. } => {
            let deadline = (!overdue).then(|| later(*since, last_deadline(live)));
            deadline.into_iter().collect()
        }
        Phase::Adopting
        | Phase::Starting
        | Phase::Baking { since: None, .. }
        | Phase::Promoting { .. }
        | Phase::RollingBack(_) => Vec::new(),
    }
}

fn later(at: Timestamp, by: std::time::Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Data of at most this age is fresh.
fn freshness(live: &Live) -> std::time::Duration {
    live.deployment.canary.policy.metrics.freshness()
}

/// The share of requests that the router gave the canary at a moment, if chance alone decides each one.
fn expected_share(live: &Live, at: Timestamp) -> Option<f64> {
    let Router::Proxy(route) = &live.deployment.canary.policy.router;
    let confirmed = live.shift.confirmed.filter(|confirmed| *confirmed < at);
    let share = live.shift.weight.share();
    let left_to_chance = route.sticky_cookie.is_none() && 0.0 < share && share < 1.0;
    (confirmed.is_some() && left_to_chance).then_some(share)
}

/// What a journey still lacks before the canary may have traffic; `None` if all of them pass.
fn at_the_gate(live: &Live, verdict: &Verdict) -> Option<String> {
    let checks = live.deployment.canary.policy.analysis.checks.iter().zip(&verdict.findings);
    let mut journeys = checks.filter(|(check, _)| matches!(check.test, Test::Journey { .. }));
    let waits = journeys.find(|(_, finding)| finding.status != Status::Pass);
    waits.map(|(check, finding)| format!("{}: {}", check.name, finding.sentence))
}

fn last_deadline(live: &Live) -> std::time::Duration {
    live.deployment.plan.step(usize::MAX).deadline
}

impl Turn<'_> {
    pub(super) fn shifted(&mut self, deployment: &DeploymentId, serial: u32, weight: Weight) {
        let now = self.now;
        let Some(live) = self.live_of(deployment) else {
            return;
        };
        let answers = live.shift.serial == serial && live.shift.weight == weight;
        if !answers || live.shift.confirmed.is_some() {
            return;
        }
        live.shift.confirmed = Some(now);
        if weight > Weight::ZERO {
            live.exposed.get_or_insert(now);
        }
        let settings = &live.deployment.canary.policy.analysis;
        match &mut live.phase {
            Phase::Baking { since, .. } => {
                since.get_or_insert(now);
                live.assessment.enter_bake(settings);
            }
            Phase::RollingBack(_) => self.traffic_is_back(),
            Phase::Adopting
            | Phase::Starting
            | Phase::Progressing { .. }
            | Phase::Comparing { .. }
            | Phase::Promoting { .. } => {}
        }
    }

    pub(super) fn observed(&mut self, deployment: &DeploymentId, scrape: &Scrape) {
        let Some(live) = self.live_of(deployment) else {
            return;
        };
        let policy = live.deployment.canary.policy.clone();
        let mut since = None;
        let next = match &mut live.phase {
            Phase::Starting => live.deployment.plan.step(0).weight,
            Phase::Progressing { step, .. } => live.deployment.plan.after(*step),
            Phase::Baking { .. } => Weight::FULL,
            Phase::Comparing { again, .. } => {
                again.observe(&policy.analysis, scrape);
                since = Some(again.verdict(&policy.analysis, Weight::FULL.share()));
                Weight::FULL
            }
            Phase::Adopting | Phase::Promoting { .. } | Phase::RollingBack(_) => return,
        };
        live.assessment.expect(expected_share(live, scrape.at));
        live.assessment.observe(&policy.analysis, scrape);
        // What the proxy sees beside the policy's own source says nothing about that source.
        if scrape.observations.iter().any(|o| of_source(&policy, o)) {
            live.unobserved = None;
        }
        if has_canary_requests(&policy, scrape) {
            live.observed = live.observed.max(Some(scrape.at));
        }
        if has_both_arms(&policy, scrape) {
            live.compared = live.compared.max(Some(scrape.at));
        }
        let overall = live.assessment.verdict(&policy.analysis, next.share());
        live.verdict = Some(match since {
            // Failing rests on everything that was seen, passing on what is new.
            Some(since) if overall.outcome == analysis::Outcome::Pass => since,
            Some(_) | None => overall,
        });
    }

    /// Decides what the newest verdict and the time allow.
    pub(super) fn decide(&mut self) {
        let Some(live) = &self.state.live else { return };
        let Some(verdict) = live.verdict.clone() else {
            self.overdue(None);
            return;
        };
        match &live.phase {
            Phase::Progressing { .. } | Phase::Baking { .. } | Phase::Comparing { .. } => {
                if verdict.outcome == analysis::Outcome::Fail {
                    self.roll_back(Outcome::RolledBack, verdict.reason);
                    return;
                }
            }
            Phase::Adopting | Phase::Starting | Phase::Promoting { .. } | Phase::RollingBack(_) => {
                return;
            }
        }
        if verdict.breached {
            self.breached(&verdict);
            return;
        }
        match &live.phase {
            Phase::Progressing { step, .. }
                if live.deployment.plan.step(*step).weight == Weight::ZERO =>
            {
                let step = *step;
                match at_the_gate(live, &verdict) {
                    None if live.shift.confirmed.is_some() && !self.held() => {
                        self.advance(step, "the journeys pass on the canary");
                    }
                    None => {}
                    Some(waits_for) => {
                        self.overdue(Some(&Verdict { reason: waits_for, ..verdict }));
                    }
                }
            }
            Phase::Progressing { step, .. } => {
                let step = *step;
                if verdict.outcome == analysis::Outcome::Pass && self.may_advance() {
                    self.advance(step, &verdict.reason);
                } else {
                    self.overdue(Some(&verdict));
                }
            }
            Phase::Baking { since, .. } => match (verdict.suspicion.clone(), *since) {
                (Some(suspicion), Some(since)) => self.compare_again(since, suspicion),
                (_, Some(_)) => self.end_bake(&verdict),
                (_, None) => {}
            },
            Phase::Comparing { suspicion, .. } => {
                if verdict.outcome == analysis::Outcome::Pass && self.may_advance() {
                    let text = format!("stable does no better at the same moment ({suspicion})");
                    self.bake(&text);
                } else {
                    self.overdue(Some(&verdict));
                }
            }
            Phase::Adopting | Phase::Starting | Phase::Promoting { .. } | Phase::RollingBack(_) => {
            }
        }
    }

    /// Confirmed, seen at this weight, long enough, not held by a person, a freeze or missing data.
    ///
    /// A verdict is about one next weight. Without a scrape since the confirmation it is the one
    /// that brought us here, and would take the weight up rung after rung on the same evidence.
    fn may_advance(&self) -> bool {
        let Some(live) = &self.state.live else {
            return false;
        };
        let at_least = match &live.phase {
            Phase::Progressing { step, .. } => live.deployment.plan.step(*step).at_least,
            Phase::Adopting
            | Phase::Starting
            | Phase::Baking { .. }
            | Phase::Comparing { .. }
            | Phase::Promoting { .. }
            | Phase::RollingBack(_) => std::time::Duration::ZERO,
        };
        let Some(confirmed) = live.shift.confirmed else {
            return false;
        };
        let fresh = live.unobserved.is_none()
            && live
                .compared
                .is_some_and(|at| confirmed < at && self.now <= later(at, freshness(live)));
        fresh && later(confirmed, at_least) <= self.now && !self.held()
    }

    pub(super) fn held(&self) -> bool {
        let Some(live) = &self.state.live else {
            return false;
        };
        let freezes = &live.deployment.canary.policy.freezes;
        live.paused.is_some() || freeze::frozen(freezes, self.now).is_some()
    }

    fn advance(&mut self, step: usize, why: &str) {
        let now = self.now;
        let Some(live) = &mut self.state.live else {
            return;
        };
        let weight = live.deployment.plan.after(step);
        if weight == Weight::FULL {
            self.bake(why);
            return;
        }
        live.phase = Phase::Progressing { step: step + 1, overdue: false };
        live.ask_shift(weight, now);
        let steps = live.deployment.plan.steps().len();
        self.because(format!(
            "step {} of {steps}: {weight} of traffic to the canary; {why}",
            step + 2
        ));
    }

    /// All traffic to the canary; a bake that was interrupted keeps its beginning.
    pub(super) fn bake(&mut self, why: &str) {
        let now = self.now;
        let Some(live) = &mut self.state.live else {
            return;
        };
        let since = match &live.phase {
            Phase::Comparing { baking_since, .. } => *baking_since,
            Phase::Adopting
            | Phase::Starting
            | Phase::Progressing { .. }
            | Phase::Baking { .. }
            | Phase::Promoting { .. }
            | Phase::RollingBack(_) => None,
        };
        live.phase = Phase::Baking { since, overdue: false };
        live.ask_shift(Weight::FULL, now);
        self.because(format!("all traffic to the canary, the old version stays warm; {why}"));
    }

    fn compare_again(&mut self, since: Timestamp, suspicion: String) {
        let now = self.now;
        let Some(live) = &mut self.state.live else {
            return;
        };
        live.assessment.leave_bake();
        let settings = &live.deployment.canary.policy.analysis;
        let again = Box::new(Assessment::new(settings, &live.assessment.history()));
        self.because(format!(
            "{suspicion}; half of the traffic goes back to stable, to compare both at the same moment"
        ));
        let Some(live) = &mut self.state.live else {
            return;
        };
        live.phase = Phase::Comparing {
            since: now,
            baking_since: Some(since),
            suspicion,
            again,
            overdue: false,
        };
        live.ask_shift(COMPARING, now);
        live.verdict = None;
    }

    fn end_bake(&mut self, verdict: &Verdict) {
        let now = self.now;
        let held = self.held();
        let Some(live) = &mut self.state.live else {
            return;
        };
        let Phase::Baking { since: Some(since), .. } = live.phase else {
            return;
        };
        let policy = &live.deployment.canary.policy;
        let end = later(since, policy.bake);
        if now < end || held || live.shift.confirmed.is_none() {
            return;
        }
        let fresh_for = policy.metrics.freshness();
        // Without a bake, passing every step is all that is asked.
        let fresh = policy.bake.is_zero()
            || live.observed.is_some_and(|at| since < at && end <= later(at, fresh_for));
        if fresh {
            let bake = SignedDuration::try_from(policy.bake).unwrap_or(SignedDuration::MAX);
            self.promote(format!("passed every step and the bake of {bake:#}"));
        } else if later(end, fresh_for) <= now {
            self.inconclusive(
                Some(verdict),
                "the bake is over but no canary requests are seen any more",
            );
        }
    }

    /// An objective holds the weight and asks a person: it cannot tell a bad canary from a bad day.
    fn breached(&mut self, verdict: &Verdict) {
        let ask = "resume cannot help here: promote, abort, or wait until it is well again";
        self.wait_for_person(Occasion::Breached, Some(verdict), &verdict.reason, ask);
    }

    /// Whether the step's time is up without an answer.
    fn overdue(&mut self, verdict: Option<&Verdict>) {
        let (now, held) = (self.now, self.held());
        let Some(live) = &self.state.live else { return };
        let (end, told) = match &live.phase {
            Phase::Progressing { step, overdue } => {
                (later(live.shift.asked, live.deployment.plan.step(*step).deadline), *overdue)
            }
            Phase::Comparing { since, overdue, .. } => {
                (later(*since, last_deadline(live)), *overdue)
            }
            Phase::Baking { since: Some(since), overdue } => {
                let bake = live.deployment.canary.policy.bake;
                (later(later(*since, bake), freshness(live)), *overdue)
            }
            Phase::Adopting
            | Phase::Starting
            | Phase::Baking { since: None, .. }
            | Phase::Promoting { .. }
            | Phase::RollingBack(_) => return,
        };
        if now < end || told {
            return;
        }
        if held {
            self.begin_time_again();
            return;
        }
        self.inconclusive(verdict, "the deadline passed and the evidence settles nothing");
    }

    /// The time of a step or comparison does not run out while it is held.
    fn begin_time_again(&mut self) {
        let now = self.now;
        let Some(live) = &mut self.state.live else {
            return;
        };
        live.shift.asked = now;
        if let Phase::Comparing { since, .. } = &mut live.phase {
            *since = now;
        }
    }

    fn inconclusive(&mut self, verdict: Option<&Verdict>, what: &str) {
        let Some(live) = &mut self.state.live else {
            return;
        };
        let policy = live.deployment.canary.policy.clone();
        let detail = match (&live.unobserved, verdict) {
            (Some(trouble), _) => trouble.clone(),
            (None, Some(verdict)) => verdict.reason.clone(),
            (None, None) => "no metrics of both versions were read".to_owned(),
        };
        let reason = format!("{what}: {detail}");
        match policy.on_inconclusive {
            OnInconclusive::RollBack => self.roll_back(Outcome::Inconclusive, reason),
            OnInconclusive::Promote => match live.phase {
                Phase::Progressing { step, .. } => {
                    self.advance(step, &format!("{reason}; the policy goes on"));
                }
                Phase::Comparing { .. } => self.bake(&format!("{reason}; the policy goes on")),
                Phase::Baking { .. } => self.promote(format!("{reason}; the policy promotes")),
                Phase::Adopting
                | Phase::Starting
                | Phase::Promoting { .. }
                | Phase::RollingBack(_) => {}
            },
            OnInconclusive::Hold => {
                match &mut live.phase {
                    Phase::Progressing { overdue, .. }
                    | Phase::Baking { overdue, .. }
                    | Phase::Comparing { overdue, .. } => {
                        *overdue = true;
                    }
                    Phase::Adopting
                    | Phase::Starting
                    | Phase::Promoting { .. }
                    | Phase::RollingBack(_) => {}
                }
                // One occasion for each time that was given, so that a resumed step is told of again.
                let occasion = Occasion::Inconclusive { asked: live.shift.asked };
                self.wait_for_person(
                    occasion,
                    verdict,
                    &reason,
                    "promote, abort, or resume for another try",
                );
            }
        }
    }

    /// Tells people once for each occasion that a deployment holds.
    pub(super) fn wait_for_person(
        &mut self,
        occasion: Occasion,
        verdict: Option<&Verdict>,
        reason: &str,
        ask: &str,
    ) {
        let Some(live) = &mut self.state.live else { return };
        if live.told.contains(&occasion) {
            return;
        }
        live.told.push(occasion);
        let key = format!("{}:{}", live.deployment.id, occasion.key());
        let so_far =
            Box::new(super::undo::so_far(&self.state.service, live, verdict, reason, self.now));
        let notify = live.deployment.canary.policy.notify.clone();
        self.because(format!("holding: {reason}"));
        self.tell(key, notify, News::Waits { so_far, occasion, ask: ask.to_owned() });
    }
}

/// Whether it counts requests where the policy reads its metrics: no gauge, which says nothing of traffic,
/// and nothing that Serin adds beside the source.
fn of_source(policy: &Policy, observation: &Observation) -> bool {
    policy.is_of_source(&observation.check) && !matches!(observation.sample, Sample::Gauge { .. })
}

fn has_both_arms(policy: &Policy, scrape: &Scrape) -> bool {
    let counted = scrape.observations.iter().filter(|o| of_source(policy, o));
    let has = |arm| counted.clone().any(|o| o.arm == arm);
    has(Arm::Baseline) && has(Arm::Canary)
}

/// Requests of the canary, as its source or the proxy at the edge counts them.
fn has_canary_requests(policy: &Policy, scrape: &Scrape) -> bool {
    let of_canary = scrape.observations.iter().filter(|o| o.arm == Arm::Canary);
    of_canary.filter(|o| o.check == EDGE || of_source(policy, o)).any(|o| o.sample.says_something())
}
