//! Whose samples are whose: an answer is split by the labels that tell the arms, and becomes readings.

use std::collections::{BTreeMap, HashMap};

use analysis::Arm;
use jiff::{SignedDuration, Timestamp};

use super::query::selects;
use super::reply::Samples;
use crate::counters::Reading;
use crate::ledger::Found;
use crate::page::STARTED;
use crate::reads::native::NativeHistogram;
use crate::reads::{Key, Reads, Values};
use crate::selector::Series;
use crate::subject::Subject;

/// The samples of one series of one instance of a subject.
#[derive(Debug, Clone)]
pub(super) struct Track {
    pub(super) arm: Arm,
    instance: String,
    /// Which scrape job or replica brought it.
    source: String,
    pub(super) series: Series,
    samples: Vec<(Timestamp, f64)>,
    pub(super) histograms: Vec<(Timestamp, NativeHistogram)>,
}

/// Labels of the scrape and not of the process: the same counters scraped twice differ in these.
const SCRAPE_LABELS: &[&str] =
    &["__replica__", "job", "prometheus", "prometheus_replica", "receive_replica"];

/// Scrapes of the same process by two replicas that are further apart than this are not alike.
const NEAR: SignedDuration = SignedDuration::from_secs(60);

/// Subject and instance by the values of the labels that tell the arms.
type Owners<'a> = HashMap<Vec<&'a str>, Vec<(usize, usize)>>;

/// Splits a result by the labels of the arms.
pub(super) fn split(
    all: Vec<Samples>,
    subjects: &[Subject],
    asked: &[usize],
    tracks: &mut [Vec<Track>],
) {
    // By the values of the labels that tell the arms, so that a result of thousands of series for
    // thousands of subjects is not searched instance by instance.
    let mut owners: HashMap<Vec<&str>, Owners<'_>> = HashMap::new();
    for index in asked {
        for (place, instance) in subjects[*index].instances.iter().enumerate() {
            let names: Vec<&str> = instance.labels.keys().map(String::as_str).collect();
            let values = instance.labels.values().map(String::as_str).collect();
            owners.entry(names).or_default().entry(values).or_default().push((*index, place));
        }
    }
    for Samples { series, numbers, histograms } in all {
        let mut found: Vec<(usize, usize)> = Vec::new();
        for (names, by_values) in &owners {
            let values: Vec<&str> = names.iter().map(|name| series.label(name)).collect();
            found.extend(by_values.get(&values).into_iter().flatten());
        }
        if found.is_empty() {
            continue;
        }
        let stamped = numbers.into_iter().filter_map(|(at, value)| Some((moment(at)?, value)));
        let samples: Vec<(Timestamp, f64)> = stamped.collect();
        let stamped = histograms.into_iter().filter_map(|(at, value)| Some((moment(at)?, value)));
        let histograms: Vec<(Timestamp, NativeHistogram)> = stamped.collect();
        for (index, place) in found {
            let instance = &subjects[index].instances[place];
            debug_assert!(selects(instance, &series), "the index follows the selector");
            tracks[index].push(Track {
                arm: instance.arm,
                instance: process(&series).unwrap_or_else(|| instance.name.clone()),
                source: source(&series),
                series: without_scrape_labels(&series),
                samples: samples.clone(),
                histograms: histograms.clone(),
            });
        }
    }
}

/// The process or pod that counted, as the usual labels tell.
fn process(series: &Series) -> Option<String> {
    let own = ["pod", "instance"].iter().map(|label| series.label(label));
    own.filter(|value| !value.is_empty()).map(str::to_owned).next()
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
pub(super) fn found<'a>(tracks: impl IntoIterator<Item = &'a Track>, reads: &Reads) -> Vec<Found> {
    let mut instances: BTreeMap<(Arm, &str), BTreeMap<&str, Vec<&Track>>> = BTreeMap::new();
    let wanted = |t: &&Track| reads.wants(&t.series.name) || t.series.name == STARTED;
    for track in tracks.into_iter().filter(wanted) {
        let sources = instances.entry((track.arm, &track.instance)).or_default();
        sources.entry(&track.source).or_default().push(track);
    }
    let mut all = Vec::new();
    for ((arm, instance), sources) in instances {
        let counts = |tracks: &Vec<&Track>| tracks.iter().any(|t| reads.wants(&t.series.name));
        let newest = |tracks: &Vec<&Track>| {
            let counters = tracks.iter().filter(|t| reads.wants(&t.series.name));
            counters.filter_map(|t| t.newest()).max()
        };
        // The same process scraped by two jobs or two replicas counts once: the freshest is read,
        // the first by name while they are alike within a few scrapes.
        let freshest = sources.values().filter_map(newest).max();
        let near = |at: Timestamp| freshest.is_some_and(|f| f.duration_since(at) <= NEAR);
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

impl Track {
    fn newest(&self) -> Option<Timestamp> {
        let number = self.samples.last().map(|(at, _)| *at);
        number.max(self.histograms.last().map(|(at, _)| *at))
    }
}

/// The readings of one instance, and what is wrong with those that are left out.
fn readings(tracks: &[&Track], reads: &Reads) -> (Vec<Reading<Key>>, Option<String>) {
    let mut moments: BTreeMap<Timestamp, Result<Values, String>> = BTreeMap::new();
    let mut started: BTreeMap<Timestamp, f64> = BTreeMap::new();
    for track in tracks {
        let is_start = track.series.name == STARTED;
        let keys = reads.keys(&track.series);
        for (at, value) in &track.samples {
            if is_start {
                // `VictoriaMetrics` shows a process that is gone by a NaN.
                if !value.is_finite() {
                    continue;
                }
                started.insert(*at, *value);
                if !reads.counts_restarts() {
                    continue;
                }
            }
            let moment = moments.entry(*at).or_insert_with(|| Ok(Values::new()));
            match (moment, &keys) {
                (Ok(values), Ok(keys)) => {
                    let kept =
                        keys.iter().map(|key| (key.clone(), Reads::kept(key, (*value).into())));
                    values.extend(kept);
                }
                (moment, Err(problem)) => *moment = Err(problem.clone()),
                (Err(_), Ok(_)) => {}
            }
        }
        for (at, histogram) in &track.histograms {
            let moment = moments.entry(*at).or_insert_with(|| Ok(Values::new()));
            if let Ok(values) = moment {
                reads.put_native(values, &track.series, histogram);
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

/// What a query of a single value told of one check's arms.
pub(super) fn gauges(tracks: &[Track]) -> Vec<Found> {
    let mut instances: BTreeMap<(Arm, &str), BTreeMap<Timestamp, Values>> = BTreeMap::new();
    for track in tracks {
        let moments = instances.entry((track.arm, &track.instance)).or_default();
        for (at, value) in &track.samples {
            Reads::put_value(moments.entry(*at).or_default(), &track.series, *value);
        }
    }
    let found = instances.into_iter().map(|((arm, instance), moments)| Found {
        arm,
        instance: instance.to_owned(),
        readings: moments
            .into_iter()
            .map(|(at, values)| Reading { at, started: None, values })
            .collect(),
        problem: None,
    });
    found.collect()
}
