//! The instance's own settings: `serin.yaml` to [`Instance`].
//!
//! Secrets are resolved while reading, so that an instance that starts has all it needs, and a
//! missing one is told with its place in the file like any other problem.

mod providers;
mod repositories;
mod rum;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use analysis_providers::RumSettings;

pub(super) use self::providers::STORES;
#[cfg(test)]
pub(super) use self::providers::TRACES;
pub use self::providers::{
    AwsKeys, Bounds, CloudWatch, Datadog, Dynatrace, DynatraceApi, Elastic, Endpoint, Grafana,
    Graphite, HttpStore, Influx, InfluxVersion, JsonPointers, Login, NewRelic, NewRelicRegion,
    PrometheusServer, Provider, ProviderKind, Signing, TempoServer, TimeFormat, TraceServer,
    Traces,
};
pub use self::repositories::{Author, Credentials, Pushing, Repository};
use super::node::Node;
use super::reader::{At, Fields, Wrong};
use super::secret::{self, Reference, Secret};
use super::source::Source;
use super::{defaults, values};

/// The instance's own settings, validated, with every default filled in and every secret resolved.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Where the page and the API are served.
    pub listen: SocketAddr,
    /// How people reach it, for links in messages; `None` means that messages carry no links.
    pub public_url: Option<String>,
    /// Mirrors, checkouts and logs.
    pub folder: PathBuf,
    /// The SQLite file of the journal.
    pub journal: PathBuf,
    /// What is watched; at least one.
    pub repositories: Vec<Repository>,
    /// Where observations can come from, by name.
    pub providers: Vec<Provider>,
    /// Whom to tell, by name.
    pub notifiers: Vec<Notifier>,
    /// The secret that signs calls of `/hooks`; `None` on a loopback address only trusts the caller.
    pub hooks_secret: Option<Secret>,
    /// The token of the API; always there unless `listen` is a loopback address.
    pub api_token: Option<Secret>,
    /// Where own traces are sent (OTLP over HTTP).
    pub otlp: Option<String>,
    /// Where services may push metrics and spans by gRPC; `None`: nowhere, only by HTTP at `listen`.
    pub grpc: Option<SocketAddr>,
    /// Which pages may report what browsers measure; `None`: none.
    pub rum: Option<RumSettings>,
}

/// Whom to tell.
#[derive(Debug, Clone)]
pub struct Notifier {
    /// Unique; policies refer to it.
    pub name: String,
    /// What it is.
    pub kind: NotifierKind,
}

/// How people are told.
#[derive(Debug, Clone)]
pub enum NotifierKind {
    /// An incoming webhook of Slack, whose URL is the secret.
    Slack {
        /// The URL.
        webhook: Secret,
    },
    /// A webhook signed after Standard Webhooks.
    Webhook {
        /// Where to.
        url: String,
        /// What signs it, so that the receiver can tell who sends: `whsec_` and base64.
        secret: Secret,
    },
}

/// What reading needs besides the text.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// The folder that relative paths start from.
    pub(super) base: &'a Path,
    /// Looks up an environment variable.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
}

/// Reads the document.
pub(super) fn read<'a>(
    source: &'a Source<'a>,
    node: &'a Node,
    context: Context<'_>,
) -> Option<Instance> {
    secret::hide(source, node);
    let at = At::root(source, node);
    at.map("a map with at least repositories", |fields| {
        let listen_at = fields.get("listen");
        let listen = listen_at
            .as_ref()
            .and_then(|at| at.parse("an address, e.g. 127.0.0.1:8787", values::listen));
        let default = || values::listen(defaults::LISTEN).expect("the default is an address");
        let listen = listen.unwrap_or_else(default);
        let folder = fields.or("folder", PathBuf::from(defaults::FOLDER), path);
        let folder = context.base.join(folder);
        let journal =
            fields.get("journal").and_then(|at| path(&at)).map(|path| context.base.join(path));
        let journal = journal.unwrap_or_else(|| folder.join(defaults::JOURNAL));
        let example = "repositories: [{ name: shop, url: git@github.com:example/shop.git }]";
        let repositories = fields
            .required("repositories", example)
            .and_then(|at| repositories::read(&at, context));
        let providers = fields
            .or("providers", vec![], |at| named(at, |fields| providers::read(fields, context)));
        let notifiers =
            fields.or("notifiers", vec![], |at| named(at, |fields| notifier(fields, context)));
        let hooks_secret = one_secret(fields, "hooks", "secretFrom", context);
        let api_token = one_secret(fields, "api", "tokenFrom", context);
        let has_token = fields.raw("api").is_some();
        if let (false, Some(at)) = (has_token, &listen_at) {
            alone(listen, at);
        }
        let grpc = fields.get("otlp").and_then(|at| grpc(&at, listen, has_token));
        Some(Instance {
            listen,
            public_url: fields.get("publicUrl").and_then(|at| url(&at)),
            folder,
            journal,
            repositories: repositories.unwrap_or_default(),
            providers: unique(providers),
            notifiers: unique(notifiers),
            hooks_secret,
            api_token,
            grpc,
            rum: fields.get("rum").and_then(|at| rum::read(&at)),
            otlp: fields.get("telemetry").and_then(|at| {
                let example = "a map, e.g. { otlp: http://127.0.0.1:4318 }";
                at.map(example, |fields| {
                    fields.required("otlp", "otlp: http://127.0.0.1:4318").and_then(|at| url(&at))
                })?
            }),
        })
    })?
}

/// Notes an address that anyone can reach where no token is asked for.
fn alone(address: SocketAddr, at: &At<'_>) {
    if !address.ip().is_loopback() {
        at.wrong(Wrong::new(
            "this address can be reached from other machines, and no token protects it",
            "add api: { tokenFrom: { env: SERIN_TOKEN } }, or listen on 127.0.0.1",
        ));
    }
}

/// `otlp: { grpc }`: where pushes by gRPC are taken.
fn grpc(at: &At<'_>, page: SocketAddr, has_token: bool) -> Option<SocketAddr> {
    at.map("a map, e.g. { grpc: 127.0.0.1:4317 }", |fields| {
        let at = fields.required("grpc", "grpc: 127.0.0.1:4317")?;
        let address = at.parse("an address, e.g. 127.0.0.1:4317", values::listen)?;
        if address == page {
            let hint = "give it a port of its own, by custom 4317; pushes by HTTP go to the page's";
            at.wrong(Wrong::new("the page is served at this address", hint));
        } else if !has_token {
            alone(address, &at);
        }
        Some(address)
    })?
}

/// A path of this machine.
fn path(at: &At<'_>) -> Option<PathBuf> {
    at.parse("a path", |text| values::line(text).map(PathBuf::from))
}

/// A URL without login.
fn url(at: &At<'_>) -> Option<String> {
    at.parse("a URL, e.g. http://127.0.0.1:9090", values::url)
}

/// `hooks: { secretFrom }` and `api: { tokenFrom }`: a map that holds one secret.
fn one_secret(
    fields: &Fields<'_>,
    name: &'static str,
    key: &'static str,
    context: Context<'_>,
) -> Option<Secret> {
    let example = format!("{key}: {{ env: NAME }} or {key}: {{ file: path }}");
    let at = fields.get(name)?;
    at.map(&format!("a map, e.g. {{ {example} }}"), |fields| {
        fields.required(key, &example).and_then(|at| secret(&at, context))
    })?
}

/// A secret by reference, resolved.
fn secret(at: &At<'_>, context: Context<'_>) -> Option<Secret> {
    let example = "{ env: NAME } or { file: path }";
    if at.is_text() {
        let hint = format!("put it into the environment or a file of its own, and write {example}");
        at.source().hide(at.span());
        at.source().problem(
            at.span(),
            at.key(),
            "a secret does not belong in this file".to_owned(),
            Some(hint),
        );
        return None;
    }
    let (kind, value) = at.choice(example, &["env", "file"], &[])?;
    let reference = match kind {
        "env" => Reference::Env(value.parse("a name of an environment variable", |name| {
            if secret::is_variable(name) {
                Ok(name.to_owned())
            } else {
                Err(Wrong::fixed(
                    "that is not a name of an environment variable",
                    "write its name, e.g. SLACK_URL",
                ))
            }
        })?),
        _ => Reference::File(path(&value)?),
    };
    let resolved = secret::resolve(&reference, context.base, context.env);
    let wrong = |error: secret::SecretError| {
        let hint = match &error {
            secret::SecretError::Unset(name) => {
                format!("set it where Serin is started, e.g. export {name}=...")
            }
            secret::SecretError::Empty(_) => "write the secret into it".to_owned(),
            secret::SecretError::Unreadable { .. } => {
                "relative paths start at this file's folder".to_owned()
            }
            secret::SecretError::NotText(_) => "a secret is one short line of text".to_owned(),
        };
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
        value.wrong(Wrong::new(format!("{error}{}", cause.unwrap_or_default()), hint));
    };
    resolved.map_err(wrong).ok()
}

/// Things with a name, each read by `read`; a name that comes twice is noted.
fn named<'a, T>(at: &At<'a>, read: impl Fn(&Fields<'a>) -> Option<T>) -> Option<Vec<(String, T)>> {
    let mut names: Vec<String> = vec![];
    let items = at.list("a list, each with a name")?;
    let things: Vec<_> = items
        .iter()
        .filter_map(|item| {
            item.map("a map with a name", |fields| {
                let name = fields.required("name", "name: main").and_then(|at| {
                    let name = at.parse("a name", values::name)?;
                    if names.contains(&name) {
                        let hint = "policies refer to it by name; give each its own";
                        at.wrong(Wrong::new(format!("`{name}` is named twice"), hint));
                    }
                    names.push(name.clone());
                    Some(name)
                });
                let thing = read(fields);
                Some((name?, thing?))
            })?
        })
        .collect();
    Some(things)
}

/// Puts name and kind together.
fn unique<T: From<(String, K)>, K>(things: Vec<(String, K)>) -> Vec<T> {
    things.into_iter().map(T::from).collect()
}

impl From<(String, NotifierKind)> for Notifier {
    fn from((name, kind): (String, NotifierKind)) -> Self {
        Self { name, kind }
    }
}

fn notifier(fields: &Fields<'_>, context: Context<'_>) -> Option<NotifierKind> {
    let (slack, webhook) = (fields.get("slack"), fields.get("webhook"));
    match (slack, webhook) {
        (Some(_), Some(at)) => {
            at.wrong(Wrong::new("one notifier is either `slack` or `webhook`", "make two notifiers of it"));
            None
        }
        (Some(at), None) => at.map("a map, e.g. { webhookFrom: { env: SLACK_URL } }", |fields| {
            let at = fields.required("webhookFrom", "webhookFrom: { env: SLACK_URL }")?;
            let webhook = secret(&at, context)?;
            if values::url(webhook.expose()).is_err() {
                let message = "what it refers to is not a URL".to_owned();
                let hint = "Slack shows the URL of an incoming webhook, https://hooks.slack.com/services/...";
                at.source().problem(at.span(), at.key(), message, Some(hint.to_owned()));
            }
            Some(NotifierKind::Slack { webhook })
        })?,
        (None, Some(at)) => at.map("a map, e.g. { url: https://example.com/hook, secretFrom: { env: NAME } }", |fields| {
            let secret = fields
                .required("secretFrom", "secretFrom: { env: HOOK_SECRET }")
                .and_then(|at| secret(&at, context));
            let url = fields.required("url", "url: https://example.com/hook").and_then(|at| url(&at));
            Some(NotifierKind::Webhook { url: url?, secret: secret? })
        })?,
        (None, None) => {
            if !fields.has_strangers() {
                let hint = "write slack: { webhookFrom: { env: SLACK_URL } }, or webhook: { url: https://... }";
                fields.at().wrong(Wrong::new("the notifier does not say how to tell people", hint));
            }
            None
        }
    }
}
