//! What a seed draws: a policy, versions with their true behaviour, and what befalls the world.

use std::collections::BTreeMap;
use std::time::Duration;

use analysis::{Check, Settings, Test};
use rollout::policy::{
    Limit, Metrics, OnFail, OnInconclusive, ProcessTarget, ProxyRoute, Revert, Router, StepPolicy,
    Steps, Target,
};
use rollout::{Order, Policy, Weight};

use super::dice::Dice;

/// Commits, people and outages come within this many seconds; then the world is calm.
pub(super) const CALM: i64 = 900;

/// What one change does to the service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Truth {
    /// Further share of requests that fail.
    pub(super) errors: f64,
    /// How much longer the slowest requests take; 1 is as before.
    pub(super) tail: f64,
    /// The version ends right after its start.
    pub(super) starts: bool,
    /// Seconds after its start from which on `errors` holds.
    pub(super) onset: i64,
    /// Its processes die again and again.
    pub(super) dies: bool,
    pub(super) irreversible: bool,
}

/// A change that changes nothing that anybody could measure.
pub(super) const HARMLESS: Truth =
    Truth { errors: 0.0, tail: 1.0, starts: true, onset: 0, dies: false, irreversible: false };

impl Truth {
    /// Whether a fair judge must not undo it.
    pub(super) fn is_good(&self) -> bool {
        self.errors <= 0.0 && self.tail <= 1.0 && self.starts && !self.dies
    }
}

/// Something that happens by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Plan {
    Commit(Truth),
    /// A commit beside the service's paths: a new tip with the same content.
    Elsewhere,
    /// A person takes the newest change out.
    Revert,
    Order(Order),
}

/// A time in which something is broken, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Span {
    fn holds(self, at: i64) -> bool {
        self.from <= at && at < self.to
    }
}

/// Everything that a seed decides before the first event.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub(super) dice: Dice,
    pub(super) policy: Policy,
    /// Requests a second.
    pub(super) rate: f64,
    /// Share of requests that fail in every version.
    pub(super) base_errors: f64,
    /// Millisecond and what happens then, in order.
    pub(super) plans: Vec<(i64, Plan)>,
    outages: Vec<Span>,
    incidents: Vec<(Span, f64)>,
    stuck: Vec<Span>,
    unreachable: Vec<Span>,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn new(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let rate = dice.pick(&[5.0, 50.0, 200.0, 500.0, 2_000.0], "rate", 0);
        let base_errors = dice.pick(&[0.0, 0.001, 0.001, 0.01], "base errors", 0);
        Self {
            policy: policy(dice),
            rate,
            base_errors,
            plans: plans(dice, base_errors),
            outages: spans(dice, "outage", 0.3, 240),
            incidents: spans(dice, "incident", 0.4, 300)
                .into_iter()
                .map(|span| (span, dice.pick(&[0.02, 0.2, 0.9], "incident share", 0)))
                .collect(),
            stuck: spans(dice, "stuck", 0.15, 90),
            unreachable: spans(dice, "unreachable", 0.2, 120),
            dice,
        }
    }

    /// Whether counters can be read.
    pub(super) fn measurable(&self, at: i64) -> bool {
        !self.outages.iter().any(|span| span.holds(at))
    }

    /// Share of requests to all versions that fail because of something else.
    pub(super) fn incident(&self, at: i64) -> f64 {
        self.incidents
            .iter()
            .filter(|(span, _)| span.holds(at))
            .map(|(_, share)| *share)
            .fold(0.0, f64::max)
    }

    /// When the data plane takes a weight that is set at `at`.
    pub(super) fn router_answers(&self, at: i64) -> i64 {
        self.stuck.iter().filter(|span| span.holds(at)).map(|span| span.to).fold(at, i64::max)
    }

    /// When Git can be reached that is wanted at `at`.
    pub(super) fn git_answers(&self, at: i64) -> i64 {
        self.unreachable.iter().filter(|span| span.holds(at)).map(|span| span.to).fold(at, i64::max)
    }
}

fn spans(dice: Dice, what: &str, probability: f64, longest: i64) -> Vec<Span> {
    (0..3)
        .filter(|n| dice.happens(probability, what, *n))
        .map(|n| {
            let from = dice.between(0, (CALM - longest) * 1_000, &format!("{what} from"), n);
            let lasts = dice.between(5_000, longest * 1_000, &format!("{what} lasts"), n);
            Span { from, to: from + lasts }
        })
        .collect()
}

fn plans(dice: Dice, base_errors: f64) -> Vec<(i64, Plan)> {
    let mut plans = vec![(10_000, Plan::Commit(truth(dice, 0, base_errors)))];
    for n in 1..dice.pick(&[1, 1, 2, 3, 5], "commits", 0) {
        let at = dice.between(10_000, CALM * 1_000, "commit at", n);
        plans.push((at, Plan::Commit(truth(dice, n, base_errors))));
    }
    let mut now_and_then = |probability, purpose: &str, plan: &dyn Fn(u64) -> Plan| {
        for n in 0..3 {
            if dice.happens(probability, purpose, n) {
                let at = dice.between(5_000, CALM * 1_000, &format!("{purpose} at"), n);
                plans.push((at, plan(n)));
            }
        }
    };
    now_and_then(0.07, "person's revert", &|_| Plan::Revert);
    now_and_then(0.1, "elsewhere", &|_| Plan::Elsewhere);
    now_and_then(0.1, "order", &|n| {
        let orders = [Order::Pause, Order::Resume, Order::Promote, Order::Abort, Order::Approve];
        Plan::Order(dice.pick(&orders, "which order", n))
    });
    plans.sort_by_key(|(at, _)| *at);
    plans
}

fn truth(dice: Dice, number: u64, base_errors: f64) -> Truth {
    let errors = dice.pick(&[0.01, 0.03, 0.3], "bad errors", number) + 4.0 * base_errors;
    let truth = match dice.between(0, 100, "kind", number) {
        0..50 => HARMLESS,
        50..72 => Truth { errors, ..HARMLESS },
        72..82 => Truth { tail: dice.pick(&[2.0, 4.0], "tail", number), ..HARMLESS },
        82..87 => Truth { starts: false, ..HARMLESS },
        87..92 => Truth { dies: true, ..HARMLESS },
        _ => Truth { errors, onset: dice.between(30, 300, "onset", number), ..HARMLESS },
    };
    Truth { irreversible: dice.happens(0.1, "irreversible", number), ..truth }
}

fn policy(dice: Dice) -> Policy {
    let seconds = |low, high, what: &str| {
        Duration::from_secs(u64::try_from(dice.between(low, high, what, 0)).unwrap_or(0))
    };
    let at_least = seconds(0, 20, "at least");
    let deadline = at_least + seconds(60, 300, "deadline");
    let weight = |points| Weight::from_share(f64::from(points) / 100.0);
    let step = |points: &u8| StepPolicy { weight: weight(*points), at_least, deadline };
    let steps = match dice.between(0, 4, "steps", 0) {
        0 => Steps::ByHand([10, 50].iter().map(step).collect()),
        1 => Steps::ByHand([1, 5, 25, 50].iter().map(step).collect()),
        n => Steps::Auto { first: weight(if n == 2 { 1 } else { 10 }), deadline },
    };
    let errors = Check::new("errors", Test::Errors { ratio: 1.25, absolute: 0.001 });
    let latency = Check::new("latency", Test::Latency { stretch: 0.1, ratio: 1.1 });
    let choices = [OnInconclusive::Hold, OnInconclusive::RollBack, OnInconclusive::Promote];
    Policy {
        name: "checkout".to_owned(),
        paths: vec!["**".to_owned()],
        target: Target::Process(ProcessTarget {
            command: vec!["serve".to_owned()],
            environment: BTreeMap::new(),
            working_directory: None,
            health_path: "/".to_owned(),
            start_timeout: Duration::from_secs(30),
            stop_grace: Duration::from_secs(5),
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
        traces: rollout::policy::Traces::default(),
        steps,
        bake: seconds(0, 120, "bake"),
        analysis: Settings {
            false_alarm: 0.01,
            false_promotion: 0.05,
            harm: dice.pick(&[0.001, 0.005], "harm", 0),
            latency_harm: 0.01,
            checks: if dice.happens(0.5, "latency", 0) {
                vec![errors, latency]
            } else {
                vec![errors]
            },
        },
        on_fail: OnFail {
            revert: dice.pick(
                &[Revert::Push, Revert::Push, Revert::Push, Revert::None],
                "revert",
                0,
            ),
            limits: vec![Limit { count: 2, per: Duration::from_secs(600) }],
            irreversible: Vec::new(),
        },
        on_inconclusive: dice.pick(&choices, "inconclusive", 0),
        freezes: Vec::new(),
        notify: vec!["deploys".to_owned()],
    }
}
