//! Why an attempt failed: text for people and whether trying again can help.
//!
//! The text is complete, with its cause, and never holds a credential: addresses are shown without
//! user name, password and query string. It is plain data, so that it can be stored and shown later.

/// Whether the same attempt may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// It may: try again at the next interval.
    Transient,
    /// It will not before somebody changes the configuration or the source.
    Permanent,
}

/// A failed attempt to get observations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct FetchError {
    /// Whether trying again can help.
    pub persistence: Persistence,
    /// What is wrong, where, and what to do; no full stop.
    pub text: String,
}

impl FetchError {
    /// An error that may pass by itself.
    pub fn transient(text: impl Into<String>) -> Self {
        Self { persistence: Persistence::Transient, text: bounded(text.into()) }
    }

    /// An error that stays until somebody acts.
    pub fn permanent(text: impl Into<String>) -> Self {
        Self { persistence: Persistence::Permanent, text: bounded(text.into()) }
    }
}

/// Longest text that is kept of anything that a source sent; enough for a sentence and its context.
const LONGEST: usize = 1_000;

/// Cuts a text of foreign origin to a length that can be logged and stored.
pub(crate) fn bounded(mut text: String) -> String {
    if text.len() > LONGEST {
        let cut = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push_str(" ...");
    }
    text
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
