//! `serin backtest`: what a policy would have done with the past, out of the real metrics store.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use analysis_providers::{MetricProvider, Prometheus, PrometheusSettings};
use base64::Engine as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use rollout::Policy;
use rollout::policy::Metrics;

use super::{Exit, colourful, complain, print};
use crate::backtest::fetch::{self, Directory, MOST_SCRAPES, MOST_VERSIONS};
use crate::backtest::{Injection, Timeline, Trials, backtest, table};
use crate::clock::now;
use crate::config::{self, Colour, Instance, Login, PrometheusServer, ProviderKind};
use crate::{chain, run};

/// Longest wait for an answer of a server that no settings describe.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which policy, which past, and what to try on it.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The policy file
    policy: PathBuf,
    /// Which policy, if the file holds several
    #[arg(long)]
    service: Option<String>,
    /// Begin of the past: a time like 2026-05-04T10:00:00Z, or how long ago, e.g. 24h
    #[arg(long, value_name = "T", value_parser = moment)]
    from: Timestamp,
    /// Its end, written alike
    #[arg(long, value_name = "T", default_value = "now", value_parser = moment)]
    to: Timestamp,
    /// Address of a Prometheus without login
    #[arg(long, value_name = "URL", required_unless_present = "config", conflicts_with = "config")]
    provider: Option<String>,
    /// The settings that hold the policy's provider
    #[arg(long)]
    config: Option<PathBuf>,
    /// The versions to look at, instead of all that the store knows; needed for stores that are no Prometheus
    #[arg(long, value_delimiter = ',', value_name = "V,V")]
    versions: Vec<String>,
    /// Between two looks at the store, 1s to 4m
    #[arg(long, default_value = "15s", value_parser = super::duration)]
    step: Duration,
    /// Regressions to add: 5x failures, 1% more of them, slow1.5x; or none
    #[arg(long, default_value = "2x,5x,1%,slow1.5x", value_name = "X,X", value_parser = injections)]
    inject: Injections,
    /// How often each quiet window is split into a pseudo-canary and the rest
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    splits: u32,
    /// Seed of the splits and injections
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long a rollout is expected to take: the length of one trial
    #[arg(long, default_value = "20m", value_parser = super::duration)]
    window: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--inject` lists.
#[derive(Debug, Clone)]
struct Injections(Vec<Injection>);

/// Backtests; exits 0, or 2 when the input is wrong or the store has nothing.
pub(super) async fn run(options: &Options) -> Exit {
    match report(options).await {
        Ok(text) => {
            print(&text);
            Exit::Done
        }
        Err(problem) => {
            complain(&problem);
            Exit::WrongInput
        }
    }
}

async fn report(options: &Options) -> Result<String, String> {
    let timeline = timeline(options)?;
    let policy = policy(options)?;
    let source = source(options, &policy).await?;
    let versions = versions(options, &policy, &source).await?;
    let bar = bar(timeline.count);
    let past = fetch::past(&*source.store, &policy, &versions, timeline, &mut |_| bar.inc(1)).await;
    bar.set_message("replaying");
    let past = past.map_err(|error| chain(&error))?;
    let trials = Trials {
        splits: options.splits,
        seed: options.seed,
        window: options.window,
        injections: options.inject.0.clone(),
    };
    let replayed = tokio::task::spawn_blocking(move || {
        let mut report = backtest(&policy, timeline, &past.tracks, &trials);
        report.notes.extend(past.notes);
        report
    });
    let report =
        replayed.await.map_err(|error| format!("the replay ended in a defect: {error}"))?;
    bar.finish_and_clear();
    if options.json {
        serde_json::to_string_pretty(&report).map_err(|error| format!("no JSON: {error}"))
    } else {
        Ok(table(&report))
    }
}

fn timeline(options: &Options) -> Result<Timeline, String> {
    let Options { from, to, step, .. } = options;
    if !(Duration::from_secs(1)..=Duration::from_mins(4)).contains(step) {
        return Err(
            "--step must be 1s to 4m: the engine takes five minutes without data for silence"
                .to_owned(),
        );
    }
    let span = Duration::try_from(to.duration_since(*from))
        .ok()
        .filter(|span| *span >= *step * 2)
        .ok_or_else(|| format!("--from {from} must be at least two steps before --to {to}"))?;
    let count = span.as_millis() / step.as_millis() + 1;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > MOST_SCRAPES {
        return Err(format!(
            "{count} steps are more than {MOST_SCRAPES}\nhint: take a larger --step, or a shorter period"
        ));
    }
    Ok(Timeline { from: *from, step: *step, count })
}

fn policy(options: &Options) -> Result<Policy, String> {
    let file = options.policy.display().to_string();
    let text = std::fs::read(&options.policy)
        .map_err(|error| format!("failed to read {file}: {error}"))?;
    let colour = if colourful() { Colour::Always } else { Colour::Never };
    let policies = config::policies(&file, &text)
        .map_err(|problems| config::render_problems(&problems, colour))?;
    let known = policies.iter().map(|p| p.name.clone()).collect::<Vec<_>>().join(", ");
    let service = options.service.as_deref();
    let mut wanted = policies.into_iter().filter(|p| service.is_none_or(|name| p.name == name));
    match (wanted.next(), wanted.next()) {
        (Some(policy), None) => Ok(policy),
        (Some(_), Some(_)) => {
            Err(format!("{file} holds several policies\nhint: choose with --service: {known}"))
        }
        (None, _) => Err(format!("{file} holds no such policy\nhint: it holds: {known}")),
    }
}

/// The store, and what lists its versions, if anything does.
struct Past {
    store: Arc<dyn MetricProvider>,
    directory: Option<Directory>,
}

async fn source(options: &Options, policy: &Policy) -> Result<Past, String> {
    let (provider, interval) = match &policy.metrics {
        Metrics::Prometheus { provider, interval, .. } => (provider, Some(*interval)),
        Metrics::Store { provider, .. } => (provider, None),
        Metrics::Proxy | Metrics::Scrape { .. } | Metrics::Otlp { .. } | Metrics::Traces { .. } => {
            return Err(fetch::PastError::NoStore { service: policy.name.clone() }.to_string());
        }
    };
    if let Some(url) = &options.provider {
        let Some(interval) = interval else {
            return Err("--provider is the address of a Prometheus, and the policy reads another store\nhint: name the settings with --config".to_owned());
        };
        return alone(url, interval);
    }
    let path = options.config.as_deref().ok_or("name the store with --provider or --config")?;
    let mut instance = super::run::read(path).await?;
    instance.providers.retain(|known| known.name == *provider);
    let Some(known) = instance.providers.first() else {
        return Err(format!("{} has no provider named {provider}", path.display()));
    };
    let directory = match &known.kind {
        ProviderKind::Prometheus(server) => directory(server)?,
        ProviderKind::Datadog(_)
        | ProviderKind::NewRelic(_)
        | ProviderKind::Dynatrace(_)
        | ProviderKind::Elastic(_)
        | ProviderKind::CloudWatch(_)
        | ProviderKind::Influx(_)
        | ProviderKind::Graphite(_)
        | ProviderKind::Http(_)
        | ProviderKind::Traces(_) => None,
    };
    Ok(Past { store: built(&instance, provider)?, directory })
}

/// A Prometheus of which only the address is known.
fn alone(url: &str, interval: Duration) -> Result<Past, String> {
    let wrong = "--provider must be an address like http://prometheus:9090, without a login\nhint: a server with a login is described in serin.yaml, see --config";
    let parsed = reqwest::Url::parse(url).map_err(|_| wrong.to_owned())?;
    let login = !parsed.username().is_empty() || parsed.password().is_some();
    if login || !["http", "https"].contains(&parsed.scheme()) {
        return Err(wrong.to_owned());
    }
    let settings =
        PrometheusSettings { timeout: TIMEOUT, ..PrometheusSettings::new(url, interval) };
    let store = Prometheus::new(settings).map_err(|error| chain(&error))?;
    Ok(Past { store: Arc::new(store), directory: Some(Directory::new(url, TIMEOUT)) })
}

fn built(instance: &Instance, provider: &str) -> Result<Arc<dyn MetricProvider>, String> {
    let mut stores = run::stores::stores(instance).map_err(|error| chain(&error))?;
    stores.remove(provider).ok_or_else(|| format!("there is no provider named {provider}"))
}

/// Who lists the versions; requests that must be signed are not made here.
fn directory(server: &PrometheusServer) -> Result<Option<Directory>, String> {
    if server.signing.is_some() {
        return Ok(None);
    }
    let mut directory = Directory::new(&server.endpoint.url, server.timeout);
    for (name, value) in &server.endpoint.headers {
        directory.header(name, value)?;
    }
    let authorization = match &server.endpoint.login {
        Login::None => None,
        Login::Bearer(token) => Some(format!("Bearer {}", token.expose())),
        Login::Basic { user, password } => {
            let pair = format!("{user}:{}", password.expose());
            Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
        }
        Login::TokenFile(path) => {
            let token = std::fs::read_to_string(path)
                .map_err(|error| format!("failed to read {}: {error}", path.display()))?;
            Some(format!("Bearer {}", token.trim()))
        }
    };
    if let Some(value) = authorization {
        directory.header("authorization", &value)?;
    }
    Ok(Some(directory))
}

async fn versions(
    options: &Options,
    policy: &Policy,
    source: &Past,
) -> Result<Vec<String>, String> {
    if options.versions.len() > MOST_VERSIONS {
        return Err(format!("more than {MOST_VERSIONS} --versions"));
    }
    if !options.versions.is_empty() {
        let mut versions = options.versions.clone();
        versions.sort();
        versions.dedup();
        return Ok(versions);
    }
    let Some(directory) = &source.directory else {
        return Err("this store cannot be asked for the versions that it knows\nhint: name them as the store writes them: --versions 4f2c1a9,77ab012".to_owned());
    };
    let listed = directory.versions(&policy.metrics, [options.from, options.to]).await;
    listed.map_err(|error| error.to_string())
}

/// Shown on a terminal only.
fn bar(moments: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(moments as u64).with_style(style).with_message("reading the store")
}

/// A time, `now`, or how long ago.
fn moment(text: &str) -> Result<Timestamp, String> {
    let now = now();
    if text == "now" {
        return Ok(now);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let ago = text.parse::<SignedDuration>().ok().filter(|ago| !ago.is_negative());
    ago.and_then(|ago| now.checked_sub(ago).ok()).ok_or_else(|| {
        "write a time like 2026-05-04T10:00:00Z, how long ago, e.g. 24h, or now".to_owned()
    })
}

fn injections(text: &str) -> Result<Injections, String> {
    if text == "none" {
        return Ok(Injections(Vec::new()));
    }
    let all: Result<Vec<_>, _> = text.split(',').map(str::parse::<Injection>).collect();
    match all {
        Ok(all) if all.len() <= 20 => Ok(Injections(all)),
        Ok(_) => Err("at most 20 regressions".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
