//! The rows of the table: which truths are simulated, and who watches them.
//!
//! A new scenario is one more row here; what is promised about it is a line in `targets`.

use analysis::Test;

use super::{
    durations::{Change, Shape},
    ramp::Ladder,
    serin::{Past, Setup, View},
    streams::{Errors, Incident, Truth, Weights, World},
};

/// A part of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Shares of failed requests, canary at 5 %.
    Errors,
    /// Rising weights, swinging load, shared incidents.
    Staged,
    /// The truth exactly at what is tolerated.
    Margin,
    /// A baseline that hardly ever fails.
    Rare,
    /// Durations.
    Latency,
    /// Pods that differ, and failures in bursts.
    Pods,
    /// Several metrics, and regressions that begin late.
    Late,
    /// The weight follows the evidence.
    Ramp,
}

/// One truth and its watchers.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name: chooses the seeds, and runs it alone.
    pub name: String,
    /// Its part of the table.
    pub group: Group,
    /// What is simulated.
    pub world: World,
    /// Who watches.
    pub tools: Vec<Tool>,
    /// Runs in the fast subset (0: not in it) and in the full table.
    pub runs: [u32; 2],
}

/// A watcher.
#[derive(Debug, Clone)]
pub enum Tool {
    /// Flagger with its interval in seconds.
    Flagger(u32),
    /// Argo Rollouts with its `failureLimit`.
    Argo(u32),
    /// Kayenta's judge every five minutes.
    Kayenta,
    /// A z-test looked at after every scrape.
    PeekedZ,
    /// Serin at weights that are fixed beforehand.
    Serin(Setup),
    /// Serin's ramp by evidence.
    Ramp(Setup, Ladder),
    /// How often the ramp's bound is ever below the true excess.
    Overshoot(Setup, Ladder),
}

impl Tool {
    /// Its name in the table.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Flagger(30) => "Flagger 30 s",
            Self::Flagger(_) => "Flagger 60 s",
            Self::Argo(0) => "Argo, limit 0",
            Self::Argo(_) => "Argo, limit 3",
            Self::Kayenta => "Kayenta",
            Self::PeekedZ => "z peeked",
            Self::Serin(setup) | Self::Ramp(setup, _) | Self::Overshoot(setup, _) => setup.label,
        }
    }
}

/// Serin with ratio 1 and nothing else tolerated.
pub(super) const STRICT: &str = "Serin r = 1";
/// Serin as it comes: 1.25 x + 0.1 %, durations 10 % and 1.1 x.
pub(super) const DEFAULTS: &str = "Serin defaults";
/// Serin with a ratio of 1.25 and nothing more.
pub(super) const RATIO: &str = "Serin 1.25 x";
/// Full weight allowed up to twice the baseline.
pub(super) const TWICE: &str = "Serin 2 x";
/// Full weight allowed up to twice the baseline and 0.1 %.
pub(super) const TWICE_AND: &str = "Serin 2 x + 0.1 %";
/// The tolerance of the row.
pub(super) const AT_MARGIN: &str = "Serin at the margin";
/// One bucket of schema 3 and 1.1 x.
pub(super) const BUCKET: &str = "Serin 9 %, 1.1 x";
/// Serin that knows earlier rollouts and, with pods, sees each of them.
pub(super) const KNOWING: &str = "Serin with history";
/// Serin that sees each pod in the first rollout that it knows of.
pub(super) const FIRST: &str = "Serin, first rollout";
/// The ladder of the specification's simulation.
pub(super) const FINE_LADDER: &str = "x 1.5, several rungs";
/// The ladder of the product.
pub(super) const LADDER: &str = "x 2, one rung";
/// Bound of the ramp below the truth.
pub(super) const BOUND: &str = "bound below the truth";

/// Full weight without any excess: the smallest harm that is one.
const NO_HARM: f64 = 1e-9;

const LADDER_OF_REFERENCE: Ladder = Ladder { factor: 1.5, at_once: 100 };
const LADDER_OF_PRODUCT: Ladder = Ladder { factor: 2.0, at_once: 1 };

/// Requests per second of most rows.
const RATES: [f64; 4] = [5.0, 50.0, 500.0, 5000.0];

/// All rows.
pub fn rows() -> Vec<Row> {
    [errors(), staged(), margin(), rare(), latency(), pods(), late(), ramp()].concat()
}

fn same(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-12
}

fn percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn setup(label: &'static str, ratio: f64, absolute: f64, harm: f64) -> Setup {
    Setup {
        label,
        test: Test::Errors { ratio, absolute },
        harm,
        view: View::Classic,
        promotes: false,
        past: Past::None,
    }
}

fn strict() -> Setup {
    setup(STRICT, 1.0, 0.0, 0.001)
}

fn defaults() -> Setup {
    Setup { promotes: true, ..setup(DEFAULTS, 1.25, 0.001, 0.001) }
}

fn share(baseline: f64, canary: f64) -> Errors {
    Errors {
        baseline,
        canary,
        from: 0,
        metrics: 1,
        incident: Incident::None,
        bursts: false,
        pods: None,
    }
}

fn twenty_minutes(rps: f64, weights: Weights, truth: Truth) -> World {
    World { rps, scrape: 5, horizon: 1200, swing: 0.0, weights, truth }
}

fn five_percent(rps: f64, errors: Errors) -> World {
    twenty_minutes(rps, Weights::Constant(0.05), Truth::Errors(errors))
}

fn peers() -> Vec<Tool> {
    vec![
        Tool::Flagger(60),
        Tool::Flagger(30),
        Tool::Argo(0),
        Tool::Argo(3),
        Tool::Kayenta,
        Tool::PeekedZ,
    ]
}

fn against_peers(setups: impl IntoIterator<Item = Setup>) -> Vec<Tool> {
    peers().into_iter().chain(setups.into_iter().map(Tool::Serin)).collect()
}

fn errors() -> Vec<Row> {
    let mut rows = Vec::new();
    for (baseline, canary) in
        [(0.001, 0.001), (0.01, 0.01), (0.001, 0.005), (0.001, 0.01), (0.001, 0.05), (0.01, 0.012)]
    {
        for rps in RATES {
            let healthy = same(baseline, canary);
            let within = same(canary, 0.012);
            let mut setups = vec![strict(), defaults()];
            if within {
                setups.push(setup(RATIO, 1.25, 0.0, 0.001));
            }
            let slow_to_promote = healthy && same(rps * baseline, 5.0);
            if within || slow_to_promote {
                setups.push(Setup { promotes: true, ..setup(TWICE, 2.0, 0.0, NO_HARM) });
            }
            let name = if healthy {
                format!("A/A {}, {rps} rps", percent(baseline))
            } else {
                format!("{} -> {}, {rps} rps", percent(baseline), percent(canary))
            };
            let fast = match (canary, rps) {
                _ if healthy => 500,
                (0.012, 5000.0) | (0.05, 50.0 | 500.0) | (0.005 | 0.01, 500.0) => 600,
                _ => 0,
            };
            let world = five_percent(rps, share(baseline, canary));
            let tools = against_peers(setups);
            rows.push(Row { name, group: Group::Errors, world, tools, runs: [fast, 2000] });
        }
    }
    // What the interval of the scrapes costs.
    let world = World { scrape: 1, horizon: 600, ..five_percent(500.0, share(0.001, 0.01)) };
    rows.push(Row {
        name: "0.1 % -> 1 %, 500 rps, scrapes of 1 s".to_owned(),
        group: Group::Errors,
        world,
        tools: against_peers([strict(), defaults()]),
        runs: [0, 2000],
    });
    rows
}

fn staged() -> Vec<Row> {
    let mut rows = Vec::new();
    for rps in [50.0, 500.0, 5000.0] {
        for (what, canary, incident, fast) in [
            ("staged A/A, calm", 0.001, Incident::None, 0),
            ("staged A/A, incident late", 0.001, Incident::From(900), 0),
            ("staged A/A, incident early", 0.001, Incident::From(0), 0),
            ("staged A/A, incident anywhere", 0.001, Incident::Anywhere, 400),
            ("staged 0.1 % -> 1 %", 0.01, Incident::None, 0),
            ("staged 0.1 % -> 0.2 %", 0.002, Incident::None, 0),
        ] {
            let truth = Truth::Errors(Errors { incident, ..share(0.001, canary) });
            let world = World { swing: 0.3, ..twenty_minutes(rps, Weights::Staged, truth) };
            rows.push(Row {
                name: format!("{what}, {rps} rps"),
                group: Group::Staged,
                world,
                tools: against_peers([strict(), Setup { promotes: false, ..defaults() }]),
                runs: [fast, 2000],
            });
        }
    }
    rows
}

fn margin() -> Vec<Row> {
    [
        (0.001, 1.25, 0.0, 5000.0, 1200, 0),
        (0.01, 1.25, 0.0, 500.0, 1200, 400),
        (0.2, 1.25, 0.0, 500.0, 1200, 0),
        (0.01, 1.0, 0.0, 500.0, 10_000, 0),
        (0.3, 1.0, 0.0, 500.0, 1200, 0),
        (0.0002, 1.25, 0.001, 500.0, 1200, 0),
        (0.001, 1.25, 0.001, 5000.0, 1200, 400),
    ]
    .into_iter()
    .map(|(baseline, ratio, absolute, rps, horizon, fast)| {
        let canary = ratio * baseline + absolute;
        let world = World { horizon, ..five_percent(rps, share(baseline, canary)) };
        let setup = setup(AT_MARGIN, ratio, absolute, f64::max(absolute, NO_HARM));
        let plus = if absolute > 0.0 { format!(" + {}", percent(absolute)) } else { String::new() };
        Row {
            name: format!("margin {ratio} x{plus}, {}, {rps} rps", percent(baseline)),
            group: Group::Margin,
            world,
            tools: vec![Tool::Serin(Setup { promotes: true, ..setup })],
            runs: [fast, if horizon > 1200 { 500 } else { 2000 }],
        }
    })
    .collect()
}

fn rare() -> Vec<Row> {
    [(0.000_02, 500), (0.0002, 400), (0.005, 500), (0.01, 0)]
        .into_iter()
        .map(|(canary, fast)| {
            let twice = Setup { promotes: true, ..setup(TWICE_AND, 2.0, 0.001, 0.001) };
            Row {
                name: format!("0.002 % -> {}, 5000 rps", percent(canary)),
                group: Group::Rare,
                world: five_percent(5000.0, share(0.000_02, canary)),
                tools: against_peers([strict(), defaults(), twice]),
                runs: [fast, 2000],
            }
        })
        .collect()
}

/// Latency with one healthy rollout before, which chooses the thresholds.
fn timed(label: &'static str, stretch: f64, ratio: f64, view: View) -> Setup {
    Setup {
        label,
        test: Test::Latency { stretch, ratio },
        harm: 0.001,
        view,
        promotes: false,
        past: Past::Shared,
    }
}

fn latency() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, shape, change) in [
        ("A/A log-normal", Shape::LogNormal, Change::Stretch(1.0)),
        ("A/A Lomax", Shape::Lomax, Change::Stretch(1.0)),
        ("log-normal x 1.5", Shape::LogNormal, Change::Stretch(1.5)),
        ("slowest 2 % x 1.5", Shape::LogNormal, Change::Tail),
        ("Lomax x 1.5", Shape::Lomax, Change::Stretch(1.5)),
        ("log-normal x 1.1", Shape::LogNormal, Change::Stretch(1.1)),
    ] {
        for rps in RATES {
            let fast = match (what, rps) {
                ("log-normal x 1.1" | "A/A log-normal", _) => 100,
                ("A/A Lomax", _) => 0,
                (_, 500.0) => 300,
                _ => 0,
            };
            rows.push(Row {
                name: format!("latency {what}, {rps} rps"),
                group: Group::Latency,
                world: twenty_minutes(rps, Weights::Constant(0.05), Truth::Latency(shape, change)),
                tools: against_peers([
                    timed(STRICT, 0.0, 1.0, View::Native),
                    timed(BUCKET, 0.09, 1.1, View::Native),
                    timed(DEFAULTS, 0.1, 1.1, View::Classic),
                ]),
                runs: [fast, 1000],
            });
        }
    }
    rows
}

fn pods() -> Vec<Row> {
    let mut rows = Vec::new();
    for cv in [0.0, 0.3, 0.6] {
        for ratio in [1.0, 3.0, 6.0] {
            let truth = Truth::Errors(Errors { pods: Some(cv), ..share(0.005, 0.005 * ratio) });
            let pooled = setup(RATIO, 1.25, 0.0, 0.001);
            let first = Setup { label: FIRST, view: View::Pods, ..pooled.clone() };
            let knowing = Setup { label: KNOWING, past: Past::Own(2), ..first.clone() };
            let fast = if cv > 0.5 && !same(ratio, 3.0) { 300 } else { 0 };
            rows.push(Row {
                name: format!("pods cv {cv}, ratio {ratio}"),
                group: Group::Pods,
                world: twenty_minutes(1000.0, Weights::Constant(0.1), truth),
                tools: against_peers([strict(), pooled, first, knowing]),
                runs: [fast, 1000],
            });
        }
    }
    // From 99 of stable's own sets of pods on, three a rollout, the threshold is calibrated on them.
    for ratio in [1.0, 6.0] {
        let truth = Truth::Errors(Errors { pods: Some(0.6), ..share(0.005, 0.005 * ratio) });
        let ratio_only = setup(KNOWING, 1.25, 0.0, 0.001);
        let seasoned = Setup { view: View::Pods, past: Past::Own(35), ..ratio_only };
        rows.push(Row {
            name: format!("pods cv 0.6, ratio {ratio}, 35 rollouts before"),
            group: Group::Pods,
            world: twenty_minutes(1000.0, Weights::Constant(0.1), truth),
            tools: vec![Tool::Serin(seasoned)],
            runs: [0, 300],
        });
    }
    for ratio in [1.0, 3.0] {
        let errors = Errors { bursts: true, ..share(0.002, 0.002 * ratio) };
        let knowing = Setup { label: KNOWING, past: Past::Own(1), ..strict() };
        rows.push(Row {
            name: format!("bursts of 3, ratio {ratio}"),
            group: Group::Pods,
            world: five_percent(500.0, errors),
            tools: against_peers([strict(), setup(RATIO, 1.25, 0.0, 0.001), knowing]),
            runs: [if ratio > 1.0 { 0 } else { 400 }, 2000],
        });
    }
    rows
}

fn late() -> Vec<Row> {
    let alone = || vec![Tool::Serin(strict())];
    [
        ("six metrics, A/A", Errors { metrics: 6, ..share(0.001, 0.001) }, 300, alone()),
        ("six metrics, one x 3", Errors { metrics: 6, ..share(0.001, 0.003) }, 300, alone()),
        ("one metric, x 3", share(0.001, 0.003), 300, alone()),
        ("from 600 s, 0.1 % -> 1 %", Errors { from: 600, ..share(0.001, 0.01) }, 0, Vec::new()),
        ("from 600 s, 0.1 % -> 0.4 %", Errors { from: 600, ..share(0.001, 0.004) }, 0, Vec::new()),
    ]
    .into_iter()
    .map(|(name, errors, fast, tools)| Row {
        name: format!("{name}, 500 rps"),
        group: Group::Late,
        world: five_percent(500.0, errors),
        tools: if tools.is_empty() {
            against_peers([strict(), Setup { promotes: false, ..defaults() }])
        } else {
            tools
        },
        runs: [fast, 2000],
    })
    .collect()
}

fn ramp() -> Vec<Row> {
    let world = |rps: f64, horizon: u32, truth: Truth| World {
        rps,
        scrape: 1,
        horizon,
        swing: 0.0,
        weights: Weights::ByEvidence,
        truth,
    };
    let mut rows = Vec::new();
    for (rps, baseline, canary, horizon, fast) in [
        (50.0, 0.001, 0.001, 3600, 0),
        (50.0, 0.000_02, 0.000_02, 3600, 0),
        (50.0, 0.001, 0.05, 3600, 0),
        (50.0, 0.001, 0.3, 600, 0),
        (500.0, 0.001, 0.001, 1800, 150),
        (500.0, 0.01, 0.01, 1800, 0),
        (500.0, 0.001, 0.01, 1800, 0),
        (500.0, 0.001, 0.05, 600, 200),
        (500.0, 0.001, 0.3, 600, 200),
        (500.0, 0.01, 0.03, 1800, 0),
        (5000.0, 0.001, 0.001, 600, 150),
        (5000.0, 0.001, 0.01, 600, 0),
    ] {
        let tested = setup(FINE_LADDER, 1.25, 0.0, 0.001);
        let product = setup(LADDER, 1.25, 0.001, 0.001);
        rows.push(Row {
            name: format!("ramp {} -> {}, {rps} rps", percent(baseline), percent(canary)),
            group: Group::Ramp,
            world: world(rps, horizon, Truth::Errors(share(baseline, canary))),
            tools: vec![
                Tool::Ramp(tested, LADDER_OF_REFERENCE),
                Tool::Ramp(product, LADDER_OF_PRODUCT),
            ],
            runs: [fast, 400],
        });
    }
    for (factor, rps) in [(1.0, 500.0), (1.05, 500.0), (1.5, 500.0)] {
        rows.push(Row {
            name: format!("ramp, latency x {factor}, {rps} rps"),
            group: Group::Ramp,
            world: world(rps, 1800, Truth::Latency(Shape::LogNormal, Change::Stretch(factor))),
            tools: vec![Tool::Ramp(timed(LADDER, 0.1, 1.1, View::Classic), LADDER_OF_PRODUCT)],
            runs: [0, 60],
        });
    }
    // Nothing is ever too bad here, so that only the bound of the ramp is seen.
    let blind = setup(BOUND, 1.25, 0.5, 0.001);
    let errors = share(0.001, 0.005);
    rows.push(Row {
        name: "ramp, bound below the truth, 500 rps".to_owned(),
        group: Group::Ramp,
        world: world(500.0, 1200, Truth::Errors(errors)),
        tools: vec![Tool::Overshoot(blind, LADDER_OF_PRODUCT)],
        runs: [200, 2000],
    });
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_somebody_who_watches() {
        let rows = rows();
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names.len(), rows.len());
        assert!(rows.iter().all(|row| !row.tools.is_empty()));
        assert!(names.contains("0.1 % -> 0.5 %, 500 rps"), "{names:?}");
    }
}
