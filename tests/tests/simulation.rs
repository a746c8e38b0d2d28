//! The promises of the design, over thousands of seeds of the simulated world.
//!
//! Each seed is played three times: without crashes, with instant crashes, which must change nothing
//! at all, and with crashes that lose answers and time, which must break no promise. A failure
//! prints the seed and what led to it; `SERIN_SIMULATION_SEEDS=100000` plays more of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rollout::Outcome;
use tests::simulator::{Crashes, Ending, Nature, Report, run};

/// Enough to meet each combination of troubles, few enough for every run of the tests.
const SEEDS: u64 = 2_000;

/// What the false-alarm probability of every simulated policy is.
const FALSE_ALARM: f64 = 0.01;

/// What the false-promotion probability of every simulated policy is.
const FALSE_PROMOTION: f64 = 0.05;

/// Failing versions that stay when both versions fail alike for a while: 7 % of these seeds, mostly
/// first versions, whose usual behaviour nobody knows yet, and incidents of less than twice the usual.
const FALSE_PROMOTION_IN_AN_INCIDENT: f64 = 0.08;

/// Counts over many seeds.
#[derive(Debug, Default)]
struct Tally {
    events: u64,
    crashes: u64,
    deployments: u64,
    good: Share,
    failing: Share,
    failing_in_an_incident: Share,
    differently_ended: u64,
}

/// How many of some deployments were judged wrongly.
#[derive(Debug, Default, Clone, Copy)]
struct Share {
    wrong: u32,
    of: u32,
}

impl Share {
    fn count(&mut self, wrong: bool) {
        self.of += 1;
        self.wrong += u32::from(wrong);
    }

    /// Whether the counts are compatible with a probability: at most four standard errors above.
    fn is_within(self, probability: f64) -> bool {
        let expected = probability * f64::from(self.of);
        f64::from(self.wrong) <= expected + 4.0 * expected.sqrt() + 1.0
    }
}

#[test]
fn every_promise_holds_over_many_seeds_and_a_crash_changes_nothing() {
    let seeds = seeds();
    let next = AtomicU64::new(0);
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(|| work(&next, seeds))).collect();
        threads.into_iter().map(|t| t.join().expect("a seed failed; see above")).collect()
    });
    let sum = tallies.into_iter().fold(Tally::default(), |sum, tally| sum.add(&tally));
    println!("{seeds} seeds: {sum:#?}");
    assert!(sum.good.is_within(FALSE_ALARM), "too many good versions were reverted: {sum:?}");
    assert!(sum.failing.is_within(FALSE_PROMOTION), "too many bad versions stayed: {sum:?}");
    assert!(
        sum.failing_in_an_incident.is_within(FALSE_PROMOTION_IN_AN_INCIDENT),
        "too many bad versions stayed because all failed alike for a while: {sum:?}"
    );
    assert!(sum.deployments > seeds, "most seeds deploy something");
}

/// Outcomes over seeds of a fixed number, so that a change of behaviour is seen and explained.
#[test]
fn every_kind_of_ending_is_met() {
    let endings: Vec<Ending> = (0..150)
        .flat_map(|seed| {
            run(seed, Crashes::None).unwrap_or_else(|violation| panic!("{violation}")).endings
        })
        .collect();
    for outcome in [
        Outcome::Adopted,
        Outcome::Promoted,
        Outcome::RolledBack,
        Outcome::Inconclusive,
        Outcome::Aborted,
        Outcome::RevertedByPerson,
        Outcome::Superseded,
    ] {
        let count = endings.iter().filter(|ending| ending.finished.outcome == outcome).count();
        assert!(count > 0, "no deployment was {}", outcome.words());
    }
}

fn work(next: &AtomicU64, seeds: u64) -> Tally {
    let mut tally = Tally::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seeds <= seed {
            return tally;
        }
        let play = |crashes| run(seed, crashes).unwrap_or_else(|violation| panic!("{violation}"));
        let (plain, instant, lossy) =
            (play(Crashes::None), play(Crashes::Instant), play(Crashes::Lossy));
        assert_eq!(plain.endings, instant.endings, "seed {seed}: crashes changed the outcome");
        tally.differently_ended += u64::from(outcomes(&plain) != outcomes(&lossy));
        for report in [&plain, &instant, &lossy] {
            tally.events += u64::from(report.events);
            tally.crashes += u64::from(report.crashes);
        }
        for report in [&plain, &lossy] {
            tally.deployments += report.endings.len() as u64;
            report.endings.iter().for_each(|ending| tally.judge(ending));
        }
    }
}

impl Tally {
    fn judge(&mut self, ending: &Ending) {
        let outcome = ending.finished.outcome;
        if outcome == Outcome::Adopted || ending.helped {
            return;
        }
        match (ending.nature, ending.incident) {
            (Nature::Good, _) => self.good.count(outcome == Outcome::RolledBack),
            (Nature::Fails, false) => self.failing.count(outcome == Outcome::Promoted),
            (Nature::Fails, true) => {
                self.failing_in_an_incident.count(outcome == Outcome::Promoted);
            }
            (Nature::Otherwise, _) => {}
        }
    }

    fn add(mut self, other: &Self) -> Self {
        self.events += other.events;
        self.crashes += other.crashes;
        self.deployments += other.deployments;
        self.differently_ended += other.differently_ended;
        let shares = [
            (&mut self.good, other.good),
            (&mut self.failing, other.failing),
            (&mut self.failing_in_an_incident, other.failing_in_an_incident),
        ];
        for (share, more) in shares {
            share.wrong += more.wrong;
            share.of += more.of;
        }
        self
    }
}

fn outcomes(report: &Report) -> Vec<Outcome> {
    report.endings.iter().map(|ending| ending.finished.outcome).collect()
}

#[expect(clippy::disallowed_methods, reason = "the number of seeds is set from outside")]
fn seeds() -> u64 {
    std::env::var("SERIN_SIMULATION_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(SEEDS)
}
