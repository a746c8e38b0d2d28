//! How everyone else speaks to the driver: bounded, and answered where someone waits for an answer.

use rollout::{Happened, Order, State};
use tokio::sync::{mpsc, oneshot};

/// Messages waiting for the driver: enough for every live rollout of a large instance to report
/// once while a slow disk commits; beyond it the senders wait.
const INBOX: usize = 4_096;

/// Something for the driver to take in.
#[derive(Debug)]
pub enum Message {
    /// Something happened to a service.
    Event {
        /// Which service.
        service: String,
        /// What.
        what: Happened,
        /// Told the reason of the transition, if someone waits for it.
        reply: Option<oneshot::Sender<Option<String>>>,
    },
    /// Somebody wants a service's whole state.
    State {
        /// Which service.
        service: String,
        /// Gets it.
        reply: oneshot::Sender<Option<State>>,
    },
}

/// Sends to the driver; cheap to clone.
#[derive(Debug, Clone)]
pub struct Inbox(mpsc::Sender<Message>);

/// The driver has stopped.
#[derive(Debug, thiserror::Error)]
#[error("Serin is stopping")]
pub struct Stopped;

impl Inbox {
    /// Hands over an event; waits while the driver is behind.
    ///
    /// # Errors
    /// When the driver has stopped: stop as well.
    pub async fn send(&self, service: &str, what: Happened) -> Result<(), Stopped> {
        let message = Message::Event { service: service.to_owned(), what, reply: None };
        self.0.send(message).await.map_err(|_| Stopped)
    }

    /// Hands over a person's order and returns what came of it, in one sentence.
    ///
    /// # Errors
    /// When the driver has stopped.
    pub async fn order(&self, service: &str, by: &str, order: Order) -> Result<String, Stopped> {
        let (reply, answer) = oneshot::channel();
        let what = Happened::Operated { by: by.to_owned(), order };
        let message = Message::Event { service: service.to_owned(), what, reply: Some(reply) };
        self.0.send(message).await.map_err(|_| Stopped)?;
        let reason = answer.await.map_err(|_| Stopped)?;
        Ok(reason.unwrap_or_else(|| "nothing changed".to_owned()))
    }

    /// Hands over an event if there is room; for records that may be lost.
    pub fn try_send(&self, service: &str, what: Happened) {
        let message = Message::Event { service: service.to_owned(), what, reply: None };
        if self.0.try_send(message).is_err() {
            tracing::debug!(service, "the driver is behind; a record was dropped");
        }
    }

    /// A service's whole state, if it is known.
    ///
    /// # Errors
    /// When the driver has stopped.
    pub async fn state(&self, service: &str) -> Result<Option<State>, Stopped> {
        let (reply, answer) = oneshot::channel();
        let message = Message::State { service: service.to_owned(), reply };
        self.0.send(message).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// A bounded queue to a driver.
pub fn inbox() -> (Inbox, mpsc::Receiver<Message>) {
    let (sender, receiver) = mpsc::channel(INBOX);
    (Inbox(sender), receiver)
}
