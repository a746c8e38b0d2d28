//! Scrapes through the engine: a past deployment with all that is told of it, or a trial with what is counted.

use std::collections::BTreeMap;

use analysis::{Arm, Assessment, History, Outcome, Scrape, Settings, Status};

use super::Timeline;
use super::periods::{Deployment, requests};
use super::report::{Answer, NoData, PastDeployment, as_f64};

/// Replays a past deployment; the evidence ends with the failure, as it would have.
pub(super) fn deployment(
    settings: &Settings,
    first: f64,
    timeline: Timeline,
    past: &Deployment<'_>,
) -> PastDeployment {
    let mut assessment = Assessment::new(settings, &History::default());
    let mut served = Served::default();
    let mut without = vec![0_u64; settings.checks.len()];
    let mut failed = None;
    let mut last = past.from;
    for index in past.from..=past.to {
        let scrape = past.scrape(timeline, index);
        served.add(&scrape);
        assessment.observe(settings, &scrape);
        let verdict = assessment.verdict(settings, first);
        for (count, finding) in without.iter_mut().zip(&verdict.findings) {
            *count += u64::from(finding.status == Status::NoData);
        }
        last = index;
        if verdict.outcome == Outcome::Fail {
            // The first moment's counts took a step to come together, too.
            failed = Some(timeline.seconds(index - past.from + 1));
            break;
        }
    }
    let full = assessment.verdict(settings, 1.0);
    let verdict =
        if full.outcome == Outcome::Undecided { assessment.verdict(settings, first) } else { full };
    let answer = match verdict.outcome {
        Outcome::Fail => Answer::Fail,
        Outcome::Inconclusive => Answer::Hold,
        Outcome::Pass | Outcome::Undecided if verdict.breached => Answer::Hold,
        Outcome::Pass => Answer::Pass,
        Outcome::Undecided => Answer::Undecided,
    };
    let moments = as_f64((last - past.from + 1) as u64);
    let step = timeline.step.as_secs_f64();
    let no_data = settings.checks.iter().zip(without).filter(|(_, count)| 0 < *count);
    PastDeployment {
        canary: past.canary.version.clone(),
        baseline: past.baseline.version.clone(),
        from: timeline.at(past.from),
        to: timeline.at(past.to),
        answer,
        seconds: failed,
        canary_requests: served.canary(),
        allowed: verdict.allowed,
        reason: verdict.reason,
        no_data: no_data
            .map(|(check, count)| NoData {
                check: check.name.clone(),
                without: as_f64(count) * step,
                of: moments * step,
            })
            .collect(),
        guessed: past.guessed,
    }
}

/// What one trial came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trial {
    /// Moments until the failure, and the pseudo-canary's requests by then.
    pub(super) failed: Option<(usize, u64)>,
    /// A person would have been asked.
    pub(super) held: bool,
    /// The first step would have been allowed.
    pub(super) passed: bool,
    /// For each check whether it ended without data.
    pub(super) without: Vec<bool>,
    /// Requests of the pseudo-canary, and of both arms.
    pub(super) served: (u64, u64),
}

/// Plays scrapes until they end or the canary fails.
pub(super) fn trial(
    settings: &Settings,
    first: f64,
    scrapes: impl Iterator<Item = Scrape>,
) -> Trial {
    let mut assessment = Assessment::new(settings, &History::default());
    let mut served = Served::default();
    let mut failed = None;
    for (index, scrape) in scrapes.enumerate() {
        served.add(&scrape);
        assessment.observe(settings, &scrape);
        // A whole verdict is dear.
        if assessment.may_have_failed(settings)
            && assessment.verdict(settings, first).outcome == Outcome::Fail
        {
            failed = Some((index, served.canary()));
            break;
        }
    }
    let verdict = assessment.verdict(settings, first);
    Trial {
        failed,
        held: verdict.breached || verdict.outcome == Outcome::Inconclusive,
        passed: verdict.outcome == Outcome::Pass && !verdict.breached,
        without: verdict.findings.iter().map(|f| f.status == Status::NoData).collect(),
        served: (served.canary(), served.all()),
    }
}

/// Requests of each arm, by what counted them; several checks count the same requests.
#[derive(Debug, Default)]
struct Served(BTreeMap<String, [u64; 2]>);

impl Served {
    fn add(&mut self, scrape: &Scrape) {
        for observation in &scrape.observations {
            // Seconds of running are no requests.
            if observation.check == analysis::RESTARTS {
                continue;
            }
            if !self.0.contains_key(&observation.check) {
                self.0.insert(observation.check.clone(), [0, 0]);
            }
            if let Some(arms) = self.0.get_mut(&observation.check) {
                let arm = &mut arms[usize::from(observation.arm == Arm::Baseline)];
                *arm = arm.saturating_add(requests(&observation.sample));
            }
        }
    }

    fn largest(&self) -> [u64; 2] {
        let all = self.0.values().copied();
        all.max_by_key(|[canary, baseline]| canary.saturating_add(*baseline)).unwrap_or_default()
    }

    fn canary(&self) -> u64 {
        self.largest()[0]
    }

    fn all(&self) -> u64 {
        let [canary, baseline] = self.largest();
        canary.saturating_add(baseline)
    }
}
