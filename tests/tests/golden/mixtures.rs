//! The mixture boundaries of Howard, Ramdas and others, "Time-uniform, nonparametric, nonasymptotic
//! confidence sequences", Ann. Stat. 2021, arXiv 1810.08240, section 3 and appendix, that the product does not use.
//!
//! An oracle only, written for few and small arguments; the product's own beta-binomial mixture is made for billions
//! of requests and is held against the one-sided form here.

use statrs::function::{
    beta::{beta_reg, ln_beta},
    erf::erfc,
    gamma::{gamma_lr, gamma_ur, ln_gamma},
};

/// A mixture of `exp(lambda s - psi(lambda) v)` over `lambda`.
pub(crate) enum Mixture {
    /// Normal on both sides.
    Normal { rho: f64 },
    /// Half-normal.
    HalfNormal { rho: f64 },
    /// For sub-exponential sums of scale `c`.
    GammaExponential { rho: f64, c: f64 },
    /// For sub-Poisson sums of scale `c`.
    GammaPoisson { rho: f64, c: f64 },
    /// For sums of steps between `-g` and `h`, one-sided.
    BetaBinomial { r: f64, g: f64, h: f64 },
}

/// The precision that makes the two-sided boundary narrowest at variance `v`; at level `2 alpha` the one-sided one.
pub(crate) fn tuned(v: f64, alpha: f64) -> f64 {
    let twice = 2.0 * (1.0 / alpha).ln();
    v / (twice + twice.ln_1p())
}

impl Mixture {
    pub(crate) fn normal(v_opt: f64, alpha_opt: f64, one_sided: bool) -> Self {
        if one_sided {
            Self::HalfNormal { rho: tuned(v_opt, 2.0 * alpha_opt) }
        } else {
            Self::Normal { rho: tuned(v_opt, alpha_opt) }
        }
    }

    /// The one-sided beta-binomial mixture.
    pub(crate) fn beta_binomial(v_opt: f64, alpha_opt: f64, g: f64, h: f64) -> Self {
        let r = tuned(v_opt, 2.0 * alpha_opt) - g * h;
        Self::BetaBinomial { r: r.max(1e-3 * g * h), g, h }
    }

    /// Natural logarithm at sum `s` and variance `v`.
    pub(crate) fn log(&self, s: f64, v: f64) -> f64 {
        match *self {
            Self::Normal { rho } => 0.5 * (rho / (v + rho)).ln() + s * s / (2.0 * (v + rho)),
            Self::HalfNormal { rho } => {
                let below = 0.5 * erfc(-s / (2.0 * (v + rho)).sqrt());
                0.5 * (4.0 * rho / (v + rho)).ln() + s * s / (2.0 * (v + rho)) + below.ln()
            }
            Self::GammaExponential { rho, c } => {
                let (start, shape) = (rho / c / c, (v + rho) / c / c);
                let sum = (c * s + v) / c / c;
                let norm = start * start.ln() - ln_gamma(start) - gamma_lr(start, start).ln();
                let rate = sum + start;
                norm + ln_gamma(shape) + gamma_lr(shape, rate).ln() - shape * rate.ln() + sum
            }
            Self::GammaPoisson { rho, c } => {
                let (start, rate) = (rho / c / c, (v + rho) / c / c);
                let shape = s / c + rate;
                let norm = start * start.ln() - ln_gamma(start) - gamma_ur(start, start).ln();
                norm + ln_gamma(shape) + gamma_ur(shape, rate).ln() - shape * rate.ln() + v / c / c
            }
            Self::BetaBinomial { r, g, h } => {
                // Counts of the two kinds of steps, and the prior's, as a truncated beta distribution.
                let (down, up) = ((v - g * s) / (g * (g + h)), (v + h * s) / (h * (g + h)));
                let (a, b) = (r / (g * (g + h)), r / (h * (g + h)));
                let share = h / (g + h);
                let incomplete = |a: f64, b: f64| ln_beta(a, b) + beta_reg(a, b, share).ln();
                incomplete(a + down, b + up)
                    - incomplete(a, b)
                    - down * share.ln()
                    - up * (1.0 - share).ln()
            }
        }
    }

    /// Where the mixture reaches `1/alpha` at variance `v`; the largest possible sum if it never does.
    pub(crate) fn bound(&self, v: f64, alpha: f64) -> f64 {
        let below = |s: f64| self.log(s, v) < -alpha.ln();
        let mut outside = if let Self::BetaBinomial { g, .. } = self {
            v / g
        } else {
            (0..60).map(|power| v * 2.0_f64.powi(power)).find(|s| !below(*s)).unwrap()
        };
        if below(outside) {
            return outside;
        }
        let mut inside = 0.0;
        for _ in 0..100 {
            let middle = f64::midpoint(inside, outside);
            if below(middle) {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        outside
    }
}
