//! Synthetic pasts through the whole backtest: what is known to be there is found.

use analysis::{Arm, Observation, Sample};

use super::*;

fn policy() -> Policy {
    let text = "metadata: { name: shop }\nspec:\n  paths: [a]\n  target: { process: { command: a } }\n  \
                warmUp: 0s\n  checks: [errors]\n";
    crate::config::policies("policy", text.as_bytes()).unwrap().remove(0)
}

fn timeline() -> Timeline {
    Timeline {
        from: Timestamp::from_second(1_764_000_000).unwrap(),
        step: Duration::from_secs(5),
        count: 480,
    }
}

/// A version on so many pods, each with 500 requests a moment, of which so many fail.
fn track(version: &str, moments: std::ops::Range<usize>, pods: usize, failing: u64) -> Track {
    let scrapes = moments.map(|moment| {
        let observations = (0..pods).map(|pod| Observation {
            arm: Arm::Baseline,
            instance: format!("{version}-{pod}"),
            check: "errors".to_owned(),
            stratum: None,
            sample: Sample::Events { events: failing, of: 500 },
        });
        (moment, Scrape { at: timeline().at(moment), observations: observations.collect() })
    });
    Track { version: version.to_owned(), scrapes: scrapes.collect() }
}

fn trials() -> Trials {
    Trials {
        splits: 5,
        seed: 7,
        window: Duration::from_secs(600),
        injections: vec!["10x".parse().unwrap()],
    }
}

#[test]
fn quiet_pods_are_not_reverted_and_a_regression_is_found() {
    let report = backtest(&policy(), timeline(), &[track("v1", 0..480, 6, 2)], &trials());
    let quiet = report.quiet.unwrap();
    assert_eq!((quiet.false_reverts.count, quiet.by_requests), (0, 0));
    // Four windows of ten minutes, five splits each: twenty trials, but no more than four are independent.
    assert_eq!((quiet.windows, quiet.false_reverts.of), (4, 20));
    let upper = super::report::Rate::new(0, 4, 4).upper;
    assert!((quiet.false_reverts.upper - upper).abs() < 1e-12 && upper > 0.4, "{quiet:?}");
    let [injected] = &*quiet.injected else { panic!("{quiet:?}") };
    let found = injected.found.as_ref().unwrap();
    assert_eq!((found.caught.count, found.caught.of), (20, 20), "{found:?}");
    // 0.4 % to 4 % of 100 requests a second: at the second or third look.
    assert!((5.0..=30.0).contains(&found.seconds.median.unwrap()), "{found:?}");
    assert!(report.deployments.is_empty());
    let again = backtest(&policy(), timeline(), &[track("v1", 0..480, 6, 2)], &trials());
    assert_eq!(again.quiet.unwrap().injected, quiet.injected);
}

#[test]
fn a_regression_within_the_tolerance_is_not_caught_and_is_marked() {
    let trials = Trials { injections: vec!["1.05x".parse().unwrap()], ..trials() };
    let report = backtest(&policy(), timeline(), &[track("v1", 0..480, 6, 2)], &trials);
    let injected = &report.quiet.unwrap().injected[0];
    assert_eq!(injected.found.as_ref().unwrap().caught.count, 0);
    assert_eq!(injected.note.as_deref(), Some("within what the policy tolerates"));
}

#[test]
fn the_judge_of_kayenta_fails_trials_too() {
    let mut policy = policy();
    let metric = analysis::kayenta::Metric::new(analysis::kayenta::Value::ErrorShare);
    policy.analysis.checks[0].test = analysis::Test::Kayenta(metric);
    // Counts that differ from moment to moment, as its test on ranks needs.
    let mut track = track("v1", 0..480, 6, 2);
    for (moment, scrape) in &mut track.scrapes {
        for (pod, observation) in scrape.observations.iter_mut().enumerate() {
            let events = 20 + u64::try_from((moment * 7 + pod * 3) % 11).unwrap();
            observation.sample = Sample::Events { events, of: 500 };
        }
    }
    let report = backtest(&policy, timeline(), &[track], &trials());
    let quiet = report.quiet.unwrap();
    let found = quiet.injected[0].found.as_ref().unwrap();
    assert_eq!((found.caught.count, found.caught.of), (20, 20), "{quiet:?}");
}

#[test]
fn a_report_reads_as_a_table() {
    let tracks = [track("v1", 0..480, 6, 2), track("v2", 400..440, 1, 60)];
    let report = backtest(&policy(), timeline(), &tracks, &trials());
    insta::assert_snapshot!(table(&report));
}

#[test]
fn one_instance_is_split_by_its_requests_and_says_so() {
    let report = backtest(&policy(), timeline(), &[track("v1", 0..480, 1, 2)], &trials());
    let quiet = report.quiet.unwrap();
    assert_eq!(quiet.by_requests, quiet.windows);
}

#[test]
fn a_past_deployment_that_failed_is_found() {
    let tracks = [track("v1", 0..480, 4, 1), track("v2", 200..300, 1, 60)];
    let report = backtest(&policy(), timeline(), &tracks, &trials());
    assert_eq!(report.deployments.len(), 1);
    let past = &report.deployments[0];
    assert_eq!((past.canary.as_str(), past.baseline.as_str()), ("v2", "v1"));
    assert_eq!(past.answer, super::report::Answer::Fail, "{past:?}");
    assert!(past.seconds.unwrap() < 60.0);
}

#[test]
fn nothing_measured_is_no_answer() {
    let report = backtest(&policy(), timeline(), &[], &trials());
    assert!(report.quiet.is_none() && report.deployments.is_empty() && report.versions.is_empty());
}
