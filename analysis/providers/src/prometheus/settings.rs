//! Where a Prometheus is, how it is asked, and how it lets Serin in.

use std::path::PathBuf;
use std::time::Duration;

use crate::http::Access;
use crate::sigv4::AwsCredentials;

/// Where Prometheus is and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusSettings {
    /// Its address, e.g. `http://prometheus:9090` or `https://mimir.example/prometheus`.
    pub url: String,
    /// How to be let in: token, password, `X-Scope-OrgID`.
    pub access: Access,
    /// How to be let in where that changes from request to request; instead of credentials in `access`.
    pub login: Login,
    /// How often it scrapes the services; 1 s or more.
    pub interval: Duration,
    /// Samples younger than this are not looked at yet. Zero suits Prometheus itself, which shows a
    /// scrape whole or not at all; stores that are written to from afar (Mimir, Thanos, Amazon's and
    /// Google's, `VictoriaMetrics` behind its agent) need some 30 s.
    pub settle: Duration,
    /// When the newest sample of an arm is older, the arm is stale; some five intervals.
    pub stale_after: Duration,
    /// Longest time for one query.
    pub timeout: Duration,
    /// Longest answer in bytes. With 10,000 live deployments one answer has some 40 MB for errors alone; above
    /// the limit the same is asked in parts.
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
            login: Login::Fixed,
            interval,
            settle: Duration::ZERO,
            stale_after: interval * 5,
            timeout: Duration::from_secs(5),
            max_bytes: 64 * 1_024 * 1_024,
            concurrency: 16,
        }
    }
}

/// Credentials that are made anew for each request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// None: what `access` holds is all.
    #[default]
    Fixed,
    /// A bearer token in a file, read again for each request, since others renew it: a Kubernetes service
    /// account's token, or what `gcloud auth print-access-token` wrote for Google's managed Prometheus.
    TokenFile(PathBuf),
    /// AWS Signature Version 4 for Amazon Managed Service for Prometheus; the address then ends with
    /// `/workspaces/ws-...`.
    SigV4 {
        /// The keys.
        credentials: AwsCredentials,
        /// E.g. `eu-central-1`.
        region: String,
    },
}
