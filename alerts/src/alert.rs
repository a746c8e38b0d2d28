//! The message as data: everything that people are told about one deployment, before any wording.
//!
//! It holds plain values only, so that it can be written to a journal, rendered again after a
//! restart, and filled by whoever knows the facts without this crate knowing how they came about.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What people are told about one deployment, or about a duty that Serin cannot do.
///
/// Texts may be of any length and hold anything: rendering cleans and bounds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// When it happened.
    pub at: Timestamp,
    /// What happened, with the facts that only this kind has.
    pub kind: Kind,
    /// Why, in one sentence: the same as on the page and in the revert commit.
    pub reason: String,
    /// The service, absent where Serin as a whole is concerned.
    pub service: Option<String>,
    /// Where it runs, such as `production`.
    pub environment: Option<String>,
    /// The repository that was watched, without credentials.
    pub repository: Option<String>,
    /// The deployment's identifier.
    pub deployment: Option<String>,
    /// How many alerts of this kind this deployment has had before, so that each has its own key.
    pub occurrence: u32,
    /// The commit that was to be deployed.
    pub commit: Option<Commit>,
    /// The revision that served when the deployment began.
    pub stable: Option<String>,
    /// The numbers behind the decision, one row per check.
    pub evidence: Vec<Evidence>,
    /// What traces say made the canary worse, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The operations behind it as lines of text of fixed width.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cause_table: Vec<String>,
    /// The commit that is most likely behind it: its place, short hash and subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<String>,
    /// How fast things went.
    pub timings: Timings,
    /// How many requests failed because of the canary.
    pub failed_canary_requests: Option<u64>,
    /// Where to read on.
    pub links: Links,
}

impl Alert {
    /// An alert of one kind without further facts; the caller fills the fields that it knows.
    pub fn new(kind: Kind, at: Timestamp, reason: impl Into<String>) -> Self {
        Self {
            at,
            kind,
            reason: reason.into(),
            service: None,
            environment: None,
            repository: None,
            deployment: None,
            occurrence: 0,
            commit: None,
            stable: None,
            evidence: Vec::new(),
            cause: None,
            cause_table: Vec::new(),
            suspect: None,
            timings: Timings::default(),
            failed_canary_requests: None,
            links: Links::default(),
        }
    }

    /// The deduplication key: the same for the same news, in 7-bit letters without a full stop, at
    /// most 200 bytes long, so that it can be a header, a file name or a primary key.
    pub fn key(&self) -> String {
        let mut parts = Vec::with_capacity(6);
        for part in [&self.environment, &self.service, &self.deployment] {
            parts.push(part.as_deref().unwrap_or(""));
        }
        parts.push(self.kind.name());
        match &self.kind {
            Kind::NeedsPerson { need } => parts.push(need.name()),
            Kind::DutyFailed { duty, of } => {
                parts.push(duty.name());
                parts.push(of.as_deref().unwrap_or(""));
            }
            Kind::Promoted
            | Kind::RolledBack { .. }
            | Kind::Superseded { .. }
            | Kind::Aborted { .. }
            | Kind::Inconclusive { .. }
            | Kind::Adopted
            | Kind::RevertedByPerson { .. } => {}
        }
        let occurrence = self.occurrence.to_string();
        if self.occurrence > 0 {
            parts.push(&occurrence);
        }
        crate::text::key(&parts)
    }

    /// How urgent it is.
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Kind {
    /// The canary became stable.
    Promoted,
    /// Traffic went back to stable after a failing verdict.
    RolledBack {
        /// What then happened in Git.
        git: Git,
    },
    /// A newer commit took the deployment's place.
    Superseded {
        /// The newer revision.
        by: String,
    },
    /// A person ended the deployment.
    Aborted {
        /// Who did.
        by: String,
        /// What then happened in Git.
        git: Git,
    },
    /// The deadline passed and the evidence settles nothing.
    Inconclusive {
        /// What the policy decided.
        then: Unsettled,
    },
    /// Serin has stopped and a person must act.
    NeedsPerson {
        /// What for.
        need: Need,
    },
    /// A version became stable without verification, for want of one to compare it with.
    Adopted,
    /// A person reverted the commit while it was being verified.
    RevertedByPerson {
        /// Who did.
        by: String,
        /// The revision of their revert.
        revision: String,
    },
    /// Serin itself cannot do something that it must.
    DutyFailed {
        /// Which duty.
        duty: Duty,
        /// Which router, provider, repository or notifier, where there are several.
        of: Option<String>,
    },
}

impl Kind {
    /// The name of every kind, as routes and templates write it.
    pub const NAMES: [&'static str; 9] = [
        "promoted",
        "rolled_back",
        "superseded",
        "aborted",
        "inconclusive",
        "needs_person",
        "adopted",
        "reverted_by_person",
        "duty_failed",
    ];

    /// This kind's name, one of [`Kind::NAMES`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack { .. } => "rolled_back",
            Self::Superseded { .. } => "superseded",
            Self::Aborted { .. } => "aborted",
            Self::Inconclusive { .. } => "inconclusive",
            Self::NeedsPerson { .. } => "needs_person",
            Self::Adopted => "adopted",
            Self::RevertedByPerson { .. } => "reverted_by_person",
            Self::DutyFailed { .. } => "duty_failed",
        }
    }

    /// How urgent this kind is: critical is what stays wrong until a person acts.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Promoted | Self::Superseded { .. } | Self::Adopted => Severity::Notice,
            Self::RolledBack { git } => match git {
                Git::Reverted { .. } | Git::PullRequest { .. } => Severity::Warning,
                Git::NotReverted { .. } => Severity::Critical,
            },
            Self::Aborted { .. } | Self::Inconclusive { .. } | Self::RevertedByPerson { .. } => {
                Severity::Warning
            }
            Self::NeedsPerson { .. } | Self::DutyFailed { .. } => Severity::Critical,
        }
    }

    /// What happened in Git, for the kinds after which something could.
    pub fn git(&self) -> Option<&Git> {
        match self {
            Self::RolledBack { git } | Self::Aborted { git, .. } => Some(git),
            Self::Promoted
            | Self::Superseded { .. }
            | Self::Inconclusive { .. }
            | Self::NeedsPerson { .. }
            | Self::Adopted
            | Self::RevertedByPerson { .. }
            | Self::DutyFailed { .. } => None,
        }
    }
}

/// What happened in Git once traffic was back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Git {
    /// A revert commit was pushed.
    Reverted {
        /// The revert commit.
        revision: String,
        /// The branch that it was pushed to.
        branch: Option<String>,
    },
    /// A revert was proposed for a person to merge.
    PullRequest {
        /// Where it can be merged.
        url: String,
    },
    /// Git still holds the commit.
    NotReverted {
        /// Why, in a few words that complete "not reverted: ".
        why: String,
    },
}

/// What the policy decided when nobody could tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsettled {
    /// The weight stays until a person decides.
    Held,
    /// Traffic went back to stable.
    RolledBack,
    /// The canary became stable.
    Promoted,
}

/// What a person must do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Need {
    /// Later commits conflict with the revert; nothing was written and the service is frozen.
    Conflict {
        /// The files in conflict.
        files: Vec<String>,
    },
    /// A revert is worked out and not written until somebody approves it; the reason says why.
    Approval,
    /// A commit was not deployed; the reason says why and what would change that.
    Decision,
}

impl Need {
    fn name(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::Approval => "approval",
            Self::Decision => "decision",
        }
    }
}

/// What Serin must be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// Write its journal.
    Journal,
    /// Reach a router.
    Router,
    /// Get metrics from a provider.
    Provider,
    /// Fetch from or push to a repository.
    Repository,
    /// Start or stop versions.
    Target,
    /// Read a policy that a commit changed.
    Policy,
}

impl Duty {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Router => "router",
            Self::Provider => "provider",
            Self::Repository => "repository",
            Self::Target => "target",
            Self::Policy => "policy",
        }
    }
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Notice,
    /// Something went wrong and Serin has dealt with it, or waits for a word.
    Warning,
    /// It stays wrong until a person acts.
    Critical,
}

impl Severity {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// The commit that was to be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Commit {
    /// The full hash.
    pub revision: String,
    /// The first line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// Where it can be read.
    pub url: Option<String>,
}

/// One check's numbers, worded as everywhere else.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// The check's name, such as `errors`.
    pub check: String,
    /// What the canary did, such as `3.1 % (93 of 3,000)`.
    pub canary: String,
    /// What the baseline did in the same windows.
    pub baseline: String,
    /// How much worse the canary may be, such as `1.25 times`.
    pub tolerated: String,
    /// Log of the evidence against the canary; absent where there is none, never NaN.
    pub evidence: Option<f64>,
    /// Log of the evidence that decides; absent where the check decides nothing.
    pub needed: Option<f64>,
}

/// How fast things went, in seconds from 0 up; absent where it does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// From the first traffic on the canary to the verdict.
    pub detected_after_seconds: Option<f64>,
    /// From the verdict to the canary's weight being 0 in what the data plane serves.
    pub traffic_back_after_seconds: Option<f64>,
    /// From the verdict to the revert commit being on the branch.
    pub reverted_after_seconds: Option<f64>,
}

/// Where to read on. Only `http` and `https` addresses are shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Links {
    /// The deployment's page.
    pub page: Option<String>,
    /// The difference between the two versions.
    pub diff: Option<String>,
    /// Boards of the same time and service.
    pub dashboards: Vec<Link>,
}

/// An address with its name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Link {
    /// What is shown.
    pub title: String,
    /// Where it leads.
    pub url: String,
}
