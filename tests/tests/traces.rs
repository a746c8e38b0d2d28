//! How often the comparison of traces names what was planted, and how often it names something where nothing was.
//!
//! `cargo test -p tests --test traces` plays a fast subset; `SERIN_TRACES_SEEDS=500` plays that many seeds of each
//! plant. Add `-- --nocapture` for the table. Seeds are fixed, so that it never fails by chance.

#![expect(clippy::print_stdout, reason = "a test that prints its figures")]

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use analysis_traces::{
    EntrySubtree, Kind, Refused, Resource, RootCause, Settings, Span, SpanId, Status, Trace,
    TraceId, Value, compare, entries, traces,
};
use tests::traces::{Answer, Plant, Population, Sizes, answer, diff, population};

/// Enough to see a broken part, few enough for every run of the tests.
const SEEDS: u64 = 30;

/// The sizes of the goal.
const SIZES: Sizes = Sizes { baseline: 1_200, canary: 400 };

/// Right first answers that are wanted, and wrong ones that are allowed.
const TOP_1: f64 = 0.9;
const FALSE_BLAME: f64 = 0.1;

fn subtrees(traces: Vec<Trace>) -> Vec<EntrySubtree> {
    let mut refused = Refused::default();
    let found: Vec<EntrySubtree> = traces
        .into_iter()
        .flat_map(|trace| entries(trace, Some("checkout"), &mut refused))
        .collect();
    assert_eq!(refused.subtrees(), 0, "{refused:?}");
    found
}

fn root_cause(plant: Plant, sizes: Sizes, seed: u64) -> RootCause {
    let Population { baseline, canary } = population(plant, sizes, seed);
    compare(&subtrees(baseline), &subtrees(canary), &Settings::default(), Some(&diff(plant)))
}

#[derive(Debug, Default)]
struct Score {
    runs: f64,
    first: f64,
    third: f64,
    named: f64,
    commits: f64,
    right_commits: f64,
}

impl Score {
    fn add(&mut self, answer: Answer) {
        let one = |yes: bool| f64::from(u8::from(yes));
        self.runs += 1.0;
        self.first += one(answer.first);
        self.third += one(answer.third);
        self.named += one(answer.named);
        self.commits += one(answer.commit.is_some());
        self.right_commits += one(answer.commit == Some(true));
    }
}

#[expect(clippy::disallowed_methods, reason = "how much is played is a setting of this test")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn play(plant: Plant, seeds: u64) -> Score {
    let workers = 2;
    let answers = thread::scope(|scope| {
        let played: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let seeds = (0..seeds).filter(|seed| seed % workers == worker);
                    seeds
                        .map(|seed| {
                            let found = root_cause(plant, SIZES, 1_000 + seed);
                            let answer = answer(plant, &found);
                            if setting("SERIN_TRACES_SHOW")
                                .is_some_and(|show| show == "all" || !answer.first)
                            {
                                println!("{plant:?} {seed}: {}\n{}", found.paragraph, found.table);
                            }
                            answer
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        played.into_iter().flat_map(|it| it.join().expect("no run panics")).collect::<Vec<_>>()
    });
    let mut score = Score::default();
    for answer in answers {
        score.add(answer);
    }
    score
}

#[test]
fn planted_causes_are_named_and_nothing_else() {
    let seeds = setting("SERIN_TRACES_SEEDS").and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let only = setting("SERIN_TRACES_PLANT");
    println!(
        "{:18} {:>5} {:>7} {:>7} {:>7} {:>7}",
        "plant", "runs", "top 1", "top 3", "named", "commit"
    );
    let mut wrong = Vec::new();
    for plant in Plant::ALL {
        let name = format!("{plant:?}");
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let score = play(plant, seeds);
        let percent = |part: f64, of: f64| {
            if of > 0.0 { format!("{:.1} %", 100.0 * part / of) } else { "-".to_owned() }
        };
        println!(
            "{name:18} {:>5} {:>7} {:>7} {:>7} {:>7}",
            score.runs,
            percent(score.first, score.runs),
            percent(score.third, score.runs),
            percent(score.named, score.runs),
            percent(score.right_commits, score.commits),
        );
        // Three standard errors for chance: few seeds cannot tell 89 % from 90 %.
        let slack = 3.0 * (TOP_1 * (1.0 - TOP_1) / score.runs).sqrt();
        if plant.is_harmless() && score.named / score.runs > FALSE_BLAME + slack {
            wrong.push(format!("{name} names something in {}", percent(score.named, score.runs)));
        }
        if !plant.is_harmless() && score.first / score.runs < TOP_1 - slack {
            wrong.push(format!(
                "{name} is named first in {} only",
                percent(score.first, score.runs)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_report_says_what_a_colleague_would_say() {
    let found = root_cause(Plant::NPlusOne, SIZES, 1_000);
    insta::assert_snapshot!(found.paragraph, @"checkout: +31.6 ms mean per request (95 % interval +28.3 ms to +34.9 ms), p95 +51.1 ms, p99 +42.8 ms, in 400 canary and 1200 baseline traces. `SELECT prices`: 1.00 -> 12.7 calls by each caller, one after the other (N+1), +31.5 ms per request (100 % of the change); 78 % of the damage is where `cart.items >= 15`; called from `CartRepo.load` at `checkout::cart::load` (src/cart/repo.rs:88); suspect commit 2 of 4: 4f2c4f2 Load carts in another way (src/cart/repo.rs changed, 100 % of the evidence, confidence high). Not explained: +96.2 us. Traces: 00000000863ae030fce6fde700000486 (baseline), 00000000d0cd5acf0d76f2780000008d (canary).");
    insta::assert_snapshot!(found.table, @r"
    operation                          calls                each    change  by calls   by time       p
    checkout SELECT prices      1.00 -> 12.7  14.6 ms -> 3.62 ms  +31.5 ms   +107 ms  -75.4 ms  < 1e-9
    checkout render             1.00 -> 1.00  11.9 ms -> 12.2 ms   +341 us      0 ms   +341 us   0.428
    payments POST /charge       0.26 -> 0.25  18.0 ms -> 17.0 ms   -335 us  -73.8 us   -262 us   0.414
    checkout SELECT cart_items  0.19 -> 0.21  16.6 ms -> 16.9 ms   +290 us   +226 us  +63.7 us   0.717
    checkout pay                0.25 -> 0.25    639 us -> 200 us   -111 us      0 ms   -111 us   0.025
    checkout GET cart           1.00 -> 1.00  1.23 ms -> 1.17 ms  -64.7 us      0 ms  -64.7 us   0.109
    checkout GET /cart          0.44 -> 0.44  1.22 ms -> 1.12 ms  -40.4 us      0 ms  -40.4 us   0.157
    checkout CartRepo.load      1.00 -> 1.00  1.20 ms -> 1.23 ms  +33.1 us      0 ms  +33.1 us   0.484
    auth Auth/Check             1.00 -> 1.00  14.5 ms -> 14.5 ms  -27.7 us      0 ms  -27.7 us   0.965
    checkout GET /cart/{id}     0.31 -> 0.31  1.21 ms -> 1.26 ms  +14.7 us      0 ms  +14.7 us   0.665
    checkout POST /charge       0.26 -> 0.25  1.00 ms -> 1.00 ms  -4.21 us  -4.21 us      0 ms   0.025
    checkout POST /checkout     0.25 -> 0.25  1.23 ms -> 1.23 ms  +0.25 us      0 ms  +0.25 us   0.937
    all others                                                        0 ms
    request                                                       +31.6 ms
    ");
}

/// A trace of so many spans, one of which is slower by so many nanoseconds.
fn wide(number: u128, spans: u64, slow: u64) -> Vec<Span> {
    let resource = |service: &str| {
        let attributes = [("service.version", "1".into()), ("service.instance.id", "p-1".into())];
        Arc::new(Resource { service: service.into(), attributes: attributes.into_iter().collect() })
    };
    let (checkout, store) = (resource("checkout"), resource("store"));
    let length = 1_000_000_000;
    let each = length / (spans + 1);
    (0..spans)
        .map(|at| {
            let is_entry = at == 0;
            // Groups of eight: the first one calls the others, one after the other.
            let leader = 1 + at.saturating_sub(1) / 8 * 8;
            let parent = if is_entry {
                u64::MAX
            } else if at == leader {
                1
            } else {
                1 + leader
            };
            let last = if at == leader { at + 8 } else { at + 1 };
            let (from, to) = (at * each, last.min(spans) * each);
            let jitter = u64::try_from(number % 97).unwrap_or(0) * 1_000;
            let table = format!("table_{}", at % 25);
            let attributes = [
                ("db.system.name", "postgresql".into()),
                ("db.operation.name", "SELECT".into()),
                ("db.collection.name", table.as_str().into()),
                ("tenant", format!("tenant-{}", number % 9).as_str().into()),
                ("code.file.path", "src/repo.rs".into()),
                ("code.line.number", Value::Integer(7)),
            ];
            Span {
                trace: TraceId(number),
                id: SpanId(1 + at),
                parent: Some(SpanId(parent)),
                resource: if at % 3 == 1 { store.clone() } else { checkout.clone() },
                kind: if is_entry { Kind::Server } else { Kind::Internal },
                name: if is_entry { "GET /".into() } else { "query".into() },
                start: if is_entry { 0 } else { from },
                end: if is_entry { length + jitter } else { to + if at == 9 { slow } else { 0 } },
                status: Status::Unset,
                message: None,
                attributes: attributes.into_iter().collect(),
                exceptions: Vec::new(),
                weight: 1.0,
            }
        })
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "this test measures time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_comparison_takes_well_under_a_second() {
    for (traces_each, spans) in [(1_000_u32, 50_u64), (800, 100)] {
        let arm = |first: u32, slow: u64| {
            let spans =
                (first..first + traces_each).flat_map(|it| wide(u128::from(it), spans, slow));
            subtrees(traces(spans.collect()))
        };
        let (baseline, canary) = (arm(0, 0), arm(1_000_000, 5_000_000));
        assert_eq!(baseline.len(), usize::try_from(traces_each).expect("few"));
        let started = now();
        let found = compare(&baseline, &canary, &Settings::default(), None);
        let took = started.elapsed();
        println!("{} traces of {spans} spans compared in {took:?}", 2 * traces_each);
        assert!(!found.operations.is_empty());
        // Ten times what it takes on one core of a small machine, as others use it meanwhile.
        assert!(took.as_secs_f64() < 3.0, "{took:?}");
    }
}
