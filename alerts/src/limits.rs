//! Cleaning an alert's texts and cutting it to a size.
//!
//! This is the one door through which texts from outside come in: what has passed is one line each,
//! short, and free of control characters, so that nothing behind it needs to look again.

use crate::{
    alert::{Alert, Commit, Evidence, Git, Kind, Link, Links, Need},
    text,
};

/// How much of an alert is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Characters of a sentence or commit subject.
    sentence: usize,
    /// Characters of a name or table cell.
    name: usize,
    /// Bytes of an address; a longer one is left out, since a cut one leads nowhere.
    address: usize,
    /// Items of each list.
    items: usize,
}

/// From what a reader can use down to what fits any size limit: the last bounds every alert below
/// 20 kB of JSON whatever it holds (checked by a test with the widest characters).
pub(crate) const LIMITS: [Limits; 3] = [
    Limits { sentence: 500, name: 120, address: 1000, items: 20 },
    Limits { sentence: 200, name: 80, address: 400, items: 8 },
    Limits { sentence: 80, name: 50, address: 200, items: 3 },
];

/// An alert cut to limits, and whether a list lost items.
pub(crate) fn bounded(alert: &Alert, limits: &Limits) -> (Alert, bool) {
    let mut cut = false;
    let name = |text: &String| text::clean(text, limits.name);
    let sentence = |text: &String| text::clean(text, limits.sentence);
    let address = |url: &String| text::address(url, limits.address);
    let kind = bounded_kind(&alert.kind, limits, &mut cut);
    let commit = alert.commit.as_ref().map(|commit| Commit {
        revision: text::clean(&commit.revision, 64),
        subject: sentence(&commit.subject),
        author: name(&commit.author),
        url: commit.url.as_ref().and_then(address),
    });
    let evidence = list(&alert.evidence, limits, &mut cut, |row| {
        Some(Evidence {
            check: name(&row.check),
            canary: name(&row.canary),
            baseline: name(&row.baseline),
            tolerated: name(&row.tolerated),
            evidence: row.evidence.filter(|x| x.is_finite()),
            needed: row.needed.filter(|x| x.is_finite()),
        })
    });
    let dashboards = list(&alert.links.dashboards, limits, &mut cut, |link| {
        Some(Link { title: name(&link.title), url: address(&link.url)? })
    });
    let out = Alert {
        at: alert.at,
        kind,
        reason: sentence(&alert.reason),
        service: alert.service.as_ref().map(name),
        environment: alert.environment.as_ref().map(name),
        repository: alert.repository.as_ref().map(name),
        deployment: alert.deployment.as_ref().map(name),
        occurrence: alert.occurrence,
        commit,
        stable: alert.stable.as_ref().map(|revision| text::clean(revision, 64)),
        evidence,
        cause: alert.cause.as_ref().map(sentence),
        cause_table: list(&alert.cause_table, limits, &mut cut, |line| {
            Some(text::columns(line, limits.name))
        }),
        suspect: alert.suspect.as_ref().map(sentence),
        timings: alert.timings,
        failed_canary_requests: alert.failed_canary_requests,
        links: Links {
            page: alert.links.page.as_ref().and_then(address),
            diff: alert.links.diff.as_ref().and_then(address),
            dashboards,
        },
    };
    (out, cut)
}

fn list<T>(all: &[T], limits: &Limits, cut: &mut bool, one: impl Fn(&T) -> Option<T>) -> Vec<T> {
    *cut |= all.len() > limits.items;
    all.iter().take(limits.items).filter_map(one).collect()
}

fn bounded_kind(kind: &Kind, limits: &Limits, cut: &mut bool) -> Kind {
    let name = |text: &String| text::clean(text, limits.name);
    let revision = |text: &String| text::clean(text, 64);
    let git = |git: &Git| match git {
        Git::Reverted { revision: of, branch } => {
            Git::Reverted { revision: revision(of), branch: branch.as_ref().map(name) }
        }
        Git::PullRequest { url } => {
            Git::PullRequest { url: text::address(url, limits.address).unwrap_or_default() }
        }
        Git::NotReverted { why } => Git::NotReverted { why: text::clean(why, limits.sentence) },
    };
    let mut files =
        |all: &Vec<String>| list(all, limits, cut, |file| Some(text::clean(file, limits.name)));
    match kind {
        Kind::Promoted => Kind::Promoted,
        Kind::Adopted => Kind::Adopted,
        Kind::RolledBack { git: of } => Kind::RolledBack { git: git(of) },
        Kind::Superseded { by } => Kind::Superseded { by: revision(by) },
        Kind::Aborted { by, git: of } => Kind::Aborted { by: name(by), git: git(of) },
        Kind::Inconclusive { then } => Kind::Inconclusive { then: *then },
        Kind::NeedsPerson { need } => Kind::NeedsPerson {
            need: match need {
                Need::Conflict { files: all } => Need::Conflict { files: files(all) },
                Need::Approval | Need::Decision => need.clone(),
            },
        },
        Kind::RevertedByPerson { by, revision: of } => {
            Kind::RevertedByPerson { by: name(by), revision: revision(of) }
        }
        Kind::DutyFailed { duty, of } => {
            Kind::DutyFailed { duty: *duty, of: of.as_ref().map(name) }
        }
    }
}
