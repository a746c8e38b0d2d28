//! Golden numbers of the sequential engine, computed independently at 40 digits and by published
//! implementations: every case of the kinds that the engine has must hold to its tolerance.
//!
//! Kinds that are left for later are printed by name, and a kind that nobody knows fails the test, so that no
//! case is ever skipped silently.

#![expect(clippy::unwrap_used, reason = "a golden file of another shape has to fail the test")]

use std::collections::BTreeMap;

use analysis::{
    Counts,
    sequential::{
        Absolute, Exposure, Mirror, Ratio, canary_errors_to_revert, expected_log_growth,
        ratio_interval, scrapes_to_decide, weighted_mean,
    },
};
use serde_json::Value;

const GOLDEN: &str = include_str!("../golden/sequential.json");

/// Kinds whose formulas the engine does not have yet.
const LATER: [&str; 19] = [
    "asymptotic_cs_radius",
    "confseq.bernoulli_confidence_interval",
    "confseq.beta_binomial_log_mixture",
    "confseq.beta_binomial_mixture_bound",
    "confseq.double_stitching_bound",
    "confseq.empirical_process_lil_bound",
    "confseq.gamma_exponential_log_mixture",
    "confseq.gamma_poisson_log_mixture",
    "confseq.gamma_poisson_mixture_bound",
    "confseq.normal_log_mixture",
    "confseq.normal_mixture_bound",
    "confseq.poly_stitching_bound",
    "confseq.quantile_ab_p_value",
    "dirichlet_multinomial_log_martingale",
    "kayenta_mann_whitney",
    "leave_one_pod_out",
    "pod_inflated_margin",
    "quantile_cs_from_histogram",
    "restart_mixture",
];

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// Scrapes with both events and requests times `kappa`: tempering a likelihood ratio scales its counts.
fn scrapes(input: &Value, kappa: f64) -> Vec<Exposure> {
    input["scrapes_xc_xb_nc_nb"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scrape| {
            let scrape = numbers(scrape);
            Exposure {
                canary_events: kappa * scrape[0],
                baseline_events: kappa * scrape[1],
                canary: kappa * scrape[2],
                baseline: kappa * scrape[3],
            }
        })
        .collect()
}

#[derive(Default)]
struct Checked {
    kinds: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl Checked {
    fn close(&mut self, id: &str, got: f64, expected: f64, tolerance: f64) {
        let miss = (got - expected).abs();
        if !(miss <= tolerance * expected.abs().max(1e-300) || miss == 0.0) {
            self.wrong.push(format!("{id}: got {got}, expected {expected}"));
        }
    }

    fn evidence(&mut self, id: &str, input: &Value, expect: &Value, tolerance: f64) {
        let ratio = number(&input["null_ratio_r"]);
        let absolute = number(&input["null_abs_tolerance_a"]);
        let up = input["direction"] == "up";
        let (mut worse, mut mirror) = (Ratio::new(ratio, absolute), Mirror::new(ratio));
        let expected = numbers(&expect["log_e_after_each_scrape"]);
        for (seen, expected) in scrapes(input, number(&input["kappa"])).iter().zip(expected) {
            worse.update(seen);
            mirror.update(seen);
            let got = if up { worse.log_e() } else { mirror.log_e(absolute) };
            self.close(id, got, expected, tolerance);
        }
    }

    fn interval(&mut self, id: &str, input: &Value, expect: &Value, tolerance: f64) {
        let interval = ratio_interval(&scrapes(input, 1.0), number(&input["alpha"])).unwrap();
        self.close(id, interval.estimate, number(&expect["mle"]), tolerance);
        for (end, got) in [("lower", interval.lower), ("upper", interval.upper)] {
            match (got, expect[end].as_f64()) {
                (Some(got), Some(expected)) => self.close(id, got, expected, tolerance),
                (None, None) => {}
                (got, expected) => {
                    self.wrong.push(format!("{id} {end}: got {got:?}, expected {expected:?}"));
                }
            }
        }
    }

    fn merge(&mut self, id: &str, input: &Value, expect: &Value, tolerance: f64) {
        let (e, weights) = (numbers(&input["e"]), numbers(&input["weights"]));
        let parts = weights.iter().copied().zip(e.iter().map(|e| e.ln()));
        let merged = weighted_mean(parts).exp();
        self.close(id, merged, number(&expect["weighted_mean"]), tolerance);
        let revert = merged >= 1.0 / number(&input["alpha"]);
        if Some(revert) != expect["revert"].as_bool() {
            self.wrong.push(format!("{id}: revert {revert}"));
        }
        let plain = weighted_mean(e.iter().map(|e| (1.0, e.ln()))).exp();
        self.close(id, plain, number(&expect["arith_mean"]), tolerance);
    }

    fn fewest_errors(&mut self, id: &str, input: &Value, expect: &Value, tolerance: f64) {
        for (share, expected) in expect.as_object().unwrap() {
            let (errors, log_e) = canary_errors_to_revert(
                share.parse().unwrap(),
                number(&input["r"]),
                number(&input["alpha"]),
            )
            .unwrap();
            self.close(id, errors.into(), number(&expected["errors_needed"]), 0.0);
            self.close(id, log_e, number(&expected["log_e"]), tolerance);
        }
    }

    fn growth(&mut self, id: &str, input: &Value, expect: &Value, tolerance: f64) {
        let (share, seconds) = (number(&input["canary_share"]), number(&input["scrape_s"]));
        let requests = number(&input["rps"]) * seconds;
        let growth = expected_log_growth(
            number(&input["p_baseline"]),
            number(&input["true_ratio"]),
            number(&input["r"]),
            requests * share,
            requests * (1.0 - share),
        );
        self.close(id, growth, number(&expect["nats_per_scrape"]), tolerance);
        let decided = scrapes_to_decide(growth, number(&input["alpha"])).unwrap() * seconds;
        self.close(id, decided, number(&expect["predicted_seconds"]), tolerance);
    }

    fn absolute(&mut self, id: &str, input: &Value, expect: &Value, tolerance: f64) {
        let mut process = Absolute::new(number(&input["null_p_le"]));
        let (events, of) = (input["x"].as_u64().unwrap(), input["n"].as_u64().unwrap());
        process.update(Counts { events, of });
        self.close(id, process.log_e(), number(&expect["log_e"]), tolerance);
    }
}

#[test]
fn golden_cases_hold_to_their_tolerance() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(Some(cases.len() as u64), golden["count"].as_u64());
    let mut checked = Checked::default();
    let mut later: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases {
        let (id, kind) = (case["id"].as_str().unwrap(), case["kind"].as_str().unwrap());
        let (input, expect) = (&case["input"], &case["expect"]);
        let tolerance = number(&case["rel_tol"]);
        match kind {
            "ratio_e_process" | "promote_e_process_additive" => {
                checked.evidence(id, input, expect, tolerance);
            }
            "ratio_confidence_sequence" => checked.interval(id, input, expect, tolerance),
            "absolute_e_process" => checked.absolute(id, input, expect, tolerance),
            "e_merge" => checked.merge(id, input, expect, tolerance),
            "min_canary_errors_to_revert" => checked.fewest_errors(id, input, expect, tolerance),
            "expected_log_growth" => checked.growth(id, input, expect, tolerance),
            _ if LATER.contains(&kind) => {
                *later.entry(kind.to_owned()).or_default() += 1;
                continue;
            }
            _ => panic!("golden case {id} is of kind {kind}, which this test does not know"),
        }
        *checked.kinds.entry(kind.to_owned()).or_default() += 1;
    }
    println!("checked: {:?}", checked.kinds);
    println!("left for later: {later:?}");
    assert!(checked.wrong.is_empty(), "{}", checked.wrong.join("\n"));
    assert_eq!(checked.kinds.len(), 7);
}
