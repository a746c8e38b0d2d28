//! The values of both arms over a deployment, judged in intervals as Spinnaker runs Kayenta.
//!
//! Every look at the data adds false alarms, since Kayenta corrects for none of them. Looking at every 50th point
//! instead of at every scrape keeps that to what teams know from Spinnaker.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::classify::{Classification, classify};
use super::metric::Metric;

/// Points of both arms that one look needs, and that lie between looks; Kayenta's own advice for one metric.
pub const EVERY: usize = 50;

/// Newest scrapes that are kept per arm: a day at one a minute.
pub const MOST_POINTS: usize = 1_440;

/// Newest scrapes that one look takes in: what is kept less what may come before the next look, so that a look's
/// answer stays the same until then.
const WINDOW: usize = MOST_POINTS - EVERY;

/// One value per scrape and arm.
///
/// A point is a value in an arm. Looks are counted by the arm with fewer points, each at a multiple of [`EVERY`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Series {
    canary: VecDeque<Option<f64>>,
    baseline: VecDeque<Option<f64>>,
    /// Points ever pushed, by arm.
    points: (u64, u64),
    /// Scrapes since the last look.
    since: usize,
}

impl Series {
    /// Adds one scrape; `None`, or a value that is not finite, where an arm has none. A scrape without either is
    /// skipped: a gap in the store says nothing of the canary.
    pub fn push(&mut self, canary: Option<f64>, baseline: Option<f64>) {
        let [canary, baseline] = [canary, baseline].map(|v| v.filter(|v| v.is_finite()));
        if canary.is_none() && baseline.is_none() {
            return;
        }
        let looks = self.looks();
        self.points.0 = self.points.0.saturating_add(u64::from(canary.is_some()));
        self.points.1 = self.points.1.saturating_add(u64::from(baseline.is_some()));
        self.since = if self.looks() > looks { 0 } else { self.since.saturating_add(1) };
        for (kept, value) in [(&mut self.canary, canary), (&mut self.baseline, baseline)] {
            kept.push_back(value);
            while kept.len() > MOST_POINTS {
                kept.pop_front();
            }
        }
    }

    /// Looks so far; [`Series::judge`] changes its answer only when this grows.
    pub fn looks(&self) -> u64 {
        self.points.0.min(self.points.1) / EVERY as u64
    }

    /// Points still missing in the arm with fewer of them until there is an answer; 0 from then on.
    pub fn needs(&self) -> usize {
        let points = usize::try_from(self.points.0.min(self.points.1)).unwrap_or(usize::MAX);
        EVERY.saturating_sub(points)
    }

    /// The answer of the last look; `None` before the first.
    ///
    /// Says no data if an arm has gone silent for so long that no kept value is left.
    pub fn judge(&self, metric: &Metric) -> Option<Classification> {
        if self.looks() == 0 {
            return None;
        }
        let [canary, baseline] = [&self.canary, &self.baseline].map(|kept| {
            let until = kept.len().saturating_sub(self.since);
            let from = until.saturating_sub(WINDOW);
            let values = kept.range(from..until).map(|value| value.unwrap_or(f64::NAN));
            values.collect::<Vec<_>>()
        });
        Some(classify(metric, &canary, &baseline))
    }
}
