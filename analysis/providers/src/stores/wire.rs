//! One attempt at a store whose answers are JSON: permitted by its limits, decoded, and told to people.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::attempt::{Answer, Base, Bounds};
use super::limits::Limits;
use crate::error::FetchError;
use crate::http::{Access, Secret};

/// A way to a store.
#[derive(Debug)]
pub(crate) struct Wire {
    base: Base,
    limits: Limits,
}

impl Wire {
    /// Checks the settings; contacts nobody. `hidden` are secrets that do not stand alone in a header.
    ///
    /// # Errors
    /// When the address, a bound or a header is not valid; permanent.
    pub(crate) fn new(
        store: &'static str,
        url: &str,
        access: Access,
        hidden: impl IntoIterator<Item = Secret>,
        bounds: Bounds,
    ) -> Result<Self, FetchError> {
        if bounds.timeout.is_zero() || bounds.max_bytes == 0 {
            return Err(FetchError::permanent(format!(
                "{store} needs a timeout and a size of answers above zero"
            )));
        }
        let base = Base::new(store, url, access, bounds)?.hiding(hidden);
        Ok(Self { base, limits: Limits::new(None) })
    }

    /// At most so many requests a minute, as the store documents.
    pub(crate) fn at_most(mut self, per_minute: u32) -> Self {
        self.limits = Limits::new(Some(per_minute));
        self
    }

    /// The address for people.
    pub(crate) fn shown(&self) -> &str {
        self.base.shown()
    }

    /// When it may be asked.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How long one attempt may take, however many requests it needs.
    pub(crate) fn timeout(&self) -> Duration {
        self.base.bounds().timeout
    }

    /// When an attempt that begins now must have ended.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout()
    }

    /// A POST below the store's address.
    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.base.client().post(self.base.at(path))
    }

    /// A GET below the store's address.
    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.base.client().get(self.base.at(path))
    }

    /// Waits before an answer is asked for again.
    ///
    /// # Errors
    /// When that would be after the deadline; transient.
    pub(crate) async fn pause(&self, by: Duration, deadline: Instant) -> Result<(), FetchError> {
        if Instant::now() + by >= deadline {
            return Err(self.late());
        }
        tokio::time::sleep(by).await;
        Ok(())
    }

    /// Makes one request and decodes the answer of a success.
    ///
    /// # Errors
    /// When the store may not be asked, does not answer, refuses, or answers something else than `T`.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<T, Refused> {
        self.limits.permit(self.shown())?;
        let answer = timeout_at(deadline, self.base.send(request)).await;
        let answer = answer.unwrap_or_else(|_| Err(self.late()))?;
        self.limits.heard(answer.status, &answer.headers);
        if !answer.status.is_success() {
            return Err(self.refused(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            // A body that is cut short is no reason to give up for good.
            Refused::from(FetchError::transient(self.base.unreadable(error).text))
        })
    }

    fn late(&self) -> FetchError {
        let (shown, millis) = (self.shown(), self.timeout().as_millis());
        FetchError::transient(format!("{shown} did not answer within {millis} ms"))
    }

    fn refused(&self, answer: &Answer) -> Refused {
        let said = serde_json::from_slice(&answer.body).ok().and_then(|value| message(&value));
        let error = self.base.refused(answer, &said.unwrap_or_default());
        Refused { status: Some(answer.status), error }
    }

    /// A text of the store in one short line without a secret.
    pub(crate) fn hide(&self, text: &str) -> String {
        self.base.hide(text)
    }

    /// The store's own error in an answer that says success.
    pub(crate) fn says(&self, text: &str) -> FetchError {
        FetchError::permanent(format!("{} says: {}", self.shown(), self.hide(text)))
    }
}

/// A request that brought nothing.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The status, when there was an answer.
    pub(crate) status: Option<StatusCode>,
    pub(crate) error: FetchError,
}

impl From<FetchError> for Refused {
    fn from(error: FetchError) -> Self {
        Self { status: None, error }
    }
}

/// The sentence for people in an error, wherever stores put it.
pub(crate) fn message(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => all.iter().find_map(message),
        Value::Object(fields) => ["message", "reason", "detail", "error", "errors", "title"]
            .iter()
            .find_map(|name| message(fields.get(*name)?)),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Whole seconds of a step.
///
/// # Errors
/// When it is not whole seconds that divide an hour; permanent.
pub(crate) fn whole_step(store: &str, step: Duration) -> Result<u64, FetchError> {
    let seconds = step.as_secs();
    let divides = (1..=3_600).contains(&seconds) && 3_600_u64.is_multiple_of(seconds);
    if divides && step.subsec_nanos() == 0 {
        return Ok(seconds);
    }
    Err(FetchError::permanent(format!(
        "the step {step:?} of {store} must be whole seconds that divide an hour, e.g. 10, 20, 30 or 60"
    )))
}
