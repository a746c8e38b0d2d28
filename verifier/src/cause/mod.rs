//! What made a canary worse: found in traces after the verdict, kept with the deployment, shown everywhere.

mod find;
pub(crate) mod path;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod short;
mod show;

use analysis_traces::{Example, RootCause};
use serde::{Deserialize, Serialize};

pub use self::find::{Finder, Question, explained};
pub use self::short::{headline, lines, table};
pub use self::show::text;

/// The root cause of one deployment's failure, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// What the comparison says.
    pub root: RootCause,
    /// A typical trace of the baseline, of the same kind of requests as the canary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Example>,
    /// A trace of the canary with the effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Example>,
    /// Where else to look, most useful first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

/// A link for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it leads to, e.g. `the canary's trace in Jaeger`.
    pub text: String,
    /// Where.
    pub url: String,
}
