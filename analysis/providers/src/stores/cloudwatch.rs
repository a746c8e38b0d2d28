//! Amazon `CloudWatch`: counts per minute by `GetMetricData`.
//!
//! API: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html>, version
//! 2010-08-01, over the AWS JSON 1.0 protocol
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-protocols-faq.html>).
//!
//! A query of a policy is one of two:
//! - a metric as JSON, `{"Namespace": "AWS/ApplicationELB", "MetricName": "RequestCount", "Dimensions":
//!   {"LoadBalancer": "app/shop/50dc6c495c0c9188", "TargetGroup": "${targetGroup}"}, "Stat": "Sum"}`, with all its
//!   dimensions;
//! - an expression that needs no other query: metric math over `SEARCH`, or Metrics Insights
//!   (`SELECT SUM(RequestCount) FROM ... GROUP BY ...`, whose group is the instance). AWS takes one of the
//!   latter per request, so each is a request by itself.
//!
//! AWS bills each metric of each request.

mod query;
mod reply;

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join, join_all};
use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;

use self::query::Query;
use self::reply::{Collected, Trouble};
use crate::error::FetchError;
use crate::http::Access;
use crate::sigv4::{self, AwsCredentials, Unsigned};
use crate::stores::attempt::{Base, Bounds};
use crate::stores::limits::Limits;
use crate::stores::placeholders::Strings;
use crate::stores::windows::Windows;
use crate::stores::{Pace, Reply, Store, Window, placeholders};
use crate::subject::{Measure, MeasureKind, Source};

/// What AWS calls this operation.
const TARGET: &str = "GraniteServiceVersion20100801.GetMetricData";
/// The content type of the protocol.
const JSON: &str = "application/x-amz-json-1.0";
/// Most queries in one request, by AWS.
const TOGETHER: usize = 500;
/// Most pages of one answer; one page holds 100,800 values.
const PAGES: usize = 20;

/// Strings of metric math and of Metrics Insights, which have no comments.
const EXPRESSION: Strings =
    Strings { marks: &['\'', '"'], others: &[], backslash: false, comment: "\0" };

/// Which `CloudWatch` is asked and how.
#[derive(Debug, Clone)]
pub struct CloudWatchSettings {
    /// The region, e.g. `eu-central-1`.
    pub region: String,
    /// An address of its own, e.g. of a VPC endpoint. `None`: the region's public one.
    pub endpoint: Option<String>,
    /// Keys with the permission `cloudwatch:GetMetricData`.
    pub credentials: AwsCredentials,
    /// Length of an interval: 60 s, or 1, 5, 10 or 30 s where the metric has them, or a multiple of 60 s.
    pub step: Duration,
    /// How long after its end an interval is complete.
    pub settle: Duration,
    /// When the newest interval with data of an arm is so much older than the last complete one, the arm is
    /// stale.
    pub stale_after: Duration,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Longest answer in bytes.
    pub max_bytes: usize,
    /// The wall clock, which dates the signature.
    pub clock: fn() -> Timestamp,
}

impl CloudWatchSettings {
    /// The defaults: intervals of 60 s, complete after 180 s.
    pub fn new(
        region: impl Into<String>,
        credentials: AwsCredentials,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            region: region.into(),
            endpoint: None,
            credentials,
            step: Duration::from_secs(60),
            settle: Duration::from_secs(180),
            stale_after: Duration::from_secs(600),
            timeout: Duration::from_secs(10),
            max_bytes: 32 * 1_024 * 1_024,
            clock,
        }
    }
}

impl CloudWatchSettings {
    /// A source of observations; nothing is contacted.
    ///
    /// # Errors
    /// When the region, the endpoint or the step is not valid; permanent.
    pub fn provider(self) -> Result<Windows, FetchError> {
        CloudWatch::new(self).map(Windows::new)
    }
}

/// `CloudWatch` in one region.
#[derive(Debug)]
pub(crate) struct CloudWatch {
    base: Base,
    limits: Limits,
    settings: CloudWatchSettings,
}

/// A query with its place among those that were asked.
type Placed = (usize, Query);
/// A result with the place of its query.
type Told = (usize, Result<Reply, FetchError>);

impl CloudWatch {
    /// Checks the settings; nothing is contacted.
    ///
    /// # Errors
    /// When the region, the endpoint or the step is not valid; permanent.
    pub(crate) fn new(settings: CloudWatchSettings) -> Result<Self, FetchError> {
        let region = &settings.region;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if region.is_empty() || !region.chars().all(plain) {
            return Err(FetchError::permanent(format!(
                "{region:?} is no region of AWS; write one like eu-central-1"
            )));
        }
        let seconds = settings.step.as_secs();
        let known =
            matches!(seconds, 1 | 5 | 10 | 30) || (seconds > 0 && seconds.is_multiple_of(60));
        if !known || settings.step.subsec_nanos() != 0 {
            return Err(FetchError::permanent(format!(
                "CloudWatch has no intervals of {:?}; write 1s, 5s, 10s, 30s or a multiple of 60s",
                settings.step
            )));
        }
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        let public = format!("https://monitoring.{region}.amazonaws.com{suffix}/");
        let url = settings.endpoint.as_deref().unwrap_or(&public);
        let bounds = Bounds { timeout: settings.timeout, max_bytes: settings.max_bytes };
        let base = Base::new("CloudWatch", url, Access::default(), bounds)?;
        let secrets =
            [Some(&settings.credentials.secret_key), settings.credentials.session_token.as_ref()];
        let base = base.hiding(secrets.into_iter().flatten().cloned());
        Ok(Self { base, limits: Limits::new(None), settings })
    }

    /// Asks for one page.
    async fn page(&self, body: &[u8]) -> Result<reply::Page, Trouble> {
        let url: &Url = self.base.url();
        let headers = [(CONTENT_TYPE.as_str(), JSON), ("x-amz-target", TARGET)];
        let request = Unsigned { method: "POST", url: url.as_str(), headers: &headers, body };
        let CloudWatchSettings { credentials, region, clock, .. } = &self.settings;
        let signed = sigv4::sign(request, credentials, region, "monitoring", clock())
            .map_err(Trouble::Other)?;
        let mut request = self.base.client().post(url.clone()).headers(signed);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = self.base.ask(&self.limits, request.body(body.to_vec())).await;
        let page = reply::page(&self.base, &answer.map_err(Trouble::Other)?);
        if let Err(Trouble::Throttled(_)) = page {
            self.limits.refused();
        }
        page
    }

    /// Asks for all pages of one request.
    async fn conversation(&self, batch: &[Placed], window: Window) -> Result<Collected, Trouble> {
        let mut collected = Collected::default();
        let mut token = None;
        let mut size = 0;
        for _ in 0..PAGES {
            let body = query::request(batch, window, token.as_deref());
            let page = self.page(&body).await?;
            size += page.size;
            if size > self.settings.max_bytes {
                let (shown, limit) = (self.base.shown(), self.settings.max_bytes);
                return Err(Trouble::Request(FetchError::permanent(format!(
                    "the answer of {shown} is longer than {limit} bytes"
                ))));
            }
            let next = collected.add(page);
            if next.is_none() || next == token {
                return Ok(collected);
            }
            token = next;
        }
        collected.cut(PAGES);
        Ok(collected)
    }

    /// Runs one request; when AWS refuses it as a whole, each half by itself, so that one wrong query does not
    /// take the data of the others.
    fn run(&self, mut batch: Vec<Placed>, window: Window) -> BoxFuture<'_, Vec<Told>> {
        async move {
            let timeout = self.settings.timeout;
            let asked = tokio::time::timeout(timeout, self.conversation(&batch, window)).await;
            let asked = asked.unwrap_or_else(|_| {
                let (shown, millis) = (self.base.shown(), timeout.as_millis());
                let text = format!("{shown} did not answer within {millis} ms");
                Err(Trouble::Other(FetchError::transient(text)))
            });
            match asked {
                Ok(collected) => collected.told(&self.base, &batch),
                Err(Trouble::Request(_)) if batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    let (mut told, more) =
                        join(self.run(batch, window), self.run(second, window)).await;
                    told.extend(more);
                    told
                }
                Err(
                    Trouble::Request(error) | Trouble::Throttled(error) | Trouble::Other(error),
                ) => batch.into_iter().map(|(at, _)| (at, Err(error.clone()))).collect(),
            }
        }
        .boxed()
    }

    async fn all(&self, queries: &[String], window: Window) -> Vec<Result<Reply, FetchError>> {
        let mut told: Vec<Told> = Vec::with_capacity(queries.len());
        let mut together: Vec<Placed> = Vec::new();
        let mut batches: Vec<Vec<Placed>> = Vec::new();
        for (at, text) in queries.iter().enumerate() {
            match Query::read(text) {
                Ok(query) if query.is_alone() => batches.push(vec![(at, query)]),
                Ok(query) => together.push((at, query)),
                Err(error) => told.push((at, Err(FetchError::permanent(error)))),
            }
        }
        while !together.is_empty() {
            let rest = together.split_off(together.len().min(TOGETHER));
            batches.push(std::mem::replace(&mut together, rest));
        }
        let asked = join_all(batches.into_iter().map(|batch| self.run(batch, window))).await;
        told.extend(asked.into_iter().flatten());
        told.sort_by_key(|(at, _)| *at);
        told.into_iter().map(|(_, result)| result).collect()
    }
}

impl Store for CloudWatch {
    fn shown(&self) -> &str {
        self.base.shown()
    }

    fn pace(&self) -> Pace {
        let CloudWatchSettings { step, settle, stale_after, .. } = self.settings;
        Pace { step, settle, stale_after, together: TOGETHER }
    }

    fn usual(&self, kind: MeasureKind) -> Result<Source, String> {
        query::usual(kind)
    }

    fn quote(&self, value: &str) -> Result<String, String> {
        placeholders::without(value, &['\'', '"', '\\'], "CloudWatch")
    }

    fn ask<'a>(
        &'a self,
        queries: &'a [String],
        window: Window,
    ) -> BoxFuture<'a, Vec<Result<Reply, FetchError>>> {
        self.all(queries, window).boxed()
    }

    fn check(&self, measure: &Measure) -> Result<(), String> {
        let queries = placeholders::queries(measure, "CloudWatch")?;
        queries.into_iter().try_for_each(|text| match Query::read(text)? {
            // JSON itself has them in strings.
            Query::Metric(_) => Ok(()),
            Query::Expression(text) => placeholders::inside_strings(&text, EXPRESSION),
        })
    }

    fn limits(&self) -> Option<&Limits> {
        Some(&self.limits)
    }
}

#[cfg(test)]
mod tests;
