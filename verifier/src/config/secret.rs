//! Secrets by reference: a file names where a secret is (`{ env: NAME }` or `{ file: path }`), never what it is.
//!
//! A [`Secret`] cannot be printed or serialized by accident; whoever needs the text says so with
//! [`Secret::expose`]. What looks like a secret in a file is hidden from every excerpt, also when it
//! stands where none belongs.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::node::{Kind, Node};
use super::source::{Source, Span};

/// A password, token or key. Shown as `[redacted]` wherever it is printed.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// A secret that is already known, e.g. one made up for a demonstration.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is the secret, in a time that does not tell how much of it is right.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// In an environment variable.
    Env(String),
    /// In a file; the line break at its end does not count.
    File(PathBuf),
}

/// Why a secret cannot be had; none of these holds any part of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment lacks it.
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    /// It is there but holds nothing.
    #[error("{0} is empty")]
    Empty(String),
    /// The file cannot be read.
    #[error("the file `{}` cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No secret is that long.
    #[error("the file `{}` holds more than {LONGEST} bytes, or is not UTF-8 text", .0.display())]
    NotText(PathBuf),
}

/// Bytes; private keys and tokens are far shorter.
const LONGEST: u64 = 64 * 1024;

/// The secret that `reference` points to; relative files are looked up in `base`.
///
/// # Errors
/// It is unset, empty or unreadable: set the variable, or write the file.
pub fn resolve(
    reference: &Reference,
    base: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, SecretError> {
    let (text, place) = match reference {
        Reference::Env(name) => {
            let text = env(name).ok_or_else(|| SecretError::Unset(name.clone()))?;
            (text, format!("the environment variable `{name}`"))
        }
        Reference::File(path) => {
            let path = base.join(path);
            let text = read(&path)?;
            (text, format!("the file `{}`", path.display()))
        }
    };
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(SecretError::Empty(place)),
        text => Ok(Secret::new(text)),
    }
}

fn read(path: &Path) -> Result<String, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    // A pipe or device could block or never end; a secret is in an ordinary file.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(std::io::Error::other("it is not an ordinary file")));
    }
    let mut bytes = vec![];
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let short = u64::try_from(bytes.len()).is_ok_and(|length| length <= LONGEST);
    String::from_utf8(bytes)
        .ok()
        .filter(|_| short)
        .ok_or_else(|| SecretError::NotText(path.to_owned()))
}

/// Whether a name is one of an environment variable.
pub(super) fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Hides every value below `node` that may be a secret: by the name of its key or by its looks.
pub(super) fn hide(source: &Source<'_>, node: &Node) {
    hide_below(source, node, Secrecy::Open);
}

/// Hides every value below `node`, which was probably meant to be a secret.
pub(super) fn hide_all(source: &Source<'_>, node: &Node) {
    hide_below(source, node, Secrecy::Secret);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Open,
    Secret,
}

fn hide_below(source: &Source<'_>, node: &Node, secrecy: Secrecy) {
    match &node.kind {
        Kind::Null => {}
        Kind::Text(text) => {
            if secrecy == Secrecy::Secret || looks_secret(text) {
                source.hide(node.span);
            }
        }
        Kind::List(items) => items.iter().for_each(|item| hide_below(source, item, secrecy)),
        Kind::Map(entries) => {
            for entry in entries {
                let below = match (&*entry.key, &entry.value.kind) {
                    ("file", _) => Secrecy::Open,
                    ("env", Kind::Text(name)) if is_variable(name) => Secrecy::Open,
                    // `webhook: https://…` holds a secret, `webhook: { url: … }` names its parts.
                    (key, Kind::Text(_)) if names_secret(key) => Secrecy::Secret,
                    (key, _) if names_secret(key) && !key.eq_ignore_ascii_case("webhook") => {
                        Secrecy::Secret
                    }
                    _ => secrecy,
                };
                hide_below(source, &entry.value, below);
            }
        }
    }
}

/// Words in the name of a key whose value is a secret.
const NAMES: [&str; 14] = [
    "secret",
    "token",
    "password",
    "passwd",
    "passphrase",
    "bearer",
    "webhook",
    "apikey",
    "applicationkey",
    "accesskey",
    "api_key",
    "api-key",
    "authorization",
    "private",
];

/// How well-known secrets look, wherever they stand.
const LOOKS: [&str; 11] = [
    "Bearer ",
    "Basic ",
    "hooks.slack.com/",
    "-----BEGIN",
    "ghp_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "whsec_",
    "AKIA",
];

/// Whether a key of this name holds a secret.
pub(super) fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    NAMES.iter().any(|name| key.contains(name))
}

/// Whether a text is a secret by its looks, or a URL with a password in it.
pub(super) fn looks_secret(text: &str) -> bool {
    // Broad on purpose: what is hidden in vain costs a word, what is told in vain a password.
    let login = text.rsplit_once('@').filter(|_| !text.contains(char::is_whitespace));
    let login = login.map(|(login, _)| login.split_once("://").map_or(login, |(_, login)| login));
    login.is_some_and(|login| login.contains(':')) || LOOKS.iter().any(|look| text.contains(look))
}

/// What may be a secret in a line that could not be parsed.
pub(super) fn guess(line: &str) -> Vec<Span> {
    let by_name = line.match_indices(':').filter_map(|(colon, _)| {
        let word = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '"' | '\''));
        let key = line[..colon].rsplit(word).next()?;
        let rest = &line[colon + 1..];
        let value = rest.trim_start();
        let start = line.len() - value.len();
        let named = names_secret(key)
            && !value.is_empty()
            && !value.starts_with(['{', '[', '*', '&', '|', '>']);
        let value = value.split([',', '}']).next().unwrap_or(value).trim_end();
        named.then_some(Span { start, end: start + value.len() })
    });
    let around =
        |c: char| c.is_whitespace() || matches!(c, '[' | ']' | '{' | '}' | ',' | '"' | '\'');
    let by_looks = line.split(around).filter(|word| looks_secret(word)).map(|word| {
        let start = word.as_ptr().addr() - line.as_ptr().addr();
        Span { start, end: start + word.len() }
    });
    by_name.chain(by_looks).collect()
}
