//! Configuration: the text that people write, to validated values, or every problem at once.
//!
//! Two kinds of documents are read: policies (`.serin/*.yaml`, beside what they protect) and the
//! instance's own settings (`serin.yaml`). A file that is wrong in five places is told all five, each
//! with its place and what to write instead. Nothing here panics, hangs or grows with hostile input:
//! size, depth and number of values are bounded before anything is built.

mod defaults;
mod instance;
mod node;
mod policy;
mod problem;
mod reader;
mod secret;
mod show;
mod source;
mod syntax;
mod units;
mod values;

#[cfg(test)]
mod tests;

use std::path::Path;

use rollout::policy::{Policy, Router};

use self::instance::STORES;
#[cfg(test)]
use self::instance::TRACES;
pub use self::instance::{
    Author, AwsKeys, Bounds, CloudWatch, Credentials, Datadog, Dynatrace, DynatraceApi, Elastic,
    Endpoint, Grafana, Graphite, HttpStore, Influx, InfluxVersion, Instance, JsonPointers, Login,
    NewRelic, NewRelicRegion, Notifier, NotifierKind, PrometheusServer, Provider, ProviderKind,
    Pushing, Repository, Signing, TempoServer, TimeFormat, TraceServer, Traces,
};
pub use self::problem::{Colour, Excerpt, Problem, render_problems};
pub use self::secret::{Reference, Secret, SecretError, resolve};
pub use self::show::show_policy;
use self::source::{Source, Span};

/// Bytes of a file; a hundred times what a person writes, and read in milliseconds.
const LARGEST_FILE: usize = 1024 * 1024;

/// The policies of one file, which may hold several documents; none in a file without content.
///
/// # Errors
/// Every problem of the file, in its order; show them with [`render_problems`].
pub fn policies(file: &str, text: &[u8]) -> Result<Vec<Policy>, Vec<Problem>> {
    folder(&[(file, text)], None)
}

/// The policies of a folder, file by file. Names and addresses are unique over all files, and what
/// a policy refers to is looked up in `instance` where that is known.
///
/// # Errors
/// Every problem of every file; show them with [`render_problems`].
pub fn folder(
    files: &[(&str, &[u8])],
    instance: Option<&Instance>,
) -> Result<Vec<Policy>, Vec<Problem>> {
    let (mut policies, mut problems) = (Vec::<(String, Policy)>::new(), vec![]);
    for (file, text) in files {
        let text = match decode(file, text) {
            Ok(text) => text,
            Err(told) => {
                problems.extend(told);
                continue;
            }
        };
        let source = Source::new(file, text);
        for node in node::documents(&source) {
            if matches!(node.kind, node::Kind::Null) {
                continue;
            }
            if let Some(read) = policy::read(&source, &node) {
                unique(&source, file, &policies, &read);
                if let Some(instance) = instance {
                    referred(&source, &read, instance);
                }
                policies.push(((*file).to_owned(), read.policy));
            }
        }
        problems.extend(source.into_problems());
    }
    if problems.is_empty() {
        Ok(policies.into_iter().map(|(_, policy)| policy).collect())
    } else {
        Err(problems)
    }
}

/// The instance's own settings. Relative paths start at `base`, the folder of the file; `env` looks
/// up an environment variable.
///
/// # Errors
/// Every problem of the file, in its order; show them with [`render_problems`].
pub fn instance(
    file: &str,
    text: &[u8],
    base: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Instance, Vec<Problem>> {
    let text = decode(file, text)?;
    let source = Source::new(file, text);
    let documents = node::documents(&source);
    let mut documents = documents.iter().filter(|node| !matches!(node.kind, node::Kind::Null));
    let instance = match (documents.next(), documents.next()) {
        (Some(node), None) => instance::read(&source, node, instance::Context { base, env }),
        (_, Some(second)) => {
            let hint = "keep one; policies are files of their own, in the folder `.serin` of their repository";
            let message = "the settings are one document, and here begins a second".to_owned();
            source.problem(second.span, "", message, Some(hint.to_owned()));
            None
        }
        (None, None) if source.count() == 0 => {
            let hint = "write at least repositories: [{ name: shop, url: git@github.com:example/shop.git }]";
            source.problem(
                Span::default(),
                "",
                "the file is empty".to_owned(),
                Some(hint.to_owned()),
            );
            None
        }
        (None, None) => None,
    };
    let problems = source.into_problems();
    match instance {
        Some(instance) if problems.is_empty() => Ok(instance),
        Some(_) | None => Err(problems),
    }
}

/// The text of a file, if it is text and not too long.
fn decode<'a>(file: &str, text: &'a [u8]) -> Result<&'a str, Vec<Problem>> {
    if text.len() > LARGEST_FILE {
        let source = Source::new(file, "");
        let message =
            format!("the file has {} bytes, and Serin reads at most {LARGEST_FILE}", text.len());
        let hint = "split it, or look whether it is the right file".to_owned();
        source.problem(Span::default(), "", message, Some(hint));
        return Err(source.into_problems());
    }
    let error = match std::str::from_utf8(text) {
        Ok(text) => return Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => error,
    };
    // The text before the first byte that is none tells the place.
    let end = error.valid_up_to();
    let source = Source::new(file, std::str::from_utf8(&text[..end]).unwrap_or_default());
    let hint = "save it as UTF-8 in your editor".to_owned();
    source.problem(
        Span { start: end, end },
        "",
        "the file is not UTF-8 text".to_owned(),
        Some(hint),
    );
    Err(source.into_problems())
}

/// Notes a name or an address that another policy has already.
fn unique(source: &Source<'_>, file: &str, others: &[(String, Policy)], read: &policy::Read) {
    let place = |other: &str| {
        if other == file { "this file".to_owned() } else { format!("`{other}`") }
    };
    let name = &read.policy.name;
    if let Some((other, _)) =
        others.iter().find(|(_, other)| !name.is_empty() && other.name == *name)
    {
        let message = format!("two services are named `{name}`, the other one in {}", place(other));
        source.problem(
            read.name,
            "metadata.name",
            message,
            Some("give one of them another name".to_owned()),
        );
        return;
    }
    let Router::Proxy(route) = &read.policy.router;
    let same = |other: &Policy| {
        let Router::Proxy(other) = &other.router;
        other.listen == route.listen && !route.listen.ends_with(":0")
    };
    if let Some((_, other)) = others.iter().find(|(_, other)| same(other)) {
        let message = format!(
            "the proxies of `{}` and of `{name}` both listen on {}",
            other.name, route.listen
        );
        let hint =
            "give one of them another port with router: { proxy: { listen: 127.0.0.1:8081 } }";
        source.problem(
            read.listen.unwrap_or(read.name),
            "spec.router.proxy.listen",
            message,
            Some(hint.to_owned()),
        );
    }
}

/// Notes names that the instance does not know.
fn referred(source: &Source<'_>, read: &policy::Read, instance: &Instance) {
    let note = |span: Span, key: &str, what: &str, name: &str, known: Vec<&str>| {
        if known.contains(&name) {
            return;
        }
        let hint = match (reader::near(name, &known), known.is_empty()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, true) => format!("serin.yaml names no {what} yet"),
            (None, false) => format!("known are {}", known.join(", ")),
        };
        source.problem(span, key, format!("serin.yaml knows no {what} `{name}`"), Some(hint));
    };
    for (span, name) in &read.notify {
        let known = instance.notifiers.iter().map(|notifier| &*notifier.name).collect();
        note(*span, "spec.notify", "notifier", name, known);
    }
    if let Some((span, name)) = &read.traces {
        let of_traces = |kind: &ProviderKind| {
            matches!(kind, ProviderKind::Traces(_) | ProviderKind::Datadog(_))
        };
        let known = instance.providers.iter().filter(|provider| of_traces(&provider.kind));
        let known = known.map(|provider| &*provider.name).collect();
        note(*span, "spec.traces.provider", "store of traces", name, known);
    }
    let Some(named) = &read.provider else { return };
    let name = &named.provider;
    let kind = if named.prometheus { "prometheus" } else { "store" };
    let key = format!("spec.metrics.{kind}.provider");
    let Some(provider) = instance.providers.iter().find(|provider| provider.name == *name) else {
        let known = instance.providers.iter().map(|provider| &*provider.name).collect();
        return note(named.at, &key, "provider", name, known);
    };
    let is = provider.kind.name();
    if let ProviderKind::Traces(_) = provider.kind {
        let message =
            format!("`{name}` is a store of traces, of the kind `{is}`, and has no metrics");
        let hint =
            format!("name a store of metrics here, and write traces: {{ provider: {name} }}");
        return source.problem(named.at, &key, message, Some(hint));
    }
    if (is == "prometheus") != named.prometheus {
        let other = if named.prometheus { "store" } else { "prometheus" };
        let message = format!("serin.yaml says that `{name}` is of the kind `{is}`");
        let hint = format!("write {other}: {{ provider: {name} }}");
        return source.problem(named.at, &key, message, Some(hint));
    }
    for (span, measure) in &read.usual {
        if let Some(hint) = provider.kind.needs(*measure) {
            let message =
                format!("a store of the kind `{is}` has no usual place for {}", measure.name());
            let hint = Some(format!("write {hint}"));
            source.problem(span.unwrap_or(named.at), "spec.checks", message, hint);
        }
    }
}
