//! Runs rows on all cores. Which core runs which seed makes no difference to any figure.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{
    ends::{Cell, Ends, Outcome},
    limit::Limit,
    peers::{Argo, Flagger, Kayenta, PeekedZ, Peer},
    ramp,
    rows::{Row, Tool},
    serin::{ALPHA, Past, Serin, Setup},
    streams::{Errors, Model, Stream, Truth, Weights},
};

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The subset that every build runs.
    Fast,
    /// The whole table.
    Full,
}

/// One row with its figures.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The row.
    pub row: Row,
    /// What its runs' seeds come from.
    pub seed: u64,
    /// One per tool.
    pub cells: Vec<Cell>,
}

/// All rows that were measured.
#[derive(Debug, Clone, Default)]
pub struct Results(pub Vec<Measured>);

impl Results {
    /// The figures of one tool in one row.
    pub fn cell(&self, row: &str, tool: &str) -> Option<&Cell> {
        let measured = self.0.iter().find(|measured| measured.row.name == row)?;
        measured.cells.iter().find(|cell| cell.tool == tool)
    }
}

/// Measures one row with this many runs.
///
/// # Panics
/// When a run does: the engine or the simulation is broken.
pub fn measure(row: &Row, runs: u32) -> Measured {
    let seed = seed_of(&row.name);
    let watchers = Watchers::new(row, seed);
    let outcomes = Mutex::new(vec![Vec::new(); runs as usize]);
    let next = AtomicU32::new(0);
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= runs {
                        break;
                    }
                    let outcome = watchers.run(run);
                    outcomes.lock().expect("no run panics while it holds it")[run as usize] =
                        outcome;
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no run panics while it holds it");
    let cells = row.tools.iter().enumerate().map(|(index, tool)| {
        let ends = |end: fn(&Outcome) -> super::ends::End| {
            Ends::of(outcomes.iter().map(|run| end(&run[index])))
        };
        let setup = tool_setup(tool);
        let (harmless, worse) = match setup {
            Some(setup) => setup.truth(&row.world),
            None => harmless_at_all(row),
        };
        let asked = match tool {
            Tool::Flagger(_) | Tool::Argo(_) | Tool::Kayenta | Tool::PeekedZ => false,
            Tool::Serin(setup) => setup.promotes,
            Tool::Ramp(..) | Tool::Overshoot(..) => true,
        };
        let tolerance = setup.and_then(Setup::tolerance);
        let fixed = row.world.weights != Weights::ByEvidence;
        Cell {
            tool: tool.label(),
            reverts: ends(|outcome| outcome.reverted),
            promotes: asked.then(|| ends(|outcome| outcome.promoted)),
            harmless,
            worse,
            limit: tolerance.filter(|_| fixed).and_then(|at| Limit::of(&row.world, at, ALPHA)),
        }
    });
    Measured { row: row.clone(), seed, cells: cells.collect() }
}

/// Without a tolerance of its own, a tool that rolls back a canary like the baseline is wrong.
fn harmless_at_all(row: &Row) -> (bool, bool) {
    let healthy = row.world == row.world.healthy();
    (healthy, !healthy)
}

fn tool_setup(tool: &Tool) -> Option<&Setup> {
    match tool {
        Tool::Flagger(_) | Tool::Argo(_) | Tool::Kayenta | Tool::PeekedZ => None,
        Tool::Serin(setup) | Tool::Ramp(setup, _) | Tool::Overshoot(setup, _) => Some(setup),
    }
}

/// What all runs of a row share.
struct Watchers<'a> {
    row: &'a Row,
    seed: u64,
    model: Model,
    healthy: Model,
    /// One per tool of ours.
    settings: Vec<Option<analysis::Settings>>,
    /// Histories that are the same for all runs.
    histories: Vec<analysis::History>,
}

impl<'a> Watchers<'a> {
    fn new(row: &'a Row, seed: u64) -> Self {
        let healthy = Model::new(row.world.healthy());
        let setups = || row.tools.iter().map(tool_setup);
        let settings =
            setups().map(|setup| setup.map(|setup| setup.settings(&row.world))).collect();
        let shared = |setup: Option<&Setup>| match setup {
            Some(setup) if setup.past == Past::Shared => {
                setup.history(&healthy, |rollout| mixed(seed ^ 0x5eed, rollout.into()))
            }
            Some(_) | None => analysis::History::default(),
        };
        let histories = setups().map(shared).collect();
        Self { row, seed, model: Model::new(row.world.clone()), healthy, settings, histories }
    }

    /// One run: what it came to for each tool.
    fn run(&self, run: u32) -> Vec<Outcome> {
        let seed = mixed(self.seed, run.into());
        if self.row.world.weights == Weights::ByEvidence {
            let tools = self.row.tools.iter().zip(&self.settings);
            return tools
                .map(|(tool, settings)| self.climb(tool, settings.as_ref(), seed))
                .collect();
        }
        let mut outcomes = vec![Outcome::default(); self.row.tools.len()];
        let mut watching: Vec<(usize, Watcher)> = self
            .row
            .tools
            .iter()
            .enumerate()
            .filter_map(|(index, tool)| Some((index, self.watcher(index, tool, seed)?)))
            .collect();
        let mut stream = Stream::new(&self.model, seed);
        while !watching.is_empty() {
            let weight = self.row.world.weight(stream.next_second());
            let Some(seen) = stream.next(weight) else { break };
            watching.retain_mut(|(index, watcher)| match watcher {
                Watcher::Peer(peer) => {
                    let reverts = peer.observe(seen);
                    if reverts {
                        outcomes[*index].reverted = Some((seen.second, seen.canary_requests));
                    }
                    !reverts
                }
                Watcher::Serin(serin) => !serin.observe(seen, &mut outcomes[*index]),
            });
        }
        outcomes
    }

    fn watcher(&self, index: usize, tool: &Tool, seed: u64) -> Option<Watcher<'_>> {
        Some(match tool {
            Tool::Flagger(interval) => Watcher::Peer(Box::new(Flagger::new(*interval))),
            Tool::Argo(limit) => Watcher::Peer(Box::new(Argo::new(*limit))),
            Tool::Kayenta => Watcher::Peer(Box::new(Kayenta::new())),
            Tool::PeekedZ => Watcher::Peer(Box::new(PeekedZ::default())),
            Tool::Serin(setup) => {
                let own;
                let history = match setup.past {
                    Past::Own(_) => {
                        own = setup.history(&self.healthy, |rollout| mixed(!seed, rollout.into()));
                        &own
                    }
                    Past::None | Past::Shared => &self.histories[index],
                };
                let settings = self.settings[index].as_ref()?;
                Watcher::Serin(Box::new(Serin::new(setup, settings, history)))
            }
            Tool::Ramp(..) | Tool::Overshoot(..) => return None,
        })
    }

    fn climb(&self, tool: &Tool, settings: Option<&analysis::Settings>, seed: u64) -> Outcome {
        match (tool, settings) {
            (Tool::Ramp(setup, ladder), Some(settings)) => {
                ramp::run(setup, settings, *ladder, &self.model, seed)
            }
            (Tool::Overshoot(setup, ladder), Some(settings)) => {
                let allowed = match &self.row.world.truth {
                    Truth::Errors(Errors { baseline, canary, .. }) => {
                        settings.harm / (canary - 1.25 * baseline)
                    }
                    Truth::Latency(..) => 1.0,
                };
                ramp::overshoot(settings, setup, *ladder, &self.model, allowed, seed)
            }
            _ => Outcome::default(),
        }
    }
}

enum Watcher<'a> {
    Peer(Box<dyn Peer + 'a>),
    Serin(Box<Serin<'a>>),
}

/// The seed of a row, from its name.
fn seed_of(name: &str) -> u64 {
    // FNV-1a; 32 bits are easier to read and to type.
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.into()
}

/// The finaliser of `SplitMix64` (Steele, Lea and Flood, 2014).
fn mixed(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
