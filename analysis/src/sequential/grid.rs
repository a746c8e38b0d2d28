//! The 24 alternatives that the ratio, mirror and absolute tests mix over.
//!
//! `h_g = 0.05 (ln 200 / 0.05)^(g/23)`: from 5 % worse to 200 times worse, evenly spaced in the logarithm of
//! the logarithm, so that small and catastrophic regressions both have an alternative near them. The price of
//! mixing is at most ln 24 = 3.2 nats, in practice about 2.

use std::sync::LazyLock;

/// How many alternatives.
pub(crate) const POINTS: usize = 24;

/// One number per alternative.
pub(crate) type Lanes = [f64; POINTS];

/// The alternatives, computed once.
#[derive(Debug)]
pub(crate) struct Grid {
    /// `h_g`, the natural logarithm of the alternative's ratio to the null; rising.
    pub(crate) log_ratio: Lanes,
    /// `exp(h_g)`.
    pub(crate) worse: Lanes,
    /// `exp(-h_g)`.
    pub(crate) better: Lanes,
}

/// The one grid.
pub(crate) static GRID: LazyLock<Grid> = LazyLock::new(|| {
    let mut log_ratio = [0.0; POINTS];
    let span = 200.0_f64.ln() / 0.05;
    let mut position = 0.0;
    for h in &mut log_ratio {
        *h = 0.05 * span.powf(position / 23.0);
        position += 1.0;
    }
    Grid { log_ratio, worse: log_ratio.map(f64::exp), better: log_ratio.map(|h| (-h).exp()) }
});

/// `ln` of the plain mean of `exp` over the lanes, without overflow.
pub(crate) fn log_mean_exp(lanes: &Lanes) -> f64 {
    let highest = lanes.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = lanes.iter().map(|lane| (lane - highest).exp()).sum();
    highest + (sum / 24.0).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_runs_from_five_percent_to_two_hundred_times() {
        assert!((GRID.log_ratio[0] - 0.05).abs() < 1e-15);
        assert!((GRID.worse[POINTS - 1] - 200.0).abs() < 1e-9);
        assert!(GRID.log_ratio.is_sorted());
    }

    #[test]
    fn log_mean_survives_extreme_lanes() {
        let mut lanes = [-1e300; POINTS];
        lanes[3] = 800.0;
        let mean = log_mean_exp(&lanes);
        assert!((mean - (800.0 - 24.0_f64.ln())).abs() < 1e-12);
        assert!(log_mean_exp(&[0.0; POINTS]).abs() < 1e-15);
    }
}
