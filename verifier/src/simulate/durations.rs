//! How long each step of a policy would take at a stated traffic: to see a change, and to let a healthy one pass.
//!
//! The evidence of evenly spread requests grows by a known amount per scrape (formula 7 of the statistics). So
//! "this step would not decide before its deadline" is said before anyone waits in vain. A plan, not a promise:
//! it takes pods as alike, and every check but the first one of errors as seeing no change.
//!
//! Formula (7) itself knows only a ratio. Taking an absolute tolerance for one would be many times too long where
//! stable hardly ever fails (16 times at 0.001 % and 5 % of the traffic), so the engine's own process is asked;
//! without an absolute tolerance both say the same.

use std::time::Duration;

use analysis::sequential::{Exposure, Mirror, Ratio, requests_until_allowed};
use analysis::{Check, OnBreach, Settings, Test};
use rollout::policy::{Metrics, Steps};
use rollout::{Plan, Policy, Weight};
use serde::Serialize;

/// What the plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Requests a second to both versions together; above 0.
    pub requests_per_second: f64,
    /// Share of them that fails with the version that serves now; in [0, 1).
    pub errors: f64,
}

/// How long everything would take.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Durations {
    /// The service.
    pub service: String,
    /// What it was made for.
    pub load: Load,
    /// Seconds between two scrapes.
    pub interval: f64,
    /// The changes that each step is asked for.
    pub changes: Vec<Change>,
    /// One for each step.
    pub steps: Vec<Step>,
    /// Seconds until a healthy version has all traffic, if every step decides in time.
    pub healthy: Option<f64>,
    /// Seconds that the bake adds.
    pub bake: f64,
    /// What is not in the numbers, a sentence each.
    pub notes: Vec<String>,
}

/// A change of the share of requests that fail.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// For people: `2x`, `to 5 %`.
    pub name: String,
    /// The share that it leads to.
    pub errors: f64,
}

/// One step of the policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The canary's share, in (0, 1).
    pub weight: f64,
    /// Canary requests a second.
    pub per_second: f64,
    /// Seconds that it may take.
    pub deadline: f64,
    /// Until a healthy version may go on.
    pub healthy: Time,
    /// Until each of the changes has failed the canary.
    pub sees: Vec<Time>,
}

/// How long something takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Time {
    /// Before the deadline.
    #[serde(rename_all = "camelCase")]
    Decided {
        /// Seconds.
        seconds: f64,
        /// Canary requests.
        requests: f64,
    },
    /// Not before the deadline.
    #[serde(rename_all = "camelCase")]
    TooLate {
        /// Canary requests that are missing then.
        more_requests: f64,
    },
    /// The policy tolerates it, or no number of requests would do.
    Never,
}

/// The share of slow requests at each quantile that a latency check compares.
const SLOW: [f64; 6] = [0.5, 0.25, 0.1, 0.05, 0.01, 0.001];

/// How steeply usual response times fall, where buckets do not allow an exact shift.
const STEEPNESS: f64 = 2.0;

/// First weights that are tried where that of the policy is too small for the traffic.
const LARGER: [f64; 6] = [0.02, 0.05, 0.1, 0.2, 0.25, 0.5];

/// A change that takes more scrapes than this is not seen: a year of quarter seconds.
const MOST_SCRAPES: f64 = 1.3e8;

/// Plans a policy's steps.
///
/// # Errors
/// When the steps are no plan, which the configuration has told before.
pub fn durations(policy: &Policy, load: Load) -> Result<Durations, rollout::plan::PlanError> {
    let plan = Plan::new(&policy.steps)?;
    let settings = &policy.analysis;
    let interval = interval(&policy.metrics).as_secs_f64();
    let changes = changes(load.errors);
    let seen = settings.checks.iter().find_map(|check| match check.test {
        Test::Errors { ratio, absolute } => Some((ratio, absolute, check.warm_up)),
        Test::Latency { .. }
        | Test::ErrorObjective { .. }
        | Test::LatencyObjective { .. }
        | Test::Restarts { .. }
        | Test::NewErrors
        | Test::Journey { .. }
        | Test::Gauge { .. }
        | Test::Kayenta(_) => None,
    });
    let mut gates = gates(settings, load.errors);
    let mut total = Some(0.0);
    let mut steps = Vec::new();
    for (index, step) in plan.steps().iter().enumerate() {
        let clock = Clock {
            per_second: load.requests_per_second * step.weight.share(),
            interval,
            first: index == 0,
            deadline: step.deadline.as_secs_f64(),
        };
        let (weight, next) = (step.weight, plan.after(index));
        let healthy = clock.healthy(&gates, settings, weight, next, step.at_least);
        let spent = match healthy {
            Time::Decided { seconds, .. } => seconds,
            Time::TooLate { .. } | Time::Never => clock.deadline,
        };
        for gate in &mut gates {
            gate.passes(weight, clock.counted(spent, gate.warm_up));
        }
        total = total.filter(|_| matches!(healthy, Time::Decided { .. })).map(|sum| sum + spent);
        let sees = changes.iter().map(|change| {
            seen.map_or(Time::Never, |(ratio, absolute, warm_up)| {
                let each = clock.scrape(weight, change.errors, load.errors);
                let scrapes = scrapes_to_fail(&each, ratio, absolute, alpha(settings));
                scrapes.map_or(Time::Never, |scrapes| clock.until(scrapes * each.canary, warm_up))
            })
        });
        steps.push(Step {
            weight: weight.share(),
            per_second: clock.per_second,
            deadline: clock.deadline,
            healthy,
            sees: sees.collect(),
        });
    }
    let mut notes = notes(settings);
    if steps.first().is_some_and(|step| !matches!(step.healthy, Time::Decided { .. })) {
        notes.push(advice(policy, load, &plan, interval));
    }
    Ok(Durations {
        service: policy.name.clone(),
        load,
        interval,
        changes,
        steps,
        healthy: total,
        bake: policy.bake.as_secs_f64(),
        notes,
    })
}

/// The smallest first weight that decides in time at this traffic.
fn advice(policy: &Policy, load: Load, plan: &Plan, interval: f64) -> String {
    let first = plan.step(0);
    let deadline = first.deadline.as_secs_f64();
    let fits = |weight: Weight| {
        let next = match &policy.steps {
            Steps::Auto { deadline, .. } => {
                let steps = Steps::Auto { first: weight, deadline: *deadline };
                Plan::new(&steps).map_or(Weight::FULL, |plan| plan.after(0))
            }
            Steps::ByHand(steps) => steps
                .iter()
                .map(|step| step.weight)
                .find(|other| weight < *other)
                .unwrap_or(Weight::FULL),
        };
        let per_second = load.requests_per_second * weight.share();
        let clock = Clock { per_second, interval, first: true, deadline };
        let gates = gates(&policy.analysis, load.errors);
        match clock.healthy(&gates, &policy.analysis, weight, next, first.at_least) {
            Time::Decided { seconds, .. } => Some((weight, seconds)),
            Time::TooLate { .. } | Time::Never => None,
        }
    };
    let mut larger =
        LARGER.map(Weight::from_share).into_iter().filter(|weight| first.weight < *weight);
    if let Some((weight, seconds)) = larger.find_map(fits) {
        return format!(
            "at this traffic {} is too little to begin with; a first weight of {weight} decides after {}",
            first.weight,
            whole(seconds)
        );
    }
    // A larger weight asks for a larger next one, so that the time may stay the same.
    let clock = Clock {
        per_second: load.requests_per_second * first.weight.share(),
        interval,
        first: true,
        deadline: f64::INFINITY,
    };
    let (gates, next) = (gates(&policy.analysis, load.errors), plan.after(0));
    match clock.healthy(&gates, &policy.analysis, first.weight, next, first.at_least) {
        Time::Decided { seconds, .. } => format!(
            "at this traffic no first weight up to 50 % decides in time; {} needs a `deadline` of {} or more",
            first.weight,
            whole(seconds)
        ),
        Time::TooLate { .. } | Time::Never => {
            "no traffic would let the first step decide; allow more `harm`".to_owned()
        }
    }
}

/// Whole seconds for people: `3m 20s`.
fn whole(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
    let seconds = jiff::SignedDuration::from_secs(seconds.ceil() as i64);
    format!("{seconds:#}")
}

/// Scrapes like this one until a canary has failed at probability `alpha`; nothing if that is tolerated.
fn scrapes_to_fail(each: &Exposure, ratio: f64, absolute: f64, alpha: f64) -> Option<f64> {
    let tolerated = ratio * each.baseline_events / each.baseline + absolute;
    if each.canary_events / each.canary <= tolerated {
        return None;
    }
    let threshold = -alpha.clamp(1e-12, 1.0).ln();
    let fails = |scrapes: f64| {
        let mut process = Ratio::new(ratio, absolute);
        process.update(&each.scaled(scrapes));
        process.log_e() >= threshold
    };
    // The evidence is convex in the number of scrapes and begins at none: once it is enough it stays so.
    let mut enough = 1.0;
    while !fails(enough) {
        enough *= 2.0;
        if enough > MOST_SCRAPES {
            return None;
        }
    }
    let mut too_few = 0.0;
    for _ in 0..40 {
        let middle = f64::midpoint(too_few, enough);
        if fails(middle) {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    Some(enough)
}

/// Between two scrapes; exporters push once a minute unless they are told otherwise.
fn interval(metrics: &Metrics) -> Duration {
    match metrics {
        Metrics::Proxy => Duration::from_millis(250),
        // Exporters of spans push every five seconds.
        Metrics::Traces { .. } => Duration::from_secs(5),
        Metrics::Otlp { .. } => Duration::from_mins(1),
        Metrics::Scrape { interval, .. }
        | Metrics::Prometheus { interval, .. }
        | Metrics::Store { interval, .. } => *interval,
    }
}

fn changes(errors: f64) -> Vec<Change> {
    let times = [2.0, 5.0]
        .map(|factor| Change { name: format!("{factor}x"), errors: (errors * factor).min(1.0) });
    let shares = [0.01, 0.05, 0.3]
        .map(|share| Change { name: format!("to {} %", share * 100.0), errors: share });
    times.into_iter().filter(|_| errors > 0.0).chain(shares).collect()
}

/// The false-alarm probability that one check is left with: the evidence of all that can fail is averaged.
fn alpha(settings: &Settings) -> f64 {
    let can_fail = |check: &&Check| match check.test {
        Test::Errors { .. }
        | Test::Latency { .. }
        | Test::Restarts { .. }
        | Test::NewErrors
        | Test::Journey { .. } => true,
        Test::ErrorObjective { on_breach, .. } | Test::LatencyObjective { on_breach, .. } => {
            on_breach == OnBreach::RollBack
        }
        Test::Gauge { .. } | Test::Kayenta(_) => false,
    };
    let count = settings.checks.iter().filter(can_fail).count().max(1);
    settings.false_alarm / f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The clock of one step.
struct Clock {
    /// Canary requests.
    per_second: f64,
    interval: f64,
    /// Whether it is the first step, in which pods warm up.
    first: bool,
    deadline: f64,
}

impl Clock {
    /// Canary requests that count after so many seconds.
    fn counted(&self, seconds: f64, warm_up: Duration) -> f64 {
        let warming = if self.first { warm_up.as_secs_f64() } else { 0.0 };
        self.per_second * (seconds - warming).max(0.0)
    }

    /// Until this many canary requests were seen.
    fn until(&self, requests: f64, warm_up: Duration) -> Time {
        let scrapes = (requests / self.per_second / self.interval).ceil().max(1.0);
        let warming = if self.first { warm_up.as_secs_f64() } else { 0.0 };
        let seconds = warming + scrapes * self.interval;
        if seconds <= self.deadline {
            Time::Decided { seconds, requests: requests.ceil() }
        } else {
            let counted = self.counted(self.deadline, warm_up);
            Time::TooLate { more_requests: (requests - counted).ceil().max(1.0) }
        }
    }

    /// Until the slowest gate opens, and not before the shortest stay is over.
    fn healthy(
        &self,
        gates: &[Gate],
        settings: &Settings,
        weight: Weight,
        next: Weight,
        stay: Duration,
    ) -> Time {
        let mut slowest = Time::Decided { seconds: stay.as_secs_f64(), requests: 0.0 };
        for gate in gates {
            let Some(requests) = gate.needs(settings, weight, next) else { return Time::Never };
            slowest = match (slowest, self.until(requests, gate.warm_up)) {
                (
                    Time::Decided { seconds, requests },
                    Time::Decided { seconds: others, requests: more },
                ) => Time::Decided { seconds: seconds.max(others), requests: requests.max(more) },
                (Time::TooLate { more_requests }, Time::TooLate { more_requests: others }) => {
                    Time::TooLate { more_requests: more_requests.max(others) }
                }
                (late @ Time::TooLate { .. }, _) | (_, late) => late,
            };
        }
        if gates.is_empty() { Time::Never } else { slowest }
    }

    /// One scrape of both versions, with the shares of requests that fail.
    fn scrape(&self, weight: Weight, canary_errors: f64, baseline_errors: f64) -> Exposure {
        let canary = self.per_second * self.interval;
        let baseline = canary / weight.share() * weight.rest().share();
        Exposure {
            canary_events: canary * canary_errors,
            baseline_events: baseline * baseline_errors,
            canary,
            baseline,
        }
    }
}

/// What bounds the harm of one comparison.
struct Gate {
    mirror: Mirror,
    share: f64,
    harm: f64,
    warm_up: Duration,
}

impl Gate {
    fn needs(&self, settings: &Settings, weight: Weight, next: Weight) -> Option<f64> {
        let proportion = (weight.share(), weight.rest().share());
        let threshold = -settings.false_promotion.clamp(1e-12, 1.0).ln();
        let Self { mirror, share, harm, .. } = self;
        requests_until_allowed(mirror, next.share(), *harm, threshold, *share, proportion)
    }

    /// So many canary requests go by at a weight.
    fn passes(&mut self, weight: Weight, canary: f64) {
        let baseline = canary / weight.share() * weight.rest().share();
        self.mirror.update(&Exposure {
            canary_events: canary * self.share,
            baseline_events: baseline * self.share,
            canary,
            baseline,
        });
    }
}

/// Everything that has to allow a weight.
fn gates(settings: &Settings, errors: f64) -> Vec<Gate> {
    let of = |check: &Check| match check.test {
        Test::Errors { ratio, .. } => {
            let (mirror, harm) = (Mirror::new(ratio), settings.harm);
            vec![Gate { mirror, share: errors, harm, warm_up: check.warm_up }]
        }
        Test::Latency { stretch, ratio } => SLOW
            .map(|share| Gate {
                mirror: Mirror::new(ratio * (1.0 + stretch).powf(STEEPNESS)),
                share,
                harm: settings.latency_harm,
                warm_up: check.warm_up,
            })
            .into(),
        Test::ErrorObjective { .. }
        | Test::LatencyObjective { .. }
        | Test::Restarts { .. }
        | Test::NewErrors
        | Test::Journey { .. }
        | Test::Gauge { .. }
        | Test::Kayenta(_) => Vec::new(),
    };
    settings.checks.iter().flat_map(of).collect()
}

fn notes(settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    let warm_up = settings.checks.iter().map(|check| check.warm_up).max().unwrap_or_default();
    if !warm_up.is_zero() {
        let warm_up = warm_up.as_secs();
        notes.push(format!("the first step begins with the warm-up of {warm_up} s"));
    }
    let planned = |check: &&Check| matches!(check.test, Test::Errors { .. } | Test::Latency { .. });
    let other: Vec<&str> = (settings.checks.iter())
        .filter(|check| !planned(check))
        .map(|check| check.name.as_str())
        .collect();
    if !other.is_empty() {
        notes.push(format!("not in the numbers: {}", other.join(", ")));
    }
    if !settings.checks.iter().any(|check| matches!(check.test, Test::Errors { .. })) {
        notes.push("the policy has no check of errors that compares both versions, so that no change of them is seen".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests;
