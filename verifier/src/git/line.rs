//! One network operation at a time for each mirror, given up when the server falls silent.
//!
//! libgit2's own timeouts are process-wide settings behind `unsafe`, which this crate forbids, and its
//! progress callbacks are not called while nothing arrives. So an operation runs on a thread of its own
//! and the caller waits for signs of life: as long as bytes come, it waits on; after a silence it leaves.
//! The thread that was left ends with its connection, which after a lost network may take for ever. A
//! few such threads are put up with, so that the repository is back as soon as the network is; more are
//! not, so that a server that swallows connections cannot fill the process with them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::{Cause, GitError};
use super::remote::Remote;

/// Longest silence of a server. Forges answer within seconds; a pack of a huge repository may be
/// prepared for a while before its first byte, though servers report progress meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// Most silences' worth of time for one operation, so that a dripping server ends too: with 60 s of
/// patience two hours, enough to clone a very large repository.
const LONGEST: u32 = 120;

/// Most operations of one mirror that may hang at once after they were left; each costs a thread and
/// a connection.
const HANGING: u32 = 4;

/// Lets one network operation through at a time.
#[derive(Debug)]
pub(super) struct Line {
    shared: Arc<Shared>,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether an operation runs for which somebody waits.
    running: bool,
    /// How many operations were left and have not ended.
    hanging: u32,
}

impl Shared {
    /// The state cannot be left half-written, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signs of life of an operation, and whether anybody still waits for it.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    beats: AtomicU64,
    left: AtomicBool,
    ended: AtomicBool,
}

impl Pulse {
    /// Notes that something arrived; `false` asks the transport to stop.
    pub(super) fn beat(&self) -> bool {
        self.beats.fetch_add(1, Ordering::Relaxed);
        !self.left()
    }

    /// Whether the caller has left: what follows must not take effect any more.
    pub(super) fn left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }
}

/// Frees the line when the operation ends, even by a panic.
struct Held {
    shared: Arc<Shared>,
    pulse: Arc<Pulse>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        self.pulse.ended.store(true, Ordering::SeqCst);
        if self.pulse.left() {
            state.hanging -= 1;
        } else {
            state.running = false;
        }
        self.shared.freed.notify_all();
    }
}

impl Line {
    pub(super) fn new(patience: Duration) -> Self {
        Self { shared: Arc::default(), patience }
    }

    /// Runs `work` on a thread of its own and waits for it as long as it shows signs of life.
    ///
    /// # Errors
    /// Those of `work`; [`GitError::Stalled`] after a silence; [`GitError::Busy`] when earlier
    /// operations hang.
    pub(super) fn run<T: Send + 'static>(
        &self,
        remote: &Remote,
        work: impl FnOnce(&Arc<Pulse>) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let held = self.take(remote)?;
        let pulse = Arc::clone(&held.pulse);
        let (answer, question) = sync_channel(1);
        let thread = std::thread::Builder::new().name("git".into()).spawn(move || {
            let result = work(&held.pulse);
            drop(held);
            // A caller that has left wants no answer: the failed send is the expected case.
            answer.send(result).ok();
        });
        if let Err(error) = thread {
            return Err(GitError::Unreachable { url: remote.shown(), cause: Cause::of(&error) });
        }
        let mut heard = 0;
        for _ in 0..LONGEST {
            match question.recv_timeout(self.patience) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(died(remote)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let beats = pulse.beats.load(Ordering::Relaxed);
            if beats == heard {
                break;
            }
            heard = beats;
        }
        self.leave(remote, &pulse, &question)
    }

    /// Waits no longer, unless the answer came at this very moment.
    fn leave<T>(
        &self,
        remote: &Remote,
        pulse: &Pulse,
        question: &Receiver<Result<T, GitError>>,
    ) -> Result<T, GitError> {
        let mut state = self.shared.lock();
        if pulse.ended.load(Ordering::SeqCst) {
            drop(state);
            return question.recv().unwrap_or_else(|_| Err(died(remote)));
        }
        pulse.left.store(true, Ordering::SeqCst);
        state.running = false;
        state.hanging += 1;
        self.shared.freed.notify_all();
        Err(GitError::Stalled { url: remote.shown(), seconds: self.patience.as_secs() })
    }

    fn take(&self, remote: &Remote) -> Result<Held, GitError> {
        let taken = |state: &mut State| state.running || state.hanging >= HANGING;
        let (mut state, _) = self
            .shared
            .freed
            .wait_timeout_while(self.shared.lock(), self.patience, taken)
            .unwrap_or_else(PoisonError::into_inner);
        if taken(&mut state) {
            return Err(GitError::Busy { url: remote.shown() });
        }
        state.running = true;
        Ok(Held { shared: Arc::clone(&self.shared), pulse: Arc::default() })
    }
}

/// The error for an operation that panicked.
fn died(remote: &Remote) -> GitError {
    let cause = Cause::of("the operation ended without an answer");
    GitError::Unreachable { url: remote.shown(), cause }
}
