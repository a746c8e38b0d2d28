//! The list of versions that must not be deployed again, kept in Git beside the policies.
//!
//! A bot that bumps image tags does not read revert commits: it writes the bad version again at its next
//! turn. So each revert enters the version in `.serin/quarantine.yaml`, in the same commit. A person
//! lifts a quarantine by removing the entry, or by reverting the revert, which removes it as well.
//!
//! The file belongs to people as much as to Serin. New entries are appended as text, so that comments,
//! order and foreign keys stay; a file in a form that cannot be appended to is left alone, and the
//! revert goes ahead without it: the list must never stand in the way of a revert.

use git2::{Commit, ErrorCode, Oid, Repository};
use serde::{Deserialize, Serialize};
use std::path::Path;

use super::content::Fingerprint;
use super::error::{GitError, bounded};
use super::mirror::{FILE_LIMIT, Mirror};
use super::paths::{QUARANTINE, within};

const HEADER: &str = "\
# Versions that failed under real traffic. Serin does not deploy them again.
# To lift a quarantine, remove its entry.
";

/// A version that must not be deployed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuarantineEntry {
    /// The service that the version belongs to.
    pub service: String,
    /// The full hash of the commit that failed.
    pub revision: String,
    /// The fingerprint of the service's files there, which recognises them under another hash.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// Why it failed, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The deployment that failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub deployment: String,
    /// When it was entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<jiff::Timestamp>,
}

/// What became of the quarantine list in a revert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quarantining {
    /// The request did not ask for it.
    NotAsked,
    /// The version was entered.
    Entered,
    /// The version was in the list already.
    Already,
    /// The list was left alone, for this reason; tell a person.
    Skipped(String),
}

impl Mirror {
    /// The quarantine list at a revision, empty when there is none.
    ///
    /// # Errors
    /// [`GitError::Quarantine`] when people left the file unreadable: go by what the journal knows,
    /// and tell them.
    pub fn quarantine(
        &self,
        revision: Oid,
        folder: &str,
    ) -> Result<Vec<QuarantineEntry>, GitError> {
        let repository = self.repository()?;
        let commit = self.find(&repository, revision)?;
        let path = within(folder.trim_matches('/'), QUARANTINE);
        let text = read(&repository, &commit, &path).map_err(|error| self.broken(&error))?;
        text.and_then(|text| text.map_or(Ok(Vec::new()), |text| parse(&text)))
            .map_err(|why| GitError::Quarantine { path, why })
    }
}

/// The entry that forbids this version, by its hash or by its content.
pub fn quarantined<'a>(
    entries: &'a [QuarantineEntry],
    service: &str,
    revision: Oid,
    content: Fingerprint,
) -> Option<&'a QuarantineEntry> {
    let (revision, content) = (revision.to_string(), content.to_string());
    entries.iter().find(|entry| {
        entry.service == service && (entry.revision == revision || entry.content == content)
    })
}

/// The text of the list in a commit; `Err` inside says why a file that is there cannot be used.
pub(super) fn read(
    repository: &Repository,
    commit: &Commit<'_>,
    path: &str,
) -> Result<Result<Option<String>, String>, git2::Error> {
    let entry = match commit.tree()?.get_path(Path::new(path)) {
        Ok(entry) => entry,
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(Ok(None)),
        Err(error) => return Err(error),
    };
    let plain = matches!(entry.filemode(), 0o100_644 | 0o100_755);
    if !plain {
        return Ok(Err("it is not a plain file".into()));
    }
    let (size, _) = repository.odb()?.read_header(entry.id())?;
    if size > FILE_LIMIT {
        return Ok(Err(format!("it has {size} bytes, at most {FILE_LIMIT} are read")));
    }
    let text = String::from_utf8(repository.find_blob(entry.id())?.content().to_vec());
    Ok(text.map(Some).map_err(|_| "it is not UTF-8 text".into()))
}

fn parse(text: &str) -> Result<Vec<QuarantineEntry>, String> {
    let bare = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(bare) {
        return Ok(Vec::new());
    }
    serde_saphyr::from_str::<Option<Vec<QuarantineEntry>>>(text)
        .map(Option::unwrap_or_default)
        .map_err(|error| bounded(&error.to_string()))
}

/// The list's text with one more entry; `None` when it is in there already, `Err` why not.
pub(super) fn with_entry(
    text: Option<&str>,
    entry: &QuarantineEntry,
) -> Result<Option<String>, String> {
    let old = text.unwrap_or(HEADER);
    let mut entries = parse(old)?;
    let same = |other: &QuarantineEntry| {
        other.service == entry.service
            && other.revision == entry.revision
            && other.content == entry.content
    };
    if entries.iter().any(same) {
        return Ok(None);
    }
    let addition = serde_saphyr::to_string(&[entry]).map_err(|error| error.to_string())?;
    let mut new = if entries.is_empty() {
        old.lines()
            .filter(|line| line.trim() != "[]")
            .fold(String::new(), |all, line| all + line + "\n")
    } else {
        old.to_owned()
    };
    if !new.is_empty() && !new.ends_with('\n') {
        new.push('\n');
    }
    new.push_str(&addition);
    entries.push(entry.clone());
    if new.len() > FILE_LIMIT {
        return Err(format!("it would grow above {FILE_LIMIT} bytes: remove old entries"));
    }
    match parse(&new) {
        Ok(read) if read == entries => Ok(Some(new)),
        Ok(_) | Err(_) => Err("it is not a plain list of entries, so none can be appended".into()),
    }
}
