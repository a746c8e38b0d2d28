//! A generic webhook, signed so that the receiver can trust it.
//!
//! Follows Standard Webhooks 1.0 (<https://github.com/standard-webhooks/standard-webhooks>): the
//! headers `webhook-id` (the deduplication key, the same for every attempt), `webhook-timestamp`
//! (the attempt's time) and `webhook-signature`. The body is a `CloudEvents` 1.0 event in structured
//! JSON. Several secrets sign together, so that a receiver can change its secret without a gap.

use std::time::Duration;

use alerts::Message;
use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::{
    BuildError, DeliverError, Delivered, Notifier, Secret,
    http::{Endpoint, Scheme},
    verify::{self, SigningKey},
};

/// What a signed webhook needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it goes: `https`, or `http` where the network is trusted.
    pub url: Secret,
    /// Secrets that begin with `whsec_`, at least one; all of them sign.
    pub secrets: Vec<Secret>,
    /// How long one attempt may take, above 0 s and at most a minute.
    pub timeout: Duration,
}

/// One signed webhook.
#[derive(Debug, Clone)]
pub struct Webhook {
    endpoint: Endpoint,
    keys: Vec<SigningKey>,
}

impl Webhook {
    /// Checks the configuration; nothing is sent.
    ///
    /// # Errors
    /// [`BuildError`] says what to change in the configuration.
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is used once")]
    pub fn new(config: Config) -> Result<Self, BuildError> {
        if config.secrets.is_empty() {
            return Err(BuildError::NoSecret);
        }
        let mut keys = Vec::with_capacity(config.secrets.len());
        for (number, secret) in config.secrets.iter().enumerate() {
            let key = SigningKey::parse(secret.reveal());
            keys.push(key.map_err(|source| BuildError::Secret { number, source })?);
        }
        Ok(Self { endpoint: Endpoint::new(&config.url, config.timeout, Scheme::Any)?, keys })
    }

    async fn attempt(&self, message: &Message, now: Timestamp) -> Result<Delivered, DeliverError> {
        let headers = headers(&self.keys, message, now)?;
        let answer = self.endpoint.post(headers, message.webhook.clone(), now).await?;
        let status = answer.status();
        if status.is_success() {
            Ok(Delivered { status: status.as_u16() })
        } else {
            Err(answer.refusal(None))
        }
    }
}

impl Notifier for Webhook {
    fn deliver<'a>(
        &'a self,
        message: &'a Message,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Delivered, DeliverError>> {
        self.attempt(message, now).boxed()
    }
}

fn headers(
    keys: &[SigningKey],
    message: &Message,
    now: Timestamp,
) -> Result<HeaderMap, DeliverError> {
    let second = now.as_second();
    let signatures: Vec<String> = keys
        .iter()
        .map(|key| verify::sign(key, &message.key, second, message.webhook.as_bytes()))
        .collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"));
    for (name, value) in [
        (verify::ID, message.key.clone()),
        (verify::TIMESTAMP, second.to_string()),
        (verify::SIGNATURE, signatures.join(" ")),
    ] {
        let value = HeaderValue::from_str(&value).map_err(|_| DeliverError::Permanent {
            what: format!("the message's key is no valid `{name}` header"),
        })?;
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::{
        StandardHeaders, TIMEOUT,
        loopback::{Loopback, Reply, check_every_failure, message, now},
    };

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_c2VyaW4gc2luZ3Mgd2hlbiB0aGUgYWlyIGlzIGdvb2Q=";

    fn webhook(url: String, timeout: Duration) -> Webhook {
        let secrets = vec![Secret::new(OLD), Secret::new(NEW)];
        Webhook::new(Config { url: Secret::new(url), secrets, timeout }).unwrap()
    }

    #[tokio::test]
    async fn a_receiver_with_either_secret_can_verify_it() {
        let server = Loopback::start(Reply::text(StatusCode::NO_CONTENT, "")).await;
        let delivered = webhook(server.url(), TIMEOUT).deliver(&message(), now()).await.unwrap();
        assert_eq!(delivered.status, 204);
        let request = server.request().await;
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("webhook-id"), Some(message().key.as_str()));
        assert_eq!(header("content-type"), Some("application/cloudevents+json"));
        for secret in [OLD, NEW] {
            let headers = StandardHeaders {
                id: header("webhook-id"),
                timestamp: header("webhook-timestamp"),
                signature: header("webhook-signature"),
            };
            let keys = [SigningKey::parse(secret).unwrap()];
            verify::standard(&keys, &headers, &request.body, now()).unwrap();
        }
        let event: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(event["specversion"], "1.0");
        assert!(request.body.len() < 20_000);
    }

    #[tokio::test]
    async fn every_failure_is_classified_and_hides_the_address() {
        check_every_failure(|url, timeout| Box::new(webhook(url, timeout))).await;
    }

    #[test]
    fn secrets_are_checked_and_never_shown() {
        let new = |secrets: &[&str]| {
            Webhook::new(Config {
                url: Secret::new("https://a.example"),
                secrets: secrets.iter().copied().map(Secret::new).collect(),
                timeout: crate::TIMEOUT,
            })
        };
        assert!(matches!(new(&[]), Err(BuildError::NoSecret)));
        assert!(matches!(new(&[OLD, "hunter2"]), Err(BuildError::Secret { number: 1, .. })));
        let error = new(&["hunter2"]).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
        let shown = format!("{:?}", new(&[OLD]).unwrap());
        assert!(!shown.contains("MfKQ") && !shown.contains("[49"), "{shown}");
    }
}
