//! Kinds whose formulas the product has: each is checked through its public functions.

use analysis::{
    Counts,
    kayenta::{Direction, Label, Metric, Value as Measured, classify, mann_whitney},
    sequential::{
        Absolute, Exposure, Mirror, Ratio, SampleRatio, canary_errors_to_revert, closed_testing,
        expected_log_growth, inflated_margin as margin_for, pods::student_quantile, ratio_interval,
        regressed, scrapes_to_decide, weighted_mean,
    },
};
use serde_json::Value;
use statrs::function::gamma::ln_gamma;

use crate::case::{Case, Checked, counts, number, numbers};

/// Formulas (2), (2a) and (3) after each scrape.
pub(crate) fn evidence(checked: &mut Checked, case: &Case) {
    let (ratio, absolute) = (case.number("null_ratio_r"), case.number("null_abs_tolerance_a"));
    let up = case.input["direction"] == "up";
    let (mut worse, mut mirror) = (Ratio::new(ratio, absolute), Mirror::new(ratio));
    let expected = numbers(&case.expect["log_e_after_each_scrape"]);
    for (seen, expected) in case.scrapes().iter().zip(expected) {
        worse.update(seen);
        mirror.update(seen);
        let got = if up { worse.log_e() } else { mirror.log_e(absolute) };
        checked.close(case, got, expected);
    }
}

/// Formula (4).
pub(crate) fn interval(checked: &mut Checked, case: &Case) {
    let interval = ratio_interval(&case.scrapes(), case.number("alpha")).unwrap();
    checked.close(case, interval.estimate, number(&case.expect["mle"]));
    checked.end(case, interval.lower, &case.expect["lower"]);
    checked.end(case, interval.upper, &case.expect["upper"]);
}

/// Formula (5).
pub(crate) fn absolute(checked: &mut Checked, case: &Case) {
    let mut process = Absolute::new(case.number("null_p_le"));
    let count = |name: &str| case.input[name].as_u64().unwrap();
    process.update(Counts { events: count("x"), of: count("n") });
    checked.close(case, process.log_e(), number(&case.expect["log_e"]));
}

/// Formula (10), closed testing and the Benjamini-Hochberg procedure.
pub(crate) fn merge(checked: &mut Checked, case: &Case) {
    let (e, weights, alpha) = (case.numbers("e"), case.numbers("weights"), case.number("alpha"));
    let log_e: Vec<f64> = e.iter().map(|e| e.ln()).collect();
    let merged = weighted_mean(weights.into_iter().zip(log_e.iter().copied())).exp();
    checked.close(case, merged, number(&case.expect["weighted_mean"]));
    checked.equal(case, &Some(merged >= 1.0 / alpha), &case.expect["revert"].as_bool());
    let plain = weighted_mean(log_e.iter().map(|log_e| (1.0, *log_e))).exp();
    checked.close(case, plain, number(&case.expect["arith_mean"]));
    let adjusted = numbers(&case.expect["closed_testing_adjusted_e"]);
    for (got, expected) in closed_testing(&log_e).iter().zip(adjusted) {
        checked.close(case, got.exp(), expected);
    }
    let indices = |name: &str| serde_json::from_value(case.expect[name].clone()).unwrap();
    let named: Vec<usize> = indices("fwer_rejected_indices");
    checked.equal(case, &regressed(&log_e, alpha), &named);
    let named: Vec<usize> = indices("ebh_rejected_indices");
    checked.equal(case, &discoveries(&e, alpha), &named);
}

/// Fewest canary errors that decide while the baseline has none.
pub(crate) fn fewest_errors(checked: &mut Checked, case: &Case) {
    for (share, expected) in case.expect.as_object().unwrap() {
        let share = share.parse().unwrap();
        let (errors, log_e) =
            canary_errors_to_revert(share, case.number("r"), case.number("alpha")).unwrap();
        checked.within(case, errors.into(), number(&expected["errors_needed"]), 0.0);
        checked.close(case, log_e, number(&expected["log_e"]));
    }
}

/// Formula (7).
pub(crate) fn growth(checked: &mut Checked, case: &Case) {
    let (share, seconds) = (case.number("canary_share"), case.number("scrape_s"));
    let requests = case.number("rps") * seconds;
    let growth = expected_log_growth(
        case.number("p_baseline"),
        case.number("true_ratio"),
        case.number("r"),
        requests * share,
        requests * (1.0 - share),
    );
    checked.close(case, growth, number(&case.expect["nats_per_scrape"]));
    let decided = scrapes_to_decide(growth, case.number("alpha")).unwrap() * seconds;
    checked.close(case, decided, number(&case.expect["predicted_seconds"]));
}

/// Formula (9): the mean over the given starts.
pub(crate) fn restarts(checked: &mut Checked, case: &Case) {
    let scrapes = case.scrapes();
    let since = |start: usize| {
        let mut process =
            Ratio::new(case.number("null_ratio_r"), case.number_or("null_abs_tolerance_a", 0.0));
        for seen in &scrapes[start.min(scrapes.len())..] {
            process.update(seen);
        }
        process.log_e()
    };
    let starts: Vec<usize> = serde_json::from_value(case.input["starts"].clone()).unwrap();
    let parts: Vec<(f64, f64)> = starts.iter().map(|start| (1.0, since(*start))).collect();
    checked.close(case, weighted_mean(parts.into_iter()), number(&case.expect["log_e"]));
    checked.close(case, since(0), number(&case.expect["plain_log_e"]));
}

/// Formula (11).
pub(crate) fn inflated_margin(checked: &mut Checked, case: &Case) {
    let pods = |name: &str| u32::try_from(case.input[name].as_u64().unwrap()).unwrap();
    let (canary, baseline) = (pods("canary_pods"), pods("baseline_pods"));
    let alpha = case.number("alpha");
    let quantile = student_quantile(alpha / 2.0, f64::from(baseline) - 1.0).unwrap();
    checked.close(case, quantile, number(&case.expect["t_quantile"]));
    let margin = margin_for(case.number("r"), case.number("cv"), canary, baseline, alpha);
    checked.close(case, margin, number(&case.expect["r_eff"]));
}

/// Evidence with each canary pod left out, by one process for each; `Comparison` has the case in a test of its own.
pub(crate) fn leave_one_out(checked: &mut Checked, case: &Case) {
    let canary = case.input["canary_pods_x_n_per_scrape"].as_array().unwrap();
    let baseline = case.input["baseline_x_n_per_scrape"].as_array().unwrap();
    checked.equal(case, &canary.len(), &baseline.len());
    let without = |left_out: Option<usize>| {
        let absolute = case.number_or("null_abs_tolerance_a", 0.0);
        let mut process = Ratio::new(case.number("null_ratio_r"), absolute);
        for (canary, baseline) in canary.iter().zip(baseline) {
            let mut rest = Counts::default();
            let pods = canary.as_array().unwrap().iter().enumerate();
            pods.filter(|(pod, _)| left_out != Some(*pod))
                .for_each(|(_, seen)| rest.add(counts(seen)));
            process.update(&Exposure::new(rest, counts(baseline)));
        }
        process.log_e()
    };
    checked.close(case, without(None), number(&case.expect["log_e_all_pods"]));
    let expected = numbers(&case.expect["log_e_without_pod"]);
    let got: Vec<f64> = (0..expected.len()).map(|pod| without(Some(pod))).collect();
    for (got, expected) in got.iter().zip(expected) {
        checked.close(case, *got, expected);
    }
    let reported = got.into_iter().fold(f64::INFINITY, f64::min);
    checked.close(case, reported, number(&case.expect["log_e_reported"]));
}

/// Formula (13), which the product leaves alone: heavy tails have no variance.
pub(crate) fn asymptotic(checked: &mut Checked, case: &Case) {
    let (n, rho) = (case.number("n"), case.number("rho"));
    let scaled = n * rho * rho;
    let width = 2.0 * (scaled + 1.0) / (n * scaled);
    let radius =
        case.number("sd") * (width * ((scaled + 1.0).sqrt() / case.number("alpha")).ln()).sqrt();
    checked.close(case, radius, number(&case.expect["radius"]));
}

/// The Benjamini-Hochberg procedure for e-values (Wang and Ramdas 2022, arXiv 2009.02824): a reference only.
fn discoveries(e: &[f64], alpha: f64) -> Vec<usize> {
    let mut falling: Vec<usize> = (0..e.len()).collect();
    falling.sort_by(|left, right| e[*right].total_cmp(&e[*left]));
    let enough = |rank: usize| {
        let all = f64::from(u32::try_from(e.len()).unwrap());
        e[falling[rank - 1]] >= all / (f64::from(u32::try_from(rank).unwrap()) * alpha)
    };
    let named = (1..=e.len()).rev().find(|rank| enough(*rank)).unwrap_or(0);
    let mut named = falling[..named].to_vec();
    named.sort_unstable();
    named
}

/// The closed form of Lindon and Malek with one share for all scrapes.
///
/// The product mixes over odds instead, because its weights rise; with two arms both must agree on what is plain.
pub(crate) fn sample_ratio(checked: &mut Checked, case: &Case) {
    let (shares, prior) = (case.numbers("theta0"), case.number("dirichlet_k"));
    let increments: Vec<Vec<f64>> =
        case.input["increments"].as_array().unwrap().iter().map(numbers).collect();
    let mut log_e = ln_gamma(prior);
    let mut all = prior;
    for (arm, share) in shares.iter().enumerate() {
        let requests: f64 = increments.iter().map(|increment| increment[arm]).sum();
        all += requests;
        log_e += ln_gamma(prior * share + requests) - ln_gamma(prior * share);
        log_e -= requests * share.ln();
    }
    log_e -= ln_gamma(all);
    checked.close(case, log_e, number(&case.expect["log_e"]));
    if shares.len() == 2 {
        let mut process = SampleRatio::default();
        for increment in case.input["increments"].as_array().unwrap() {
            let arms = counts(increment);
            process.update(arms.events, arms.of, shares[0]);
        }
        // The mixture over odds costs at most ln 48 against its best alternative.
        let agrees = (process.log_e() - log_e).abs() < 48.0_f64.ln();
        checked.holds(case, agrees, format!("{} by odds, {log_e} by shares", process.log_e()));
    }
}

/// Kayenta's classifier: the interval to the precision of its solver, the label exactly.
pub(crate) fn kayenta(checked: &mut Checked, case: &Case) {
    const SOLVER: f64 = 2e-4;
    let (canary, baseline) = (case.numbers("experiment"), case.numbers("control"));
    let confidence = case.number("confLevel");
    let shift = mann_whitney::exact(&canary, &baseline, confidence);
    let ends = [
        ("ci_lower", shift.map(|shift| shift.lower)),
        ("ci_upper", shift.map(|shift| shift.upper)),
        ("estimate", shift.map(|shift| shift.estimate)),
    ];
    for (name, got) in ends {
        match (got, case.expect[name].as_f64()) {
            (Some(got), Some(expected)) => checked.within(case, got, expected, SOLVER),
            (got, expected) => checked.equal(case, &got, &expected),
        }
    }
    // The product has Kayenta's constants and no others.
    checked.within(case, case.number("tolerance"), 0.25, 0.0);
    checked.within(case, confidence, 0.98, 0.0);
    let direction: Direction = serde_json::from_value(case.input["direction"].clone()).unwrap();
    let metric = Metric { direction: Some(direction), ..Metric::new(Measured::Gauge) };
    let classification = classify(&metric, &canary, &baseline);
    let label = match classification.label {
        Label::Pass => "Pass",
        Label::High => "High",
        Label::Low => "Low",
        Label::NoData => "Nodata",
        Label::NoDataFailMetric => "NodataFailMetric",
    };
    checked.equal(case, &Some(label), &case.expect["classification"].as_str());
    let ratio = classification.deviation.unwrap_or(f64::NAN);
    if case.expect["mean_ratio"] != Value::Null {
        checked.close(case, ratio, number(&case.expect["mean_ratio"]));
    }
}
