//! What was counted of every version since the start, for people who look whether beacons arrive.

use std::collections::BTreeMap;

use super::answer::{AppCounts, ErrorCount, Share};
use super::beacon::Versions;
use super::ids::{Place, Settled, What};
use super::vital::Vital;

/// Versions of apps that are kept.
const MOST: usize = 200;

/// Errors of one version that are kept.
const MOST_ERRORS: usize = 10;

#[derive(Debug, Default)]
struct One {
    vitals: [Share; 5],
    sessions: Share,
    errors: BTreeMap<String, u64>,
    last: i64,
}

/// By app and version.
#[derive(Debug, Default)]
pub(super) struct Totals(BTreeMap<(String, Versions), One>);

impl Totals {
    /// The counts of a place; the one that was silent for the longest makes room.
    fn at(&mut self, place: &Place, now: i64) -> &mut One {
        let key = (place.app.clone(), place.versions.clone());
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, one)| one.last).map(|(key, _)| key.clone());
            oldest.map(|key| self.0.remove(&key));
        }
        let one = self.0.entry(key).or_default();
        one.last = one.last.max(now);
        one
    }

    pub(super) fn take(&mut self, settled: &Settled, now: i64) {
        let one = self.at(&settled.place, now);
        match settled.what {
            What::Vital(vital) => one.vitals[vital.place()].add(settled.bad),
            What::Session => one.sessions.add(settled.bad),
        }
    }

    pub(super) fn fail(&mut self, place: &Place, errors: &[String], now: i64) {
        if errors.is_empty() {
            return;
        }
        let known = &mut self.at(place, now).errors;
        for error in errors {
            if let Some(count) = known.get_mut(error) {
                *count = count.saturating_add(1);
            } else if known.len() < MOST_ERRORS {
                known.insert(error.clone(), 1);
            }
        }
    }

    pub(super) fn told(&self) -> Vec<AppCounts> {
        let mut told: BTreeMap<(&str, &str), One> = BTreeMap::new();
        for ((app, versions), one) in &self.0 {
            told.entry((app, versions.shown())).or_default().add(one);
        }
        told.into_iter().map(|((app, version), one)| one.told(app, version)).collect()
    }
}

impl One {
    fn add(&mut self, other: &Self) {
        for (sum, share) in self.vitals.iter_mut().zip(&other.vitals) {
            sum.extend(*share);
        }
        self.sessions.extend(other.sessions);
        for (error, count) in &other.errors {
            let sum = self.errors.entry(error.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    fn told(self, app: &str, version: &str) -> AppCounts {
        let errors = self.errors.into_iter().map(|(error, count)| ErrorCount { error, count });
        let mut errors: Vec<ErrorCount> = errors.collect();
        errors.sort_by_key(|error| std::cmp::Reverse(error.count));
        errors.truncate(MOST_ERRORS);
        AppCounts {
            app: app.to_owned(),
            version: version.to_owned(),
            vitals: Vital::ALL.map(|vital| (vital.name(), self.vitals[vital.place()])).into(),
            sessions: self.sessions,
            errors,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_versions_the_latest_are_kept() {
        let mut totals = Totals::default();
        for number in 0..500 {
            let version = Some(format!("v{number}"));
            let versions = Versions([None, version, None]);
            let place = Place { app: "shop".into(), versions, page: "/".into() };
            let errors: Vec<String> = (0..20).map(|n| "E".repeat(n + 1)).collect();
            totals.fail(&place, &errors, number);
            totals.fail(&place, &errors[3..4], number);
        }
        let told = totals.told();
        assert_eq!((told.len(), told[0].errors.len()), (MOST, MOST_ERRORS));
        assert_eq!((told[0].errors[0].error.as_str(), told[0].errors[0].count), ("EEEE", 2));
        assert!(told.iter().all(|one| one.version.as_str() >= "v300"));
    }
}
