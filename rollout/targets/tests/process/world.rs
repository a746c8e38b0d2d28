//! What the tests stand on: a folder, a target in it, and its reports.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rollout_targets::process::{Exit, Launch, Processes, Running, StartError};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::service;

/// Longest wait for anything here; a loaded machine needs a part of it.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) folder: Ground,
    pub(crate) processes: Processes,
    pub(crate) exits: mpsc::Receiver<Exit>,
}

/// A folder that takes along what still runs in it, so that a failing test leaves nothing behind.
pub(crate) struct Ground(TempDir);

impl Ground {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let Ok(records) = std::fs::read_dir(self.path().join("processes/instances")) else {
            return;
        };
        for record in records.flatten() {
            let text = std::fs::read_to_string(record.path()).unwrap_or_default();
            let pid = text.split("\"pid\": ").nth(1).and_then(|rest| rest.split(',').next());
            let pid = pid.and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
            // It may have ended by itself meanwhile.
            let _ = pid.map(|pid| kill_process_group(pid, Signal::KILL));
        }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(Ground::new())
    }

    pub(crate) fn on(folder: Ground) -> Self {
        let (send, exits) = mpsc::channel(8);
        let processes = Processes::new(folder.path().join("processes"), send)
            .exporting_to("http://127.0.0.1:8787");
        Self { folder, processes, exits }
    }

    /// Serin goes and comes back.
    pub(crate) fn restarted(self) -> Self {
        let Self { folder, processes, exits } = self;
        drop((processes, exits));
        Self::on(folder)
    }

    pub(crate) fn launch(&self, role: &str) -> Launch {
        service::launch(self.folder.path(), role)
    }

    pub(crate) async fn start(&self, launch: &Launch) -> Result<Vec<Running>, StartError> {
        timeout(BOUND, self.processes.start(launch)).await.expect("a start ends in time")
    }

    pub(crate) async fn stop(&self, launch: &Launch) {
        let stop = self.processes.stop(&launch.service, &launch.revision);
        timeout(BOUND, stop).await.expect("a stop ends in time").expect("stopped");
        assert_eq!(self.processes.running(&launch.service, &launch.revision), []);
        assert_eq!(self.records(), 0);
    }

    pub(crate) async fn exit(&mut self) -> Exit {
        timeout(BOUND, self.exits.recv()).await.expect("an exit in time").expect("open")
    }

    /// The instances as soon as there are some, and none of them is `but`.
    pub(crate) async fn running_but(&self, launch: &Launch, but: u32) -> Vec<Running> {
        let key = (launch.service.clone(), launch.revision.clone());
        let mut watch = self.processes.watch();
        let found = watch.wait_for(|snapshot| {
            snapshot.get(&key).is_some_and(|all| all.iter().all(|one| one.pid != but))
        });
        timeout(BOUND, found).await.expect("healthy in time").expect("watched")[&key].clone()
    }

    pub(crate) fn records(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("processes/instances")).expect("there").count()
    }

    pub(crate) fn log(&self) -> String {
        let logs = self.folder.path().join("processes/logs");
        let read = |path: PathBuf| std::fs::read_to_string(path).expect("a log of text");
        std::fs::read_dir(logs)
            .expect("there")
            .map(|entry| read(entry.expect("listed").path()))
            .collect()
    }
}

/// There is no such process, not even as a zombie.
pub(crate) fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < BOUND, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("not 0");
    kill_process(pid, Signal::KILL).expect("signalled");
}
