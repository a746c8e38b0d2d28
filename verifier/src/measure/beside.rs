//! What is observed beside the policy's own metrics: new errors in spans, and what browsers report. Both are pushed
//! to Serin and kept in memory, so that asking costs no I/O.

use analysis_providers::{Completeness, Instance, Measure, MetricProvider, Source, Subject};
use analysis_traces::{ArmLabel, Arms};
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use rollout::policy::{Browsers, Metrics};
use rollout::{DeploymentId, Happened, Policy};
use rollout_targets::process::Processes;

use super::subject::{kind, vital};
use super::{Meter, Meters, PUSHED_EVERY, Sources, together};
use analysis::{Arm, Scrape, Test};

/// Spans count some ten seconds after they were sent: silence is worth a word after this.
const PATIENCE: SignedDuration = SignedDuration::from_secs(20);

/// What troubles the two sources.
#[derive(Default)]
pub(super) struct Beside {
    due: Timestamp,
    troubles: [Option<Trouble>; 2],
}

/// Why a source says nothing, since when, and whether people know.
struct Trouble {
    why: String,
    since: Timestamp,
    told: bool,
}

impl Beside {
    /// Takes in what troubles a source; gives it once when it has lasted.
    fn trouble(&mut self, place: usize, why: Option<String>, at: Timestamp) -> Option<String> {
        let known = self.troubles[place].take();
        let why = why?;
        let (since, told) =
            known.map_or((at, false), |known| (known.since, known.told && known.why == why));
        let lasts = at.duration_since(since) >= PATIENCE;
        self.troubles[place] = Some(Trouble { why: why.clone(), since, told: told || lasts });
        (lasts && !told).then_some(why)
    }
}

/// The name by which a service's traces are known.
pub fn traced_as(policy: &Policy) -> &str {
    let pushed = match &policy.metrics {
        Metrics::Traces { service } | Metrics::Otlp { service } => Some(service),
        Metrics::Proxy
        | Metrics::Scrape { .. }
        | Metrics::Prometheus { .. }
        | Metrics::Store { .. } => None,
    };
    policy.traces.service.as_ref().or(pushed).unwrap_or(&policy.name)
}

/// How the processes of both versions are recognised in traces.
pub fn arms(policy: &Policy, [canary, stable]: [&str; 2], processes: &Processes) -> Arms {
    let label = |revision: &str| {
        let running = processes.running(&policy.name, revision);
        ArmLabel {
            version: Some(policy.traces.version.of(revision).to_owned()),
            revision: Some(revision.to_owned()),
            pod_template_hash: None,
            instances: running.into_iter().map(|process| process.instance).collect(),
        }
    };
    Arms { baseline: label(stable), canary: label(canary) }
}

impl Meters {
    /// Reads what was pushed for every deployment; once a second.
    pub(super) fn beside(
        &self,
        sources: &Sources,
        at: Timestamp,
        events: &mut Vec<(String, Happened)>,
    ) {
        for (id, meter) in self.lock().iter_mut() {
            if at < meter.beside.due {
                continue;
            }
            meter.beside.due = together(at, PUSHED_EVERY);
            if meter.policy.traces.provider.is_none() {
                let revisions = [&*meter.canary, &*meter.stable];
                let arms = arms(&meter.policy, revisions, &sources.processes);
                sources.spans.watch(&id.to_string(), traced_as(&meter.policy), &arms, at);
            }
            let providers: [(&dyn MetricProvider, Vec<Measure>); 2] =
                [(&*sources.spans, meter.of_spans()), (&*sources.browsers, meter.of_browsers())];
            for (place, (provider, measures)) in providers.into_iter().enumerate() {
                if !measures.is_empty() {
                    events.extend(meter.ask_beside(place, provider, (id, at), measures));
                }
            }
        }
    }
}

impl Meter {
    /// What is read from spans where the policy's metrics come from elsewhere.
    fn of_spans(&self) -> Vec<Measure> {
        if let Metrics::Traces { .. } = self.policy.metrics {
            return Vec::new();
        }
        let checks = self.policy.analysis.checks.iter();
        let new_errors = checks.filter(|check| matches!(check.test, Test::NewErrors));
        new_errors.map(|check| measure(&check.reads, kind(&check.test))).collect()
    }

    fn of_browsers(&self) -> Vec<Measure> {
        let checks = self.policy.analysis.checks.iter();
        let reported = |name: &str| self.policy.of_browsers(name);
        let of = |reported: Browsers, name: &str| measure(name, vital(reported));
        checks.filter_map(|check| Some(of(reported(&check.reads)?, &check.reads))).collect()
    }

    fn ask_beside(
        &mut self,
        place: usize,
        provider: &dyn MetricProvider,
        (id, at): (&DeploymentId, Timestamp),
        measures: Vec<Measure>,
    ) -> Vec<(String, Happened)> {
        let names: Vec<&str> = measures.iter().map(|measure| &*measure.check).collect();
        let checks = names.join(", ");
        let arms = [(Arm::Canary, &self.canary), (Arm::Baseline, &self.stable)];
        let instances = arms.map(|(arm, revision)| Instance {
            name: revision.clone(),
            arm,
            url: None,
            labels: [
                ("service.name".to_owned(), traced_as(&self.policy).to_owned()),
                ("service.version".to_owned(), revision.clone()),
            ]
            .into(),
        });
        let subject = Subject {
            id: id.to_string(),
            service: self.service.clone(),
            instances: instances.into(),
            measures,
        };
        // Nothing is waited for: what was pushed is in memory.
        let answer = provider.measure(&[subject], at).now_or_never();
        let Some(answer) = answer.and_then(|mut all| all.pop()) else { return Vec::new() };
        let (scrape, completeness) = match answer.result {
            Ok((scrape, Completeness::Full)) => (Some(scrape), None),
            Ok((scrape, Completeness::Partial(why))) => (Some(scrape), Some(why)),
            Ok((_, Completeness::None(why) | Completeness::Stale(why))) => (None, Some(why)),
            Err(error) => (None, Some(crate::chain(&error))),
        };
        let says_something = |scrape: &Scrape| {
            scrape.observations.iter().any(|observation| observation.sample.says_something())
        };
        let trouble = self.beside.trouble(place, completeness, at);
        // The other source of the same arms goes on, so that this is for the record only.
        let told = trouble.map(|why| Happened::Stumbled {
            deployment: id.clone(),
            what: format!("{checks} without data: {why}"),
        });
        let seen = scrape
            .filter(says_something)
            .map(|scrape| Happened::Observed { deployment: id.clone(), scrape });
        told.into_iter().chain(seen).map(|what| (self.service.clone(), what)).collect()
    }
}

fn measure(check: &str, kind: analysis_providers::MeasureKind) -> Measure {
    Measure { check: check.to_owned(), kind, source: Source::Auto, strata: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_once_when_it_lasts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let why = |text: &str| Some(text.to_owned());
        let mut beside = Beside::default();
        assert_eq!(beside.trouble(0, why("no spans"), at(0)), None);
        assert_eq!(beside.trouble(0, why("no whole request"), at(19)), None);
        assert_eq!(beside.trouble(0, why("no whole request"), at(20)), why("no whole request"));
        assert_eq!(beside.trouble(0, why("no whole request"), at(60)), None);
        assert_eq!(beside.trouble(0, why("no label"), at(61)), why("no label"), "it is another");
        assert_eq!(beside.trouble(0, None, at(62)), None);
        assert_eq!(beside.trouble(0, why("no spans"), at(63)), None, "it begins anew");
        assert_eq!(beside.trouble(1, why("no beacon"), at(63)), None);
    }
}
