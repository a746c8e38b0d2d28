//! How one service is served: what the policy says about its traffic.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::split::Position;
use super::upstream::Protocol;
use crate::RouteError;

/// How one service is served. Every field has a default that suits most services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteOptions {
    /// How long an instance may take to the end of its response head; then the client gets 504
    /// and the request counts as failed. Counted from the last progress of the upload. Default
    /// 30 s.
    pub timeout: Duration,
    /// Keeps a client on its arm by a cookie. Default off.
    pub sticky: Option<Sticky>,
    /// Sends requests with this header to the canary whenever one runs. Default off.
    pub testers: Option<HeaderMatch>,
    /// Speaks HTTP/2 without TLS to the instances, as gRPC needs. Default HTTP/1.1.
    pub upstream_http2: bool,
    /// Largest request body in bytes; a larger one is answered 413. Default none, as bodies are
    /// streamed and take no memory.
    pub body_limit: Option<u64>,
    /// How long a client's connection may be without a whole request head, at its start or
    /// between requests, before it is closed. Checked once per that time. Default 60 s.
    pub idle: Duration,
    /// Starts a sampled trace for requests without one. Default on; turn it off when the service
    /// decides itself which traces to sample.
    pub start_traces: bool,
}

/// Keeps a client on its arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name. The cookie lasts for the browser's session.
    pub cookie: String,
}

/// A header that marks a tester's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The header's name, in any case.
    pub name: String,
    /// The whole value, compared byte for byte.
    pub value: String,
}

impl Default for RouteOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            sticky: None,
            testers: None,
            upstream_http2: false,
            body_limit: None,
            idle: Duration::from_secs(60),
            start_traces: true,
        }
    }
}

/// Options that were found usable.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) timeout: Duration,
    pub(super) sticky: Option<String>,
    pub(super) testers: Option<(HeaderName, HeaderValue)>,
    pub(super) protocol: Protocol,
    pub(super) body_limit: Option<u64>,
    pub(super) idle: Duration,
    pub(super) start_traces: bool,
}

impl Checked {
    pub(super) fn new(service: &str, options: RouteOptions) -> Result<Self, RouteError> {
        let refuse = |option, value: String, hint| {
            Err(RouteError::Option { service: service.to_owned(), option, value, hint })
        };
        for (option, duration) in [("timeout", options.timeout), ("idle", options.idle)] {
            if duration.is_zero() {
                return refuse(option, "0 s".to_owned(), "write a duration above zero");
            }
        }
        // A cookie's name is a token (RFC 6265, 4.1.1), as is a header's.
        if let Some(Sticky { cookie }) = &options.sticky
            && HeaderName::from_bytes(cookie.as_bytes()).is_err()
        {
            let hint = "write a cookie name of letters, digits, `-` and `_`";
            return refuse("sticky.cookie", cookie.clone(), hint);
        }
        let testers = match options.testers {
            None => None,
            Some(HeaderMatch { name, value }) => {
                let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
                    return refuse("testers.name", name, "write a header name such as `x-canary`");
                };
                let Ok(value) = HeaderValue::from_str(&value) else {
                    let hint = "write a header value of visible ASCII characters";
                    return refuse("testers.value", value, hint);
                };
                Some((parsed, value))
            }
        };
        Ok(Self {
            timeout: options.timeout,
            sticky: options.sticky.map(|sticky| sticky.cookie),
            testers,
            protocol: if options.upstream_http2 { Protocol::Http2 } else { Protocol::Http1 },
            body_limit: options.body_limit,
            idle: options.idle,
            start_traces: options.start_traces,
        })
    }

    /// Whether a tester sent this.
    pub(super) fn is_tester(&self, headers: &http::HeaderMap) -> bool {
        self.testers
            .as_ref()
            .is_some_and(|(name, value)| headers.get_all(name).iter().any(|got| got == value))
    }

    /// The position in the sticky cookie, where sticky and sent.
    pub(super) fn kept_position(&self, headers: &http::HeaderMap) -> Option<Position> {
        Position::from_cookie(headers, self.sticky.as_ref()?)
    }
}
