//! Any store that answers a GET with JSON.
//!
//! A query is a path and a query string below the address in serin.yaml, with `${from}`, `${to}` and `${step}`; where in
//! the answer the numbers are, serin.yaml says with JSON pointers (RFC 6901). The host, the scheme and the beginning
//! of the path are the configuration's alone: a policy comes out of a repository and must not reach anything else.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::ACCEPT;
use serde_json::Value;

use crate::error::FetchError;
use crate::http::Access;
use crate::stores::attempt::{Base, Bounds, words};
use crate::stores::limits::Limits;
use crate::stores::windows::Windows;
use crate::stores::wire::whole_step;
use crate::stores::{Pace, Reply, Store, StoredSeries, Window, moment, placeholders};
use crate::subject::{Measure, MeasureKind, Source};

/// How a query is written.
const EXAMPLE: &str =
    "`counts?metric=requests&version=${version}&from=${from}&to=${to}&step=${step}`";

/// How the store writes a moment, in its answers and in addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// RFC 3339, e.g. `2025-11-24T16:00:00Z`.
    Rfc3339,
}

/// Where the numbers are. Each is a JSON pointer; an empty one is the value itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointers {
    /// From the answer to a list of series, or to the only one.
    pub series: String,
    /// From a series to the name of its process. `None`: one process.
    pub instance: Option<String>,
    /// From a series to its list of rows. `None`: a series is one row.
    pub rows: Option<String>,
    /// From a row to the start of its interval, or to a list of them.
    pub time: String,
    /// From a row to its count, or to a list of as many.
    pub value: String,
    /// From the answer to an error that comes with a success: anything but null, `false` and an empty text.
    pub error: Option<String>,
    /// From the answer to a sign that it is incomplete: anything but null, `false` and an empty text or list.
    pub partial: Option<String>,
}

/// Where the store is, how it is asked and how its answers are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpJsonSettings {
    /// The address that every query is below, e.g. `https://metrics.example/api/`.
    pub url: String,
    /// How to be let in.
    pub access: Access,
    /// How moments are written.
    pub time: TimeFormat,
    /// Where the numbers are.
    pub pointers: JsonPointers,
    /// Length of an interval; whole seconds that divide an hour.
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
}

impl HttpJsonSettings {
    /// The defaults: intervals of 60 s, complete after 60 s.
    pub fn new(url: impl Into<String>, time: TimeFormat, pointers: JsonPointers) -> Self {
        Self {
            url: url.into(),
            access: Access::default(),
            time,
            pointers,
            step: Duration::from_secs(60),
            settle: Duration::from_secs(60),
            stale_after: Duration::from_secs(300),
            timeout: Duration::from_secs(5),
            max_bytes: 32 * 1_024 * 1_024,
        }
    }

    /// A source of observations; nothing is contacted.
    ///
    /// # Errors
    /// When the address, the access, a pointer or the step is not valid; permanent.
    pub fn provider(self) -> Result<Windows, FetchError> {
        HttpJson::new(self).map(Windows::new)
    }
}

/// A store that answers in JSON.
#[derive(Debug)]
pub(crate) struct HttpJson {
    base: Base,
    limits: Limits,
    pace: Pace,
    time: TimeFormat,
    pointers: JsonPointers,
}

impl HttpJson {
    /// Checks the settings; nothing is contacted.
    ///
    /// # Errors
    /// When the address, the access, a pointer or the step is not valid; permanent.
    pub(crate) fn new(settings: HttpJsonSettings) -> Result<Self, FetchError> {
        let HttpJsonSettings { time, pointers, step, settle, stale_after, .. } = settings;
        whole_step("the HTTP store", step)?;
        let JsonPointers { series, instance, rows, time: at, value, error, partial } = &pointers;
        let optional = [instance, rows, error, partial].into_iter().flatten();
        for pointer in [series, at, value].into_iter().chain(optional) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(FetchError::permanent(format!(
                    "{pointer:?} is no JSON pointer; write one like \"/data/series\""
                )));
            }
        }
        let bounds = Bounds { timeout: settings.timeout, max_bytes: settings.max_bytes };
        let base = Base::new("the HTTP store", &settings.url, settings.access, bounds)?;
        let pace = Pace { step, settle, stale_after, together: 4 };
        Ok(Self { base, limits: Limits::new(None), pace, time, pointers })
    }

    async fn one(&self, query: &str, window: Window) -> Result<Reply, FetchError> {
        let query = placeholders::fill(query, &self.written(window.from), &self.written(window.to));
        let url = below(self.base.url(), &query).map_err(FetchError::permanent)?;
        let request = self.base.client().get(url).header(ACCEPT, "application/json");
        let answer = self.base.ask(&self.limits, request).await?;
        if !answer.status.is_success() {
            return Err(self.base.refused(&answer, &words(&answer)));
        }
        self.decode(&answer.body)
    }

    fn written(&self, at: Timestamp) -> String {
        match self.time {
            TimeFormat::Seconds => at.as_second().to_string(),
            TimeFormat::Milliseconds => at.as_millisecond().to_string(),
            TimeFormat::Rfc3339 => at.to_string(),
        }
    }

    fn decode(&self, body: &[u8]) -> Result<Reply, FetchError> {
        let answer: Value =
            serde_json::from_slice(body).map_err(|error| self.base.broken(&error))?;
        let sign = |pointer: &Option<String>| told(answer.pointer(pointer.as_deref()?)?);
        if let Some(error) = sign(&self.pointers.error) {
            let (shown, error) = (self.base.shown(), self.base.hide(&error));
            return Err(FetchError::transient(format!("{shown} says: {error}")));
        }
        let incomplete = sign(&self.pointers.partial).map(|partial| {
            let pointer = self.pointers.partial.as_deref().unwrap_or_default();
            format!("{} says {pointer}: {}", self.base.shown(), self.base.hide(&partial))
        });
        let all = match answer.pointer(&self.pointers.series) {
            None => return Err(self.missing("series", &self.pointers.series)),
            Some(Value::Null) => &[],
            Some(Value::Array(all)) => all.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        let mut found: BTreeMap<Option<String>, Vec<(Timestamp, Option<f64>)>> = BTreeMap::new();
        for series in all {
            let instance = match &self.pointers.instance {
                None => None,
                Some(pointer) => Some(match series.pointer(pointer) {
                    Some(Value::String(name)) => name.clone(),
                    Some(Value::Number(name)) => name.to_string(),
                    Some(_) | None => return Err(self.missing("instance", pointer)),
                }),
            };
            let points = found.entry(instance).or_default();
            match &self.pointers.rows {
                None => self.row(series, points)?,
                Some(pointer) => {
                    let rows = series.pointer(pointer).and_then(Value::as_array);
                    for row in rows.ok_or_else(|| self.missing("rows", pointer))? {
                        self.row(row, points)?;
                    }
                }
            }
        }
        let series =
            found.into_iter().map(|(instance, points)| StoredSeries { instance, points }).collect();
        Ok(Reply { series, incomplete })
    }

    /// Adds one row, or as many as it has in its lists.
    fn row(
        &self,
        row: &Value,
        points: &mut Vec<(Timestamp, Option<f64>)>,
    ) -> Result<(), FetchError> {
        let JsonPointers { time, value, .. } = &self.pointers;
        let times = row.pointer(time).ok_or_else(|| self.missing("time", time))?;
        // A value that is left out is no data.
        let values = row.pointer(value).unwrap_or(&Value::Null);
        match (times, values) {
            (Value::Array(times), Value::Array(values)) if times.len() == values.len() => {
                for (time, value) in times.iter().zip(values) {
                    points.push((self.moment(time)?, self.number(value)?));
                }
            }
            (Value::Array(_), _) | (_, Value::Array(_)) => {
                return Err(self.base.unreadable("a row has not as many moments as values"));
            }
            (time, value) => points.push((self.moment(time)?, self.number(value)?)),
        }
        Ok(())
    }

    fn moment(&self, value: &Value) -> Result<Timestamp, FetchError> {
        let moment = match (self.time, value) {
            (TimeFormat::Seconds, Value::Number(at)) => moment::of_seconds(at),
            (TimeFormat::Milliseconds, Value::Number(at)) => moment::of_millis(at),
            (TimeFormat::Rfc3339, Value::String(at)) => moment::of_text(at),
            _ => None,
        };
        moment.ok_or_else(|| {
            self.base
                .unreadable(format!("{value} is no moment as serin.yaml says they are written"))
        })
    }

    /// A number, or a text of one, as some write to keep it exact.
    fn number(&self, value: &Value) -> Result<Option<f64>, FetchError> {
        match value {
            Value::Null => Ok(None),
            Value::Number(number) => Ok(number.as_f64()),
            Value::String(text) => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.base.unreadable(format!("{text:?} is no number"))),
            },
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(self.base.unreadable("a value is no number"))
            }
        }
    }

    fn missing(&self, what: &str, pointer: &str) -> FetchError {
        self.base.unreadable(format!("nothing fits the pointer {pointer:?} of `{what}`"))
    }
}

impl Store for HttpJson {
    fn shown(&self) -> &str {
        self.base.shown()
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn usual(&self, _kind: MeasureKind) -> Result<Source, String> {
        Err(format!(
            "an HTTP store has no usual queries; write them into the policy, each a path below {} like {EXAMPLE}",
            self.base.shown()
        ))
    }

    fn quote(&self, value: &str) -> Result<String, String> {
        // A server may decode before it resolves them.
        if value.contains("..") {
            return Err(format!(
                "the value {value:?} holds \"..\", which may lead elsewhere; use another label"
            ));
        }
        let mut quoted = String::with_capacity(value.len());
        for byte in placeholders::without(value, &[], "an address")?.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                quoted.push(char::from(byte));
            } else {
                quoted.push_str(&format!("%{byte:02X}"));
            }
        }
        Ok(quoted)
    }

    fn ask<'a>(
        &'a self,
        queries: &'a [String],
        window: Window,
    ) -> BoxFuture<'a, Vec<Result<Reply, FetchError>>> {
        join_all(queries.iter().map(move |query| self.one(query, window))).boxed()
    }

    fn check(&self, measure: &Measure) -> Result<(), String> {
        placeholders::queries(measure, "an HTTP store")?.into_iter().try_for_each(|query| {
            placeholders::is_windowed(query, EXAMPLE)?;
            below(self.base.url(), query).map(drop)
        })
    }

    fn limits(&self) -> Option<&Limits> {
        Some(&self.limits)
    }
}

/// The address of a query, which is below the store's own.
///
/// # Errors
/// When it leads anywhere else.
fn below(base: &Url, query: &str) -> Result<Url, String> {
    let mut root = base.clone();
    if !root.path().ends_with('/') {
        let path = format!("{}/", root.path());
        root.set_path(&path);
    }
    let query = query.trim();
    let relative = query.strip_prefix('/').unwrap_or(query);
    let url = root.join(relative).map_err(|error| {
        format!("the query {query:?} is no path below {root}: {error}; write it like {EXAMPLE}")
    })?;
    let origin =
        |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port());
    let is_same =
        origin(&url) == origin(&root) && url.username().is_empty() && url.password().is_none();
    if !is_same || !url.path().starts_with(root.path()) {
        return Err(format!(
            "the query {query:?} leads away from {root}, which serin.yaml sets; write a path below it like {EXAMPLE}"
        ));
    }
    if url.fragment().is_some() {
        return Err(format!("the query {query:?} has a `#`; write %23"));
    }
    Ok(url)
}

/// What a sign says, if it says anything.
fn told(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Array(list) => (!list.is_empty()).then(|| value.to_string()),
        Value::Bool(true) | Value::Number(_) | Value::Object(_) => Some(value.to_string()),
    }
}

#[cfg(test)]
mod tests;
