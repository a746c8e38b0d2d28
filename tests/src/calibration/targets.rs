//! The targets T1 to T18 of the statistics, each with its figure.
//!
//! A figure meets a target or does not. A test fails only where the figure contradicts the target: an engine that
//! meets it exactly would show such a figure with probability below 1 in 10,000.

use super::{
    Ends, Results, binomial, replay,
    rows::{
        AT_MARGIN, BOUND, BUCKET, DEFAULTS, FINE_LADDER, KNOWING, RATIO, STRICT, TWICE, TWICE_AND,
    },
    table::{share, thousands},
};

/// Below this probability a figure contradicts a target.
const CONTRADICTS: f64 = 1e-4;

/// Above the target, but well within chance of it (29 of 2,000 at 1 %).
const CHANCE: f64 = 0.025;

/// Whether a target is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Yes.
    Met,
    /// Not quite, but well within chance of it.
    Near,
    /// No, as far as the figure goes.
    Missed,
    /// No, beyond chance.
    Refuted,
    /// Its rows did not run, or another command measures it.
    Unmeasured,
}

/// One target.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its number.
    pub id: &'static str,
    /// What was measured.
    pub figure: String,
    /// What is wanted.
    pub wanted: String,
    /// Whether that is so.
    pub state: State,
}

/// All targets.
pub fn lines(results: &Results) -> Vec<Line> {
    let at = |id, wanted: &str| Judge::new(results, id, wanted);
    let rates = [5, 50, 500, 5000];
    let aa = ["0.1 %", "1 %"]
        .iter()
        .flat_map(|share| rates.map(|rps| format!("A/A {share}, {rps} rps")))
        .collect::<Vec<_>>();
    let both = [STRICT, DEFAULTS];
    let staged = ["calm", "incident late", "incident early", "incident anywhere"]
        .iter()
        .flat_map(|what| [50, 500, 5000].map(|rps| format!("staged A/A, {what}, {rps} rps")))
        .collect::<Vec<_>>();
    let margins = results
        .0
        .iter()
        .filter(|at| at.cells.iter().any(|cell| cell.tool == AT_MARGIN))
        .map(|at| at.row.name.clone())
        .collect::<Vec<_>>();
    let nine = rates.map(|rps| format!("latency log-normal x 1.1, {rps} rps"));
    vec![
        at("T1", "harmless, every look: at most 1 %").rarely(&aa, &both, 0.01).line(),
        at("T2", "rising weights, incident of both arms: at most 1 %")
            .rarely(&staged, &both, 0.01)
            .line(),
        at("T3", "at the margin: rolled back at most 1 %, promoted at most 5 %")
            .rarely(&margins, &[AT_MARGIN], 0.01)
            .rarely_promoted(&margins, AT_MARGIN, 0.05)
            .line(),
        at("T4", "0.1 to 1 %, 500 requests/s: 30 / 60 s and 99.9 %; defaults 45 / 100 s")
            .within("0.1 % -> 1 %, 500 rps", STRICT, 30, Some(60))
            .mostly("0.1 % -> 1 %, 500 rps", STRICT, 0.999)
            .within("0.1 % -> 1 %, 500 rps", DEFAULTS, 45, Some(100))
            .line(),
        at("T5", "0.1 to 0.5 %: 75 / 180 s")
            .within("0.1 % -> 0.5 %, 500 rps", STRICT, 75, Some(180))
            .line(),
        at("T6", "0.1 to 5 %, 50 and 500 requests/s: 30 and 10 s; Flagger 12 and 36 times later, 14 times the requests")
            .within("0.1 % -> 5 %, 50 rps", STRICT, 30, None)
            .within("0.1 % -> 5 %, 500 rps", STRICT, 10, None)
            .sooner_than("0.1 % -> 5 %, 50 rps", "Flagger 60 s", 12.0, 14.0)
            .sooner_than("0.1 % -> 5 %, 500 rps", "Flagger 60 s", 36.0, 14.0)
            .line(),
        at("T7", "1 to 1.2 %, 5,000 requests/s: 150 / 300 s; 1.25 x at most 1 %, promoted at 2 x in 30 s (p95)")
            .within("1 % -> 1.2 %, 5000 rps", STRICT, 150, Some(300))
            .rarely(&["1 % -> 1.2 %, 5000 rps".to_owned()], &[RATIO], 0.01)
            .promoted("1 % -> 1.2 %, 5000 rps", TWICE, None, 30)
            .line(),
        at("T8", "p99 200 to 300 ms, 500 requests/s: 30 s tolerant, 15 s strict, slowest only 100 s, Lomax 60 s")
            .within("latency log-normal x 1.5, 500 rps", BUCKET, 30, None)
            .within("latency log-normal x 1.5, 500 rps", STRICT, 15, None)
            .within("latency slowest 2 % x 1.5, 500 rps", BUCKET, 100, None)
            .within("latency Lomax x 1.5, 500 rps", BUCKET, 60, None)
            .line(),
        at("T9", "x 1.1 within 9 % and 1.1 x: at most 1 %").rarely(&nine, &[BUCKET], 0.01).line(),
        at("T10", "0.002 %, 5,000 requests/s: promoted in 45 s (p95); 0.02 % at most 1 %; 0.5 % in 30 s (p95)")
            .promoted("0.002 % -> 0.002 %, 5000 rps", TWICE_AND, None, 45)
            .rarely(&["0.002 % -> 0.02 %, 5000 rps".to_owned()], &[DEFAULTS], 0.01)
            .by_then("0.002 % -> 0.5 %, 5000 rps", DEFAULTS, 30)
            .line(),
        at("T10b", "healthy, 2 x: promoted in 60 / 150 s")
            .promoted("A/A 0.1 %, 5000 rps", TWICE, Some(60), 150)
            .promoted("A/A 1 %, 500 rps", TWICE, Some(60), 150)
            .line(),
        at("T11", "six metrics: at most 1 %, one x 3 at most 1.5 times as late as alone")
            .rarely(&["six metrics, A/A, 500 rps".to_owned()], &[STRICT], 0.01)
            .not_much_later("six metrics, one x 3, 500 rps", "one metric, x 3, 500 rps", 1.5)
            .line(),
        at("T12", "pods differ by 60 %: at most 1 %; ratio 6 found in 95 %")
            .rarely(&["pods cv 0.6, ratio 1".to_owned()], &[KNOWING], 0.01)
            .mostly("pods cv 0.6, ratio 6", KNOWING, 0.95)
            .line(),
        at("T13", "bursts of failures: at most 1 %")
            .rarely(&["bursts of 3, ratio 1".to_owned()], &[KNOWING], 0.01)
            .line(),
        golden(),
        at("T15", "state of an errors check at most 1.5 KB (times: `cargo bench -p tests --bench evidence`)")
            .fact(format!("{:.2} KB", replay::state_bytes() as f64 / 1000.0), replay::state_bytes() <= 1500)
            .line(),
        replayed(),
        at("T16b", "late scrapes: the same evidence to 1e-9")
            .fact(format!("differs by {:.0e}", replay::late_scrapes()), replay::late_scrapes() <= 1e-9)
            .line(),
        unsettled(),
        ramp(results),
        at("T18b", "bound of the ramp ever below the true excess: at most 5 %")
            .rarely_promoted(&["ramp, bound below the truth, 500 rps".to_owned()], BOUND, 0.05)
            .line(),
        near_the_limit(results),
    ]
}

/// A figure above its target that chance alone does not explain, and that contradicts nothing.
const UNLIKELY: f64 = CHANCE / 2.0;

/// Medians of the specification's ramp, seconds; whether it is promoted.
const RAMP: [(&str, u32, bool); 12] = [
    ("ramp 0.1 % -> 0.1 %, 50 rps", 999, true),
    ("ramp 0.002 % -> 0.002 %, 50 rps", 598, true),
    ("ramp 0.1 % -> 5 %, 50 rps", 128, false),
    ("ramp 0.1 % -> 30 %, 50 rps", 17, false),
    ("ramp 0.1 % -> 0.1 %, 500 rps", 101, true),
    ("ramp 1 % -> 1 %, 500 rps", 127, true),
    ("ramp 0.1 % -> 1 %, 500 rps", 71, false),
    ("ramp 0.1 % -> 5 %, 500 rps", 11, false),
    ("ramp 0.1 % -> 30 %, 500 rps", 2, false),
    ("ramp 1 % -> 3 %, 500 rps", 86, false),
    ("ramp 0.1 % -> 0.1 %, 5000 rps", 15, true),
    ("ramp 0.1 % -> 1 %, 5000 rps", 8, false),
];

/// A median may be this much longer: the reference itself comes from 40 to 60 runs.
const RAMP_ROOM: f64 = 1.15;

/// One that is longer than this contradicts it.
const RAMP_MOST: f64 = 1.5;

fn ramp(results: &Results) -> Line {
    let mut judge = Judge::new(
        results,
        "T18",
        "ramp by evidence: medians at most 15 % above the specification's",
    );
    let mut worst: (f64, &str) = (0.0, "");
    let (mut rows, mut near) = (0, 0);
    for (row, median, promoted) in RAMP {
        let Some(cell) = results.cell(row, FINE_LADDER) else { continue };
        let Some(ends) = (if promoted { cell.promotes.as_ref() } else { Some(&cell.reverts) })
        else {
            continue;
        };
        rows += 1;
        let ours = ends.second(0.5).map_or(f64::INFINITY, f64::from);
        // A second is one scrape, the finest that can be told apart.
        let room = (f64::from(median) * RAMP_ROOM).max(f64::from(median) + 1.0);
        near += u32::from(ours <= room);
        let most = (f64::from(median) * RAMP_MOST).max(f64::from(median) + 2.0) as u32;
        let chance = binomial::at_least(ends.later_than(most), ends.runs(), 0.5);
        judge.take(ours <= room, chance.min(UNLIKELY));
        let apart = ours / f64::from(median);
        if apart > worst.0 {
            worst = (apart, row);
        }
    }
    if rows == 0 {
        return judge.line();
    }
    judge.figures.push(format!("{near} of {rows}; {:.2} times in \"{}\"", worst.0, worst.1));
    judge.line()
}

/// The goal about Wald's bound, from 0.1 to 1 % upward.
fn near_the_limit(results: &Results) -> Line {
    let wanted =
        "0.1 to 1 % and upward: median at most 1.5 times Wald's bound with the wait for a scrape";
    let mut judge = Judge::new(results, "limit", wanted);
    let rows = [50, 500, 5000]
        .iter()
        .flat_map(|rps| ["1 %", "5 %"].map(|canary| format!("0.1 % -> {canary}, {rps} rps")))
        .chain(["0.1 % -> 1 %, 500 rps, scrapes of 1 s".to_owned()]);
    let mut all = Vec::new();
    for row in rows {
        for tool in [STRICT, DEFAULTS] {
            let Some(cell) = results.cell(&row, tool) else { continue };
            let Some(limit) = cell.limit else { continue };
            let median = cell.reverts.second(0.5).map_or(f64::INFINITY, f64::from);
            let apart = median / limit.awaited();
            judge.take(apart <= 1.5, UNLIKELY);
            all.push((apart, format!("{row}, {tool}")));
        }
    }
    all.sort_by(|left, right| left.0.total_cmp(&right.0));
    if let (Some(least), Some(most)) = (all.first(), all.last()) {
        judge.figures.push(format!("{:.2} to {:.2} times (\"{}\")", least.0, most.0, most.1));
    }
    judge.line()
}

fn golden() -> Line {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../golden/sequential.json")).unwrap_or_default();
    let cases = golden["count"].as_u64().unwrap_or(0);
    Line {
        id: "T14",
        figure: format!("{} cases in the file", thousands(cases as f64)),
        wanted: "every golden case: `cargo test -p tests --test golden`".to_owned(),
        state: State::Unmeasured,
    }
}

fn replayed() -> Line {
    let same = replay::is_exact();
    Line {
        id: "T16",
        figure: match &same {
            Ok(scrapes) => format!("the same bits after each of {scrapes} scrapes"),
            Err(what) => what.clone(),
        },
        wanted: "replay through JSON, observations in any order: the same verdict".to_owned(),
        state: if same.is_ok() { State::Met } else { State::Refuted },
    }
}

fn unsettled() -> Line {
    let (met, figure) = replay::at_the_deadline();
    Line {
        id: "T17",
        figure,
        wanted: "too little evidence: undecided, with the requests still needed".to_owned(),
        state: if met { State::Met } else { State::Refuted },
    }
}

/// Collects the figures of one target.
struct Judge<'a> {
    results: &'a Results,
    id: &'static str,
    wanted: String,
    figures: Vec<String>,
    /// The worst of all figures.
    state: State,
}

impl<'a> Judge<'a> {
    fn new(results: &'a Results, id: &'static str, wanted: &str) -> Self {
        let wanted = wanted.to_owned();
        Self { results, id, wanted, figures: Vec::new(), state: State::Met }
    }

    /// Takes in whether a figure meets the target, and otherwise with which probability an engine that meets it
    /// exactly would show such a figure.
    fn take(&mut self, met: bool, chance: f64) {
        let state = if met {
            State::Met
        } else if chance >= CHANCE {
            State::Near
        } else if chance >= CONTRADICTS {
            State::Missed
        } else {
            State::Refuted
        };
        self.state = self.state.max(state);
    }

    /// Rolled back in at most this share of the runs of every row.
    fn rarely(mut self, rows: &[String], tools: &[&str], most: f64) -> Self {
        let results = self.results;
        let cells = rows
            .iter()
            .flat_map(|row| tools.iter().filter_map(|tool| results.cell(row, tool)))
            .map(|cell| &cell.reverts);
        self.highest(cells, most, "rolled back");
        self
    }

    /// Promoted in at most this share of the runs of every row.
    fn rarely_promoted(mut self, rows: &[String], tool: &str, most: f64) -> Self {
        let results = self.results;
        let cells = rows.iter().filter_map(|row| results.cell(row, tool)?.promotes.as_ref());
        self.highest(cells, most, "promoted");
        self
    }

    fn highest<'b>(&mut self, all: impl Iterator<Item = &'b Ends>, most: f64, what: &str) {
        let mut worst: Option<&Ends> = None;
        for ends in all {
            let chance = binomial::at_least(ends.count(), ends.runs(), most);
            self.take(ends.share() <= most, chance);
            if worst.is_none_or(|worst| ends.share() > worst.share()) {
                worst = Some(ends);
            }
        }
        if let Some(worst) = worst {
            self.figures.push(format!("at most {} {what}", share(worst)));
        }
    }

    /// Rolled back in at least this share of the runs.
    fn mostly(mut self, row: &str, tool: &str, least: f64) -> Self {
        if let Some(cell) = self.results.cell(row, tool) {
            let missed = cell.reverts.runs() - cell.reverts.count();
            let chance = binomial::at_least(missed, cell.reverts.runs(), 1.0 - least);
            self.take(cell.reverts.share() >= least, chance);
            self.figures.push(format!("{} found", share(&cell.reverts)));
        }
        self
    }

    fn within(mut self, row: &str, tool: &str, median: u32, p95: Option<u32>) -> Self {
        if let Some(cell) = self.results.cell(row, tool) {
            self.delays(&cell.reverts, Some(median), p95);
        }
        self
    }

    fn by_then(mut self, row: &str, tool: &str, p95: u32) -> Self {
        if let Some(cell) = self.results.cell(row, tool) {
            self.delays(&cell.reverts, None, Some(p95));
        }
        self
    }

    fn promoted(mut self, row: &str, tool: &str, median: Option<u32>, p95: u32) -> Self {
        if let Some(ends) = self.results.cell(row, tool).and_then(|cell| cell.promotes.as_ref()) {
            self.delays(ends, median, Some(p95));
        }
        self
    }

    fn delays(&mut self, ends: &Ends, median: Option<u32>, p95: Option<u32>) {
        let mut texts = Vec::new();
        for (most, quantile) in [(median, 0.5), (p95, 0.95)] {
            let Some(most) = most else { continue };
            let second = ends.second(quantile);
            let chance = binomial::at_least(ends.later_than(most), ends.runs(), 1.0 - quantile);
            self.take(second.is_some_and(|second| second <= most), chance);
            texts.push(second.map_or("-".to_owned(), |second| second.to_string()));
        }
        self.figures.push(format!("{} s", texts.join(" / ")));
    }

    /// How many times later a peer's median is, and with how many times the requests.
    fn sooner_than(mut self, row: &str, peer: &str, times: f64, requests: f64) -> Self {
        let medians =
            |ends: &Ends| Some((f64::from(ends.second(0.5)?), ends.requests(0.5)? as f64));
        let both = self.results.cell(row, STRICT).zip(self.results.cell(row, peer));
        let Some((ours, theirs)) = both.map(|(ours, theirs)| (&ours.reverts, &theirs.reverts))
        else {
            return self;
        };
        if let Some(((second, request), (their_second, their_request))) =
            medians(ours).zip(medians(theirs))
        {
            let (later, more) = (their_second / second, their_request / request);
            let half = |beyond: u32| binomial::at_least(beyond, ours.runs(), 0.5);
            self.take(later >= times, half(ours.later_than((their_second / times) as u32)));
            self.take(more >= requests, half(ours.after((their_request / requests) as u64)));
            self.figures.push(format!("{later:.1} times, {more:.1} times the requests"));
        }
        self
    }

    fn not_much_later(mut self, row: &str, alone: &str, times: f64) -> Self {
        let ends = |row: &str| Some(&self.results.cell(row, STRICT)?.reverts);
        if let Some((together, alone)) = ends(row).zip(ends(alone))
            && let Some((second, by_itself)) = together.second(0.5).zip(alone.second(0.5))
        {
            let most = f64::from(by_itself) * times;
            let chance = binomial::at_least(together.later_than(most as u32), together.runs(), 0.5);
            self.take(f64::from(second) <= most, chance);
            let later = f64::from(second) / f64::from(by_itself);
            self.figures.push(format!("{second} s against {by_itself} s, {later:.2} times"));
        }
        self
    }

    /// Something without chance.
    fn fact(mut self, figure: String, met: bool) -> Self {
        self.figures.push(figure);
        self.take(met, 0.0);
        self
    }

    fn line(self) -> Line {
        let state = if self.figures.is_empty() { State::Unmeasured } else { self.state };
        Line { id: self.id, figure: self.figures.join("; "), wanted: self.wanted, state }
    }
}
