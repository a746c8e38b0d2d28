//! One query over the wire: who is let ask, for how long, how much, and when to leave the store alone.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prometheus_http_query::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;

use super::reply::{self, Answer, Failure};
use super::settings::{Login, PrometheusSettings};
use crate::error::{FetchError, Persistence, bounded, chain};
use crate::http::{self, Credentials, OnlyLoopback, Secret};
use crate::sigv4::{Unsigned, sign};

/// Longest pause that a store can ask for; beyond that it is asked again all the same.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(600);

/// Longest token in a file.
const LONGEST_TOKEN: u64 = 64 * 1_024;

/// The connection to one store.
pub(super) struct Wire {
    client: Client,
    /// The address without user name and password, for messages.
    pub(super) shown: String,
    login: Login,
    timeout: Duration,
    max_bytes: usize,
    lane: Semaphore,
    own_lane: Semaphore,
    /// Until when the store asked to be left alone.
    resting: Mutex<Option<Timestamp>>,
}

/// A query and when it is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) text: &'a str,
    /// The moment of the samples.
    pub(super) seen: Timestamp,
    /// Now.
    pub(super) now: Timestamp,
    /// Whether a policy wrote a part of it.
    pub(super) own: bool,
}

impl Wire {
    /// A connection that is not made yet. Takes the address and what lets in out of the settings.
    pub(super) fn new(settings: &mut PrometheusSettings) -> Result<Self, FetchError> {
        // The address may hold a password.
        let address = std::mem::take(&mut settings.url);
        let shown = http::shown(&address);
        let invalid = |cause: &str| {
            FetchError::permanent(format!("the address {shown} of Prometheus {cause}"))
        };
        let mut url = reqwest::Url::parse(&address).map_err(|e| invalid(&e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("does not begin with http:// or https://"));
        }
        let mut access = std::mem::take(&mut settings.access);
        let login = std::mem::take(&mut settings.login);
        if let (Some(password), Credentials::None) = (url.password(), &access.credentials) {
            let user = url.username().to_owned();
            access.credentials = Credentials::Basic { user, password: Secret::new(password) };
        }
        // An address with a host, as checked by its scheme, can always be without these.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let near = match url.host_str() {
            Some("localhost" | "127.0.0.1" | "[::1]") => OnlyLoopback::Yes,
            Some(_) | None => OnlyLoopback::No,
        };
        let client = http::client(&access, settings.timeout, near)?;
        let client = Client::from(client, url.as_str()).map_err(|error| invalid(&chain(&error)))?;
        let lanes = settings.concurrency.max(1);
        Ok(Self {
            client,
            shown,
            login,
            timeout: settings.timeout,
            max_bytes: settings.max_bytes,
            lane: Semaphore::new(lanes),
            own_lane: Semaphore::new(lanes),
            resting: Mutex::default(),
        })
    }

    /// Runs one query. Dropping it half-way is safe.
    pub(super) async fn ask(&self, query: Query<'_>) -> Result<Answer, Failure> {
        let lane = if query.own { &self.own_lane } else { &self.lane };
        let busy = || {
            FetchError::transient(format!(
                "{} was not asked: too many queries are running",
                self.shown
            ))
        };
        let _place = tokio::time::timeout(self.timeout, lane.acquire())
            .await
            .map_err(|_| Failure::Other(busy()))?
            .map_err(|_| Failure::Other(busy()))?;
        if let Some(until) = self.rest(query.now) {
            return Err(Failure::Other(FetchError::transient(format!(
                "{} asked not to be asked again before {until}",
                self.shown
            ))));
        }
        let answer = tokio::time::timeout(self.timeout, self.exchange(query)).await;
        answer.unwrap_or_else(|_| Err(Failure::Slow(self.hung())))
    }

    async fn exchange(&self, query: Query<'_>) -> Result<Answer, Failure> {
        let response = self.send(query).await.map_err(Failure::Other)?;
        let status = response.status();
        let pause = pause(&response, query.now);
        let body = http::body(response, &self.shown, self.max_bytes, self.timeout).await;
        let body = body.map_err(|error| match error.persistence {
            Persistence::Permanent => Failure::Excessive(error),
            Persistence::Transient => Failure::Other(error),
        })?;
        let answer = reply::decode(status, &body, query.text, &self.shown);
        match (answer, pause) {
            (Err(failure), Some(until)) => {
                *self.resting.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
                let text = failure.into_error().text;
                let text = format!("{text}; it asked for a pause until {until}");
                Err(Failure::Other(FetchError::transient(text)))
            }
            (answer, _) => answer,
        }
    }

    async fn send(&self, query: Query<'_>) -> Result<Response, FetchError> {
        let (text, time) = (query.text, seconds(query.seen));
        let millis = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        let request = self.client.query(text).query("time", &time).timeout(millis);
        match &self.login {
            Login::Fixed => request.post_raw().await.map_err(|error| self.unreachable(&error)),
            Login::TokenFile(file) => {
                let token = token(file).await?;
                let request = request.header(AUTHORIZATION, token);
                request.post_raw().await.map_err(|error| self.unreachable(&error))
            }
            Login::SigV4 { credentials, region } => {
                // The body is part of what is signed, and the query builder does not show it.
                let base = self.client.base_url().as_str();
                let url = format!("{}/api/v1/query", base.trim_end_matches('/'));
                let millis = format!("{millis}ms");
                let form = [("query", text), ("time", time.as_str()), ("timeout", millis.as_str())];
                let request = self.client.inner().post(&url).form(&form).build();
                let mut request =
                    request.map_err(|e| http::explain(e, &self.shown, self.timeout))?;
                let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
                let headers = [(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")];
                let unsigned = Unsigned { method: "POST", url: &url, headers: &headers, body };
                let signed: HeaderMap = sign(unsigned, credentials, region, "aps", query.now)?;
                request.headers_mut().extend(signed);
                let sent = self.client.inner().execute(request).await;
                sent.map_err(|error| http::explain(error, &self.shown, self.timeout))
            }
        }
    }

    /// Until when the store wants to be left alone, if that is still to come.
    fn rest(&self, now: Timestamp) -> Option<Timestamp> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.is_some_and(|until| until <= now) {
            *resting = None;
        }
        *resting
    }

    fn unreachable(&self, error: &prometheus_http_query::Error) -> FetchError {
        if let prometheus_http_query::Error::Client(error) = error {
            if error.inner().is_some_and(reqwest::Error::is_timeout) {
                return self.hung();
            }
            let cause = innermost(error);
            return FetchError::transient(format!("{} cannot be reached: {cause}", self.shown));
        }
        FetchError::permanent(format!("{} cannot be asked: {}", self.shown, chain(error)))
    }

    fn hung(&self) -> FetchError {
        let timeout = self.timeout.as_millis();
        FetchError::transient(format!("{} did not answer within {timeout} ms", self.shown))
    }
}

/// When a store that is overloaded wants to be asked again.
fn pause(response: &Response, now: Timestamp) -> Option<Timestamp> {
    let overloaded = matches!(
        response.status(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    let text = response.headers().get(RETRY_AFTER).filter(|_| overloaded)?.to_str().ok()?.trim();
    let until = match text.parse::<u32>() {
        Ok(seconds) => now.checked_add(SignedDuration::from_secs(seconds.into())).ok()?,
        Err(_) => jiff::fmt::rfc2822::parse(text).ok()?.timestamp(),
    };
    let latest = now.checked_add(LONGEST_PAUSE).ok()?;
    (until > now).then_some(until.min(latest))
}

/// The header with the token that is in a file now.
async fn token(file: &Path) -> Result<HeaderValue, FetchError> {
    let problem = |cause: &str| {
        let file = file.display();
        FetchError::transient(bounded(format!("the token file {file} {cause}")))
    };
    let opened = tokio::fs::File::open(file).await;
    let opened = opened.map_err(|error| problem(&format!("cannot be read: {error}")))?;
    let mut text = String::new();
    let read = opened.take(LONGEST_TOKEN).read_to_string(&mut text).await;
    read.map_err(|error| problem(&format!("cannot be read: {error}")))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(problem("is empty"));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| problem("holds characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A moment as the API takes it, in seconds since 1970.
fn seconds(at: Timestamp) -> String {
    let millis = at.as_millisecond();
    format!("{}.{:03}", millis.div_euclid(1_000), millis.rem_euclid(1_000))
}

/// The innermost cause, which is the one that says something to people.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = cause.to_string();
        next = cause.source();
    }
    text
}
