//! Plays commands: events go to the real machine, and what it asks for goes to the world.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rollout::freeze::{Freeze, Window};
use rollout::{Action, Arm, Event, Happened, State, outstanding, replay, transition};

use super::command::{Change, Command, Setting, Works};
use super::policy::Draft;
use super::problem::Wrong;
use super::show;
use super::words::LONGEST_TIME;
use super::world::{Next, World};

/// A Monday morning, so that weekly freezes behave alike in every script.
const BEGIN: &str = "2026-03-02T09:00:00Z";

/// Events between two checkpoints of the state, as in a real journal.
const CHECKPOINT_EVERY: usize = 512;

/// How long the first version may take to be adopted.
const ADOPTION: SignedDuration = SignedDuration::from_secs(10);

/// A script being played.
#[derive(Debug)]
pub(super) struct Player {
    draft: Draft,
    state: Option<State>,
    world: World,
    /// When the first version served; the clock of the output begins there.
    since: Timestamp,
    played: Duration,
    said: String,
    checkpoint: String,
    journal: Vec<String>,
}

impl Player {
    pub(super) fn new() -> Self {
        let begin: Timestamp = BEGIN.parse().expect("the constant is a timestamp");
        Self {
            draft: Draft::new(),
            state: None,
            world: World::new(begin),
            since: begin,
            played: Duration::ZERO,
            said: String::new(),
            checkpoint: String::new(),
            journal: Vec::new(),
        }
    }

    /// What was done since this was asked last.
    pub(super) fn said(&mut self) -> String {
        std::mem::take(&mut self.said)
    }

    pub(super) fn play(&mut self, command: Command) -> Result<(), Wrong> {
        match command {
            Command::Service(name) => self.service(&name)?,
            Command::Policy(pairs) => {
                let mut draft = self.draft.clone();
                for (key, value) in pairs {
                    draft.set(&key, &value)?;
                }
                draft.policy()?;
                self.draft = draft;
            }
            Command::Stable(change) => self.stable(&change)?,
            Command::Commit(change) => {
                self.serving()?;
                self.commit(&change)?;
                self.look()?;
            }
            Command::Revert { by } => {
                self.serving()?;
                if !self.world.branch.revert_newest(&by, self.world.now) {
                    let hint = "commit something first, and let it not be reverted already";
                    return Err(Wrong::new("there is no change to revert", hint));
                }
                self.look()?;
            }
            Command::World(settings) => self.world(&settings),
            Command::Advance(time) => self.advance(time)?,
            Command::Order { order, by } => self.take(Happened::Operated { by, order })?,
            Command::Provider(works) => self.world.provider = works,
            Command::Router(works) => {
                let again = self.world.set_router(works);
                self.perform(again)?;
            }
            Command::Git(mode) => {
                let again = self.world.set_git(mode);
                self.perform(again)?;
                self.look_soon()?;
            }
            Command::Start(mode) => self.world.start = mode,
            Command::Exit { arm, how } => {
                let live = self.serving()?.live_id().cloned();
                let deployment = live.ok_or_else(|| {
                    Wrong::new(
                        "no deployment is under way",
                        "an exit counts during one; commit first",
                    )
                })?;
                self.take(Happened::Exited { deployment, arm, how })?;
            }
            Command::Freeze { after, lasts, reason } => {
                let from = self.world.now.saturating_add(after).unwrap_or(Timestamp::MAX);
                let to = from.saturating_add(lasts).unwrap_or(Timestamp::MAX);
                self.draft.freeze(Freeze { reason, window: Window::Span { from, to } });
            }
            Command::Crash => self.crash()?,
            Command::Status => {
                let lines = show::status(self.serving()?);
                for line in lines {
                    self.say(&line);
                }
            }
        }
        Ok(())
    }

    fn service(&mut self, name: &str) -> Result<(), Wrong> {
        if self.state.is_some() {
            let hint = "write a script for each service";
            return Err(Wrong::new("a script plays one service", hint));
        }
        self.draft.name(name);
        let state = State::new(name);
        self.checkpoint = text_of(&state);
        self.state = Some(state);
        Ok(())
    }

    /// The first version is adopted before the script's clock begins.
    fn stable(&mut self, change: &Change) -> Result<(), Wrong> {
        if self.state.as_ref().is_some_and(|state| state.stable.is_some()) {
            return Err(Wrong::new(
                "a version serves already",
                "write `> commit` for the next one",
            ));
        }
        self.known()?;
        self.commit(change)?;
        self.look()?;
        self.run_until(self.world.now + ADOPTION)?;
        self.said.clear();
        self.since = self.world.now;
        Ok(())
    }

    fn commit(&mut self, change: &Change) -> Result<(), Wrong> {
        let revision = self.world.branch.revision(change);
        if self.world.branch.has(&revision) {
            let what = format!("a commit {} is there already", revision.short());
            return Err(Wrong::new(what, "give it other digits, or none"));
        }
        self.world.branch.commit(change, self.world.now);
        Ok(())
    }

    fn world(&mut self, settings: &[Setting]) {
        let (now, traffic) = (self.world.now, &mut self.world.traffic);
        traffic.flow(now);
        for setting in settings {
            match *setting {
                Setting::Rate(rate) => traffic.rate = rate,
                Setting::Incident(share) => traffic.incident = share,
                Setting::Errors(Arm::Canary, share) => traffic.canary.error_ratio = share,
                Setting::Errors(Arm::Baseline, share) => traffic.baseline.error_ratio = share,
                Setting::Median(Arm::Canary, seconds) => traffic.canary.median = seconds,
                Setting::Median(Arm::Baseline, seconds) => traffic.baseline.median = seconds,
                Setting::P99(Arm::Canary, seconds) => traffic.canary.p99 = seconds,
                Setting::P99(Arm::Baseline, seconds) => traffic.baseline.p99 = seconds,
            }
        }
    }

    fn advance(&mut self, time: Duration) -> Result<(), Wrong> {
        self.serving()?;
        self.played += time;
        if LONGEST_TIME < self.played {
            let hint = "advance less; a script plays at most 7 days";
            return Err(Wrong::new("the script plays longer than a week", hint));
        }
        let end = self.world.now.saturating_add(time).unwrap_or(Timestamp::MAX);
        self.run_until(end)?;
        self.world.now = end;
        Ok(())
    }

    fn run_until(&mut self, end: Timestamp) -> Result<(), Wrong> {
        while let Some(next) = self.world.next(end) {
            match next {
                Next::Scrape(deployment) => {
                    let now = self.world.now;
                    let what = if self.world.provider == Works::Yes {
                        Happened::Observed { deployment, scrape: self.world.traffic.scrape(now) }
                    } else {
                        self.world.traffic.scrape(now);
                        Happened::Unobserved {
                            deployment,
                            why: "the provider does not answer".to_owned(),
                        }
                    };
                    self.take(what)?;
                }
                Next::Answer(pending) => {
                    if pending.is_look() {
                        self.look()?;
                    } else {
                        let (what, shown) = self.world.arrive(*pending);
                        self.said.extend(shown);
                        self.take(what)?;
                    }
                }
            }
        }
        self.world.now = self.world.now.max(end);
        Ok(())
    }

    /// The watcher takes in the tip of the branch.
    fn look(&mut self) -> Result<(), Wrong> {
        let state = self.known()?;
        if !self.world.sees_branch(state) {
            return Ok(());
        }
        let policy = self.draft.policy()?;
        let Some(candidate) = self.world.branch.candidate(policy, state.stable.as_ref()) else {
            return Ok(());
        };
        self.take(Happened::TipMoved { candidate: Box::new(candidate) })
    }

    fn look_soon(&mut self) -> Result<(), Wrong> {
        let Some(state) = &self.state else { return Err(no_service()) };
        self.world.look(state);
        Ok(())
    }

    fn take(&mut self, what: Happened) -> Result<(), Wrong> {
        let state = self.state.take().ok_or_else(no_service)?;
        let event = Event { at: self.world.now, what };
        if CHECKPOINT_EVERY <= self.journal.len() {
            self.checkpoint = text_of(&state);
            self.journal.clear();
        }
        self.journal.push(text_of(&event));
        let moved = transition(state, &event);
        self.state = Some(moved.state);
        if let Some(end) = &moved.finished {
            self.say(&format!("{} is over: {}", end.id, end.outcome.words()));
        }
        if let Some(reason) = &moved.reason
            && moved.finished.as_ref().is_none_or(|end| end.reason != *reason)
        {
            self.say(reason);
        }
        for action in &moved.withdrawn {
            self.world.withdraw(action);
        }
        self.perform(moved.actions)?;
        self.look_soon()
    }

    fn perform(&mut self, actions: Vec<Action>) -> Result<(), Wrong> {
        for action in actions {
            if let Some(stumbled) = self.world.perform(action) {
                self.take(stumbled)?;
            }
        }
        Ok(())
    }

    /// Everything in memory is lost; the journal is read back and what is outstanding done again.
    fn crash(&mut self) -> Result<(), Wrong> {
        let before = self.serving()?.clone();
        let damaged = |error: serde_json::Error| {
            Wrong::new(
                format!("the journal cannot be read back: {error}"),
                "please report this script",
            )
        };
        let events: Vec<Event> = self
            .journal
            .iter()
            .map(|text| serde_json::from_str(text))
            .collect::<Result<_, _>>()
            .map_err(damaged)?;
        let state =
            replay::state(serde_json::from_str(&self.checkpoint).map_err(damaged)?, &events);
        if state != before {
            return Err(Wrong::new(
                "the journal tells another story than was lived",
                "please report this script",
            ));
        }
        self.world.forget();
        let again = outstanding(&state);
        let left = match again.len() {
            1 => "1 action is outstanding".to_owned(),
            count => format!("{count} actions are outstanding"),
        };
        self.state = Some(state);
        self.say(&format!("Serin was killed and started again; {left}"));
        self.perform(again)?;
        self.look_soon()
    }

    fn say(&mut self, text: &str) {
        self.said.push_str(&show::line(self.since, self.world.now, text));
    }

    fn known(&self) -> Result<&State, Wrong> {
        self.state.as_ref().ok_or_else(no_service)
    }

    fn serving(&self) -> Result<&State, Wrong> {
        let state = self.known()?;
        if state.stable.is_none() {
            let hint = "write `> stable \"Version 1\"` first";
            return Err(Wrong::new("no version serves yet", hint));
        }
        Ok(state)
    }
}

fn no_service() -> Wrong {
    Wrong::new("the script has no service yet", "begin it with `> service checkout`")
}

fn text_of(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("states and events have no keys but text")
}
