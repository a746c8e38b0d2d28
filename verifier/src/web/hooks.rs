//! Webhooks that make the watcher look at once.
//!
//! A hook carries no order: whatever it says, Serin only fetches earlier than it would have. It is
//! verified all the same, so that strangers cannot keep Serin fetching.

use std::sync::{Arc, Mutex, PoisonError};

use alerts_notifiers::{ReplayError, ReplayStore, SigningKey, StandardHeaders, verify};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::App;
use super::problem::Problem;
use crate::clock::now;
use crate::config::{Instance, Secret};

/// Bytes of a webhook's body; forges send less than half of this.
pub(super) const LARGEST_BODY: usize = 1024 * 1024;

/// What decides about webhooks.
pub(super) struct Hooks {
    /// Empty without a secret.
    keys: Vec<SigningKey>,
    /// Without a secret, callers of the same machine are trusted.
    loopback: bool,
    timed: Mutex<ReplayStore>,
    timeless: Mutex<ReplayStore>,
}

impl Hooks {
    pub(super) fn new(instance: &Instance) -> Self {
        let secret = instance.hooks_secret.as_ref().map(Secret::expose);
        // A secret in the form of Standard Webhooks signs with what it encodes; forges sign with
        // the text as it is.
        let keys = secret
            .into_iter()
            .flat_map(|text| [SigningKey::of_text(text), SigningKey::parse(text)]);
        Self {
            keys: keys.flatten().collect(),
            loopback: instance.listen.ip().is_loopback(),
            timed: Mutex::new(ReplayStore::standard()),
            timeless: Mutex::new(ReplayStore::timeless()),
        }
    }

    fn admit(&self, headers: &HeaderMap, body: &[u8], at: Timestamp) -> Result<(), Problem> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if self.keys.is_empty() {
            return if self.loopback { Ok(()) } else { Err(closed()) };
        }
        let refused = |error: verify::VerifyError| {
            tracing::warn!(error = error.to_string(), "a webhook was refused");
            let hint = "sign with the secret that `hooks.secretFrom` in serin.yaml names: Standard Webhooks headers, or X-Hub-Signature-256";
            Problem::new(StatusCode::UNAUTHORIZED, error.to_string(), hint)
        };
        let (store, id) = if header(verify::GITHUB_SIGNATURE).is_some()
            && header(verify::ID).is_none()
        {
            let signature = header(verify::GITHUB_SIGNATURE);
            verify::github(&self.keys, signature, body).map_err(refused)?;
            // Delivery numbers are not signed; the signature itself stands for the body.
            (
                &self.timeless,
                signature.unwrap_or_default().trim_start_matches("sha256=").to_ascii_lowercase(),
            )
        } else {
            let standard = StandardHeaders {
                id: header(verify::ID),
                timestamp: header(verify::TIMESTAMP),
                signature: header(verify::SIGNATURE),
            };
            let id = verify::standard(&self.keys, &standard, body, at).map_err(refused)?;
            (&self.timed, id.to_owned())
        };
        let admitted = store.lock().unwrap_or_else(PoisonError::into_inner).admit(&id, at);
        admitted.map_err(|error| match error {
            ReplayError::Replayed => Problem::new(
                StatusCode::CONFLICT,
                error.to_string(),
                "nothing is to be done: Serin has looked since; a new event needs an identifier or a body of its own",
            ),
            ReplayError::Full { .. } => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), "send it again in some minutes")
            }
        })
    }
}

fn closed() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "webhooks are not taken without a signature here, for other machines can reach this address",
        "add hooks: { secretFrom: { env: SERIN_HOOKS_SECRET } } to serin.yaml, and sign with it",
    )
}

/// `POST /hooks/generic`: look at every repository now.
pub(super) async fn generic(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    app.hooks.admit(&headers, &body?, now())?;
    app.nudge.notify_one();
    Ok(StatusCode::ACCEPTED)
}
