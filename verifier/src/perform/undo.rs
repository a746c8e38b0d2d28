//! The revert: what the machine ordered, handed to Git, and Git's answer in the machine's words.

use rollout::action::OnlyShow;
use rollout::policy::Revert;
use rollout::{GitOutcome, Happened, RevertOrder};
use sha2::{Digest, Sha256};

use super::versions::oid;
use super::{Performer, Repository};
use crate::chain;
use crate::git::{Destination, GitError, Mirror, Paths, RevertPlan, RevertRequest, Reverted};
use crate::watch::revision;

/// Why a revert has to be tried again; what trying does not mend is an answer instead.
#[derive(Debug, thiserror::Error)]
enum Again {
    #[error("failed to reach Git")]
    Git(#[source] GitError),
    #[error("the work on the repository ended early")]
    Ended,
}

impl Performer {
    pub(super) async fn revert(&self, service: &str, order: RevertOrder) -> Happened {
        let deployment = order.deployment.clone();
        let Some(repository) = self.repositories.get(&order.candidate.repository) else {
            let why = format!("serin.yaml has no repository named {}", order.candidate.repository);
            return Happened::GitAnswered { deployment, outcome: not_written(why) };
        };
        let ask = match self.request(service, repository, &order).await {
            Ok(ask) => ask,
            Err(why) => return Happened::GitAnswered { deployment, outcome: not_written(why) },
        };
        let dry = OnlyShow {
            why: "serin.yaml says that nothing is pushed".to_owned(),
            needs_person: false,
        };
        let only_show = order.only_show.clone().or_else(|| repository.dry_run.then_some(dry));
        let what = format!("the revert of {deployment} could not be pushed");
        let attempt = || {
            let (mirror, ask, only_show) =
                (repository.mirror.clone(), ask.clone(), only_show.clone());
            async move {
                let work = move || match only_show {
                    Some(only_show) => show(&mirror, &ask, only_show),
                    None => write(&mirror, &ask),
                };
                tokio::task::spawn_blocking(work).await.map_err(|_| Again::Ended)?
            }
        };
        let outcome = self.persist(service, &deployment, ("revert", &what), attempt).await;
        if outcome.undone() {
            self.nudge.notify_one();
        }
        Happened::GitAnswered { deployment, outcome }
    }

    async fn request(
        &self,
        service: &str,
        repository: &Repository,
        order: &RevertOrder,
    ) -> Result<RevertRequest, String> {
        let policy = &order.candidate.policy;
        let paths = Paths::new(&policy.paths, &repository.policies).map_err(|e| chain(&e))?;
        Ok(RevertRequest {
            service: service.to_owned(),
            deployment: order.deployment.to_string(),
            bad: oid(order.candidate.revision()),
            verified: oid(&order.stable.verified),
            paths,
            reason: order.reason.clone(),
            evidence: order.evidence.clone(),
            cause: order.cause.clone(),
            table: order.table.clone(),
            evidence_hash: self.evidence_hash(order).await,
            links: std::iter::once(format!("{}/deployments/{}", self.public_url, order.deployment))
                .chain(order.links.iter().cloned())
                .collect(),
            author: repository.author.clone(),
            generation: order.generation,
            at: order.decided.as_second(),
            quarantine: policy.on_fail.revert == Revert::Push,
            destination: match policy.on_fail.revert {
                Revert::Push | Revert::None => Destination::Branch,
                Revert::PullRequest => Destination::Review,
            },
        })
    }

    /// Hash over the deployment's scrapes up to the decision, one JSON object a line: what a replay reads.
    async fn evidence_hash(&self, order: &RevertOrder) -> Option<String> {
        let recording = self.journal.recording(&order.deployment).await.inspect_err(|error| {
            tracing::warn!(
                error = chain(error),
                "the evidence cannot be read back; the revert goes without its hash"
            );
        });
        let mut hash = Sha256::new();
        for event in recording.ok()??.events.iter().filter(|e| e.at <= order.decided) {
            if let Happened::Observed { scrape, .. } = &event.what {
                hash.update(serde_json::to_string(scrape).ok()?);
                hash.update("\n");
            }
        }
        let digits =
            hash.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        Some(format!("sha256:{digits}"))
    }
}

fn write(mirror: &Mirror, ask: &RevertRequest) -> Result<GitOutcome, Again> {
    let (mirror_said, mut note) = (mirror.revert(ask), None);
    let answer = match mirror_said {
        // A protected branch: the same commit waits on a branch of its own.
        Err(GitError::Rejected { words, .. }) if ask.destination == Destination::Branch => {
            note = Some(words);
            mirror.revert(&RevertRequest { destination: Destination::Review, ..ask.clone() })
        }
        other => other,
    };
    match answer {
        Ok(Reverted::Pushed { revision: oid, subject, .. }) => {
            Ok(GitOutcome::Pushed { revision: revision(oid), subject })
        }
        Ok(Reverted::Branch { name, revision: oid }) => {
            Ok(GitOutcome::Branch { name, revision: revision(oid) })
        }
        Ok(Reverted::AlreadyDone { commit }) => {
            Ok(GitOutcome::AlreadyDone { revision: commit.map(revision) })
        }
        Ok(Reverted::Conflict { files }) => Ok(GitOutcome::Conflict { files }),
        Ok(Reverted::Refused { why }) => Ok(not_written(why)),
        Err(error) if error.transient() => Err(Again::Git(error)),
        Err(error) => {
            let words = note
                .map_or_else(String::new, |words| format!("the branch is protected ({words}); "));
            Ok(not_written(format!("{words}{}; {}", chain(&error), error.hint())))
        }
    }
}

fn show(mirror: &Mirror, ask: &RevertRequest, only_show: OnlyShow) -> Result<GitOutcome, Again> {
    let plan = mirror.fetch().and_then(|_| mirror.plan_revert(ask));
    let OnlyShow { why, needs_person } = only_show;
    match plan {
        Ok(RevertPlan::Clean { patch, .. }) => {
            Ok(GitOutcome::NotWritten { why, patch: Some(patch), needs_person })
        }
        Ok(RevertPlan::AlreadyDone { commit }) => {
            Ok(GitOutcome::AlreadyDone { revision: commit.map(revision) })
        }
        Ok(RevertPlan::Conflict { files }) => Ok(GitOutcome::Conflict { files }),
        Ok(RevertPlan::Refused { why: refused }) => Ok(GitOutcome::NotWritten {
            why: format!("{why}; {refused}"),
            patch: None,
            needs_person,
        }),
        Err(error) if error.transient() => Err(Again::Git(error)),
        Err(error) => Ok(GitOutcome::NotWritten {
            why: format!("{why}; {}", chain(&error)),
            patch: None,
            needs_person,
        }),
    }
}

fn not_written(why: String) -> GitOutcome {
    GitOutcome::NotWritten { why, patch: None, needs_person: true }
}
