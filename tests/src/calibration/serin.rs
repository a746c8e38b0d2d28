//! Serin's engine watching a simulated rollout, through its public interface as the product uses it.

use analysis::{
    Arm, Assessment, Check, Counts, History, Observation, Outcome as Answer, Sample, Scrape,
    Settings, Test,
};
use jiff::{SignedDuration, Timestamp};

use super::{
    durations::{self, Change},
    ends::Outcome,
    limit::Tolerance,
    streams::{Model, PODS, Seen, Stream, Truth, World},
};

/// False-alarm probability of all rows.
pub(super) const ALPHA: f64 = 0.01;

/// Probability of a false promotion of all rows.
pub(super) const BETA: f64 = 0.05;

/// One way to set the engine up.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Its name in the table.
    pub label: &'static str,
    /// The test of every check.
    pub test: Test,
    /// Largest share of all requests that may be harmed.
    pub harm: f64,
    /// What it sees of the traffic.
    pub view: View,
    /// Whether it is also asked when all of the traffic is allowed.
    pub promotes: bool,
    /// What it knows from before.
    pub past: Past,
}

/// What a tool sees of the traffic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum View {
    /// Sums per arm; durations in Prometheus' default buckets.
    Classic,
    /// Sums per arm; durations in exponential buckets of schema 3.
    Native,
    /// One observation per pod.
    Pods,
}

/// What the engine knows from earlier rollouts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Past {
    /// Nothing: the service is new to it.
    None,
    /// One healthy rollout, the same for all runs.
    Shared,
    /// Healthy rollouts of the same service, drawn anew for each run.
    Own(u32),
}

impl Setup {
    /// Its settings for a world.
    pub(super) fn settings(&self, world: &World) -> Settings {
        Settings {
            false_alarm: ALPHA,
            false_promotion: BETA,
            harm: self.harm,
            latency_harm: 0.01,
            checks: check_names(world)
                .into_iter()
                .map(|name| Check::new(name, self.test.clone()))
                .collect(),
        }
    }

    /// What it tolerates, where that can be said without data.
    pub(super) fn tolerance(&self) -> Option<Tolerance> {
        match (&self.test, self.view) {
            (Test::Errors { ratio, absolute }, _) => {
                Some(Tolerance { ratio: *ratio, absolute: *absolute, stretch: 0.0 })
            }
            (Test::Latency { stretch, ratio }, View::Native) => {
                // The shift is a whole number of buckets.
                let buckets = ((1.0 + stretch).log2() * 8.0 - 1e-6).ceil();
                let stretch = (buckets / 8.0).exp2() - 1.0;
                Some(Tolerance { ratio: *ratio, absolute: 0.0, stretch })
            }
            (Test::Latency { .. }, View::Classic | View::Pods) | (_, _) => None,
        }
    }

    /// Whether the canary is no worse than tolerated, and whether it is worse than full weight allows.
    pub(super) fn truth(&self, world: &World) -> (bool, bool) {
        match (&world.truth, &self.test) {
            (Truth::Errors(errors), Test::Errors { ratio, absolute }) => {
                let excess = errors.canary - ratio * errors.baseline;
                // Full weight without any excess is asked for with a harm of a billionth.
                (excess <= absolute + 1e-12, excess >= self.harm - 1e-8)
            }
            (Truth::Latency(_, Change::Stretch(factor)), Test::Latency { stretch, .. }) => {
                // The allowed ratio of shares is worth a little more than a hundredth.
                let within = *factor <= 1.0 + stretch + 0.01;
                (within, !within)
            }
            (Truth::Errors(_) | Truth::Latency(..), _) => (false, false),
        }
    }

    /// What it knows before run `run`.
    pub(super) fn history(&self, healthy: &Model, seed: impl Fn(u32) -> u64) -> History {
        let rollouts = match self.past {
            Past::None => 0,
            Past::Shared => 1,
            Past::Own(rollouts) => rollouts,
        };
        let settings = self.settings(&healthy.world);
        let mut history = History::default();
        for rollout in 0..rollouts {
            let mut stream = Stream::new(healthy, seed(rollout));
            let mut engine = Assessment::new(&settings, &history);
            let mut scrape = empty();
            loop {
                let weight = healthy.world.weight(stream.next_second());
                let Some(seen) = stream.next(weight) else { break };
                fill(&mut scrape, seen, self.view);
                engine.observe(&settings, &scrape);
            }
            history = engine.history();
        }
        history
    }
}

/// The engine in one rollout.
pub(super) struct Serin<'a> {
    settings: &'a Settings,
    view: View,
    engine: Assessment,
    scrape: Scrape,
    asks: bool,
    threshold: f64,
}

impl<'a> Serin<'a> {
    pub(super) fn new(setup: &Setup, settings: &'a Settings, history: &History) -> Self {
        Self {
            settings,
            view: setup.view,
            engine: Assessment::new(settings, history),
            scrape: empty(),
            asks: setup.promotes,
            threshold: -settings.false_alarm.ln() - 1e-9,
        }
    }

    /// Takes in a scrape; whether it needs no more of them.
    pub(super) fn observe(&mut self, seen: &Seen, outcome: &mut Outcome) -> bool {
        fill(&mut self.scrape, seen, self.view);
        self.engine.observe(self.settings, &self.scrape);
        // A verdict costs far more than the evidence behind it; without enough evidence it cannot be a failure.
        if self.engine.peak() < self.threshold && !self.asks {
            return false;
        }
        let end = Some((seen.second, seen.canary_requests));
        match self.engine.verdict(self.settings, 1.0).outcome {
            Answer::Fail => {
                outcome.reverted = end;
                true
            }
            Answer::Pass => {
                if self.asks {
                    outcome.promoted = end;
                    self.asks = false;
                }
                false
            }
            Answer::Undecided | Answer::Inconclusive => false,
        }
    }
}

fn check_names(world: &World) -> Vec<String> {
    match &world.truth {
        Truth::Errors(errors) => (0..errors.metrics).map(metric_name).collect(),
        Truth::Latency(..) => vec!["latency".to_owned()],
    }
}

fn metric_name(metric: usize) -> String {
    if metric == 0 { "errors".to_owned() } else { format!("errors-{}", metric + 1) }
}

fn empty() -> Scrape {
    Scrape { at: Timestamp::UNIX_EPOCH, observations: Vec::new() }
}

/// Turns what was seen into observations. Names are made once per rollout.
pub(super) fn fill(scrape: &mut Scrape, seen: &Seen, view: View) {
    scrape.at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seen.second.into());
    let mut samples = Vec::new();
    if let Some(arms) = &seen.durations {
        for (arm, fine) in [Arm::Canary, Arm::Baseline].into_iter().zip(arms) {
            let sample = match view {
                View::Native => Sample::Exponential(durations::exponential(fine)),
                View::Classic | View::Pods => Sample::Histogram {
                    le: durations::CLASSIC.to_vec(),
                    counts: durations::classic(fine),
                },
            };
            samples.push((arm, sample));
        }
    } else if view == View::Pods && !seen.pods.is_empty() {
        samples.extend(seen.pods.iter().map(|(arm, counts)| (*arm, events(*counts))));
    } else {
        for arms in &seen.failures {
            samples.push((Arm::Canary, events(arms[0])));
            samples.push((Arm::Baseline, events(arms[1])));
        }
    }
    if scrape.observations.len() != samples.len() {
        scrape.observations = (0..samples.len()).map(|index| unnamed(seen, view, index)).collect();
    }
    for (observation, (arm, sample)) in scrape.observations.iter_mut().zip(samples) {
        observation.arm = arm;
        observation.sample = sample;
    }
}

/// The observation at an index before it has counts.
fn unnamed(seen: &Seen, view: View, index: usize) -> Observation {
    let by_pod = view == View::Pods && !seen.pods.is_empty();
    let (check, instance) = if seen.durations.is_some() {
        ("latency".to_owned(), ["c1", "b1"][index].to_owned())
    } else if by_pod && index < PODS[0] {
        (metric_name(0), format!("c{}", index + 1))
    } else if by_pod {
        (metric_name(0), format!("b{}", index + 1 - PODS[0]))
    } else {
        (metric_name(index / 2), ["c1", "b1"][index % 2].to_owned())
    };
    Observation {
        arm: Arm::Canary,
        instance,
        check,
        stratum: None,
        sample: events(Counts::default()),
    }
}

fn events(counts: Counts) -> Sample {
    Sample::Events { events: counts.events, of: counts.of }
}
