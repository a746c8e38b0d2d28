//! Attempts at providers: each bounded in time, so that one that hangs is given up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use analysis_providers::{FetchError, Measured, MetricProvider, Subject};
use jiff::Timestamp;
use rollout::DeploymentId;
use tokio::task::{Id, JoinSet};

/// Every provider bounds its own attempts far below this; beyond it one is given up as a defect.
const LONGEST_ATTEMPT: Duration = Duration::from_mins(5);

/// Attempts under way, each with the deployments that it is for.
#[derive(Default)]
pub(super) struct Attempts {
    pub(super) tasks: JoinSet<Vec<Measured>>,
    pub(super) deployments: HashMap<Id, Vec<DeploymentId>>,
}

impl Attempts {
    /// Makes one attempt at subjects of one provider.
    pub(super) fn begin(
        &mut self,
        provider: &Arc<dyn MetricProvider>,
        subjects: Vec<Subject>,
        at: Timestamp,
    ) {
        let ids: Vec<String> = subjects.iter().map(|subject| subject.id.clone()).collect();
        let deployments = ids.iter().map(|id| DeploymentId::from_text(id)).collect();
        let provider = provider.clone();
        let task = self.tasks.spawn(async move {
            let attempt = tokio::time::timeout(LONGEST_ATTEMPT, provider.measure(&subjects, at));
            attempt.await.unwrap_or_else(|_| {
                let error = FetchError::transient("there was no answer for 5 minutes");
                let given_up = |subject| Measured { subject, result: Err(error.clone()) };
                ids.into_iter().map(given_up).collect()
            })
        });
        self.deployments.insert(task.id(), deployments);
    }
}
