//! Which operations made requests slower, and in which way.
//!
//! Every operation is tested once (Benjamini and Hochberg over those that matter), on the mean and on the time above
//! the baseline's 95th percentile. What is left is sorted by what it adds, and told apart by how its calls changed.

use std::collections::{BTreeMap, BTreeSet};

use crate::decompose::{Effect, effects};
use crate::finding::{Cause, Repeats};
use crate::pods::PodSpread;
use crate::rows::{Cell, NOBODY, Row, Rows};
use crate::statistics::{benjamini_hochberg, len_f64};
use crate::strata::{Strata, uniform};

/// Operations below this share of the request are not tested: they explain nothing.
const FLOOR: f64 = 0.01;

/// False discovery rate of the tail's own discoveries; small, as most of them repeat those of the mean.
const TAIL_FALSE_DISCOVERY: f64 = 0.02;

/// Chance of a wrong claim that calls repeat, over all edges.
const FALSE_REPEAT: f64 = 0.01;

/// Findings end when they explain this share of the change.
const ENOUGH: f64 = 0.8;

/// Most operations that are named.
const MOST: usize = 5;

/// Two changes that cancel to less than this share of the larger one are one that moved.
const CANCELS: f64 = 0.2;

/// More calls by the same caller: at least this many times as many ...
const TIMES_MORE: f64 = 2.0;

/// ... and at least so many more.
const CALLS_MORE: f64 = 3.0;

/// Calls one after the other, as a share of all pairs of calls.
const SEQUENTIAL: f64 = 0.8;

/// N+1 calls cost at least this many seconds per request, or a tenth of it.
const COSTS: f64 = 0.02;

/// Retries per request that are more than noise of the network.
const LEAST_RETRIES: f64 = 0.02;

/// One operation under suspicion.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) cause: Cause,
    pub(crate) operation: u32,
    /// The caller from which most of it comes.
    pub(crate) caller: u32,
    pub(crate) effect: Effect,
    /// Seconds per request that it explains, with what follows from it.
    pub(crate) explains: f64,
    pub(crate) tail_only: bool,
    pub(crate) repeats: Option<Repeats>,
}

/// All effects of both arms.
pub(crate) struct Latency<'a> {
    rows: &'a Rows,
    pub(crate) total: Effect,
    pub(crate) tail_total: Effect,
    /// By operation.
    pub(crate) operations: Vec<Effect>,
    /// By operation, of the time above the baseline's 95th percentile.
    pub(crate) tail: Vec<Effect>,
    /// By edge.
    edges: Vec<Effect>,
    /// By edge: all calls, not only those that were waited for.
    counts: Vec<Effect>,
    /// By edge.
    retries: Vec<Effect>,
    /// By edge and arm.
    sums: Vec<[Cell; 2]>,
    /// Edges that lead to an operation.
    into: BTreeMap<u32, Vec<usize>>,
}

impl<'a> Latency<'a> {
    pub(crate) fn new(rows: &'a Rows, strata: &Strata, pods: PodSpread) -> Self {
        let (old, new) = (&rows.baseline, &rows.canary);
        let seconds = |_: &Row, cell: &Cell| (cell.seconds, cell.calls);
        let above = |row: &Row, cell: &Cell| {
            let limit = row.stratum.and_then(|stratum| strata.slow.get(stratum)).copied();
            let excess = (row.seconds - limit.unwrap_or(f64::INFINITY)).max(0.0);
            let share = if row.seconds > 0.0 { excess / row.seconds } else { 0.0 };
            (cell.seconds * share, cell.calls * share)
        };
        let of = |row: &'a Row| row.cells.as_slice();
        let edges_of = |row: &'a Row| row.edges.as_slice();
        let total_of = |row: &'a Row| row.total.as_slice();
        let (operations, edges) = (rows.operations.len(), rows.edges.len());
        let first = |effects: Vec<Effect>| effects.first().copied().unwrap_or_default();
        let mut into: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (edge, (_, operation)) in rows.edges.iter().enumerate() {
            into.entry(*operation).or_default().push(edge);
        }
        let mut sums = vec![[Cell::default(); 2]; edges];
        for (arm, rows) in [old, new].into_iter().enumerate() {
            for cell in uniform(rows).flat_map(|(row, _)| &row.edges) {
                if let Some(sums) =
                    usize::try_from(cell.column).ok().and_then(|at| sums.get_mut(at))
                {
                    sums[arm].add(cell);
                }
            }
        }
        // How often something is called does not depend on the pod's pace.
        let alike = PodSpread::default();
        let slow_pods = pods.times(steepness(rows, strata));
        Self {
            rows,
            total: first(effects(1, strata, old, new, pods, total_of, seconds)),
            tail_total: first(effects(1, strata, old, new, slow_pods, total_of, above)),
            operations: effects(operations, strata, old, new, pods, of, seconds),
            tail: effects(operations, strata, old, new, slow_pods, of, above),
            edges: effects(edges, strata, old, new, pods, edges_of, seconds),
            counts: effects(edges, strata, old, new, alike, edges_of, |_, cell| (cell.spans, 1.0)),
            retries: effects(edges, strata, old, new, alike, edges_of, |_, cell| {
                (cell.retries, 1.0)
            }),
            sums,
            into,
        }
    }

    /// The operations under suspicion, by what they explain, and pairs of operations between which time moved.
    pub(crate) fn drafts(&self, false_discovery: f64) -> (Vec<Draft>, Vec<(u32, u32)>) {
        let changed = Self::discoveries(&self.operations, self.total, false_discovery);
        let moved = self.moved(&changed);
        let mut named: Vec<u32> = changed
            .iter()
            .copied()
            .filter(|operation| self.effect(*operation).change > 0.0)
            .filter(|operation| moved.iter().all(|(_, to)| to != operation))
            .collect();
        let tail: Vec<u32> = Self::discoveries(&self.tail, self.tail_total, TAIL_FALSE_DISCOVERY)
            .into_iter()
            .filter(|operation| {
                self.tail[index(*operation)].change > 0.0 && !named.contains(operation)
            })
            .filter(|operation| moved.iter().all(|(from, to)| to != operation && from != operation))
            .collect();
        named.sort_by(|a, b| self.effect(*b).change.total_cmp(&self.effect(*a).change));
        let mut drafts: Vec<Draft> =
            named.iter().map(|operation| self.draft(*operation, false)).collect();
        if drafts.is_empty() {
            drafts = tail.iter().map(|operation| self.draft(*operation, true)).collect();
        }
        self.add_repeats(&mut drafts);
        let mut drafts = self.absorb(drafts);
        drafts.sort_by(|a, b| b.explains.total_cmp(&a.explains));
        (self.enough(drafts), moved)
    }

    fn effect(&self, operation: u32) -> Effect {
        self.operations.get(index(operation)).copied().unwrap_or_default()
    }

    fn discoveries(effects: &[Effect], total: Effect, rate: f64) -> Vec<u32> {
        let floor = FLOOR * total.baseline.seconds.max(total.canary.seconds).max(f64::MIN_POSITIVE);
        let tested: Vec<(u32, f64)> = (0..)
            .zip(effects)
            .filter(|(_, effect)| effect.baseline.seconds.max(effect.canary.seconds) >= floor)
            .map(|(operation, effect)| (operation, effect.p))
            .collect();
        let p_values: Vec<f64> = tested.iter().map(|(_, p)| *p).collect();
        let limit = benjamini_hochberg(&p_values, p_values.len(), rate);
        tested.into_iter().filter(|(_, p)| *p <= limit).map(|(operation, _)| operation).collect()
    }

    /// Pairs (from, to) of one caller of which one lost what the other gained.
    fn moved(&self, changed: &[u32]) -> Vec<(u32, u32)> {
        let mut taken = BTreeSet::new();
        let mut moved = Vec::new();
        for to in changed.iter().filter(|operation| self.effect(**operation).change > 0.0) {
            let gained = self.effect(*to).change;
            let best = changed
                .iter()
                .filter(|from| !taken.contains(*from) && self.effect(**from).change < 0.0)
                .filter(|from| self.caller(**from) == self.caller(*to))
                .map(|from| (*from, (gained + self.effect(*from).change).abs()))
                .filter(|(from, left)| {
                    *left < CANCELS * gained.max(self.effect(*from).change.abs())
                })
                .min_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((from, _)) = best {
                taken.insert(from);
                moved.push((from, *to));
            }
        }
        moved
    }

    /// The edge from which most of an operation's change comes.
    fn main_edge(&self, operation: u32) -> Option<usize> {
        let edges = self.into.get(&operation)?;
        edges.iter().copied().max_by(|a, b| {
            let key = |edge: usize| (self.edges[edge].change.max(0.0), self.sums[edge][1].spans);
            let (left, right) = (key(*a), key(*b));
            left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1))
        })
    }

    fn caller(&self, operation: u32) -> u32 {
        self.main_edge(operation).map_or(NOBODY, |edge| self.rows.edges[edge].0)
    }

    fn draft(&self, operation: u32, tail_only: bool) -> Draft {
        let effect = self.effect(operation);
        let edge = self.main_edge(operation);
        let repeats = edge.map(|edge| self.repeats(edge));
        let explains = if tail_only { self.tail[index(operation)].change } else { effect.change };
        let cause = edge.map_or(Cause::Slower, |edge| self.cause(edge, effect));
        let caller = edge.map_or(NOBODY, |edge| self.rows.edges[edge].0);
        Draft { cause, operation, caller, effect, explains, tail_only, repeats }
    }

    /// Calls per calling span: all callers count, also those that do not call.
    fn repeats(&self, edge: usize) -> Repeats {
        let (caller, _) = self.rows.edges[edge];
        let rate = |arm: usize| {
            let callers = self.spans(caller, arm);
            if callers > 0.0 { self.sums[edge][arm].spans / callers } else { 0.0 }
        };
        let canary = &self.sums[edge][1];
        let sequential = if canary.pairs > 0.0 { canary.sequential / canary.pairs } else { 1.0 };
        let retries = &self.retries[edge];
        Repeats {
            baseline: rate(0),
            canary: rate(1),
            sequential,
            retries: [retries.baseline.seconds, retries.canary.seconds],
        }
    }

    /// All spans of an operation in one arm.
    fn spans(&self, operation: u32, arm: usize) -> f64 {
        let edges = self.into.get(&operation).map(Vec::as_slice).unwrap_or_default();
        edges.iter().map(|edge| self.sums[*edge][arm].spans).sum()
    }

    fn cause(&self, edge: usize, effect: Effect) -> Cause {
        if self.has_retries(edge) {
            return Cause::Retries;
        }
        if let Some(repeat) = self.repeat(edge, effect) {
            return repeat;
        }
        if effect.by_calls.abs() <= effect.by_time.abs() {
            return Cause::Slower;
        }
        if self.counts[edge].baseline.seconds <= 0.0 {
            Cause::NewCall
        } else if self.is_lost_cache(edge) {
            Cause::LostCache
        } else {
            Cause::MoreCalls
        }
    }

    fn tests(&self) -> f64 {
        len_f64(self.sums.iter().filter(|arms| arms[1].spans > 0.0).count().max(1))
    }

    fn has_retries(&self, edge: usize) -> bool {
        let retries = &self.retries[edge];
        retries.change >= LEAST_RETRIES && retries.p * self.tests() < FALSE_REPEAT
    }

    /// N+1 or fan-out: many more calls by the same caller than the baseline makes, as many as there are rows.
    fn repeat(&self, edge: usize, effect: Effect) -> Option<Cause> {
        let repeats = self.repeats(edge);
        let count = &self.counts[edge];
        let rises = repeats.canary >= TIMES_MORE * repeats.baseline
            && repeats.canary - repeats.baseline >= CALLS_MORE
            && count.p * self.tests() < FALSE_REPEAT;
        if !rises {
            return None;
        }
        let canary = &self.sums[edge][1];
        let callers = self.spans(self.rows.edges[edge].0, 1).max(1.0);
        let variance = canary.squares / callers - repeats.canary * repeats.canary;
        if repeats.sequential < SEQUENTIAL {
            return Some(Cause::FanOut);
        }
        let costs = effect.canary.seconds >= COSTS.min(0.1 * self.total.canary.seconds);
        // A fixed number of calls is a longer list of steps; one per row varies more than chance.
        (costs && variance > repeats.canary).then_some(Cause::NPlusOne)
    }

    /// At most one call each time in both arms, now in more of the requests, beside a cache.
    fn is_lost_cache(&self, edge: usize) -> bool {
        let repeats = self.repeats(edge);
        let (caller, operation) = self.rows.edges[edge];
        let once = self.sums[edge].iter().all(|arm| arm.squares <= 1.3 * arm.spans);
        let beside = self.rows.edges.iter().any(|(of, callee)| {
            *of == caller && *callee != operation && self.rows.operations.is_cache(*callee)
        });
        once && repeats.baseline < 0.95 && beside && !self.rows.operations.is_cache(operation)
    }

    /// Repeats that cost little time yet: they cost the callee.
    fn add_repeats(&self, drafts: &mut Vec<Draft>) {
        for (edge, (caller, operation)) in self.rows.edges.iter().enumerate() {
            let effect = self.effect(*operation);
            let cause = if self.has_retries(edge) {
                Some(Cause::Retries)
            } else {
                self.repeat(edge, effect)
            };
            let Some(cause) = cause else { continue };
            let repeats = Some(self.repeats(edge));
            if let Some(draft) = drafts.iter_mut().find(|draft| draft.operation == *operation) {
                *draft = Draft { cause, caller: *caller, repeats, ..draft.clone() };
            } else {
                let explains = effect.change.max(0.0);
                let (operation, caller) = (*operation, *caller);
                drafts.push(Draft {
                    cause,
                    operation,
                    caller,
                    effect,
                    explains,
                    tail_only: false,
                    repeats,
                });
            }
        }
    }

    /// What follows from another suspect is part of it: calls below a call that is made more often, and the waiting
    /// of a caller between the calls that it repeats.
    fn absorb(&self, mut drafts: Vec<Draft>) -> Vec<Draft> {
        let mut into: BTreeMap<u32, u32> = BTreeMap::new();
        let more = |cause: Cause| {
            matches!(
                cause,
                Cause::MoreCalls
                    | Cause::NewCall
                    | Cause::LostCache
                    | Cause::NPlusOne
                    | Cause::Retries
                    | Cause::FanOut
            )
        };
        for draft in drafts.iter().filter(|draft| more(draft.cause)) {
            let root = self.outermost(draft.operation);
            if root != draft.operation {
                into.insert(draft.operation, root);
            }
        }
        for draft in &drafts {
            let waits = matches!(draft.cause, Cause::NPlusOne | Cause::Retries | Cause::FanOut);
            let caller = draft.caller;
            let is_named =
                drafts.iter().any(|other| other.operation == caller && !more(other.cause));
            let is_free = !into.contains_key(&draft.operation) && !into.contains_key(&caller);
            if waits && is_named && is_free && into.values().all(|root| *root != caller) {
                into.insert(caller, draft.operation);
            }
        }
        for (operation, root) in into {
            let Some(at) = drafts.iter().position(|draft| draft.operation == operation) else {
                continue;
            };
            if !drafts.iter().any(|draft| draft.operation == root) {
                let mut draft = self.draft(root, false);
                if !more(draft.cause) {
                    draft.cause = drafts[at].cause;
                }
                draft.explains = draft.explains.max(0.0);
                drafts.push(draft);
            }
            let part = drafts.remove(at);
            if let Some(root) = drafts.iter_mut().find(|draft| draft.operation == root) {
                root.explains += part.explains;
                if root.repeats.is_none_or(|own| own.retries[1] <= own.retries[0])
                    && part.cause == Cause::Retries
                {
                    root.cause = Cause::Retries;
                }
            }
        }
        drafts
    }

    /// The outermost call to another service whose calls rose as much as these: where the repetition is decided.
    fn outermost(&self, operation: u32) -> u32 {
        let rise = |of: u32| {
            let rate = |arm: usize| self.spans(of, arm) / self.arm(arm).max(1.0);
            rate(1) / rate(0).max(1e-9)
        };
        let wanted = rise(operation);
        let (mut at, mut best) = (operation, operation);
        for _ in 0..self.rows.edges.len().min(64) {
            let caller = self.caller(at);
            if caller == NOBODY || caller == operation || rise(caller) < (0.7 * wanted).max(1.1) {
                break;
            }
            at = caller;
            if self.rows.operations.get(at).is_some_and(|operation| operation.kind.sends()) {
                best = at;
            }
        }
        best
    }

    fn arm(&self, arm: usize) -> f64 {
        let rows = if arm == 0 { &self.rows.baseline } else { &self.rows.canary };
        len_f64(uniform(rows).count())
    }

    /// As many as explain most of the change, and all that repeat.
    fn enough(&self, drafts: Vec<Draft>) -> Vec<Draft> {
        let mut explained = 0.0;
        let mut kept = Vec::new();
        for draft in drafts {
            let whole = if draft.tail_only { self.tail_total.change } else { self.total.change };
            let repeats = matches!(draft.cause, Cause::NPlusOne | Cause::Retries | Cause::FanOut);
            if kept.len() < MOST && (explained < ENOUGH * whole || kept.is_empty() || repeats) {
                explained += draft.explains;
                kept.push(draft);
            }
        }
        kept
    }
}

/// By how many percent the time above the 95th percentile grows when all durations grow by one.
fn steepness(rows: &Rows, strata: &Strata) -> f64 {
    let (mut excess, mut whole) = (0.0, 0.0);
    for (row, stratum) in uniform(&rows.baseline) {
        let limit = strata.slow[stratum];
        if row.seconds > limit {
            excess += row.seconds - limit;
            whole += row.seconds;
        }
    }
    if excess > 0.0 { whole / excess } else { 1.0 }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
