//! AWS Signature Version 4, for `CloudWatch` and for Prometheus on AWS (service `aps`).
//!
//! The signature itself is made by `aws-sigv4`; here is only what keeps the credentials out of sight and
//! takes the time as an argument. Specification:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4::SigningParams;
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{FetchError, chain};
use crate::http::Secret;

/// Keys of an AWS principal that may read metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsCredentials {
    /// The access key's id, e.g. `AKIA...`; it is no secret.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: Secret,
    /// The session token that belongs to temporary keys.
    pub session_token: Option<Secret>,
}

/// What of a request is signed, besides its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsigned<'a> {
    /// `GET` or `POST`.
    pub(crate) method: &'a str,
    /// The whole address with its query, encoded as it is sent.
    pub(crate) url: &'a str,
    /// Headers that the service must get unchanged; `host` is added.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// The whole body; its hash is signed.
    pub(crate) body: &'a [u8],
}

/// The headers that make a request a signed one: date, authorization, and the session token if there is one.
///
/// `service` is AWS's name for signing, e.g. `monitoring` or `aps`. A signature is good for five minutes around
/// `now`.
///
/// # Errors
/// When the address or a key cannot be part of a request; permanent.
pub(crate) fn sign(
    request: Unsigned<'_>,
    credentials: &AwsCredentials,
    region: &str,
    service: &str,
    now: Timestamp,
) -> Result<HeaderMap, FetchError> {
    let wrong = |cause: &dyn std::error::Error| {
        FetchError::permanent(format!(
            "the request to AWS cannot be signed: {}; check the keys and the region in serin.yaml",
            chain(cause)
        ))
    };
    let token = credentials.session_token.as_ref().map(|token| token.expose().to_owned());
    let secret = credentials.secret_key.expose();
    let identity = Credentials::new(&credentials.access_key, secret, token, None, "serin").into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::from(now))
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| wrong(&error))?
        .into();
    let body = SignableBody::Bytes(request.body);
    let headers = request.headers.iter().copied();
    let signable = SignableRequest::new(request.method, request.url, headers, body)
        .map_err(|error| wrong(&error))?;
    let signed = aws_sigv4::http_request::sign(signable, &params).map_err(|error| wrong(&error))?;
    let mut headers = HeaderMap::new();
    for header in signed.into_parts().0.into_parts().0 {
        let mut value = HeaderValue::from_str(header.value()).map_err(|error| wrong(&error))?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static(header.name()), value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
