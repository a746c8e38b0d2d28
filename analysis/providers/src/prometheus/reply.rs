//! What Prometheus answers: the envelope, the samples of each instance, and readings made of them.

use std::collections::{BTreeMap, HashMap};

use analysis::Arm;
use jiff::Timestamp;
use prometheus_http_query::response::{Data, PromqlResult, RangeVector};
use reqwest::StatusCode;
use serde::Deserialize;

use super::query::selects;
use crate::counters::Reading;
use crate::error::{FetchError, bounded};
use crate::http;
use crate::ledger::Found;
use crate::page::STARTED;
use crate::reads::{Key, Reads, Values};
use crate::selector::Series;
use crate::subject::Subject;

/// An answer that is no error.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) data: Data,
    /// The store's own word that something may be missing.
    pub(super) warnings: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Too much was asked for, or wrongly; the same for fewer subjects may be answered.
    Excessive(FetchError),
    /// Anything else.
    Other(FetchError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    data: Option<PromqlResult>,
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

/// Reads an answer.
pub(super) fn decode(
    status: StatusCode,
    body: &[u8],
    query: &str,
    shown: &str,
) -> Result<Answer, Failure> {
    if matches!(status.as_u16(), 401 | 403) {
        let error = http::refused(status, shown, "; set the provider's credentials");
        return Err(Failure::Other(error));
    }
    let envelope: Envelope = serde_json::from_slice(body)
        .map_err(|error| Failure::Other(unreadable(status, &error, shown)))?;
    match (envelope.status.as_str(), envelope.data) {
        ("success", Some(data)) => {
            let warnings = envelope.warnings.unwrap_or_default();
            Ok(Answer { data: data.into_inner().0, warnings })
        }
        ("success", None) => {
            Err(Failure::Other(FetchError::transient(format!("{shown} answered without data"))))
        }
        _ => {
            let kind = envelope.error_type.unwrap_or_else(|| status.to_string());
            let error = bounded(envelope.error.unwrap_or_else(|| "no reason given".to_owned()));
            let query = bounded(query.to_owned());
            let text = format!("{shown} refused a query ({kind}: {error}): {query}");
            Err(match kind.as_str() {
                "bad_data" => Failure::Excessive(FetchError::permanent(format!(
                    "{text}; hint: check the labels and the query that the policy writes"
                ))),
                "execution" => Failure::Excessive(FetchError::permanent(format!(
                    "{text}; hint: select fewer series, or raise the store's limits"
                ))),
                "not_found" => Failure::Other(FetchError::permanent(text)),
                _ => Failure::Other(FetchError::transient(text)),
            })
        }
    }
}

/// What a body that is not of the query API means.
fn unreadable(status: StatusCode, error: &serde_json::Error, shown: &str) -> FetchError {
    if status == StatusCode::NOT_FOUND {
        let hint = "; set the address under which /api/v1/query is found";
        return http::refused(status, shown, hint);
    }
    if !status.is_success() {
        return http::refused(status, shown, "");
    }
    FetchError::transient(if error.is_eof() {
        format!("the answer of {shown} broke off")
    } else {
        format!("{shown} answered what the query API does not: {}", bounded(error.to_string()))
    })
}

/// A series from the labels of a result.
pub(super) fn series(mut labels: HashMap<String, String>) -> Series {
    let name = labels.remove("__name__").unwrap_or_default();
    Series::new(name, labels.into_iter().collect())
}

/// The samples of one series of one instance of a subject.
#[derive(Debug)]
pub(super) struct Track {
    arm: Arm,
    instance: String,
    /// Which scrape job or replica brought it.
    source: String,
    series: Series,
    samples: Vec<(Timestamp, f64)>,
}

/// Labels of the scrape and not of the process: the same counters scraped twice differ in these.
const SCRAPE_LABELS: &[&str] = &["__replica__", "job", "prometheus", "prometheus_replica"];

/// Subject and instance by the values of the labels that tell the arms.
type Owners<'a> = HashMap<Vec<&'a str>, Vec<(usize, usize)>>;

/// Splits a result by the labels of the arms.
pub(super) fn split(
    matrix: Vec<RangeVector>,
    subjects: &[Subject],
    asked: &[usize],
    tracks: &mut [Vec<Track>],
) {
    // By the values of the labels that tell the arms, so that a result of thousands of series for
    // fifty subjects is not searched instance by instance.
    let mut owners: HashMap<&Vec<String>, Owners<'_>> = HashMap::new();
    let key_names: Vec<Vec<Vec<String>>> = asked
        .iter()
        .map(|index| {
            let instances = &subjects[*index].instances;
            instances.iter().map(|i| i.labels.keys().cloned().collect()).collect()
        })
        .collect();
    for (index, names) in asked.iter().zip(&key_names) {
        for (place, (instance, names)) in subjects[*index].instances.iter().zip(names).enumerate() {
            let values = instance.labels.values().map(String::as_str).collect();
            owners.entry(names).or_default().entry(values).or_default().push((*index, place));
        }
    }
    for vector in matrix {
        let (labels, samples) = vector.into_inner();
        let series = series(labels);
        let samples: Vec<(Timestamp, f64)> =
            samples.iter().filter_map(|s| Some((moment(s.timestamp())?, s.value()))).collect();
        for (names, by_values) in &owners {
            let values: Vec<&str> = names.iter().map(|name| series.label(name)).collect();
            for (index, place) in by_values.get(&values).into_iter().flatten() {
                let instance = &subjects[*index].instances[*place];
                debug_assert!(selects(instance, &series), "the index follows the selector");
                tracks[*index].push(Track {
                    arm: instance.arm,
                    instance: process(&series).unwrap_or_else(|| instance.name.clone()),
                    source: source(&series),
                    series: without_scrape_labels(&series),
                    samples: samples.clone(),
                });
            }
        }
    }
}

/// The process or pod that counted, as the usual labels tell.
fn process(series: &Series) -> Option<String> {
    let own = ["pod", "instance"].iter().map(|label| series.label(label));
    let parts: Vec<&str> = own.filter(|value| !value.is_empty()).collect();
    parts.first().map(|first| (*first).to_owned())
}

fn source(series: &Series) -> String {
    let of = SCRAPE_LABELS.iter().chain(&["instance"]).map(|label| series.label(label));
    of.collect::<Vec<_>>().join("\u{1}")
}

fn without_scrape_labels(series: &Series) -> Series {
    let kept = series.labels.iter().filter(|(label, _)| !SCRAPE_LABELS.contains(&label.as_str()));
    Series { name: series.name.clone(), labels: kept.cloned().collect() }
}

fn moment(seconds: f64) -> Option<Timestamp> {
    // Scrapes are kept to the millisecond; rounding makes equal moments equal.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "out of range saturates and is refused then"
    )]
    let millis = (seconds * 1_000.0).round() as i64;
    Timestamp::from_millisecond(millis).ok()
}

/// What every instance said for one check: the samples of one moment make one reading.
pub(super) fn found(tracks: &[Track], reads: &Reads) -> Vec<Found> {
    let mut instances: BTreeMap<(Arm, &str), BTreeMap<&str, Vec<&Track>>> = BTreeMap::new();
    for track in tracks.iter().filter(|t| reads.wants(&t.series.name) || t.series.name == STARTED) {
        let sources = instances.entry((track.arm, &track.instance)).or_default();
        sources.entry(&track.source).or_default().push(track);
    }
    let mut all = Vec::new();
    for ((arm, instance), sources) in instances {
        let counts = |tracks: &Vec<&Track>| tracks.iter().any(|t| reads.wants(&t.series.name));
        let newest = |tracks: &Vec<&Track>| {
            let counters = tracks.iter().filter(|t| reads.wants(&t.series.name));
            counters.filter_map(|t| t.samples.last().map(|(at, _)| *at)).max()
        };
        // The same process scraped by two jobs or two replicas counts once: the freshest is read,
        // the first by name while they are alike within a few scrapes.
        let freshest = sources.values().filter_map(newest).max();
        let near = |at: Timestamp| {
            freshest.is_some_and(|f| f.duration_since(at) <= jiff::SignedDuration::from_secs(60))
        };
        let chosen = sources
            .values()
            .filter(|tracks| counts(tracks))
            .find(|tracks| newest(tracks).is_some_and(near));
        let Some(tracks) = chosen else { continue };
        let (readings, problem) = readings(tracks, reads);
        all.push(Found { arm, instance: instance.to_owned(), readings, problem });
    }
    all
}

/// The readings of one instance, and what is wrong with those that are left out.
fn readings(tracks: &[&Track], reads: &Reads) -> (Vec<Reading<Key>>, Option<String>) {
    let mut moments: BTreeMap<Timestamp, Result<Values, String>> = BTreeMap::new();
    let mut started: BTreeMap<Timestamp, f64> = BTreeMap::new();
    for track in tracks {
        for (at, value) in &track.samples {
            if track.series.name == STARTED {
                started.insert(*at, *value);
                continue;
            }
            let moment = moments.entry(*at).or_insert_with(|| Ok(Values::new()));
            if let Ok(values) = moment
                && let Err(problem) = reads.put(values, &track.series, (*value).into())
            {
                *moment = Err(problem);
            }
        }
    }
    let (mut readings, mut problem) = (Vec::with_capacity(moments.len()), None);
    for (at, values) in moments {
        match values.and_then(|values| reads.validate(&values).map(|()| values)) {
            Ok(values) => {
                readings.push(Reading { at, started: started.get(&at).copied(), values });
            }
            Err(text) => problem = Some(text),
        }
    }
    (readings, problem)
}
