//! One bounded attempt to post a text to an address that nobody may see.
//!
//! Everything that every notifier owes is here once: a deadline for the whole exchange, an answer
//! of which only a little is read, no redirects (they would carry the message elsewhere), and
//! errors without the address, since a webhook's address is its password.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{HeaderMap, RETRY_AFTER},
    redirect::Policy,
};

use crate::{BuildError, DeliverError, MOST_TIMEOUT, Secret};

/// How much of an answer is read, in bytes: receivers say a word or two.
const MOST_ANSWER: usize = 1024;
/// The longest wait that a receiver can ask for.
const MOST_WAIT: Duration = Duration::from_secs(3600);

/// Which addresses are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `https`, and `http` on this machine: the address is a password.
    Private,
    /// `http` as well: the message is signed.
    Any,
}

/// An address with the client that posts to it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    client: Client,
    url: Url,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(crate) fn new(url: &Secret, timeout: Duration, scheme: Scheme) -> Result<Self, BuildError> {
        let problem = |what| BuildError::Url { what };
        let url = Url::parse(url.reveal().trim())
            .map_err(|_| problem("is no web address: it begins with https://"))?;
        let loopback = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if loopback || scheme == Scheme::Any => {}
            "http" => {
                return Err(problem(
                    "begins with http://, which would show it to the network: use https://",
                ));
            }
            _ => return Err(problem("is no web address: it begins with https://")),
        }
        if timeout.is_zero() || timeout > MOST_TIMEOUT {
            return Err(BuildError::Timeout { given: timeout });
        }
        let mut client = Client::builder()
            .redirect(Policy::none())
            .timeout(timeout)
            .connect_timeout(timeout)
            .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")));
        if loopback {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| BuildError::Client(error.without_url()))?;
        Ok(Self { client, url })
    }

    /// Posts once. The answer's head arrives within the timeout, and so does what is read of it.
    pub(crate) async fn post(
        &self,
        headers: HeaderMap,
        body: String,
        now: Timestamp,
    ) -> Result<Answer, DeliverError> {
        let response = self
            .client
            .post(self.url.clone())
            .headers(headers)
            .body(body)
            .send()
            .await
            .map_err(failed)?;
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| wait(value, now));
        Ok(Answer { response, retry_after })
    }
}

/// The head of an answer.
pub(crate) struct Answer {
    response: Response,
    retry_after: Option<Duration>,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The beginning of the body.
    pub(crate) async fn text(&mut self) -> Result<String, DeliverError> {
        let mut read = Vec::new();
        while read.len() < MOST_ANSWER {
            let Some(chunk) = self.response.chunk().await.map_err(failed)? else {
                break;
            };
            read.extend_from_slice(&chunk[..chunk.len().min(MOST_ANSWER - read.len())]);
        }
        Ok(String::from_utf8_lossy(&read).into_owned())
    }

    /// Why an answer that is no success means that the message was not delivered; `word` is the
    /// receiver's own, already known to be harmless.
    pub(crate) fn refusal(&self, word: Option<&str>) -> DeliverError {
        let status = self.status();
        let said = word.map(|word| format!(": `{word}`")).unwrap_or_default();
        let what = format!("the receiver answered {}{said}", status.as_u16());
        let later = matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
        if later || status.is_server_error() {
            DeliverError::Transient { what, retry_after: self.retry_after, source: None }
        } else if status.is_redirection() {
            DeliverError::Permanent {
                what: format!("{what}: redirects are not followed, configure the final address"),
            }
        } else {
            DeliverError::Permanent { what }
        }
    }
}

fn failed(error: reqwest::Error) -> DeliverError {
    let what = if error.is_timeout() {
        "the receiver did not answer in time"
    } else if error.is_connect() {
        "the receiver cannot be reached"
    } else {
        "the exchange with the receiver broke off"
    };
    DeliverError::Transient {
        what: what.to_owned(),
        retry_after: None,
        source: Some(error.without_url()),
    }
}

/// `Retry-After` in either form of RFC 9110, 10.2.3: seconds, or a date.
fn wait(value: &str, now: Timestamp) -> Option<Duration> {
    let wait = if let Ok(seconds) = value.trim().parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
        Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MOST_WAIT))
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_both_forms_and_bounded() {
        let now: Timestamp = "2015-10-21T07:27:30Z".parse().unwrap();
        let seconds = |value| wait(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("30"), Some(30));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("99999999"), Some(3600));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(30));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:00:00 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds("-1"), None);
    }

    #[test]
    fn addresses_are_checked_and_never_shown() {
        let try_new = |url: &str, scheme| Endpoint::new(&Secret::new(url), MOST_TIMEOUT, scheme);
        for good in ["https://a.example/T/token", "http://127.0.0.1:9/token", "http://[::1]/token"]
        {
            let endpoint = try_new(good, Scheme::Private).unwrap();
            assert!(!format!("{endpoint:?}").contains("token"));
        }
        assert!(try_new("http://a.example/token", Scheme::Any).is_ok());
        for bad in ["http://a.example/token", "ftp://a/token", "token", "", "http://127.evil/token"]
        {
            let error = try_new(bad, Scheme::Private).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("token"), "{error}");
        }
        let zero = Endpoint::new(&Secret::new("https://a"), Duration::ZERO, Scheme::Any);
        assert!(matches!(zero, Err(BuildError::Timeout { .. })));
    }
}
