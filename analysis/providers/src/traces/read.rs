//! One reading of any store.
//!
//! First what tells the arms apart there; then, in small searches of many parts of the time and for both arms in
//! turn, traces without regard to what they are; then slow and failed ones, by the same rule in both arms
//! (proportions: reference of issue 4, section 2.9). An arm of which there is nothing is told, with what the
//! service's traces lack when they have no label.

use std::time::Duration;

use analysis::Arm;
use analysis_traces::{Kept, Unlabelled};
use futures_util::future::join;
use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};

use super::labels::{self, Label};
use super::run::{MOST_BYTES, Run};
use super::sample::Sample;
use super::source::{Habits, Page, Search, Source, Wanted, name_of};
use super::windows::Window;
use super::{Fetched, TraceQuery};
use crate::error::FetchError;

const ARMS: [Arm; 2] = [Arm::Baseline, Arm::Canary];

/// Searches under way; each makes one request or more, of which the run permits some at once.
const SEARCHES: usize = 8;

/// Traces that one search asks for at most.
const TOGETHER: usize = 50;

/// Traces that show which label is used, and how large they are.
const TRIAL: usize = 5;

/// Traces without a label that are looked at when an arm has none.
const UNLABELLED: usize = 20;

/// Most traces of an arm, whatever is asked for.
const MOST: usize = 20_000;

/// The share of the time after which the searches for any traces must have ended.
const FIRST_SHARE: f64 = 0.6;

/// Of one reading.
struct Reading<'a> {
    source: &'a dyn Source,
    run: &'a Run<'a>,
    ask: &'a TraceQuery,
    habits: Habits,
    service: &'a str,
    window: Window,
}

/// How an arm is searched for.
#[derive(Debug, Default)]
struct Plan {
    /// What tells it; `None` when nothing of the arm was found.
    label: Option<Label>,
    /// Bytes of a trace, as far as known.
    size: usize,
}

/// Reads both arms.
///
/// # Errors
/// See [`super::TraceStore::fetch`].
pub(super) async fn read(source: &dyn Source, ask: &TraceQuery) -> Result<Fetched, FetchError> {
    let habits = source.habits();
    let now = (habits.clock)();
    source.limits().begin(now);
    if let Some(wait) = source.limits().waiting(source.base().shown()) {
        return Err(wait);
    }
    let window = window(ask, habits, now)?;
    let run = Run::new(source.base(), source.limits(), habits.budget);
    let service = source.service(&ask.service);
    let reading = Reading { source, run: &run, ask, habits, service: &service, window };
    let fetched = reading.read().await?;
    let mut notes = fetched.notes;
    notes.extend(run.into_notes().told());
    Ok(Fetched { notes, ..fetched })
}

/// The time that is read.
fn window(ask: &TraceQuery, habits: Habits, now: Timestamp) -> Result<Window, FetchError> {
    if ask.from >= ask.to {
        let (from, to) = (ask.from, ask.to);
        return Err(FetchError::permanent(format!("the time from {from} to {to} is empty")));
    }
    let settled = SignedDuration::try_from(habits.settle)
        .ok()
        .and_then(|settle| ask.to.checked_add(settle).ok())
        .unwrap_or(Timestamp::MAX);
    if habits.refuses_unsettled && now < settled {
        return Err(FetchError::transient(format!(
            "{} answers for a time when it is over for {:?}: the next attempt is after {settled:.0}",
            habits.name, habits.settle
        )));
    }
    Ok(Window { from: ask.from, to: ask.to })
}

impl Reading<'_> {
    async fn read(&self) -> Result<Fetched, FetchError> {
        self.source.begin(self.run).await?;
        let [baseline, canary] = ARMS.map(|arm| self.find(arm));
        let (baseline, canary) = join(baseline, canary).await;
        let plans = [baseline?, canary?];
        let wanted = self.wanted(&plans);
        let mut sample = Sample::new(&self.ask.arms, self.service);

        self.run.use_until(FIRST_SHARE);
        let any = self.searches(&plans, wanted, &[Kept::Uniform], Duration::ZERO);
        let mut failed = self.search(any, &mut sample).await;
        self.run.use_until(1.0);
        let slower = sample.slow();
        let kinds: &[Kept] =
            if slower.is_some() { &[Kept::Error, Kept::Slow] } else { &[Kept::Error] };
        let particular = self.searches(&plans, wanted, kinds, slower.unwrap_or_default());
        let requests = self.source.requests(self.run, self.ask);
        let (also, requests) = join(self.search(particular, &mut sample), requests).await;
        failed = failed.or(also);

        let mut notes = Vec::new();
        let missing: Vec<Arm> = ARMS.into_iter().filter(|arm| sample.count(*arm) == 0).collect();
        if let (2, Some(error)) = (missing.len(), &failed) {
            return Err(error.clone());
        }
        if !missing.is_empty() && failed.is_none() {
            notes.push(self.missing(&missing, &sample).await?);
        } else if let [arm] = *missing {
            notes.push(format!("nothing that {} served could be read", name_of(arm)));
        }
        let [baseline, canary] = ARMS.map(|arm| {
            let at = usize::from(arm == Arm::Canary);
            let taken = sample.take(arm, wanted[at], self.ask.most[at]);
            if let (Some(label), false) = (&plans[at].label, taken.is_empty()) {
                let of = |kept| taken.iter().filter(|one| one.kept() == kept).count();
                notes.push(format!(
                    "requests read of {}: {} ({} as they came, {} slow, {} failed), found by {}",
                    name_of(arm),
                    taken.len(),
                    of(Kept::Uniform),
                    of(Kept::Slow),
                    of(Kept::Error),
                    labels::told(label)
                ));
            }
            taken
        });
        // Only now it is known by which API a Jaeger was asked.
        notes.push(format!("{} {}", self.habits.name, self.source.habits().choice));
        Ok(Fetched { baseline, canary, refused: sample.refused, requests, notes })
    }

    /// Which label finds traces of an arm.
    async fn find(&self, arm: Arm) -> Result<Plan, FetchError> {
        let arms = &self.ask.arms;
        let (own, other) = match arm {
            Arm::Baseline => (&arms.baseline, &arms.canary),
            Arm::Canary => (&arms.canary, &arms.baseline),
        };
        let labels = self.source.labels(own, other);
        if labels.is_empty() {
            return Err(labels::none(name_of(arm)));
        }
        if let ([label], false) = (&*labels, self.habits.whole) {
            return Ok(Plan { label: Some(label.clone()), size: 0 });
        }
        for label in labels {
            let page = self.try_out(Some(&label), TRIAL).await?;
            if !page.spans.is_empty() {
                let mut traces: Vec<_> = page.spans.iter().map(|span| span.trace).collect();
                traces.sort_unstable();
                traces.dedup();
                let size = page.bytes / traces.len().max(1);
                return Ok(Plan { label: Some(label), size });
            }
        }
        Ok(Plan::default())
    }

    async fn try_out(&self, label: Option<&Label>, most: usize) -> Result<Page, FetchError> {
        let search = Search {
            service: self.service,
            label,
            kept: Kept::Uniform,
            slower: Duration::ZERO,
            window: self.window,
            most,
        };
        self.source.search(self.run, &search).await
    }

    /// How many traces of each arm: as many as are asked for, unless the store or the size of traces says fewer.
    fn wanted(&self, plans: &[Plan; 2]) -> [Wanted; 2] {
        let asked = self.ask.most.map(|most| Wanted::of(most.min(MOST)));
        let asked = asked.map(|wanted| match self.habits.most {
            Some(most) => wanted.within(most),
            None => wanted,
        });
        let cost: usize = (0..2)
            .map(|at| {
                let Wanted { uniform, slow, error } = asked[at];
                (uniform + slow + error).saturating_mul(plans[at].size)
            })
            .fold(0, usize::saturating_add);
        // The traces of the trial may have been small ones.
        let affordable = MOST_BYTES / 4 * 3;
        if cost <= affordable {
            return asked;
        }
        self.run.note(format!(
            "traces are large, some {} KiB each: fewer than {} and {} are read",
            plans.iter().map(|plan| plan.size).max().unwrap_or(0) / 1_024,
            self.ask.most[0],
            self.ask.most[1]
        ));
        // Counts are at most `MOST`, so the product fits.
        let scaled =
            |count: usize| count.saturating_mul(affordable).div_euclid(cost).max(count.min(1));
        asked.map(|Wanted { uniform, slow, error }| Wanted {
            uniform: scaled(uniform),
            slow: scaled(slow),
            error: scaled(error),
        })
    }

    /// The searches for some kinds of traces, of both arms in turn.
    fn searches<'s>(
        &'s self,
        plans: &'s [Plan; 2],
        wanted: [Wanted; 2],
        kinds: &[Kept],
        slower: Duration,
    ) -> Vec<(Arm, Search<'s>)> {
        let mut searches = Vec::new();
        for (at, arm) in ARMS.into_iter().enumerate() {
            let Some(label) = &plans[at].label else { continue };
            for kept in kinds.iter().copied() {
                let count = wanted[at].get(kept);
                if count == 0 {
                    continue;
                }
                let fits = self.source.base().bounds().max_bytes / 4 / plans[at].size.max(1);
                let together = if self.habits.whole { fits.clamp(1, TOGETHER) } else { TOGETHER };
                let parts =
                    self.window.parts(count.div_ceil(together).max(self.habits.spread.min(count)));
                let most = count.div_ceil(parts.len().max(1)).min(together);
                let search = |window| Search {
                    service: self.service,
                    label: Some(label),
                    kept,
                    slower,
                    window,
                    most,
                };
                let turns = parts.into_iter().enumerate();
                searches.extend(turns.map(|(turn, window)| (turn, arm, search(window))));
            }
        }
        searches.sort_by_key(|(turn, _, _)| *turn);
        searches.into_iter().map(|(_, arm, search)| (arm, search)).collect()
    }

    /// Makes the searches and adds what they find; the first error, if there was one. All are noted.
    async fn search(
        &self,
        searches: Vec<(Arm, Search<'_>)>,
        sample: &mut Sample<'_>,
    ) -> Option<FetchError> {
        let under_way = searches.iter().map(|(_, search)| self.source.search(self.run, search));
        let under_way: Vec<_> = under_way.collect();
        let mut pages = stream::iter(under_way).buffered(SEARCHES);
        let mut first = None;
        for (arm, search) in &searches {
            match pages.next().await {
                Some(Ok(page)) => sample.add(*arm, search.kept, page.spans),
                Some(Err(error)) => {
                    self.run.note(error.text.clone());
                    first.get_or_insert(error);
                }
                None => break,
            }
        }
        first
    }

    /// What is said of arms of which nothing was found.
    async fn missing(&self, missing: &[Arm], sample: &Sample<'_>) -> Result<String, FetchError> {
        let page = self.try_out(None, UNLABELLED).await?;
        let is_sent = !page.spans.is_empty();
        let mut others = Sample::new(&self.ask.arms, self.service);
        others.add(Arm::Baseline, Kept::Uniform, page.spans);
        let found: usize = ARMS.into_iter().map(|arm| sample.count(arm)).sum();
        let unlabelled = others.unlabelled.saturating_add(sample.unlabelled);
        let which = match *missing {
            [arm] => name_of(arm),
            _ => "either version",
        };
        if unlabelled > 0 {
            let traces = u64::try_from(found).unwrap_or(u64::MAX).saturating_add(unlabelled);
            return Err(FetchError::permanent(Unlabelled { traces, missing: which }.to_string()));
        }
        let (name, service, Window { from, to }) = (self.habits.name, self.service, self.window);
        let nothing = found == 0 && others.count(Arm::Baseline) == 0;
        Ok(if nothing && is_sent {
            format!(
                "{name} has traces of `{service}` from {from:.0} to {to:.0}, but no whole one in which it answers: \
                 its requests need spans of the kind server or consumer"
            )
        } else if nothing {
            format!(
                "{name} has no requests of `{service}` from {from:.0} to {to:.0}: check that it sends traces \
                 there, and that `{service}` is its `service.name`"
            )
        } else {
            format!("{name} has no requests that {which} served from {from:.0} to {to:.0}")
        })
    }
}
