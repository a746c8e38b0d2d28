//! The loop: select, append to the journal, transition, perform.
//!
//! One task owns every service's state. Events come in from the watcher, the meters, people and
//! finished actions; each batch is durable before any effect. There is one exception, and it only
//! ever makes things safer: while the journal cannot be written (a full disk), traffic still goes
//! back from a failing canary. After a crash the same evidence leads to the same place.

mod append;

mod inbox;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rollout::{Action, Event, Happened, Phase, State, outstanding, transition};
use rollout_targets::process::Exit;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

pub use self::inbox::{Inbox, Message, Stopped, inbox};
use crate::board::Board;
use crate::clock::now;
use crate::journal::{Journal, JournalError};
use crate::perform::{Answer, Performer};

/// Events in one transaction: bounds the memory of a batch, and the time until its effects.
const BATCH: usize = 512;

/// Events of one service between two checkpoints; a restart replays at most these for each.
const CHECKPOINT_EVERY: u32 = 128;

/// One piece of work that ended.
struct Done {
    service: String,
    key: String,
    answer: Answer,
}

/// An event that waits to be appended.
struct Waiting {
    service: String,
    event: Event,
    reply: Option<oneshot::Sender<Option<String>>>,
}

/// The loop and all that it owns.
pub struct Driver {
    // inputs
    messages: mpsc::Receiver<Message>,
    exits: mpsc::Receiver<Exit>,
    // outputs
    journal: Journal,
    performer: Arc<Performer>,
    board: Arc<Board>,
    // internal state
    states: HashMap<String, State>,
    jobs: JoinSet<Done>,
    running: HashMap<(String, String), AbortHandle>,
    restored: HashSet<String>,
    timers: BinaryHeap<Reverse<(Timestamp, String)>>,
    since_checkpoint: HashMap<String, u32>,
    checkpoints: HashSet<String>,
    /// What came while the journal refused.
    held: Vec<Waiting>,
}

impl Driver {
    /// A driver over what the journal holds; nothing is performed before [`Driver::run`].
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn new(
        journal: Journal,
        performer: Arc<Performer>,
        board: Arc<Board>,
        messages: mpsc::Receiver<Message>,
        exits: mpsc::Receiver<Exit>,
    ) -> Result<Self, JournalError> {
        let states: HashMap<String, State> =
            journal.replay().await?.into_iter().map(|s| (s.service.clone(), s)).collect();
        for state in states.values() {
            board.publish(state, None);
        }
        Ok(Self {
            messages,
            exits,
            journal,
            performer,
            board,
            states,
            jobs: JoinSet::new(),
            running: HashMap::new(),
            restored: HashSet::new(),
            timers: BinaryHeap::new(),
            since_checkpoint: HashMap::new(),
            checkpoints: HashSet::new(),
            held: Vec::new(),
        })
    }

    /// Runs until `stop` resolves or every sender is gone. Dropping it half-way is a crash: safe.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        self.restore_all();
        tokio::pin!(stop);
        let mut addresses = self.performer.processes.watch();
        let mut messages = Vec::with_capacity(BATCH);
        loop {
            let timer = self.timers.peek().map(|Reverse((at, _))| *at);
            let mut waiting = Vec::new();
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(done) = self.jobs.join_next_with_id(), if !self.jobs.is_empty() => {
                    self.ended(done, &mut waiting);
                }
                Some(exit) = self.exits.recv() => waiting.extend(self.exit(exit)),
                Ok(()) = addresses.changed() => {
                    self.states.values().for_each(|state| self.performer.follow_addresses(state));
                }
                () = sleep_until(timer) => self.woke(&mut waiting),
                count = self.messages.recv_many(&mut messages, BATCH) => {
                    if count == 0 { break; }
                    for message in messages.drain(..) {
                        self.message(message, &mut waiting);
                    }
                }
            }
            if !waiting.is_empty() {
                self.take(waiting).await;
            }
        }
        self.jobs.shutdown().await;
    }

    fn message(&self, message: Message, waiting: &mut Vec<Waiting>) {
        match message {
            Message::Event { service, what, reply } => {
                let event = Event { at: now(), what };
                waiting.push(Waiting { service, event, reply });
            }
            Message::State { service, reply } => {
                // A reader that has gone away needs no answer.
                let _ = reply.send(self.states.get(&service).cloned());
            }
        }
    }

    fn exit(&self, exit: Exit) -> Option<Waiting> {
        let state = self.states.get(&exit.service)?;
        let how = how(&exit);
        self.performer.meters.exited(&exit.service, &exit.revision, &exit.instance);
        tracing::warn!(
            service = exit.service,
            revision = exit.revision,
            how,
            "a process ended by itself"
        );
        let live = state.live.as_ref()?;
        let arm = if live.deployment.canary.revision().as_str() == exit.revision {
            rollout::Arm::Canary
        } else {
            rollout::Arm::Baseline
        };
        let what = Happened::Exited { deployment: live.deployment.id.clone(), arm, how };
        Some(Waiting { service: exit.service, event: Event { at: now(), what }, reply: None })
    }

    fn woke(&mut self, waiting: &mut Vec<Waiting>) {
        let at = now();
        while let Some(Reverse((due, _))) = self.timers.peek()
            && *due <= at
            && let Some(Reverse((_, service))) = self.timers.pop()
        {
            let event = Event { at, what: Happened::Woke };
            waiting.push(Waiting { service, event, reply: None });
        }
    }

    /// Appends and takes in a batch, and then whatever that answers at once.
    async fn take(&mut self, mut waiting: Vec<Waiting>) {
        while !waiting.is_empty() {
            self.append(&waiting).await;
            let mut next = Vec::new();
            for item in waiting {
                self.step(item, &mut next);
            }
            next.append(&mut self.held);
            waiting = next;
        }
    }

    fn step(&mut self, item: Waiting, next: &mut Vec<Waiting>) {
        let Waiting { service, event, reply } = item;
        let state = self.states.remove(&service).unwrap_or_else(|| State::new(&service));
        let moved = transition(state, &event);
        if let Some(reason) = &moved.reason {
            let deployment = moved.state.live_id().map(ToString::to_string);
            tracing::info!(service, deployment, "{reason}");
        }
        for action in &moved.withdrawn {
            self.withdraw(&service, action);
        }
        for action in moved.actions {
            self.perform(&moved.state, action, next);
        }
        if let Some(finished) = &moved.finished {
            self.performer.forget(&moved.state, finished);
            self.board.metrics.ended(finished);
            self.checkpoints.insert(service.clone());
        }
        let count = self.since_checkpoint.entry(service.clone()).or_default();
        *count += 1;
        if CHECKPOINT_EVERY <= *count {
            *count = 0;
            self.checkpoints.insert(service.clone());
        }
        self.board.publish(&moved.state, moved.reason.as_deref());
        if let Some(reply) = reply {
            // Whoever asked may have gone away.
            let _ = reply.send(moved.reason);
        }
        self.states.insert(service, moved.state);
    }

    fn perform(&mut self, state: &State, action: Action, next: &mut Vec<Waiting>) {
        let service = state.service.clone();
        match action {
            Action::WakeAt { at } => self.timers.push(Reverse((at, service))),
            Action::Measure { .. } => self.performer.measure(state),
            // What the embedded proxy serves is confirmed at once: no task between verdict and traffic.
            Action::Shift { ref deployment, serial, weight } => match self
                .performer
                .shift_now(state, weight)
            {
                Ok(confirmed) => {
                    let deployment = deployment.clone();
                    let what = Happened::Shifted { deployment, serial, weight: confirmed.weight };
                    next.push(Waiting { service, event: Event { at: now(), what }, reply: None });
                }
                Err(_) => self.spawn(state, action),
            },
            Action::Adopt { .. }
            | Action::Start { .. }
            | Action::Explain { .. }
            | Action::Revert(_)
            | Action::Promote { .. }
            | Action::Remove { .. }
            | Action::Notify(_) => self.spawn(state, action),
        }
    }

    fn spawn(&mut self, state: &State, action: Action) {
        let (service, key) = (state.service.clone(), action.key());
        let work = self.performer.clone().perform(state, action);
        let slot = (service.clone(), key.clone());
        let handle = self.jobs.spawn(async move { Done { service, key, answer: work.await } });
        if let Some(old) = self.running.insert(slot, handle) {
            old.abort();
        }
    }

    fn withdraw(&mut self, service: &str, action: &Action) {
        if let Action::Measure { deployment } = action {
            self.performer.stop_measuring(deployment);
        }
        if let Some(handle) = self.running.remove(&(service.to_owned(), action.key())) {
            handle.abort();
        }
    }

    fn ended(
        &mut self,
        done: Result<(tokio::task::Id, Done), tokio::task::JoinError>,
        waiting: &mut Vec<Waiting>,
    ) {
        let done = match done {
            Ok((_, done)) => done,
            Err(error) if error.is_cancelled() => return,
            // A panic in an adapter is a defect; its action stays outstanding and a restart asks again.
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an action ended in a defect; please report it"
                );
                return;
            }
        };
        self.running.remove(&(done.service.clone(), done.key));
        match done.answer {
            Answer::Happened(what) => {
                let event = Event { at: now(), what: *what };
                waiting.push(Waiting { service: done.service, event, reply: None });
            }
            Answer::Restored => self.perform_outstanding(&done.service, waiting),
        }
    }

    /// After a restart: first the world as the state says, then all that is outstanding.
    fn restore_all(&mut self) {
        let keep = self.states.values().flat_map(Performer::wanted).collect();
        let sweep = self.performer.clone().sweep(keep);
        self.jobs.spawn(async move {
            sweep.await;
            Done { service: String::new(), key: String::new(), answer: Answer::Restored }
        });
        let services: Vec<String> = self.states.keys().cloned().collect();
        for service in services {
            let Some(state) = self.states.get(&service) else { continue };
            let work = self.performer.clone().restore(state);
            let name = service.clone();
            self.jobs.spawn(async move {
                Done { service: name, key: String::new(), answer: work.await }
            });
        }
    }

    /// A split that was confirmed before a restart is not asked for again, but the proxy is a new one.
    fn split_again(&self, state: &State) {
        let Some(live) = state.live.as_deref() else { return };
        // A promoted canary serves as stable, without a split.
        if live.shift.confirmed.is_none() || matches!(live.phase, Phase::Promoting { .. }) {
            return;
        }
        if let Err(error) = self.performer.shift_now(state, live.shift.weight) {
            // The canary does not run: its failed start is an event of its own.
            tracing::warn!(
                service = state.service,
                error = crate::chain(&error),
                "the split from before the restart cannot be set"
            );
        }
    }

    fn perform_outstanding(&mut self, service: &str, waiting: &mut Vec<Waiting>) {
        if !self.restored.insert(service.to_owned()) {
            return;
        }
        let Some(state) = self.states.get(service).cloned() else { return };
        self.split_again(&state);
        for action in outstanding(&state) {
            if !self.running.contains_key(&(service.to_owned(), action.key())) {
                self.perform(&state, action, waiting);
            }
        }
    }
}

/// How a process ended, with the last line that it wrote.
fn how(exit: &Exit) -> String {
    match exit.log_tail.last() {
        Some(line) => format!("{} ({line})", exit.status),
        None => exit.status.clone(),
    }
}

async fn sleep_until(at: Option<Timestamp>) {
    match at {
        None => std::future::pending().await,
        Some(at) => {
            let left = at.duration_since(now());
            tokio::time::sleep(left.try_into().unwrap_or(Duration::ZERO)).await;
        }
    }
}
