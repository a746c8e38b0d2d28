//! Pushed spans as metrics: `metrics: traces` in a policy.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use analysis::{Arm, Observation, Sample, Scrape};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use jiff::Timestamp;

use super::tally::{Cell, Key, Seen};
use super::told;
use super::watch::Watch;
use super::{Intake, nanoseconds, nanoseconds_of};
use crate::error::bounded;
use crate::subject::{Measure, MeasureKind, Subject};
use crate::{Choice, Completeness, Measured, MetricProvider};

type Cells = HashMap<Vec<String>, BTreeMap<Key, Cell>>;

impl Intake {
    fn one(&self, subject: &Subject, at: Timestamp) -> Measured {
        let now = nanoseconds(at);
        let mut state = self.locked();
        let service = told::service_of(subject);
        let (others, pushes) = (state.others(service, now), state.pushes(service, now));
        let watch = state.watch_subject(subject, now);
        let mut scrape = Scrape { at, observations: Vec::new() };
        let stale_after = nanoseconds_of(self.settings.stale_after);
        let completeness = measure(watch, subject, now, stale_after, &mut scrape.observations);
        let completeness = completeness.unwrap_or_else(|| {
            Completeness::None(bounded(told::nothing(watch, pushes, others).to_string()))
        });
        Measured { subject: subject.id.clone(), result: Ok((scrape, completeness)) }
    }
}

/// Puts what was counted since the last time into `found`; `None` where the service or its labels are missing.
fn measure(
    watch: &mut Watch,
    subject: &Subject,
    now: u64,
    stale_after: u64,
    found: &mut Vec<Observation>,
) -> Option<Completeness> {
    let is_again = now <= watch.measured;
    watch.measured = watch.measured.max(now);
    let declared: Vec<Arm> = [Arm::Baseline, Arm::Canary]
        .into_iter()
        .filter(|arm| subject.instances.iter().any(|instance| instance.arm == *arm))
        .collect();
    let (mut readable, mut troubles) = (Vec::new(), Vec::new());
    for measure in &subject.measures {
        match told::chosen(measure, watch) {
            Ok(_) => readable.push(measure),
            Err(why) => troubles.push(format!("{}: {why}", measure.check)),
        }
    }
    let arrived = |watch: &Watch, arm: &Arm| watch.arrived(*arm).is_some();
    let missing = declared.iter().filter(|arm| !arrived(watch, arm)).count();
    if missing > 0 {
        // The arms begin together.
        drop((watch.take_cells(), watch.take_errors()));
        if missing == declared.len() || watch.unlabelled > 0 {
            return None;
        }
    } else if !is_again {
        if declared.iter().all(|arm| watch.has_counts(*arm)) {
            let cells = watch.take_cells();
            for measure in &readable {
                requests(measure, &cells, found);
            }
        }
        let new_errors = readable.iter().filter(|one| one.kind == MeasureKind::NewErrors);
        if declared.iter().all(|arm| watch.has_complete(*arm)) {
            let seen = by_instance(watch.take_errors());
            for measure in new_errors {
                errors(measure, &seen, watch, found);
            }
        }
    }
    let standing = |arm: &Arm| told::standing(*arm, watch.arrived(*arm), now, stale_after);
    let stale: Vec<String> = declared.iter().filter_map(standing).collect();
    let all_stale = !stale.is_empty() && stale.len() == declared.len();
    troubles.extend(stale);
    let text = told::of(subject, &troubles.join("; "));
    Some(if troubles.is_empty() {
        Completeness::Full
    } else if all_stale {
        Completeness::Stale(text)
    } else {
        Completeness::Partial(text)
    })
}

/// Failures or durations of requests, by arm, instance and stratum.
fn requests(measure: &Measure, cells: &Cells, found: &mut Vec<Observation>) {
    let Some(cells) = cells.get(&measure.strata).or_else(|| cells.get(&Vec::new())) else { return };
    for ((arm, instance, stratum), cell) in cells {
        let sample = match measure.kind {
            MeasureKind::Errors => Sample::Events { events: cell.failed, of: cell.requests },
            MeasureKind::Latency => Sample::Exponential(cell.durations.clone()),
            MeasureKind::NewErrors
            | MeasureKind::Restarts
            | MeasureKind::Gauge
            | MeasureKind::Vital(_)
            | MeasureKind::ScriptErrors => continue,
        };
        let stratum = Some(stratum.to_string()).filter(|stratum| !stratum.is_empty());
        found.push(observation(measure, *arm, instance, stratum, sample));
    }
}

/// Errors of each instance, over all routes.
fn by_instance(errors: BTreeMap<Key, Seen>) -> BTreeMap<(Arm, Arc<str>), Seen> {
    let mut all: BTreeMap<(Arm, Arc<str>), Seen> = BTreeMap::new();
    for ((arm, instance, _), seen) in errors {
        let sum = all.entry((arm, instance)).or_default();
        sum.requests += seen.requests;
        for (error, requests) in seen.errors {
            *sum.errors.entry(error).or_default() += requests;
        }
    }
    all
}

/// The requests of each instance, and of them those with each new error.
fn errors(
    measure: &Measure,
    seen: &BTreeMap<(Arm, Arc<str>), Seen>,
    watch: &Watch,
    found: &mut Vec<Observation>,
) {
    for ((arm, instance), seen) in seen {
        let of = seen.requests;
        found.push(observation(measure, *arm, instance, None, Sample::Events { events: 0, of }));
        for (error, requests) in &seen.errors {
            let sample = Sample::Events { events: *requests, of };
            found.push(observation(measure, *arm, instance, Some(watch.name(*error)), sample));
        }
    }
}

fn observation(
    measure: &Measure,
    arm: Arm,
    instance: &str,
    stratum: Option<String>,
    sample: Sample,
) -> Observation {
    Observation {
        arm,
        instance: instance.to_owned(),
        check: measure.check.clone(),
        stratum,
        sample,
    }
}

impl MetricProvider for Intake {
    fn measure<'a>(
        &'a self,
        subjects: &'a [Subject],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Measured>> {
        self.settle(nanoseconds(at));
        ready(subjects.iter().map(|subject| self.one(subject, at)).collect()).boxed()
    }

    fn chosen(&self, subject: &str) -> Vec<Choice> {
        let state = self.locked();
        let Some(watch) = state.watches.get(subject) else { return Vec::new() };
        let mut choices: Vec<Choice> = watch
            .measures
            .iter()
            .map(|measure| Choice {
                check: measure.check.clone(),
                chosen: told::chosen(measure, watch),
            })
            .collect();
        choices.sort_by(|a, b| a.check.cmp(&b.check));
        choices
    }

    fn forget(&self, subject: &str) {
        Self::forget(self, subject);
    }
}
