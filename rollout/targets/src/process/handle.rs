//! The handle by which the driver starts and stops versions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::error::{StartError, StopError};
use super::spec::{self, Exit, Launch, Running, Version};
use super::supervisor::{Request, Supervisor};

/// Requests that may wait for the one task. It answers each within milliseconds, so a caller that
/// finds this full waits that long; more would only hide a task that hangs.
const WAITING_REQUESTS: usize = 64;

/// The healthy instances of every version, by service and revision.
pub type Snapshot = Arc<BTreeMap<(String, String), Vec<Running>>>;

/// All processes of one folder. A clone speaks to the same ones.
///
/// When the last clone is dropped the processes run on, as they do when Serin is killed; the next
/// `Processes` on the same folder finds them.
#[derive(Clone)]
pub struct Processes {
    requests: mpsc::Sender<Request>,
    snapshot: watch::Receiver<Snapshot>,
    endpoint: Option<Arc<str>>,
    /// Ends the task together with the last handle.
    _task: Arc<JoinSet<()>>,
}

impl Processes {
    /// Takes charge of the processes recorded in `folder`, which is made if it is missing.
    ///
    /// Each unexpected end of an instance is sent to `exits`; while that is full the newest 1024
    /// are kept. Must be called inside a tokio runtime. A folder that cannot be used is reported
    /// by the first start.
    pub fn new(folder: PathBuf, exits: mpsc::Sender<Exit>) -> Self {
        let (requests, received) = mpsc::channel(WAITING_REQUESTS);
        let (publish, snapshot) = watch::channel(Snapshot::default());
        let mut task = JoinSet::new();
        task.spawn(Supervisor::new(folder, publish).run(received, exits));
        Self { requests, snapshot, endpoint: None, _task: Arc::new(task) }
    }

    /// Tells instances that are started from now on where telemetry is taken in, as OTLP over HTTP:
    /// `http://127.0.0.1:8787`, without a path. Services that say themselves where to send do that.
    #[must_use]
    pub fn exporting_to(mut self, endpoint: &str) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Makes a version run: adopts what still runs from before, starts what is missing, ends what
    /// is too many, and returns when all its instances are healthy. Idempotent.
    ///
    /// Dropping the future half-way is safe: the start goes on and can be joined by another call
    /// or ended by [`stop`](Self::stop).
    ///
    /// # Errors
    ///
    /// See [`StartError`]; [`is_version_fault`](StartError::is_version_fault) says whether to roll
    /// back or to try again. A version that had never been up as a whole has nothing left running
    /// then; one that had goes on being restarted.
    pub async fn start(&self, launch: &Launch) -> Result<Vec<Running>, StartError> {
        let prepared = Arc::new(spec::prepare(launch, self.endpoint.clone()).await?);
        self.ask(|reply| Request::Start(prepared, reply))
            .await
            .unwrap_or_else(|| Err(StartError::supervisor_ended()))
    }

    /// Ends a version: SIGTERM to each process group, SIGKILL to what is left after the grace of
    /// the specification, and returns when all are gone. Idempotent; a version that does not run
    /// is stopped already.
    ///
    /// Dropping the future half-way is safe: the stop goes on.
    ///
    /// # Errors
    ///
    /// [`StopError::StillAlive`] when a process outlives SIGKILL by 10 s; call again to wait on.
    pub async fn stop(&self, service: &str, revision: &str) -> Result<(), StopError> {
        let version = Version { service: service.to_owned(), revision: revision.to_owned() };
        self.end(version).await
    }

    /// The healthy instances of a version at this moment, by number.
    pub fn running(&self, service: &str, revision: &str) -> Vec<Running> {
        let key = (service.to_owned(), revision.to_owned());
        self.snapshot.borrow().get(&key).cloned().unwrap_or_default()
    }

    /// The healthy instances of every version, and a wake-up whenever they change, as after a
    /// restart on another port.
    pub fn watch(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.clone()
    }

    /// Ends every version of this folder that is not in `keep`, pairs of service and revision:
    /// what a crash of Serin left behind and nothing wants any more. Returns when all are gone;
    /// a process that cannot be ended is logged.
    pub async fn sweep(&self, keep: &[(String, String)]) {
        let known = self.ask(Request::Versions).await.unwrap_or_default();
        let wanted = |version: &Version| {
            keep.iter().any(|(service, revision)| {
                *service == version.service && *revision == version.revision
            })
        };
        let orphans = known.into_iter().filter(|version| !wanted(version));
        let ends = orphans.map(|version| async move {
            let (service, revision) = (version.service.clone(), version.revision.clone());
            match self.end(version).await {
                Ok(()) => tracing::info!(service, revision, "ended a version that nothing wants"),
                Err(error) => tracing::error!(service, revision, %error, "an orphan still runs"),
            }
        });
        join_all(ends).await;
    }

    async fn end(&self, version: Version) -> Result<(), StopError> {
        self.ask(|reply| Request::Stop(version, reply))
            .await
            .unwrap_or(Err(StopError::SupervisorEnded))
    }

    /// Sends a request and awaits its answer; none when the task has ended.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}
