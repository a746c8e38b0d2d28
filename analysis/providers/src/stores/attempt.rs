//! One attempt at a store over HTTP: bounded in time and size, and told to people without a credential.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode, Url};

use crate::error::FetchError;
use crate::http::{self, Access, Credentials, OnlyLoopback, Secret};
use crate::stores::limits::Limits;

/// Longest text of a store's own that is quoted.
const QUOTED: usize = 300;

/// How far one attempt may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Longest time for one request and its whole answer.
    pub(crate) timeout: Duration,
    /// Longest answer in bytes, after decompression.
    pub(crate) max_bytes: usize,
}

/// A store's address with what it takes to ask it.
pub(crate) struct Base {
    /// The store's name for people.
    store: &'static str,
    /// Without user name, password, query and fragment; its path may have no slash at the end.
    url: Url,
    shown: String,
    client: reqwest::Client,
    bounds: Bounds,
    /// What is struck out of everything that the store says.
    secrets: Vec<Secret>,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base").field("url", &self.shown).finish_non_exhaustive()
    }
}

/// What a store answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Base {
    /// Checks the address and the access; nothing is contacted.
    ///
    /// # Errors
    /// When the address or a header is not valid; permanent.
    pub(crate) fn new(
        store: &'static str,
        url: &str,
        mut access: Access,
        bounds: Bounds,
    ) -> Result<Self, FetchError> {
        let invalid = |cause: &str| {
            let shown = http::shown(url);
            FetchError::permanent(format!("the address {shown} of {store} {cause}"))
        };
        let mut url =
            Url::parse(url).map_err(|error| invalid(&format!("is not valid: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("does not begin with http:// or https://"));
        }
        if let (Some(password), Credentials::None) = (url.password(), &access.credentials) {
            let user = url.username().to_owned();
            access.credentials = Credentials::Basic { user, password: Secret::new(password) };
        }
        // An address with a host, as checked by its scheme, can always be without these.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.set_fragment(None);
        let near = match url.host_str() {
            Some("localhost" | "127.0.0.1" | "[::1]") => OnlyLoopback::Yes,
            Some(_) | None => OnlyLoopback::No,
        };
        let client = http::client(&access, bounds.timeout, near)?;
        let mut secrets: Vec<Secret> = access.headers.into_iter().map(|(_, value)| value).collect();
        match access.credentials {
            Credentials::None => {}
            Credentials::Bearer(token) => secrets.push(token),
            Credentials::Basic { user, password } => {
                // As it is sent, which anybody can undo.
                let sent = STANDARD.encode(format!("{user}:{}", password.expose()));
                secrets.extend([Secret::new(sent), password]);
            }
        }
        Ok(Self { store, shown: url.to_string(), url, client, bounds, secrets })
    }

    /// Further texts that are struck out of everything that the store says.
    pub(crate) fn hiding(mut self, secrets: impl IntoIterator<Item = Secret>) -> Self {
        self.secrets.extend(secrets);
        self
    }

    /// The address for people.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The address itself.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// The client, which carries the access headers.
    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// The bounds of one request.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The address of a path below the store's own.
    pub(crate) fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        url
    }

    /// Sends one request and reads its whole answer, whatever its status. Dropping it is safe.
    ///
    /// # Errors
    /// No answer in time, an answer that breaks off (transient) or is too long (permanent).
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Answer, FetchError> {
        let Bounds { timeout, max_bytes } = self.bounds;
        let exchange = async {
            let answered = request.send().await;
            let response = answered.map_err(|error| http::explain(error, &self.shown, timeout))?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = http::body(response, &self.shown, max_bytes, timeout).await?;
            Ok(Answer { status, headers, body })
        };
        let hung = || {
            let millis = timeout.as_millis();
            FetchError::transient(format!("{} did not answer within {millis} ms", self.shown))
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err(hung()))
    }

    /// Sends one request if the store's limits permit it, and minds what the answer says of them.
    ///
    /// # Errors
    /// As [`Self::send`], and when the store may not be asked now (transient).
    pub(crate) async fn ask(
        &self,
        limits: &Limits,
        request: RequestBuilder,
    ) -> Result<Answer, FetchError> {
        limits.permit(&self.shown)?;
        let answer = self.send(request).await?;
        limits.heard(answer.status, &answer.headers);
        Ok(answer)
    }

    /// What an answer other than success means. `told` is the store's own word, if it gave one.
    pub(crate) fn refused(&self, answer: &Answer, told: &str) -> FetchError {
        let status = answer.status;
        let hint = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("; check the credentials of {} in serin.yaml", self.store)
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let wait = answer.headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok());
                wait.map(|wait| format!("; Retry-After: {}", quoted(wait))).unwrap_or_default()
            }
            _ if status.is_redirection() => {
                "; redirects are not followed, write the final address into serin.yaml".to_owned()
            }
            _ => String::new(),
        };
        let told = if told.is_empty() { String::new() } else { format!(": {}", self.hide(told)) };
        http::refused(status, &self.shown, &format!("{told}{hint}"))
    }

    /// An answer that cannot be read, which no retry will mend.
    pub(crate) fn unreadable(&self, why: impl fmt::Display) -> FetchError {
        let why = self.hide(&why.to_string());
        FetchError::permanent(format!("the answer of {} cannot be read: {why}", self.shown))
    }

    /// An answer that is no JSON or CSV at all, perhaps because it was cut short: the next may be whole.
    pub(crate) fn broken(&self, error: &dyn std::error::Error) -> FetchError {
        FetchError::transient(self.unreadable(error).text)
    }

    /// A foreign text, short, in one line and without a secret.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().map(Secret::expose).filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "(secret)");
        }
        quoted(&text)
    }
}

/// The words of an answer that is plain text; nothing for a web page, which says little in its first lines.
pub(crate) fn words(answer: &Answer) -> String {
    // The content type does not tell: Graphite calls its sentences HTML.
    let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(4 * QUOTED)]);
    if text.trim_start().starts_with('<') { String::new() } else { text.into_owned() }
}

/// One line of at most [`QUOTED`] bytes.
fn quoted(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > QUOTED {
        let cut = (0..=QUOTED).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(cut);
        line.push_str(" ...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(1), max_bytes: 1_000 };

    fn base(url: &str) -> Base {
        Base::new("Graphite", url, Access::default(), BOUNDS).unwrap()
    }

    fn answer(status: u16, wait: Option<&str>, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(wait) = wait {
            headers.insert(RETRY_AFTER, wait.parse().unwrap());
        }
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() }
    }

    #[test]
    fn addresses_are_checked_and_extended() {
        assert_eq!(base("http://h/g/").at("render").as_str(), "http://h/g/render");
        assert_eq!(base("http://h/g").at("api/v2").as_str(), "http://h/g/api/v2");
        assert_eq!(base("http://u:hunter2@h?x=hunter2#y").shown(), "http://h/");
        let refused = |url| Base::new("Graphite", url, Access::default(), BOUNDS).unwrap_err();
        let wrong = ["graphite:8080", "file:///etc/passwd", "http://"].map(|url| refused(url).text);
        insta::assert_snapshot!(wrong.join("\n"));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let base = base("http://u:hunter2@h/g");
        let refused = |answer: Answer| base.refused(&answer, &words(&answer));
        let told = [
            answer(401, None, "bad: hunter2, dTpodW50ZXIy"),
            answer(429, Some("30"), "slow down"),
            answer(500, None, "<html>"),
            answer(302, None, ""),
        ];
        insta::assert_snapshot!(told.map(|answer| refused(answer).text).join("\n"));
        assert!(!format!("{base:?}").contains("hunter2"));
        assert_eq!(STANDARD.encode("u:hunter2"), "dTpodW50ZXIy");
        let long = "é".repeat(10_000);
        assert!(refused(answer(500, None, &long)).text.len() < 1_000);
    }
}
