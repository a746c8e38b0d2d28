//! What happens in the demo, and whether it ended as it must.

use std::sync::Arc;
use std::time::Duration;

use rollout::{DeploymentId, Finished, GitOutcome, Outcome};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};

use super::DemoError;
use super::display::Display;
use super::load::{Answers, Counts, Load};
use super::repository::{FIRST, Prices, Shop, Version};
use super::service::Dependency;
use crate::board::Update;
use crate::run::{Handle, RunError};

/// How long the shared dependency fails.
const INCIDENT: Duration = Duration::from_secs(8);

/// Share of the dependency's requests that fail meanwhile.
const INCIDENT_SHARE: f64 = 0.2;

/// How the harmless commit greets people.
const HARMLESS: &str = "Welcome back";

/// The four commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    /// Changes nothing that matters.
    Harmless,
    /// Fails 3 % of its requests.
    Failing,
    /// Asks for prices line by line.
    Slow,
    /// Changes nothing, while a dependency fails for both versions.
    Incident,
}

impl Scenario {
    pub(super) const ALL: [Self; 4] = [Self::Harmless, Self::Failing, Self::Slow, Self::Incident];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Harmless => "a harmless change",
            Self::Failing => "3 % of requests fail",
            Self::Slow => "prices are asked for line by line, 16 queries for one",
            Self::Incident => "a harmless change while a shared dependency fails",
        }
    }

    pub(super) const fn must(self) -> &'static str {
        match self {
            Self::Harmless | Self::Incident => "promoted",
            Self::Failing | Self::Slow => "rolled back and reverted",
        }
    }
}

/// One commit of the demo.
pub(super) struct Commit {
    scenario: Scenario,
    subject: &'static str,
    author: &'static str,
    version: Version,
}

impl Commit {
    pub(super) const fn of(scenario: Scenario) -> Self {
        let (subject, author, version) = match scenario {
            Scenario::Harmless => (
                "Greet people by their name",
                "Grace Hopper",
                Version { greeting: HARMLESS, ..FIRST },
            ),
            Scenario::Failing => (
                "Add gift cards",
                "Alan Turing",
                Version { greeting: "Gift cards", error_share: 0.03, ..FIRST },
            ),
            Scenario::Slow => (
                "Compute tax per line",
                "Barbara Liskov",
                // What the harmless commit left: this one changes the query alone.
                Version { greeting: HARMLESS, prices: Prices::LineByLine, ..FIRST },
            ),
            Scenario::Incident => {
                ("Say goodbye", "Edsger Dijkstra", Version { greeting: "Goodbye", ..FIRST })
            }
        };
        Self { scenario, subject, author, version }
    }

    /// Pushes it; returns the revision.
    pub(super) fn push(&self, shop: &Shop) -> Result<git2::Oid, git2::Error> {
        shop.push(self.version, self.subject, self.author)
    }
}

/// How one commit went.
pub(super) struct Played {
    pub(super) scenario: Scenario,
    pub(super) subject: &'static str,
    pub(super) finished: Finished,
    /// From the push to the end.
    pub(super) took: Duration,
    /// From the first request that the canary failed to stable serving everything again.
    pub(super) exposed: Option<Duration>,
    /// What the people who sent requests saw of the canary.
    pub(super) canary: Answers,
    /// The branch's newest commit afterwards.
    pub(super) tip: String,
}

impl Played {
    /// Whether it ended as it must.
    pub(super) fn as_it_must(&self) -> bool {
        match self.scenario {
            Scenario::Harmless | Scenario::Incident => self.finished.outcome == Outcome::Promoted,
            Scenario::Failing | Scenario::Slow => {
                self.finished.outcome == Outcome::RolledBack
                    && matches!(self.finished.git, Some(GitOutcome::Pushed { .. }))
            }
        }
    }
}

/// Everything that a scenario touches.
pub(super) struct World<'a> {
    pub(super) shop: &'a Shop,
    pub(super) handle: &'a Handle,
    pub(super) load: &'a Load,
    pub(super) dependency: &'a Dependency,
    pub(super) display: &'a Display,
}

impl World<'_> {
    /// Waits until the first version serves.
    pub(super) async fn first_version(&self, patience: Duration) -> Result<(), DemoError> {
        let mut updates = self.handle.board.updates();
        let serves = || self.handle.board.service("shop").is_some_and(|s| s.stable.is_some());
        let waited = timeout(patience, async {
            while !serves() {
                // Falling behind only means to look at the board again.
                if matches!(updates.recv().await, Err(RecvError::Closed)) {
                    return;
                }
            }
        });
        let late = waited.await.is_err() || !serves();
        if late {
            let troubles = self.handle.board.troubles();
            let said = troubles
                .iter()
                .map(|(part, _, what)| format!("{part}: {what}"))
                .collect::<Vec<_>>()
                .join("\n");
            return Err(DemoError::Late(format!(
                "the first version does not serve after {patience:?}\n{said}"
            )));
        }
        Ok(())
    }

    /// Pushes the commit and watches until its deployment is over.
    pub(super) async fn play(
        &self,
        commit: &Commit,
        patience: Duration,
    ) -> Result<Played, DemoError> {
        let mut updates = self.handle.board.updates();
        let pushed = Instant::now();
        let revision = commit.push(self.shop)?.to_string();
        self.display.begin(commit.scenario, commit.subject, &revision[..7]);
        let watched = timeout(patience, self.watch(commit.scenario, &revision, &mut updates)).await;
        self.dependency.fail(0.0);
        let Ok(watched) = watched else {
            return Err(DemoError::Late(format!(
                "\"{}\" is not over after {patience:?}",
                commit.subject
            )));
        };
        let (id, exposed) = watched?;
        let finished = self.finished(&id).await?;
        let canary = self.load.counts().by_revision.get(&revision).copied().unwrap_or_default();
        let (_, tip) = self.shop.tip()?;
        let played = Played {
            scenario: commit.scenario,
            subject: commit.subject,
            took: pushed.elapsed(),
            finished,
            exposed,
            canary,
            tip,
        };
        self.display.ended(&played);
        Ok(played)
    }

    async fn watch(
        &self,
        scenario: Scenario,
        revision: &str,
        updates: &mut tokio::sync::broadcast::Receiver<Arc<Update>>,
    ) -> Result<(DeploymentId, Option<Duration>), DemoError> {
        let mut counts = self.load.watch();
        let mut id: Option<DeploymentId> = None;
        let mut first_failure: Option<Instant> = None;
        let mut exposed = None;
        let mut incident: Option<Instant> = None;
        let mut over = false;
        loop {
            tokio::select! {
                update = updates.recv() => match update {
                    Ok(update) => {
                        self.display.update(&update);
                        match (&update.live, &id) {
                            (Some(live), _) if revision.starts_with(&live.revision) => {
                                id = Some(DeploymentId::from_text(&live.id));
                                let on_trial = 0.0 < live.weight && live.confirmed;
                                if scenario == Scenario::Incident && on_trial && incident.is_none() && !over {
                                    incident = Some(Instant::now());
                                    self.dependency.fail(INCIDENT_SHARE);
                                    self.display.note("the shared dependency fails for both versions now");
                                }
                                if live.phase == "rolling back" && live.weight == 0.0 && live.confirmed && exposed.is_none() {
                                    exposed = first_failure.map(|at| at.elapsed());
                                }
                            }
                            (None, Some(id)) => return Ok((id.clone(), exposed)),
                            _ => {}
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Err(DemoError::Late("Serin has stopped".to_owned())),
                },
                changed = counts.changed() => {
                    if changed.is_err() {
                        return Err(DemoError::Late("the load has stopped".to_owned()));
                    }
                    let now: Counts = counts.borrow_and_update().clone();
                    if first_failure.is_none() && now.by_revision.get(revision).is_some_and(|a| 0 < a.failed) {
                        first_failure = Some(Instant::now());
                    }
                    if incident.is_some_and(|since| INCIDENT <= since.elapsed()) {
                        self.dependency.fail(0.0);
                        self.display.note("the shared dependency works again");
                        incident = None;
                        over = true;
                    }
                    self.display.load(&now);
                }
            }
        }
    }

    async fn finished(&self, id: &DeploymentId) -> Result<Finished, DemoError> {
        let recording = self.handle.reader.recording(id).await.map_err(RunError::from)?;
        recording
            .and_then(|r| r.entry.finished)
            .ok_or_else(|| DemoError::Late(format!("the journal has no end of deployment {id}")))
    }
}
