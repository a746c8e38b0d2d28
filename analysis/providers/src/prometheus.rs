//! Prometheus, and the stores that speak its query API: Mimir, Thanos, `VictoriaMetrics` and others.
//!
//! Asks for the raw samples of counters (`metric{...}[75s]`), never for `rate()`: every sample keeps the
//! moment at which Prometheus scraped it, so that one scrape makes one update, is never counted twice,
//! and is differenced exactly. Subjects whose counters have the same names and whose arms are told
//! apart by the same labels share a query; its answer is split by these labels.
//!
//! API: <https://prometheus.io/docs/prometheus/latest/querying/api/>, tried on 2.42. `prometheus-http-query`
//! makes the requests and has the types of the results; it drops the warnings and does not bound the
//! answer, so the envelope is read here.

mod query;
mod reply;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use analysis::{Arm, Scrape};
use futures_util::future::{BoxFuture, FutureExt as _, join, join_all};
use jiff::{SignedDuration, Timestamp};
use prometheus_http_query::Client;
use prometheus_http_query::response::Data;
use tokio::sync::Semaphore;

use self::query::Ask;
use self::reply::{Answer, Failure, Track};
use crate::error::{FetchError, Persistence, chain};
use crate::http::{self, Access, Credentials, OnlyLoopback, Secret};
use crate::ledger::{Ledger, Round, Wrong};
use crate::selector::Series;
use crate::subject::{Measure, Subject};
use crate::{Choice, Completeness, Measured, MetricProvider};

/// Where Prometheus is and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusSettings {
    /// Its address, e.g. `http://prometheus:9090` or `https://mimir.example/prometheus`.
    pub url: String,
    /// How to be let in: token, password, `X-Scope-OrgID`.
    pub access: Access,
    /// How often it scrapes the services; 1 s or more.
    pub interval: Duration,
    /// Samples younger than this are not looked at yet. Zero suits Prometheus itself, which shows a
    /// scrape whole or not at all; stores that are written to from afar (Mimir, Thanos) need some 30 s.
    pub settle: Duration,
    /// When the newest sample of an arm is older, the arm is stale; some five intervals.
    pub stale_after: Duration,
    /// Longest time for one query.
    pub timeout: Duration,
    /// Longest answer in bytes.
    pub max_bytes: usize,
    /// Most queries at once; as many again for queries that policies write themselves.
    pub concurrency: usize,
}

impl PrometheusSettings {
    /// The defaults for a Prometheus that scrapes at `interval`.
    pub fn new(url: impl Into<String>, interval: Duration) -> Self {
        Self {
            url: url.into(),
            access: Access::default(),
            interval,
            settle: Duration::ZERO,
            stale_after: interval * 5,
            timeout: Duration::from_secs(5),
            max_bytes: 32 * 1_024 * 1_024,
            concurrency: 16,
        }
    }
}

/// A Prometheus as a source of observations.
pub struct Prometheus {
    client: Client,
    settings: PrometheusSettings,
    /// The address without user name and password, for messages.
    shown: String,
    ledger: Ledger,
    lane: Semaphore,
    own_lane: Semaphore,
    /// When the metrics of a subject were last searched for.
    searched: Mutex<HashMap<String, Timestamp>>,
}

impl std::fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prometheus").field("url", &self.shown).finish_non_exhaustive()
    }
}

/// What one query told, and for which subjects it was asked.
struct Told {
    subjects: Vec<usize>,
    answer: Result<Answer, FetchError>,
}

impl Prometheus {
    /// A Prometheus without counters yet; it is not contacted.
    ///
    /// # Errors
    /// When the address or the access headers are not valid; permanent.
    pub fn new(mut settings: PrometheusSettings) -> Result<Self, FetchError> {
        let shown = http::shown(&settings.url);
        let invalid = |cause: &str| {
            FetchError::permanent(format!("the address {shown} of Prometheus {cause}"))
        };
        let mut url = reqwest::Url::parse(&settings.url).map_err(|e| invalid(&e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("does not begin with http:// or https://"));
        }
        let mut access = std::mem::take(&mut settings.access);
        if let (Some(password), Credentials::None) = (url.password(), &access.credentials) {
            let user = url.username().to_owned();
            access.credentials = Credentials::Basic { user, password: Secret::new(password) };
        }
        // An address with a host, as checked by its scheme, can always be without these.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let near = match url.host_str() {
            Some("localhost" | "127.0.0.1" | "[::1]") => OnlyLoopback::Yes,
            Some(_) | None => OnlyLoopback::No,
        };
        let client = http::client(&access, settings.timeout, near)?;
        let client = Client::from(client, url.as_str()).map_err(|error| invalid(&chain(&error)))?;
        let lanes = settings.concurrency.max(1);
        Ok(Self {
            client,
            shown,
            ledger: Ledger::default(),
            lane: Semaphore::new(lanes),
            own_lane: Semaphore::new(lanes),
            searched: Mutex::default(),
            // The address may hold a password, and what it was is in `client` and `shown`.
            settings: PrometheusSettings { url: String::new(), ..settings },
        })
    }

    /// Runs one query. Dropping it half-way is safe.
    async fn ask(&self, query: &str, at: Timestamp, own: bool) -> Result<Answer, Failure> {
        let timeout = self.settings.timeout;
        let lane = if own { &self.own_lane } else { &self.lane };
        let busy = || {
            FetchError::transient(format!(
                "{} was not asked: too many queries are running",
                self.shown
            ))
        };
        let _place = tokio::time::timeout(timeout, lane.acquire())
            .await
            .map_err(|_| Failure::Other(busy()))?
            .map_err(|_| Failure::Other(busy()))?;
        let millis = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        let request =
            self.client.query(query).query("time", seconds(at)).timeout(millis).post_raw();
        let answer = async {
            let response =
                request.await.map_err(|error| Failure::Other(self.unreachable(&error)))?;
            let status = response.status();
            let body = http::body(response, &self.shown, self.settings.max_bytes, timeout).await;
            let body = body.map_err(|error| match error.persistence {
                Persistence::Permanent => Failure::Excessive(error),
                Persistence::Transient => Failure::Other(error),
            })?;
            reply::decode(status, &body, query, &self.shown)
        };
        let answer = tokio::time::timeout(timeout, answer).await;
        answer.unwrap_or_else(|_| Err(Failure::Other(self.hung())))
    }

    fn unreachable(&self, error: &prometheus_http_query::Error) -> FetchError {
        if let prometheus_http_query::Error::Client(error) = error {
            if error.inner().is_some_and(reqwest::Error::is_timeout) {
                return self.hung();
            }
            let cause = innermost(error);
            return FetchError::transient(format!("{} cannot be reached: {cause}", self.shown));
        }
        FetchError::permanent(format!("{} cannot be asked: {}", self.shown, chain(error)))
    }

    fn hung(&self) -> FetchError {
        let timeout = self.settings.timeout.as_millis();
        FetchError::transient(format!("{} did not answer within {timeout} ms", self.shown))
    }

    /// Runs an ask; when Prometheus refuses it for several subjects, each half by itself, so that one
    /// subject with too many series does not take the data of the others.
    fn run<'a>(&'a self, ask: Ask<'a>, at: Timestamp) -> BoxFuture<'a, Vec<Told>> {
        async move {
            let answer = self.ask(&ask.text(), at, ask.is_own()).await;
            if let (Some((first, second)), Err(Failure::Excessive(_))) = (ask.halves(), &answer) {
                let (mut told, more) = join(self.run(first, at), self.run(second, at)).await;
                told.extend(more);
                return told;
            }
            let answer = answer.map_err(|failure| match failure {
                Failure::Excessive(error) | Failure::Other(error) => error,
            });
            vec![Told { subjects: ask.subjects(), answer }]
        }
        .boxed()
    }

    /// Searches the metrics of the measures that need it; returns errors by subject.
    async fn search(
        &self,
        subjects: &[Subject],
        open: &BTreeMap<usize, Vec<Measure>>,
        at: Timestamp,
    ) -> HashMap<usize, FetchError> {
        let due: Vec<usize> = {
            let mut searched = self.searched.lock().unwrap_or_else(PoisonError::into_inner);
            let due = open.keys().filter(|index| {
                let interval = SignedDuration::try_from(self.settings.interval);
                let interval = interval.unwrap_or(SignedDuration::MAX);
                let last = searched.get(&subjects[**index].id);
                last.is_none_or(|last| at.duration_since(*last) >= interval)
            });
            let due: Vec<usize> = due.copied().collect();
            for index in &due {
                searched.insert(subjects[*index].id.clone(), at);
            }
            due
        };
        let asks = query::searches(subjects, &due);
        let told = join_all(asks.into_iter().map(|ask| self.run(ask, at))).await;
        let mut errors = HashMap::new();
        for Told { subjects: asked, answer } in told.into_iter().flatten() {
            let series = match answer {
                Ok(answer) => match answer.data {
                    Data::Vector(vector) => {
                        vector.into_iter().map(|v| reply::series(v.into_inner().0)).collect()
                    }
                    Data::Matrix(_) | Data::Scalar(_) => Vec::new(),
                },
                Err(error) => {
                    let mut searched = self.searched.lock().unwrap_or_else(PoisonError::into_inner);
                    for index in asked {
                        searched.remove(&subjects[index].id);
                        errors.insert(index, error.clone());
                    }
                    continue;
                }
            };
            for index in asked {
                let subject = &subjects[index];
                let arms: Vec<Vec<Series>> = [Arm::Baseline, Arm::Canary]
                    .into_iter()
                    .filter(|arm| subject.instances.iter().any(|i| i.arm == *arm))
                    .map(|arm| query::of_arm(subject, arm, &series))
                    .collect();
                for measure in open.get(&index).into_iter().flatten() {
                    self.ledger.choose_from(&subject.id, measure, &arms);
                }
            }
        }
        errors
    }

    async fn all(&self, subjects: &[Subject], at: Timestamp) -> Vec<Measured> {
        let settle = SignedDuration::try_from(self.settings.settle).unwrap_or_default();
        let seen = at.checked_sub(settle).unwrap_or(at);
        let open: BTreeMap<usize, Vec<Measure>> = subjects
            .iter()
            .enumerate()
            .map(|(index, subject)| (index, self.ledger.decide(subject)))
            .filter(|(_, open)| !open.is_empty())
            .collect();
        let mut errors = self.search(subjects, &open, seen).await;
        let reads: Vec<_> = subjects.iter().map(|subject| self.ledger.reads(subject)).collect();
        let lookback = self.settings.stale_after + self.settings.interval;
        let asks = query::asks(subjects, &reads, lookback);
        let told = join_all(asks.into_iter().map(|ask| self.run(ask, seen))).await;

        let mut tracks: Vec<Vec<Track>> = subjects.iter().map(|_| Vec::new()).collect();
        let mut warnings: HashMap<usize, String> = HashMap::new();
        let mut answered: HashSet<usize> = HashSet::new();
        for Told { subjects: asked, answer } in told.into_iter().flatten() {
            match answer {
                Err(error) => errors.extend(asked.into_iter().map(|i| (i, error.clone()))),
                Ok(answer) => {
                    answered.extend(&asked);
                    if !answer.warnings.is_empty() {
                        let text = format!("{} warns: {}", self.shown, answer.warnings.join("; "));
                        warnings.extend(asked.iter().map(|i| (*i, text.clone())));
                    }
                    if let Data::Matrix(matrix) = answer.data {
                        reply::split(matrix, subjects, &asked, &mut tracks);
                    }
                }
            }
        }
        let mut measured = Vec::with_capacity(subjects.len());
        for (index, subject) in subjects.iter().enumerate() {
            let failed = errors.remove(&index);
            let result = match failed {
                Some(error) if !answered.contains(&index) => Err(error),
                failed => {
                    let wrong = Wrong {
                        hold: warnings.remove(&index),
                        note: failed.map(|error| error.text),
                    };
                    Ok(self.one(subject, at, &reads[index], &tracks[index], wrong))
                }
            };
            measured.push(Measured { subject: subject.id.clone(), result });
        }
        measured
    }

    fn one(
        &self,
        subject: &Subject,
        at: Timestamp,
        reads: &[(String, crate::reads::Reads)],
        tracks: &[Track],
        wrong: Wrong,
    ) -> (Scrape, Completeness) {
        let rounds: Vec<Round<'_>> = reads
            .iter()
            .map(|(check, reads)| Round { check, reads, found: reply::found(tracks, reads) })
            .collect();
        let stale_after = self.settings.stale_after + self.settings.settle;
        self.ledger.settle(subject, at, &rounds, stale_after, wrong)
    }
}

impl MetricProvider for Prometheus {
    fn measure<'a>(
        &'a self,
        subjects: &'a [Subject],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Measured>> {
        self.all(subjects, at).boxed()
    }

    fn chosen(&self, subject: &str) -> Vec<Choice> {
        self.ledger.choices(subject)
    }

    fn forget(&self, subject: &str) {
        self.ledger.forget(subject);
        self.searched.lock().unwrap_or_else(PoisonError::into_inner).remove(subject);
    }
}

/// A moment as the API takes it, in seconds since 1970.
fn seconds(at: Timestamp) -> String {
    let millis = at.as_millisecond();
    format!("{}.{:03}", millis.div_euclid(1_000), millis.rem_euclid(1_000))
}

/// The innermost cause, which is the one that says something to people.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = cause.to_string();
        next = cause.source();
    }
    text
}
