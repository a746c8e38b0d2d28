//! The JSON shapes of the API: of its own, so that the inside can change while callers do not.

use analysis::Verdict;
use jiff::Timestamp;
use rollout::commit::ChangedFile;
use rollout::{Commit, Finished, GitOutcome, Outcome, Release};
use serde::Serialize;

use super::past::Told;
use crate::board::{Glance, LiveGlance};
use crate::cause::Cause;

/// A service at a glance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    name: String,
    repository: Option<String>,
    stable: Option<Stable>,
    live: Option<LiveGlance>,
    waiting: Option<String>,
    hold: Option<String>,
    approvable: bool,
    reason: Option<Moment>,
    /// Only for a single service.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stable {
    revision: String,
    verified: String,
    subject: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Moment {
    at: Timestamp,
    reason: String,
}

impl Service {
    pub(super) fn new(glance: &Glance) -> Self {
        Self {
            name: glance.service.clone(),
            repository: glance.repository.clone(),
            stable: glance.stable.as_ref().map(Stable::new),
            live: glance.live.clone(),
            waiting: glance.waiting.clone(),
            hold: glance.hold.clone(),
            approvable: glance.approvable,
            reason: glance.reason.clone().map(|(at, reason)| Moment { at, reason }),
            policy: None,
        }
    }

    pub(super) fn with_policy(mut self, glance: &Glance) -> Self {
        self.policy = glance.policy.as_deref().map(crate::config::show_policy);
        self
    }
}

impl Stable {
    fn new(release: &Release) -> Self {
        Self {
            revision: release.revision.to_string(),
            verified: release.verified.to_string(),
            subject: release.subject.clone(),
        }
    }
}

/// A deployment in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    id: String,
    service: String,
    began: Timestamp,
    #[serde(flatten)]
    ended: Option<End>,
}

impl Summary {
    pub(super) fn new(entry: &crate::journal::Entry) -> Self {
        Self {
            id: entry.id.to_string(),
            service: entry.service.clone(),
            began: entry.began,
            ended: entry.finished.as_ref().map(End::new),
        }
    }
}

/// What is known once it is over.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct End {
    revision: String,
    subject: String,
    author: String,
    outcome: Outcome,
    reason: String,
    weight: f64,
    canary_failures: u64,
    exposed: Option<Timestamp>,
    decided: Timestamp,
    traffic_back: Option<Timestamp>,
    ended: Timestamp,
    /// What traces say made the canary worse, or why nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    git: Option<Git>,
}

impl End {
    fn new(finished: &Finished) -> Self {
        Self {
            revision: finished.commit.revision.to_string(),
            subject: finished.commit.subject.clone(),
            author: finished.commit.author.clone(),
            outcome: finished.outcome,
            reason: finished.reason.clone(),
            weight: finished.weight.share(),
            canary_failures: finished.canary_failures,
            exposed: finished.exposed,
            decided: finished.decided,
            traffic_back: finished.traffic_back,
            ended: finished.ended,
            cause: finished.cause.as_ref().map(|cause| cause.sentence().to_owned()),
            git: finished.git.as_ref().map(Git::new),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Git {
    /// Whether Git no longer holds the change.
    undone: bool,
    sentence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
}

impl Git {
    fn new(outcome: &GitOutcome) -> Self {
        let mut git = Self {
            undone: outcome.undone(),
            sentence: outcome.sentence(),
            revision: None,
            branch: None,
            conflicts: Vec::new(),
            patch: None,
        };
        match outcome {
            GitOutcome::Pushed { revision, .. } => git.revision = Some(revision.to_string()),
            GitOutcome::Branch { name, revision } => {
                (git.branch, git.revision) = (Some(name.clone()), Some(revision.to_string()));
            }
            GitOutcome::AlreadyDone { revision } => {
                git.revision = revision.as_ref().map(ToString::to_string);
            }
            GitOutcome::Conflict { files } => git.conflicts.clone_from(files),
            GitOutcome::NotWritten { patch, .. } => git.patch.clone_from(patch),
        }
        git
    }
}

/// One deployment's whole story.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Story<'a> {
    id: &'a str,
    service: &'a str,
    began: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'a LiveGlance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<End>,
    commit: Option<&'a Commit>,
    stable: Option<Stable>,
    steps: Vec<Step>,
    commits: &'a [Commit],
    more_commits: usize,
    files: &'a [ChangedFile],
    policy_problem: Option<&'a str>,
    verdict: Option<&'a Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a Cause>,
    moments: Vec<Moment>,
    points: Vec<Point<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    weight: f64,
    at_least_seconds: f64,
    deadline_seconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Point<'a> {
    at: Timestamp,
    weight: f64,
    verdict: &'a Verdict,
}

impl<'a> Story<'a> {
    pub(super) fn new(told: &'a Told, live: Option<&'a LiveGlance>) -> Self {
        let deployment = told.deployment.as_ref();
        let canary = deployment.map(|deployment| &deployment.canary);
        let finished = told.finished();
        let step = |step: &rollout::policy::StepPolicy| Step {
            weight: step.weight.share(),
            at_least_seconds: step.at_least.as_secs_f64(),
            deadline_seconds: step.deadline.as_secs_f64(),
        };
        let points = told.story.points.iter();
        Self {
            id: told.entry.id.as_str(),
            service: &told.entry.service,
            began: told.entry.began,
            live,
            ended: finished.map(End::new),
            commit: canary.map(|canary| &canary.commit).or(finished.map(|f| &f.commit)),
            stable: deployment
                .map(|d| &d.stable)
                .or(finished.and_then(|f| f.stable.as_ref()))
                .map(Stable::new),
            steps: deployment.iter().flat_map(|d| d.plan.steps()).map(step).collect(),
            commits: canary
                .map(|canary| &*canary.commits)
                .or(finished.map(|f| &*f.commits))
                .unwrap_or_default(),
            more_commits: canary.map_or(0, |canary| canary.more_commits),
            files: canary.map_or(&[], |canary| &canary.files),
            policy_problem: canary.and_then(|canary| canary.policy_problem.as_deref()),
            verdict: verdict(told),
            cause: told.cause.as_ref(),
            moments: told
                .story
                .moments
                .iter()
                .map(|m| Moment { at: m.at, reason: m.reason.clone() })
                .collect(),
            points: points
                .map(|p| Point { at: p.at, weight: p.weight.share(), verdict: &p.verdict })
                .collect(),
        }
    }
}

/// The evidence at the decision, or else the newest.
pub(super) fn verdict(told: &Told) -> Option<&Verdict> {
    told.finished().and_then(|f| f.verdict.as_ref()).or(told
        .story
        .points
        .last()
        .map(|point| &point.verdict))
}
