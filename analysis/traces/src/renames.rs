//! Operations with a new name: one that is gone and one that is new, called by the same and as often.
//!
//! Without this a harmless rename looks like a new expensive call. The pair is compared as one operation, so that one
//! which became slower as well is still found (the cost-shift filter of `FBDetect`, Yoon et al., SOSP 2024).

use std::collections::HashMap;

use crate::operation::Operations;
use crate::rows::{Cell, NOBODY};
use crate::statistics::{as_f64, len_f64};

/// Calls that the other arm should have shown before an operation counts as gone or new.
const EXPECTED: f64 = 10.0;

/// Calls per request of the two names may differ by this factor.
const ALIKE: f64 = 1.3;

/// Renamed callers rename the callers of what they call; deeper than this it is a rewrite.
const ROUNDS: usize = 4;

type Rows = [(Vec<u32>, HashMap<(u32, u32), Cell>)];

/// Calls of one operation in one arm.
#[derive(Debug, Clone, Default)]
struct Calls {
    rows: u64,
    spans: f64,
    callers: HashMap<u32, f64>,
}

/// For each operation the number under which it is compared: of the old name, if it is a new one.
pub(crate) fn renamed(operations: &Operations, baseline: &Rows, canary: &Rows) -> Vec<u32> {
    let numbers = 0..u32::try_from(operations.len()).unwrap_or(u32::MAX);
    let mut alias: Vec<u32> = numbers.clone().collect();
    if baseline.is_empty() || canary.is_empty() {
        return alias;
    }
    let (old, new) = (calls(operations.len(), baseline), calls(operations.len(), canary));
    let (many, few) = (len_f64(baseline.len()), len_f64(canary.len()));
    let gone: Vec<u32> = numbers
        .clone()
        .filter(|at| absent(&new[index(*at)], &old[index(*at)], few / many))
        .collect();
    let fresh: Vec<u32> =
        numbers.filter(|at| absent(&old[index(*at)], &new[index(*at)], many / few)).collect();
    let mut taken = vec![false; operations.len()];
    for _ in 0..ROUNDS {
        let mut changed = false;
        for name in &fresh {
            if alias[index(*name)] != *name {
                continue;
            }
            let caller = caller(&new[index(*name)]).map(|caller| resolve(&alias, caller));
            let rate = new[index(*name)].spans / few;
            let found = gone
                .iter()
                .filter(|old_name| !taken[index(**old_name)])
                .filter(|old_name| self::caller(&old[index(**old_name)]) == caller)
                .filter(|old_name| alike(operations, **old_name, *name))
                .map(|old_name| (*old_name, (old[index(*old_name)].spans / many / rate).ln().abs()))
                .filter(|(_, distance)| *distance <= ALIKE.ln())
                .min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            if let Some((old_name, _)) = found {
                alias[index(*name)] = old_name;
                taken[index(old_name)] = true;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    alias
}

fn alike(operations: &Operations, old: u32, new: u32) -> bool {
    match (operations.get(old), operations.get(new)) {
        (Some(old), Some(new)) => old.service == new.service && old.kind == new.kind,
        (None, _) | (_, None) => false,
    }
}

/// Not called in one arm, although the other arm lets expect it.
fn absent(here: &Calls, there: &Calls, size: f64) -> bool {
    here.rows == 0 && as_f64(there.rows) * size >= EXPECTED && there.rows >= 5
}

/// Who calls it most.
fn caller(calls: &Calls) -> Option<u32> {
    calls
        .callers
        .iter()
        .max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0)))
        .map(|(caller, _)| *caller)
}

fn resolve(alias: &[u32], number: u32) -> u32 {
    if number == NOBODY { NOBODY } else { alias[index(number)] }
}

fn calls(operations: usize, rows: &Rows) -> Vec<Calls> {
    let mut calls = vec![Calls::default(); operations];
    let mut counted = vec![usize::MAX; operations];
    for (at, (_, raw)) in rows.iter().enumerate() {
        for ((caller, operation), cell) in raw {
            let of = &mut calls[index(*operation)];
            of.spans += cell.spans;
            *of.callers.entry(*caller).or_default() += cell.spans;
            if counted[index(*operation)] != at {
                counted[index(*operation)] = at;
                of.rows += 1;
            }
        }
    }
    calls
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
