//! What is counted for one live deployment since it was last measured.
//!
//! Only what settles while a deployment is watched counts for it, and the arms of a check begin and advance together:
//! a canary that few people see must not be compared with a baseline that was counted for longer.

use std::collections::{BTreeMap, BTreeSet};

use analysis::{Arm, Observation, Sample, Scrape};
use jiff::Timestamp;

use super::answer::Share;
use super::arms;
use super::ids::{Settled, What};
use super::told;
use crate::Completeness;
use crate::subject::{Measure, MeasureKind, Source, Subject};

/// Page groups that are compared by themselves.
const MOST_PAGES: usize = 20;

/// The stratum of all others.
const OTHER: &str = "(other)";

/// Whose counts these are: browsers are no instances that could be told apart.
const BROWSERS: &str = "browsers";

/// Versions of other deployments that are kept for messages.
const MOST_STRANGERS: usize = 5;

const ARMS: [Arm; 2] = [Arm::Baseline, Arm::Canary];

/// One live deployment.
#[derive(Debug)]
pub(super) struct Watch {
    subject: Subject,
    /// Apps whose pages belong to the service.
    apps: BTreeSet<String>,
    checks: Vec<Check>,
    pages: BTreeSet<String>,
    measured: Timestamp,
    /// What pages of no arm call their version, and how often it was counted.
    strangers: BTreeMap<String, u64>,
}

/// One check of it.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) measure: Measure,
    what: Option<What>,
    sides: [Side; 2],
}

/// One arm of a check.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// When it counted last; nanoseconds since 1970.
    pub(super) counted: Option<i64>,
    pending: BTreeMap<Option<String>, Share>,
}

impl Check {
    fn new(measure: &Measure) -> Self {
        let what = match measure.kind {
            MeasureKind::Vital(vital) => Some(What::Vital(vital)),
            MeasureKind::ScriptErrors => Some(What::Session),
            MeasureKind::Errors
            | MeasureKind::NewErrors
            | MeasureKind::Latency
            | MeasureKind::Restarts
            | MeasureKind::Gauge => None,
        };
        Self { measure: measure.clone(), what, sides: Default::default() }
    }

    pub(super) fn side(&self, arm: Arm) -> &Side {
        &self.sides[place(arm)]
    }

    /// Whether browsers tell what it reads.
    pub(super) fn is_told_by_browsers(&self) -> bool {
        self.what.is_some()
    }

    fn reads(&self, what: What, app: &str) -> bool {
        let is_app = match &self.measure.source {
            Source::Named(named) => named.metric == app,
            Source::Auto | Source::Query { .. } | Source::Slower { .. } | Source::Value(_) => true,
        };
        self.what == Some(what) && is_app
    }
}

fn place(arm: Arm) -> usize {
    usize::from(arm == Arm::Canary)
}

/// Apps that checks name themselves.
pub(super) fn named_apps(subject: &Subject) -> impl Iterator<Item = &String> {
    subject.measures.iter().filter_map(|measure| match (&measure.source, measure.kind) {
        (Source::Named(named), MeasureKind::Vital(_) | MeasureKind::ScriptErrors) => {
            Some(&named.metric)
        }
        (_, _) => None,
    })
}

impl Watch {
    pub(super) fn new(subject: &Subject, apps: BTreeSet<String>, at: Timestamp) -> Self {
        Self {
            subject: subject.clone(),
            apps,
            checks: subject.measures.iter().map(Check::new).collect(),
            pages: BTreeSet::new(),
            measured: at,
            strangers: BTreeMap::new(),
        }
    }

    pub(super) fn apps(&self) -> &BTreeSet<String> {
        &self.apps
    }

    pub(super) fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// When it was last measured.
    pub(super) fn measured(&self) -> Timestamp {
        self.measured
    }

    /// Takes the subject as it is now; checks that changed begin anew.
    pub(super) fn renew(&mut self, subject: &Subject, apps: BTreeSet<String>) {
        if self.subject == *subject {
            return;
        }
        let mut before = std::mem::take(&mut self.checks);
        for measure in &subject.measures {
            let same = before.iter().position(|check| check.measure == *measure);
            let check = same.map(|at| before.swap_remove(at));
            self.checks.push(check.unwrap_or_else(|| Check::new(measure)));
        }
        self.strangers.clear();
        self.apps = apps;
        self.subject = subject.clone();
    }

    /// Takes in what counts now.
    pub(super) fn take(&mut self, settled: &Settled, now: i64) {
        let Some(arm) = arms::arm(&self.subject.instances, &settled.place.versions) else {
            let said = settled.place.versions.shown();
            if let Some(count) = self.strangers.get_mut(said) {
                *count = count.saturating_add(1);
            } else if self.strangers.len() < MOST_STRANGERS {
                self.strangers.insert(said.to_owned(), 1);
            }
            return;
        };
        let page = self.page(&settled.place.page);
        for check in &mut self.checks {
            if !check.reads(settled.what, &settled.place.app) {
                continue;
            }
            let whole = !check.measure.strata.is_empty();
            let side = &mut check.sides[place(arm)];
            side.counted = side.counted.max(Some(now));
            let page = (!whole).then(|| page.clone());
            side.pending.entry(page).or_default().add(settled.bad);
        }
    }

    /// The stratum of a page group.
    fn page(&mut self, page: &str) -> String {
        if !self.pages.contains(page) {
            if self.pages.len() >= MOST_PAGES {
                return OTHER.to_owned();
            }
            self.pages.insert(page.to_owned());
        }
        page.to_owned()
    }

    /// Everything counted since the last time, for both arms together.
    pub(super) fn measure(
        &mut self,
        at: Timestamp,
        now: i64,
        stale_after: i64,
    ) -> (Scrape, Completeness) {
        let is_again = at <= self.measured;
        self.measured = self.measured.max(at);
        let mut scrape = Scrape { at, observations: Vec::new() };
        let declared: Vec<Arm> = ARMS
            .into_iter()
            .filter(|arm| self.subject.instances.iter().any(|instance| instance.arm == *arm))
            .collect();
        for check in &mut self.checks {
            let sides = || declared.iter().map(|arm| &check.sides[place(*arm)]);
            if sides().any(|side| side.counted.is_none()) {
                // The arms begin together.
                check.sides.iter_mut().for_each(|side| side.pending.clear());
            } else if !is_again && sides().all(|side| !side.pending.is_empty()) {
                check.take(&mut scrape.observations);
            }
        }
        let strangers: Vec<(&str, u64)> =
            self.strangers.iter().map(|(said, count)| (said.as_str(), *count)).collect();
        let apps: Vec<&str> = self.apps.iter().map(String::as_str).collect();
        let told = told::Told { subject: &self.subject, apps: &apps, strangers: &strangers };
        let completeness = told.completeness(&self.checks, &declared, now, stale_after);
        (scrape, completeness)
    }
}

impl Check {
    fn take(&mut self, observations: &mut Vec<Observation>) {
        for arm in ARMS {
            for (stratum, share) in std::mem::take(&mut self.sides[place(arm)].pending) {
                observations.push(Observation {
                    arm,
                    instance: BROWSERS.to_owned(),
                    check: self.measure.check.clone(),
                    stratum,
                    sample: Sample::Events { events: share.bad, of: share.of },
                });
            }
        }
    }
}
