//! All evidence of one check, fed observation by observation and settled once per scrape.
//!
//! Observations are first summed per stratum and part of their arm, so that their order in a scrape makes no
//! difference; `tail` does the same for the order of scrapes.

mod beside;
mod choose;
mod intake;
mod pods;
mod timeline;
mod tolerance;
mod weigh;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Check, Counts, History, LatencyProfile, Settings, Test,
    comparison::Comparison,
    gauge::Gauge,
    history::Spread,
    kayenta,
    pods::Pods,
    sequential::Absolute,
    tail::{Cells, Stratum, Tail},
};

pub(crate) use self::beside::words_of;
use self::beside::{Novelty, Walked};
use self::tolerance::{errors_tolerance, sane_ratio, sane_share};
pub(crate) use self::weigh::can_fail;

/// A check without usable data for this long, while scrapes come, has no data.
pub(crate) const STALE: SignedDuration = SignedDuration::from_mins(5);

/// Strata of one check; a route template has tens, a raw path has no end.
const MOST_STRATA: usize = 64;

/// In a bake, less than one baseline request to this many canary requests is no comparison.
const NEARLY_NONE: u64 = 100;

/// Stable pods of earlier rollouts from which on their spread widens the tolerance (11).
const ENOUGH_PODS: u32 = 10;

/// State of one check: 1.5 KB for each comparison, and what its pods and buckets need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckEvidence {
    /// The check's name.
    pub(crate) name: String,
    /// Canary against baseline: one for errors, one per threshold for latency (fixed once chosen), one beside
    /// an objective.
    pub(crate) comparisons: Vec<Comparison>,
    /// The objective's own process.
    pub(crate) objective: Option<Absolute>,
    /// The advisory state of a gauge.
    pub(crate) gauge: Option<Box<Gauge>>,
    /// New errors.
    #[serde(default)]
    pub(crate) novelty: Option<Box<Novelty>>,
    /// Pairs of a synthetic journey.
    #[serde(default)]
    pub(crate) journey: Option<Box<Walked>>,
    /// The points that Kayenta judges.
    pub(crate) kayenta: Option<Box<Judged>>,
    /// Latency: the durations of each arm in this rollout, without pods that warm up.
    pub(crate) profile: LatencyProfile,
    pub(crate) canary_profile: LatencyProfile,
    strata: Vec<Stratum>,
    tail: Tail,
    /// Events and requests by pod, at the place that the pod has among all.
    by_pod: Vec<Counts>,
    warm_up: SignedDuration,
    /// How much stable's pods differ, and at which probability that is allowed for.
    spread: Spread,
    alpha: f64,
    /// What is taken off the evidence because stable alone reaches that much (A/A calibration).
    penalty: f64,
    /// The highest that each set of stable pods reached, where there are such sets.
    quiet: Vec<f64>,
    /// The highest that stable's halves reached against each other.
    pub(crate) control: f64,
    /// The newest scrape's factor of the margin.
    pub(crate) margin: f64,
    /// Stable did unusually badly in the newest scrape.
    pub(crate) disturbed: bool,
    /// When data last made a difference.
    pub(crate) usable: Option<Timestamp>,
    /// Natural logarithm of the check's evidence now.
    pub(crate) current: f64,
    /// The same for all canary pods together, whether or not one alone makes the difference.
    pub(crate) together: f64,
    /// The highest that each ever was.
    pub(crate) peak: f64,
    pub(crate) together_peak: f64,
    /// The last observation left out for this check.
    pub(crate) trouble: Option<String>,
    /// Counts of the scrape that is being taken in.
    #[serde(skip)]
    incoming: Incoming,
}

/// The points that Kayenta judges, and what it said of them last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) series: kayenta::Series,
    looks: u64,
    pub(crate) said: Option<kayenta::Classification>,
    /// Once it said so: a later look takes nothing back.
    pub(crate) failed: bool,
}

impl Judged {
    fn take(&mut self, metric: &kayenta::Metric, canary: Option<f64>, baseline: Option<f64>) {
        self.series.push(canary, baseline);
        if self.series.looks() > self.looks {
            self.looks = self.series.looks();
            self.said = self.series.judge(metric);
            self.failed |= !metric.muted
                && self.said.as_ref().is_some_and(|said| {
                    matches!(said.label, kayenta::Label::High | kayenta::Label::Low)
                });
        }
    }
}

/// What a scrape said so far.
#[derive(Debug, Clone, Default, PartialEq)]
struct Incoming {
    cells: Cells,
    /// For Kayenta: durations or counts of each arm, canary first.
    points: [Point; 2],
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Point {
    counts: Counts,
    durations: LatencyProfile,
    values: (f64, u32),
}

/// The rollout around a check, as far as taking in a scrape needs it.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) pods: &'a Pods,
    /// The time of the first scrape.
    pub(crate) began: Timestamp,
    pub(crate) baking: bool,
}

impl CheckEvidence {
    pub(crate) fn new(settings: &Settings, check: &Check, history: &History) -> Self {
        let known = history.reference(&check.name);
        let failing = settings.checks.iter().filter(|check| can_fail(check)).count().max(1);
        let alpha = settings.false_alarm / crate::sequential::as_f64(failing as u64);
        let threshold = crate::judgement::log_threshold(settings.false_alarm);
        let penalty = known
            .and_then(|known| known.quiet_quantile(alpha))
            .map_or(0.0, |quiet| (quiet - threshold).max(0.0));
        let mut evidence = Self {
            name: check.name.clone(),
            comparisons: Vec::new(),
            objective: None,
            gauge: None,
            novelty: None,
            journey: None,
            kayenta: None,
            profile: LatencyProfile::default(),
            canary_profile: LatencyProfile::default(),
            strata: Vec::new(),
            tail: Tail::default(),
            by_pod: Vec::new(),
            warm_up: SignedDuration::try_from(check.warm_up).unwrap_or(SignedDuration::ZERO),
            spread: known.map_or_else(Spread::default, |known| known.spread),
            alpha,
            penalty,
            quiet: Vec::new(),
            control: 0.0,
            margin: 1.0,
            disturbed: false,
            usable: None,
            current: 0.0,
            together: 0.0,
            peak: 0.0,
            together_peak: 0.0,
            trouble: None,
            incoming: Incoming::default(),
        };
        let usual = known.map_or(Counts::default(), |known| known.errors);
        let dispersion = known.map_or(1.0, |known| known.dispersion.allowance());
        match &check.test {
            Test::Errors { ratio, absolute } => {
                let comparison = Comparison::errors(sane_ratio(*ratio), sane_share(*absolute));
                evidence.compare(comparison.knowing(usual, dispersion));
            }
            Test::Restarts { ratio } => {
                let comparison = Comparison::errors(sane_ratio(*ratio), 0.0);
                evidence.compare(comparison.knowing(usual, dispersion));
            }
            Test::Latency { .. } => {}
            Test::ErrorObjective { at_most, .. } => {
                evidence.objective = Some(Absolute::new(sane_share(*at_most)));
                let (ratio, absolute) = errors_tolerance(settings, &check.reads);
                evidence.compare(Comparison::errors(ratio, absolute));
            }
            Test::LatencyObjective { at_most, .. } => {
                evidence.objective = Some(Absolute::new(sane_share(*at_most)));
            }
            Test::Gauge { at_most, sustained } => {
                evidence.gauge = Some(Box::new(Gauge::new(*at_most, *sustained)));
            }
            Test::NewErrors => {
                evidence.novelty = Some(Box::new(Novelty::knowing(history.known_errors())));
            }
            Test::Journey { stretch, gate } => {
                evidence.journey = Some(Box::new(Walked::new(*stretch, *gate)));
            }
            Test::Kayenta(_) => evidence.kayenta = Some(Box::default()),
        }
        evidence
    }

    fn compare(&mut self, comparison: Comparison) {
        let warms_up = self.warm_up > SignedDuration::ZERO;
        self.comparisons.push(if warms_up { comparison.warming_up() } else { comparison });
    }

    /// How long a pod's requests count for the catastrophic test only.
    pub(crate) fn warm_up(&self) -> SignedDuration {
        self.warm_up
    }

    /// After the last observation of a scrape: compares what has both arms, keeps what has to wait.
    pub(crate) fn settle(&mut self, check: &Check, at: Timestamp, around: Around<'_>) {
        self.widen(around.pods);
        let incoming = std::mem::take(&mut self.incoming);
        if let (Test::Kayenta(metric), Some(judged)) = (&check.test, &mut self.kayenta) {
            let [canary, baseline] = incoming.points.map(|point| point.value(metric.value));
            judged.take(metric, canary, baseline);
        }
        if let Some(gauge) = &mut self.gauge {
            gauge.settle(at);
        }
        let compared = self.novelty.as_mut().is_some_and(|new| new.settle());
        if compared | self.journey.as_mut().is_some_and(|journey| journey.settle()) {
            self.usable = self.usable.max(Some(at));
        }
        if !incoming.cells.keys.is_empty() {
            if around.baking {
                self.bake(&incoming.cells, at);
            } else {
                self.compare_all(incoming.cells, at, around);
            }
        }
        self.choose_when_known(check);
        self.weigh(check);
    }
}
