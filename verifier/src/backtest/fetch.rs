//! Reads the past of a metrics store: which versions there were, and what each counted at every moment.
//!
//! Each version is a subject of its own, measured by the provider that live deployments use, with time running as
//! fast as the store answers. Whether two versions were a deployment is seen from the counts afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use analysis_providers::{
    Completeness, FetchError, Instance, MetricProvider, Persistence, Subject,
};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rollout::policy::Metrics;
use rollout::{Arm, Policy};
use serde::Deserialize;

use super::{Timeline, Track};
use crate::measure::measures;

/// Most moments, and most scrapes with counts, of one backtest.
pub const MOST_SCRAPES: usize = 50_000;

/// Most observations that are kept: some 1.5 GB at worst, with buckets.
const MOST_OBSERVATIONS: usize = 4_000_000;

/// Most versions within the period.
pub const MOST_VERSIONS: usize = 100;

/// Longest answer to the question for versions.
const MOST_BYTES: usize = 8 * 1_024 * 1_024;

/// Attempts in a row that may fail before the store is given up.
const MOST_FAILURES: usize = 3;

/// Why the past cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The policy's metrics have no past.
    #[error(
        "the policy of {service} does not read a metrics store, and only a store has a past\nhint: write metrics: {{ prometheus: {{ provider: main }} }} in a copy of the policy"
    )]
    NoStore {
        /// The service.
        service: String,
    },
    /// The store was asked for versions and did not answer.
    #[error("failed to ask {url} for the values of the label {label}: {why}")]
    Versions {
        /// Address without login.
        url: String,
        /// The version label.
        label: String,
        /// The cause.
        why: String,
    },
    /// No series has the label.
    #[error(
        "no series of {selector} has data from {from} to {to}\nhint: is {label} the label that tells the versions apart (metrics.prometheus.versionLabel), and does the store keep data for that long?"
    )]
    NoVersions {
        /// What was asked for.
        selector: String,
        /// The version label.
        label: String,
        /// The period.
        from: Timestamp,
        /// Its end.
        to: Timestamp,
    },
    /// There are versions, and none of them counted anything.
    #[error(
        "none of the versions {versions} has counts that the checks can read from {from} to {to}, told apart by {label}: {why}"
    )]
    NoCounts {
        /// Their names.
        versions: String,
        /// What tells them apart.
        label: String,
        /// The period.
        from: Timestamp,
        /// Its end.
        to: Timestamp,
        /// What the provider says.
        why: String,
    },
    /// More than is kept in memory.
    #[error(
        "{what} are more than {most}\nhint: take a larger --step, a shorter period, or name the --versions"
    )]
    TooMuch {
        /// What.
        what: String,
        /// The limit.
        most: usize,
    },
    /// The store failed.
    #[error("failed to read the metrics at {at}")]
    Fetch {
        /// The moment that was asked for.
        at: Timestamp,
        /// The cause.
        source: FetchError,
    },
}

/// A server that knows the values of a label: Prometheus and what speaks its API.
#[derive(Debug)]
pub struct Directory {
    /// Base URL without login.
    pub url: String,
    /// Headers by name; their values may be secret and are never shown.
    pub headers: HeaderMap,
    /// Longest wait.
    pub timeout: Duration,
}

impl Directory {
    /// A server without headers.
    pub fn new(url: impl Into<String>, timeout: Duration) -> Self {
        Self { url: url.into(), headers: HeaderMap::new(), timeout }
    }

    /// Adds a header; one that no header may be is refused with its name.
    ///
    /// # Errors
    /// The sentence for people.
    pub fn header(&mut self, name: &str, value: &str) -> Result<(), String> {
        let name = HeaderName::try_from(name).map_err(|_| format!("{name:?} is no header"))?;
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| format!("the header {name} has characters that no header may have"))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }

    /// The versions that a policy's label had within the period: `GET /api/v1/label/NAME/values` of Prometheus 2.24.
    ///
    /// # Errors
    /// When it does not answer, knows none, or more than [`MOST_VERSIONS`].
    pub async fn versions(
        &self,
        metrics: &Metrics,
        [from, to]: [Timestamp; 2],
    ) -> Result<Vec<String>, PastError> {
        let Metrics::Prometheus { version_label: label, labels, .. } = metrics else {
            return Ok(Vec::new());
        };
        let failed =
            |why: String| PastError::Versions { url: self.url.clone(), label: label.clone(), why };
        let mut matchers: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        matchers.push(format!("{label}!=\"\""));
        let selector = format!("{{{}}}", matchers.join(","));
        let body = self.ask(label, &selector, [from, to]).await.map_err(failed)?;
        let values: Values = serde_json::from_slice(&body)
            .map_err(|error| failed(format!("the answer is not that of Prometheus: {error}")))?;
        if values.status != "success" {
            return Err(failed(values.error.unwrap_or_else(|| "it gives no reason".to_owned())));
        }
        let versions = values.data;
        if versions.is_empty() {
            return Err(PastError::NoVersions { selector, label: label.clone(), from, to });
        }
        if versions.len() > MOST_VERSIONS {
            let what = format!("{} versions between {from} and {to}", versions.len());
            return Err(PastError::TooMuch { what, most: MOST_VERSIONS });
        }
        Ok(versions)
    }

    async fn ask(
        &self,
        label: &str,
        selector: &str,
        [from, to]: [Timestamp; 2],
    ) -> Result<Vec<u8>, String> {
        let why = |error: reqwest::Error| crate::chain(&error.without_url());
        let client = reqwest::Client::builder()
            .timeout(self.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(self.headers.clone())
            .build()
            .map_err(why)?;
        let base = self.url.trim_end_matches('/');
        let mut url = reqwest::Url::parse(&format!("{base}/api/v1/label/{label}/values"))
            .map_err(|error| error.to_string())?;
        url.query_pairs_mut()
            .append_pair("match[]", selector)
            .append_pair("start", &from.as_second().to_string())
            .append_pair("end", &to.as_second().to_string());
        let mut answer = client.get(url).send().await.map_err(why)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(why)? {
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(format!("the answer is longer than {MOST_BYTES} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        // Prometheus gives the reason of a refusal in the same form as an answer.
        if status.is_success() || serde_json::from_slice::<Values>(&body).is_ok() {
            Ok(body)
        } else {
            Err(format!("it answers {status}"))
        }
    }
}

/// The answer to the question for a label's values.
#[derive(Deserialize)]
struct Values {
    status: String,
    #[serde(default)]
    data: Vec<String>,
    #[serde(default)]
    error: Option<String>,
}

/// A value as PromQL writes it.
fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

/// What was read.
#[derive(Debug)]
pub struct Past {
    /// The versions that counted something.
    pub tracks: Vec<Track>,
    /// What a reader should know, a sentence each without full stop.
    pub notes: Vec<String>,
}

/// Measures every version at every moment; `told` hears of each moment that is done.
///
/// # Errors
/// When the store fails for good or three times in a row, when there is more than is kept, or nothing at all.
pub async fn past(
    provider: &dyn MetricProvider,
    policy: &Policy,
    versions: &[String],
    timeline: Timeline,
    told: &mut (dyn FnMut(usize) + Send),
) -> Result<Past, PastError> {
    if timeline.count > MOST_SCRAPES {
        let what = format!("{} moments", timeline.count);
        return Err(PastError::TooMuch { what, most: MOST_SCRAPES });
    }
    let subjects =
        versions.iter().map(|version| subject(policy, version)).collect::<Result<Vec<_>, _>>()?;
    let mut tracks: Vec<Track> = versions
        .iter()
        .map(|version| Track { version: version.clone(), scrapes: BTreeMap::new() })
        .collect();
    let (mut scrapes, mut observations, mut lost) = (0_usize, 0_usize, 0_usize);
    let (mut failures, mut silent) = (0_usize, None);
    for index in 0..timeline.count {
        let at = timeline.at(index);
        let mut failed = None;
        for (track, measured) in tracks.iter_mut().zip(provider.measure(&subjects, at).await) {
            match measured.result {
                Ok((mut scrape, completeness)) => {
                    scrape.observations.retain(|o| o.sample.says_something());
                    if let Completeness::None(why) | Completeness::Stale(why) = completeness {
                        silent = Some(why);
                    }
                    if !scrape.observations.is_empty() {
                        scrapes += 1;
                        observations += scrape.observations.len();
                        track.scrapes.insert(index, scrape);
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(source) if source.persistence == Persistence::Permanent => {
                return Err(PastError::Fetch { at, source });
            }
            Some(source) => {
                failures += 1;
                lost += 1;
                if failures >= MOST_FAILURES {
                    return Err(PastError::Fetch { at, source });
                }
            }
            None => failures = 0,
        }
        if scrapes > MOST_SCRAPES {
            return Err(PastError::TooMuch { what: "scrapes".to_owned(), most: MOST_SCRAPES });
        }
        if observations > MOST_OBSERVATIONS {
            let what = "counts of instances and routes".to_owned();
            return Err(PastError::TooMuch { what, most: MOST_OBSERVATIONS });
        }
        told(index);
    }
    let mut notes = unread(provider, &subjects);
    if 0 < lost {
        notes.push(format!("the store failed at {lost} of {} moments", timeline.count));
    }
    tracks.retain(|track| !track.scrapes.is_empty());
    if tracks.is_empty() {
        return Err(PastError::NoCounts {
            versions: versions.join(", "),
            label: label(&policy.metrics).to_owned(),
            from: timeline.from,
            to: timeline.at(timeline.count.saturating_sub(1)),
            why: notes.into_iter().next().or(silent).unwrap_or_else(|| {
                "the period is too short for two scrapes of the store".to_owned()
            }),
        });
    }
    Ok(Past { tracks, notes })
}

/// Checks for which no version had a metric.
fn unread(provider: &dyn MetricProvider, subjects: &[Subject]) -> Vec<String> {
    let mut problems: BTreeMap<String, Option<String>> = BTreeMap::new();
    for choice in subjects.iter().flat_map(|subject| provider.chosen(&subject.id)) {
        let known = problems.entry(choice.check).or_insert_with(|| choice.chosen.clone().err());
        if choice.chosen.is_ok() {
            *known = None;
        }
    }
    let unread = problems.into_iter().filter_map(|(check, why)| Some((check, why?)));
    unread.map(|(check, why)| format!("{check} would have had no data: {why}")).collect()
}

fn label(metrics: &Metrics) -> &str {
    match metrics {
        Metrics::Prometheus { version_label, .. } => version_label,
        Metrics::Proxy
        | Metrics::Scrape { .. }
        | Metrics::Otlp { .. }
        | Metrics::Traces { .. }
        | Metrics::Store { .. } => "version",
    }
}

/// One version as a provider is asked for it: an arm by itself.
fn subject(policy: &Policy, version: &str) -> Result<Subject, PastError> {
    let (Metrics::Prometheus { labels, .. } | Metrics::Store { labels, .. }) = &policy.metrics
    else {
        return Err(PastError::NoStore { service: policy.name.clone() });
    };
    let mut labels = labels.clone();
    labels.insert(label(&policy.metrics).to_owned(), version.to_owned());
    let instance = Instance { name: version.to_owned(), arm: Arm::Baseline, url: None, labels };
    Ok(Subject {
        id: version.to_owned(),
        service: policy.name.clone(),
        instances: vec![instance],
        measures: measures(policy),
    })
}
