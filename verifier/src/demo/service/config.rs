//! The file from which the demo's service learns what it does.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::query::Query;
use super::spans::Telemetry;

/// No request takes longer, however the latencies are configured: a stop of the service waits for
/// requests in flight.
pub(super) const LONGEST_LATENCY: Duration = Duration::from_secs(2);
/// A configuration is some ten lines; a larger file is another one.
const LARGEST_FILE: u64 = 64 * 1024;
/// Quantile 0.95 of the standard normal distribution: above it a request counts as slow.
const SLOW_FROM: f64 = 1.644_853_626_951_472_7;
/// Quantile 0.99 of the standard normal distribution.
pub(super) const P99: f64 = 2.326_347_874_040_840_8;

/// What one version of the service does, as its file in the checkout says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceConfig {
    /// Paths that are answered, each beginning with `/`; others are not found.
    pub routes: Vec<String>,
    /// Share of requests that fail with 500, from 0 to 1.
    #[serde(default)]
    pub error_share: f64,
    /// How long requests take.
    pub latency: Latency,
    /// Address that is asked once for each request; when it fails the answer is 502.
    #[serde(default)]
    pub dependency: Option<String>,
    /// A file beside this one with the query that looks prices up; without it no query is made.
    #[serde(default)]
    pub prices: Option<PathBuf>,
    /// What that file holds.
    #[serde(skip)]
    pub query: Option<Query>,
    /// Where in the repository its own faults stand.
    #[serde(skip)]
    pub lines: Lines,
    /// Where its spans go; not from the file, since each instance has its own name.
    #[serde(skip)]
    pub telemetry: Option<Telemetry>,
    /// The revision that the service says it is; not from the file, since a commit cannot name
    /// itself.
    #[serde(skip)]
    pub revision: Option<String>,
}

/// Lines of the configuration that spans name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// The configuration's file, as the service was told it.
    pub(super) file: String,
    /// Line of `errorShare`, from 1; 0 if it is not there.
    pub(super) error_share: u32,
    /// Line of `dependency`, likewise.
    pub(super) dependency: u32,
}

impl Lines {
    fn of(file: &Path, text: &str) -> Self {
        let line = |key: &str| {
            let lines = (1_u32..).zip(text.lines());
            let mut found = lines.filter(|(_, line)| line.trim_start().starts_with(key));
            found.next().map_or(0, |(line, _)| line)
        };
        let file = file.display().to_string();
        Self { file, error_share: line("errorShare:"), dependency: line("dependency:") }
    }
}

/// A log-normal distribution of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Latency {
    /// Half of all requests are faster; milliseconds above 0.
    pub median_ms: f64,
    /// One request in a hundred is slower; milliseconds, at least the median.
    pub p99_ms: f64,
    /// Factor by which the slowest one in a hundred are slower still, at least 1. It fades out to
    /// nothing at the 95th percentile, so the median stays where it is. Default 1.
    #[serde(default = "one")]
    pub slow_tail: f64,
}

fn one() -> f64 {
    1.0
}

impl ServiceConfig {
    /// A service without faults that answers these paths.
    pub fn new(routes: &[&str], latency: Latency) -> Self {
        Self {
            routes: routes.iter().map(|route| (*route).to_owned()).collect(),
            error_share: 0.0,
            latency,
            dependency: None,
            prices: None,
            query: None,
            lines: Lines::default(),
            telemetry: None,
            revision: None,
        }
    }

    /// Reads a configuration from a YAML or JSON file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not a configuration, or holds a value that makes no sense; the
    /// text names the file and the place.
    pub async fn read(path: &Path) -> io::Result<Self> {
        let wrong = |what: String| {
            let text = format!("{}: {what}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let text = whole(path).await.map_err(wrong)?;
        let mut config: Self = serde_saphyr::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        config.validate().map_err(wrong)?;
        config.lines = Lines::of(path, &text);
        if let Some(prices) = &config.prices {
            let file = path.parent().unwrap_or(Path::new("")).join(prices);
            let read = whole(&file).await.and_then(|text| Query::parse(&file, &text));
            let query =
                read.map_err(|what| wrong(format!("prices: {}: {what}", file.display())))?;
            config.query = Some(query);
        }
        Ok(config)
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        if self.routes.is_empty() || !self.routes.iter().all(|route| route.starts_with('/')) {
            return Err("routes: write at least one path, each beginning with `/`".to_owned());
        }
        if !(0.0..=1.0).contains(&self.error_share) {
            return Err(format!("errorShare: {} is not from 0 to 1", self.error_share));
        }
        let Latency { median_ms, p99_ms, slow_tail } = self.latency;
        let ordered = 0.0 < median_ms && median_ms <= p99_ms && p99_ms.is_finite();
        if !ordered {
            return Err("latency: write 0 < medianMs <= p99Ms".to_owned());
        }
        if !(1.0..=100.0).contains(&slow_tail) {
            return Err(format!("latency.slowTail: {slow_tail} is not from 1 to 100"));
        }
        Ok(())
    }
}

/// A file of some lines.
async fn whole(path: &Path) -> Result<String, String> {
    let metadata = tokio::fs::metadata(path).await.map_err(|error| error.to_string())?;
    if metadata.len() > LARGEST_FILE {
        return Err(format!("longer than {LARGEST_FILE} bytes"));
    }
    tokio::fs::read_to_string(path).await.map_err(|error| error.to_string())
}

impl Latency {
    /// The latency whose normal score is `z`: 0 for the median, 2.33 for the 99th percentile.
    pub(super) fn at(self, z: f64) -> Duration {
        let sigma = (self.p99_ms / self.median_ms).ln() / P99;
        let slow = ((z - SLOW_FROM) / (P99 - SLOW_FROM)).clamp(0.0, 1.0);
        let ms = self.median_ms * (sigma * z).exp() * (1.0 + (self.slow_tail - 1.0) * slow);
        Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(LONGEST_LATENCY).min(LONGEST_LATENCY)
    }
}
