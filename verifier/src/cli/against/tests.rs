//! What people are told of a page, and of a store's counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use analysis::Sample;
use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::*;

fn policy(more: &str) -> Policy {
    let text = format!(
        "metadata: {{ name: shop }}\nspec:\n  paths: [a]\n  target: {{ process: {{ command: a }} }}\n  warmUp: 0s\n{more}"
    );
    crate::config::policies("policy", text.as_bytes()).unwrap().remove(0)
}

fn latency(instance: &str, le: &[f64], counts: &[u64]) -> Observation {
    Observation {
        arm: Arm::Baseline,
        instance: instance.to_owned(),
        check: "latency".to_owned(),
        stratum: Some("/pay".to_owned()),
        sample: Sample::Histogram { le: le.to_vec(), counts: counts.to_vec() },
    }
}

fn seen(observations: Vec<Observation>) -> Vec<Scrape> {
    vec![Scrape { at: Timestamp::from_second(1_764_000_000).unwrap(), observations }]
}

#[test]
fn buckets_pods_strata_and_what_is_missing_are_told() {
    let fine = [0.05, 0.055, 0.1, 0.11, 0.25];
    let coarse = [0.25];
    let fed = Fed {
        seen: BTreeMap::from([
            (
                "v1".to_owned(),
                seen(vec![
                    latency("a", &fine, &[500, 100, 300, 50, 40, 10]),
                    latency("b", &fine, &[500, 100, 300, 50, 40, 10]),
                ]),
            ),
            ("v2".to_owned(), seen(vec![latency("c", &fine, &[50, 10, 30, 5, 4, 1])])),
        ]),
        told: BTreeSet::from(["version v2: no new sample for 2m".to_owned()]),
        chosen: BTreeMap::from([
            (
                "latency".to_owned(),
                Ok("`http_request_duration_seconds` (the usual one)".to_owned()),
            ),
            (
                "errors".to_owned(),
                Err("no metric with a status label; write errors: { metric: ... }".to_owned()),
            ),
        ]),
        place: "http://prometheus:9090: 2 values of the label `version` in the last 10 minutes"
            .to_owned(),
    };
    let looked = look(&policy(""), fed);
    assert!(!looked.is_good());
    insta::assert_snapshot!(show::told(&looked), @"
    shop at http://prometheus:9090: 2 values of the label `version` in the last 10 minutes
      versions with requests: v1, v2
      problem: version v2: no new sample for 2m
      errors: problem: no metric with a status label; write errors: { metric: ... }
      latency: `http_request_duration_seconds` (the usual one)
        counted: 2,000 of v1, 100 of v2, the newest at 2025-11-24T16:00:00Z
        pods: 2 are told apart
        compared by themselves: /pay
        p50: as many slower than 55 ms (10 % longer) as stable's slower than 50 ms, times 1.1 at most
        p75: as many slower than 110 ms (10 % longer) as stable's slower than 100 ms, times 1.1 at most
        p95: 1.33 x as many slower than 110 ms as stable's at most
        p99: 1.33 x as many slower than 250 ms as stable's at most
        warning: at 2 of 4 bounds the buckets are too coarse for the tolerated stretch: more slow requests are allowed there instead
    ");
    let fed = Fed {
        seen: BTreeMap::from([("v1".to_owned(), seen(vec![latency("a", &coarse, &[990, 10])]))]),
        told: BTreeSet::new(),
        chosen: BTreeMap::from([("latency".to_owned(), Ok("`x`".to_owned()))]),
        place: "here".to_owned(),
    };
    let looked = look(&policy("  checks: [latency]\n"), fed);
    assert!(looked.is_good());
    insta::assert_snapshot!(show::told(&looked), @"
    shop at here
      one version has requests: v1; that is usual between deployments, and a canary's show by the same label
      latency: `x`
        counted: 1,000 of v1, the newest at 2025-11-24T16:00:00Z
        pods: one, or they cannot be told apart by a label `pod` or `instance`
        compared by themselves: /pay
        p50: 1.33 x as many slower than 250 ms as stable's at most
        warning: at 1 of 1 bounds the buckets are too coarse for the tolerated stretch: more slow requests are allowed there instead
    ");
}

#[tokio::test]
async fn a_page_is_read_twice_and_what_is_no_page_is_told() {
    async fn page(State(reads): State<Arc<AtomicU64>>) -> String {
        let count = 500 + 400 * reads.fetch_add(1, Ordering::Relaxed);
        let name = "http_request_duration_seconds";
        format!(
            "# TYPE http_requests_total counter\nhttp_requests_total{{code=\"200\"}} {count}\nhttp_requests_total{{code=\"500\"}} 2\n\
             # TYPE {name} histogram\n{name}_bucket{{le=\"0.1\"}} {}\n{name}_bucket{{le=\"0.5\"}} {count}\n{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum 1\n{name}_count {count}\n",
            count * 97 / 100
        )
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/metrics", get(page)).with_state(Arc::default());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let url = format!("http://{address}/metrics");
    let looked = look(&policy(""), fed(&url, &policy("")).await.unwrap());
    assert!(looked.is_good() && looked.is_page, "{looked:?}");
    let mut told = show::told(&looked).replace(&address.to_string(), "ADDRESS");
    for check in &looked.checks {
        told = told.replace(&check.newest.unwrap().to_string(), "TIME");
    }
    insta::assert_snapshot!(told, @"
    shop at http://ADDRESS/metrics: the metrics page of one instance, read twice
      a page tells of one version; whether both are there shows in a rollout
      errors: `http_requests_total` by `code`, 5xx failed (found by its name, as written by Prometheus client libraries)
        counted: 400, the newest at TIME
      latency: `http_request_duration_seconds_bucket`, in seconds (found by its name, as written by Prometheus client libraries)
        counted: 400, the newest at TIME
        p50: 1.33 x as many slower than 100 ms as stable's at most
        p99: 1.33 x as many slower than 500 ms as stable's at most
        warning: at 2 of 2 bounds the buckets are too coarse for the tolerated stretch: more slow requests are allowed there instead
    ");
    let error = fed(&format!("http://{address}/nothing"), &policy("")).await.err().unwrap();
    insta::assert_snapshot!(error.replace(&address.to_string(), "ADDRESS"), @"failed to read http://ADDRESS/nothing: no metrics of shop: baseline page: http://ADDRESS/nothing answered 404 Not Found; set the path of the metrics page");
    server.abort();
}

#[test]
fn an_objective_needs_a_bucket_that_ends_at_its_threshold() {
    let looked = |threshold: &str| {
        let counted = seen(vec![latency("a", &[0.1, 0.5], &[9, 1, 0])]);
        let fed = Fed {
            seen: BTreeMap::from([("v1".to_owned(), counted)]),
            told: BTreeSet::new(),
            chosen: BTreeMap::from([("latency".to_owned(), Ok("`x`".to_owned()))]),
            place: "here".to_owned(),
        };
        let checks = format!(
            "  checks: [errors, {{ latency: {{ objective: 99%, threshold: {threshold} }} }}]\n"
        );
        look(&policy(&checks), fed).checks.remove(1).problem
    };
    assert_eq!(looked("500ms"), None);
    assert_eq!(
        looked("300ms").unwrap(),
        "no bucket ends at 300 ms, so the objective cannot be counted; set its threshold to one of 100 ms, 500 ms, or add a bucket"
    );
}

#[test]
fn a_label_that_no_rollout_would_ask_for_is_told() {
    let prometheus = |version: &str| {
        policy(&format!("  metrics: {{ prometheus: {{ provider: main, version: {version} }} }}\n"))
    };
    let told = |version: &str, values: &[&str]| {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        unlike_revisions(&prometheus(version), &values)
    };
    let full = "4f2c1a9d05e8b7a6c3f2e1d0c9b8a7f6e5d4c3b2";
    assert_eq!((told("full", &["v1", full]), told("short", &["4f2c1a9"])), (None, None));
    assert_eq!(
        told("short", &["v1", "v2"]).unwrap(),
        "the label `version` says v1, v2, and a rollout asks for revisions of 7 digits; set the label from the commit, or write version: full, if it has all forty digits"
    );
    assert_eq!(unlike_revisions(&policy(""), &["v1".to_owned()]), None);
}
