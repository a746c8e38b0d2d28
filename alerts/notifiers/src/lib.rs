#![doc = include_str!("../README.md")]

use std::{fmt, sync::Arc, time::Duration};

use alerts::Message;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

mod http;
#[cfg(test)]
mod loopback;
pub mod replay;
pub mod slack;
pub mod verify;
pub mod webhook;

pub use replay::{ReplayError, ReplayStore};
pub use verify::{KeyError, SigningKey, StandardHeaders, VerifyError};

/// How long one attempt may take by default: people can wait, a queue of attempts cannot.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest timeout that can be set.
pub const MOST_TIMEOUT: Duration = Duration::from_secs(60);

/// What delivers messages to one place.
pub trait Notifier: Send + Sync + fmt::Debug {
    /// Makes one attempt to deliver a message, `now` being the time of the attempt.
    ///
    /// Dropped half-way, the message may or may not have arrived. So may one that failed with
    /// [`DeliverError::Transient`]: the receiver tells repetitions by the message's key.
    ///
    /// # Errors
    /// [`DeliverError::Transient`] asks for another attempt later, [`DeliverError::Permanent`] for
    /// a person: no attempt will do before something is changed.
    fn deliver<'a>(
        &'a self,
        message: &'a Message,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Delivered, DeliverError>>;
}

/// The receiver has taken the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The status of its answer, 200 to 299.
    pub status: u16,
}

/// Why a message was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// It may work later.
    #[error("{what}")]
    Transient {
        /// What happened.
        what: String,
        /// How long the receiver asks to wait, at most an hour.
        retry_after: Option<Duration>,
        /// What the connection says; never with the address.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// It will not work until something is changed.
    #[error("{what}")]
    Permanent {
        /// What happened and what to do.
        what: String,
    },
}

impl DeliverError {
    /// How long the receiver asks to wait, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Transient { retry_after, .. } => *retry_after,
            Self::Permanent { .. } => None,
        }
    }

    /// Whether another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }
}

/// A text that is never shown: an address that holds a token, or a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; not for logs or messages.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// What to build a notifier from, with credentials already looked up.
#[derive(Debug, Clone)]
pub enum Config {
    /// A Slack incoming webhook, or one that takes the same messages.
    Slack(slack::Config),
    /// A webhook signed by Standard Webhooks.
    Webhook(webhook::Config),
}

/// What is wrong with a notifier's configuration; it never repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The address cannot be used.
    #[error("the url {what}")]
    Url {
        /// What is wrong with it and what to do.
        what: &'static str,
    },
    /// The timeout is out of range.
    #[error("the timeout is {given:?}: choose more than 0 s and at most {MOST_TIMEOUT:?}")]
    Timeout {
        /// What was given.
        given: Duration,
    },
    /// A signed webhook has no secret.
    #[error("there is no secret to sign with: give at least one")]
    NoSecret,
    /// A secret cannot be used.
    #[error("the secret {0} cannot be used", .number + 1)]
    Secret {
        /// Which one, counted from 0.
        number: usize,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The HTTP client cannot be set up, for instance for want of root certificates.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// Builds a notifier.
///
/// # Errors
/// [`BuildError`] says what to change in the configuration.
pub fn build(config: Config) -> Result<Arc<dyn Notifier>, BuildError> {
    Ok(match config {
        Config::Slack(config) => Arc::new(slack::Slack::new(config)?),
        Config::Webhook(config) => Arc::new(webhook::Webhook::new(config)?),
    })
}
