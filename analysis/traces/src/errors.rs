//! Which errors a subtree shows, and which of them are the same error.
//!
//! An error passes upwards through every span above it: only the deepest span of such a chain is where it began.
//! Two errors are the same if type and code agree; what a message quotes, addresses and line numbers do not count, so
//! that a fingerprint stays the same from deployment to deployment.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::frames::{Frame, frames};
use crate::mask;
use crate::operation::name_of;
use crate::span::{Span, Status};
use crate::tree::EntrySubtree;

/// Frames of the service's own code that make a fingerprint.
const FRAMES: usize = 5;

/// Most errors of one subtree that are looked at.
const MOST_ERRORS: usize = 256;

/// What makes two errors the same: 64 bits of a hash, the same on every machine and in every version of Serin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(pub u64);

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a fingerprint of an error has 16 hexadecimal digits")]
pub struct BadFingerprint;

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadFingerprint);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| BadFingerprint)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = BadFingerprint;

    fn try_from(text: String) -> Result<Self, BadFingerprint> {
        text.parse()
    }
}

/// An error, without what differs from one time to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorKind {
    /// What makes it the same error.
    pub fingerprint: Fingerprint,
    /// Its type: `exception.type`, `error.type`, or a status code.
    pub kind: String,
    /// Its message, identifiers and quoted texts masked; may be empty.
    pub message: String,
    /// Service and operation where it began.
    pub origin: String,
    /// Frames of the service's own code, innermost first; at most five.
    pub frames: Vec<Frame>,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// The errors that began in this subtree, one per fingerprint, with the index of a span where each began.
pub fn errors_of(subtree: &EntrySubtree) -> Vec<(usize, ErrorKind)> {
    let mut passes = vec![false; subtree.spans().len()];
    for (index, span) in subtree.spans().iter().enumerate() {
        if let (Status::Error, Some(parent)) = (span.status, subtree.parent(index)) {
            passes[parent] = true;
        }
    }
    let mut found: HashMap<Fingerprint, (usize, ErrorKind)> = HashMap::new();
    let began = subtree
        .spans()
        .iter()
        .enumerate()
        .filter(|(index, span)| span.status == Status::Error && !passes[*index]);
    for (index, span) in began.take(MOST_ERRORS) {
        let error = error_of(span);
        found.entry(error.fingerprint).or_insert((index, error));
    }
    let mut found: Vec<(usize, ErrorKind)> = found.into_values().collect();
    found.sort_unstable_by_key(|(index, error)| (*index, error.fingerprint));
    found
}

/// The error of a span whose status is an error.
pub fn error_of(span: &Span) -> ErrorKind {
    let origin = format!("{} {}", mask::cut(&span.resource.service, 256), name_of(span));
    // The last exception is the one that the span ended with.
    let exception = span.exceptions.last();
    let attributes = &span.attributes;
    let kind = exception
        .map(|exception| &*exception.kind)
        .filter(|kind| !kind.is_empty())
        .or_else(|| attributes.text(&["exception.type", "error.type"]))
        .map_or_else(|| status_of(span), |kind| mask::cut(kind, 256).to_owned());
    let message = exception
        .map(|exception| &*exception.message)
        .filter(|message| !message.is_empty())
        .or_else(|| attributes.text(&["exception.message", "error.message"]))
        .or(span.message.as_deref())
        .map(mask::message)
        .unwrap_or_default();
    let stack = exception
        .and_then(|exception| exception.stack.as_deref())
        .or_else(|| attributes.text(&["exception.stacktrace", "code.stacktrace"]))
        .unwrap_or_default();
    let mut frames: Vec<Frame> =
        frames(stack).into_iter().filter(|frame| !frame.is_foreign()).take(FRAMES).collect();
    frames.retain(|frame| !frame.function.is_empty() || !frame.file.is_empty());

    let mut hash = Sha256::new();
    let mut feed = |text: &str| {
        hash.update(text.as_bytes());
        hash.update([0]);
    };
    feed(&stable(&kind));
    if frames.is_empty() {
        feed(&message);
        feed(&origin);
    } else {
        for frame in &frames {
            feed(&stable(&frame.function));
            feed(&stable(frame.file.rsplit(['/', '\\']).next().unwrap_or_default()));
        }
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    ErrorKind { fingerprint: Fingerprint(u64::from_be_bytes(first)), kind, message, origin, frames }
}

/// What the protocol said, where nobody recorded an exception.
fn status_of(span: &Span) -> String {
    const CODES: [(&str, &str); 3] = [
        ("http.response.status_code", "HTTP"),
        ("http.status_code", "HTTP"),
        ("rpc.grpc.status_code", "gRPC"),
    ];
    CODES
        .iter()
        .find_map(|(name, protocol)| {
            let code = span.attributes.get(name)?;
            Some(format!("{protocol} {}", mask::cut(&code.to_string(), 32)))
        })
        .unwrap_or_else(|| "error".to_owned())
}

/// A name without what compilers and proxies make up anew: numbered lambdas and closures, generated classes.
fn stable(name: &str) -> String {
    let name = mask::cut(name, 512);
    let made_up = ["$$", "Lambda/", "$Lambda", "lambda$", "{{closure", "{closure", "<lambda"];
    let end = made_up.iter().filter_map(|mark| name.find(mark)).min().unwrap_or(name.len());
    let mut kept = String::with_capacity(end);
    for character in name[..end].chars() {
        // `func1`, `$17`, `::{{impl}}[3]`: numbers shift when unrelated code is added.
        if character.is_ascii_digit() {
            if !kept.ends_with('#') {
                kept.push('#');
            }
        } else {
            kept.push(character);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::span;
    use crate::span::Exception;

    fn fingerprint(kind: &str, message: &str, stack: Option<&str>) -> Fingerprint {
        let mut span = span("shop", "GET /cart");
        span.status = Status::Error;
        let stack = stack.map(Into::into);
        span.exceptions = vec![Exception { kind: kind.into(), message: message.into(), stack }];
        error_of(&span).fingerprint
    }

    #[test]
    fn what_differs_each_time_makes_no_new_error() {
        let same = [
            fingerprint("KeyError", "no user 17", None),
            fingerprint("KeyError", "no user 4711", None),
        ];
        assert_eq!(same[0], same[1]);
        assert_ne!(same[0], fingerprint("ValueError", "no user 17", None));
        assert_ne!(same[0], fingerprint("KeyError", "no cart 17", None));

        let stack = |line: u32, lambda: u32| {
            format!(
                "x.E: m\n\tat com.shop.Cart.load(Cart.java:{line})\n\
                 \tat com.shop.Web$$Lambda/0x{lambda:x}.run(Unknown Source)\n"
            )
        };
        let with = |stack: &str| fingerprint("x.E", &format!("m {}", stack.len()), Some(stack));
        assert_eq!(with(&stack(88, 1)), with(&stack(99, 77_777)));
        assert_ne!(with(&stack(88, 1)), with("x.E: m\n\tat com.shop.Cart.save(Cart.java:88)\n"));
    }

    #[test]
    fn fingerprints_are_the_same_for_ever() {
        // Stored with the history of a service: a change here makes every known error new.
        assert_eq!(fingerprint("KeyError", "no user 17", None).to_string(), "a70b7ed1f9a04078");
        let text = fingerprint("KeyError", "", None).to_string();
        assert_eq!(text.parse::<Fingerprint>().map(|it| it.to_string()), Ok(text));
        assert_eq!("x".parse::<Fingerprint>(), Err(BadFingerprint));
    }
}
