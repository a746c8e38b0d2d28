//! What may still change, and what was counted already: each page view's vital once, each session's error once.
//!
//! - A **vital** counts once, with its last value: when nothing was reported of it for [`QUIET`], when its page view
//!   ended, or [`LATEST`] after its first report.
//! - A **session on a page** counts when it ended or [`LATEST`] after its first report, with or without an error. One
//!   without may count again when it goes on; one with an error never does again. So an error late in a long visit is
//!   seen, and one visitor's broken browser is one event.
//!
//! Counting waits for good and bad alike. If an error counted at once and a good session a minute later, a version
//! that has just begun would look worse than it is.
//!
//! What was counted is remembered for [`REMEMBERED`], as a keyed hash and two times. When all room is taken, new ones
//! are left out: dropping an old one could count it twice.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::answer::LeftOut;
use super::beacon::Versions;
use super::vital::Vital;

const SECOND: i64 = 1_000_000_000;

/// Silence after which a vital is believed to be final; nanoseconds.
pub(super) const QUIET: i64 = 10 * SECOND;

/// The longest that anything waits to be counted; nanoseconds.
pub(super) const LATEST: i64 = 60 * SECOND;

/// How long what was counted is remembered after its last report; nanoseconds.
pub(super) const REMEMBERED: i64 = 30 * 60 * SECOND;

/// Where something was reported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) app: String,
    pub(super) versions: Versions,
    pub(super) page: String,
}

/// Something that counts now, and does not change any more.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) place: Arc<Place>,
    pub(super) what: What,
    pub(super) bad: bool,
}

/// What counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Vital(Vital),
    Session,
}

#[derive(Debug)]
enum State {
    Vital {
        place: Arc<Place>,
        vital: Vital,
        value: f64,
        stamp: Option<i64>,
        begun: i64,
    },
    Session {
        place: Arc<Place>,
        failed: bool,
    },
    /// A vital, or a session with an error.
    Counted,
    /// A session without an error, which may count again.
    Calm,
}

#[derive(Debug)]
struct Kept {
    state: State,
    /// Its last report; nanoseconds since 1970.
    last: i64,
    /// When something becomes of it by itself; nanoseconds since 1970.
    due: i64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Ids {
    most: usize,
    kept: HashMap<u128, Kept>,
    due: BTreeSet<(i64, u128)>,
    open: usize,
}

impl Ids {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: HashMap::new(), due: BTreeSet::new(), open: 0 }
    }

    /// How many may still change.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Lets the time go on; whatever is due is handed over or forgotten.
    pub(super) fn advance(&mut self, now: i64, settled: &mut Vec<Settled>) {
        while let Some((due, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            let is_counted = self.kept.get(&id).is_some_and(|kept| !kept.is_open());
            if is_counted {
                self.kept.remove(&id);
                self.due.remove(&(due, id));
            } else {
                self.settle(id, settled);
            }
        }
    }

    /// Takes in a value of a vital; the time must have been let go on to `now`.
    pub(super) fn vital(
        &mut self,
        id: u128,
        place: &Arc<Place>,
        (vital, value, stamp): (Vital, f64, Option<i64>),
        now: i64,
    ) -> Result<(), LeftOut> {
        let begin = || State::Vital { place: place.clone(), vital, value, stamp, begun: now };
        let kept = self.entry(id, now, begin)?;
        match &mut kept.state {
            State::Vital { value: before, stamp: at, .. } => {
                // The browser's own clock orders what the network did not keep in order.
                if stamp >= *at {
                    (*before, *at) = (value, stamp);
                }
                self.renew(id, now);
                Ok(())
            }
            State::Session { .. } | State::Counted | State::Calm => {
                self.renew(id, now);
                Err(LeftOut::Late)
            }
        }
    }

    /// Takes in that a session is there, and whether it had an error; the time must have been let go on to `now`.
    pub(super) fn session(
        &mut self,
        id: u128,
        place: &Arc<Place>,
        failed: bool,
        now: i64,
    ) -> Result<(), LeftOut> {
        let begin = || State::Session { place: place.clone(), failed };
        let kept = self.entry(id, now, begin)?;
        match &mut kept.state {
            State::Session { failed: before, .. } => *before |= failed,
            State::Calm => {
                kept.state = State::Session { place: place.clone(), failed };
                self.open += 1;
                self.put(id, now, now.saturating_add(LATEST));
            }
            State::Vital { .. } | State::Counted => {}
        }
        self.renew(id, now);
        Ok(())
    }

    /// Counts it now, if it may still change: its page view ended.
    pub(super) fn end(&mut self, id: u128, settled: &mut Vec<Settled>) {
        if self.kept.get(&id).is_some_and(Kept::is_open) {
            self.settle(id, settled);
        }
    }

    fn entry(
        &mut self,
        id: u128,
        now: i64,
        begin: impl FnOnce() -> State,
    ) -> Result<&mut Kept, LeftOut> {
        if !self.kept.contains_key(&id) {
            if self.kept.len() >= self.most {
                return Err(LeftOut::NoRoom);
            }
            let state = begin();
            let wait = if matches!(state, State::Vital { .. }) { QUIET } else { LATEST };
            let due = now.saturating_add(wait);
            self.kept.insert(id, Kept { state, last: now, due });
            self.due.insert((due, id));
            self.open += 1;
        }
        self.kept.get_mut(&id).ok_or(LeftOut::NoRoom)
    }

    /// Notes a report.
    fn renew(&mut self, id: u128, now: i64) {
        let Some(kept) = self.kept.get(&id) else { return };
        let due = match &kept.state {
            State::Vital { begun, .. } => {
                now.saturating_add(QUIET).min(begun.saturating_add(LATEST))
            }
            State::Session { .. } => kept.due,
            State::Counted | State::Calm => now.saturating_add(REMEMBERED),
        };
        self.put(id, now, due);
    }

    fn put(&mut self, id: u128, last: i64, due: i64) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        self.due.remove(&(kept.due, id));
        (kept.last, kept.due) = (last, due);
        self.due.insert((due, id));
    }

    fn settle(&mut self, id: u128, settled: &mut Vec<Settled>) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        let state = std::mem::replace(&mut kept.state, State::Counted);
        match state {
            State::Vital { place, vital, value, .. } => {
                let (what, bad) = (What::Vital(vital), vital.is_poor(value));
                settled.push(Settled { place, what, bad });
            }
            State::Session { place, failed } => {
                if !failed {
                    kept.state = State::Calm;
                }
                settled.push(Settled { place, what: What::Session, bad: failed });
            }
            State::Counted | State::Calm => return,
        }
        self.open = self.open.saturating_sub(1);
        let last = kept.last;
        self.put(id, last, last.saturating_add(REMEMBERED));
    }
}

impl Kept {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Vital { .. } | State::Session { .. })
    }
}
