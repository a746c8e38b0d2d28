//! State rebuilt from a journal, and a deployment's story told from it.

use analysis::Verdict;
use jiff::Timestamp;

use crate::deployment::{DeploymentId, Finished};
use crate::event::{Event, Happened};
use crate::machine::transition;
use crate::state::State;
use crate::weight::Weight;

/// The state after `events`, starting from `state`.
pub fn state<'a>(state: State, events: impl IntoIterator<Item = &'a Event>) -> State {
    events.into_iter().fold(state, |state, event| transition(state, event).state)
}

/// One thing that was decided during a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// Why, in one sentence.
    pub reason: String,
}

/// What the evidence said at one scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// The canary's share then.
    pub weight: Weight,
    /// The evidence.
    pub verdict: Verdict,
}

/// A deployment's story.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Story {
    /// Decisions, oldest first.
    pub moments: Vec<Moment>,
    /// Evidence, oldest first.
    pub points: Vec<Point>,
    /// The end, if it has come.
    pub finished: Option<Finished>,
}

/// Tells the story of `deployment` from its service's `events`, starting from `state` before them.
pub fn story<'a>(
    mut state: State,
    events: impl IntoIterator<Item = &'a Event>,
    deployment: &DeploymentId,
) -> Story {
    let mut story = Story::default();
    for event in events {
        let was = state.live_id() == Some(deployment);
        let next = transition(state, event);
        let is = next.state.live_id() == Some(deployment);
        if (was || is)
            && let Some(reason) = next.reason
        {
            story.moments.push(Moment { at: event.at, reason });
        }
        if let (true, Happened::Observed { .. }, Some(live)) = (is, &event.what, &next.state.live)
            && let Some(verdict) = &live.verdict
        {
            story.points.push(Point {
                at: event.at,
                weight: live.shift.weight,
                verdict: verdict.clone(),
            });
        }
        if next.finished.as_ref().is_some_and(|f| f.id == *deployment) {
            story.finished = next.finished;
        }
        state = next.state;
    }
    story
}
