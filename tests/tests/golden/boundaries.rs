//! Kinds of the reference implementation `confseq` 0.0.11: boundaries and log mixtures.

use analysis::sequential::quantile::BetaBinomial;

use crate::{
    case::{Case, Checked, number},
    mixtures::{Mixture, tuned},
    stitching,
};

fn value(checked: &mut Checked, case: &Case, got: f64) {
    checked.close(case, got, number(&case.expect["value"]));
}

fn log_mixture(checked: &mut Checked, case: &Case, mixture: &Mixture) {
    value(checked, case, mixture.log(case.number("s"), case.number("v")));
}

fn bound(checked: &mut Checked, case: &Case, mixture: &Mixture) {
    value(checked, case, mixture.bound(case.number("v"), case.number("alpha")));
}

/// The variance and level at which a mixture is narrowest.
fn optimum(case: &Case) -> (f64, f64) {
    (case.number("v_opt"), case.number_or("alpha_opt", 0.05))
}

fn normal_mixture(case: &Case) -> Mixture {
    let (v_opt, alpha_opt) = optimum(case);
    Mixture::normal(v_opt, alpha_opt, case.one_sided())
}

pub(crate) fn normal(checked: &mut Checked, case: &Case) {
    log_mixture(checked, case, &normal_mixture(case));
}

pub(crate) fn normal_bound(checked: &mut Checked, case: &Case) {
    bound(checked, case, &normal_mixture(case));
}

fn gamma_exponential_mixture(case: &Case) -> Mixture {
    let (v_opt, alpha_opt) = optimum(case);
    Mixture::GammaExponential { rho: tuned(v_opt, 2.0 * alpha_opt), c: case.number("c") }
}

pub(crate) fn gamma_exponential(checked: &mut Checked, case: &Case) {
    log_mixture(checked, case, &gamma_exponential_mixture(case));
}

pub(crate) fn gamma_exponential_bound(checked: &mut Checked, case: &Case) {
    bound(checked, case, &gamma_exponential_mixture(case));
}

fn gamma_poisson_mixture(case: &Case) -> Mixture {
    let (v_opt, alpha_opt) = optimum(case);
    Mixture::GammaPoisson { rho: tuned(v_opt, 2.0 * alpha_opt), c: case.number("c") }
}

pub(crate) fn gamma_poisson(checked: &mut Checked, case: &Case) {
    log_mixture(checked, case, &gamma_poisson_mixture(case));
}

pub(crate) fn gamma_poisson_bound(checked: &mut Checked, case: &Case) {
    bound(checked, case, &gamma_poisson_mixture(case));
}

/// The product has the two-sided mixture.
pub(crate) fn beta_binomial(checked: &mut Checked, case: &Case) {
    let (v_opt, alpha_opt) = optimum(case);
    let (g, h) = (case.number("g"), case.number("h"));
    let (s, v) = (case.number("s"), case.number("v"));
    let got = if case.one_sided() {
        Mixture::beta_binomial(v_opt, alpha_opt, g, h).log(s, v)
    } else {
        BetaBinomial::new(v_opt, alpha_opt, g, h).log_mixture(s, v)
    };
    value(checked, case, got);
}

/// Where the mixture cannot reach the threshold the reference gives the largest possible sum, the product none.
pub(crate) fn beta_binomial_bound(checked: &mut Checked, case: &Case) {
    let (v_opt, alpha_opt) = optimum(case);
    let (g, h) = (case.number("g"), case.number("h"));
    let (v, alpha) = (case.number("v"), case.number("alpha"));
    let got = if case.one_sided() {
        Mixture::beta_binomial(v_opt, alpha_opt, g, h).bound(v, alpha)
    } else {
        BetaBinomial::new(v_opt, alpha_opt, g, h).bound(v, alpha).unwrap_or(v / g)
    };
    value(checked, case, got);
}

pub(crate) fn poly_stitching(checked: &mut Checked, case: &Case) {
    let (v, alpha, v_min) = (case.number("v"), case.number("alpha"), case.number("v_min"));
    let (c, s) = (case.number_or("c", 0.0), case.number_or("s", 1.4));
    let got = stitching::poly_stitching(v, alpha, v_min, c, s, case.number_or("eta", 2.0));
    value(checked, case, got);
}

pub(crate) fn double_stitching(checked: &mut Checked, case: &Case) {
    let at = (case.number("quantile_p"), case.number("t"), case.number("alpha"));
    let shape =
        (case.number_or("delta", 0.5), case.number_or("s", 1.4), case.number_or("eta", 2.0));
    value(checked, case, stitching::double_stitching(at, case.number("t_opt"), shape));
}

pub(crate) fn iterated_logarithm(checked: &mut Checked, case: &Case) {
    let got = stitching::iterated_logarithm(
        case.number("t"),
        case.number("alpha"),
        case.number("t_min"),
        case.number_or("A", 0.85),
    );
    value(checked, case, got);
}
