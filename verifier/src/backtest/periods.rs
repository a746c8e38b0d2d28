//! From what each version counted to past deployments and quiet periods.
//!
//! Two versions with data at the same time are a deployment, whose canary is the one that appeared later; a version
//! with data alone is quiet. A version without data for five minutes has gone, as for the engine.

use std::collections::BTreeSet;
use std::time::Duration;

use analysis::{Arm, Observation, Sample, Scrape};

use super::report::Version;
use super::{Timeline, Track};

/// Without data for longer than this a version has gone.
const GONE: Duration = Duration::from_mins(5);

/// Quiet periods of fewer moments say nothing.
const SHORTEST: usize = 10;

/// A time in which a version had data; both ends are in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stay<'a> {
    pub(super) track: &'a Track,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Two versions at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deployment<'a> {
    pub(super) canary: &'a Track,
    pub(super) baseline: &'a Track,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) guessed: bool,
}

/// What the past consists of.
#[derive(Debug)]
pub(super) struct Periods<'a> {
    pub(super) deployments: Vec<Deployment<'a>>,
    pub(super) quiet: Vec<Stay<'a>>,
}

pub(super) fn find(timeline: Timeline, tracks: &[Track]) -> Periods<'_> {
    let gap = timeline.moments(GONE);
    let mut stays: Vec<Stay<'_>> = tracks.iter().flat_map(|track| stays(track, gap)).collect();
    // Of those that begin together the one with more requests comes first.
    stays.sort_by_key(|stay| (stay.from, std::cmp::Reverse(requests_of(stay))));
    let deployments = stays.iter().enumerate().filter_map(|(index, canary)| {
        let before = &stays[..index];
        let baseline = before
            .iter()
            .find(|stay| stay.to > canary.from && stay.track.version != canary.track.version)?;
        let to = baseline.to.min(canary.to);
        (to > canary.from).then_some(Deployment {
            canary: canary.track,
            baseline: baseline.track,
            from: canary.from,
            to,
            guessed: baseline.from == canary.from,
        })
    });
    let deployments = deployments.collect();
    let quiet = quiet(timeline.count, &stays);
    Periods { deployments, quiet }
}

/// When each version had data, by first appearance.
pub(super) fn versions(timeline: Timeline, tracks: &[Track]) -> Vec<Version> {
    let mut versions: Vec<Version> = tracks
        .iter()
        .filter_map(|track| {
            let (first, _) = track.scrapes.first_key_value()?;
            let (last, _) = track.scrapes.last_key_value()?;
            let observations = track.scrapes.values().flat_map(|scrape| &scrape.observations);
            let instances: BTreeSet<&str> = observations.map(|o| o.instance.as_str()).collect();
            Some(Version {
                version: track.version.clone(),
                from: timeline.at(*first),
                to: timeline.at(*last),
                instances: instances.len(),
            })
        })
        .collect();
    versions.sort_by(|left, right| (left.from, &left.version).cmp(&(right.from, &right.version)));
    versions
}

fn stays(track: &Track, gap: usize) -> Vec<Stay<'_>> {
    let mut stays: Vec<Stay<'_>> = Vec::new();
    for index in track.scrapes.keys().copied() {
        match stays.last_mut() {
            Some(stay) if index - stay.to <= gap => stay.to = index,
            Some(_) | None => stays.push(Stay { track, from: index, to: index }),
        }
    }
    stays
}

/// The runs of moments within exactly one stay.
fn quiet<'a>(count: usize, stays: &[Stay<'a>]) -> Vec<Stay<'a>> {
    // +1 where a stay begins, -1 after its end: the sum is how many versions are there.
    let mut edges = vec![0_i64; count + 1];
    for stay in stays {
        edges[stay.from.min(count)] += 1;
        edges[(stay.to + 1).min(count)] -= 1;
    }
    let present: Vec<i64> = edges
        .iter()
        .scan(0, |sum, edge| {
            *sum += edge;
            Some(*sum)
        })
        .collect();
    let mut quiet = Vec::new();
    for stay in stays {
        let mut from = stay.from;
        for index in stay.from..=stay.to + 1 {
            if index > stay.to || present.get(index) != Some(&1) {
                if index >= from + SHORTEST {
                    quiet.push(Stay { track: stay.track, from, to: index - 1 });
                }
                from = index + 1;
            }
        }
    }
    quiet.sort_by_key(|stay| stay.from);
    quiet
}

fn requests_of(stay: &Stay<'_>) -> u64 {
    let scrapes = stay.track.scrapes.range(stay.from..=stay.to);
    scrapes.fold(0, |sum, (_, scrape)| {
        sum.saturating_add(scrape.observations.iter().map(|o| requests(&o.sample)).sum())
    })
}

/// Requests that a sample counts.
pub(super) fn requests(sample: &Sample) -> u64 {
    match sample {
        Sample::Events { of, .. } => *of,
        Sample::Histogram { counts, .. } => counts.iter().fold(0, |sum, n| sum.saturating_add(*n)),
        Sample::Exponential(histogram) => histogram.total(),
        Sample::Gauge { .. } | Sample::Attempt { .. } => 0,
    }
}

impl Deployment<'_> {
    /// Both arms' counts at a moment.
    pub(super) fn scrape(&self, timeline: Timeline, index: usize) -> Scrape {
        let arms = [(self.canary, Arm::Canary), (self.baseline, Arm::Baseline)];
        let observations = arms.into_iter().flat_map(|(track, arm)| {
            let seen = track.scrapes.get(&index).into_iter().flat_map(|s| &s.observations);
            seen.map(move |observation| Observation { arm, ..observation.clone() })
        });
        Scrape { at: timeline.at(index), observations: observations.collect() }
    }
}
