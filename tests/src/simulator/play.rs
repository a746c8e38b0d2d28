//! Plays one seed: the world's queue, the real machine, a journal as text, and crashes.

use std::collections::VecDeque;
use std::fmt;

use rollout::{Action, Event, Happened, State, outstanding, replay, transition};

use super::Crashes;
use super::promises::{Ending, Promises, is_held};
use super::scenario::{CALM, Plan, Scenario};
use super::world::{Item, POLL, SCRAPE, World, hash};

/// By then every deployment of the longest plan has run into its last deadline, in milliseconds.
const HORIZON: i64 = 6_000_000;

/// A deployment that has been held for this long in a calm world stays so.
const STILL: i64 = 400_000;

/// Events between two checkpoints.
const CHECKPOINT_EVERY: usize = 64;

/// Lines of the story that a violation prints.
const REMEMBERED: usize = 60;

/// What became of a seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Ended deployments, oldest first.
    pub endings: Vec<Ending>,
    /// How often Serin died.
    pub crashes: u32,
    /// Events that the machine took in.
    pub events: u32,
    /// Virtual seconds.
    pub seconds: i64,
}

/// A promise that was broken.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The seed that shows it.
    pub seed: u64,
    /// Whether Serin died meanwhile.
    pub crashes: Crashes,
    /// Which promise, and how.
    pub what: String,
    /// What led to it, newest last.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} with {:?} crashes: {}", self.seed, self.crashes, self.what)?;
        self.trace.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// Plays the scenario of a seed to its end.
///
/// # Errors
/// The first promise that was broken, with what led to it.
pub fn run(seed: u64, crashes: Crashes) -> Result<Report, Box<Violation>> {
    let mut play = Play::new(seed, crashes);
    let ended = play.play_on();
    ended.map_err(|what| {
        let trace = play.trace.iter().cloned().collect();
        Box::new(Violation { seed, crashes, what, trace })
    })?;
    Ok(Report {
        endings: play.promises.endings,
        crashes: play.died,
        events: play.events,
        seconds: play.world.now / 1_000,
    })
}

struct Play {
    // inputs
    scenario: Scenario,
    crashes: Crashes,
    // the world and Serin in it
    world: World,
    state: State,
    checkpoint: String,
    journal: Vec<String>,
    /// Serin is dead until then.
    down_until: Option<i64>,
    // what is watched
    promises: Promises,
    trace: VecDeque<String>,
    moved_at: i64,
    died: u32,
    events: u32,
}

impl Play {
    fn new(seed: u64, crashes: Crashes) -> Self {
        let scenario = Scenario::new(seed);
        let state = State::new("checkout");
        Self {
            world: World::new(&scenario),
            checkpoint: text_of_state(&state),
            scenario,
            crashes,
            state,
            journal: Vec::new(),
            down_until: None,
            promises: Promises::default(),
            trace: VecDeque::new(),
            moved_at: 0,
            died: 0,
            events: 0,
        }
    }

    fn play_on(&mut self) -> Result<(), String> {
        while let Some(item) = self.world.next() {
            self.item(item)?;
            if HORIZON < self.world.now || self.is_over() {
                break;
            }
        }
        self.promises.check_end(&self.state, &self.world)
    }

    fn is_over(&self) -> bool {
        let calm = CALM * 1_000 < self.world.now && self.down_until.is_none();
        let seen = self.state.seen.as_ref() == Some(&self.world.branch.tip().commit.revision);
        calm && match &self.state.live {
            None => seen && self.state.outbox.is_empty() && self.world.is_quiet(),
            Some(live) => is_held(live) && self.moved_at + STILL < self.world.now,
        }
    }

    fn item(&mut self, item: Item) -> Result<(), String> {
        let now = self.world.now;
        match item {
            Item::Scrape => {
                self.world.enqueue(now + SCRAPE, Item::Scrape);
                self.scrape()
            }
            Item::Poll => {
                self.world.enqueue(now + POLL, Item::Poll);
                let tip = self.world.branch.entries.len() - 1;
                let known =
                    self.state.seen.as_ref() == Some(&self.world.branch.tip().commit.revision);
                if self.down_until.is_none() && !known && self.scenario.git_answers(now) == now {
                    let after =
                        self.scenario.dice.between(10, 3_000, "watcher", now.unsigned_abs());
                    self.world.enqueue(now + after, Item::Seen(tip));
                }
                Ok(())
            }
            Item::Seen(index) => {
                let entry = &self.world.branch.entries[index];
                let candidate = self.world.branch.candidate(
                    entry,
                    &self.world.policy,
                    self.state.stable.as_ref(),
                );
                self.take(Happened::TipMoved { candidate: Box::new(candidate) })
            }
            Item::Death(deployment) => {
                if self.down_until.is_some() || self.world.canary.is_none() {
                    return Ok(());
                }
                let how = "signal 9".to_owned();
                self.take(Happened::Exited { deployment, arm: analysis::Arm::Canary, how })
            }
            Item::Plan(index) => self.plan(index),
            Item::Answer { what, effect, .. } => {
                let what = self.world.apply(&self.scenario, what, effect);
                self.take(what)
            }
            Item::Restart => {
                self.down_until = None;
                self.restart()
            }
        }
    }

    fn scrape(&mut self) -> Result<(), String> {
        let Some(deployment) = self.world.measuring.clone() else { return Ok(()) };
        if self.scenario.incident(self.world.now) > 0.0 {
            self.promises.incident(&self.state);
        }
        let what = if self.scenario.measurable(self.world.now) {
            Happened::Observed { deployment, scrape: self.world.scrape(&self.scenario) }
        } else {
            Happened::Unobserved { deployment, why: "the provider does not answer".to_owned() }
        };
        self.take(what)
    }

    fn plan(&mut self, index: usize) -> Result<(), String> {
        let time = self.world.time();
        match self.scenario.plans[index].1 {
            Plan::Commit(truth) => self.world.branch.commit(truth, time),
            Plan::Elsewhere => self.world.branch.elsewhere(time),
            Plan::Revert => self.world.branch.revert_newest(time),
            Plan::Order(order) => {
                if let Some(up) = self.down_until {
                    self.world.enqueue(up + 1, Item::Plan(index));
                    return Ok(());
                }
                return self.take(Happened::Operated { by: "alice".to_owned(), order });
            }
        }
        Ok(())
    }

    fn take(&mut self, what: Happened) -> Result<(), String> {
        let event = Event { at: self.world.time(), what };
        if CHECKPOINT_EVERY <= self.journal.len() {
            self.checkpoint = text_of_state(&self.state);
            self.journal.clear();
        }
        self.journal.push(text_of_event(&event));
        self.events += 1;
        let before = self.state.clone();
        let moved = transition(std::mem::replace(&mut self.state, State::new("")), &event);
        self.note(&event, &moved);
        self.promises.check(&before, &event, &moved, &self.world)?;
        self.state = moved.state;
        for action in &moved.withdrawn {
            self.world.withdraw(action);
        }
        self.perform(&moved.actions);
        self.maybe_crash(&event)
    }

    fn perform(&mut self, actions: &[Action]) {
        for action in actions {
            self.world.perform(&self.scenario, action);
        }
    }

    fn maybe_crash(&mut self, event: &Event) -> Result<(), String> {
        // Scrapes are most of the events, and what follows them the least interesting.
        let probability = if matches!(event.what, Happened::Observed { .. }) { 0.01 } else { 0.2 };
        let number = u64::from(self.events);
        if self.crashes == Crashes::None
            || !self.scenario.dice.happens(probability, "crash", number)
        {
            return Ok(());
        }
        self.died += 1;
        if self.crashes == Crashes::Instant {
            return self.restart();
        }
        let dice = self.scenario.dice;
        self.world.lose_answers(&self.scenario, |key| {
            dice.happens(0.5, "done nevertheless", hash(key).wrapping_add(number))
        });
        let down = dice.between(100, 20_000, "down", number);
        self.down_until = Some(self.world.now + down);
        self.world.enqueue(self.world.now + down, Item::Restart);
        Ok(())
    }

    /// The journal is read back, and all that is outstanding is done again.
    fn restart(&mut self) -> Result<(), String> {
        let unreadable = |error: serde_json::Error| format!("the journal cannot be read: {error}");
        let events: Vec<Event> = self
            .journal
            .iter()
            .map(|line| serde_json::from_str(line))
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        let state: State = serde_json::from_str(&self.checkpoint).map_err(unreadable)?;
        let state = replay::state(state, &events);
        if state != self.state {
            return Err("the journal tells another story than was lived".to_owned());
        }
        self.state = state;
        let asked = outstanding(&self.state);
        self.perform(&asked);
        Ok(())
    }

    fn note(&mut self, event: &Event, moved: &rollout::Transition) {
        let Some(reason) = &moved.reason else { return };
        self.moved_at = self.world.now;
        if REMEMBERED <= self.trace.len() {
            self.trace.pop_front();
        }
        let what = format!("{:?}", event.what);
        let what = what.split([' ', '{']).next().unwrap_or_default();
        self.trace.push_back(format!("{:>9.1} s  {what}: {reason}", seconds(self.world.now)));
    }
}

fn seconds(milliseconds: i64) -> f64 {
    jiff::SignedDuration::from_millis(milliseconds).as_secs_f64()
}

fn text_of_state(state: &State) -> String {
    serde_json::to_string(state).expect("a state has no keys but text")
}

fn text_of_event(event: &Event) -> String {
    serde_json::to_string(event).expect("an event has no keys but text")
}
