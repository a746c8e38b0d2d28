//! From the machine's news to alerts, and from alerts to the channels that want them.
//!
//! The outbox is part of the machine's state, so a crash loses nothing: a notification is tried
//! until it is delivered or given up, and its key lets receivers drop what comes twice.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alerts::{
    Alert, Commit, Duty, Evidence, Git, Kind, Link, Links, Message, Need, Routes, Templates,
    Timings, Unsettled,
};
use alerts_notifiers::{DeliverError, Notifier};
use analysis::{Finding, Verdict};
use backon::{ExponentialBuilder, Retryable};
use futures_util::future::join_all;
use rollout::action::Occasion;
use rollout::state::Stage;
use rollout::{Finished, GitOutcome, Happened, News, Notification, Outcome, SuspectCommit};

use crate::board::Board;
use crate::chain;
use crate::clock::now;

/// Tries over about six hours; after that people have found out in other ways.
const TRIES: usize = 90;

/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Renders and delivers.
pub struct Teller {
    notifiers: BTreeMap<String, Arc<dyn Notifier>>,
    routes: Routes,
    templates: Templates,
    public_url: String,
    board: Arc<Board>,
    delivered: Mutex<HashSet<(String, String)>>,
}

impl Teller {
    /// Tells through `notifiers`, by the names that policies use.
    pub fn new(
        notifiers: BTreeMap<String, Arc<dyn Notifier>>,
        routes: Routes,
        templates: Templates,
        public_url: String,
        board: Arc<Board>,
    ) -> Self {
        Self { notifiers, routes, templates, public_url, board, delivered: Mutex::default() }
    }

    /// Delivers to every channel that wants it; answers when the last has it or was given up.
    pub async fn tell(&self, notification: &Notification) -> Happened {
        let alert = self.alert(notification);
        let rendered = self.templates.render(&alert);
        for problem in &rendered.problems {
            tracing::warn!(
                template = problem.template,
                line = problem.line,
                "{}; the built-in one was used",
                problem.what
            );
        }
        let audience = self.routes.audience(&notification.notify, &alert.kind);
        let deliveries = audience.into_iter().filter_map(|name| {
            let notifier = self.notifiers.get(name)?;
            Some(self.deliver(name, notifier.as_ref(), &rendered.message))
        });
        let failures: Vec<String> = join_all(deliveries).await.into_iter().flatten().collect();
        let given_up = (!failures.is_empty()).then(|| failures.join("; "));
        if let Some(why) = &given_up {
            tracing::error!(
                key = notification.key,
                why,
                "a notification was given up; people have not been told"
            );
        }
        let key = notification.key.clone();
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).retain(|(k, _)| *k != key);
        Happened::Notified { key, given_up }
    }

    /// `None` when it is there, else why it was given up.
    async fn deliver(
        &self,
        name: &str,
        notifier: &dyn Notifier,
        message: &Message,
    ) -> Option<String> {
        let slot = (message.key.clone(), name.to_owned());
        if self.delivered.lock().unwrap_or_else(PoisonError::into_inner).contains(&slot) {
            return None;
        }
        let patience = ExponentialBuilder::new()
            .with_min_delay(Duration::from_secs(1))
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(TRIES)
            .with_jitter();
        let sent = (|| notifier.deliver(message, now()))
            .retry(patience)
            .when(DeliverError::is_transient)
            .adjust(|error, pause| {
                pause.map(|pause| error.retry_after().map_or(pause, |asked| asked.max(pause)))
            })
            .notify(|error, pause| {
                self.board.metrics.notified(name, "transient");
                tracing::warn!(
                    notifier = name,
                    error = chain(error),
                    ?pause,
                    "a notification was not delivered; trying again"
                );
            })
            .await;
        match sent {
            Ok(_) => {
                self.board.metrics.notified(name, "delivered");
                self.delivered.lock().unwrap_or_else(PoisonError::into_inner).insert(slot);
                None
            }
            Err(error) => {
                self.board.metrics.notified(name, "permanent");
                Some(format!("{name}: {}", chain(&error)))
            }
        }
    }

    fn alert(&self, notification: &Notification) -> Alert {
        match &notification.news {
            News::Ended(finished) => self.ended(notification, finished),
            News::Waits { so_far, occasion, ask } => {
                let (kind, occurrence) = match occasion {
                    Occasion::Inconclusive { asked } => {
                        (Kind::Inconclusive { then: Unsettled::Held }, seconds(*asked))
                    }
                    Occasion::Breached => (Kind::NeedsPerson { need: Need::Decision }, 0),
                    Occasion::Stuck(stage) => {
                        (Kind::DutyFailed { duty: duty(*stage), of: None }, 0)
                    }
                };
                let reason = format!("{}; {ask}", so_far.reason);
                Alert { occurrence, ..self.about(notification, so_far, kind, reason) }
            }
            News::Refused { service, commit, why } => {
                let kind = Kind::NeedsPerson { need: Need::Decision };
                let mut alert = Alert::new(kind, notification.at, why.clone());
                alert.service = Some(service.clone());
                alert.commit = Some(commit_of(commit));
                alert.links.page = Some(format!("{}/services/{service}", self.public_url));
                alert
            }
        }
    }

    fn ended(&self, notification: &Notification, finished: &Finished) -> Alert {
        let git = git(finished.git.as_ref());
        let kind = match (finished.outcome, &finished.git) {
            (Outcome::Adopted, _) => Kind::Adopted,
            (Outcome::Promoted, _) => Kind::Promoted,
            (Outcome::RolledBack, Some(GitOutcome::Conflict { files })) => {
                Kind::NeedsPerson { need: Need::Conflict { files: files.clone() } }
            }
            (Outcome::RolledBack, Some(GitOutcome::NotWritten { needs_person: true, .. })) => {
                Kind::NeedsPerson { need: Need::Approval }
            }
            (Outcome::RolledBack, _) => Kind::RolledBack { git },
            (Outcome::Inconclusive | Outcome::NotStarted, _) => {
                Kind::Inconclusive { then: Unsettled::RolledBack }
            }
            (Outcome::Aborted, _) => {
                let by =
                    finished.reason.strip_prefix("aborted by ").unwrap_or("a person").to_owned();
                Kind::Aborted { by, git }
            }
            (Outcome::RevertedByPerson, _) => {
                let (by, revision) = finished
                    .reason
                    .split_once(" reverted it in Git with ")
                    .unwrap_or(("a person", ""));
                Kind::RevertedByPerson { by: by.to_owned(), revision: revision.to_owned() }
            }
            (Outcome::Superseded, _) => {
                let by = finished
                    .reason
                    .strip_prefix("superseded by ")
                    .unwrap_or("a newer commit")
                    .to_owned();
                Kind::Superseded { by }
            }
        };
        let mut reason = finished.reason.clone();
        if let Some(git) = &finished.git {
            reason = format!("{reason}; {}", git.sentence());
        }
        self.about(notification, finished, kind, reason)
    }

    fn about(
        &self,
        notification: &Notification,
        finished: &Finished,
        kind: Kind,
        reason: String,
    ) -> Alert {
        let mut alert = Alert::new(kind, notification.at, reason);
        alert.service = Some(finished.service.clone());
        alert.deployment = Some(finished.id.to_string());
        alert.commit = Some(commit_of(&finished.commit));
        alert.stable = finished.stable.as_ref().map(|s| s.revision.to_string());
        alert.evidence = finished.verdict.iter().flat_map(evidence).collect();
        if let Some(found) = finished.cause.as_ref().and_then(|cause| cause.found()) {
            alert.cause = Some(found.headline.clone());
            alert.cause_table.clone_from(&found.table);
            alert.suspect = found.suspect.as_ref().map(suspect);
        }
        alert.timings = timings(finished);
        alert.failed_canary_requests = Some(finished.canary_failures);
        alert.links = Links {
            page: Some(format!("{}/deployments/{}", self.public_url, finished.id)),
            dashboards: finished
                .cause
                .iter()
                .filter_map(|cause| cause.found())
                .flat_map(|found| &found.links)
                .map(|link| Link { title: link.text.clone(), url: link.url.clone() })
                .collect(),
            ..Links::default()
        };
        alert
    }
}

/// Tells occasions of one kind apart in a key.
fn seconds(at: jiff::Timestamp) -> u32 {
    u32::try_from(at.as_second()).unwrap_or(u32::MAX)
}

fn duty(stage: Stage) -> Duty {
    match stage {
        Stage::Traffic => Duty::Router,
        Stage::Cause | Stage::Git => Duty::Repository,
        Stage::Removal => Duty::Target,
    }
}

/// `commit 2 of 5, 4f2c1a9 Add gift cards (confidence high)`.
fn suspect(suspect: &SuspectCommit) -> String {
    let short: String = suspect.revision.chars().take(7).collect();
    format!(
        "commit {} of {}, {short} {} (confidence {})",
        suspect.position, suspect.of, suspect.subject, suspect.confidence
    )
}

fn commit_of(commit: &rollout::Commit) -> Commit {
    Commit {
        revision: commit.revision.to_string(),
        subject: commit.subject.clone(),
        author: commit.author.clone(),
        url: None,
    }
}

fn git(outcome: Option<&GitOutcome>) -> Git {
    match outcome {
        Some(GitOutcome::Pushed { revision, .. }) => {
            Git::Reverted { revision: revision.to_string(), branch: None }
        }
        Some(GitOutcome::Branch { name, .. }) => Git::PullRequest { url: name.clone() },
        Some(
            outcome @ (GitOutcome::AlreadyDone { .. }
            | GitOutcome::Conflict { .. }
            | GitOutcome::NotWritten { .. }),
        ) => Git::NotReverted { why: outcome.sentence() },
        None => Git::NotReverted { why: "Git was left as it is".to_owned() },
    }
}

fn timings(finished: &Finished) -> Timings {
    let since = finished.exposed.unwrap_or(finished.began);
    let seconds = |at: jiff::Timestamp| at.duration_since(since).as_secs_f64();
    Timings {
        detected_after_seconds: Some(seconds(finished.decided)),
        traffic_back_after_seconds: finished.traffic_back.map(seconds),
        reverted_after_seconds: finished
            .git
            .as_ref()
            .filter(|g| g.undone())
            .map(|_| seconds(finished.ended)),
    }
}

fn evidence(verdict: &Verdict) -> Vec<Evidence> {
    let of = |counts: analysis::Counts| format!("{} of {}", counts.events, counts.of);
    let row = |finding: &Finding| Evidence {
        check: finding.threshold.map_or_else(
            || finding.check.clone(),
            |seconds| format!("{} (slower than {seconds} s)", finding.check),
        ),
        canary: of(finding.canary),
        baseline: of(finding.baseline),
        tolerated: String::new(),
        evidence: Some(finding.log_evidence),
        needed: Some(verdict.log_threshold),
    };
    verdict.findings.iter().map(row).collect()
}
