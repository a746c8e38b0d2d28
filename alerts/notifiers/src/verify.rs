//! Who sent a webhook: signing and verifying, without any I/O.
//!
//! Outgoing messages and incoming hooks share this file, so that what is sent is what is taken.
//! Signatures are compared in constant time; a failed verification says which header is at fault
//! and never what the right value would have been. Verify first, then ask the
//! [`crate::ReplayStore`]: only authentic messages may take up its room.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD_PAD_INDIFFERENT as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

/// The header with the message's identifier.
pub const ID: &str = "webhook-id";
/// The header with the attempt's time in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with one or more signatures, separated by blanks.
pub const SIGNATURE: &str = "webhook-signature";
/// The header of GitHub and of those who follow it.
pub const GITHUB_SIGNATURE: &str = "x-hub-signature-256";

/// How far a timestamp may be from now: five minutes, as Standard Webhooks advises.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Longest identifier that is taken, in bytes.
const MOST_ID: usize = 256;
/// Most signatures that are looked at: a sender changes its secret between two, seldom three.
const MOST_SIGNATURES: usize = 16;
/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// A secret that signs.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(hidden)")
    }
}

/// Why a text is no secret to sign with; it never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It does not begin with `whsec_`.
    #[error("it does not begin with `whsec_`: write `whsec_` and then 32 random bytes in base64")]
    Prefix,
    /// What follows is not base64.
    #[error("what follows `whsec_` is not base64")]
    Base64,
    /// It is too short or too long.
    #[error("it holds {bytes} bytes: Standard Webhooks wants 24 to 64")]
    Length {
        /// How many bytes it holds.
        bytes: usize,
    },
    /// It is empty.
    #[error("it is empty")]
    Empty,
}

impl SigningKey {
    /// Reads a Standard Webhooks secret: `whsec_` and 24 to 64 bytes in base64.
    ///
    /// # Errors
    /// [`KeyError`] says what a secret looks like.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(KeyError::Prefix)?;
        let bytes = BASE64.decode(encoded).map_err(|_| KeyError::Base64)?;
        if (24..=64).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(KeyError::Length { bytes: bytes.len() })
        }
    }

    /// Takes any text that is not empty as it is, as GitHub does.
    ///
    /// # Errors
    /// [`KeyError::Empty`]: an empty secret would let everybody in.
    pub fn of_text(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() { Err(KeyError::Empty) } else { Ok(Self(text.as_bytes().to_vec())) }
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of every length");
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

/// Why a webhook is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header is missing.
    #[error("the header `{header}` is missing: the sender must sign its webhooks")]
    Missing {
        /// Which.
        header: &'static str,
    },
    /// A header cannot be read.
    #[error("the header `{header}` cannot be read")]
    Malformed {
        /// Which.
        header: &'static str,
    },
    /// The timestamp is too far from now.
    #[error("the timestamp is {seconds} s off, at most 300 are allowed: compare the clocks")]
    Stale {
        /// How far it lies in the past; negative for the future.
        seconds: i64,
    },
    /// No signature fits.
    #[error("no signature fits: sender and receiver must share one secret")]
    Mismatch,
}

/// The headers of a Standard Webhooks message, as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandardHeaders<'a> {
    /// `webhook-id`.
    pub id: Option<&'a str>,
    /// `webhook-timestamp`.
    pub timestamp: Option<&'a str>,
    /// `webhook-signature`.
    pub signature: Option<&'a str>,
}

/// Signs a message: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
///
/// The identifier must not contain a full stop, or two messages could have one signature.
pub fn sign(key: &SigningKey, id: &str, second: i64, body: &[u8]) -> String {
    let mac = key.mac(&[id.as_bytes(), b".", second.to_string().as_bytes(), b".", body]);
    format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
}

/// Verifies a Standard Webhooks message against any of several secrets and returns its identifier,
/// which is then to be shown to the [`crate::ReplayStore`].
///
/// # Errors
/// [`VerifyError`]; answer 401 and log it, the sender's owner must act.
pub fn standard<'a>(
    keys: &[SigningKey],
    headers: &StandardHeaders<'a>,
    body: &[u8],
    now: Timestamp,
) -> Result<&'a str, VerifyError> {
    let id = headers.id.ok_or(VerifyError::Missing { header: ID })?;
    let timestamp = headers.timestamp.ok_or(VerifyError::Missing { header: TIMESTAMP })?;
    let signatures = headers.signature.ok_or(VerifyError::Missing { header: SIGNATURE })?;
    if id.is_empty() || id.len() > MOST_ID || id.contains('.') {
        return Err(VerifyError::Malformed { header: ID });
    }
    let malformed = VerifyError::Malformed { header: TIMESTAMP };
    let second: i64 = timestamp.parse().map_err(|_| malformed)?;
    let sent = Timestamp::from_second(second).map_err(|_| malformed)?;
    let age = now.duration_since(sent);
    if age.abs() > TOLERANCE {
        return Err(VerifyError::Stale { seconds: age.as_secs() });
    }
    let mut read = false;
    let mut fits = false;
    for signature in signatures.split(' ').take(MOST_SIGNATURES) {
        // Other versions, such as the asymmetric `v1a`, are for those who know them.
        let Some(encoded) = signature.strip_prefix("v1,") else {
            continue;
        };
        let Ok(given) = BASE64.decode(encoded) else {
            continue;
        };
        read = true;
        for key in keys {
            let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
            fits |= key.mac(&parts).verify_slice(&given).is_ok();
        }
    }
    match (fits, read) {
        (true, _) => Ok(id),
        (false, true) => Err(VerifyError::Mismatch),
        (false, false) => Err(VerifyError::Malformed { header: SIGNATURE }),
    }
}

/// Verifies `sha256=` and the hex of HMAC-SHA256 over the body, as GitHub sends it. Bare hex, as
/// Gitea sends it, is taken as well.
///
/// It holds no time: a delivery identifier must be shown to a [`crate::ReplayStore`].
///
/// # Errors
/// [`VerifyError`]; answer 401 and log it, the sender's owner must act.
pub fn github(
    keys: &[SigningKey],
    signature: Option<&str>,
    body: &[u8],
) -> Result<(), VerifyError> {
    let header = GITHUB_SIGNATURE;
    let given = signature.ok_or(VerifyError::Missing { header })?;
    let given = given.strip_prefix("sha256=").unwrap_or(given);
    let given = hex(given).ok_or(VerifyError::Malformed { header })?;
    let mut fits = false;
    for key in keys {
        fits |= key.mac(&[body]).verify_slice(&given).is_ok();
    }
    if fits { Ok(()) } else { Err(VerifyError::Mismatch) }
}

/// The 32 bytes of 64 hex digits.
fn hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = value(pair[0])? * 16 + value(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
