//! Carrying out actions: one `match` over [`Action`], with deadline and retry for all of them.
//!
//! Adapters make one attempt and say whether another can help; here it is tried again, with
//! backoff, for as long as the action is wanted. The driver aborts what no longer is.

mod explain;
mod undo;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use rollout::{Action, DeploymentId, Finished, Happened, Phase, State, Weight};
use rollout_routers::{Confirmed, Proxy, RouteError, TrafficRouter};
use rollout_targets::process::Processes;
use tokio::sync::Notify;
use tracing::Instrument;

use crate::board::Board;
use crate::cause::Finder;
use crate::chain;
use crate::driver::Inbox;
use crate::git::Mirror;
use crate::journal::Reader;
use crate::measure::Meters;
use crate::tell::Teller;

/// What an action led to.
#[derive(Debug)]
pub enum Answer {
    /// An event for the journal.
    Happened(Box<Happened>),
    /// The world is again as the state says.
    Restored,
}

impl From<Happened> for Answer {
    fn from(what: Happened) -> Self {
        Self::Happened(Box::new(what))
    }
}

/// A repository as the performer needs it.
#[derive(Debug)]
pub struct Repository {
    /// Its clone.
    pub mirror: Arc<Mirror>,
    /// Folder of the policies in it.
    pub policies: String,
    /// Whom reverts name as author.
    pub author: crate::git::Author,
    /// Reverts are shown and not pushed.
    pub dry_run: bool,
}

/// The hands of the driver.
pub struct Performer {
    /// The embedded proxy.
    pub proxy: Proxy,
    /// The local processes.
    pub processes: Processes,
    /// The repositories, by name.
    pub repositories: BTreeMap<String, Repository>,
    /// Serin's own folder, for checkouts.
    pub folder: PathBuf,
    /// What is measured.
    pub meters: Arc<Meters>,
    /// Where traces are looked for.
    pub finder: Finder,
    /// Who is told.
    pub teller: Teller,
    /// Where failed attempts are counted.
    pub board: Arc<Board>,
    /// For the record of failed attempts.
    pub inbox: Inbox,
    /// For the evidence behind a revert.
    pub journal: Reader,
    /// Wakes the watcher after a push of our own.
    pub nudge: Arc<Notify>,
    /// Where people can see a deployment, e.g. `http://127.0.0.1:8787`.
    pub public_url: String,
}

/// Between tries: from half a second, doubling to half a minute, with jitter, for ever.
fn patience() -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .without_max_times()
}

impl Performer {
    /// Sets the split at once where the router is the embedded proxy: no await between verdict and traffic.
    ///
    /// # Errors
    /// When the service has no open route; [`Performer::perform`] then tries until it has.
    pub fn shift_now(&self, state: &State, weight: Weight) -> Result<Confirmed, RouteError> {
        self.proxy.shift_now(&state.service, weight)
    }

    /// Does what `action` asks, until it is done or aborted. Dropping it half-way is safe: every action is idempotent.
    pub fn perform(
        self: Arc<Self>,
        state: &State,
        action: Action,
    ) -> impl Future<Output = Answer> + use<> {
        let service = state.service.clone();
        let release = state.stable.clone();
        let live = state.live.as_deref().cloned();
        let deployment = state.live_id().map(ToString::to_string);
        let span = tracing::info_span!("action", kind = action.kind(), service, deployment);
        let work = async move {
            match action {
                Action::Adopt { deployment, candidate } => {
                    self.adopt(&service, deployment, &candidate).await.into()
                }
                Action::Start { deployment, candidate } => {
                    self.start_canary(&service, deployment, &candidate).await.into()
                }
                Action::Shift { deployment, serial, weight } => {
                    self.shift(&service, deployment, serial, weight).await.into()
                }
                Action::Explain { deployment } => self.explain(deployment, live).await.into(),
                Action::Revert(order) => self.revert(&service, *order).await.into(),
                Action::Promote { deployment } => {
                    self.promote(&service, deployment, release, live).await.into()
                }
                Action::Remove { deployment } => {
                    self.remove(&service, deployment, release, live).await.into()
                }
                Action::Notify(notification) => self.teller.tell(&notification).await.into(),
                // Not work but standing wishes: the driver keeps them itself.
                Action::Measure { .. } | Action::WakeAt { .. } => Answer::Restored,
            }
        };
        work.instrument(span)
    }

    async fn shift(
        &self,
        service: &str,
        deployment: DeploymentId,
        serial: u32,
        weight: Weight,
    ) -> Happened {
        let router: &dyn TrafficRouter = &self.proxy;
        let attempt = || router.shift(service, weight);
        let what = format!("the traffic of {service} could not be shifted to {weight}");
        let confirmed = self.persist(service, &deployment, ("shift", &what), attempt).await;
        Happened::Shifted { deployment, serial, weight: confirmed.weight }
    }

    /// Begins to measure the live deployment.
    pub fn measure(&self, state: &State) {
        if let Some(live) = &state.live {
            self.meters.start(&state.service, live);
        }
    }

    /// Ends it.
    pub fn stop_measuring(&self, deployment: &DeploymentId) {
        self.meters.stop(deployment);
    }

    /// A deployment is over: nothing of it is measured any more.
    pub fn forget(&self, _state: &State, finished: &Finished) {
        self.meters.finish(&finished.id);
    }

    /// The versions that `state` wants running: service and revision.
    pub fn wanted(state: &State) -> Vec<(String, String)> {
        let stable = state.stable.iter().map(|release| release.revision.to_string());
        let canary = state.live.iter().map(|live| live.deployment.canary.revision().to_string());
        stable.chain(canary).map(|revision| (state.service.clone(), revision)).collect()
    }

    /// Tries until it works; a failure is told once to the journal and always to the log.
    ///
    /// `kind` is the action's name in the metrics, `what` says for people what did not work.
    async fn persist<T, E, F>(
        &self,
        service: &str,
        deployment: &DeploymentId,
        (kind, what): (&'static str, &str),
        attempt: impl FnMut() -> F,
    ) -> T
    where
        E: std::error::Error,
        F: Future<Output = Result<T, E>>,
    {
        let mut told = false;
        let tell = |error: &E, pause: Duration| {
            let error = chain(error);
            self.board.metrics.retried(kind);
            tracing::warn!(service, %deployment, error, ?pause, "{what}; trying again");
            if !std::mem::replace(&mut told, true) {
                self.stumble(service, deployment, &format!("{what}: {error}"));
            }
        };
        match attempt.retry(patience()).notify(tell).await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    "retries ended although they have no limit; please report it"
                );
                std::future::pending().await
            }
        }
    }

    fn stumble(&self, service: &str, deployment: &DeploymentId, what: &str) {
        let what = Happened::Stumbled { deployment: deployment.clone(), what: what.to_owned() };
        self.inbox.try_send(service, what);
    }
}

/// Whether the canary of a live deployment is to run again beside stable after a restart.
fn canary_runs(phase: &Phase) -> bool {
    match phase {
        Phase::Progressing { .. } | Phase::Baking { .. } | Phase::Comparing { .. } => true,
        // A canary that leaves is not needed again: it is found and ended where it still runs. One
        // that is promoted serves as stable.
        Phase::Adopting | Phase::Starting | Phase::Promoting { .. } | Phase::RollingBack(_) => {
            false
        }
    }
}
