//! What both providers keep: the counters of every subject, and the rule for when they become a scrape.
//!
//! The arms of a check advance together or not at all. When a whole arm is missing, stale or has
//! nothing new, nothing of that check is differenced; since counters are cumulative, the next complete
//! round brings the counts of the whole time for both arms. So no scrape compares one arm's minute with
//! another arm's second, an outage is never a zero, and a source's scrape is never counted twice.

mod account;
mod notes;
mod strata;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use analysis::{Arm, Scrape};
use jiff::Timestamp;

use self::account::Account;
use self::notes::Notes;
use self::strata::Split;
use crate::counters::Reading;
use crate::families::{self, Chosen};
use crate::reads::{Key, Reads};
use crate::selector::Series;
use crate::subject::{Measure, Source, Subject};
use crate::{Choice, Completeness};

/// Counters by subject.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    subjects: Mutex<HashMap<String, Account>>,
    /// Whether the source evaluates queries of a single value.
    evaluates: bool,
}

/// What a check of a subject reads, and for which measure that was decided.
#[derive(Debug, Clone)]
struct Decision {
    measure: Measure,
    chosen: Result<Chosen, String>,
    /// Not to be decided again.
    settled: bool,
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

impl Ledger {
    /// Of a source that evaluates queries of a single value.
    pub(crate) fn that_evaluates() -> Self {
        Self { evaluates: true, ..Self::default() }
    }

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
            let no_queries = matches!(measure.source, Source::Value(_)) && !self.evaluates;
            let given = if no_queries {
                Err("pages of metrics evaluate no query; write the gauge's name".to_owned())
            } else {
                Reads::given(measure)
            };
            match given {
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

    /// Reads a named histogram as a native one from now on.
    pub(crate) fn read_native(&self, subject: &str, measure: &Measure, reads: Reads) {
        self.choose(subject, measure, Ok(Chosen::given(reads)), true);
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
            account.retain(|check| check != measure.check);
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
        account.retain(|check| subject.measures.iter().any(|m| m.check == check));
        let mut scrape = Scrape { at, observations: Vec::new() };
        let mut notes = Notes::default();
        let mut latest = None;
        for round in rounds {
            let measure = subject.measures.iter().find(|m| m.check == round.check);
            let split = Split::by(measure.map_or(&[], |m| m.strata.as_slice()));
            account.learn(round, split);
            account.take_starts(round);
            if wrong.hold.is_some() {
                notes.fresh = true;
                continue;
            }
            if account.is_ready(subject, at, round, stale_after, &mut notes) {
                let advanced = if round.reads.is_gauge() {
                    account.take_gauges(round, &mut scrape.observations)
                } else {
                    account.advance(round, split, &mut scrape.observations, &mut notes)
                };
                latest = latest.max(advanced);
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

/// An arm in running text.
pub(crate) fn named(arm: Arm) -> &'static str {
    match arm {
        Arm::Baseline => "baseline",
        Arm::Canary => "canary",
    }
}
