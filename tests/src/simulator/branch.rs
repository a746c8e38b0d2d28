//! A branch in Git as its history of contents: a content is a set of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rollout::{
    Candidate, Commit, DeploymentId, GitOutcome, Policy, Release, RevertOrder, Revision,
};

use super::scenario::Truth;

/// Changes in a version, by number; 0 is the first version.
pub(super) type Content = BTreeSet<u32>;

/// One commit.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) commit: Commit,
    pub(super) content: Content,
    /// Serin wrote it to undo this deployment; how many reverts led here.
    pub(super) ours: Option<(DeploymentId, u32)>,
}

/// The branch, and what each change truly does.
#[derive(Debug, Default)]
pub(super) struct Branch {
    pub(super) entries: Vec<Entry>,
    pub(super) truths: BTreeMap<u32, Truth>,
}

impl Branch {
    pub(super) fn tip(&self) -> &Entry {
        self.entries.last().expect("the first commit is made before anything happens")
    }

    pub(super) fn commit(&mut self, truth: Truth, now: Timestamp) {
        let number = u32::try_from(self.truths.len()).expect("a handful of commits");
        self.truths.insert(number, truth);
        let mut content = self.content();
        content.insert(number);
        self.push(content, &format!("Change {number}"), "Ada", now, None);
    }

    /// A commit that does not touch the service.
    pub(super) fn elsewhere(&mut self, now: Timestamp) {
        self.push(self.content(), "Write documentation", "Ada", now, None);
    }

    /// A person takes out the newest change, if there is one.
    pub(super) fn revert_newest(&mut self, now: Timestamp) {
        let mut content = self.content();
        if let Some(newest) = content.last().copied().filter(|newest| *newest != 0) {
            content.remove(&newest);
            self.push(content, &format!("Revert change {newest}"), "Carol", now, None);
        }
    }

    /// An automatic revert on the tip, whatever came before it.
    pub(super) fn revert(&mut self, order: &RevertOrder, now: Timestamp) -> GitOutcome {
        let ours = |e: &&Entry| e.ours.as_ref().is_some_and(|(id, _)| *id == order.deployment);
        if let Some(entry) = self.entries.iter().find(ours) {
            return GitOutcome::AlreadyDone { revision: Some(entry.commit.revision.clone()) };
        }
        let bad = on_trial(order);
        let tip = self.content();
        if tip.is_disjoint(&bad) {
            return GitOutcome::AlreadyDone { revision: None };
        }
        let content = tip.difference(&bad).copied().collect();
        let subject = format!("Revert {}", order.deployment);
        let by = Some((order.deployment.clone(), order.generation));
        let revision = self.push(content, &subject, "Serin", now, by);
        GitOutcome::Pushed { revision, subject }
    }

    /// A tip as the service sees it.
    pub(super) fn candidate(
        &self,
        entry: &Entry,
        policy: &Arc<Policy>,
        stable: Option<&Release>,
    ) -> Candidate {
        let known = stable.map(|stable| read(&stable.content)).unwrap_or_default();
        let new = entry.content.difference(&known);
        let irreversible = new
            .filter(|change| self.truths[change].irreversible)
            .map(|change| format!("migrations/{change}.sql"))
            .collect();
        Candidate {
            repository: "shop".to_owned(),
            commit: entry.commit.clone(),
            commits: vec![entry.commit.clone()],
            more_commits: 0,
            files: Vec::new(),
            content: written(&entry.content),
            policy: policy.clone(),
            policy_problem: None,
            irreversible,
            security: false,
            rewritten: false,
            revert_generation: entry.ours.as_ref().map_or(0, |(_, generation)| *generation),
            quarantined: None,
        }
    }

    /// What a content does, all its changes together.
    pub(super) fn truths<'a>(&'a self, content: &'a Content) -> impl Iterator<Item = &'a Truth> {
        content.iter().filter_map(|change| self.truths.get(change))
    }

    fn content(&self) -> Content {
        self.entries.last().map(|tip| tip.content.clone()).unwrap_or_default()
    }

    fn push(
        &mut self,
        content: Content,
        subject: &str,
        author: &str,
        committed: Timestamp,
        ours: Option<(DeploymentId, u32)>,
    ) -> Revision {
        let number = self.entries.len() + 1;
        let revision = Revision::new(&format!("{number:07x}{:033x}", 0)).expect("forty hex digits");
        let commit = Commit {
            revision: revision.clone(),
            subject: subject.to_owned(),
            author: author.to_owned(),
            email: format!("{author}@example.org"),
            committed,
        };
        self.entries.push(Entry { commit, content, ours });
        revision
    }
}

/// The changes that a revert has to take out.
pub(super) fn on_trial(order: &RevertOrder) -> Content {
    let stable = read(&order.stable.content);
    read(&order.candidate.content).difference(&stable).copied().collect()
}

pub(super) fn read(text: &str) -> Content {
    text.split('+').filter_map(|number| number.parse().ok()).collect()
}

fn written(content: &Content) -> String {
    let numbers: Vec<String> = content.iter().map(ToString::to_string).collect();
    numbers.join("+")
}
