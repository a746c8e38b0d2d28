//! Versions: started, put behind the proxy, made stable, drained and removed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::future::join_all;
use git2::Oid;
use rollout::policy::{ProcessTarget, ProxyRoute, Router, Target};
use rollout::{
    Arm, Candidate, DeploymentId, Happened, Live, Phase, Policy, Release, Revision, State,
};
use rollout_routers::{Backend, HeaderMatch, RouteError, RouteOptions, Sticky};
use rollout_targets::process::{Launch, ProcessSpec, Running, StartError};

use super::{Answer, Performer, canary_runs};
use crate::board::Board;
use crate::chain;
use crate::git::GitError;

/// Tries to start a canary on a machine that has a passing trouble (a full disk, no free process).
const TRIES: usize = 6;

/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long requests in flight on a version that leaves may take to end.
const DRAIN: Duration = Duration::from_secs(30);

/// Why a version cannot be brought up.
#[derive(Debug, thiserror::Error)]
enum UpError {
    #[error("failed to check the revision out")]
    Checkout(#[source] GitError),
    #[error("failed to start its processes")]
    Start(#[source] StartError),
    #[error("failed to open its address")]
    Route(#[source] RouteError),
    #[error("failed to listen: {0:?} is no address; write host and port, e.g. 127.0.0.1:8080")]
    Address(String),
    #[error("serin.yaml has no repository named {0}")]
    NoRepository(String),
    #[error("the checkout ended early")]
    Ended,
}

impl UpError {
    fn version_fault(&self) -> bool {
        match self {
            Self::Start(error) => error.is_version_fault(),
            Self::Checkout(_)
            | Self::Route(_)
            | Self::Address(_)
            | Self::NoRepository(_)
            | Self::Ended => false,
        }
    }
}

impl Performer {
    pub(super) async fn adopt(
        &self,
        service: &str,
        deployment: DeploymentId,
        candidate: &Candidate,
    ) -> Happened {
        self.bring_up(service, deployment, candidate, Arm::Baseline).await
    }

    pub(super) async fn start_canary(
        &self,
        service: &str,
        deployment: DeploymentId,
        candidate: &Candidate,
    ) -> Happened {
        self.bring_up(service, deployment, candidate, Arm::Canary).await
    }

    /// A version's own fault is final. The machine's is tried again: for a while for a canary,
    /// without end for a first version, which nothing else could serve in place of.
    async fn bring_up(
        &self,
        service: &str,
        deployment: DeploymentId,
        candidate: &Candidate,
        arm: Arm,
    ) -> Happened {
        let patience = ExponentialBuilder::new()
            .with_min_delay(Duration::from_secs(1))
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter();
        let patience = match arm {
            Arm::Baseline => patience.without_max_times(),
            Arm::Canary => patience.with_max_times(TRIES),
        };
        let mut pauses = patience.build();
        loop {
            let error = match self.arm(service, candidate, arm).await {
                Ok(()) => return Happened::Started { deployment },
                Err(error) => error,
            };
            let why = chain(&error);
            match pauses.next() {
                Some(pause) if !error.version_fault() => {
                    tracing::warn!(service, %deployment, why, ?pause, "a version could not be started; trying again");
                    self.stumble(service, &deployment, &why);
                    tokio::time::sleep(pause).await;
                }
                _ => {
                    return Happened::StartFailed {
                        deployment,
                        why,
                        version_fault: error.version_fault(),
                    };
                }
            }
        }
    }

    /// Runs a candidate behind the proxy; the first version of a service opens its address as well.
    async fn arm(&self, service: &str, candidate: &Candidate, arm: Arm) -> Result<(), UpError> {
        let (revision, policy) = (candidate.revision(), &candidate.policy);
        let running = self.up(service, &candidate.repository, revision, policy).await?;
        self.proxy.set_backends(service, arm, backends(running));
        match arm {
            Arm::Baseline => self.route(service, policy).await,
            Arm::Canary => Ok(()),
        }
    }

    /// Checks a revision out and runs it; both do nothing where it is done already.
    async fn up(
        &self,
        service: &str,
        repository: &str,
        revision: &Revision,
        policy: &Policy,
    ) -> Result<Vec<Running>, UpError> {
        let Target::Process(target) = &policy.target;
        let checkout = self.checkout_of(service, revision);
        let source = self
            .repositories
            .get(repository)
            .ok_or_else(|| UpError::NoRepository(repository.to_owned()))?;
        let (mirror, to, oid) = (source.mirror.clone(), checkout.clone(), oid(revision));
        tokio::task::spawn_blocking(move || mirror.checkout(oid, &to))
            .await
            .map_err(|_| UpError::Ended)?
            .map_err(UpError::Checkout)?;
        let spec = spec(target);
        let launch =
            Launch { service: service.to_owned(), revision: revision.to_string(), checkout, spec };
        self.processes.start(&launch).await.map_err(UpError::Start)
    }

    async fn route(&self, service: &str, policy: &Policy) -> Result<(), UpError> {
        let Router::Proxy(route) = &policy.router;
        let listen = route.listen.parse().map_err(|_| UpError::Address(route.listen.clone()))?;
        match self.proxy.open(service, listen, options(route)).await {
            Ok(_) | Err(RouteError::AlreadyOpen { .. }) => Ok(()),
            Err(error) => Err(UpError::Route(error)),
        }
    }

    /// Runs again what `state` says after a restart, trying until it works. The split is set
    /// afterwards, by the driver: the state may have moved on meanwhile.
    pub fn restore(self: Arc<Self>, state: &State) -> impl Future<Output = Answer> + use<> {
        let service = state.service.clone();
        let stable = state.stable.clone();
        let live = state.live.as_deref().cloned();
        async move {
            let Some(stable) = stable else { return Answer::Restored };
            let id = live
                .as_ref()
                .map_or_else(|| DeploymentId::from_text(""), |l| l.deployment.id.clone());
            let what = format!("{service} could not be served again after the restart");
            let serves = Serves::new(&stable, live.as_ref());
            let serve =
                self.persist(&service, &id, ("restore", &what), || self.serve(&service, &serves));
            let live = live.as_ref().filter(|live| canary_runs(&live.phase));
            // At the same time: a canary that hangs must not keep stable from serving.
            let canary = async {
                if let Some(live) = live {
                    self.restore_canary(&service, live).await;
                }
            };
            tokio::join!(serve, canary);
            Answer::Restored
        }
    }

    async fn serve(&self, service: &str, serves: &Serves) -> Result<(), UpError> {
        let Serves { repository, revision, policy } = serves;
        let running = self.up(service, repository, revision, policy).await?;
        self.proxy.set_backends(service, Arm::Baseline, backends(running));
        self.route(service, policy).await
    }

    /// The canary's processes are found again, or started.
    async fn restore_canary(&self, service: &str, live: &Live) {
        let canary = &live.deployment.canary;
        match self.up(service, &canary.repository, canary.revision(), &canary.policy).await {
            Ok(running) => self.proxy.set_backends(service, Arm::Canary, backends(running)),
            Err(error) => {
                let (deployment, why) = (live.deployment.id.clone(), chain(&error));
                let version_fault = error.version_fault();
                let what = Happened::StartFailed { deployment, why, version_fault };
                if self.inbox.send(service, what).await.is_err() {
                    tracing::debug!(service, "stopped while a canary was restored");
                }
            }
        }
    }

    pub(super) async fn promote(
        &self,
        service: &str,
        deployment: DeploymentId,
        old: Option<Release>,
        live: Option<Live>,
    ) -> Happened {
        self.proxy.promote(service);
        let keep = live.map(|live| live.deployment.canary.revision().clone());
        if let Some(old) = old.filter(|old| Some(&old.revision) != keep.as_ref()) {
            self.retire(service, &deployment, &old.revision).await;
        }
        Happened::PromotionDone { deployment }
    }

    pub(super) async fn remove(
        &self,
        service: &str,
        deployment: DeploymentId,
        stable: Option<Release>,
        live: Option<Live>,
    ) -> Happened {
        let canary = live.map(|live| live.deployment.canary.revision().clone());
        if let Some(canary) = canary.filter(|canary| stable.is_none_or(|s| s.revision != *canary)) {
            let instances = self.processes.running(service, canary.as_str());
            self.proxy.set_backends(service, Arm::Canary, Vec::new());
            for running in instances {
                let left = self.proxy.drain(service, &running.instance, DRAIN).await;
                if 0 < left {
                    tracing::warn!(
                        service,
                        instance = running.instance,
                        left,
                        "requests were still under way when it was stopped"
                    );
                }
            }
            self.retire(service, &deployment, &canary).await;
        }
        Happened::Removed { deployment }
    }

    /// Stops a version and deletes its checkout.
    async fn retire(&self, service: &str, deployment: &DeploymentId, revision: &Revision) {
        for running in self.processes.running(service, revision.as_str()) {
            self.proxy.drain(service, &running.instance, DRAIN).await;
        }
        let what = format!("{} of {service} could not be stopped", revision.short());
        self.persist(service, deployment, ("stop", &what), || {
            self.processes.stop(service, revision.as_str())
        })
        .await;
        let checkout = self.checkout_of(service, revision);
        match tokio::fs::remove_dir_all(&checkout).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(
                service,
                error = chain(&error),
                "a checkout that is no longer needed stays on disk"
            ),
        }
    }

    /// Lets requests and processes end before Serin does.
    pub async fn stop_all(&self, board: &Board, grace: Duration) {
        let services = board.services();
        join_all(services.iter().map(|s| self.proxy.close(&s.service, grace))).await;
        let running = self.processes.watch().borrow().clone();
        let stops = running.keys().map(async |(service, revision)| {
            if let Err(error) = self.processes.stop(service, revision).await {
                tracing::error!(service, revision, error = chain(&error), "a process still runs");
            }
        });
        join_all(stops).await;
    }

    /// Ends processes of an earlier run that nothing wants any more.
    pub async fn sweep(self: Arc<Self>, keep: Vec<(String, String)>) {
        self.processes.sweep(&keep).await;
    }

    fn checkout_of(&self, service: &str, revision: &Revision) -> PathBuf {
        self.folder.join("checkouts").join(service).join(revision.as_str())
    }

    /// A process that is restarted may have another address: the proxy follows.
    ///
    /// A version of which nothing runs keeps its old address, so that what it fails is counted.
    pub fn follow_addresses(&self, state: &State) {
        let service = &state.service;
        let canary = match state.live.as_deref() {
            None => None,
            Some(live) => match live.phase {
                Phase::Progressing { .. } | Phase::Baking { .. } | Phase::Comparing { .. } => {
                    Some(live.deployment.canary.revision())
                }
                // These phases move the canary's backends themselves.
                Phase::Adopting | Phase::Starting | Phase::RollingBack(_) => None,
                // The arms have changed over, which the state has still to learn.
                Phase::Promoting { .. } => return,
            },
        };
        let stable = state.stable.as_ref().map(|release| &release.revision);
        for (arm, revision) in [(Arm::Baseline, stable), (Arm::Canary, canary)] {
            let running = revision.map(|r| self.processes.running(service, r.as_str()));
            if let Some(running) = running.filter(|running| !running.is_empty()) {
                self.proxy.set_backends(service, arm, backends(running));
            }
        }
    }
}

/// The version that serves as stable after a restart.
struct Serves {
    repository: String,
    revision: Revision,
    policy: Arc<Policy>,
}

impl Serves {
    fn new(stable: &Release, live: Option<&Live>) -> Self {
        match live {
            // Decided for good, and the old version may be half gone.
            Some(Live { phase: Phase::Promoting { .. }, deployment, .. }) => Self {
                repository: deployment.canary.repository.clone(),
                revision: deployment.canary.revision().clone(),
                policy: deployment.canary.policy.clone(),
            },
            Some(_) | None => Self {
                repository: stable.repository.clone(),
                revision: stable.revision.clone(),
                policy: stable.policy.clone(),
            },
        }
    }
}

fn backends(running: Vec<Running>) -> Vec<Backend> {
    running.into_iter().map(|r| Backend { instance: r.instance, address: r.address }).collect()
}

fn spec(target: &ProcessTarget) -> ProcessSpec {
    ProcessSpec {
        command: target.command.clone(),
        environment: target.environment.clone(),
        working_directory: target.working_directory.as_ref().map(PathBuf::from),
        health_path: target.health_path.clone(),
        start_timeout: target.start_timeout,
        stop_grace: target.stop_grace,
        instances: target.instances,
    }
}

fn options(route: &ProxyRoute) -> RouteOptions {
    RouteOptions {
        timeout: route.timeout,
        sticky: route.sticky_cookie.clone().map(|cookie| Sticky { cookie }),
        testers: route.testers.clone().map(|(name, value)| HeaderMatch { name, value }),
        upstream_http2: route.upstream_http2,
        ..RouteOptions::default()
    }
}

/// A revision as a Git object id.
pub(super) fn oid(revision: &Revision) -> Oid {
    Oid::from_str(revision.as_str()).unwrap_or(Oid::ZERO_SHA1)
}
