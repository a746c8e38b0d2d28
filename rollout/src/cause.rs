//! What traces say made a canary worse, as the record of a deployment carries it: words only.
//!
//! It explains a decision that is made already, and changes none.

use serde::{Deserialize, Serialize};

/// What came of looking at the traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Explained {
    /// Something differs by more than chance.
    Found(Box<Explanation>),
    /// Nothing was found, or there was nothing to look at.
    Nothing {
        /// Why, in one sentence without full stop; what to do where something can be done.
        why: String,
    },
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// In at most 280 characters, without full stop.
    pub headline: String,
    /// The same at length, a line each: findings, places in the code, example traces; at most a dozen.
    pub lines: Vec<String>,
    /// The operations that changed most as a table of text, a line each, of fixed width; at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub table: Vec<String>,
    /// Pages of the example traces, and others worth a look; at most four.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<CauseLink>,
    /// The commit that is most likely behind it.
    pub suspect: Option<SuspectCommit>,
}

/// A page elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseLink {
    /// What it leads to.
    pub text: String,
    /// Where.
    pub url: String,
}

/// A commit of the deployed range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspectCommit {
    /// Its full hash.
    pub revision: String,
    /// Its first line.
    pub subject: String,
    /// Its place among the deployed commits, from 1, oldest first.
    pub position: usize,
    /// How many were deployed together.
    pub of: usize,
    /// `high`, `medium` or `low`.
    pub confidence: String,
}

impl Explained {
    /// What differs, if anything was found.
    pub fn found(&self) -> Option<&Explanation> {
        match self {
            Self::Found(explanation) => Some(explanation),
            Self::Nothing { .. } => None,
        }
    }

    /// One sentence for people, no full stop.
    pub fn sentence(&self) -> &str {
        match self {
            Self::Found(explanation) => &explanation.headline,
            Self::Nothing { why } => why,
        }
    }
}
