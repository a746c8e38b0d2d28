//! One reading: its time, its size, its requests at once, and what is noted on the way.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::notes::Notes;
use super::source::Page;
use crate::error::FetchError;
use crate::spans::{self, Decoded, Unreadable};
use crate::stores::attempt::{Answer, Base, words};
use crate::stores::limits::Limits;
use crate::stores::wire::message;

/// Requests at once.
const PARALLEL: usize = 8;

/// Bytes of answers in one reading; no request is made beyond.
pub(super) const MOST_BYTES: usize = 64 * 1_024 * 1_024;

/// One reading of a store.
pub(super) struct Run<'a> {
    base: &'a Base,
    limits: &'a Limits,
    budget: Duration,
    began: Instant,
    parallel: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    until: Option<Instant>,
    bytes: usize,
    /// Why no request is made any more.
    stopped: Option<FetchError>,
    notes: Notes,
    seen: HashSet<String>,
    decoded: spans::Refusals,
}

impl<'a> Run<'a> {
    /// A reading that begins now.
    pub(super) fn new(base: &'a Base, limits: &'a Limits, budget: Duration) -> Self {
        Self {
            base,
            limits,
            budget,
            began: Instant::now(),
            parallel: Semaphore::new(PARALLEL),
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on requests must have ended when this share of the time is over; in (0, 1].
    pub(super) fn use_until(&self, share: f64) {
        self.lock().until = Some(self.began + self.budget.mul_f64(share));
    }

    fn until(&self) -> Instant {
        self.lock().until.unwrap_or(self.began + self.budget)
    }

    /// Makes one request, whatever its status.
    ///
    /// # Errors
    /// When time or size are used up, or the store does not answer, refuses Serin or asks for a pause.
    pub(super) async fn ask(&self, request: RequestBuilder) -> Result<Answer, FetchError> {
        let until = self.until();
        let permit = timeout_at(until, self.parallel.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(self.late()) };
        self.may_ask()?;
        self.limits.permit(self.base.shown())?;
        let answer = timeout_at(until, self.base.send(request)).await;
        let answer = answer.unwrap_or_else(|_| Err(self.late()))?;
        self.limits.heard(answer.status, &answer.headers);
        self.lock().bytes += answer.body.len();
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let error = self.refused(&answer);
            self.lock().stopped.get_or_insert_with(|| error.clone());
            return Err(error);
        }
        Ok(answer)
    }

    fn may_ask(&self) -> Result<(), FetchError> {
        let mut state = self.lock();
        if state.stopped.is_none() && state.bytes >= MOST_BYTES {
            let mebibytes = MOST_BYTES / (1_024 * 1_024);
            state.stopped = Some(FetchError::transient(format!(
                "the {mebibytes} MiB that one reading may take are used up: further requests were left out"
            )));
        }
        state.stopped.clone().map_or(Ok(()), Err)
    }

    fn late(&self) -> FetchError {
        FetchError::transient(format!(
            "{} was not read to the end within the {:?} of one reading",
            self.base.shown(),
            self.budget
        ))
    }

    /// What a status other than success means, with the store's own words.
    pub(super) fn refused(&self, answer: &Answer) -> FetchError {
        let said =
            serde_json::from_slice(&answer.body).ok().and_then(|value: Value| message(&value));
        self.base.refused(answer, &said.unwrap_or_else(|| words(answer)))
    }

    /// The body of a success.
    ///
    /// # Errors
    /// As [`Self::ask`], and for any other status.
    pub(super) async fn body(&self, request: RequestBuilder) -> Result<Vec<u8>, FetchError> {
        let answer = self.ask(request).await?;
        if answer.status.is_success() { Ok(answer.body) } else { Err(self.refused(&answer)) }
    }

    /// An answer that is no JSON at all, or other JSON than documented.
    pub(super) fn unreadable(&self, error: &serde_json::Error) -> FetchError {
        self.base.broken(error)
    }

    /// The spans of an answer; what of it cannot be used is counted.
    ///
    /// # Errors
    /// When it cannot be read at all.
    pub(super) fn decode(
        &self,
        decoded: Result<Decoded, Unreadable>,
    ) -> Result<Vec<analysis_traces::Span>, FetchError> {
        match decoded {
            Ok(Decoded { spans, refused }) => {
                self.lock().decoded.add(&refused);
                Ok(spans)
            }
            Err(error) => Err(self.base.broken(&error)),
        }
    }

    /// Several answers to one search; those that failed beside others are noted.
    ///
    /// # Errors
    /// The first, when none succeeded.
    pub(super) fn together(
        &self,
        pages: Vec<Result<Page, FetchError>>,
    ) -> Result<Page, FetchError> {
        let (mut all, mut is_read, mut failed) = (Page::default(), pages.is_empty(), Vec::new());
        for page in pages {
            match page {
                Ok(page) => {
                    is_read = true;
                    all.add(page);
                }
                Err(error) => failed.push(error),
            }
        }
        if !is_read && !failed.is_empty() {
            return Err(failed.swap_remove(0));
        }
        for error in failed {
            self.note(error.text);
        }
        Ok(all)
    }

    /// Notes something for people.
    pub(super) fn note(&self, text: impl Into<String>) {
        self.lock().notes.add(text);
    }

    /// Notes the store's own words, without secrets.
    pub(super) fn note_said(&self, what: &str, said: &str) {
        let said = self.base.hide(said);
        self.note(format!("{} says{what}: {said}", self.base.shown()));
    }

    /// Whether this name comes for the first time, e.g. a trace that several searches find.
    pub(super) fn is_first(&self, name: &str) -> bool {
        self.lock().seen.insert(name.to_owned())
    }

    /// All notes.
    pub(super) fn into_notes(self) -> Notes {
        let State { mut notes, decoded, .. } =
            self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let told = decoded.told();
        if !told.is_empty() {
            notes.add(format!("of what was read: {}", told.join("; ")));
        }
        notes
    }
}
