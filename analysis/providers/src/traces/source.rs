//! What a store must be able to do so that `read.rs` can read it.

use std::time::Duration;

use analysis::Arm;
use analysis_traces::{ArmLabel, Kept, Requests, Span, TraceId};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use jiff::Timestamp;

use super::TraceQuery;
use super::labels::{self, Label};
use super::run::Run;
use super::windows::Window;
use crate::error::FetchError;
use crate::stores::attempt::Base;
use crate::stores::limits::Limits;

/// Parts of the time that are searched unless a store counts its searches.
pub(super) const SPREAD: usize = 8;

/// How a store wants to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    /// Its name for people.
    pub(super) name: &'static str,
    /// How its searches choose, for people; a part of a sentence.
    pub(super) choice: &'static str,
    /// How long after a moment it has all traces of it.
    pub(super) settle: Duration,
    /// Whether it refuses to be asked sooner.
    pub(super) refuses_unsettled: bool,
    /// Most traces of each arm and in all its kinds, if fewer than are asked for.
    pub(super) most: Option<Wanted>,
    /// Parts of the time that are searched even if one search could answer all.
    pub(super) spread: usize,
    /// Whether an answer to a search holds the traces themselves, so that their size bounds how many to ask for.
    pub(super) whole: bool,
    /// The longest time for one reading.
    pub(super) budget: Duration,
    /// The wall clock.
    pub(super) clock: fn() -> Timestamp,
}

/// Traces of one arm to search for, by why they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Whatever the store answers.
    pub(super) uniform: usize,
    /// Slow ones.
    pub(super) slow: usize,
    /// Failed ones.
    pub(super) error: usize,
}

impl Wanted {
    /// Half of `most` without regard to what they are, a quarter slow, a quarter failed: the same for both arms.
    pub(super) fn of(most: usize) -> Self {
        Self { uniform: most.div_ceil(2), slow: most / 4, error: most / 4 }
    }

    /// How many of one kind.
    pub(super) fn get(self, kept: Kept) -> usize {
        match kept {
            Kept::Uniform => self.uniform,
            Kept::Slow => self.slow,
            Kept::Error => self.error,
        }
    }

    /// No more of any kind than `bound`.
    pub(super) fn within(self, bound: Self) -> Self {
        Self {
            uniform: self.uniform.min(bound.uniform),
            slow: self.slow.min(bound.slow),
            error: self.error.min(bound.error),
        }
    }
}

/// One search.
#[derive(Debug, Clone)]
pub(super) struct Search<'a> {
    /// The service as the store writes it.
    pub(super) service: &'a str,
    /// What tells the arm; `None`: any version.
    pub(super) label: Option<&'a Label>,
    /// Which traces.
    pub(super) kept: Kept,
    /// For slow ones: lasting at least so long.
    pub(super) slower: Duration,
    /// When.
    pub(super) window: Window,
    /// Most traces; at least 1.
    pub(super) most: usize,
}

/// What a search found.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Spans of whole traces, or of what lies below the service's entries.
    pub(super) spans: Vec<Span>,
    /// How long the answers were, in bytes.
    pub(super) bytes: usize,
}

impl Page {
    /// Adds what another answer holds.
    pub(super) fn add(&mut self, other: Self) {
        self.spans.extend(other.spans);
        self.bytes += other.bytes;
    }
}

/// A store of traces. One file each.
pub(super) trait Source: Send + Sync {
    /// Its address and access.
    fn base(&self) -> &Base;

    /// When it may be asked.
    fn limits(&self) -> &Limits;

    /// How it wants to be read.
    fn habits(&self) -> Habits;

    /// A service's name as the store writes it.
    fn service(&self, name: &str) -> String {
        name.to_owned()
    }

    /// What may tell an arm from the other, to be tried in order until one finds something.
    fn labels(&self, arm: &ArmLabel, other: &ArmLabel) -> Vec<Label> {
        labels::labels(arm, other)
    }

    /// Finds out what has to be known before the first search.
    fn begin<'a>(&'a self, _run: &'a Run<'a>) -> BoxFuture<'a, Result<(), FetchError>> {
        ready(Ok(())).boxed()
    }

    /// Searches; what is incomplete is noted.
    ///
    /// # Errors
    /// When nothing could be read.
    fn search<'a>(
        &'a self,
        run: &'a Run<'a>,
        search: &'a Search<'a>,
    ) -> BoxFuture<'a, Result<Page, FetchError>>;

    /// Counts all requests of both arms; `None`: it cannot.
    fn requests<'a>(
        &'a self,
        _run: &'a Run<'a>,
        _ask: &'a TraceQuery,
    ) -> BoxFuture<'a, Option<Requests>> {
        ready(None).boxed()
    }

    /// See [`super::TraceStore::link`].
    fn link(&self, trace: TraceId, at: Option<(Timestamp, Timestamp)>) -> Option<String>;

    /// See [`super::TraceStore::explore`].
    fn explore(&self, ask: &TraceQuery) -> Option<String>;

    /// See [`super::TraceStore::pair`].
    fn pair(&self, baseline: TraceId, canary: TraceId) -> Option<String>;
}

/// An arm's own word for people.
pub(super) fn name_of(arm: Arm) -> &'static str {
    match arm {
        Arm::Baseline => "the baseline",
        Arm::Canary => "the canary",
    }
}
