//! The embedded scraper: reads the metrics page of every instance of both arms itself.
//!
//! With it nothing else needs to be installed, and a version that fails is seen after one interval
//! instead of after the scrape interval and the delays of a store. One client keeps its connections;
//! each page has its own bound in time and size; an instance that did not answer the last time waits
//! in a lane of its own, so that a hundred dead ones take no place from the living.
//!
//! Pages are asked for as text, so there are no native histograms: these need the protobuf format, of which
//! client libraries show classic buckets as well when they are told to.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use analysis::{Arm, Scrape};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use tokio::sync::Semaphore;

use crate::counters::Reading;
use crate::error::{FetchError, Persistence};
use crate::families;
use crate::http::{self, Access, OnlyLoopback};
use crate::ledger::{Found, Ledger, Round, Wrong, named};
use crate::page::{Format, Page, PageReader, STARTED, created_name};
use crate::selector::Series;
use crate::subject::{Instance, Subject};
use crate::{Choice, Completeness, Measured, MetricProvider};

/// How the scraper behaves. The defaults suit pages on the same host or network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScraperSettings {
    /// Longest time for one page, from connecting to its last byte.
    pub timeout: Duration,
    /// Longest page in bytes, after decompression.
    pub max_bytes: usize,
    /// Most series of requests that one page may have.
    pub max_series: usize,
    /// Most pages read at once; as many again for instances that hung before.
    pub concurrency: usize,
    /// Pages with timestamps of their own that are older count as stale.
    pub stale_after: Duration,
    /// How to be let in, the same for all pages.
    pub access: Access,
}

impl Default for ScraperSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            max_bytes: 8 * 1_024 * 1_024,
            max_series: 50_000,
            concurrency: 128,
            stale_after: Duration::from_secs(60),
            access: Access::default(),
        }
    }
}

/// The embedded scraper.
#[derive(Debug)]
pub struct Scraper {
    client: reqwest::Client,
    settings: ScraperSettings,
    ledger: Ledger,
    lane: Semaphore,
    slow_lane: Semaphore,
    /// Addresses that hung the last time, with the subject that they belong to.
    hung: Mutex<HashMap<String, String>>,
}

/// OpenMetrics first, as it says when it ends and when counters began.
const ACCEPTED: &str =
    "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

impl Scraper {
    /// A scraper without counters yet.
    ///
    /// # Errors
    /// When the access headers are not valid; permanent.
    pub fn new(settings: ScraperSettings) -> Result<Self, FetchError> {
        Ok(Self {
            client: http::client(&settings.access, settings.timeout, OnlyLoopback::Yes)?,
            ledger: Ledger::default(),
            lane: Semaphore::new(settings.concurrency.max(1)),
            slow_lane: Semaphore::new(settings.concurrency.max(1)),
            hung: Mutex::default(),
            settings,
        })
    }

    async fn one(&self, subject: &Subject, at: Timestamp) -> Measured {
        let result = self.scrape(subject, at).await;
        Measured { subject: subject.id.clone(), result }
    }

    async fn scrape(
        &self,
        subject: &Subject,
        at: Timestamp,
    ) -> Result<(Scrape, Completeness), FetchError> {
        let open = self.ledger.decide(subject);
        let known = self.ledger.reads(subject);
        let wanted = |name: &str| {
            name == STARTED
                || known.iter().any(|(_, reads)| {
                    reads.wants(name)
                        || (name.ends_with("_created")
                            && reads.selectors().iter().any(|selector| {
                                created_name(&selector.name).is_some_and(|n| n == name)
                            }))
                })
                || (!open.is_empty()
                    && (families::is_candidate(name)
                        || name.strip_suffix("_created").is_some_and(|base| {
                            ["_total", "_count"]
                                .iter()
                                .any(|end| families::is_candidate(&format!("{base}{end}")))
                        })))
        };
        let pages = subject.instances.iter().map(|instance| {
            self.page(&subject.id, instance, wanted).map(move |page| (instance, page))
        });
        let pages: Vec<(&Instance, Result<Page, FetchError>)> = join_all(pages).await;
        if !pages.is_empty() && pages.iter().all(|(_, page)| page.is_err()) {
            return Err(none_answered(subject, &pages));
        }
        for measure in &open {
            let arms = [Arm::Baseline, Arm::Canary]
                .into_iter()
                .filter(|arm| subject.instances.iter().any(|instance| instance.arm == *arm))
                .map(|arm| {
                    let of_arm = pages.iter().filter(|(instance, _)| instance.arm == arm);
                    let series = of_arm.filter_map(|(_, page)| page.as_ref().ok());
                    series.flat_map(Page::series).cloned().collect::<Vec<Series>>()
                })
                .collect::<Vec<_>>();
            self.ledger.choose_from(&subject.id, measure, &arms);
        }
        let reads = self.ledger.reads(subject);
        let rounds: Vec<Round<'_>> = reads
            .iter()
            .map(|(check, reads)| Round {
                check,
                reads,
                found: pages
                    .iter()
                    .map(|(instance, page)| found(instance, page, reads, at))
                    .collect(),
            })
            .collect();
        let stale_after = self.settings.stale_after;
        Ok(self.ledger.settle(subject, at, &rounds, stale_after, Wrong::default()))
    }

    /// One instance's page. Dropping it half-way is safe.
    async fn page(
        &self,
        subject: &str,
        instance: &Instance,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Page, FetchError> {
        let Some(url) = &instance.url else {
            return Err(FetchError::permanent("it has no address of a metrics page"));
        };
        let hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner).contains_key(url);
        let lane = if hung { &self.slow_lane } else { &self.lane };
        let busy = || {
            let shown = http::shown(url);
            FetchError::transient(format!("{shown} was not asked: too many pages are being read"))
        };
        let _place = tokio::time::timeout(self.settings.timeout, lane.acquire())
            .await
            .map_err(|_| busy())?
            .map_err(|_| busy())?;
        let read = tokio::time::timeout(self.settings.timeout, self.read(url, wanted)).await;
        let mut all_hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(result) = read {
            all_hung.remove(url);
            return result;
        }
        all_hung.insert(url.clone(), subject.to_owned());
        let (url, timeout) = (http::shown(url), self.settings.timeout.as_millis());
        Err(FetchError::transient(format!("{url} did not answer within {timeout} ms")))
    }

    async fn read(&self, url: &str, wanted: impl Fn(&str) -> bool) -> Result<Page, FetchError> {
        let explain = |error| http::explain(error, url, self.settings.timeout);
        let mut response =
            self.client.get(url).header(ACCEPT, ACCEPTED).send().await.map_err(explain)?;
        let status = response.status();
        if !status.is_success() {
            let hint = match status.as_u16() {
                401 | 403 => "; set the scraper's credentials",
                404 => "; set the path of the metrics page",
                300..=399 => "; set the address that it redirects to",
                _ => "",
            };
            return Err(http::refused(status, url, hint));
        }
        let content = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let format = match content {
            Some(text) if text.trim_start().starts_with("application/openmetrics-text") => {
                Format::OpenMetrics
            }
            Some(_) | None => Format::Text,
        };
        let refuse = |cause: &dyn std::fmt::Display| {
            FetchError::permanent(format!("the page {}: {cause}", http::shown(url)))
        };
        let mut reader = PageReader::new(wanted, self.settings.max_series);
        let mut length = 0;
        while let Some(chunk) = response.chunk().await.map_err(explain)? {
            length += chunk.len();
            if length > self.settings.max_bytes {
                let limit = self.settings.max_bytes;
                return Err(refuse(&format_args!("it is longer than {limit} bytes")));
            }
            reader.feed(&chunk).map_err(|error| refuse(&error))?;
        }
        reader.finish(format).map_err(|error| refuse(&error))
    }
}

impl MetricProvider for Scraper {
    fn measure<'a>(
        &'a self,
        subjects: &'a [Subject],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Measured>> {
        join_all(subjects.iter().map(move |subject| self.one(subject, at))).boxed()
    }

    fn chosen(&self, subject: &str) -> Vec<Choice> {
        self.ledger.choices(subject)
    }

    fn forget(&self, subject: &str) {
        self.ledger.forget(subject);
        let mut hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        hung.retain(|_, owner| owner != subject);
    }
}

/// What one page says for one check.
fn found(
    instance: &Instance,
    page: &Result<Page, FetchError>,
    reads: &crate::reads::Reads,
    at: Timestamp,
) -> Found {
    let read = page.as_ref().map_err(|error| error.text.clone()).and_then(|page| {
        let (values, stamp) = page.values(reads)?;
        // A page may carry its own timestamps; never later than now.
        let at = stamp.map_or(at, |stamp| stamp.min(at));
        Ok(Reading { at, started: page.started(), values })
    });
    let (readings, problem) = match read {
        Ok(reading) => (vec![reading], None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    Found { arm: instance.arm, instance: instance.name.clone(), readings, problem }
}

/// The error when no instance at all could be read.
fn none_answered(subject: &Subject, pages: &[(&Instance, Result<Page, FetchError>)]) -> FetchError {
    let errors = || pages.iter().filter_map(|(i, page)| page.as_ref().err().map(|e| (i, e)));
    let texts: Vec<String> =
        errors().map(|(i, e)| format!("{} {}: {}", named(i.arm), i.name, e.text)).collect();
    let text = format!("no metrics of {}: {}", subject.service, texts.join("; "));
    if errors().any(|(_, error)| error.persistence == Persistence::Transient) {
        FetchError::transient(text)
    } else {
        FetchError::permanent(text)
    }
}
