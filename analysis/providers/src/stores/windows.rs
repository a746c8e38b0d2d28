//! Whole intervals of a store's counts, each delivered exactly once and for both arms together.
//!
//! The intervals of a subject begin with the one in which it is first measured. When one has settled it is asked
//! for, and it becomes part of a scrape when both arms of a check have it. One that an arm has not yet waits for
//! it, while later ones go on; after `stale_after` it is given up. So a late or lost interval of one arm is never
//! compared with another interval of the other, an outage of the store is never a zero, and what was counted
//! meanwhile comes when the store is back, up to 60 intervals.

mod account;
mod plan;
mod tally;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use self::account::{Account, Due, Frame};
use super::{Reply, Store, Window};
use crate::error::FetchError;
use crate::subject::Subject;
use crate::{Choice, Measured, MetricProvider};

/// Most intervals of a check that are asked for at once; older ones are given up.
const MOST_INTERVALS: i64 = 60;

/// Requests to one store at the same time.
const LANES: usize = 4;

/// Requests that have not begun after this long are left for the next round.
const ROUND: Duration = Duration::from_secs(60);

/// A store of counts per interval as a source of observations.
pub struct Windows {
    store: Box<dyn Store>,
    accounts: Mutex<HashMap<String, Account>>,
}

impl fmt::Debug for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows").field("store", &self.store.shown()).finish_non_exhaustive()
    }
}

/// Answers by the beginning of the window and the query.
type Answers = BTreeMap<(Timestamp, String), Result<Reply, FetchError>>;

impl Windows {
    /// A store without subjects yet; it is not contacted.
    pub(crate) fn new(store: impl Store + 'static) -> Self {
        Self { store: Box::new(store), accounts: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The grid of intervals at a moment.
    fn frame(&self, at: Timestamp) -> Frame {
        let pace = self.store.pace();
        let long = |d: Duration| SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX);
        let step = long(pace.step).max(SignedDuration::from_secs(1));
        let seen = at.checked_sub(long(pace.settle)).unwrap_or(Timestamp::MIN);
        Frame {
            at,
            step,
            now: floor(at, step),
            settled: floor(seen, step),
            stale_after: long(pace.stale_after),
        }
    }

    async fn all(&self, subjects: &[Subject], at: Timestamp) -> Vec<Measured> {
        if let Some(limits) = self.store.limits() {
            limits.begin(at);
        }
        let frame = self.frame(at);
        let mut due: Vec<Vec<Due>> = Vec::with_capacity(subjects.len());
        {
            let mut accounts = self.lock();
            for subject in subjects {
                let account = accounts.entry(subject.id.clone()).or_default();
                due.push(account.prepare(self.store.as_ref(), subject, frame));
            }
        }
        let barred = self.store.limits().and_then(|limits| limits.waiting(self.store.shown()));
        if let Some(error) = barred {
            let barred = |subject: &Subject| Measured {
                subject: subject.id.clone(),
                result: Err(error.clone()),
            };
            return subjects.iter().map(barred).collect();
        }
        let late = due.iter().flatten().filter(|due| due.late).filter_map(|due| due.from).min();
        for one in due.iter_mut().flatten().filter(|due| due.late && due.from.is_some()) {
            // Those who wait for something share one window, so that they share requests.
            one.from = late;
        }
        let answers = self.answers(&due, frame).await;
        let mut accounts = self.lock();
        let mut measured = Vec::with_capacity(subjects.len());
        for (subject, due) in subjects.iter().zip(due) {
            let account = accounts.entry(subject.id.clone()).or_default();
            let result = account.settle(subject, frame, &due, &answers);
            measured.push(Measured { subject: subject.id.clone(), result });
        }
        measured
    }

    /// Asks for everything that is due, the same query of several subjects once.
    async fn answers(&self, due: &[Vec<Due>], frame: Frame) -> Answers {
        let mut windows: BTreeMap<Timestamp, Vec<String>> = BTreeMap::new();
        let mut known: Answers = Answers::new();
        for one in due.iter().flatten() {
            let Some(from) = one.from else { continue };
            let Ok(plan) = &one.plan else { continue };
            for query in plan.arms.iter().flat_map(|(_, asked)| asked).flat_map(|a| &a.queries) {
                // The place is taken until the answer is there.
                let place = known.entry((from, query.clone()));
                if let std::collections::btree_map::Entry::Vacant(place) = place {
                    place.insert(Err(FetchError::transient("not asked")));
                    windows.entry(from).or_default().push(query.clone());
                }
            }
        }
        let together = self.store.pace().together.max(1);
        let batches: Vec<(Timestamp, Vec<String>)> = windows
            .into_iter()
            .flat_map(|(from, queries)| {
                let chunks: Vec<_> = queries.chunks(together).map(<[String]>::to_vec).collect();
                chunks.into_iter().map(move |chunk| (from, chunk))
            })
            .collect();
        let deadline = Instant::now() + ROUND;
        let asked = stream::iter(batches.into_iter().map(|(from, queries)| async move {
            let window = Window { from, to: frame.settled, step: self.store.pace().step };
            let results = if Instant::now() < deadline {
                self.store.ask(&queries, window).await
            } else {
                Vec::new()
            };
            (from, queries, results)
        }));
        let mut asked = asked.buffer_unordered(LANES);
        while let Some((from, queries, results)) = asked.next().await {
            let mut results = results.into_iter();
            for query in queries {
                let unasked = || {
                    let (shown, seconds) = (self.store.shown(), ROUND.as_secs());
                    Err(FetchError::transient(format!(
                        "{shown} answered too slowly: not everything was asked within {seconds} s"
                    )))
                };
                known.insert((from, query), results.next().unwrap_or_else(unasked));
            }
        }
        known
    }
}

impl MetricProvider for Windows {
    fn measure<'a>(
        &'a self,
        subjects: &'a [Subject],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Measured>> {
        self.all(subjects, at).boxed()
    }

    fn chosen(&self, subject: &str) -> Vec<Choice> {
        self.lock().get(subject).map(Account::choices).unwrap_or_default()
    }

    fn forget(&self, subject: &str) {
        self.lock().remove(subject);
    }
}

/// The beginning of the interval that holds a moment.
fn floor(at: Timestamp, step: SignedDuration) -> Timestamp {
    let beyond = at.as_nanosecond().rem_euclid(step.as_nanos().max(1));
    at.checked_sub(SignedDuration::from_nanos_i128(beyond)).unwrap_or(at)
}

#[cfg(test)]
mod tests;
