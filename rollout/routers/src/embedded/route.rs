//! One service's arms, weight and choice of instance.
//!
//! Arms and weight change together under one lock, which requests hold only for the choice of an
//! instance: tens of nanoseconds, no await. The choice puts the request in flight under the same
//! lock, so a caller that has removed an instance knows that no request is yet to come to it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use analysis::Arm;
use rollout::Weight;

use super::counts::InstanceCounts;
use super::instance::{Backend, Flight, Instance, Sampled};
use super::random::Random;
use super::split::{Position, Sequence};
use crate::RouteError;

/// One service's traffic.
#[derive(Debug)]
pub(super) struct Route {
    service: String,
    table: RwLock<Table>,
    sequence: Sequence,
    /// Requests that no instance was there to serve.
    unrouted: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    /// Above 0 only while the canary has an instance.
    weight: Weight,
    baseline: Backends,
    canary: Backends,
    /// Instances that were removed and may still have requests in flight; these alone keep them.
    retired: Vec<(Arm, Weak<Instance>)>,
}

#[derive(Debug, Default)]
struct Backends {
    instances: Vec<Arc<Instance>>,
    next: AtomicUsize,
    /// Apart from `next`, or each detour would skip a turn and two instances never alternate.
    next_other: AtomicUsize,
}

/// Who asks for an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Anyone; has a position if sticky.
    Client(Option<Position>),
    /// A tester, who gets the canary when one runs.
    Tester,
}

/// The instance that serves a request.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) flight: Flight,
    /// The position that was given out, while there is a split to remember it for.
    pub(super) assigned: Option<Position>,
}

impl Route {
    pub(super) fn new(service: &str, random: &Random) -> Arc<Self> {
        Arc::new(Self {
            service: service.to_owned(),
            table: RwLock::default(),
            sequence: Sequence::new(random),
            unrouted: AtomicU64::new(0),
        })
    }

    /// Chooses an instance and puts the request in flight there.
    pub(super) fn choose(&self, asker: Asker) -> Option<Choice> {
        let table = self.read();
        let split = table.weight;
        let (arm, sampled, assigned) = match asker {
            Asker::Tester if !table.canary.instances.is_empty() => {
                (Arm::Canary, Sampled::Tester, None)
            }
            // Without a canary a tester is a client like any other.
            Asker::Tester => (Arm::Baseline, Sampled::Fair, None),
            Asker::Client(_) if split == Weight::ZERO => (Arm::Baseline, Sampled::Fair, None),
            Asker::Client(kept) => {
                let position = kept.unwrap_or_else(|| self.sequence.next());
                let arm = if position.is_canary(split) { Arm::Canary } else { Arm::Baseline };
                (arm, Sampled::Fair, kept.is_none().then_some(position))
            }
        };
        let chosen = table.backends(arm).next();
        if chosen.is_none() {
            self.unrouted.fetch_add(1, Ordering::Relaxed);
        }
        chosen.map(|instance| Choice { flight: Flight::begin(instance, sampled), assigned })
    }

    /// Another instance for a request that did not reach `failed`: always of the baseline.
    pub(super) fn choose_other(&self, failed: &Flight) -> Option<Flight> {
        let table = self.read();
        let other = table.baseline.next_except(&failed.instance)?;
        Some(Flight::begin(other, failed.sampled()))
    }

    /// The canary's share.
    pub(super) fn weight(&self) -> Weight {
        self.read().weight
    }

    pub(super) fn shift(&self, weight: Weight) -> Result<Weight, RouteError> {
        let mut table = self.write();
        let lacks = |arm| RouteError::NoBackends { service: self.service.clone(), arm };
        if weight > Weight::ZERO && table.canary.instances.is_empty() {
            return Err(lacks(Arm::Canary));
        }
        if Weight::ZERO < weight && weight < Weight::FULL && table.baseline.instances.is_empty() {
            return Err(lacks(Arm::Baseline));
        }
        table.weight = weight;
        Ok(table.weight)
    }

    pub(super) fn set_backends(&self, arm: Arm, backends: Vec<Backend>) {
        let mut table = self.write();
        let old = std::mem::take(&mut table.backends_mut(arm).instances);
        let mut new: Vec<Arc<Instance>> = Vec::with_capacity(backends.len());
        for backend in backends {
            if new.iter().any(|earlier| earlier.backend.instance == backend.instance) {
                continue;
            }
            let kept = old.iter().find(|instance| instance.backend == backend);
            new.push(kept.map_or_else(|| Instance::new(backend), Arc::clone));
        }
        for gone in old.iter().filter(|old| !new.iter().any(|new| Arc::ptr_eq(old, new))) {
            table.retired.push((arm, Arc::downgrade(gone)));
        }
        if arm == Arm::Canary && new.is_empty() {
            // The weight was confirmed for instances that are gone; the next are to earn theirs.
            table.weight = Weight::ZERO;
        }
        table.backends_mut(arm).instances = new;
        // Dropped first, so that those without requests are gone from the list at once.
        drop(old);
        table.retired.retain(|(_, instance)| instance.strong_count() > 0);
    }

    /// Makes the canary's instances the baseline's; returns whether there were any.
    pub(super) fn promote(&self) -> bool {
        let mut table = self.write();
        let promoted = std::mem::take(&mut table.canary.instances);
        if promoted.is_empty() {
            return false;
        }
        let old = std::mem::replace(&mut table.baseline.instances, promoted);
        table.weight = Weight::ZERO;
        table.retired.extend(old.iter().map(|gone| (Arm::Baseline, Arc::downgrade(gone))));
        drop(old);
        table.retired.retain(|(_, instance)| instance.strong_count() > 0);
        true
    }

    /// Waits until nothing is in flight on any instance of that name, at most `deadline`; returns
    /// what is left.
    pub(super) async fn drain(&self, instance: &str, deadline: Duration) -> usize {
        let named: Vec<Arc<Instance>> = self
            .all()
            .into_iter()
            .map(|(_, found)| found)
            .filter(|found| found.backend.instance == instance)
            .collect();
        futures_util::future::join_all(named.iter().map(|found| found.drain(deadline)))
            .await
            .into_iter()
            .sum()
    }

    /// Waits until nothing is in flight at all.
    pub(super) async fn idle(&self) {
        let all = self.all();
        futures_util::future::join_all(all.iter().map(|(_, found)| found.drain(Duration::MAX)))
            .await;
    }

    pub(super) fn counts(&self) -> Vec<InstanceCounts> {
        let read =
            |(arm, found): &(Arm, Arc<Instance>)| found.counts.read(*arm, &found.backend.instance);
        self.listed().iter().map(read).collect()
    }

    /// Requests that found no instance, since the start.
    pub(super) fn unrouted(&self) -> u64 {
        self.unrouted.load(Ordering::Relaxed)
    }

    /// Every instance, each name once per arm: of two with one name, the one that serves.
    pub(super) fn listed(&self) -> Vec<(Arm, Arc<Instance>)> {
        let mut listed: Vec<(Arm, Arc<Instance>)> = Vec::new();
        for (arm, found) in self.all() {
            let name = &found.backend.instance;
            if !listed.iter().any(|(of, other)| *of == arm && other.backend.instance == *name) {
                listed.push((arm, found));
            }
        }
        listed
    }

    /// Every instance, those that were removed and still have requests included.
    pub(super) fn all(&self) -> Vec<(Arm, Arc<Instance>)> {
        let table = self.read();
        let of = |arm: Arm| {
            table.backends(arm).instances.iter().map(move |found| (arm, Arc::clone(found)))
        };
        let retired = table
            .retired
            .iter()
            .filter_map(|(arm, found)| found.upgrade().map(|found| (*arm, found)));
        of(Arm::Baseline).chain(of(Arm::Canary)).chain(retired).collect()
    }

    // Nothing panics while it holds the lock, and a table is whole after each statement.
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn backends(&self, arm: Arm) -> &Backends {
        match arm {
            Arm::Baseline => &self.baseline,
            Arm::Canary => &self.canary,
        }
    }

    fn backends_mut(&mut self, arm: Arm) -> &mut Backends {
        match arm {
            Arm::Baseline => &mut self.baseline,
            Arm::Canary => &mut self.canary,
        }
    }
}

impl Backends {
    /// The next instance in turn.
    fn next(&self) -> Option<Arc<Instance>> {
        let count = self.instances.len();
        if count <= 1 {
            return self.instances.first().cloned();
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.instances.get(turn % count).cloned()
    }

    /// The next instance in turn that is not `failed`.
    fn next_except(&self, failed: &Arc<Instance>) -> Option<Arc<Instance>> {
        let turn = self.next_other.fetch_add(1, Ordering::Relaxed) % self.instances.len().max(1);
        let (before, from) = self.instances.split_at(turn.min(self.instances.len()));
        from.iter().chain(before).find(|other| !Arc::ptr_eq(other, failed)).cloned()
    }
}
