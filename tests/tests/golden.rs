//! Golden numbers of the analysis engine, computed independently at 40 digits and by published implementations:
//! every case must hold to its own tolerance, in the product wherever the product has the formula.
//!
//! Read are the copy in this repository, every file of `shared/golden` beside the repository if there is one, and
//! the files or folders named in `SERIN_GOLDEN`, separated as in `PATH`. A kind that nobody knows fails the test, so
//! that no case is ever skipped silently, and the count of each kind is printed.

#![expect(clippy::unwrap_used, reason = "a golden file of another shape has to fail the test")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::case::{Case, Checked};

#[path = "golden/boundaries.rs"]
mod boundaries;
#[path = "golden/case.rs"]
mod case;
#[path = "golden/engine.rs"]
mod engine;
#[path = "golden/mixtures.rs"]
mod mixtures;
#[path = "golden/quantiles.rs"]
mod quantiles;
#[path = "golden/stitching.rs"]
mod stitching;

/// Where the cases of the kind are checked; nothing for a kind that nobody knows.
fn checks(kind: &str) -> Option<fn(&mut Checked, &Case)> {
    Some(match kind {
        "ratio_e_process" | "promote_e_process_additive" => engine::evidence,
        "ratio_confidence_sequence" => engine::interval,
        "absolute_e_process" => engine::absolute,
        "e_merge" => engine::merge,
        "min_canary_errors_to_revert" => engine::fewest_errors,
        "expected_log_growth" => engine::growth,
        "asymptotic_cs_radius" => engine::asymptotic,
        "dirichlet_multinomial_log_martingale" => engine::sample_ratio,
        "kayenta_mann_whitney" => engine::kayenta,
        "leave_one_pod_out" => engine::leave_one_out,
        "pod_inflated_margin" => engine::inflated_margin,
        "restart_mixture" => engine::restarts,
        "quantile_cs_from_histogram" => quantiles::from_histogram,
        "confseq.quantile_ab_p_value" => quantiles::p_value,
        "confseq.bernoulli_confidence_interval" => quantiles::bernoulli,
        "confseq.beta_binomial_log_mixture" => boundaries::beta_binomial,
        "confseq.beta_binomial_mixture_bound" => boundaries::beta_binomial_bound,
        "confseq.double_stitching_bound" => boundaries::double_stitching,
        "confseq.empirical_process_lil_bound" => boundaries::iterated_logarithm,
        "confseq.gamma_exponential_log_mixture" => boundaries::gamma_exponential,
        "confseq.gamma_exponential_mixture_bound" => boundaries::gamma_exponential_bound,
        "confseq.gamma_poisson_log_mixture" => boundaries::gamma_poisson,
        "confseq.gamma_poisson_mixture_bound" => boundaries::gamma_poisson_bound,
        "confseq.normal_log_mixture" => boundaries::normal,
        "confseq.normal_mixture_bound" => boundaries::normal_bound,
        "confseq.poly_stitching_bound" => boundaries::poly_stitching,
        _ => return None,
    })
}

/// All golden files by path, each content once.
fn files() -> BTreeMap<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = within(&here.join("golden"));
    let shared = here.join("../../shared/golden");
    if shared.is_dir() {
        paths.extend(within(&shared));
    }
    if let Some(named) = env::var_os("SERIN_GOLDEN") {
        for path in env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()) {
            assert!(path.exists(), "SERIN_GOLDEN names {}, which is not there", path.display());
            paths.extend(if path.is_dir() { within(&path) } else { vec![path] });
        }
    }
    let mut files = BTreeMap::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        if !files.values().any(|known| *known == text) {
            files.insert(path, text);
        }
    }
    files
}

/// The files of a folder in the order of their names.
fn within(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

/// The cases of a file: an array, or an object with `cases` and perhaps their `count`.
fn cases(path: &Path, text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text)
        .unwrap_or_else(|error| panic!("{} is no JSON: {error}", path.display()));
    let cases = file.as_array().or_else(|| file["cases"].as_array());
    let cases = cases.unwrap_or_else(|| panic!("{} has no cases", path.display())).clone();
    if let Some(count) = file.get("count").and_then(Value::as_u64) {
        assert_eq!(cases.len() as u64, count, "cases in {}", path.display());
    }
    cases
}

#[test]
fn golden_cases_hold_to_their_tolerance() {
    let mut checked = Checked::default();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (path, text) in files() {
        println!("{}", path.display());
        for value in cases(&path, &text) {
            let case = Case::new(&value);
            let Some(check) = checks(case.kind) else {
                panic!(
                    "golden case {} of {} is of kind {}, which this test does not know",
                    case.id,
                    path.display(),
                    case.kind
                );
            };
            check(&mut checked, &case);
            *kinds.entry(case.kind.to_owned()).or_default() += 1;
        }
    }
    for (kind, count) in &kinds {
        println!("{count:>4} {kind}");
    }
    println!("{:>4} cases, {} numbers", kinds.values().sum::<usize>(), checked.numbers);
    assert!(checked.wrong.is_empty(), "{}", checked.wrong.join("\n"));
    // The copy in the repository has these; other files may only add.
    assert!(kinds.len() >= 25, "only {} kinds", kinds.len());
}
