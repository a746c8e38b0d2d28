//! The part of the evidence that begins anew when a bake is left.

use serde::{Deserialize, Serialize};

use super::SINCE_THE_BEGINNING;
use crate::sequential::{Exposure, Ratio, log_factor};

/// Evidence since a bake was left for a comparison: an hour of good data before must not hide what began late.
///
/// With weights that are fixed beforehand, 0.97 for the beginning and 0.03 x 2^-j for the j-th restart, and
/// each restart counting 1 before it begins, the weighted sum is an e-process again, whenever one restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Restart {
    /// How often.
    count: u8,
    /// What finished restarts have left, weighted.
    banked: f64,
    process: Option<Box<Ratio>>,
}

impl Restart {
    /// After these, restarts no longer begin anew: their weight would be nothing.
    const MOST: u8 = 40;

    fn weight(&self) -> f64 {
        (1.0 - SINCE_THE_BEGINNING) * 0.5_f64.powi(self.count.into())
    }

    pub(super) fn begin(&mut self, ratio: f64, absolute: f64) {
        if self.count >= Self::MOST {
            return;
        }
        if let Some(process) = &self.process {
            // A stopped process keeps its value. Far beyond any threshold it may as well be cut.
            self.banked += self.weight() * process.log_e().min(300.0).exp();
        }
        self.count += 1;
        self.process = Some(Box::new(Ratio::new(ratio, absolute)));
    }

    /// Weights and logarithms of all parts.
    pub(super) fn parts(&self) -> [(f64, f64); 3] {
        let process =
            self.process.as_ref().map_or((0.0, 0.0), |process| (self.weight(), process.log_e()));
        // Restarts to come weigh as much as the current one.
        [(self.banked, 0.0), process, (self.weight(), 0.0)]
    }

    /// Multiplies the newest process by a scrape's factor, or takes it back.
    pub(super) fn add(&mut self, seen: &Exposure, ratio: f64, absolute: f64, sign: f64) {
        if let Some(process) = &mut self.process
            && let Some(factor) = log_factor(seen, ratio, absolute)
        {
            process.add(&factor, sign);
        }
    }
}
