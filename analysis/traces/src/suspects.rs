//! Errors of both arms, compared by fingerprint.
//!
//! A harmless canary sees each error with its share of the requests *of the same entry operation*: a canary that is
//! asked for more payments sees more payments fail. The tail of a sum of unequal coins is bounded by that of equal
//! coins with their mean (Hoeffding, "On the distribution of the number of successes in independent trials", 1956).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::compare::Settings;
use crate::errors::{ErrorKind, Fingerprint, errors_of};
use crate::finding::{Cause, ErrorEvidence};
use crate::rows::Rows;
use crate::span::TraceId;
use crate::statistics::{as_f64, benjamini_hochberg, binomial_upper, len_f64};
use crate::tree::EntrySubtree;
use analysis::sequential::{LEAST_APART, LEAST_TIMES};

/// False discovery rate among errors: small, as an error is said first.
const FALSE_DISCOVERY: f64 = 0.01;

/// A known error is worth naming when it is this many times as frequent.
const TIMES_MORE: f64 = 1.5;

/// Canary traces with a known error before it is named.
const LEAST_MORE: usize = 5;

/// Most errors that are told apart.
const MOST: usize = 10_000;

/// Where an error was seen.
#[derive(Debug, Default)]
struct Places {
    traces: [BTreeSet<TraceId>; 2],
    instances: BTreeSet<String>,
    /// Fair shares of the canary, summed over all traces with the error.
    fair: f64,
    /// Arm, subtree and span, of the canary where it has any.
    spans: Vec<(usize, usize, usize)>,
}

/// An error under suspicion.
#[derive(Debug)]
pub(crate) struct ErrorDraft {
    pub(crate) cause: Cause,
    pub(crate) evidence: ErrorEvidence,
    /// Subtrees of the canary and the span where it began.
    pub(crate) spans: Vec<(usize, usize)>,
}

/// Errors that are new, or more frequent, in the canary, surest first.
pub(crate) fn error_drafts(
    arms: [&[EntrySubtree]; 2],
    rows: &Rows,
    settings: &Settings,
) -> Vec<ErrorDraft> {
    let fair = Fair::new(arms, rows, settings);
    let mut found: HashMap<Fingerprint, (ErrorKind, Places)> = HashMap::new();
    for (arm, subtrees) in arms.into_iter().enumerate() {
        for (row, subtree) in subtrees.iter().enumerate() {
            for (span, error) in errors_of(subtree) {
                if found.len() >= MOST && !found.contains_key(&error.fingerprint) {
                    continue;
                }
                let (_, places) =
                    found.entry(error.fingerprint).or_insert_with(|| (error, Places::default()));
                if places.traces[arm].insert(subtree.trace()) {
                    places.fair += fair.share(arm, row);
                }
                if arm == 1 {
                    let instance = subtree.entry().resource.instance().unwrap_or_default();
                    places.instances.insert(instance.to_owned());
                    places.spans.push((arm, row, span));
                }
            }
        }
    }
    let instances: BTreeSet<&str> =
        arms[1].iter().filter_map(|subtree| subtree.entry().resource.instance()).collect();
    let apart = LEAST_APART.min(instances.len());
    let mut tested: Vec<(Fingerprint, bool, f64)> = found
        .iter()
        .filter(|(_, (_, places))| !places.traces[1].is_empty())
        .map(|(fingerprint, (_, places))| {
            let [k_old, k_new] =
                [0, 1].map(|arm| u64::try_from(places.traces[arm].len()).unwrap_or(u64::MAX));
            let is_new = k_old == 0 && !settings.known_errors.contains(fingerprint);
            (*fingerprint, is_new, binomial_upper(k_new, k_old + k_new, places.share()))
        })
        .collect();
    tested.sort_by(|a, b| a.2.total_cmp(&b.2).then(a.0.cmp(&b.0)));
    let p_values: Vec<f64> = tested.iter().map(|(.., p)| *p).collect();
    let limit = benjamini_hochberg(&p_values, p_values.len(), FALSE_DISCOVERY);
    let mut drafts = Vec::new();
    for (fingerprint, is_new, p) in tested {
        let Some((error, places)) = found.remove(&fingerprint).filter(|_| p <= limit) else {
            continue;
        };
        let [k_old, k_new] = [0, 1].map(|arm| places.traces[arm].len());
        let share = places.share();
        // As many as the baseline's let expect.
        let expected = (len_f64(k_old) + 0.5) * share / (1.0 - share).max(f64::MIN_POSITIVE);
        let is_enough = if is_new {
            as_f64(LEAST_TIMES) <= len_f64(k_new) && places.instances.len() >= apart
        } else {
            k_new >= LEAST_MORE && len_f64(k_new) >= TIMES_MORE * expected
        };
        if !is_enough {
            continue;
        }
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        drafts.push(ErrorDraft {
            cause: if is_new { Cause::NewError } else { Cause::MoreErrors },
            evidence: ErrorEvidence {
                error,
                canary: count(k_new),
                baseline: count(k_old),
                share,
                p,
            },
            spans: places.spans.into_iter().map(|(_, row, span)| (row, span)).collect(),
        });
    }
    drafts
}

impl Places {
    /// The canary's fair share of this error.
    fn share(&self) -> f64 {
        self.fair / len_f64(self.traces.iter().map(BTreeSet::len).sum::<usize>().max(1))
    }
}

/// The canary's fair share of requests, by entry operation.
struct Fair<'a> {
    rows: &'a Rows,
    overall: f64,
    by_entry: BTreeMap<u32, f64>,
}

impl<'a> Fair<'a> {
    fn new(arms: [&[EntrySubtree]; 2], rows: &'a Rows, settings: &Settings) -> Self {
        let traces = arms.map(|arm| len_f64(arm.len()));
        // Traces may be sampled differently in both arms; requests are counted.
        let [old, new] = match settings.requests {
            Some(requests) if requests.baseline > 0 && requests.canary > 0 => {
                [as_f64(requests.baseline), as_f64(requests.canary)]
            }
            Some(_) | None => traces,
        };
        let mut counts: BTreeMap<u32, [f64; 2]> = BTreeMap::new();
        for (arm, rows) in [&rows.baseline, &rows.canary].into_iter().enumerate() {
            for row in rows {
                counts.entry(row.entry).or_default()[arm] += 1.0;
            }
        }
        let scale = (new / traces[1].max(1.0)) / (old / traces[0].max(1.0)).max(f64::MIN_POSITIVE);
        let overall = new / (old + new).max(1.0);
        let by_entry = counts
            .into_iter()
            // What the baseline is never asked for is the canary's own; its share overall is all there is to say.
            .filter(|(_, [baseline, _])| *baseline > 0.0)
            .map(|(entry, [baseline, canary])| {
                (entry, canary * scale / (canary * scale + baseline))
            })
            .collect();
        Self { rows, overall, by_entry }
    }

    fn share(&self, arm: usize, row: usize) -> f64 {
        let rows = if arm == 0 { &self.rows.baseline } else { &self.rows.canary };
        let entry = rows.get(row).map(|row| row.entry);
        entry.and_then(|entry| self.by_entry.get(&entry)).copied().unwrap_or(self.overall)
    }
}
