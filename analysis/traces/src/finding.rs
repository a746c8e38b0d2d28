//! What the comparison says: plain values, the same for terminal, page, alert and commit.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::code::Suspect;
use crate::contrast::Contrast;
use crate::decompose::{Effect, Level};
use crate::errors::ErrorKind;
use crate::frames::Frame;
use crate::hosts::BadHost;
use crate::mix::ArmMix;
use crate::operation::Operation;
use crate::span::TraceId;
use crate::strata::Stratum;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// Each call takes longer.
    Slower,
    /// More calls per request.
    MoreCalls,
    /// A call that the baseline does not make.
    NewCall,
    /// A call that a cache spared the baseline more often.
    LostCache,
    /// One call per row, one after the other.
    NPlusOne,
    /// Failed calls that are tried again.
    Retries,
    /// Many more calls at the same time.
    FanOut,
    /// An error that nobody saw before.
    NewError,
    /// A known error, more often.
    MoreErrors,
    /// Some kind of requests is worse, no one operation.
    SomeRequests,
    /// One instance of the canary is worse: not the code.
    BadHost,
    /// The arms were asked different kinds of requests.
    TrafficMix,
}

impl Cause {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Slower => "slower",
            Self::MoreCalls => "more calls",
            Self::NewCall => "new call",
            Self::LostCache => "lost cache",
            Self::NPlusOne => "N+1",
            Self::Retries => "retries",
            Self::FanOut => "fan-out",
            Self::NewError => "new error",
            Self::MoreErrors => "more errors",
            Self::SomeRequests => "some requests",
            Self::BadHost => "bad host",
            Self::TrafficMix => "traffic mix",
        }
    }

    /// Whether it can be the doing of a commit.
    pub fn blames_code(self) -> bool {
        match self {
            Self::Slower
            | Self::MoreCalls
            | Self::NewCall
            | Self::LostCache
            | Self::NPlusOne
            | Self::Retries
            | Self::FanOut
            | Self::NewError
            | Self::MoreErrors
            | Self::SomeRequests => true,
            Self::BadHost | Self::TrafficMix => false,
        }
    }
}

/// How sure a finding is of the place and the commit. A label for people; verdicts never depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Something else may explain it as well.
    Low,
    /// The operation or the file is found.
    Medium,
    /// A new error, or most of the change, in a line or function that was changed.
    High,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        })
    }
}

/// Traces to look at; at most three of each arm, the most typical first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examples {
    /// Of the baseline, from the same kind of requests.
    pub baseline: Vec<TraceId>,
    /// Of the canary, with the effect.
    pub canary: Vec<TraceId>,
}

/// An error in both arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorEvidence {
    /// Which.
    pub error: ErrorKind,
    /// Traces of the canary with it.
    pub canary: u64,
    /// Traces of the baseline with it.
    pub baseline: u64,
    /// The canary's share of all requests, in (0, 1).
    pub share: f64,
    /// Probability of as many in the canary if it were harmless: `q^k` for a new one, else a binomial tail.
    pub p: f64,
}

/// How often one span calls another operation, in both arms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Repeats {
    /// Calls per calling span, baseline.
    pub baseline: f64,
    /// Calls per calling span, canary.
    pub canary: f64,
    /// Share of calls that began after the one before had ended, canary.
    pub sequential: f64,
    /// Failed calls tried again per request, baseline and canary.
    pub retries: [f64; 2],
}

/// One thing that the canary does worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What happened.
    pub cause: Cause,
    /// The operation, where it is one.
    pub operation: Option<Operation>,
    /// The service's own operation that calls it, directly or through others.
    pub caller: Option<Operation>,
    /// Rank: findings come by falling score; comparable within one comparison only.
    pub score: f64,
    /// Share of the whole change that this explains; may exceed 1 where something else became faster.
    pub share: f64,
    /// Times and calls.
    pub effect: Option<Effect>,
    /// It shows in the slowest requests only.
    pub tail_only: bool,
    /// How its calls repeat.
    pub repeats: Option<Repeats>,
    /// The error.
    pub error: Option<ErrorEvidence>,
    /// The kind of requests that holds most of the damage.
    pub only: Option<Contrast>,
    /// The bad host.
    pub host: Option<BadHost>,
    /// How the arms' requests differ.
    pub mix: Option<ArmMix>,
    /// Places in the code, the most frequent first; at most five.
    pub places: Vec<Frame>,
    /// The commit behind it.
    pub suspect: Option<Suspect>,
    /// The operation's service, if it ran several versions meanwhile: a second suspect.
    pub also_changed: Option<String>,
    /// How sure.
    pub confidence: Confidence,
    /// Where to look.
    pub examples: Examples,
    /// For people, without full stop.
    pub sentence: String,
}

/// An operation under a new name, or whose time moved to another: no regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The baseline's.
    pub from: Operation,
    /// The canary's.
    pub to: Operation,
}

/// One operation's line of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationChange {
    /// Which.
    pub operation: Operation,
    /// Times and calls.
    pub effect: Effect,
    /// The same for the time above the baseline's 95th percentile.
    pub tail: f64,
}

/// Work that no request waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    /// Which.
    pub operation: Operation,
    /// Seconds per request, baseline.
    pub baseline: f64,
    /// Seconds per request, canary.
    pub canary: f64,
}

/// One arm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ArmSummary {
    /// Traces that were given.
    pub traces: u64,
    /// Traces whose times were compared.
    pub compared: u64,
    /// Traces whose entry failed.
    pub failed: u64,
    /// Processes that sent them.
    pub instances: u64,
    /// Versions that they name; at most five.
    pub versions: Vec<String>,
    /// Mean, in seconds.
    pub mean: f64,
    /// Median, in seconds.
    pub p50: f64,
    /// 95th percentile, in seconds.
    pub p95: f64,
    /// 99th percentile, in seconds.
    pub p99: f64,
}

/// The change of the mean duration, in seconds per request. `raw = mix + adjusted`, and `adjusted` is the sum over all
/// operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Canary less baseline, as measured.
    pub raw: f64,
    /// The part of it from a different mix of entry operations.
    pub mix: f64,
    /// The rest: within the same entry operations.
    pub adjusted: f64,
    /// 95 % interval of `adjusted`.
    pub interval: [f64; 2],
    /// Two-sided p-value of "no change".
    pub p: f64,
    /// Change of the mean time above the baseline's 95th percentile.
    pub tail: f64,
    /// The part of `adjusted` that no finding explains.
    pub unexplained: f64,
    /// Both arms per request, as the canary weighs entry operations.
    pub baseline: Level,
    /// See `baseline`.
    pub canary: Level,
}

/// What made the canary worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootCause {
    /// The service that was compared.
    pub service: String,
    /// The baseline's traces.
    pub baseline: ArmSummary,
    /// The canary's traces.
    pub canary: ArmSummary,
    /// By how much.
    pub change: Change,
    /// Entry operations.
    pub entries: Vec<Stratum>,
    /// What was found, by falling score. Empty: nothing beyond chance.
    pub findings: Vec<Finding>,
    /// Operations with new names.
    pub moved: Vec<Moved>,
    /// The operations that changed most, up or down; at most fifty.
    pub operations: Vec<OperationChange>,
    /// Seconds that the operations beyond those fifty add.
    pub rest: f64,
    /// Work that no request waited for; the largest changes, at most ten.
    pub outside: Vec<Outside>,
    /// Changed files that no span names but that can change everything: lockfiles, manifests, migrations. Only when
    /// something was found and no place in the code matches the range.
    pub elsewhere: Vec<String>,
    /// What a reader should know, a sentence each without full stop.
    pub notes: Vec<String>,
    /// All of it in one paragraph.
    pub paragraph: String,
    /// The operations as a table of plain text.
    pub table: String,
}
