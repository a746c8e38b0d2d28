//! What both providers keep: the counters of every subject, and the rule for when they become a scrape.
//!
//! The arms of a check advance together or not at all. When a whole arm is missing, stale or has
//! nothing new, nothing of that check is differenced; since counters are cumulative, the next complete
//! round brings the counts of the whole time for both arms. So no scrape compares one arm's minute with
//! another arm's second, an outage is never a zero, and a source's scrape is never counted twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use analysis::{Arm, Observation, Scrape};
use jiff::{SignedDuration, Timestamp};

use crate::counters::{Differ, Difference, Reading, Refusal};
use crate::error::bounded;
use crate::families::{self, Chosen};
use crate::reads::{Key, Reads};
use crate::selector::Series;
use crate::subject::{Measure, Subject};
use crate::{Choice, Completeness};

/// Counters by subject.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    subjects: Mutex<HashMap<String, Account>>,
}

/// One subject's counters and choices.
#[derive(Debug, Default)]
pub(crate) struct Account {
    choices: HashMap<String, Decision>,
    differ: Differ<Group, Key>,
    /// The bounds of the buckets that a group had; when they change, its counts cannot be compared.
    layouts: HashMap<Group, Vec<u64>>,
}

/// What a check of a subject reads, and for which measure that was decided.
#[derive(Debug, Clone)]
struct Decision {
    measure: Measure,
    chosen: Result<Chosen, String>,
    /// Not to be decided again.
    settled: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Group {
    check: String,
    arm: Arm,
    instance: String,
}

/// What one instance said for one check.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) arm: Arm,
    pub(crate) instance: String,
    /// Its readings in the order of time.
    pub(crate) readings: Vec<Reading<Key>>,
    /// What was wrong with it, if anything.
    pub(crate) problem: Option<String>,
}

/// What all instances said for one check.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    pub(crate) check: &'a str,
    pub(crate) reads: &'a Reads,
    pub(crate) found: Vec<Found>,
}

/// What is wrong with a round as a whole.
#[derive(Debug, Default)]
pub(crate) struct Wrong {
    /// The source's own word that its answer is not complete: only start points are taken then.
    pub(crate) hold: Option<String>,
    /// A part of it that could not be asked for.
    pub(crate) note: Option<String>,
}

/// How an arm of a check stands.
enum Standing {
    Ready,
    Waiting,
    Missing(Vec<String>),
    Stale(String),
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        // A panic elsewhere leaves the counters as they are: whole readings are put in at once.
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what needs no look at the source, and returns the measures for which one is needed.
    pub(crate) fn decide(&self, subject: &Subject) -> Vec<Measure> {
        let mut open = Vec::new();
        for measure in &subject.measures {
            if self.is_settled(&subject.id, measure) {
                continue;
            }
            match Reads::given(measure) {
                Ok(None) => open.push(measure.clone()),
                Ok(Some(reads)) => {
                    self.choose(&subject.id, measure, Ok(Chosen::given(reads)), true);
                }
                Err(text) => self.choose(&subject.id, measure, Err(text), true),
            }
        }
        open
    }

    /// What is decided for the checks of a subject, settled or not.
    pub(crate) fn reads(&self, subject: &Subject) -> Vec<(String, Reads)> {
        let subjects = self.lock();
        let Some(account) = subjects.get(&subject.id) else { return Vec::new() };
        let decided = subject.measures.iter().filter_map(|measure| {
            let decision = account.choices.get(&measure.check)?;
            let chosen = decision.chosen.as_ref().ok()?;
            (decision.measure == *measure).then(|| (measure.check.clone(), chosen.reads.clone()))
        });
        decided.collect()
    }

    /// Decides for a measure by the series that each arm has.
    pub(crate) fn choose_from(&self, subject: &str, measure: &Measure, arms: &[Vec<Series>]) {
        let (chosen, settled) = match families::choose(measure.kind, arms) {
            Ok((chosen, settled)) => (Ok(chosen), settled),
            Err(text) => (Err(text), false),
        };
        self.choose(subject, measure, chosen, settled);
    }

    fn is_settled(&self, subject: &str, measure: &Measure) -> bool {
        let subjects = self.lock();
        let decision = subjects.get(subject).and_then(|a| a.choices.get(&measure.check));
        decision.is_some_and(|d| d.settled && d.measure == *measure)
    }

    /// Notes what a check reads; when that changed, its counters begin anew.
    fn choose(
        &self,
        subject: &str,
        measure: &Measure,
        chosen: Result<Chosen, String>,
        settled: bool,
    ) {
        let mut subjects = self.lock();
        let account = subjects.entry(subject.to_owned()).or_default();
        let same = account.choices.get(&measure.check).is_some_and(|before| {
            let reads = |c: &Result<Chosen, String>| c.as_ref().ok().map(|c| c.reads.clone());
            before.measure == *measure && reads(&before.chosen) == reads(&chosen)
        });
        if !same {
            account.differ.retain(|group| group.check != measure.check);
            account.layouts.retain(|group, _| group.check != measure.check);
        }
        let decision = Decision { measure: measure.clone(), chosen, settled };
        account.choices.insert(measure.check.clone(), decision);
    }

    /// Everything decided for a subject, by check.
    pub(crate) fn choices(&self, subject: &str) -> Vec<Choice> {
        let subjects = self.lock();
        let choices = subjects.get(subject).into_iter().flat_map(|account| &account.choices);
        let mut choices: Vec<Choice> = choices
            .map(|(check, d)| Choice { check: check.clone(), chosen: d.chosen.clone() })
            .collect();
        choices.sort_by(|a, b| a.check.cmp(&b.check));
        choices
    }

    /// Drops everything known of a subject.
    pub(crate) fn forget(&self, subject: &str) {
        self.lock().remove(subject);
    }

    /// Turns what was found into a scrape.
    pub(crate) fn settle(
        &self,
        subject: &Subject,
        at: Timestamp,
        rounds: &[Round<'_>],
        stale_after: Duration,
        wrong: Wrong,
    ) -> (Scrape, Completeness) {
        let mut subjects = self.lock();
        let account = subjects.entry(subject.id.clone()).or_default();
        let measured = |group: &Group| subject.measures.iter().any(|m| m.check == group.check);
        account.differ.retain(measured);
        account.layouts.retain(|group, _| measured(group));
        let mut scrape = Scrape { at, observations: Vec::new() };
        let mut notes = Notes::default();
        let mut latest = None;
        for round in rounds {
            account.take_starts(round);
            if wrong.hold.is_some() {
                notes.fresh = true;
                continue;
            }
            if account.is_ready(subject, at, round, stale_after, &mut notes) {
                latest = latest.max(account.advance(round, &mut scrape.observations, &mut notes));
            }
        }
        if let Some(latest) = latest {
            scrape.at = latest;
        }
        notes.partial.extend(wrong.hold);
        notes.partial.extend(wrong.note);
        notes.undecided = subject
            .measures
            .iter()
            .filter(|measure| !rounds.iter().any(|round| round.check == measure.check))
            .filter_map(|measure| {
                let reason = account.choices.get(&measure.check)?.chosen.as_ref().err()?;
                Some(format!("{}: {reason}", measure.check))
            })
            .collect();
        (scrape, notes.completeness(&subject.service))
    }
}

impl Account {
    /// Takes the newest reading of every group that was never seen as its start point.
    fn take_starts(&mut self, round: &Round<'_>) {
        for found in &round.found {
            let group = found.group(round.check);
            if self.differ.last(&group).is_none() {
                // A refused start is told when the arms advance; there is no start point then.
                let _started = found.readings.iter().rev().any(|r| self.observe(&group, r).is_ok());
            }
        }
    }

    /// Whether every declared arm of a check has something new.
    fn is_ready(
        &self,
        subject: &Subject,
        at: Timestamp,
        round: &Round<'_>,
        stale_after: Duration,
        notes: &mut Notes,
    ) -> bool {
        let mut ready = true;
        for arm in [Arm::Baseline, Arm::Canary] {
            if !subject.instances.iter().any(|instance| instance.arm == arm) {
                continue;
            }
            match self.standing(arm, at, round, stale_after) {
                Standing::Ready => notes.fresh = true,
                Standing::Waiting => {
                    notes.fresh = true;
                    ready = false;
                }
                Standing::Missing(mut texts) => {
                    notes.missing.append(&mut texts);
                    ready = false;
                }
                Standing::Stale(text) => {
                    notes.stale.push(format!("{} of the {}: {text}", round.check, named(arm)));
                    ready = false;
                }
            }
        }
        ready
    }

    fn standing(
        &self,
        arm: Arm,
        at: Timestamp,
        round: &Round<'_>,
        stale_after: Duration,
    ) -> Standing {
        let of_arm = || round.found.iter().filter(|found| found.arm == arm);
        let is_new = |found: &Found, at| {
            self.differ.last(&found.group(round.check)).is_none_or(|last| at > last)
        };
        let newest = of_arm().filter_map(|f| f.counts().map(|r| r.at).max()).max();
        let refused = of_arm().filter_map(|f| {
            let refusal = f.readings.last().filter(|r| is_new(f, r.at))?.validate().err()?;
            Some(format!("{} {}: {refusal}", named(arm), f.instance))
        });
        let told = of_arm().filter_map(|f| {
            f.problem.as_ref().map(|problem| format!("{} {}: {problem}", named(arm), f.instance))
        });
        let has_new = of_arm().any(|f| f.counts().any(|r| is_new(f, r.at)));
        let problems: Vec<String> = refused.chain(told).collect();
        if !has_new && !problems.is_empty() {
            return Standing::Missing(problems);
        }
        let Some(newest) = newest else {
            let (check, names) = (round.check, round.reads.names());
            let text = format!("{check} of the {}: no series of {names}", named(arm));
            return Standing::Missing(vec![text]);
        };
        let age = at.duration_since(newest);
        if age > SignedDuration::try_from(stale_after).unwrap_or(SignedDuration::MAX) {
            return Standing::Stale(format!("no new sample for {} s", age.as_secs()));
        }
        if has_new { Standing::Ready } else { Standing::Waiting }
    }

    /// Takes in one reading; buckets with other bounds than before are a start point.
    fn observe(
        &mut self,
        group: &Group,
        reading: &Reading<Key>,
    ) -> Result<Difference<Key>, Refusal> {
        let layout = Reads::layout(&reading.values);
        if !layout.is_empty()
            && self.layouts.get(group) != Some(&layout)
            && self.layouts.insert(group.clone(), layout).is_some()
        {
            self.differ.forget(group);
        }
        self.differ.observe(group, reading)
    }

    /// Differences everything new of a check; returns the latest moment.
    fn advance(
        &mut self,
        round: &Round<'_>,
        observations: &mut Vec<Observation>,
        notes: &mut Notes,
    ) -> Option<Timestamp> {
        let mut latest = None;
        for found in &round.found {
            if let Some(problem) = &found.problem {
                notes.partial.push(format!("{} {}: {problem}", named(found.arm), found.instance));
            }
            let group = found.group(round.check);
            let last = self.differ.last(&group);
            let new = found.readings.iter().filter(|r| last.is_none_or(|last| r.at > last));
            let mut sum: BTreeMap<Key, u64> = BTreeMap::new();
            for reading in new {
                match self.observe(&group, reading) {
                    Ok(Difference::Start | Difference::Duplicate) => {}
                    Ok(Difference::Counts { counts, restarted }) => {
                        if restarted {
                            tracing::info!(
                                check = round.check,
                                instance = found.instance,
                                "the counters of an instance began anew"
                            );
                        }
                        latest = latest.max(Some(reading.at));
                        for (key, count) in counts {
                            *sum.entry(key).or_default() += count;
                        }
                    }
                    Err(refusal) => {
                        let instance = &found.instance;
                        notes.partial.push(format!("{} {instance}: {refusal}", named(found.arm)));
                    }
                }
            }
            observations.extend(round.reads.sample(&sum).map(|sample| Observation {
                arm: found.arm,
                instance: found.instance.clone(),
                check: round.check.to_owned(),
                stratum: None,
                sample,
            }));
        }
        latest
    }
}

impl Found {
    /// The readings that have counters, all of them counts.
    fn counts(&self) -> impl Iterator<Item = &Reading<Key>> {
        self.readings.iter().filter(|r| !r.values.is_empty() && r.validate().is_ok())
    }

    fn group(&self, check: &str) -> Group {
        Group { check: check.to_owned(), arm: self.arm, instance: self.instance.clone() }
    }
}

/// What is to be told about a round, by how bad it is.
#[derive(Debug, Default)]
struct Notes {
    /// Something answered with fresh counters.
    fresh: bool,
    partial: Vec<String>,
    missing: Vec<String>,
    stale: Vec<String>,
    undecided: Vec<String>,
}

impl Notes {
    fn completeness(mut self, service: &str) -> Completeness {
        let only_stale = self.missing.is_empty() && !self.stale.is_empty();
        let mut all = std::mem::take(&mut self.partial);
        all.append(&mut self.missing);
        all.append(&mut self.stale);
        // One broken instance says the same for every check.
        all.sort();
        all.dedup();
        if self.fresh && all.is_empty() {
            return Completeness::Full;
        }
        if all.is_empty() {
            all = self.undecided;
        }
        if all.is_empty() {
            all.push("nothing is measured".to_owned());
        }
        let text = bounded(format!("{service}: {}", all.join("; ")));
        match (self.fresh, only_stale) {
            (true, _) => Completeness::Partial(text),
            (false, true) => Completeness::Stale(text),
            (false, false) => Completeness::None(text),
        }
    }
}

/// An arm in running text.
pub(crate) fn named(arm: Arm) -> &'static str {
    match arm {
        Arm::Baseline => "baseline",
        Arm::Canary => "canary",
    }
}
