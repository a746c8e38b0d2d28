//! Appending to the journal, and what is done while it refuses.
//!
//! Nothing goes on that is not written down. The one exception makes things safer: what comes
//! meanwhile is looked at all the same, and where it says so traffic goes back.

use std::collections::HashMap;
use std::time::Duration;

use rollout::{Action, Happened, State, Weight, transition};

use super::{BATCH, Driver, Waiting};
use crate::journal::{Batch, Begun};

/// Events that are kept while the journal refuses, more than an hour's of one deployment; then the
/// senders wait.
const HELD: usize = 16_384;

/// Between two tries to write to a journal that refuses.
const JOURNAL_RETRY: Duration = Duration::from_millis(500);

impl Driver {
    /// Makes a batch durable, however long that takes.
    pub(super) async fn append(&mut self, waiting: &[Waiting]) {
        let batch = self.batch(waiting);
        let began = tokio::time::Instant::now();
        // Where the services will be once the journal takes what it refuses.
        let mut ahead = HashMap::new();
        let mut refused = false;
        while let Err(error) = self.journal.append(&batch).await {
            if !std::mem::replace(&mut refused, true) {
                let error = crate::chain(&error);
                tracing::error!(
                    error,
                    "the journal refuses; nothing goes on until it can be written, but failing canaries lose their traffic"
                );
                self.board.trouble("journal", Some(error));
                for item in waiting {
                    self.make_safe(&mut ahead, item);
                }
            }
            self.hold(&mut ahead).await;
        }
        if refused {
            tracing::info!("the journal can be written again");
            self.board.trouble("journal", None);
        }
        self.board.appended(batch.events.len());
        let events = batch.events.iter().map(|(_, event)| &event.what);
        self.board.metrics.appended(events, began.elapsed());
        self.checkpoints.clear();
    }

    /// The events with what they will change in the index; transitions are pure, so looking ahead costs nothing but time.
    fn batch(&self, waiting: &[Waiting]) -> Batch {
        let mut batch = Batch::default();
        for service in &self.checkpoints {
            if let Some(state) = self.states.get(service) {
                batch.checkpoints.push((self.journal.last(), state.clone()));
            }
        }
        let mut ahead: HashMap<&str, State> = HashMap::new();
        for (seq, item) in (self.journal.last() + 1..).zip(waiting) {
            batch.events.push((item.service.clone(), item.event.clone()));
            if !changes_index(&item.event.what) && !ahead.contains_key(item.service.as_str()) {
                continue;
            }
            let state = ahead
                .remove(item.service.as_str())
                .or_else(|| self.states.get(&item.service).cloned());
            let state = state.unwrap_or_else(|| State::new(&item.service));
            let was = state.live_id().cloned();
            let before = state.clone();
            let next = transition(state, &item.event);
            if let Some(finished) = next.finished {
                batch.ended.push((seq, finished));
            }
            if let Some(id) = next.state.live_id().filter(|id| was.as_ref() != Some(id)) {
                batch.begun.push(Begun { id: id.clone(), seq, at: item.event.at, before });
            }
            ahead.insert(&item.service, next.state);
        }
        batch
    }

    /// Until the next try to write: takes in what comes, but acts on it only to make things safe.
    async fn hold(&mut self, ahead: &mut HashMap<String, State>) {
        let retry = tokio::time::sleep(JOURNAL_RETRY);
        tokio::pin!(retry);
        let mut messages = Vec::new();
        loop {
            let room = HELD.saturating_sub(self.held.len()).min(BATCH);
            tokio::select! {
                () = &mut retry => return,
                count = self.messages.recv_many(&mut messages, room), if 0 < room => {
                    if count == 0 {
                        return retry.await;
                    }
                    let mut new = Vec::with_capacity(count);
                    for message in messages.drain(..) {
                        self.message(message, &mut new);
                    }
                    for item in &new {
                        self.make_safe(ahead, item);
                    }
                    self.held.append(&mut new);
                }
            }
        }
    }

    /// The journal cannot be written: traffic still goes back where this event says so.
    fn make_safe(&self, ahead: &mut HashMap<String, State>, item: &Waiting) {
        let state = ahead.remove(&item.service);
        let Some(state) = state.or_else(|| self.states.get(&item.service).cloned()) else { return };
        let next = transition(state, &item.event);
        for action in &next.actions {
            if let Action::Shift { weight: Weight::ZERO, .. } = action
                && let Err(error) = self.performer.shift_now(&next.state, Weight::ZERO)
            {
                tracing::error!(
                    error = crate::chain(&error),
                    service = item.service,
                    "failed to take the traffic back"
                );
            }
        }
        ahead.insert(item.service.clone(), next.state);
    }
}

/// Whether an event can begin or end a deployment, or bring a batch near one that does.
fn changes_index(what: &Happened) -> bool {
    match what {
        Happened::TipMoved { .. }
        | Happened::Started { .. }
        | Happened::StartFailed { .. }
        | Happened::PromotionDone { .. }
        | Happened::GitAnswered { .. }
        | Happened::Removed { .. }
        | Happened::Operated { .. }
        | Happened::Woke => true,
        Happened::Exited { .. }
        | Happened::Shifted { .. }
        | Happened::Observed { .. }
        | Happened::Unobserved { .. }
        | Happened::Explained { .. }
        | Happened::Notified { .. }
        | Happened::Stumbled { .. } => false,
    }
}
