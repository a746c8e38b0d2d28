//! The ordered steps of one deployment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::{StepPolicy, Steps};
use crate::weight::Weight;

/// Each rung of the ladder is twice the one before: at most seven waits from 1 % to 100 %, and a
/// rung that is wrongly allowed doubles the harm at most once.
pub const LADDER_FACTOR: u16 = 2;

/// Longest wait for journeys to pass before the canary gets traffic.
const GATE_DEADLINE: Duration = Duration::from_mins(15);

/// At least one step below 100 %, weights strictly rising; 100 % itself is the promotion. A gate of journeys is a step at
/// 0 % before all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    steps: Vec<StepPolicy>,
}

/// Why steps are no plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is no step.
    #[error("a plan needs at least one step below 100 %")]
    Empty,
    /// A weight is not above the one before it.
    #[error("step {step} has weight {weight}, which is not above the step before it")]
    NotRising {
        /// From 1.
        step: usize,
        /// The offending weight.
        weight: Weight,
    },
    /// A weight is 0 % or 100 %.
    #[error(
        "step {step} has weight {weight}; a step is above 0 % and below 100 %, which is the promotion"
    )]
    OutOfRange {
        /// From 1.
        step: usize,
        /// The offending weight.
        weight: Weight,
    },
    /// The deadline is not after the shortest stay.
    #[error("step {step} ends (deadline) before its shortest stay (atLeast) is over")]
    DeadlineTooEarly {
        /// From 1.
        step: usize,
    },
}

impl Plan {
    /// The plan that a policy's `steps` ask for.
    ///
    /// # Errors
    /// What is wrong with the steps; the configuration reports it with its place in the file.
    pub fn new(steps: &Steps) -> Result<Self, PlanError> {
        let steps = match steps {
            Steps::Auto { first, deadline } => ladder(*first, *deadline),
            Steps::ByHand(steps) => steps.clone(),
        };
        let mut before = Weight::ZERO;
        for (index, step) in steps.iter().enumerate() {
            let (number, weight) = (index + 1, step.weight);
            if weight == Weight::ZERO || weight == Weight::FULL {
                return Err(PlanError::OutOfRange { step: number, weight });
            }
            if weight <= before {
                return Err(PlanError::NotRising { step: number, weight });
            }
            if step.deadline <= step.at_least {
                return Err(PlanError::DeadlineTooEarly { step: number });
            }
            before = weight;
        }
        if steps.is_empty() { Err(PlanError::Empty) } else { Ok(Self { steps }) }
    }

    /// The same with a gate before the first step: the canary gets traffic when journeys have passed on it.
    #[must_use]
    pub fn gated(mut self) -> Self {
        let gate =
            StepPolicy { weight: Weight::ZERO, at_least: Duration::ZERO, deadline: GATE_DEADLINE };
        self.steps.insert(0, gate);
        self
    }

    /// One step at 1 % for at most half an hour: what is left when a journal holds an older, invalid plan.
    pub(crate) fn smallest() -> Self {
        let weight = Weight::from_share(0.01);
        let deadline = Duration::from_mins(30);
        Self { steps: vec![StepPolicy { weight, at_least: Duration::ZERO, deadline }] }
    }

    /// The steps, first to last.
    pub fn steps(&self) -> &[StepPolicy] {
        &self.steps
    }

    /// Step `index` from 0; the last one for any index beyond it.
    pub fn step(&self, index: usize) -> StepPolicy {
        self.steps[index.min(self.steps.len() - 1)]
    }

    /// The weight after step `index`: the next step's, or 100 %.
    pub fn after(&self, index: usize) -> Weight {
        self.steps.get(index + 1).map_or(Weight::FULL, |step| step.weight)
    }
}

fn ladder(first: Weight, deadline: Duration) -> Vec<StepPolicy> {
    std::iter::successors(Some(first.basis_points()), |w| w.checked_mul(LADDER_FACTOR))
        .take_while(|w| 0 < *w && *w < Weight::FULL.basis_points())
        .filter_map(|w| Weight::from_basis_points(w).ok())
        .map(|weight| StepPolicy { weight, at_least: Duration::ZERO, deadline })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_hand(points: &[u16]) -> Steps {
        let step = |p: &u16| StepPolicy {
            weight: Weight::from_basis_points(*p).unwrap(),
            at_least: Duration::ZERO,
            deadline: Duration::from_secs(60),
        };
        Steps::ByHand(points.iter().map(step).collect())
    }

    #[test]
    fn the_ladder_doubles_up_to_the_promotion() {
        let first = Weight::from_basis_points(100).unwrap();
        let plan = Plan::new(&Steps::Auto { first, deadline: Duration::from_secs(60) }).unwrap();
        let weights: Vec<_> = plan.steps().iter().map(|s| s.weight.basis_points()).collect();
        assert_eq!(weights, [100, 200, 400, 800, 1600, 3200, 6400]);
        assert_eq!(plan.after(6), Weight::FULL);
        assert_eq!(plan.after(0).basis_points(), 200);
    }

    #[test]
    fn impossible_steps_are_refused_with_their_number() {
        let error = |points: &[u16]| Plan::new(&by_hand(points)).unwrap_err().to_string();
        assert_eq!(error(&[]), "a plan needs at least one step below 100 %");
        assert!(error(&[100, 100]).starts_with("step 2 has weight 1 %, which is not above"));
        assert!(error(&[100, 10_000]).starts_with("step 2 has weight 100 %; a step is above 0 %"));
    }
}
