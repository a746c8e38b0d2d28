//! What a sender is told, and what was left out of what it sent.

use std::collections::BTreeMap;

use super::beacon::LARGEST;
use super::vital::Vital;

/// What was taken of one beacon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Vitals that will be counted, or were moved.
    pub vitals: usize,
    /// Script errors.
    pub errors: usize,
    /// Nothing was taken, because a check sent it and not a person.
    pub synthetic: bool,
    /// Why the rest was left out, for people; empty when nothing was.
    pub left_out: Vec<String>,
}

/// A beacon of which nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// From a page that is not allowed to send.
    #[error(
        "pages of `{0}` may not report here; add the page's origin to `rum.origins` in serin.yaml"
    )]
    Origin(String),
    /// From no page.
    #[error("the request names no origin; beacons come from pages, whose browsers send it")]
    NoOrigin,
    /// Without the key that is asked for.
    #[error(
        "the key is missing or wrong; send `rum.publicKey` of serin.yaml as x-api-key or ?key="
    )]
    Key,
    /// Larger than may be held.
    #[error("the body has more than {LARGEST} bytes, unpacked; send fewer items at once")]
    TooLarge,
    /// Packed in a way that is not understood.
    #[error("the content encoding `{0}` is not understood; use gzip or none")]
    Encoding(String),
    /// Not what it should be.
    #[error("the body is no {what}: {cause}")]
    Malformed {
        /// What it should be.
        what: &'static str,
        /// What the decoder says.
        cause: String,
    },
    /// Nothing says whose page it is.
    #[error("the app has no name; set Faro's `app.name`, the script's `data-app`, or ?app=")]
    NoApp,
    /// An app that the settings do not list.
    #[error("the app `{0}` is not among `rum.apps` in serin.yaml; add it with its service")]
    UnknownApp(String),
    /// Nothing says which version of it.
    #[error(
        "the app says no version; set Faro's `app.gitHash`, the script's `data-version`, or \
         ?version= to the revision that is deployed"
    )]
    NoVersion,
    /// More than the limits allow.
    #[error("more beacons arrive than are taken in; come back after {retry_after} s")]
    TooOften {
        /// Seconds.
        retry_after: u32,
    },
}

impl Refused {
    /// The HTTP status: 400, 401, 403, 413, 415 or 429.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Origin(_) | Self::NoOrigin | Self::UnknownApp(_) => 403,
            Self::Key => 401,
            Self::TooLarge => 413,
            Self::Encoding(_) => 415,
            Self::Malformed { .. } | Self::NoApp | Self::NoVersion => 400,
            Self::TooOften { .. } => 429,
        }
    }
}

/// Why a part of a beacon was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum LeftOut {
    #[error("of no web vital that is judged")]
    NoVital,
    #[error("without a value that a page can have measured")]
    NoValue,
    #[error("without an id, which keeps what is reported twice from being counted twice")]
    NoId,
    #[error("beyond what one beacon may hold")]
    TooMany,
    #[error("that came after its page view was counted")]
    Late,
    #[error("for which there was no room; report a part of the page views (`data-sample`)")]
    NoRoom,
}

/// How much was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Left(BTreeMap<LeftOut, u64>);

impl Left {
    pub(super) fn add(&mut self, why: LeftOut) {
        *self.0.entry(why).or_default() += 1;
    }

    pub(super) fn extend(&mut self, other: &Self) {
        for (why, count) in &other.0 {
            let sum = self.0.entry(*why).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// What kept good reports from being counted, for people.
    pub(super) fn troubles(&self) -> Option<String> {
        let count = self.0.get(&LeftOut::NoRoom)?;
        Some(format!("left out were {count} reports {}", LeftOut::NoRoom))
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.0.iter().map(|(why, count)| format!("{count} {why}")).collect()
    }
}

/// What was counted since the start, of every app and version: for people and tests, not for verdicts.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RumCounts {
    /// By app and version, at most 200 of them.
    pub apps: Vec<AppCounts>,
    /// Vitals and sessions that may still change.
    pub open: usize,
    /// What was left out, for people.
    pub left_out: Vec<String>,
}

/// What was counted of one version of an app.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppCounts {
    /// The app's name.
    pub app: String,
    /// What it calls its version: its Git hash, else version, else release.
    pub version: String,
    /// Page views by vital.
    pub vitals: BTreeMap<&'static str, Share>,
    /// Sessions on a page, and how many had a script error.
    pub sessions: Share,
    /// Script errors, masked, the most frequent first; at most ten.
    pub errors: Vec<ErrorCount>,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Share {
    /// Poor page views, or sessions with an error.
    pub bad: u64,
    /// All of them.
    pub of: u64,
}

/// How often a script error was reported.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ErrorCount {
    /// The error, masked.
    pub error: String,
    /// Reports of it.
    pub count: u64,
}

impl Share {
    pub(super) fn add(&mut self, bad: bool) {
        self.bad = self.bad.saturating_add(u64::from(bad));
        self.of = self.of.saturating_add(1);
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.bad = self.bad.saturating_add(other.bad);
        self.of = self.of.saturating_add(other.of);
    }
}

impl AppCounts {
    /// The counts of a vital.
    pub fn vital(&self, vital: Vital) -> Share {
        self.vitals.get(vital.name()).copied().unwrap_or_default()
    }
}
