//! `spec.target` and `spec.router`: where versions run and what moves traffic.

use std::collections::BTreeMap;
use std::time::Duration;

use rollout::policy::{ProcessTarget, ProxyRoute, Router, Target};

use super::duration_within;
use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::source::Span;
use crate::config::{defaults, secret, units, values};

/// The shortest timeout, grace or interval that makes sense: below it the clock is the noise.
pub(super) const SHORTEST: Duration = Duration::from_millis(50);

/// The longest: nobody waits longer than this for one request, start or scrape.
pub(super) const LONGEST: Duration = Duration::from_hours(1);

/// More processes of one version on one machine than this are a slip of the pen.
const MOST_INSTANCES: u64 = 100;

const TARGET: &str = "process: { command: [./service] }, which runs versions on this machine";

/// The target.
pub(super) fn target(at: &At<'_>) -> Option<Target> {
    let (_, value) = at.choice(TARGET, &["process"], &["kubernetes", "exec"])?;
    value.map("a map, e.g. { command: [./service] }", process)?.map(Target::Process)
}

fn process(fields: &Fields<'_>) -> Option<ProcessTarget> {
    let environment = fields.or("environment", BTreeMap::new(), environment);
    let working_directory =
        fields.get("workingDirectory").and_then(|at| at.parse("a folder", values::inside));
    let health_path = fields
        .or("health", defaults::HEALTH.to_owned(), |at| at.parse("a path", values::http_path));
    let within =
        |name, default| fields.or(name, default, |at| duration_within(at, SHORTEST, LONGEST));
    let start_timeout = within("startTimeout", defaults::START_TIMEOUT);
    let stop_grace = fields
        .or("stopGrace", defaults::STOP_GRACE, |at| duration_within(at, Duration::ZERO, LONGEST));
    let instances = fields.or("instances", defaults::INSTANCES, |at| {
        let number = at.parse("a whole number", units::whole(1, MOST_INSTANCES))?;
        u16::try_from(number).ok()
    });
    let command = fields
        .required("command", "command: [./service, --port, \"${PORT}\"]")
        .and_then(|at| command(&at))?;
    Some(ProcessTarget {
        command,
        environment,
        working_directory,
        health_path,
        start_timeout,
        stop_grace,
        instances,
    })
}

fn command(at: &At<'_>) -> Option<Vec<String>> {
    if at.is_text() {
        return at.parse("a command", values::command);
    }
    let items = at.list("a command, e.g. [./service, --port, \"${PORT}\"]")?;
    let words: Vec<_> = items
        .iter()
        .map(|item| item.text("a word; put numbers into quotes").map(str::to_owned))
        .collect();
    let words: Vec<String> = words.into_iter().collect::<Option<_>>()?;
    values::check_command(&words).map_err(|wrong| at.wrong(wrong)).ok()?;
    Some(words)
}

fn environment(at: &At<'_>) -> Option<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for (_, name, value) in at.entries("a map, e.g. { LOG: info }")? {
        if !secret::is_variable(name) {
            let hint = "names have letters, digits and underscores, e.g. LOG_LEVEL";
            value.wrong(Wrong::new(
                format!("{} is not a name of an environment variable", quote(name)),
                hint,
            ));
        } else if name == "PORT" {
            let hint = "leave it out; the service listens on the port that it is given";
            value.wrong(Wrong::new("`PORT` is set by Serin, for each instance another", hint));
        }
        let value = if value.is_null() { Some("") } else { value.text("a single value") };
        if let Some(value) = value.filter(|value| !value.contains('\0')) {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    Some(variables)
}

const ROUTER: &str = "proxy: { listen: 127.0.0.1:8080 }, which is Serin's own";

/// Routers that are known by name only.
const ROUTERS_TO_COME: [&str; 6] = ["gatewayApi", "envoy", "istio", "nginx", "haproxy", "traefik"];

/// The router, and where its address is written.
pub(super) fn router(at: Option<&At<'_>>) -> (Router, Option<Span>) {
    let default = || ProxyRoute {
        listen: defaults::PROXY_LISTEN.to_owned(),
        timeout: defaults::PROXY_TIMEOUT,
        sticky_cookie: None,
        testers: None,
        upstream_http2: false,
    };
    let read = at.and_then(|at| {
        if at.is_text() {
            return at.word(&[("proxy", ())]).map(|()| (default(), None));
        }
        let (_, value) = at.choice(ROUTER, &["proxy"], &ROUTERS_TO_COME)?;
        if value.is_null() {
            return Some((default(), None));
        }
        value.map(ROUTER, proxy)
    });
    let (route, listen) = read.unwrap_or_else(|| (default(), None));
    (Router::Proxy(route), listen)
}

fn proxy(fields: &Fields<'_>) -> (ProxyRoute, Option<Span>) {
    let at = fields.get("listen");
    let address =
        at.as_ref().and_then(|at| at.parse("an address, e.g. 127.0.0.1:8080", values::listen));
    let route = ProxyRoute {
        listen: address.map_or(defaults::PROXY_LISTEN.to_owned(), |address| address.to_string()),
        timeout: fields
            .or("timeout", defaults::PROXY_TIMEOUT, |at| duration_within(at, SHORTEST, LONGEST)),
        sticky_cookie: fields
            .get("stickyCookie")
            .and_then(|at| at.parse("a name of a cookie", values::header)),
        testers: fields
            .get("testers")
            .and_then(|at| at.map("a map, e.g. { header: x-tester, value: yes }", testers)?),
        upstream_http2: fields.or("http2", false, boolean),
    };
    (route, at.map(|at| at.span()))
}

fn testers(fields: &Fields<'_>) -> Option<(String, String)> {
    let header = fields
        .required("header", "header: x-tester")
        .and_then(|at| at.parse("a name", values::header));
    let value = fields
        .required("value", "value: canary")
        .and_then(|at| at.parse("a value", values::header_value));
    Some((header?, value?))
}

/// `true` or `false`.
pub(in crate::config) fn boolean(at: &At<'_>) -> Option<bool> {
    at.word(&[("true", true), ("false", false)])
}
