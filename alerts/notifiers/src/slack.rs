//! Slack incoming webhooks: the address is the whole configuration.
//!
//! Follows <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks> as of 2026:
//! a posted JSON message with `text` and `blocks`, the answer `ok`, and one word such as
//! `invalid_blocks` otherwise. The word is passed on only when it looks like one, because an answer
//! could repeat the address. Mattermost and Rocket.Chat take the same messages.

use std::time::Duration;

use alerts::Message;
use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::{
    BuildError, DeliverError, Delivered, Notifier, Secret,
    http::{Endpoint, Scheme},
};

/// What an incoming webhook needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its address, which whoever holds it can post to: `https`, or `http` on this machine.
    pub url: Secret,
    /// How long one attempt may take, above 0 s and at most a minute.
    pub timeout: Duration,
}

/// One incoming webhook.
#[derive(Debug, Clone)]
pub struct Slack {
    endpoint: Endpoint,
}

impl Slack {
    /// Checks the configuration; nothing is sent.
    ///
    /// # Errors
    /// [`BuildError`] says what to change in the configuration.
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is used once")]
    pub fn new(config: Config) -> Result<Self, BuildError> {
        Ok(Self { endpoint: Endpoint::new(&config.url, config.timeout, Scheme::Private)? })
    }

    async fn attempt(&self, message: &Message, now: Timestamp) -> Result<Delivered, DeliverError> {
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        let mut answer = self.endpoint.post(headers, message.slack.clone(), now).await?;
        let status = answer.status();
        if !status.is_success() {
            // The status alone decides; a word that cannot be read is only less said.
            let text = answer.text().await.unwrap_or_default();
            return Err(answer.refusal(word(&text)));
        }
        if accepted(&answer.text().await?) {
            return Ok(Delivered { status: status.as_u16() });
        }
        Err(DeliverError::Transient {
            what: format!(
                "the receiver answered {} but not `ok`: is the url that of an incoming webhook?",
                status.as_u16()
            ),
            retry_after: None,
            source: None,
        })
    }
}

impl Notifier for Slack {
    fn deliver<'a>(
        &'a self,
        message: &'a Message,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Delivered, DeliverError>> {
        self.attempt(message, now).boxed()
    }
}

/// Slack and Mattermost say `ok`, Rocket.Chat says `{"success":true}`.
fn accepted(text: &str) -> bool {
    text.trim() == "ok"
        || serde_json::from_str::<serde_json::Value>(text)
            .is_ok_and(|answer| answer["ok"] == true || answer["success"] == true)
}

fn word(text: &str) -> Option<&str> {
    let word = text.trim();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (!word.is_empty() && word.len() <= 40 && word.bytes().all(plain)).then_some(word)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::{
        TIMEOUT,
        loopback::{Loopback, Reply, check_every_failure, message, now},
    };

    fn slack(url: String, timeout: Duration) -> Slack {
        Slack::new(Config { url: Secret::new(url), timeout }).unwrap()
    }

    #[tokio::test]
    async fn a_message_arrives_as_slack_wants_it() {
        let server = Loopback::start(Reply::text(StatusCode::OK, "ok")).await;
        let delivered = slack(server.url(), TIMEOUT).deliver(&message(), now()).await.unwrap();
        assert_eq!(delivered, Delivered { status: 200 });
        let request = server.request().await;
        assert_eq!(request.headers["content-type"], "application/json; charset=utf-8");
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert!(body["text"].is_string() && body["blocks"].is_array());
    }

    #[tokio::test]
    async fn every_failure_is_classified_and_hides_the_address() {
        check_every_failure(|url, timeout| Box::new(slack(url, timeout))).await;
    }

    #[tokio::test]
    async fn slacks_own_word_is_passed_on_and_nothing_else() {
        for (text, shown) in [
            ("invalid_blocks", "the receiver answered 400: `invalid_blocks`"),
            ("<p>/hooks/token not found</p>", "the receiver answered 400"),
        ] {
            let server = Loopback::start(Reply::text(StatusCode::BAD_REQUEST, text)).await;
            let error = slack(server.url(), TIMEOUT).deliver(&message(), now()).await.unwrap_err();
            assert_eq!(error.to_string(), shown);
            assert!(!error.is_transient());
        }
    }

    #[tokio::test]
    async fn a_page_of_a_captive_network_is_no_delivery() {
        let server =
            Loopback::start(Reply::text(StatusCode::OK, "<html>Please log in</html>")).await;
        let error = slack(server.url(), TIMEOUT).deliver(&message(), now()).await.unwrap_err();
        assert!(error.is_transient());
        assert!(error.to_string().contains("not `ok`"), "{error}");
    }

    #[test]
    fn compatible_servers_are_understood() {
        assert!(accepted("ok\n") && accepted("{\"success\":true}") && accepted("{\"ok\":true}"));
        assert!(!accepted("") && !accepted("{\"success\":false}") && !accepted("okay"));
    }
}
