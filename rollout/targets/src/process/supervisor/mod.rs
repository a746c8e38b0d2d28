//! The one task that owns all processes.
//!
//! It waits for the next of: a request, the end of a child, an answer of a health path, a point in
//! time. Each is handled to the end before the next, so no two of them ever see an instance half
//! changed. File operations here are a few small local reads and writes, done in place.

mod ending;
mod instance;
mod restarting;
mod starting;

use std::collections::{BTreeMap, VecDeque};
use std::error::Error as _;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use self::instance::{Instance, Phase};
use super::error::{StartError, StopError};
use super::handle::Snapshot;
use super::probe::Probe;
use super::record::Folder;
use super::spec::{Exit, Prepared, Running, Version};
use super::{log, port};

/// Exits kept for a receiver that lags; each is below 8 KiB.
const UNSENT_EXITS: usize = 1024;
/// How often processes that are not children are looked at. A look costs some ten microseconds, so
/// that two hundred of them cost less than half a percent of a core.
const LOOK_AT_ADOPTED: Duration = Duration::from_millis(500);
/// How often logs are measured; a look is one `stat`.
const LOOK_AT_LOGS: Duration = Duration::from_secs(5);
/// Longest sleep when nothing is due.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

type StartReply = oneshot::Sender<Result<Vec<Running>, StartError>>;
type StopReply = oneshot::Sender<Result<(), StopError>>;
type Pending<T> = FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send>>>;

/// What a handle may ask.
pub(super) enum Request {
    Start(Arc<Prepared>, StartReply),
    Stop(Version, StopReply),
    Versions(oneshot::Sender<Vec<Version>>),
}

/// Names one instance of one version.
type Slot = (Version, u16);
/// Tells a process from its successors in the same slot.
type Generation = u64;

/// The state of one version beside that of its instances.
#[derive(Default)]
struct Wanted {
    /// How to run it; missing as long as it was only found.
    prepared: Option<Arc<Prepared>>,
    /// Whether it has been healthy as a whole, after which it is restarted rather than given up.
    established: bool,
    starters: Vec<StartReply>,
    stoppers: Vec<StopReply>,
    /// Set while all its instances are being ended: what starters are told.
    ending: Option<StartError>,
    /// A start that came meanwhile.
    next: Option<(Arc<Prepared>, Vec<StartReply>)>,
}

pub(super) struct Supervisor {
    // Inputs.
    root: PathBuf,
    /// None as long as it could not be opened.
    folder: Option<Folder>,
    probe: Probe,
    children: Pending<(Slot, Generation, io::Result<ExitStatus>)>,
    probes: Pending<(Slot, Generation, Result<(), String>)>,
    // Outputs.
    unsent: VecDeque<Exit>,
    snapshot: watch::Sender<Snapshot>,
    // State.
    versions: BTreeMap<Version, Wanted>,
    instances: BTreeMap<Slot, Instance>,
    next_generation: Generation,
    look_at_adopted: Instant,
    look_at_logs: Instant,
}

impl Supervisor {
    /// Opens the folder and finds what still runs.
    pub(super) fn new(root: PathBuf, snapshot: watch::Sender<Snapshot>) -> Self {
        let now = Instant::now();
        let mut supervisor = Self {
            root,
            folder: None,
            probe: Probe::new(),
            children: Pending::new(),
            probes: Pending::new(),
            unsent: VecDeque::new(),
            snapshot,
            versions: BTreeMap::new(),
            instances: BTreeMap::new(),
            next_generation: 0,
            look_at_adopted: now + LOOK_AT_ADOPTED,
            look_at_logs: now + LOOK_AT_LOGS,
        };
        if let Err(error) = supervisor.open_folder() {
            let cause = error.source().map(ToString::to_string);
            tracing::error!(cause, "{error}");
        }
        supervisor
    }

    /// Opens the folder if that has not been done yet, and finds what still runs.
    fn open_folder(&mut self) -> Result<(), StartError> {
        if self.folder.is_some() {
            return Ok(());
        }
        let opened = Folder::open(&self.root).and_then(|folder| Ok((folder.living()?, folder)));
        let (living, folder) = opened.map_err(|error| {
            let root = self.root.display();
            StartError::environment(format!("cannot use the folder {root} for processes"), error)
        })?;
        self.folder = Some(folder);
        for record in living {
            let generation = self.generation();
            let version = record.version();
            self.versions.entry(version.clone()).or_default().established |= record.established;
            let slot = (version, record.index);
            self.instances.insert(slot, Instance::found(record, generation));
        }
        Ok(())
    }

    /// Works until the last handle is dropped. The processes run on.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        exits: mpsc::Sender<Exit>,
    ) {
        loop {
            let due = self.due();
            select! {
                request = requests.recv() => match request {
                    Some(request) => self.handle(request),
                    None => return,
                },
                Some((slot, generation, status)) = self.children.next() => {
                    let status = match status {
                        Ok(status) => status.to_string(),
                        Err(error) => format!("its exit status could not be read: {error}"),
                    };
                    self.on_end(&slot, generation, &status);
                }
                Some((slot, generation, answer)) = self.probes.next() => {
                    self.on_answer(&slot, generation, answer);
                }
                permit = exits.reserve(), if !self.unsent.is_empty() => {
                    match (permit, self.unsent.pop_front()) {
                        (Ok(permit), Some(exit)) => permit.send(exit),
                        (Ok(_) | Err(_), _) => self.unsent.clear(),
                    }
                }
                () = sleep_until(due) => {}
            }
            self.advance();
            self.publish();
        }
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Start(prepared, reply) => self.on_start(prepared, vec![reply]),
            Request::Stop(version, reply) => self.on_stop(&version, reply),
            Request::Versions(reply) => {
                if let Err(error) = self.open_folder() {
                    tracing::error!(%error, "what ran before is not known");
                }
                // A caller that has gone away needs no answer.
                let _ = reply.send(self.versions.keys().cloned().collect());
            }
        }
    }

    /// The next point in time at which [`advance`](Self::advance) has something to do.
    fn due(&self) -> Instant {
        let mut due = Instant::now() + NOTHING_DUE;
        for instance in self.instances.values() {
            due = due.min(self.look_at_logs);
            if instance.adopted {
                due = due.min(self.look_at_adopted);
            }
            if let Some(at) = instance.due() {
                due = due.min(at);
            }
        }
        due
    }

    /// Does what has become due.
    fn advance(&mut self) {
        let now = Instant::now();
        if now >= self.look_at_adopted {
            self.look_at_adopted = now + LOOK_AT_ADOPTED;
            self.look_at_adopted();
        }
        if now >= self.look_at_logs {
            self.look_at_logs = now + LOOK_AT_LOGS;
            self.cut_logs();
        }
        let due: Vec<Slot> = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.due().is_some_and(|at| at <= now))
            .map(|(slot, _)| slot.clone())
            .collect();
        for slot in due {
            let Some(instance) = self.instances.get(&slot) else {
                continue;
            };
            match instance.phase {
                Phase::Starting { deadline, .. } if deadline <= now => self.on_unhealthy(&slot),
                Phase::Starting { .. } => self.look_at_health(&slot),
                Phase::Waiting { .. } => self.on_waited(&slot),
                Phase::Ending { .. } => self.on_ending(&slot, now),
                Phase::Found | Phase::Healthy { .. } => {}
            }
        }
    }

    /// Notices the end of processes that are not children of this Serin.
    fn look_at_adopted(&mut self) {
        let ended: Vec<(Slot, Generation)> = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.adopted && !instance.leader_lives())
            .map(|(slot, instance)| (slot.clone(), instance.generation))
            .collect();
        for (slot, generation) in ended {
            let status = "its exit status is unknown, as an earlier run of Serin had started it";
            self.on_end(&slot, generation, status);
        }
    }

    fn cut_logs(&self) {
        let Some(folder) = &self.folder else { return };
        for (version, index) in self.instances.keys() {
            let path = folder.log(version, *index);
            if let Err(error) = log::cut_if_large(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot cut a log that is too large");
            }
        }
    }

    /// Queues an exit for the receiver; the oldest goes when it lags too far.
    fn report(&mut self, exit: Exit) {
        tracing::warn!(
            service = exit.service,
            revision = exit.revision,
            instance = exit.instance,
            status = exit.status,
            failures = exit.failures,
            "an instance ended unexpectedly and will be restarted"
        );
        if self.unsent.len() == UNSENT_EXITS {
            self.unsent.pop_front();
        }
        self.unsent.push_back(exit);
    }

    /// Tells watchers which instances are healthy, if that has changed.
    fn publish(&self) {
        let mut healthy: BTreeMap<(String, String), Vec<Running>> = BTreeMap::new();
        for (slot, instance) in &self.instances {
            if let Some(running) = running(slot, instance) {
                let key = (slot.0.service.clone(), slot.0.revision.clone());
                healthy.entry(key).or_default().push(running);
            }
        }
        self.snapshot.send_if_modified(|known| {
            let changed = **known != healthy;
            if changed {
                *known = Arc::new(healthy);
            }
            changed
        });
    }

    fn generation(&mut self) -> Generation {
        self.next_generation += 1;
        self.next_generation
    }

    /// The slots of a version that hold an instance.
    fn slots(&self, version: &Version) -> Vec<Slot> {
        let all = (version.clone(), 0)..=(version.clone(), u16::MAX);
        self.instances.range(all).map(|(slot, _)| slot.clone()).collect()
    }
}

/// The instance as callers see it, if it is healthy.
fn running(slot: &Slot, instance: &Instance) -> Option<Running> {
    let (version, index) = slot;
    matches!(instance.phase, Phase::Healthy { .. }).then(|| Running {
        instance: version.instance(*index),
        address: port::address(instance.port),
        pid: instance.process.as_ref().map_or(0, |process| process.pid),
    })
}
