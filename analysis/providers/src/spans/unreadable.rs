//! Why a body holds no spans that can be read: what is wrong, where, and what to do.

use thiserror::Error;

use super::Format;
use crate::otlp::Rejected;

/// What [`super::any`] accepts, for messages.
pub(super) const ACCEPTED: &str = "OTLP (Protobuf or JSON, also one document a line), replies of Jaeger, Tempo, \
     Zipkin v2 and Datadog, each also packed with gzip";

/// A body from which nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Larger than the limit, packed or unpacked.
    #[error(
        "the body has more than {limit} bytes, packed or unpacked; send or ask for fewer spans at once"
    )]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Broken gzip.
    #[error("the body begins as gzip but cannot be unpacked: {cause}; it may have been cut short")]
    Gzip {
        /// What is wrong.
        cause: String,
    },
    /// Nothing at all.
    #[error("the body is empty; send or save the whole of it")]
    Empty,
    /// Broken JSON.
    #[error("the body cannot be read as {}: {cause}; it may have been cut short", .format.whole())]
    Json {
        /// What it should be.
        format: Format,
        /// What is wrong and where.
        cause: String,
    },
    /// Broken Protobuf.
    #[error("the body cannot be read as {}: {cause}", .format.whole())]
    Protobuf {
        /// What it should be.
        format: Format,
        /// What is wrong, and what it looks like instead.
        cause: String,
    },
    /// JSON of another shape.
    #[error("the body is not {}: found {found}, expected {expected}", .format.whole())]
    Shape {
        /// What it should be.
        format: Format,
        /// What was found.
        found: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The store answered with an error.
    #[error("{} answered with an error: {said}", .format.name())]
    Refused {
        /// Which store.
        format: Format,
        /// Its own words.
        said: String,
    },
    /// None of the formats.
    #[error("no spans can be read from {found}; accepted are {ACCEPTED}")]
    Unknown {
        /// What was found.
        found: String,
    },
}

impl From<Rejected> for Unreadable {
    /// Only what unpacking can say.
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::TooLarge { limit } => Self::TooLarge { limit },
            Rejected::Malformed { cause, .. } | Rejected::Encoding(cause) => Self::Gzip { cause },
        }
    }
}
