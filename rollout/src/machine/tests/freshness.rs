//! How old evidence may be, which follows from where it comes from, and what is no evidence of traffic.

use super::*;
use crate::policy::{RESTARTS, VersionText};

fn store() -> Metrics {
    Metrics::Store {
        provider: "main".to_owned(),
        labels: std::collections::BTreeMap::new(),
        version: VersionText::Full,
        interval: Duration::from_secs(60),
    }
}

/// The weight after a stay of `seconds` on the first step, with one good scrape at its beginning.
fn weight_after(metrics: Metrics, seconds: i64) -> Weight {
    let mut policy = steps(60, OnInconclusive::Hold);
    policy.metrics = metrics;
    let mut rig = Rig::with(policy).on_first_step();
    rig.good();
    rig.wait(seconds).woke();
    rig.weight()
}

#[test]
fn data_of_a_store_that_settles_slowly_is_fresh_for_longer() {
    let otlp = || Metrics::Otlp { service: "shop".to_owned() };
    for (metrics, fresh, stale) in
        [(Metrics::Proxy, 90, 91), (otlp(), 180, 181), (store(), 600, 601)]
    {
        assert_eq!(weight_after(metrics.clone(), fresh), percent(50), "{metrics:?}");
        assert_eq!(weight_after(metrics.clone(), stale), percent(10), "{metrics:?}");
    }
}

#[test]
fn a_bake_waits_for_the_data_of_a_slow_store() {
    let mut policy = policy();
    policy.metrics = store();
    let mut rig = Rig::with(policy).in_bake();
    rig.wait(60 + 90).woke();
    assert!(!rig.last().contains("no canary requests"), "{}", rig.last());
    rig.wait(510).woke();
    assert!(rig.last().contains("no canary requests"), "{}", rig.last());
}

#[test]
fn restarts_that_serin_counts_and_gauges_say_nothing_of_traffic() {
    let mut policy = policy();
    policy.analysis.checks.push(Check::new(RESTARTS, Test::Restarts { ratio: 2.0 }));
    let gauge = Test::Gauge { at_most: Some(1.0), sustained: Duration::from_secs(60) };
    policy.analysis.checks.push(Check::new("memory", gauge));
    let mut rig = Rig::with(policy).on_first_step();
    rig.good();
    let seen = rig.now;
    rig.silence();
    rig.wait(1);
    let mut beside = scrape(rig.now, (0, 1), (0, 1));
    for o in &mut beside.observations {
        RESTARTS.clone_into(&mut o.check);
    }
    let mut gauges = beside.observations.clone();
    for o in &mut gauges {
        "memory".clone_into(&mut o.check);
        o.sample = Sample::Gauge { value: 0.5 };
    }
    beside.observations.extend(gauges);
    let deployment = rig.id();
    rig.happen(Happened::Observed { deployment, scrape: beside });
    let live = rig.state.live.as_ref().expect("it is on trial");
    assert_eq!((live.compared, live.observed), (Some(seen), Some(seen)));
    assert_eq!(live.unobserved.as_deref(), Some("the provider hangs"));
}

#[test]
fn a_policy_that_was_stored_before_sources_were_known_is_read() {
    let mut stored = serde_json::to_value(policy()).unwrap();
    assert!(stored.get("sources").is_none(), "what is not set is not stored");
    for check in stored["analysis"]["checks"].as_array_mut().unwrap() {
        check.as_object_mut().unwrap().remove("warm_up");
    }
    stored["metrics"] = serde_json::json!({ "Prometheus": {
        "provider": "main", "version_label": "version", "labels": {}, "interval": { "secs": 15, "nanos": 0 }
    } });
    let read: Policy = serde_json::from_value(stored).unwrap();
    let Metrics::Prometheus { version, .. } = read.metrics else { panic!() };
    assert_eq!((version, version.of("4f2c1a9d0")), (VersionText::Full, "4f2c1a9d0"));
    assert_eq!(VersionText::Short.of("4f2c1a9d0"), "4f2c1a9");
    assert_eq!(read.sources, policy().sources);
}
