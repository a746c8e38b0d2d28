//! The branch of a script: commits as sets of changes, and reverts that take changes out again.

use std::collections::BTreeSet;
use std::sync::Arc;

use globset::Glob;
use jiff::Timestamp;
use rollout::policy::Revert;
use rollout::{
    Candidate, Commit, DeploymentId, GitOutcome, Policy, Release, RevertOrder, Revision,
};

use super::command::Change;

/// Changes that are in a version, by their number.
type Content = BTreeSet<usize>;

/// One commit and what the service is after it.
#[derive(Debug, Clone)]
struct Entry {
    commit: Commit,
    content: Content,
    /// The change that it made, if it is not a revert.
    change: Option<usize>,
    touching: Vec<String>,
    security: bool,
    /// The deployment that Serin undid with it.
    reverts: Option<DeploymentId>,
    generation: u32,
}

/// The history, oldest first.
#[derive(Debug, Default)]
pub(super) struct Branch {
    entries: Vec<Entry>,
}

impl Branch {
    pub(super) fn tip(&self) -> Option<&Revision> {
        self.entries.last().map(|entry| &entry.commit.revision)
    }

    /// Whether a commit has this revision.
    pub(super) fn has(&self, revision: &Revision) -> bool {
        self.entries.iter().any(|entry| entry.commit.revision == *revision)
    }

    /// The revision that a script's commit gets.
    pub(super) fn revision(&self, change: &Change) -> Revision {
        let digits = change.revision.clone().unwrap_or_else(|| self.digits(&change.subject));
        revision(&digits)
    }

    pub(super) fn commit(&mut self, change: &Change, now: Timestamp) {
        let number = self.entries.len();
        let mut content = self.content();
        content.insert(number);
        self.entries.push(Entry {
            commit: commit(self.revision(change), &change.subject, &change.by, now),
            content,
            change: Some(number),
            touching: change.touching.clone(),
            security: change.security,
            reverts: None,
            generation: 0,
        });
    }

    /// A person takes out the newest change; whether there was one beyond the first version.
    pub(super) fn revert_newest(&mut self, by: &str, now: Timestamp) -> bool {
        let content = self.content();
        let newest = content.last().filter(|newest| **newest != 0).copied();
        let Some(newest) = newest else { return false };
        let subject = format!("Revert \"{}\"", self.entries[newest].commit.subject);
        self.take_out(&[newest].into(), &subject, by, now, None);
        true
    }

    /// What an automatic revert does.
    pub(super) fn revert(&mut self, order: &RevertOrder, now: Timestamp) -> GitOutcome {
        let is_ours = |entry: &&Entry| entry.reverts.as_ref() == Some(&order.deployment);
        if let Some(entry) = self.entries.iter().find(is_ours) {
            return GitOutcome::AlreadyDone { revision: Some(entry.commit.revision.clone()) };
        }
        let stable = parse(&order.stable.content);
        let bad: Content = parse(&order.candidate.content).difference(&stable).copied().collect();
        if self.content().is_disjoint(&bad) {
            return GitOutcome::AlreadyDone { revision: None };
        }
        let subject = format!("Revert \"{}\"", order.candidate.commit.subject);
        let ours = Some((order.deployment.clone(), order.generation));
        if order.candidate.policy.on_fail.revert == Revert::PullRequest {
            let revision = revision(&self.digits(&subject));
            return GitOutcome::Branch {
                name: format!("serin/revert-{}", order.deployment),
                revision,
            };
        }
        let revision = self.take_out(&bad, &subject, "Serin", now, ours);
        GitOutcome::Pushed { revision, subject }
    }

    /// The tip as the service sees it.
    pub(super) fn candidate(&self, policy: Policy, stable: Option<&Release>) -> Option<Candidate> {
        let tip = self.entries.last()?;
        let known = stable.map(|stable| parse(&stable.content)).unwrap_or_default();
        let new: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| {
                entry.change.is_some_and(|n| tip.content.contains(&n) && !known.contains(&n))
            })
            .collect();
        let touched = new.iter().flat_map(|entry| &entry.touching);
        let irreversible =
            touched.filter(|path| matches(&policy.on_fail.irreversible, path)).cloned().collect();
        Some(Candidate {
            repository: "shop".to_owned(),
            commit: tip.commit.clone(),
            commits: new.iter().map(|entry| entry.commit.clone()).collect(),
            more_commits: 0,
            files: Vec::new(),
            content: text(&tip.content),
            policy: Arc::new(policy),
            policy_problem: None,
            irreversible,
            security: new.iter().any(|entry| entry.security),
            rewritten: false,
            revert_generation: tip.generation,
            quarantined: None,
        })
    }

    fn content(&self) -> Content {
        self.entries.last().map(|tip| tip.content.clone()).unwrap_or_default()
    }

    fn take_out(
        &mut self,
        bad: &Content,
        subject: &str,
        by: &str,
        now: Timestamp,
        ours: Option<(DeploymentId, u32)>,
    ) -> Revision {
        let revision = revision(&self.digits(subject));
        let (reverts, generation) =
            ours.map_or((None, 0), |(id, generation)| (Some(id), generation));
        let content = self.content().difference(bad).copied().collect();
        self.entries.push(Entry {
            commit: commit(revision.clone(), subject, by, now),
            content,
            change: None,
            touching: Vec::new(),
            security: false,
            reverts,
            generation,
        });
        revision
    }

    /// Digits that look like a hash and are the same in every run (FNV-1a, 64 bit).
    fn digits(&self, subject: &str) -> String {
        let bytes = subject.bytes().chain(self.entries.len().to_string().into_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

fn revision(digits: &str) -> Revision {
    Revision::new(&format!("{digits:0<40}")).expect("hex digits, filled up to forty")
}

fn commit(revision: Revision, subject: &str, author: &str, committed: Timestamp) -> Commit {
    let email = format!("{}@example.org", author.to_lowercase());
    Commit { revision, subject: subject.to_owned(), author: author.to_owned(), email, committed }
}

fn text(content: &Content) -> String {
    let numbers: Vec<String> = content.iter().map(ToString::to_string).collect();
    numbers.join("+")
}

fn parse(text: &str) -> Content {
    text.split('+').filter_map(|number| number.parse().ok()).collect()
}

/// A glob that cannot be read matches nothing; the configuration reports those.
fn matches(globs: &[String], path: &str) -> bool {
    globs
        .iter()
        .filter_map(|glob| Glob::new(glob).ok())
        .any(|glob| glob.compile_matcher().is_match(path))
}
