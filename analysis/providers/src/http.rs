//! What every provider that speaks HTTP needs: credentials that never show, bounded bodies, and
//! errors as a colleague would tell them.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{StatusCode, Url};

use crate::error::{FetchError, chain};

/// A text that never shows in `Debug`; it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the header or signature that it is meant for and for nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How to be let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// For the `Authorization` header.
    pub credentials: Credentials,
    /// Further headers, e.g. `X-Scope-OrgID`; their values may be secret.
    pub headers: Vec<(String, Secret)>,
}

/// What goes into the `Authorization` header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// A bearer token.
    Bearer(Secret),
    /// A user name with a password.
    Basic {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// A client that keeps connections, follows no redirect, and carries the access headers.
///
/// # Errors
/// When the URL or a header is not valid; permanent.
pub(crate) fn client(
    access: &Access,
    timeout: Duration,
    only_loopback: OnlyLoopback,
) -> Result<reqwest::Client, FetchError> {
    let mut headers = HeaderMap::new();
    let mut add = |name: HeaderName, value: &str| {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            FetchError::permanent(format!(
                "the value of the header {name} has characters that no header may have"
            ))
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok::<(), FetchError>(())
    };
    match &access.credentials {
        Credentials::None => {}
        Credentials::Bearer(token) => add(AUTHORIZATION, &format!("Bearer {}", token.0))?,
        Credentials::Basic { user, password } => {
            add(
                AUTHORIZATION,
                &format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.0))),
            )?;
        }
    }
    for (name, value) in &access.headers {
        let name = HeaderName::try_from(name.as_str())
            .map_err(|_| FetchError::permanent(format!("{name:?} is no name of a header")))?;
        add(name, &value.0)?;
    }
    let mut builder = reqwest::Client::builder()
        .default_headers(headers)
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_secs(90))
        .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")));
    if only_loopback == OnlyLoopback::Yes {
        builder = builder.no_proxy();
    }
    builder
        .build()
        .map_err(|error| FetchError::permanent(format!("no HTTP client: {}", chain(&error))))
}

/// Whether everything that a client talks to is near, so that a system-wide proxy is not meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnlyLoopback {
    Yes,
    No,
}

/// An address without user name, password, query and fragment, for people.
pub(crate) fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "(an address that cannot be read)".to_owned() };
    // Both fail only for addresses that have no host, and these have no password either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// What a failed request means.
pub(crate) fn explain(error: reqwest::Error, url: &str, timeout: Duration) -> FetchError {
    let url = shown(url);
    if error.is_timeout() {
        return FetchError::transient(format!(
            "{url} did not answer within {} ms",
            timeout.as_millis()
        ));
    }
    if error.is_builder() {
        return FetchError::permanent(format!("{url} is no address that can be asked"));
    }
    let error = error.without_url();
    let cause = error.source().map_or_else(|| error.to_string(), chain_of_innermost);
    FetchError::transient(if error.is_connect() {
        format!("{url} cannot be reached: {cause}")
    } else {
        format!("the answer of {url} broke off: {cause}")
    })
}

/// The innermost cause, which is the one that says something to people.
fn chain_of_innermost(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

/// What a status other than success means.
pub(crate) fn refused(status: StatusCode, url: &str, hint: &str) -> FetchError {
    let text = format!("{} answered {status}{hint}", shown(url));
    let again = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT;
    if again { FetchError::transient(text) } else { FetchError::permanent(text) }
}

/// The whole body, if it is not longer than `limit` bytes after decompression.
pub(crate) async fn body(
    mut response: reqwest::Response,
    url: &str,
    limit: usize,
    timeout: Duration,
) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| explain(e, url, timeout))? {
        if body.len() + chunk.len() > limit {
            let url = shown(url);
            return Err(FetchError::permanent(format!(
                "the answer of {url} is longer than {limit} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_show() {
        let access = Access {
            credentials: Credentials::Basic { user: "u".into(), password: Secret::new("hunter2") },
            headers: vec![("X-Scope-OrgID".into(), Secret::new("tenant-7"))],
        };
        let text =
            format!("{access:?} {:?}", client(&access, Duration::from_secs(1), OnlyLoopback::Yes));
        assert!(!text.contains("hunter2") && !text.contains("tenant-7"), "{text}");
        assert_eq!(shown("http://u:hunter2@h:1/p?token=hunter2#x"), "http://h:1/p");
        let bad =
            Access { headers: vec![("a".into(), Secret::new("hunter2\n"))], ..Access::default() };
        let error = client(&bad, Duration::from_secs(1), OnlyLoopback::Yes).unwrap_err();
        assert!(!error.text.contains("hunter2"), "{error}");
    }
}
