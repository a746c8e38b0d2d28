//! Deployments' stories, told from the journal, and kept for a moment.
//!
//! A story is a replay of all its events: cheap once, but a page in many browsers would ask for it
//! every second. So one that is over is kept, and one under way is told afresh when something was
//! decided, and else about once a second at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use rollout::replay::Story;
use rollout::{Deployment, DeploymentId, Finished, Happened, transition};
use tokio::time::Instant;

use super::problem::Problem;
use crate::board::{Board, Glance};
use crate::cause::Cause;
use crate::journal::{Entry, JournalError, Reader, Recording};

/// Stories that are kept; each holds some hundred points, that is some hundred kilobytes.
const MOST_STORIES: usize = 32;

/// Points of a story that are kept: more than a chart has pixels for is not seen.
const MOST_POINTS: usize = 300;

/// How old a story of a deployment under way may be at least.
const FRESH: Duration = Duration::from_millis(700);

/// And in how many times the time that telling it took: a long rollout that is watched takes at
/// most a tenth of a core.
const PATIENCE: u32 = 10;

/// One deployment's story with what it was about.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) entry: Entry,
    /// What was deployed over what; `None` for a record whose beginning is unreadable.
    pub(super) deployment: Option<Deployment>,
    pub(super) story: Story,
    /// What traces said made the canary worse.
    pub(super) cause: Option<Cause>,
}

impl Told {
    /// How it ended, from the index or the replay.
    pub(super) fn finished(&self) -> Option<&Finished> {
        self.entry.finished.as_ref().or(self.story.finished.as_ref())
    }
}

/// Tells stories.
pub(super) struct Stories {
    reader: Reader,
    board: Arc<Board>,
    kept: Mutex<HashMap<String, Kept>>,
    /// One replay at a time, so that many readers cost no more than one.
    telling: tokio::sync::Mutex<()>,
}

struct Kept {
    at: Instant,
    took: Duration,
    /// The newest decision of it when it was told.
    decided: Option<Timestamp>,
    told: Arc<Told>,
}

impl Stories {
    pub(super) fn new(reader: Reader, board: Arc<Board>) -> Self {
        Self { reader, board, kept: Mutex::default(), telling: tokio::sync::Mutex::default() }
    }

    /// The story of `id`. Dropping it half-way is safe.
    pub(super) async fn tell(&self, id: &str) -> Result<Arc<Told>, Problem> {
        if let Some(told) = self.kept(id) {
            return Ok(told);
        }
        let _telling = self.telling.lock().await;
        // Whoever was before may have told it.
        if let Some(told) = self.kept(id) {
            return Ok(told);
        }
        // Before reading: what is decided while it is read must not count as told.
        let (at, decided) = (Instant::now(), self.decided(id));
        let recording = self.reader.recording(&DeploymentId::from_text(id)).await?;
        let recording = recording.ok_or_else(|| Problem::no_deployment(id))?;
        let told = tokio::task::spawn_blocking(move || tell(recording)).await.map_err(|error| {
            tracing::error!(
                error = crate::chain(&error),
                "a replay ended in a defect; please report it"
            );
            let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
            Problem::new(
                status,
                "the deployment could not be replayed",
                "please report it with the journal's entries",
            )
        })?;
        let told = Arc::new(told);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_STORIES
            && let Some(oldest) =
                kept.iter().min_by_key(|(_, kept)| kept.at).map(|(id, _)| id.clone())
        {
            kept.remove(&oldest);
        }
        kept.insert(id.to_owned(), Kept { at, took: at.elapsed(), decided, told: told.clone() });
        Ok(told)
    }

    fn kept(&self, id: &str) -> Option<Arc<Told>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { at, took, decided, told } = kept.get(id)?;
        let fresh = at.elapsed() < FRESH.max(*took * PATIENCE) && *decided == self.decided(id);
        (fresh || told.entry.finished.is_some()).then(|| told.clone())
    }

    /// The newest decision of the service whose deployment under way is `id`.
    fn decided(&self, id: &str) -> Option<Timestamp> {
        let services = self.board.services();
        let glance = services
            .iter()
            .find(|glance| glance.live.as_ref().is_some_and(|live| live.id == id))?;
        glance.reason.as_ref().map(|(at, _)| *at)
    }
}

fn tell(recording: Recording) -> Told {
    let Recording { entry, before, events } = recording;
    let deployment = events
        .first()
        .and_then(|first| transition(before.clone(), first).state.live)
        .map(|live| live.deployment)
        .filter(|deployment| deployment.id == entry.id);
    let mut story = rollout::replay::story(before, &events, &entry.id);
    story.points = thinned(story.points);
    let documents = events.iter().rev().filter_map(|event| {
        if let Happened::Explained { deployment, document, .. } = &event.what
            && *deployment == entry.id
        {
            document.as_ref()
        } else {
            None
        }
    });
    let cause = { documents }.find_map(|document| read(document));
    Told { entry, deployment, story, cause }
}

/// A document that an older or newer Serin wrote otherwise is not shown.
fn read(document: &str) -> Option<Cause> {
    let read = serde_json::from_str(document);
    read.inspect_err(|error| tracing::debug!(%error, "a root cause cannot be read back")).ok()
}

/// At most [`MOST_POINTS`] of them, evenly chosen, with the first and the last.
fn thinned<T>(points: Vec<T>) -> Vec<T> {
    let count = points.len();
    if count <= MOST_POINTS {
        return points;
    }
    let last = count - 1;
    // The k-th kept point is the one at k * last / (MOST_POINTS - 1).
    let mut wanted = (0..MOST_POINTS).map(|k| k * last / (MOST_POINTS - 1)).peekable();
    let keep = |(index, point)| (wanted.next_if_eq(&index).is_some()).then_some(point);
    points.into_iter().enumerate().filter_map(keep).collect()
}

/// The record of a service's newest finished deployment, if there is one.
type Ending = Option<Arc<Finished>>;

/// How each service's newest finished deployment ended.
pub(super) struct Endings {
    reader: Reader,
    /// By service: the reason's time for which it was looked up, and what was found.
    known: Mutex<HashMap<String, (Option<Timestamp>, Ending)>>,
}

impl Endings {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader, known: Mutex::default() }
    }

    /// For each of `services`, in order. An ending always comes with a new reason, so that nothing
    /// is asked of the journal while nothing is decided.
    pub(super) async fn of(&self, services: &[Arc<Glance>]) -> Result<Vec<Ending>, JournalError> {
        let stamp = |glance: &Glance| glance.reason.as_ref().map(|(at, _)| *at);
        let stale: Vec<&Arc<Glance>> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = |glance: &Glance| {
                known.get(&glance.service).is_some_and(|(at, _)| *at == stamp(glance))
            };
            services.iter().filter(|glance| !fresh(glance)).collect()
        };
        let looks = stale.into_iter().map(|glance| async move {
            let newest = self.reader.deployments(Some(&glance.service), None, 2).await?;
            let ended = newest.into_iter().find_map(|entry| entry.finished).map(Arc::new);
            Ok::<_, JournalError>((glance.service.clone(), (stamp(glance), ended)))
        });
        let looked = join_all(looks).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(looked);
        Ok(services
            .iter()
            .map(|glance| known.get(&glance.service).and_then(|(_, ended)| ended.clone()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_order_and_both_ends() {
        assert_eq!(thinned((0..10).collect()), (0..10).collect::<Vec<_>>());
        for count in [301, 302, 599, 600, 10_007] {
            let kept = thinned((0..count).collect());
            assert_eq!(kept.len(), MOST_POINTS, "{count}");
            assert_eq!((kept[0], kept[MOST_POINTS - 1]), (0, count - 1));
            assert!(kept.is_sorted_by(|a, b| a < b));
        }
    }
}
