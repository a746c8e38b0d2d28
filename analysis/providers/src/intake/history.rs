//! Errors that a service showed lately: what was there before a deployment is not new.
//!
//! Fed by what the serving version shows, also while nothing is live; never by a canary, whose errors would be known
//! when the same mistake is deployed again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use analysis_traces::{Arms, Fingerprint, Resource};

use analysis::Arm;

/// How long an error stays known; nanoseconds.
const DAY: u64 = 24 * 3_600 * 1_000_000_000;

/// After a deployment ended its canary may still answer; nanoseconds.
const DRAINING: u64 = 300 * 1_000_000_000;

/// Errors of one service.
const MOST_ERRORS: usize = 4_096;

/// A service whose spans somebody wants, now or for the next deployment.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// Deployments that are watched.
    pub(super) watches: Vec<String>,
    /// When it was last asked about; nanoseconds since 1970.
    pub(super) asked: u64,
    /// When each error was last seen.
    errors: HashMap<Fingerprint, u64>,
    /// The deployment that ended last, and until when its canary may answer.
    ended: Option<(Arms, u64)>,
}

impl Service {
    /// Notes an error, seen at this time.
    pub(super) fn note(&mut self, error: Fingerprint, at: u64) {
        if self.errors.len() >= MOST_ERRORS && !self.errors.contains_key(&error) {
            self.drop_oldest(at);
        }
        let seen = self.errors.entry(error).or_default();
        *seen = at.max(*seen);
    }

    /// Makes room for an eighth.
    fn drop_oldest(&mut self, now: u64) {
        self.errors.retain(|_, seen| seen.saturating_add(DAY) > now);
        let surplus = (self.errors.len() + MOST_ERRORS / 8).saturating_sub(MOST_ERRORS);
        if surplus > 0 {
            let mut all: Vec<(u64, Fingerprint)> =
                self.errors.iter().map(|(error, seen)| (*seen, *error)).collect();
            all.sort_unstable();
            for (_, error) in all.into_iter().take(surplus) {
                self.errors.remove(&error);
            }
        }
    }

    /// Errors of the last day.
    pub(super) fn known(&self, now: u64) -> BTreeSet<Fingerprint> {
        let is_recent = |(_, seen): &(&Fingerprint, &u64)| seen.saturating_add(DAY) > now;
        self.errors.iter().filter(is_recent).map(|(error, _)| *error).collect()
    }

    /// Notes that a deployment ended.
    pub(super) fn end(&mut self, arms: Arms, now: u64) {
        self.ended = Some((arms, now.saturating_add(DRAINING)));
    }

    /// Whether a process may be the canary of the deployment that ended last.
    pub(super) fn may_be_canary(&self, resource: &Resource, now: u64) -> bool {
        self.ended
            .as_ref()
            .is_some_and(|(arms, until)| now < *until && arms.arm_of(resource) == Some(Arm::Canary))
    }
}

/// Services by name, bounded.
#[derive(Debug, Default)]
pub(super) struct Services(HashMap<Arc<str>, Service>);

/// Services that are remembered without a deployment; those that were asked about longest ago go first.
const MOST_SERVICES: usize = 1_000;

impl Services {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name as it is kept, if somebody wants the service's spans.
    pub(super) fn wanted(&self, name: &str) -> Option<Arc<str>> {
        self.0.get_key_value(name).map(|(name, _)| name.clone())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Service> {
        self.0.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Service> {
        self.0.get_mut(name)
    }

    /// The service of this name, wanted from now on.
    pub(super) fn want(&mut self, name: &str, now: u64) -> &mut Service {
        if !self.0.contains_key(name) && self.0.len() >= MOST_SERVICES {
            let idle = self.0.iter().filter(|(_, service)| service.watches.is_empty());
            let oldest =
                idle.min_by_key(|(_, service)| service.asked).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        let service = self.0.entry(name.into()).or_default();
        service.asked = service.asked.max(now);
        service
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_known_for_a_day_and_are_bounded() {
        let mut service = Service::default();
        service.note(Fingerprint(1), 10);
        service.note(Fingerprint(2), DAY);
        service.note(Fingerprint(2), 20);
        assert_eq!(service.known(11).len(), 2);
        assert_eq!(service.known(DAY + 10), BTreeSet::from([Fingerprint(2)]));
        for error in 0..20_000 {
            service.note(Fingerprint(error), DAY + error);
        }
        assert!(service.errors.len() <= MOST_ERRORS);
        assert!(service.known(DAY + 20_000).contains(&Fingerprint(19_999)));
        assert!(!service.known(DAY + 20_000).contains(&Fingerprint(1)));
    }

    #[test]
    fn services_without_deployment_are_bounded() {
        let mut services = Services::default();
        services.want("live", 0).watches.push("id".into());
        for at in 0..3_000_u64 {
            services.want(&format!("service-{at}"), at);
        }
        assert_eq!(services.0.len(), MOST_SERVICES);
        assert!(services.wanted("live").is_some() && services.wanted("service-0").is_none());
        assert!(services.wanted("service-2999").is_some());
    }
}
