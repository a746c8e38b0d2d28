//! A share of traffic with a resolution of 0.01 %.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The canary's share of traffic in basis points: 0 to 10,000, that is 0.00 % to 100.00 %.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u16", into = "u16")]
pub struct Weight(u16);

/// A weight above 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a weight is 0 to 10000 basis points, got {0}")]
pub struct WeightError(u16);

impl Weight {
    /// No canary traffic.
    pub const ZERO: Self = Self(0);
    /// All traffic.
    pub const FULL: Self = Self(10_000);

    /// From basis points, 0 to 10,000.
    ///
    /// # Errors
    /// Above 10,000; write a share of at most 100 %.
    pub const fn from_basis_points(points: u16) -> Result<Self, WeightError> {
        if points <= Self::FULL.0 { Ok(Self(points)) } else { Err(WeightError(points)) }
    }

    /// From a share in [0, 1], rounded to 0.01 %; values outside are clamped, NaN is 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=10000 before the cast"
    )]
    pub fn from_share(share: f64) -> Self {
        Self((share * 10_000.0).round().clamp(0.0, 10_000.0) as u16)
    }

    /// As basis points, 0 to 10,000.
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// As a share in [0, 1].
    pub fn share(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// What is left for stable.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(Self::FULL.0 - self.0)
    }
}

impl TryFrom<u16> for Weight {
    type Error = WeightError;
    fn try_from(points: u16) -> Result<Self, WeightError> {
        Self::from_basis_points(points)
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

/// `12.5 %`: as few decimals as the weight needs.
impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match part {
            0 => write!(f, "{whole} %"),
            p if p % 10 == 0 => write!(f, "{whole}.{} %", p / 10),
            p => write!(f, "{whole}.{p:02} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_more_decimals_than_needed() {
        let shown = |points| Weight::from_basis_points(points).map(|w| w.to_string());
        assert_eq!(shown(100).as_deref(), Ok("1 %"));
        assert_eq!(shown(150).as_deref(), Ok("1.5 %"));
        assert_eq!(shown(1), Ok("0.01 %".to_owned()));
        assert!(shown(10_001).is_err());
    }

    #[test]
    fn a_share_outside_the_range_is_clamped() {
        assert_eq!(Weight::from_share(2.0), Weight::FULL);
        assert_eq!(Weight::from_share(f64::NAN), Weight::ZERO);
        assert_eq!(Weight::from_share(0.0225).basis_points(), 225);
    }
}
