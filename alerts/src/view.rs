//! What a template sees: a bounded alert, put in words.
//!
//! Templates only lay out. The wording is here, once, so that chat, terminal and signed webhook say
//! the same, and every field is present (empty where unknown), so that a template needs no case
//! for what is missing.

use serde::Serialize;

use crate::{
    alert::{Alert, Duty, Evidence, Git, Kind, Link, Need, Severity, Unsettled},
    text,
};

/// A name and a value, shown side by side.
#[derive(Debug, Serialize)]
pub(crate) struct Fact {
    name: &'static str,
    value: String,
}

/// The variables of a template.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    key: String,
    at: String,
    source: String,
    kind: &'static str,
    severity: &'static str,
    emoji: &'static str,
    headline: String,
    reason: String,
    service: String,
    environment: String,
    repository: String,
    deployment: String,
    revision: String,
    short_revision: String,
    subject: String,
    author: String,
    commit_url: String,
    facts: Vec<Fact>,
    evidence: Vec<Evidence>,
    table: String,
    cause_table: String,
    files: Vec<String>,
    timings: String,
    links: Vec<Link>,
}

impl View {
    /// Words for an alert that [`crate::limits::bounded`] has cut; `key` is that of the alert before.
    pub(crate) fn of(alert: &Alert, key: String) -> Self {
        let commit = alert.commit.clone().unwrap_or_default();
        let some = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            key,
            at: alert.at.to_string(),
            source: format!(
                "/serin/{}",
                text::key(&[&some(&alert.environment), &some(&alert.service)])
            ),
            kind: alert.kind.name(),
            severity: alert.severity().name(),
            emoji: emoji(&alert.kind),
            headline: headline(alert),
            reason: alert.reason.clone(),
            service: some(&alert.service),
            environment: some(&alert.environment),
            repository: some(&alert.repository),
            deployment: some(&alert.deployment),
            short_revision: text::short(&commit.revision),
            facts: facts(alert),
            evidence: alert.evidence.clone(),
            table: table(&alert.evidence),
            cause_table: alert.cause_table.join("\n").replace('`', "'"),
            files: files(&alert.kind).to_vec(),
            timings: timings(alert),
            links: links(alert),
            revision: commit.revision,
            subject: commit.subject,
            author: commit.author,
            commit_url: commit.url.unwrap_or_default(),
        }
    }

    /// The one line that says it all.
    pub(crate) fn headline(&self) -> &str {
        &self.headline
    }
}

fn emoji(kind: &Kind) -> &'static str {
    match (kind.severity(), kind) {
        (_, Kind::Promoted) => "white_check_mark",
        (_, Kind::RolledBack { .. }) => "rewind",
        (Severity::Notice, _) => "information_source",
        (Severity::Warning, _) => "warning",
        (Severity::Critical, _) => "rotating_light",
    }
}

fn headline(alert: &Alert) -> String {
    if let Kind::DutyFailed { duty, of } = &alert.kind {
        return duty_headline(*duty, of.as_deref(), alert.service.as_deref());
    }
    let what = match &alert.kind {
        Kind::Promoted => "promoted".to_owned(),
        Kind::RolledBack { git } => format!("rolled back{}", in_git(git)),
        Kind::Superseded { by } => format!("superseded by {}", text::short(by)),
        Kind::Aborted { by, git } => format!("aborted by {by}{}", in_git(git)),
        Kind::Inconclusive { then: Unsettled::Held } => "inconclusive, held".to_owned(),
        Kind::Inconclusive { then: Unsettled::RolledBack } => {
            "inconclusive, rolled back by policy".to_owned()
        }
        Kind::Inconclusive { then: Unsettled::Promoted } => {
            "inconclusive, promoted by policy".to_owned()
        }
        Kind::NeedsPerson { need: Need::Conflict { .. } } => {
            "needs a person: the revert conflicts with later commits".to_owned()
        }
        Kind::NeedsPerson { need: Need::Approval } => {
            "needs a person: the revert waits for approval".to_owned()
        }
        Kind::NeedsPerson { need: Need::Decision } => "needs a person: not deployed".to_owned(),
        Kind::Adopted => "adopted as stable".to_owned(),
        Kind::RevertedByPerson { by, .. } => format!("reverted by {by}"),
        Kind::DutyFailed { .. } => String::new(),
    };
    let revision = alert.commit.as_ref().map(|commit| text::short(&commit.revision));
    match (alert.service.as_deref(), revision) {
        (Some(service), Some(revision)) => format!("{service}: {revision} {what}"),
        (Some(service), None) => format!("{service}: {what}"),
        (None, Some(revision)) => format!("{revision} {what}"),
        (None, None) => what,
    }
}

fn in_git(git: &Git) -> &'static str {
    match git {
        Git::Reverted { .. } => " and reverted",
        Git::PullRequest { .. } => ", revert proposed",
        Git::NotReverted { .. } => ", not reverted",
    }
}

fn duty_headline(duty: Duty, of: Option<&str>, service: Option<&str>) -> String {
    let what = match duty {
        Duty::Journal => "Serin cannot write its journal",
        Duty::Router => "Serin cannot reach the router",
        Duty::Provider => "Serin gets no metrics",
        Duty::Repository => "Serin cannot reach the repository",
        Duty::Target => "Serin cannot start or stop versions",
        Duty::Policy => "Serin cannot read the policy",
    };
    let of = of.map(|of| format!(" ({of})")).unwrap_or_default();
    match service {
        Some(service) => format!("{service}: {what}{of}"),
        None => format!("{what}{of}"),
    }
}

fn facts(alert: &Alert) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |name, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.push(Fact { name, value });
        }
    };
    add(
        "Service",
        match (&alert.service, &alert.environment) {
            (Some(service), Some(environment)) => Some(format!("{service} in {environment}")),
            (Some(only), None) | (None, Some(only)) => Some(only.clone()),
            (None, None) => None,
        },
    );
    if let Some(commit) = &alert.commit {
        add("Commit", Some(format!("{} {}", text::short(&commit.revision), commit.subject)));
        add("Author", Some(commit.author.clone()));
    }
    add("Cause", alert.cause.clone());
    add("Suspect", alert.suspect.clone());
    add("Stable", alert.stable.as_deref().map(text::short));
    match alert.kind.git() {
        Some(Git::Reverted { revision, branch }) => {
            let on = branch.as_ref().map(|branch| format!(" on {branch}")).unwrap_or_default();
            add("Revert", Some(format!("{}{on}", text::short(revision))));
        }
        Some(Git::PullRequest { url }) => add("Revert", Some(format!("proposed {url}"))),
        Some(Git::NotReverted { why }) => add("Git", Some(format!("not reverted: {why}"))),
        None => {}
    }
    if let Kind::RevertedByPerson { revision, .. } = &alert.kind {
        add("Revert", Some(text::short(revision)));
    }
    add(
        "Failed requests",
        alert.failed_canary_requests.map(|n| format!("{} because of the canary", text::whole(n))),
    );
    add("Repository", alert.repository.clone());
    add("Deployment", alert.deployment.clone());
    facts
}

fn files(kind: &Kind) -> &[String] {
    match kind {
        Kind::NeedsPerson { need: Need::Conflict { files } } => files,
        Kind::NeedsPerson { need: Need::Approval | Need::Decision }
        | Kind::Promoted
        | Kind::RolledBack { .. }
        | Kind::Superseded { .. }
        | Kind::Aborted { .. }
        | Kind::Inconclusive { .. }
        | Kind::Adopted
        | Kind::RevertedByPerson { .. }
        | Kind::DutyFailed { .. } => &[],
    }
}

/// The evidence as aligned text, empty without rows. Backticks are replaced, so that no cell can
/// end the code block that a chat shows it in.
fn table(rows: &[Evidence]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let cell = |text: &str| text.replace('`', "'");
    let mut lines =
        vec![["check", "canary", "baseline", "tolerated", "evidence"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        let evidence = match row.needed {
            Some(needed) => {
                format!("{} of {}", text::decimal(row.evidence), text::decimal(Some(needed)))
            }
            None => text::decimal(row.evidence),
        };
        [cell(&row.check), cell(&row.canary), cell(&row.baseline), cell(&row.tolerated), evidence]
    }));
    let mut widths = [0; 5];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out.pop();
    out
}

fn timings(alert: &Alert) -> String {
    let timings = &alert.timings;
    [
        ("detected after", timings.detected_after_seconds),
        ("traffic back after", timings.traffic_back_after_seconds),
        ("Git reverted after", timings.reverted_after_seconds),
    ]
    .into_iter()
    .filter_map(|(what, seconds)| Some(format!("{what} {}", text::seconds(seconds?)?)))
    .collect::<Vec<_>>()
    .join(", ")
}

fn links(alert: &Alert) -> Vec<Link> {
    let mut links = Vec::new();
    let mut add = |title: &str, url: Option<&String>| {
        if let Some(url) = url.filter(|url| !url.is_empty()) {
            links.push(Link { title: title.to_owned(), url: url.clone() });
        }
    };
    add("Deployment", alert.links.page.as_ref());
    add("Commit", alert.commit.as_ref().and_then(|commit| commit.url.as_ref()));
    add("Difference", alert.links.diff.as_ref());
    if let Some(Git::PullRequest { url }) = alert.kind.git() {
        add("Pull request", Some(url));
    }
    for link in &alert.links.dashboards {
        let title = if link.title.is_empty() { "Dashboard" } else { &link.title };
        add(title, Some(&link.url));
    }
    links
}
