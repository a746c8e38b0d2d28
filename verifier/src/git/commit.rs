//! What a commit says about itself, and the trailers by which Serin knows its own reverts.
//!
//! Everything in a commit is somebody's free text: it may be huge, in any encoding and made to deceive.
//! It is cut and made printable here, once, so that pages, alerts and revert messages can show it.

use git2::{Commit, Oid, message_trailers_bytes};

use super::error::GitError;
use super::mirror::Mirror;

/// Most characters of a subject or a name.
const LINE_LIMIT: usize = 300;

/// Most bytes of a message that are looked at. Trailers stand at the end, so a longer message is not
/// searched for them; generated messages stay far below.
const MESSAGE_LIMIT: usize = 256 * 1024;

/// Most bytes of a body that are kept.
const BODY_LIMIT: usize = 16 * 1024;

/// Most trailers that are kept.
const TRAILERS_LIMIT: usize = 64;

pub(super) const DEPLOYMENT: &str = "Reverts-Deployment";
pub(super) const REVERTS: &str = "Reverts";
pub(super) const REASON: &str = "Rollback-Reason";
pub(super) const EVIDENCE: &str = "Evidence";
pub(super) const GENERATION: &str = "Revert-Generation";

/// A commit for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSummary {
    /// The full hash.
    pub revision: Oid,
    /// The parents, more than one for a merge.
    pub parents: Vec<Oid>,
    /// Who wrote the change.
    pub author: String,
    /// The author's address.
    pub email: String,
    /// When it was committed, in seconds since 1970.
    pub committed_at: i64,
    /// The first line of the message.
    pub subject: String,
    /// The rest of the message, cut at 16 KiB.
    pub body: String,
    /// The trailers at the end of the message, in order.
    pub trailers: Vec<(String, String)>,
}

impl CommitSummary {
    /// Whether the commit joins two lines of history.
    pub fn merge(&self) -> bool {
        self.parents.len() > 1
    }

    /// The first ten digits of the hash.
    pub fn short(&self) -> String {
        short(self.revision)
    }

    /// The value of a trailer, compared without regard to case.
    pub fn trailer(&self, key: &str) -> Option<&str> {
        self.trailers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.as_str())
    }

    /// What Serin wrote into this commit, if it is one of its reverts.
    pub fn revert(&self) -> Option<RevertTrailers> {
        let (verified, bad) = self.trailer(REVERTS)?.split_once("..")?;
        Some(RevertTrailers {
            verified: Oid::from_str(verified).ok()?,
            bad: Oid::from_str(bad).ok()?,
            deployment: self.trailer(DEPLOYMENT)?.to_owned(),
            reason: self.trailer(REASON).unwrap_or_default().to_owned(),
            evidence: self.trailer(EVIDENCE).map(str::to_owned),
            generation: self.trailer(GENERATION)?.parse().ok()?,
        })
    }

    /// Whether the commit says that it closes a security hole (`Security:` trailer or a CVE number).
    pub fn security(&self) -> bool {
        self.trailer("Security").is_some() || names_cve(&self.subject) || names_cve(&self.body)
    }
}

/// What Serin wrote into one of its reverts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevertTrailers {
    /// The revision whose content came back.
    pub verified: Oid,
    /// The revision that failed.
    pub bad: Oid,
    /// The deployment that was reverted.
    pub deployment: String,
    /// The one-sentence reason.
    pub reason: String,
    /// Hash of the evidence, `sha256:...`.
    pub evidence: Option<String>,
    /// 1 for a revert of a person's commit, 2 for a revert of such a revert, and so on.
    pub generation: u32,
}

impl Mirror {
    /// What a commit says about itself.
    ///
    /// # Errors
    /// When the mirror does not hold the revision; fetch, then ask again.
    pub fn commit(&self, revision: Oid) -> Result<CommitSummary, GitError> {
        let repository = self.repository()?;
        self.find(&repository, revision).map(|commit| summary(&commit))
    }

    /// What Serin wrote into a commit, if it is one of its reverts.
    ///
    /// # Errors
    /// When the mirror does not hold the revision; fetch, then ask again.
    pub fn revert_of(&self, revision: Oid) -> Result<Option<RevertTrailers>, GitError> {
        self.commit(revision).map(|commit| commit.revert())
    }
}

/// Reads a commit.
pub(super) fn summary(commit: &Commit<'_>) -> CommitSummary {
    let author = commit.author();
    let message = commit.message_bytes();
    let body = commit.body_bytes().unwrap_or_default();
    CommitSummary {
        revision: commit.id(),
        parents: commit.parent_ids().collect(),
        author: printable(&String::from_utf8_lossy(author.name_bytes()), LINE_LIMIT),
        email: printable(&String::from_utf8_lossy(author.email_bytes()), LINE_LIMIT),
        committed_at: commit.time().seconds(),
        subject: printable(
            &String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default()),
            LINE_LIMIT,
        ),
        body: String::from_utf8_lossy(&body[..body.len().min(BODY_LIMIT)]).into_owned(),
        trailers: trailers(message),
    }
}

/// The trailers of a message, as Git itself finds them.
pub(super) fn trailers(message: &[u8]) -> Vec<(String, String)> {
    if message.len() > MESSAGE_LIMIT || message.contains(&0) {
        return Vec::new();
    }
    let Ok(found) = message_trailers_bytes(message) else {
        return Vec::new();
    };
    let text = |bytes: &[u8]| printable(&String::from_utf8_lossy(bytes), 4 * LINE_LIMIT);
    found.iter().take(TRAILERS_LIMIT).map(|(key, value)| (text(key), text(value))).collect()
}

/// The first ten digits of a hash: unique in any repository, short enough to read out.
pub(super) fn short(revision: Oid) -> String {
    revision.to_string().chars().take(10).collect()
}

/// One line without control characters or invisible signs that turn the direction of text, cut at
/// `limit` characters.
pub(super) fn printable(text: &str, limit: usize) -> String {
    let mut line = String::new();
    let mut count = 0;
    for sign in text.chars() {
        let sign = if sign.is_whitespace() || sign.is_control() { ' ' } else { sign };
        if (sign == ' ' && (line.is_empty() || line.ends_with(' '))) || invisible(sign) {
            continue;
        }
        if count == limit {
            line.truncate(line.trim_end().len());
            line.push_str("...");
            return line;
        }
        line.push(sign);
        count += 1;
    }
    line.truncate(line.trim_end().len());
    line
}

/// The same for a line of a table, whose blanks count.
pub(super) fn columns(text: &str, limit: usize) -> String {
    let plain = |sign: char| if sign.is_whitespace() || sign.is_control() { ' ' } else { sign };
    text.chars().map(plain).filter(|sign| !invisible(*sign)).take(limit).collect()
}

fn invisible(sign: char) -> bool {
    matches!(sign,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Whether a text names a vulnerability, as in `CVE-2026-12345`.
fn names_cve(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(9).enumerate().any(|(at, window)| {
        window[..4].eq_ignore_ascii_case(b"CVE-")
            && window[4..8].iter().all(u8::is_ascii_digit)
            && window[8] == b'-'
            && bytes.get(at + 9..at + 13).is_some_and(|id| id.iter().all(u8::is_ascii_digit))
    })
}
