//! Stitched boundaries and the law of the iterated logarithm, an oracle only: polynomial stitching (Howard, Ramdas
//! and others, Ann. Stat. 2021, arXiv 1810.08240, theorem 1), the time-uniform band of an empirical
//! distribution and double stitching over all quantiles (Howard and Ramdas, Bernoulli 2022, arXiv 1906.09712,
//! theorems 2 and 3).

/// The polynomially stitched boundary at variance `v`.
pub(crate) fn poly_stitching(v: f64, alpha: f64, v_min: f64, c: f64, s: f64, eta: f64) -> f64 {
    let v = v.max(v_min);
    let (k1, k2) = constants(eta);
    let ell = s * (eta * v / v_min).ln().ln() + (zeta(s) / eta.ln().powf(s) / alpha).ln();
    let linear = k2 * c * ell;
    (k1 * k1 * v * ell + linear * linear).sqrt() + linear
}

/// Double stitching: the boundary of the count below the quantile of order `p`, for all `p` at once.
pub(crate) fn double_stitching(
    (p, t, alpha): (f64, f64, f64),
    t_opt: f64,
    (delta, s, eta): (f64, f64, f64),
) -> f64 {
    let (k1, k2) = constants(eta);
    let t = t.max(t_opt);
    let logit = (p / (1.0 - p)).ln();
    let worst = if p >= 0.5 {
        p
    } else {
        let shifted = logit + 2.0 * delta * (t_opt * eta / t).sqrt();
        (1.0 / (1.0 + (-shifted).exp())).min(0.5)
    };
    let variance = worst * (1.0 - worst);
    let rounds = (t / t_opt).sqrt() * logit.abs() / (2.0 * delta) + 1.0;
    let zeta = zeta(s);
    let union = 2.0 * zeta * (2.0 * zeta + 1.0) / (alpha * eta.ln().powf(s));
    let ell = s * (eta * t / t_opt).ln().ln() + s * rounds.ln() + union.ln();
    let linear = k2 * (1.0 - 2.0 * p) / 3.0 * ell;
    delta * (eta * t * variance / t_opt).sqrt()
        + (k1 * k1 * variance * t * ell + linear * linear).sqrt()
        + linear
}

fn constants(eta: f64) -> (f64, f64) {
    let k1 = (eta.powf(0.25) + eta.powf(-0.25)) / 2.0_f64.sqrt();
    (k1, f64::midpoint(eta.sqrt(), 1.0))
}

/// The band around an empirical distribution function after `t` values, infinite before `t_min`.
pub(crate) fn iterated_logarithm(t: f64, alpha: f64, t_min: f64, a: f64) -> f64 {
    if t < t_min {
        return f64::INFINITY;
    }
    // The error probability falls with C; so the C that gives alpha is found by halving.
    let (mut low, mut high) = (0.0, 1.0);
    while error_probability(high, a) > alpha {
        high *= 2.0;
    }
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if error_probability(middle, a) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    a * (((t / t_min).ln().ln_1p() + high) / t).sqrt()
}

/// The least error probability over all `eta` for a constant `c`.
fn error_probability(c: f64, a: f64) -> f64 {
    let error = |eta: f64| {
        let gamma = 2.0 / eta * (a - (2.0 * (eta - 1.0) / c).sqrt()).powi(2);
        if gamma <= 1.0 {
            return f64::INFINITY;
        }
        4.0 * (-gamma * c).exp() * (1.0 + 1.0 / ((gamma - 1.0) * eta.ln()))
    };
    // Beyond this eta the bound says nothing.
    let (mut low, mut high) = (1.0, 2.0 * a * a);
    for _ in 0..80 {
        let eta = f64::midpoint(low, high);
        if (eta / 2.0_f64).sqrt() + (2.0 * (eta - 1.0) / c).sqrt() < a {
            low = eta;
        } else {
            high = eta;
        }
    }
    error(least(&error, 1.0, low))
}

/// Where a function with one minimum is least, by golden section.
pub(crate) fn least(function: &dyn Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    for _ in 0..120 {
        let (left, right) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
        if function(left) < function(right) {
            high = right;
        } else {
            low = left;
        }
    }
    f64::midpoint(low, high)
}

/// Riemann's zeta function for `s > 1`, by the formula of Euler and Maclaurin.
fn zeta(s: f64) -> f64 {
    const TERMS: i32 = 30;
    let n = f64::from(TERMS);
    let sum: f64 = (1..TERMS).map(|k| f64::from(k).powf(-s)).sum();
    let end = n.powf(-s);
    sum + end * n / (s - 1.0) + end / 2.0 + s * end / (12.0 * n)
        - s * (s + 1.0) * (s + 2.0) * end / (720.0 * n.powi(3))
        + s * (s + 1.0) * (s + 2.0) * (s + 3.0) * (s + 4.0) * end / (30_240.0 * n.powi(5))
}

#[test]
fn zeta_has_its_known_values() {
    let pi = std::f64::consts::PI;
    assert!((zeta(2.0) - pi * pi / 6.0).abs() < 1e-13);
    assert!((zeta(4.0) - pi.powi(4) / 90.0).abs() < 1e-13);
}
