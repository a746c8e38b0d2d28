//! The judge of Spinnaker's Kayenta, for teams that come from there and want their old answers first.
//!
//! It answers as `NetflixACAJudge-v1.0` does (spinnaker/kayenta a69573b): one value per scrape and arm, the
//! Mann-Whitney shift with a 98 % interval, a label per metric, a score over all. It is **weaker** than Serin's own
//! checks, and nothing here changes that:
//!
//! - *No bound on false alarms over several looks.* Every look is made as if it were the only one. Over 20 minutes of
//!   scrapes each 5 s it reverts 2.7 % of harmless deployments (error share 0.1 %, 500 requests/s), where Serin's
//!   error check reverts at most 0.2 %; on a gauge whose pods differ by 5 %, 11 %, and 20 % if neighbouring values
//!   are alike as well (autocorrelation 0.95).
//! - *Values of neighbouring scrapes count as independent*, and a scrape of three requests as much as one of three
//!   thousand.
//! - *At least 50 points per arm.* An error share that rises from 0.1 % to 1 % is found after 300 s and 7,500 canary
//!   requests (medians at 500 requests/s), by Serin after 25 s and 625; from 0.1 % to 5 % at 5 requests/s in 16 % of
//!   the deployments, by Serin in 99.8 %.
//! - *The shift is found to an absolute 0.0001 only*, which distorts values of that size, an error share of 0.001
//!   among them.
//! - *An arm whose mean is zero switches the check of the effect size off.*
//! - *It never says that a deployment is safe*, only that nothing was found.
//!
//! The figures are of 300 simulated deployments a row, of Serin 2,000; `tests/tests/calibration.rs` makes them anew.
//!
//! Pure: no clock, no files, no randomness. Kayenta's noise on constant arms is replaced by normal quantiles.

mod classify;
pub mod mann_whitney;
mod metric;
mod score;
mod series;
#[cfg(test)]
mod tests;

pub use classify::{Classification, Label, classify};
pub use metric::{Direction, EffectSize, Invalid, Measure, Metric, NanStrategy, Outliers, Value};
pub use score::{Grade, Group, Judged, Score, Thresholds, score};
pub use series::{EVERY, MOST_POINTS, Series};
