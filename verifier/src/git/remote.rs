//! Where a repository is and how Serin proves who it is.
//!
//! Credentials live only here and in the callback that hands them to the transport. `Debug` blanks
//! them, [`Remote::shown`] is the address for people, and [`Remote::scrub`] cleans foreign text.

use std::cell::Cell;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use git2::{Cred, CredentialType, ErrorClass, ErrorCode};

/// A branch of a repository somewhere, with the credentials to read and push it.
#[derive(Clone)]
pub struct Remote {
    /// `https://`, `ssh://`, `user@host:path`, `file://` or a local path.
    pub url: String,
    /// The branch that is watched and reverted on, without `refs/heads/`.
    pub branch: String,
    /// How Serin proves who it is.
    pub credentials: Credentials,
}

/// How Serin proves who it is to a Git server.
#[derive(Clone)]
pub enum Credentials {
    /// Not at all: local repositories and public ones.
    None,
    /// An SSH private key in a file.
    SshKey {
        /// The user where the URL names none, mostly `git`.
        user: String,
        /// The private key's file.
        path: PathBuf,
        /// What the key is encrypted with, if it is.
        passphrase: Option<String>,
    },
    /// The keys of the running SSH agent.
    SshAgent {
        /// The user where the URL names none, mostly `git`.
        user: String,
    },
    /// User and password or token over HTTP.
    Token {
        /// The user; most forges accept any word beside a token.
        user: String,
        /// The secret.
        token: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::SshKey { path, .. } => {
                f.debug_struct("SshKey").field("path", path).field("passphrase", &"***").finish()
            }
            Self::SshAgent { user } => f.debug_struct("SshAgent").field("user", user).finish(),
            Self::Token { user, .. } => {
                f.debug_struct("Token").field("user", user).field("token", &"***").finish()
            }
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("url", &self.shown())
            .field("branch", &self.branch)
            .field("credentials", &self.credentials)
            .finish()
    }
}

impl Remote {
    /// The address for people and logs: without user, password, query and fragment.
    pub fn shown(&self) -> String {
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return self.url.clone();
        };
        let rest = rest.split(['?', '#']).next().unwrap_or(rest);
        let (host, path) = rest.split_once('/').map_or((rest, None), |(h, p)| (h, Some(p)));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        match path {
            Some(path) => format!("{scheme}://{host}/{path}"),
            None => format!("{scheme}://{host}"),
        }
    }

    /// Blanks the address's credentials, the token and the passphrase wherever `text` holds them.
    pub(super) fn scrub(&self, text: &str) -> String {
        let mut text = text.replace(&self.url, &self.shown());
        let userinfo = self
            .url
            .split_once("://")
            .and_then(|(_, rest)| rest.split('/').next())
            .and_then(|host| host.rsplit_once('@'))
            .map(|(userinfo, _)| userinfo);
        let secrets = [
            userinfo,
            userinfo.and_then(|pair| pair.split_once(':')).map(|(_, password)| password),
            match &self.credentials {
                Credentials::Token { token, .. } => Some(token.as_str()),
                Credentials::SshKey { passphrase, .. } => passphrase.as_deref(),
                Credentials::None | Credentials::SshAgent { .. } => None,
            },
        ];
        for secret in secrets.into_iter().flatten().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "***");
        }
        text
    }

    /// The folder of a repository on this machine, which libgit2 reaches without any protocol.
    pub(super) fn local(&self) -> Option<PathBuf> {
        if let Some(path) = self.url.strip_prefix("file://") {
            let path = path.strip_prefix("localhost").unwrap_or(path);
            return Some(PathBuf::from(unescaped(path)));
        }
        let path = Path::new(&self.url);
        (!self.url.contains(':') && path.is_dir()).then(|| path.to_path_buf())
    }

    /// Answers the transport's question for credentials, each kind once.
    ///
    /// libgit2 asks again after a refusal, for ever if one lets it: the second question is an error.
    pub(super) fn answer(
        &self,
    ) -> impl FnMut(&str, Option<&str>, CredentialType) -> Result<Cred, git2::Error> + use<> {
        let credentials = self.credentials.clone();
        let asked = Cell::new(0_u32);
        move |_url, user, allowed| {
            // The URL's own user comes first: the server was asked for with it.
            let user = user.unwrap_or(match &credentials {
                Credentials::SshKey { user, .. } | Credentials::SshAgent { user } => user,
                Credentials::Token { .. } | Credentials::None => "git",
            });
            asked.set(asked.get() + 1);
            if asked.get() > 4 {
                return Err(refusal("the server keeps asking for credentials"));
            }
            if allowed.contains(CredentialType::USERNAME) {
                return Cred::username(user);
            }
            if asked.get() > 2 {
                return Err(refusal("the server refused them"));
            }
            match &credentials {
                Credentials::None => Err(refusal("the server wants credentials and none are set")),
                Credentials::SshKey { path, passphrase, .. } => {
                    Cred::ssh_key(user, None, path, passphrase.as_deref())
                }
                Credentials::SshAgent { .. } => Cred::ssh_key_from_agent(user),
                Credentials::Token { user, token } => Cred::userpass_plaintext(user, token),
            }
        }
    }
}

fn refusal(why: &str) -> git2::Error {
    git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, why)
}

/// Decodes the `%20`s of a URL's path; what is no escape stays as it is.
fn unescaped(path: &str) -> OsString {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escape.unwrap_or(first));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    OsString::from_vec(bytes)
}
