//! Quiet periods: some of stable's own instances play the canary, with nothing wrong and with regressions added.

use std::collections::BTreeSet;

use analysis::{Arm, Exponential, Observation, Sample, Scrape, Settings};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::inject::{Injection, Shares, draw};
use super::periods::Stay;
use super::replay::{Trial, trial};
use super::report::{Found, Injected, NoData, Quiet, Rate, Spread, as_f64};
use super::{Timeline, Trials};

/// Most trials for each injection; with more windows than that some are left out, evenly.
const MOST_TRIALS: usize = 2_000;

/// The share of requests that a pseudo-canary without an instance of its own gets.
const SHARE_OF_REQUESTS: f64 = 0.05;

/// Who plays the canary.
enum Cast<'a> {
    /// These instances.
    Pods(BTreeSet<&'a str>),
    /// Each request by itself.
    Requests,
}

/// Tries the quiet periods; nothing when there are none.
pub(super) fn quiet(
    settings: &Settings,
    first: f64,
    pods: usize,
    timeline: Timeline,
    stays: &[Stay<'_>],
    trials: &Trials,
) -> Option<Quiet> {
    let all = windows(timeline, stays, trials);
    let windows = thinned(&all, trials.splits);
    let longest = windows.iter().map(|window| window.to - window.from + 1).max()?;
    let mut shares = Shares::new(settings);
    for stay in stays {
        let scrapes = stay.track.scrapes.range(stay.from..=stay.to);
        let observations = scrapes.flat_map(|(_, scrape)| &scrape.observations);
        observations.for_each(|observation| shares.learn(observation));
    }
    let stage = Stage { settings, first, pods, timeline, windows: &windows, shares, trials };
    let calm = stage.play(None);
    let count = |of: fn(&Trial) -> bool| {
        let met = calm.iter().filter(|trial| of(trial)).count();
        Rate::new(met as u64, calm.len() as u64, windows.len() as u64)
    };
    let served = calm.iter().fold((0_u64, 0_u64), |sum, trial| {
        (sum.0.saturating_add(trial.served.0), sum.1.saturating_add(trial.served.1))
    });
    let without = |index: usize| {
        calm.iter().filter(|trial| trial.without.get(index).copied().unwrap_or(false)).count()
    };
    let no_data = settings.checks.iter().enumerate().filter_map(|(index, check)| {
        let without = without(index);
        (0 < without).then(|| NoData {
            check: check.name.clone(),
            without: as_f64(without as u64),
            of: as_f64(calm.len() as u64),
        })
    });
    Some(Quiet {
        periods: stays.len(),
        seconds: stays.iter().map(|stay| timeline.seconds(stay.to - stay.from + 1)).sum(),
        windows: windows.len(),
        window_seconds: timeline.seconds(longest),
        splits: trials.splits,
        by_requests: windows.iter().filter(|window| instances(window).len() < 2).count(),
        canary_share: as_f64(served.0) / as_f64(served.1).max(1.0),
        false_reverts: count(|trial| trial.failed.is_some()),
        held: count(|trial| trial.failed.is_none() && trial.held),
        first_step: count(|trial| trial.passed),
        no_data: no_data.collect(),
        injected: trials.injections.iter().map(|injection| stage.inject(*injection)).collect(),
    })
}

/// What all trials have in common.
struct Stage<'a> {
    settings: &'a Settings,
    first: f64,
    pods: usize,
    timeline: Timeline,
    windows: &'a [Stay<'a>],
    shares: Shares,
    trials: &'a Trials,
}

impl Stage<'_> {
    fn inject(&self, injection: Injection) -> Injected {
        let what = injection.to_string();
        if let Some(why) = self.shares.refuses(injection) {
            return Injected { what, found: None, note: Some(why) };
        }
        let played = self.play(Some(injection));
        let caught: Vec<(usize, u64)> = played.iter().filter_map(|trial| trial.failed).collect();
        let seconds = caught.iter().map(|(index, _)| self.timeline.seconds(*index + 1)).collect();
        let requests = caught.iter().map(|(_, requests)| as_f64(*requests)).collect();
        let tolerated = self.shares.tolerates(self.settings, injection);
        Injected {
            what,
            found: Some(Found {
                caught: Rate::new(
                    caught.len() as u64,
                    played.len() as u64,
                    self.windows.len() as u64,
                ),
                seconds: Spread::of(seconds, played.len()),
                requests: Spread::of(requests, played.len()),
            }),
            note: tolerated.then(|| "within what the policy tolerates".to_owned()),
        }
    }

    /// All trials; the same splits whatever is injected.
    fn play(&self, injection: Option<Injection>) -> Vec<Trial> {
        let mut played = Vec::new();
        for split in 0..self.trials.splits {
            for (number, window) in self.windows.iter().enumerate() {
                let mut rng = self.rng(split, number, 0);
                let mut changes = self.rng(split, number, 1);
                let cast = self.cast(window, &mut rng);
                let scrapes = (window.from..=window.to).map(|index| {
                    self.scrape(window, index, &cast, injection, (&mut rng, &mut changes))
                });
                played.push(trial(self.settings, self.first, scrapes));
            }
        }
        played
    }

    fn rng(&self, split: u32, window: usize, purpose: u64) -> StdRng {
        let mut seed = [0_u8; 32];
        let parts = [self.trials.seed, u64::from(split), window as u64, purpose];
        for (bytes, part) in seed.chunks_mut(8).zip(parts) {
            bytes.copy_from_slice(&part.to_le_bytes());
        }
        StdRng::from_seed(seed)
    }

    /// As many instances as the canary would have, at most a fifth, at least one.
    fn cast<'a>(&self, window: &Stay<'a>, rng: &mut StdRng) -> Cast<'a> {
        let all = instances(window);
        if all.len() < 2 {
            return Cast::Requests;
        }
        let count = self.pods.min(all.len() / 5).max(1);
        let chosen = rand::seq::index::sample(rng, all.len(), count);
        Cast::Pods(chosen.into_iter().filter_map(|index| all.get(index).copied()).collect())
    }

    fn scrape(
        &self,
        window: &Stay<'_>,
        index: usize,
        cast: &Cast<'_>,
        injection: Option<Injection>,
        (rng, changes): (&mut StdRng, &mut StdRng),
    ) -> Scrape {
        let measured = window.track.scrapes.get(&index);
        let mut observations = Vec::new();
        for observation in measured.into_iter().flat_map(|scrape| &scrape.observations) {
            match cast {
                Cast::Pods(pods) => {
                    let plays = pods.contains(observation.instance.as_str());
                    let arm = if plays { Arm::Canary } else { Arm::Baseline };
                    observations.push(Observation { arm, ..observation.clone() });
                }
                Cast::Requests => observations.extend(halves(observation, rng)),
            }
        }
        if let Some(injection) = injection {
            for observation in observations.iter_mut().filter(|o| o.arm == Arm::Canary) {
                self.shares.add(injection, observation, changes);
            }
        }
        Scrape { at: self.timeline.at(index), observations }
    }
}

/// Windows of the quiet periods, side by side; a period that is shorter than one is one.
fn windows<'a>(timeline: Timeline, stays: &[Stay<'a>], trials: &Trials) -> Vec<Stay<'a>> {
    let length = timeline.moments(trials.window);
    let mut windows = Vec::new();
    for stay in stays {
        let moments = stay.to - stay.from + 1;
        let count = (moments / length).max(1);
        windows.extend((0..count).map(|number| {
            let from = stay.from + number * length;
            Stay { track: stay.track, from, to: stay.to.min(from + length - 1) }
        }));
    }
    windows
}

/// So many windows, evenly spread, that the trials stay bounded.
fn thinned<'a>(windows: &[Stay<'a>], splits: u32) -> Vec<Stay<'a>> {
    let splits = usize::try_from(splits).unwrap_or(usize::MAX).max(1);
    let most = (MOST_TRIALS / splits).max(1).min(windows.len());
    (0..most).map(|index| windows[index * windows.len() / most]).collect()
}

/// The instances that counted within a window.
fn instances<'a>(window: &Stay<'a>) -> Vec<&'a str> {
    let scrapes = window.track.scrapes.range(window.from..=window.to);
    let names: BTreeSet<&str> = scrapes
        .flat_map(|(_, scrape)| &scrape.observations)
        .map(|observation| observation.instance.as_str())
        .collect();
    names.into_iter().collect()
}

/// One instance's counts, divided by a draw for each request. A gauge is the same in both.
fn halves(observation: &Observation, rng: &mut impl Rng) -> [Observation; 2] {
    let mut part = |count: u64| {
        let canary = draw(rng, count, SHARE_OF_REQUESTS);
        (canary, count - canary)
    };
    let (canary, baseline) = match &observation.sample {
        Sample::Events { events, of } => {
            let bad = part(*events);
            let good = part(of.saturating_sub(*events));
            let sample = |events, good| Sample::Events { events, of: events + good };
            (sample(bad.0, good.0), sample(bad.1, good.1))
        }
        Sample::Histogram { le, counts } => {
            let (canary, baseline) = counts.iter().map(|count| part(*count)).unzip();
            let sample = |counts| Sample::Histogram { le: le.clone(), counts };
            (sample(canary), sample(baseline))
        }
        Sample::Exponential(histogram) => {
            let zero = part(histogram.zero);
            let (canary, baseline) = histogram.counts.iter().map(|count| part(*count)).unzip();
            let sample = |zero, counts| {
                Sample::Exponential(Exponential { zero, counts, ..histogram.clone() })
            };
            (sample(zero.0, canary), sample(zero.1, baseline))
        }
        Sample::Gauge { .. } | Sample::Attempt { .. } => {
            (observation.sample.clone(), observation.sample.clone())
        }
    };
    [(Arm::Canary, canary), (Arm::Baseline, baseline)].map(|(arm, sample)| Observation {
        arm,
        sample,
        ..observation.clone()
    })
}
