//! The look at traces between the traffic's return and the revert.

use rollout::{DeploymentId, Explained, Happened, Live, Phase};

use super::Performer;
use super::versions::oid;
use crate::cause::{Question, explained};
use crate::chain;
use crate::git::Paths;
use crate::measure::{arms, traced_as};

impl Performer {
    /// Looks in traces for what made the canary worse; always answers, within two minutes.
    pub(super) async fn explain(&self, deployment: DeploymentId, live: Option<Live>) -> Happened {
        let nothing = |deployment, why: &str| {
            let cause = Explained::Nothing { why: why.to_owned() };
            Happened::Explained { deployment, cause, document: None }
        };
        let Some(live) = live else { return nothing(deployment, "the deployment is over") };
        let trail = self.meters.trail(&deployment);
        if live.exposed.is_none() && trail.traces.is_empty() {
            return nothing(deployment, "the canary never had a request");
        }
        let canary = &live.deployment.canary;
        let (bad, verified) = (canary.revision(), &live.deployment.stable.verified);
        let policy = &canary.policy;
        let decided = match &live.phase {
            Phase::RollingBack(back) => back.decided,
            Phase::Adopting
            | Phase::Starting
            | Phase::Progressing { .. }
            | Phase::Baking { .. }
            | Phase::Comparing { .. }
            | Phase::Promoting { .. } => crate::clock::now(),
        };
        let revisions = [bad.as_str(), live.deployment.stable.revision.as_str()];
        let ask = Question {
            deployment: deployment.to_string(),
            service: traced_as(policy).to_owned(),
            arms: arms(policy, revisions, &self.processes),
            provider: policy.traces.provider.clone(),
            from: live.exposed.unwrap_or(live.deployment.began),
            to: decided,
            walked: !trail.traces.is_empty(),
        };
        let diff = match self.repositories.get(&canary.repository) {
            Some(repository) => {
                let (mirror, from, to) = (repository.mirror.clone(), oid(verified), oid(bad));
                let paths = Paths::new(&policy.paths, &repository.policies).ok();
                let read = move || mirror.deployed_range(from, to, paths.as_ref());
                match tokio::task::spawn_blocking(read).await {
                    Ok(Ok(range)) => Some(range.diff),
                    Ok(Err(error)) => {
                        let error = chain(&error);
                        tracing::warn!(error, %deployment, "the deployed range cannot be read");
                        None
                    }
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(
                            error,
                            "reading a range ended in a defect; please report it"
                        );
                        None
                    }
                }
            }
            None => None,
        };
        let (mut cause, document) = explained(self.finder.find(&ask, diff).await);
        if let Explained::Nothing { why } = &mut cause
            && let Some(failure) = trail.failures.back()
        {
            *why = format!("{failure}; {why}");
        }
        Happened::Explained { deployment, cause, document }
    }
}
