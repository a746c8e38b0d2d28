//! The policy that a script is played with: Serin's defaults, changed key by key.

use std::collections::BTreeMap;
use std::time::Duration;

use analysis::{Check, OnBreach, Settings, Test};
use rollout::freeze::Freeze;
use rollout::policy::{
    Limit, Metrics, OnFail, OnInconclusive, ProcessTarget, ProxyRoute, Revert, Router, StepPolicy,
    Steps, Target, Traces,
};
use rollout::{Plan, Policy, Weight};

use super::problem::Wrong;
use super::words::{duration, number, percent, quote, weight};

const KEYS: &str = "steps, first, atLeast, deadline, bake, harm, latencyHarm, falseAlarm, \
                    falsePromotion, checks, errors.ratio, errors.absolute, latency.stretch, \
                    latency.ratio, objective, warmUp, onInconclusive, revert, limit, irreversible";

/// The policy as far as a script has set it.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    policy: Policy,
    by_hand: Vec<Weight>,
    first: Weight,
    at_least: Duration,
    deadline: Duration,
    checks: Vec<String>,
    errors: (f64, f64),
    latency: (f64, f64),
    objective: Option<f64>,
    warm_up: Duration,
}

impl Draft {
    /// The defaults, as `serin validate --show` prints them.
    pub(super) fn new() -> Self {
        Self {
            policy: defaults(),
            by_hand: Vec::new(),
            first: Weight::from_share(0.01),
            at_least: Duration::ZERO,
            deadline: Duration::from_mins(30),
            checks: vec!["errors".to_owned(), "latency".to_owned()],
            errors: (1.25, 0.001),
            latency: (0.1, 1.1),
            objective: None,
            // Versions of a script are warm from the start, unless it says otherwise.
            warm_up: Duration::ZERO,
        }
    }

    pub(super) fn name(&mut self, service: &str) {
        service.clone_into(&mut self.policy.name);
    }

    pub(super) fn freeze(&mut self, freeze: Freeze) {
        self.policy.freezes.push(freeze);
    }

    /// Changes one key.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), Wrong> {
        let analysis = &mut self.policy.analysis;
        match key {
            "steps" if value == "auto" => self.by_hand.clear(),
            "steps" => self.by_hand = value.split(',').map(weight).collect::<Result<_, _>>()?,
            "first" => self.first = weight(value)?,
            "atLeast" => self.at_least = duration(value)?,
            "warmUp" => self.warm_up = duration(value)?,
            "deadline" => self.deadline = duration(value)?,
            "bake" => self.policy.bake = duration(value)?,
            "harm" => analysis.harm = percent(value)?,
            "latencyHarm" => analysis.latency_harm = percent(value)?,
            "falseAlarm" => analysis.false_alarm = probability(value)?,
            "falsePromotion" => analysis.false_promotion = probability(value)?,
            "checks" => {
                let checks: Vec<_> = value.split(',').map(str::to_owned).collect();
                if let Some(odd) = checks.iter().find(|c| *c != "errors" && *c != "latency") {
                    let what = format!("{} is not a check of scripts", quote(odd));
                    return Err(Wrong::new(what, "write errors, latency or errors,latency"));
                }
                self.checks = checks;
            }
            "errors.ratio" => self.errors.0 = number(value, 1.0)?,
            "errors.absolute" => self.errors.1 = percent(value)?,
            "latency.stretch" => self.latency.0 = percent(value)?,
            "latency.ratio" => self.latency.1 = number(value, 1.0)?,
            "objective" => self.objective = Some(1.0 - percent(value)?),
            "onInconclusive" => {
                let choices = [
                    ("hold", OnInconclusive::Hold),
                    ("rollBack", OnInconclusive::RollBack),
                    ("promote", OnInconclusive::Promote),
                ];
                self.policy.on_inconclusive = choose(value, &choices)?;
            }
            "revert" => {
                let choices = [
                    ("push", Revert::Push),
                    ("pullRequest", Revert::PullRequest),
                    ("none", Revert::None),
                ];
                self.policy.on_fail.revert = choose(value, &choices)?;
            }
            "limit" => self.policy.on_fail.limits = vec![limit(value)?],
            "irreversible" => self.policy.on_fail.irreversible = vec![value.to_owned()],
            _ => {
                let what = format!("{} is not a key of a script's policy", quote(key));
                return Err(Wrong::new(what, format!("keys are {KEYS}")));
            }
        }
        Ok(())
    }

    /// The whole policy, if its steps are possible.
    pub(super) fn policy(&self) -> Result<Policy, Wrong> {
        let mut policy = self.policy.clone();
        let step = |weight: &Weight| StepPolicy {
            weight: *weight,
            at_least: self.at_least,
            deadline: self.deadline,
        };
        policy.steps = if self.by_hand.is_empty() {
            Steps::Auto { first: self.first, deadline: self.deadline }
        } else {
            Steps::ByHand(self.by_hand.iter().map(step).collect())
        };
        if let Err(error) = Plan::new(&policy.steps) {
            let hint = "write rising weights below 100%, e.g. steps=1%,10%,50%";
            return Err(Wrong::new(error.to_string(), hint));
        }
        policy.analysis.checks = self.all_checks();
        Ok(policy)
    }

    fn all_checks(&self) -> Vec<Check> {
        let mut checks: Vec<Check> = self
            .checks
            .iter()
            .map(|name| {
                let test = if name == "errors" {
                    Test::Errors { ratio: self.errors.0, absolute: self.errors.1 }
                } else {
                    Test::Latency { stretch: self.latency.0, ratio: self.latency.1 }
                };
                Check { warm_up: self.warm_up, ..Check::new(name, test) }
            })
            .collect();
        checks.extend(self.objective.map(|at_most| Check {
            name: "objective".to_owned(),
            reads: "errors".to_owned(),
            test: Test::ErrorObjective { at_most, on_breach: OnBreach::Pause },
            warm_up: self.warm_up,
            only_against: false,
        }));
        checks
    }
}

fn probability(text: &str) -> Result<f64, Wrong> {
    let share = percent(text)?;
    if 0.0 < share && share <= 0.5 {
        Ok(share)
    } else {
        let what = format!("{} is not the probability of an error", quote(text));
        Err(Wrong::new(what, "write more than 0% and at most 50%, e.g. 1%"))
    }
}

fn choose<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, Wrong> {
    choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        Wrong::new(format!("{} is none of the choices", quote(value)), names.join(", "))
    })
}

/// `2/24h`.
fn limit(text: &str) -> Result<Limit, Wrong> {
    let wrong = || Wrong::new(format!("{} is not a limit", quote(text)), "write e.g. 1/30m");
    let (count, per) = text.split_once('/').ok_or_else(wrong)?;
    let count = count.parse().ok().filter(|count| 1 <= *count).ok_or_else(wrong)?;
    Ok(Limit { count, per: duration(per)? })
}

fn defaults() -> Policy {
    Policy {
        name: "service".to_owned(),
        paths: vec!["**".to_owned()],
        target: Target::Process(ProcessTarget {
            command: vec!["serve".to_owned()],
            environment: BTreeMap::new(),
            working_directory: None,
            health_path: "/healthz".to_owned(),
            start_timeout: Duration::from_mins(1),
            stop_grace: Duration::from_secs(10),
            instances: 1,
        }),
        router: Router::Proxy(ProxyRoute {
            listen: "127.0.0.1:8080".to_owned(),
            timeout: Duration::from_secs(10),
            sticky_cookie: None,
            testers: None,
            upstream_http2: false,
        }),
        metrics: Metrics::Proxy,
        sources: BTreeMap::new(),
        journeys: Vec::new(),
        traces: Traces::default(),
        steps: Steps::ByHand(Vec::new()),
        bake: Duration::from_mins(30),
        analysis: Settings {
            false_alarm: 0.01,
            false_promotion: 0.05,
            harm: 0.001,
            latency_harm: 0.01,
            checks: Vec::new(),
        },
        on_fail: OnFail {
            revert: Revert::Push,
            limits: vec![
                Limit { count: 1, per: Duration::from_mins(30) },
                Limit { count: 3, per: Duration::from_hours(24) },
            ],
            irreversible: vec!["**/migrations/**".to_owned(), "**/*.sql".to_owned()],
        },
        on_inconclusive: OnInconclusive::Hold,
        freezes: Vec::new(),
        notify: vec!["deploys".to_owned()],
    }
}
