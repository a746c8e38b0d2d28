//! A subtree as one row of numbers: how long each operation was waited for, and how often it was called.

use std::collections::HashMap;

use crate::operation::Operations;
use crate::path::{Step, Walk};
use crate::span::{Status, TraceId};
use crate::statistics::{as_f64, len_f64};
use crate::tree::{EntrySubtree, Kept};

/// The caller of the entry.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Length of the time blocks within which bursts are taken to be alike, in nanoseconds.
const BLOCK: u64 = 30_000_000_000;

/// Most pairs of caller and operation that are told apart.
const MOST_EDGES: usize = 8_192;

/// One operation (or one call of it by one other) in one subtree.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cell {
    /// Which.
    pub(crate) column: u32,
    /// Seconds on the critical path that are its own.
    pub(crate) seconds: f64,
    /// Calls on the critical path.
    pub(crate) calls: f64,
    /// All calls.
    pub(crate) spans: f64,
    /// Seconds that nobody waited for.
    pub(crate) outside: f64,
    /// Failed calls after which the same caller called again.
    pub(crate) retries: f64,
    /// Pairs of one call and the next by the same caller.
    pub(crate) pairs: f64,
    /// Those of them in which the next began after all before had ended.
    pub(crate) sequential: f64,
    /// Sum over callers of their number of calls, squared.
    pub(crate) squares: f64,
}

/// One subtree.
#[derive(Debug)]
pub(crate) struct Row {
    /// Index in its arm.
    pub(crate) index: usize,
    /// The entry's operation.
    pub(crate) entry: u32,
    /// Which part of the traffic it is compared within; `None` where the arms do not overlap.
    pub(crate) stratum: Option<usize>,
    pub(crate) trace: TraceId,
    pub(crate) block: u64,
    pub(crate) kept: Kept,
    /// How many requests it stands for.
    pub(crate) weight: f64,
    /// Seconds from start to end of the entry.
    pub(crate) seconds: f64,
    /// The whole request as a cell.
    pub(crate) total: [Cell; 1],
    pub(crate) failed: bool,
    /// Per operation, by rising column.
    pub(crate) cells: Vec<Cell>,
    /// Per caller and operation, by rising column.
    pub(crate) edges: Vec<Cell>,
}

/// Both arms as rows.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) operations: Operations,
    /// Caller and operation by column of [`Row::edges`].
    pub(crate) edges: Vec<(u32, u32)>,
    pub(crate) baseline: Vec<Row>,
    pub(crate) canary: Vec<Row>,
    /// An operation's new number, when it is another's new name; else its own.
    pub(crate) alias: Vec<u32>,
    /// Number per span, per subtree, before renaming.
    pub(crate) numbers: [Vec<Vec<u32>>; 2],
}

type Raw = HashMap<(u32, u32), Cell>;

impl Rows {
    pub(crate) fn new(baseline: &[EntrySubtree], canary: &[EntrySubtree]) -> Self {
        let mut operations = Operations::new(baseline.iter().chain(canary));
        let mut walk = Walk::default();
        let mut arm = |subtrees: &[EntrySubtree]| {
            let rows: Vec<(Vec<u32>, Raw)> =
                subtrees.iter().map(|subtree| raw(subtree, &mut operations, &mut walk)).collect();
            rows
        };
        let (baseline_raw, canary_raw) = (arm(baseline), arm(canary));
        operations.name_clusters();
        let alias = super::renames::renamed(&operations, &baseline_raw, &canary_raw);
        let mut edges = Edges::default();
        let mut numbers = [Vec::new(), Vec::new()];
        let mut finish = |arm: usize, subtrees: &[EntrySubtree], rows: Vec<(Vec<u32>, Raw)>| {
            let mut finished = Vec::with_capacity(rows.len());
            for (index, (subtree, (of_spans, raw))) in subtrees.iter().zip(rows).enumerate() {
                finished.push(row(index, subtree, &of_spans, raw, &alias, &mut edges));
                numbers[arm].push(of_spans);
            }
            finished
        };
        let baseline = finish(0, baseline, baseline_raw);
        let canary = finish(1, canary, canary_raw);
        Self { operations, edges: edges.all, baseline, canary, alias, numbers }
    }

    /// The number of an operation after renaming.
    pub(crate) fn renamed(&self, number: u32) -> u32 {
        lookup(&self.alias, number)
    }
}

fn lookup(alias: &[u32], number: u32) -> u32 {
    usize::try_from(number).ok().and_then(|at| alias.get(at)).copied().unwrap_or(number)
}

#[derive(Default)]
struct Edges {
    all: Vec<(u32, u32)>,
    numbers: HashMap<(u32, u32), u32>,
}

impl Edges {
    fn number(&mut self, edge: (u32, u32)) -> u32 {
        // Hostile traces alone have more; the last one then stands for all others.
        let last = self.all.len().checked_sub(1).filter(|last| *last >= MOST_EDGES);
        let next = u32::try_from(last.unwrap_or(self.all.len())).unwrap_or(u32::MAX);
        if last.is_some() {
            return self.numbers.get(&edge).copied().unwrap_or(next);
        }
        let number = *self.numbers.entry(edge).or_insert(next);
        if number == next {
            self.all.push(edge);
        }
        number
    }
}

/// What each caller and operation did in one subtree.
fn raw(subtree: &EntrySubtree, operations: &mut Operations, walk: &mut Walk) -> (Vec<u32>, Raw) {
    let spans = subtree.spans();
    let numbers: Vec<u32> = spans.iter().map(|span| operations.number(span)).collect();
    let mut own = vec![0_u64; spans.len()];
    let mut visits = vec![false; spans.len()];
    walk.walk(subtree, |step| match step {
        Step::Visit(span) => visits[span] = true,
        Step::Own { span, start, end } => own[span] += end - start,
    });
    let mut raw = Raw::new();
    for index in 0..spans.len() {
        let caller = subtree.parent(index).map_or(NOBODY, |parent| numbers[parent]);
        let cell = raw.entry((caller, numbers[index])).or_default();
        cell.seconds += as_f64(own[index]) / 1e9;
        cell.calls += f64::from(u8::from(visits[index]));
        cell.spans += 1.0;
        cell.outside += as_f64(walk.outside(subtree, index)) / 1e9;
    }
    repeats(subtree, &numbers, &mut raw);
    (numbers, raw)
}

/// How the calls of one operation by one span follow each other.
fn repeats(subtree: &EntrySubtree, numbers: &[u32], raw: &mut Raw) {
    let spans = subtree.spans();
    let mut children: Vec<(usize, u32, u64, usize)> = (1..spans.len())
        .filter_map(|at| Some((subtree.parent(at)?, numbers[at], spans[at].start, at)))
        .collect();
    children.sort_unstable();
    for calls in children.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let (parent, number, ..) = calls[0];
        let Some(cell) = raw.get_mut(&(numbers[parent], number)) else { continue };
        let count = len_f64(calls.len());
        cell.squares += count * count;
        cell.pairs += count - 1.0;
        let mut busy_until = spans[calls[0].3].end;
        for pair in calls.windows(2) {
            let (before, next) = (&spans[pair[0].3], &spans[pair[1].3]);
            let is_after = busy_until <= next.start;
            cell.sequential += f64::from(u8::from(is_after));
            let is_retry = before.end <= next.start && before.status == Status::Error;
            cell.retries += f64::from(u8::from(is_retry));
            busy_until = busy_until.max(next.end);
        }
    }
}

impl Cell {
    /// Adds up; the column stays.
    pub(crate) fn add(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.calls += other.calls;
        self.spans += other.spans;
        self.outside += other.outside;
        self.retries += other.retries;
        self.pairs += other.pairs;
        self.sequential += other.sequential;
        self.squares += other.squares;
    }
}

fn row(
    index: usize,
    subtree: &EntrySubtree,
    numbers: &[u32],
    raw: Raw,
    alias: &[u32],
    edges: &mut Edges,
) -> Row {
    let mut sorted: Vec<((u32, u32), Cell)> = raw.into_iter().collect();
    sorted.sort_unstable_by_key(|(edge, _)| *edge);
    let mut per_edge = Vec::with_capacity(sorted.len());
    let mut per_operation = Vec::with_capacity(sorted.len());
    for ((caller, operation), cell) in sorted {
        let (caller, operation) = (lookup(alias, caller), lookup(alias, operation));
        per_edge.push(Cell { column: edges.number((caller, operation)), ..cell });
        per_operation.push(Cell { column: operation, ..cell });
    }
    let entry = subtree.entry();
    let weight = if entry.weight.is_finite() { entry.weight.clamp(1.0, 1e6) } else { 1.0 };
    let seconds = as_f64(entry.end - entry.start) / 1e9;
    Row {
        index,
        entry: lookup(alias, numbers.first().copied().unwrap_or(NOBODY)),
        stratum: None,
        trace: entry.trace,
        block: entry.start / BLOCK,
        kept: subtree.kept(),
        weight,
        seconds,
        total: [Cell { seconds, calls: 1.0, spans: 1.0, ..Cell::default() }],
        failed: entry.status == Status::Error,
        cells: merged(per_operation),
        edges: merged(per_edge),
    }
}

/// One cell per column, by rising column.
fn merged(mut cells: Vec<Cell>) -> Vec<Cell> {
    cells.sort_by_key(|cell| cell.column);
    let mut merged: Vec<Cell> = Vec::with_capacity(cells.len());
    for cell in cells {
        match merged.last_mut().filter(|last| last.column == cell.column) {
            Some(last) => last.add(&cell),
            None => merged.push(cell),
        }
    }
    merged
}

/// The cell of this column.
pub(crate) fn cell(cells: &[Cell], column: u32) -> Option<&Cell> {
    cells.binary_search_by_key(&column, |cell| cell.column).ok().map(|at| &cells[at])
}
