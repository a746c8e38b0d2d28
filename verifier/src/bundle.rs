//! A finished deployment's evidence as one file: what was observed, and what it came to.
//!
//! The first line is a JSON object with everything that the engine was told beside the observations, and the
//! verdict that was recorded. Then come the observations as `serin judge` reads them, one a line, with an empty
//! line after each scrape. Their `t` is cut to microseconds; where the time has more digits, or a scrape nothing
//! else, it stands in a line of its own before them: `{"at": "2026-11-24T18:43:20.338985775Z"}`. Whoever doubts a
//! verdict replays the file: the same evidence gives the same verdict, bit for bit, without Serin's journal, its
//! configuration or any network.

mod play;
mod read;
#[cfg(test)]
mod tests;
mod walk;

use analysis::{History, Settings, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::play::{Difference, difference};
pub use self::read::{BundleProblem, Heard, Replayed, replay};
pub use self::walk::write;

/// Raised when older programs could no longer read what is written.
pub const FORMAT: u32 = 1;

/// The first line of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The format's number.
    pub serin_bundle: u32,
    /// The deployment's id.
    pub deployment: String,
    /// Of which service.
    pub service: String,
    /// The commit on trial, in full.
    pub canary: String,
    /// First line of its message.
    pub subject: String,
    /// The commit that served before, in full.
    pub stable: String,
    /// When it began.
    pub began: Timestamp,
    /// How it ended, if it has.
    pub outcome: Option<String>,
    /// Why, in one sentence without full stop.
    pub reason: Option<String>,
    /// What the policy asks of a canary.
    pub settings: Settings,
    /// What was known of the service before.
    pub history: History,
    /// What the engine was told between the scrapes, in order.
    pub changes: Vec<Change>,
    /// Scrapes that follow.
    pub scrapes: u64,
    /// Observations with impossible counts, which the engine had left out as well.
    pub left_out: u64,
    /// SHA-256 of everything after this line, in hex digits.
    pub sha256: String,
    /// The verdict that was recorded when it ended, or the newest one while it is under way.
    pub verdict: Option<Verdict>,
}

/// Something that the engine was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// After how many of the scrapes.
    pub after: u64,
    /// What.
    pub what: Told,
}

/// The closed set of things that the engine is told beside observations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Told {
    /// The weight that asks for permission from here on, a share in (0, 1].
    Asks(f64),
    /// The canary's share as the router gives it, if it is known and left to chance.
    Expects(Option<f64>),
    /// All traffic goes to the canary.
    EntersBake,
    /// The bake is suspended, and both versions are compared anew on split traffic.
    ComparesAgain,
    /// That comparison is over.
    ComparedAgain,
}
