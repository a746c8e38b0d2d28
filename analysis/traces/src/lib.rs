#![doc = include_str!("../README.md")]

pub mod arms;
mod blame;
mod code;
mod compare;
mod contrast;
mod decompose;
mod errors;
mod example;
mod finding;
mod frames;
mod hosts;
mod latency;
mod mask;
mod mix;
mod operation;
mod path;
mod pods;
mod points;
mod renames;
mod report;
mod reservoir;
mod rows;
#[cfg(test)]
mod samples;
mod sketch;
mod span;
mod statistics;
mod strata;
mod summary;
mod suspects;
mod tree;

pub use arms::{ArmLabel, Arms, Split, Unlabelled};
pub use code::{ChangedFile, Commit, Diff, Hunk, Matched, Suspect, place_of, suspect};
pub use compare::{Requests, Settings, compare};
pub use contrast::Contrast;
pub use decompose::{Effect, Level};
pub use errors::{BadFingerprint, ErrorKind, Fingerprint, error_of, errors_of};
pub use example::{Example, MOST_SHOWN, Shown, Stretch, example};
pub use finding::{
    ArmSummary, Cause, Change, Confidence, ErrorEvidence, Examples, Finding, Moved,
    OperationChange, Outside, Repeats, RootCause,
};
pub use frames::{Frame, frames};
pub use hosts::BadHost;
pub use mix::ArmMix;
pub use operation::{Operation, name_of};
pub use path::{Segment, critical_path};
pub use report::{duration, percent, signed as signed_duration, small as p_value};
pub use reservoir::{
    Candidate, Reservoir, resource_bytes, seconds, span_bytes, spans_bytes, trace_rank,
};
pub use sketch::Sketch;
pub use span::{
    Attributes, BadId, Exception, Kind, Resource, Span, SpanId, Status, TraceId, Value,
    sampling_weight,
};
pub use strata::{Compared, Stratum};
pub use tree::{
    EntrySubtree, Kept, MOST_SPANS, Refused, Trace, entries, is_synthetic, synthetic_entries,
    traces,
};
