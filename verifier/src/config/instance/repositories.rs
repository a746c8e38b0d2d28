//! `repositories`: what is watched, and how Serin gets in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Context, named, path, secret};
use crate::config::policy::{boolean, duration_within};
use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::secret::Secret;
use crate::config::{defaults, values};

/// A repository that is watched.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Unique.
    pub name: String,
    /// As Git takes it: https, ssh, file, or an absolute path.
    pub url: String,
    /// The branch whose commits are deployments.
    pub branch: String,
    /// The folder of its policies, relative to its root.
    pub policies: String,
    /// Between two looks for new commits.
    pub poll: Duration,
    /// How Serin gets in.
    pub credentials: Credentials,
    /// Who writes the revert commits.
    pub author: Author,
    /// Whether reverts are pushed at all.
    pub pushing: Pushing,
}

/// How Serin gets into a repository.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing is needed.
    None,
    /// A private key in a file.
    SshKey {
        /// The user, mostly `git`.
        user: String,
        /// The private key; its content is read when it is used.
        path: PathBuf,
    },
    /// The SSH agent of the user who runs Serin.
    SshAgent {
        /// The user, mostly `git`.
        user: String,
    },
    /// A token over HTTPS.
    Token {
        /// The user that goes with it.
        user: String,
        /// The token.
        token: Secret,
    },
}

/// Who writes commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Name.
    pub name: String,
    /// E-mail address.
    pub email: String,
}

/// Whether reverts are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushing {
    /// As the policy says.
    AsPolicy,
    /// Never: the patch is printed instead (`onlyDryRun: true`).
    DryRun,
}

/// The repositories of a list; at least one.
pub(super) fn read(at: &At<'_>, context: Context<'_>) -> Option<Vec<Repository>> {
    let repositories = named(at, |fields| repository(fields, context))?;
    if repositories.is_empty() && at.list("a list").is_some_and(|items| items.is_empty()) {
        let hint = "add one, e.g. [{ name: shop, url: git@github.com:example/shop.git }]";
        at.wrong(Wrong::new("there is no repository to watch", hint));
    }
    Some(
        repositories
            .into_iter()
            .map(|(name, repository)| Repository { name, ..repository })
            .collect(),
    )
}

fn repository(fields: &Fields<'_>, context: Context<'_>) -> Option<Repository> {
    let branch =
        fields.or("branch", defaults::BRANCH.to_owned(), |at| at.parse("a branch", values::branch));
    let policies = fields
        .or("policies", defaults::POLICIES.to_owned(), |at| at.parse("a folder", values::inside));
    let poll = fields.or("poll", defaults::POLL, |at| {
        duration_within(at, Duration::from_secs(1), Duration::from_hours(24))
    });
    let author = fields.get("author").and_then(|at| at.map("a map, e.g. { name: Serin }", author));
    let dry = fields.or("onlyDryRun", false, boolean);
    let credentials_at = fields.get("credentials");
    let url_at = fields.required("url", "url: git@github.com:example/shop.git");
    let url = url_at.and_then(|at| at.parse("a URL", |text| repository_url(text, context.base)));
    let way = url.as_deref().map(way);
    let credentials = credentials_at.and_then(|at| {
        at.map("a map, e.g. { sshAgent: true }", |fields| credentials(fields, way, context))?
    });
    Some(Repository {
        name: String::new(),
        url: url?,
        branch,
        policies,
        poll,
        credentials: credentials.unwrap_or(Credentials::None),
        author: author.unwrap_or_else(default_author),
        pushing: if dry { Pushing::DryRun } else { Pushing::AsPolicy },
    })
}

fn default_author() -> Author {
    let (name, email) = defaults::AUTHOR;
    Author { name: name.to_owned(), email: email.to_owned() }
}

fn author(fields: &Fields<'_>) -> Author {
    let default = default_author();
    let email = |text: &str| {
        let text = values::line(text)?;
        let good =
            text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
        if good && !text.contains(['<', '>', ' ']) {
            Ok(text)
        } else {
            let hint = "write it as user@host, without brackets";
            Err(Wrong::new(format!("{} is not an e-mail address", quote(&text)), hint))
        }
    };
    let name = |text: &str| match values::line(text)? {
        text if text.contains(['<', '>']) => Err(Wrong::new(
            format!("{} is not a name", quote(&text)),
            "the address has a key of its own, `email`",
        )),
        text => Ok(text),
    };
    Author {
        name: fields.or("name", default.name, |at| at.parse("a name", name)),
        email: fields.or("email", default.email, |at| at.parse("an e-mail address", email)),
    }
}

/// How a URL is reached, which says what credentials can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Http,
    Ssh,
    Local,
}

fn way(url: &str) -> Way {
    if url.starts_with("http://") || url.starts_with("https://") {
        Way::Http
    } else if url.starts_with('/') || url.starts_with("file://") {
        Way::Local
    } else {
        Way::Ssh
    }
}

/// A URL or path as Git takes it; relative paths start at `base`.
fn repository_url(text: &str, base: &Path) -> Result<String, Wrong> {
    let text = values::line(text)?;
    if text.starts_with('-') || text.contains(char::is_whitespace) && text.contains("://") {
        return Err(Wrong::new(format!("{} is not a URL of a repository", quote(&text)), EXAMPLES));
    }
    match text.split_once("://") {
        Some(("http" | "https", _)) => values::url(&text),
        Some(("ssh", rest)) if has_password(rest) => Err(Wrong::fixed(
            "the URL holds a password",
            "use credentials: { sshKey: path } instead",
        )),
        Some(("ssh" | "file", rest)) if !rest.is_empty() => Ok(text),
        Some(_) => {
            Err(Wrong::new(format!("{} is not a URL of a repository", quote(&text)), EXAMPLES))
        }
        None if is_scp(&text) => Ok(text),
        None => match base.join(&text).to_str() {
            Some(path) => Ok(path.to_owned()),
            None => Err(Wrong::new(
                "the path is not UTF-8 text",
                "move the repository to a folder with a plain name",
            )),
        },
    }
}

const EXAMPLES: &str =
    "write e.g. git@github.com:example/shop.git, https://github.com/example/shop.git or a path";

/// `user:password@host`, in what follows `ssh://`.
fn has_password(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(login, _)| login.contains(':'))
}

/// `git@host:path`, as SSH's own tools write it.
fn is_scp(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(host, path)| !host.contains('/') && host.len() > 1 && !path.is_empty())
}

fn credentials(fields: &Fields<'_>, way: Option<Way>, context: Context<'_>) -> Option<Credentials> {
    let (key, agent, token) =
        (fields.get("sshKey"), fields.get("sshAgent"), fields.get("tokenFrom"));
    let user = fields.get("user").and_then(|at| at.parse("a user", values::line));
    let chosen: Vec<_> = [&key, &agent, &token].into_iter().flatten().collect();
    if let [_, second, ..] = chosen[..] {
        let hint = "keep one of sshKey, sshAgent and tokenFrom";
        second.wrong(Wrong::new("one repository has one kind of credentials", hint));
        return None;
    }
    for (at, other, hint) in [
        (&key, Way::Http, "a key is for ssh; use tokenFrom, or a URL such as git@host:path"),
        (&agent, Way::Http, "an agent is for ssh; use tokenFrom, or a URL such as git@host:path"),
        (
            &token,
            Way::Ssh,
            "a token is for https; use sshKey or sshAgent, or a URL such as https://host/path",
        ),
    ] {
        if let Some(at) = at.as_ref().filter(|_| way == Some(other)) {
            let message = "these credentials do not fit the repository's URL".to_owned();
            at.source().problem(at.span(), at.key(), message, Some(hint.to_owned()));
        }
    }
    let user_or = |default: &str| user.clone().unwrap_or_else(|| default.to_owned());
    if let Some(at) = key {
        let path = context.base.join(path(&at)?);
        if !path.is_file() {
            let message = format!("there is no file {}", quote(&path.display().to_string()));
            at.wrong(Wrong::new(
                message,
                "write the path of the private key; relative paths start at this file's folder",
            ));
        }
        return Some(Credentials::SshKey { user: user_or(defaults::SSH_USER), path });
    }
    if let Some(at) = agent {
        let on = boolean(&at)?;
        return Some(if on {
            Credentials::SshAgent { user: user_or(defaults::SSH_USER) }
        } else {
            Credentials::None
        });
    }
    if let Some(at) = token {
        return Some(Credentials::Token {
            user: user_or(defaults::TOKEN_USER),
            token: secret(&at, context)?,
        });
    }
    if !fields.has_strangers() {
        let hint = "write one of sshKey, sshAgent and tokenFrom, or leave `credentials` out";
        fields.at().wrong(Wrong::new("the credentials do not say what to use", hint));
    }
    None
}
