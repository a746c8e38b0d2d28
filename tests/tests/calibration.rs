//! Calibration: the engine's error probabilities and delays, measured on simulated traffic.
//!
//! False alarms must stay below what the user set, at every look together; detection must be as fast as
//! designed. Every row prints its seed and figures. Limits of counts are exact binomial quantiles: a correct
//! engine exceeds one with probability below 1 in 10,000, and with fixed seeds never by chance.
//!
//! `SERIN_CALIBRATION_RUNS` sets the simulated rollouts per row (2,000 for figures to publish).

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a simulation with fixed, small parameters that prints its figures"
)]

use std::fmt::Write as _;

use analysis::{
    Arm, Assessment, Check, History, Observation, Outcome, Sample, Scrape, Settings, Test,
};
use jiff::{SignedDuration, Timestamp};
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Binomial, Distribution, Poisson, Uniform};

const DEFAULT_RUNS: u32 = 400;

/// Bucket bounds of Prometheus clients.
const PROMETHEUS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

fn runs() -> u32 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the number of simulated rollouts is a setting of this test"
    )]
    let set = std::env::var("SERIN_CALIBRATION_RUNS").ok();
    set.and_then(|runs| runs.parse().ok()).unwrap_or(DEFAULT_RUNS).max(20)
}

fn settings(test: Test) -> Settings {
    let reads = match test {
        Test::Restarts { .. } | Test::Gauge { .. } | Test::Kayenta(_) => "other",
        Test::Errors { .. } | Test::ErrorObjective { .. } => "errors",
        Test::Latency { .. } | Test::LatencyObjective { .. } => "latency",
    };
    Settings {
        false_alarm: 0.01,
        false_promotion: 0.05,
        harm: 0.001,
        latency_harm: 0.01,
        checks: vec![Check {
            name: reads.into(),
            reads: reads.into(),
            test,
            warm_up: std::time::Duration::ZERO,
        }],
    }
}

fn errors(ratio: f64, absolute: f64) -> Settings {
    settings(Test::Errors { ratio, absolute })
}

/// What is true of the simulated service.
#[derive(Clone, Copy)]
struct World {
    rps: f64,
    scrape_s: u32,
    horizon_s: u32,
    truth: Truth,
}

#[derive(Clone, Copy)]
enum Truth {
    /// Shares of failing requests.
    Errors { baseline: f64, canary: f64, shared_incident: bool },
    /// The canary's durations are the baseline's times this.
    Slower(f64),
}

struct Traffic {
    rng: StdRng,
    world: World,
    /// Start and end of the incident, seconds.
    incident: (u32, u32),
    scrape: Scrape,
}

impl Traffic {
    fn new(world: World, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let begins = Uniform::new(0, world.horizon_s).unwrap().sample(&mut rng);
        let observation = |arm| Observation {
            arm,
            instance: String::new(),
            check: match world.truth {
                Truth::Errors { .. } => "errors".into(),
                Truth::Slower(_) => "latency".into(),
            },
            stratum: None,
            sample: Sample::Events { events: 0, of: 0 },
        };
        Self {
            rng,
            world,
            incident: (begins, begins + 300),
            scrape: Scrape {
                at: Timestamp::UNIX_EPOCH,
                observations: vec![observation(Arm::Canary), observation(Arm::Baseline)],
            },
        }
    }

    /// The scrape at `second` while the canary gets `weight`.
    fn scrape(&mut self, second: u32, weight: f64) -> &Scrape {
        let expected = self.world.rps * f64::from(self.world.scrape_s);
        let all = Poisson::new(expected).unwrap().sample(&mut self.rng) as u64;
        let canary = draw(&mut self.rng, all, weight);
        self.scrape.at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second.into());
        let incident = self.incident.0 <= second && second < self.incident.1;
        for (index, of) in [canary, all - canary].into_iter().enumerate() {
            let sample = match self.world.truth {
                Truth::Errors { baseline, canary, shared_incident } => {
                    let share = if index == 0 { canary } else { baseline };
                    let share = if incident && shared_incident { share * 20.0 } else { share };
                    Sample::Events { events: draw(&mut self.rng, of, share), of }
                }
                Truth::Slower(factor) => {
                    let factor = if index == 0 { factor } else { 1.0 };
                    Sample::Histogram {
                        le: PROMETHEUS.to_vec(),
                        counts: histogram(&mut self.rng, of, factor),
                    }
                }
            };
            self.scrape.observations[index].sample = sample;
        }
        &self.scrape
    }
}

fn draw(rng: &mut StdRng, of: u64, share: f64) -> u64 {
    Binomial::new(of, share.clamp(0.0, 1.0)).unwrap().sample(rng)
}

/// Log-normal durations with median 60 ms and p99 200 ms, times `factor`, in buckets.
fn histogram(rng: &mut StdRng, of: u64, factor: f64) -> Vec<u64> {
    let mut left = of;
    let mut share_left = 1.0;
    let mut counts = Vec::with_capacity(PROMETHEUS.len() + 1);
    for bound in PROMETHEUS {
        let beyond = slower(bound / factor);
        let here = draw(rng, left, (share_left - beyond) / share_left);
        counts.push(here);
        left -= here;
        share_left = beyond.max(1e-300);
    }
    counts.push(left);
    counts
}

/// Share of durations above `seconds`.
fn slower(seconds: f64) -> f64 {
    let sigma = (200.0_f64 / 60.0).ln() / 2.326_347_874;
    upper_normal((seconds / 0.06).ln() / sigma)
}

/// P(Z > z), Abramowitz and Stegun 26.2.17 (absolute error below 1e-7).
fn upper_normal(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_normal(-z);
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let poly = t
        * (0.319_381_530
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * poly
}

/// Largest count that `runs` draws of probability `p` exceed with probability below 1 in 10,000.
fn limit(runs: u32, p: f64) -> u32 {
    let mut log_mass = f64::from(runs) * (1.0 - p).ln();
    let mut cumulative = log_mass.exp();
    let mut count = 0;
    while cumulative < 1.0 - 1e-4 && count < runs {
        log_mass += (f64::from(runs - count) / f64::from(count + 1) * p / (1.0 - p)).ln();
        cumulative += log_mass.exp();
        count += 1;
    }
    count
}

/// When a rollout at the weights `weight(second)` fails, if it does.
fn fails_at(
    settings: &Settings,
    world: World,
    seed: u64,
    weight: impl Fn(u32) -> f64,
) -> Option<u32> {
    let threshold = (1.0 / settings.false_alarm).ln();
    let mut traffic = Traffic::new(world, seed);
    let mut assessment = Assessment::new(settings, &History::default());
    for second in (world.scrape_s..=world.horizon_s).step_by(world.scrape_s as usize) {
        assessment.observe(settings, traffic.scrape(second, weight(second)));
        if assessment.peak() >= threshold {
            return Some(second);
        }
    }
    None
}

/// Share of rollouts that ended, with median and 95th percentile of the seconds (`None`: not reached).
struct Delays {
    runs: u32,
    sorted: Vec<u32>,
}

impl Delays {
    fn of(runs: u32, one: impl Fn(u64) -> Option<u32>, seed: u64) -> Self {
        let mut sorted: Vec<u32> =
            (0..runs).filter_map(|run| one(seed * 1_000_000 + u64::from(run))).collect();
        sorted.sort_unstable();
        Self { runs, sorted }
    }

    fn count(&self) -> u32 {
        self.sorted.len() as u32
    }

    fn quantile(&self, quantile: f64) -> Option<u32> {
        let index = (quantile * f64::from(self.runs)).ceil() as usize;
        self.sorted.get(index.saturating_sub(1)).copied()
    }

    fn cell(&self) -> String {
        let share = f64::from(self.count()) / f64::from(self.runs) * 100.0;
        let mut text = format!("{:5} of {:5} = {share:6.2} %", self.count(), self.runs);
        let show = |second: Option<u32>| second.map_or("-".to_owned(), |second| second.to_string());
        if self.count() * 2 >= self.runs {
            let _ =
                write!(text, ", {} / {} s", show(self.quantile(0.5)), show(self.quantile(0.95)));
        }
        text
    }
}

/// Rows of one table: printed together, then judged together.
#[derive(Default)]
struct Table {
    text: String,
    missed: Vec<String>,
}

impl Table {
    fn row(&mut self, name: &str, seed: u64, cell: &str, target: &str, met: bool) {
        let word = if met { "met" } else { "MISSED" };
        let _ = writeln!(self.text, "{name:58} seed {seed:3} | {cell:44} | {target:28} | {word}");
        if !met {
            self.missed.push(name.to_owned());
        }
    }

    fn at_most(&mut self, name: &str, seed: u64, delays: &Delays, p: f64) {
        let limit = limit(delays.runs, p);
        let target = format!("<= {:.0} % (at most {limit})", p * 100.0);
        self.row(name, seed, &delays.cell(), &target, delays.count() <= limit);
    }

    fn within(&mut self, name: &str, seed: u64, delays: &Delays, median: u32, p95: u32) {
        let later = |than: u32| {
            delays.runs - delays.sorted.partition_point(|second| *second <= than) as u32
        };
        let met =
            later(median) <= limit(delays.runs, 0.5) && later(p95) <= limit(delays.runs, 0.05);
        self.row(name, seed, &delays.cell(), &format!("<= {median} / {p95} s"), met);
    }

    fn finish(self, title: &str) {
        println!("{title}\n{}", self.text);
        assert!(self.missed.is_empty(), "missed: {}", self.missed.join("; "));
    }
}

fn twenty_minutes(rps: f64, truth: Truth) -> World {
    World { rps, scrape_s: 5, horizon_s: 1200, truth }
}

fn share(baseline: f64, canary: f64) -> Truth {
    Truth::Errors { baseline, canary, shared_incident: false }
}

fn five_percent(_: u32) -> f64 {
    0.05
}

/// 1, 5, 10, 25, 50 %, four minutes each.
fn staged(second: u32) -> f64 {
    [0.01, 0.05, 0.1, 0.25, 0.5][(second.saturating_sub(1) / 240).min(4) as usize]
}

#[test]
fn a_harmless_canary_is_rarely_reverted() {
    let mut table = Table::default();
    let (strict, usual) = (errors(1.0, 0.0), errors(1.25, 0.001));
    let mut seed = 100;
    for p in [0.001, 0.01] {
        for rps in [5.0, 50.0, 500.0, 5000.0] {
            seed += 1;
            let world = twenty_minutes(rps, share(p, p));
            let delays =
                Delays::of(runs(), |seed| fails_at(&strict, world, seed, five_percent), seed);
            table.at_most(
                &format!("T1 A/A {rps} rps, {} %, r = 1", p * 100.0),
                seed,
                &delays,
                0.01,
            );
        }
    }
    for rps in [50.0, 500.0, 5000.0] {
        seed += 1;
        let truth = Truth::Errors { baseline: 0.001, canary: 0.001, shared_incident: true };
        let world = twenty_minutes(rps, truth);
        let delays = Delays::of(runs(), |seed| fails_at(&strict, world, seed, staged), seed);
        let name = format!("T2 staged weights, shared x20 incident, {rps} rps, r = 1");
        table.at_most(&name, seed, &delays, 0.01);
    }
    let world = twenty_minutes(500.0, share(0.01, 0.01));
    let delays = Delays::of(runs(), |seed| fails_at(&usual, world, seed, staged), 120);
    table.at_most("A/A staged, 500 rps, 1 %, defaults", 120, &delays, 0.01);
    table.finish("false reverts");
}

#[test]
fn the_guarantee_holds_exactly_at_the_margin() {
    let mut table = Table::default();
    for (seed, p, ratio, absolute, rps) in [
        (201, 0.001, 1.25, 0.001, 5000.0),
        (202, 0.01, 1.25, 0.0, 500.0),
        (203, 0.01, 1.0, 0.0, 500.0),
    ] {
        let settings = errors(ratio, absolute);
        let world = twenty_minutes(rps, share(p, ratio * p + absolute));
        let delays =
            Delays::of(runs(), |seed| fails_at(&settings, world, seed, five_percent), seed);
        let name = format!("T3 revert at the margin, {} %, {ratio} x + {absolute}", p * 100.0);
        table.at_most(&name, seed, &delays, 0.01);
    }
    for (seed, p, rps) in [(211, 0.001, 5000.0), (212, 0.01, 500.0)] {
        // Worse than the harm budget allows at 100 % by nothing at all: a promotion is a false one.
        let settings = errors(1.25, 0.001);
        let world = twenty_minutes(rps, share(p, 1.25 * p + settings.harm));
        let promoted = |seed| {
            let mut traffic = Traffic::new(world, seed);
            let mut assessment = Assessment::new(&settings, &History::default());
            (5..=1200).step_by(5).find(|second| {
                assessment.observe(&settings, traffic.scrape(*second, 0.25));
                assessment.verdict(&settings, 1.0).allowed >= 1.0
            })
        };
        let delays = Delays::of(runs() / 2, promoted, seed);
        let name = format!("T3 false promotion at the margin, {} %", p * 100.0);
        table.at_most(&name, seed, &delays, 0.05);
    }
    table.finish("at the margin");
}

#[test]
fn regressions_are_found_as_fast_as_designed() {
    let mut table = Table::default();
    let (strict, usual) = (errors(1.0, 0.0), errors(1.25, 0.001));
    for (seed, name, settings, canary, rps, median, p95) in [
        (301, "T4 0.1 -> 1 %, 500 rps, r = 1", &strict, 0.01, 500.0, 30, 60),
        (302, "T4 0.1 -> 1 %, 500 rps, defaults", &usual, 0.01, 500.0, 45, 100),
        (303, "T5 0.1 -> 0.5 %, 500 rps, r = 1", &strict, 0.005, 500.0, 75, 180),
        (304, "T6 0.1 -> 5 %, 50 rps, r = 1", &strict, 0.05, 50.0, 30, 70),
        (305, "T6 0.1 -> 5 %, 500 rps, r = 1", &strict, 0.05, 500.0, 10, 10),
        (306, "T6 0.1 -> 5 %, 500 rps, defaults", &usual, 0.05, 500.0, 10, 15),
    ] {
        let world = twenty_minutes(rps, share(0.001, canary));
        let delays = Delays::of(runs(), |seed| fails_at(settings, world, seed, five_percent), seed);
        table.within(name, seed, &delays, median, p95);
    }
    table.finish("detection, canary 5 %, scrapes of 5 s");
}

#[test]
fn latency_is_held_to_its_tolerance() {
    let mut table = Table::default();
    let tolerant = settings(Test::Latency { stretch: 0.1, ratio: 1.1 });
    let some = (runs() / 2).max(20);
    let mut seed = 400;
    for rps in [50.0, 500.0, 5000.0] {
        for factor in [1.0, 1.05, 1.1] {
            seed += 1;
            let world = twenty_minutes(rps, Truth::Slower(factor));
            let delays =
                Delays::of(some, |seed| fails_at(&tolerant, world, seed, five_percent), seed);
            table.at_most(&format!("T8, T9 durations x {factor}, {rps} rps"), seed, &delays, 0.01);
        }
    }
    for (rps, median, p95) in [(500.0, 30, 45), (5000.0, 10, 10)] {
        seed += 1;
        let world = twenty_minutes(rps, Truth::Slower(1.5));
        let delays = Delays::of(some, |seed| fails_at(&tolerant, world, seed, five_percent), seed);
        let name = format!("T8 p99 200 -> 300 ms, {rps} rps, Prometheus buckets");
        table.within(&name, seed, &delays, median, p95);
    }
    table.finish("latency, 10 % stretch, ratio 1.1, Prometheus' default buckets");
}

/// Raises the weight as the evidence allows, from 1 % by factors of 1.5, `rungs` of them at once at most.
/// Gives the second of promotion (`Ok`) or failure (`Err`), and failed canary requests.
fn ramp(settings: &Settings, world: World, seed: u64, rungs: i32) -> Option<Result<u32, u32>> {
    let mut traffic = Traffic::new(world, seed);
    let mut assessment = Assessment::new(settings, &History::default());
    let mut rung = 0;
    let weight = |rung: i32| (0.01 * 1.5_f64.powi(rung)).min(1.0);
    for second in (1..=world.horizon_s).step_by(world.scrape_s as usize) {
        assessment.observe(settings, traffic.scrape(second, weight(rung)));
        let verdict = assessment.verdict(settings, weight(rung + 1));
        match verdict.outcome {
            Outcome::Fail => return Some(Err(second)),
            Outcome::Pass => {
                let from = rung;
                while rung - from < rungs && verdict.allowed >= weight(rung + 1) * (1.0 - 1e-9) {
                    if weight(rung + 1) >= 1.0 {
                        return Some(Ok(second));
                    }
                    rung += 1;
                }
            }
            Outcome::Undecided | Outcome::Inconclusive => {}
        }
    }
    None
}

#[test]
fn the_ramp_by_evidence_is_fast_for_good_and_short_for_bad() {
    let mut table = Table::default();
    let plain = errors(1.25, 0.0);
    let some = (runs() / 10).max(40);
    // Medians of the reference simulation (101, 11 and 2 s from 40 to 60 runs) with room for its noise and ours.
    for (seed, canary, promoted, low, high) in
        [(501, 0.001, true, 70, 145), (502, 0.05, false, 7, 16), (503, 0.3, false, 1, 4)]
    {
        let world = World { rps: 500.0, scrape_s: 1, horizon_s: 1800, truth: share(0.001, canary) };
        let ends = |seed| ramp(&plain, world, seed, 100);
        let right = Delays::of(
            some,
            |seed| ends(seed).and_then(|end| if promoted { end.ok() } else { end.err() }),
            seed,
        );
        let name = format!("T18 ramp, 500 rps, 0.1 -> {} %", canary * 100.0);
        let median = right.quantile(0.5).unwrap_or(u32::MAX);
        let all = right.count() == some;
        let cell = right.cell();
        let target = format!("all, median {low} to {high} s");
        table.row(&name, seed, &cell, &target, all && low <= median && median <= high);
    }
    let tolerant = settings(Test::Latency { stretch: 0.1, ratio: 1.1 });
    for (seed, factor, horizon_s) in [(511, 1.0, 900), (512, 1.05, 900), (513, 1.5, 900)] {
        let world = World { rps: 500.0, scrape_s: 1, horizon_s, truth: Truth::Slower(factor) };
        let promoted =
            Delays::of(20, |seed| ramp(&tolerant, world, seed, 1).and_then(Result::ok), seed);
        let name = format!("ramp, latency only, durations x {factor}");
        let cell = promoted.cell();
        if factor < 1.1 {
            table.row(&name, seed, &cell, "19 of 20 promoted in 15 min", promoted.count() >= 19);
        } else {
            table.row(&name, seed, &cell, "never promoted", promoted.count() == 0);
        }
    }
    table.finish("ramp by evidence, scrapes of 1 s: promoted or reverted, median / p95");
}
