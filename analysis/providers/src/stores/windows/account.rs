//! What is kept of one subject: which intervals of each check are still to be delivered.

use std::collections::{BTreeMap, BTreeSet};

use analysis::{Arm, Observation, Scrape};
use jiff::{SignedDuration, Timestamp};

use super::plan::{self, Described, Plan};
use super::tally::{self, Tally};
use super::{Answers, MOST_INTERVALS};
use crate::error::{FetchError, Persistence, bounded};
use crate::families::Chosen;
use crate::ledger::named;
use crate::reads::Reads;
use crate::selector::Selector;
use crate::stores::{Reply, Store, Window};
use crate::subject::Subject;
use crate::{Choice, Completeness};

/// The grid of intervals at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) at: Timestamp,
    pub(super) step: SignedDuration,
    /// Beginning of the interval that holds `at`.
    pub(super) now: Timestamp,
    /// End of the newest interval that has settled.
    pub(super) settled: Timestamp,
    pub(super) stale_after: SignedDuration,
}

impl Frame {
    fn after(self, start: Timestamp) -> Timestamp {
        start.checked_add(self.step).unwrap_or(Timestamp::MAX)
    }

    fn window(self, from: Timestamp) -> Window {
        let step = self.step.unsigned_abs();
        Window { from, to: self.settled, step }
    }
}

/// One check of one subject in this round.
#[derive(Debug)]
pub(super) struct Due {
    check: String,
    pub(super) plan: Result<Plan, String>,
    /// Beginning of the first interval to ask for, if something is due.
    pub(super) from: Option<Timestamp>,
    /// It waits for an interval that was asked for before.
    pub(super) late: bool,
}

/// One subject.
#[derive(Debug, Default)]
pub(super) struct Account {
    at: Option<Timestamp>,
    /// The moment of the last scrape with observations.
    scraped: Option<Timestamp>,
    checks: BTreeMap<String, Check>,
    choices: BTreeMap<String, Result<Described, String>>,
}

/// One check.
#[derive(Debug)]
struct Check {
    /// Beginning of the first interval that has not settled yet.
    next: Timestamp,
    /// Beginnings of settled intervals that were not delivered yet.
    waiting: BTreeSet<Timestamp>,
    /// Up to where the store has answered.
    asked: Option<Timestamp>,
    /// End of the newest interval with data of each arm.
    seen: BTreeMap<Arm, Timestamp>,
    /// Intervals given up because too many were due, and not told yet.
    given_up: usize,
    told_rounding: bool,
    told_clamping: bool,
    /// Arms of which something was refused in the last answer.
    refused: BTreeSet<Arm>,
}

impl Account {
    /// Finds out what is due.
    pub(super) fn prepare(
        &mut self,
        store: &dyn Store,
        subject: &Subject,
        frame: Frame,
    ) -> Vec<Due> {
        if self.at.is_some_and(|last| frame.at <= last) {
            return Vec::new();
        }
        self.at = Some(frame.at);
        self.checks.retain(|check, _| subject.measures.iter().any(|m| m.check == *check));
        self.choices.clear();
        let mut due = Vec::with_capacity(subject.measures.len());
        for measure in &subject.measures {
            let check = self.checks.entry(measure.check.clone()).or_insert_with(|| Check {
                next: frame.now,
                waiting: BTreeSet::new(),
                asked: None,
                seen: BTreeMap::new(),
                given_up: 0,
                told_rounding: false,
                told_clamping: false,
                refused: BTreeSet::new(),
            });
            let (plan, described) = match plan::plan(store, subject, measure) {
                Ok((plan, described)) => (Ok(plan), Ok(described)),
                Err(text) => (Err(text.clone()), Err(text)),
            };
            self.choices.insert(measure.check.clone(), described);
            let late = !check.waiting.is_empty();
            check.extend(frame);
            let new = check.asked.is_none_or(|asked| asked < frame.settled);
            let from = if plan.is_ok() && new { check.waiting.first().copied() } else { None };
            due.push(Due { check: measure.check.clone(), plan, from, late });
        }
        due
    }

    /// Turns the answers into a scrape.
    pub(super) fn settle(
        &mut self,
        subject: &Subject,
        frame: Frame,
        due: &[Due],
        answers: &Answers,
    ) -> Result<(Scrape, Completeness), FetchError> {
        let mut scrape = Scrape { at: frame.at, observations: Vec::new() };
        if due.is_empty() && !subject.measures.is_empty() {
            // The same moment again.
            return Ok((scrape, Completeness::Full));
        }
        let mut notes = Notes::default();
        let mut errors: Vec<FetchError> = Vec::new();
        let mut answered = due.iter().all(|due| due.from.is_none());
        let mut latest = None;
        for one in due {
            let plan = match &one.plan {
                Ok(plan) => plan,
                Err(text) => {
                    notes.undecided.push(format!("{}: {text}", one.check));
                    continue;
                }
            };
            let Some(check) = self.checks.get_mut(&one.check) else { continue };
            if let Some(from) = one.from {
                match tallies(plan, frame.window(from), answers) {
                    Err(error) => {
                        errors.push(error);
                        continue;
                    }
                    Ok(Err(incomplete)) => {
                        answered = true;
                        notes.partial.push(format!("the answer is incomplete: {incomplete}"));
                    }
                    Ok(Ok(tallies)) => {
                        answered = true;
                        let end = check.advance(
                            &one.check,
                            plan,
                            frame,
                            &tallies,
                            &mut notes,
                            &mut scrape,
                        );
                        latest = latest.max(end);
                    }
                }
            }
            check.standing(&one.check, plan, frame, &mut notes);
        }
        if let (false, Some(first)) = (answered, errors.first()) {
            let passes = errors.iter().find(|e| e.persistence == Persistence::Transient);
            return Err(passes.unwrap_or(first).clone());
        }
        notes.partial.extend(errors.into_iter().map(|error| error.text));
        if latest.is_some() {
            self.scraped = self.scraped.max(latest);
            scrape.at = self.scraped.unwrap_or(frame.at);
        }
        Ok((scrape, notes.completeness(&subject.service)))
    }

    /// What each check reads.
    pub(super) fn choices(&self) -> Vec<Choice> {
        let choice = |(check, described): (&String, &Result<Described, String>)| Choice {
            check: check.clone(),
            chosen: described.clone().map(|described| {
                let Described { metric, reading, why } = described;
                // A store is asked with the query itself, so nothing but its text is read of this.
                let selector = Selector::exact(metric.clone(), []);
                let reads = Reads::Pair { bad: selector.clone(), total: selector };
                Chosen { metric, reading, why, reads }
            }),
        };
        self.choices.iter().map(choice).collect()
    }
}

/// What each arm counted.
type Tallies = Vec<(Arm, Tally)>;

/// Reads the answers to a plan; the inner error is the store's word that something is missing.
fn tallies(
    plan: &Plan,
    window: Window,
    answers: &Answers,
) -> Result<Result<Tallies, String>, FetchError> {
    let mut all = Vec::with_capacity(plan.arms.len());
    for (arm, sets) in &plan.arms {
        let mut tally = Tally::default();
        for asked in sets {
            let mut replies: Vec<&Reply> = Vec::with_capacity(asked.queries.len());
            for query in &asked.queries {
                match answers.get(&(window.from, query.clone())) {
                    Some(Ok(reply)) => replies.push(reply),
                    Some(Err(error)) => return Err(error.clone()),
                    None => return Err(FetchError::transient("the store gave no answer")),
                }
            }
            if let Some(incomplete) = replies.iter().find_map(|reply| reply.incomplete.clone()) {
                return Ok(Err(incomplete));
            }
            tally.add(asked, &plan.shape, &replies, window);
        }
        tally.finish();
        all.push((*arm, tally));
    }
    Ok(Ok(all))
}

impl Check {
    /// Adds what has settled; gives up what is too old to be asked for at once.
    fn extend(&mut self, frame: Frame) {
        let most = frame.step.checked_mul(i32::try_from(MOST_INTERVALS).unwrap_or(i32::MAX));
        let oldest = most.and_then(|most| frame.settled.checked_sub(most).ok());
        let oldest = oldest.unwrap_or(Timestamp::MIN);
        let before = self.waiting.len();
        self.waiting.retain(|start| *start >= oldest);
        self.given_up += before - self.waiting.len();
        if self.next < oldest {
            let skipped = oldest.duration_since(self.next).as_secs() / frame.step.as_secs().max(1);
            self.given_up += usize::try_from(skipped).unwrap_or(0);
            self.next = oldest;
        }
        while self.next < frame.settled {
            self.waiting.insert(self.next);
            self.next = frame.after(self.next);
        }
    }

    /// Delivers the intervals that every arm has; returns the end of the latest.
    fn advance(
        &mut self,
        name: &str,
        plan: &Plan,
        frame: Frame,
        tallies: &Tallies,
        notes: &mut Notes,
        scrape: &mut Scrape,
    ) -> Option<Timestamp> {
        self.asked = Some(frame.settled);
        let refused = tallies.iter().filter(|(_, tally)| !tally.refused.is_empty());
        self.refused = refused.map(|(arm, _)| *arm).collect();
        for (arm, tally) in tallies {
            if let Some((start, _)) = tally.intervals.last_key_value() {
                let end = frame.after(*start);
                let seen = self.seen.entry(*arm).or_insert(end);
                *seen = end.max(*seen);
            }
            let told =
                tally.refused.iter().map(|text| format!("{name} of the {}, {text}", named(*arm)));
            notes.partial.extend(told);
            if tally.clamped && !std::mem::replace(&mut self.told_clamping, true) {
                notes.partial.push(format!(
                    "{name} of the {}: more requests above a higher threshold than above a lower one; \
                     do the queries of `slower` differ in their threshold only?",
                    named(*arm)
                ));
            }
            if let Some(value) = tally.rounded.filter(|_| !self.told_rounding) {
                self.told_rounding = true;
                notes.partial.push(format!(
                    "{name}: the store estimates counts ({value} was rounded): the data is sampled or the query \
                     averages"
                ));
            }
        }
        if std::mem::take(&mut self.given_up) > 0 {
            notes.partial.push(format!(
                "{name}: intervals before {} were given up: more than {MOST_INTERVALS} were due",
                self.waiting.first().copied().unwrap_or(frame.settled)
            ));
        }
        let has = |start: &Timestamp| tallies.iter().all(|(_, t)| t.intervals.contains_key(start));
        let whole: Vec<Timestamp> = self.waiting.iter().copied().filter(has).collect();
        for start in &whole {
            self.waiting.remove(start);
        }
        self.waiting
            .retain(|start| frame.settled.duration_since(frame.after(*start)) <= frame.stale_after);
        for (arm, tally) in tallies {
            let mut instances: BTreeMap<&String, Vec<&tally::Counted>> = BTreeMap::new();
            for counted in whole.iter().filter_map(|start| tally.intervals.get(start)) {
                for (instance, counted) in counted {
                    instances.entry(instance).or_default().push(counted);
                }
            }
            for (instance, counted) in instances {
                let Some(sample) = tally::sample(&plan.shape, &counted) else { continue };
                let observation = Observation {
                    arm: *arm,
                    instance: instance.clone(),
                    check: name.to_owned(),
                    stratum: None,
                    sample,
                };
                match observation.validate() {
                    Ok(()) => scrape.observations.push(observation),
                    Err(refusal) => {
                        notes.partial.push(format!("{name} of the {}: {refusal}", named(*arm)));
                    }
                }
            }
        }
        whole.last().map(|start| frame.after(*start))
    }

    /// Whether each arm has data, and how old it is.
    fn standing(&self, name: &str, plan: &Plan, frame: Frame, notes: &mut Notes) {
        if self.asked.is_none() {
            // Nothing has settled yet, or the store has not answered; the latter is told by its error.
            notes.fresh = true;
            return;
        }
        for (arm, asked) in &plan.arms {
            let Some(seen) = self.seen.get(arm) else {
                if self.refused.contains(arm) {
                    continue;
                }
                let query =
                    asked.first().and_then(|a| a.queries.first()).map_or("", String::as_str);
                let query: String = query.chars().take(200).collect();
                notes.missing.push(format!("{name} of the {}: no data of `{query}`", named(*arm)));
                continue;
            };
            let age = frame.settled.duration_since(*seen);
            if age > frame.stale_after {
                let age = age.as_secs();
                notes.stale.push(format!("{name} of the {}: no new data for {age} s", named(*arm)));
            } else {
                notes.fresh = true;
            }
        }
    }
}

/// What is to be told about a round, by how bad it is.
#[derive(Debug, Default)]
struct Notes {
    fresh: bool,
    partial: Vec<String>,
    missing: Vec<String>,
    stale: Vec<String>,
    undecided: Vec<String>,
}

impl Notes {
    fn completeness(self, service: &str) -> Completeness {
        let only_stale = self.missing.is_empty() && !self.stale.is_empty();
        let mut all: Vec<String> = [self.partial, self.missing, self.stale, self.undecided]
            .into_iter()
            .flatten()
            .collect();
        all.sort();
        all.dedup();
        if all.is_empty() && self.fresh {
            return Completeness::Full;
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
