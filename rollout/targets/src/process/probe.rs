//! One look at the health path of an instance.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::port;

/// Longest wait for one answer: an instance that needs longer is not ready for traffic.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks instances how they are; cheap to clone.
#[derive(Clone)]
pub(super) struct Probe {
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Probe {
    pub(super) fn new() -> Self {
        // A connection is never kept: the next probe must see a listener that has gone.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { client }
    }

    /// Healthy is 2xx or 3xx. The error says what came instead, in a few words.
    pub(super) async fn look(&self, port: u16, path: &str) -> Result<(), String> {
        let request = Request::get(format!("http://{}{path}", port::address(port)))
            .header(http::header::USER_AGENT, "serin-probe")
            .body(Empty::new())
            .map_err(|error| format!("the health path is not usable: {error}"))?;
        match timeout(PATIENCE, self.client.request(request)).await {
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            Ok(Ok(answer)) => judge(answer.status()),
            Ok(Err(error)) => {
                // The outer error only says that the client failed; the innermost says why.
                let mut cause: &dyn std::error::Error = &error;
                while let Some(source) = cause.source() {
                    cause = source;
                }
                let cause = cause.to_string();
                Err(cause.split(" (os error").next().unwrap_or(&cause).to_owned())
            }
        }
    }
}

fn judge(status: StatusCode) -> Result<(), String> {
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("HTTP {}", status.as_u16()))
    }
}

/// Whether a health path can be asked for at all.
pub(super) fn is_usable(path: &str) -> bool {
    path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_healthy_and_missing_pages_are_not() {
        for (status, healthy) in [(200, true), (204, true), (302, true), (404, false), (503, false)]
        {
            let status = StatusCode::from_u16(status).expect("valid");
            assert_eq!(judge(status).is_ok(), healthy, "{status}");
        }
    }

    #[test]
    fn a_health_path_begins_with_a_slash_and_holds_no_blanks() {
        assert!(is_usable("/") && is_usable("/healthz?deep=1"));
        assert!(!is_usable("") && !is_usable("healthz") && !is_usable("/a b") && !is_usable("/\n"));
    }

    #[tokio::test]
    async fn the_cause_of_a_missing_answer_is_named() {
        let port = port::free(&std::collections::BTreeSet::new()).expect("free");
        assert_eq!(Probe::new().look(port, "/").await, Err("Connection refused".to_owned()));
    }
}
