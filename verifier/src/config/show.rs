//! A policy with every default filled in, as YAML with comments that reads back as the same policy.

mod checks;
mod journeys;

use std::fmt::Write;

use rollout::freeze::{Freeze, Window};
use rollout::policy::{
    Metrics, OnInconclusive, Policy, ProcessTarget, ProxyRoute, Revert, Router, Steps, Target,
    Traces, VersionText,
};

use super::policy::DAYS;
use super::units::{Percent, show_duration};

/// The policy as YAML, every default filled in and commented.
pub fn show_policy(policy: &Policy) -> String {
    let mut page = Page::default();
    page.line(0, "apiVersion: serin.dev/v1");
    page.line(0, "kind: CanaryPolicy");
    page.line(0, "metadata:");
    page.line(1, &format!("name: {}", text(&policy.name)));
    page.line(0, "spec:");
    page.note("Commits that touch these are deployments of this service.");
    page.line(1, &format!("paths: {}", list(&policy.paths)));
    let Target::Process(process) = &policy.target;
    target(&mut page, process);
    let Router::Proxy(route) = &policy.router;
    router(&mut page, route);
    metrics(&mut page, &policy.metrics);
    steps(&mut page, &policy.steps);
    let settings = &policy.analysis;
    page.note(
        "Largest share of all requests that may fail, or be too slow, because of the canary.",
    );
    page.line(1, &format!("harm: {}", percent(settings.harm)));
    page.line(1, &format!("latencyHarm: {}", percent(settings.latency_harm)));
    page.note("Go on watching for this long after 100 %, with the old version kept warm.");
    page.line(1, &format!("bake: {}", show_duration(policy.bake)));
    page.note(
        "Share of harmless deployments that may be undone, over all checks and looks together.",
    );
    page.line(1, &format!("falseAlarm: {}", percent(settings.false_alarm)));
    page.note("Chance of a step that the canary does not deserve.");
    page.line(1, &format!("falsePromotion: {}", percent(settings.false_promotion)));
    page.note("What is compared, and how much worse the canary may be.");
    page.line(1, "checks:");
    checks::write(&mut page, policy);
    journeys::write(&mut page, &policy.journeys);
    traces(&mut page, policy);
    on_fail(&mut page, policy);
    let on_inconclusive = match policy.on_inconclusive {
        OnInconclusive::Hold => "hold",
        OnInconclusive::RollBack => "rollBack",
        OnInconclusive::Promote => "promote",
    };
    page.note("When a deadline passes without an answer: hold, rollBack or promote.");
    page.line(1, &format!("onInconclusive: {on_inconclusive}"));
    freezes(&mut page, &policy.freezes);
    page.note("Notifiers of serin.yaml that hear of it.");
    page.line(1, &format!("notify: {}", list(&policy.notify)));
    page.0
}

fn traces(page: &mut Page, policy: &Policy) {
    page.note("Where traces are looked at when the canary has failed: what is pushed to Serin, or a provider.");
    let Traces { service, provider, version } = &policy.traces;
    let service = service.as_ref().map(|name| format!("service: {}", text(name)));
    let provider = provider
        .as_ref()
        .map(|name| format!("provider: {}, version: {}", text(name), version_text(*version)));
    let entries: Vec<String> = service.into_iter().chain(provider).collect();
    let entries =
        if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) };
    page.line(1, &format!("traces: {entries}"));
}

/// Lines of YAML.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, depth: usize, line: &str) {
        writeln!(self.0, "{:1$}{line}", "", depth * 2).expect("writing to a string cannot fail");
    }

    /// A comment above a key of `spec`.
    fn note(&mut self, note: &str) {
        self.line(1, &format!("# {note}"));
    }
}

fn target(page: &mut Page, process: &ProcessTarget) {
    page.note("Where versions run: local processes of a checkout; ${PORT} is replaced.");
    page.line(1, "target:");
    page.line(2, "process:");
    page.line(3, &format!("command: {}", list(&process.command)));
    page.line(3, &format!("environment: {}", map(process.environment.iter())));
    if let Some(folder) = &process.working_directory {
        page.line(3, &format!("workingDirectory: {}", text(folder)));
    }
    page.line(3, &format!("health: {}", text(&process.health_path)));
    page.line(3, &format!("startTimeout: {}", show_duration(process.start_timeout)));
    page.line(3, &format!("stopGrace: {}", show_duration(process.stop_grace)));
    page.line(3, &format!("instances: {}", process.instances));
}

fn router(page: &mut Page, route: &ProxyRoute) {
    page.note("What moves traffic: Serin's own proxy.");
    page.line(1, "router:");
    page.line(2, "proxy:");
    page.line(3, &format!("listen: {}", text(&route.listen)));
    page.line(
        3,
        &format!(
            "timeout: {} # a request without an answer for this long failed",
            show_duration(route.timeout)
        ),
    );
    if let Some(cookie) = &route.sticky_cookie {
        page.line(3, &format!("stickyCookie: {}", text(cookie)));
    }
    if let Some((header, value)) = &route.testers {
        page.line(3, &format!("testers: {{ header: {}, value: {} }}", text(header), text(value)));
    }
    page.line(3, &format!("http2: {}", route.upstream_http2));
}

fn metrics(page: &mut Page, metrics: &Metrics) {
    page.note("Where observations come from: proxy, scrape, otlp, traces, prometheus or store.");
    match metrics {
        Metrics::Proxy => page.line(1, "metrics: proxy"),
        Metrics::Scrape { path, interval } => {
            page.line(1, "metrics:");
            page.line(
                2,
                &format!(
                    "scrape: {{ path: {}, interval: {} }}",
                    text(path),
                    show_duration(*interval)
                ),
            );
        }
        Metrics::Otlp { service } => {
            page.line(1, "metrics:");
            page.line(2, &format!("otlp: {{ service: {} }}", text(service)));
        }
        Metrics::Traces { service } => {
            page.line(1, "metrics:");
            page.line(2, &format!("traces: {{ service: {} }}", text(service)));
        }
        Metrics::Prometheus { provider, version_label, labels, interval, version } => {
            page.line(1, "metrics:");
            page.line(2, "prometheus:");
            page.line(3, &format!("provider: {}", text(provider)));
            page.line(3, &format!("versionLabel: {}", text(version_label)));
            page.line(3, &format!("version: {}", version_text(*version)));
            page.line(3, &format!("labels: {}", map(labels.iter())));
            page.line(3, &format!("interval: {}", show_duration(*interval)));
        }
        Metrics::Store { provider, labels, version, interval } => {
            page.line(1, "metrics:");
            page.line(2, "store:");
            page.line(3, &format!("provider: {}", text(provider)));
            page.line(3, &format!("version: {}", version_text(*version)));
            page.line(3, &format!("labels: {}", map(labels.iter())));
            page.line(3, &format!("interval: {}", show_duration(*interval)));
        }
    }
}

fn version_text(version: VersionText) -> &'static str {
    match version {
        VersionText::Full => "full",
        VersionText::Short => "short # the first seven digits of the revision",
    }
}

fn steps(page: &mut Page, steps: &Steps) {
    match steps {
        Steps::Auto { first, deadline } => {
            page.note("How the weight rises: as fast as the evidence allows, within `harm`.");
            page.line(1, "steps:");
            let first = percent(first.share());
            page.line(
                2,
                &format!("auto: {{ first: {first}, deadline: {} }}", show_duration(*deadline)),
            );
        }
        Steps::ByHand(steps) => {
            page.note("How the weight rises: by hand, each step gated by the evidence.");
            page.line(1, "steps:");
            for step in steps {
                let (weight, stay) = (percent(step.weight.share()), show_duration(step.at_least));
                let deadline = show_duration(step.deadline);
                page.line(
                    2,
                    &format!("- {{ weight: {weight}, atLeast: {stay}, deadline: {deadline} }}"),
                );
            }
        }
    }
}

fn on_fail(page: &mut Page, policy: &Policy) {
    let revert = match policy.on_fail.revert {
        Revert::Push => "push",
        Revert::PullRequest => "pullRequest",
        Revert::None => "none",
    };
    page.note("What a failed deployment does to Git: push, pullRequest or none.");
    page.line(1, "onFail:");
    page.line(2, &format!("revert: {revert}"));
    page.line(2, "# Beyond so many automatic reverts a person decides.");
    let limits =
        policy.on_fail.limits.iter().map(|l| format!("{} per {}", l.count, show_duration(l.per)));
    page.line(2, &format!("limits: [{}]", limits.collect::<Vec<_>>().join(", ")));
    page.line(2, "# A commit that touches these is never undone without a person.");
    page.line(2, &format!("irreversible: {}", list(&policy.on_fail.irreversible)));
}

fn freezes(page: &mut Page, freezes: &[Freeze]) {
    page.note("Times in which no step advances; rolling back is never frozen.");
    if freezes.is_empty() {
        return page.line(1, "freezes: []");
    }
    page.line(1, "freezes:");
    for freeze in freezes {
        page.line(2, &format!("- reason: {}", text(&freeze.reason)));
        match &freeze.window {
            Window::Span { from, to } => page.line(3, &format!("from: {from}\n      to: {to}")),
            Window::Weekly { days, from, to, zone } => {
                let index = |day: &i8| usize::try_from(*day).ok()?.checked_sub(1);
                let days: Vec<&str> =
                    days.iter().filter_map(|day| DAYS.get(index(day)?).copied()).collect();
                page.line(3, &format!("days: [{}]", days.join(", ")));
                let time = |time: &jiff::civil::Time| {
                    format!("\"{:02}:{:02}\"", time.hour(), time.minute())
                };
                page.line(3, &format!("from: {}", time(from)));
                page.line(3, &format!("to: {}", time(to)));
                page.line(3, &format!("zone: {}", text(zone)));
            }
        }
    }
}

fn percent(share: f64) -> Percent {
    Percent::from_share(share)
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| text(item)).collect();
    format!("[{}]", items.join(", "))
}

fn map<'a>(entries: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let entries: Vec<String> =
        entries.map(|(key, value)| format!("{key}: {}", text(value))).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

/// A text as YAML: as it is where that is safe, else in double quotes.
fn text(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | '.' | '@');
    let safe = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.'))
        && text.chars().all(plain)
        && !text.eq_ignore_ascii_case("null");
    if safe { text.to_owned() } else { quoted(text) }
}

/// A text as YAML in double quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ if c.is_alphanumeric() => quoted.push(c),
            _ => {
                write!(quoted, "\\U{:08x}", u32::from(c)).expect("writing to a string cannot fail");
            }
        }
    }
    quoted + "\""
}
