//! What becomes of pushes: counts, strata, gauges, and what people are told.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::*;
use crate::subject::{Failed, Named, StatusRule};

#[test]
fn recorded_exports_become_exact_counts_in_both_formats() {
    let otlp = Otlp::new(OtlpSettings::default());
    let subject = usual();
    told(&otlp, &subject, at(0));
    for export in [1, 2] {
        let body = reply(&format!("json-{export}.json"));
        assert_eq!(json(&otlp, &body, at(88)), Accepted::default());
        assert_eq!(json(&otlp, &of_stable(&body), at(88)), Accepted::default());
    }
    let from_json = told(&otlp, &subject, at(90));
    assert_snapshot!(from_json);

    let otlp = Otlp::new(OtlpSettings::default());
    told(&otlp, &subject, at(0));
    let mut order = vec![("proto-2.pb.gz", "json-2.json"), ("proto-1.pb.gz", "json-1.json")];
    order.extend(order.clone());
    for (canary, baseline) in order {
        let taken = otlp.receive(&reply(canary), Some("gzip"), Content::Protobuf, at(88));
        assert_eq!(taken, Ok(Accepted::default()));
        json(&otlp, &of_stable(&reply(baseline)), at(88));
    }
    assert_eq!(told(&otlp, &subject, at(90)), from_json, "in any order and repeated");
    let choices: Vec<String> = otlp
        .chosen("one")
        .into_iter()
        .map(|choice| format!("{}: {}", choice.check, choice.chosen.unwrap()))
        .collect();
    assert_snapshot!(choices.join("\n"));
}

#[test]
fn recorded_exponential_histograms_stay_exponential() {
    let otlp = Otlp::new(OtlpSettings::default());
    let subject = usual();
    told(&otlp, &subject, at(0));
    for export in [1, 2] {
        let body = reply(&format!("proto-exponential-{export}.pb.gz"));
        otlp.receive(&body, Some("gzip"), Content::Protobuf, at(88)).unwrap();
        json(&otlp, &of_stable(&reply(&format!("json-exponential-{export}.json"))), at(88));
    }
    assert_snapshot!(told(&otlp, &subject, at(90)));
}

/// A body with one metric of one resource.
fn body(resource: &[(&str, &str)], metric: &Value) -> Vec<u8> {
    let attributes: Vec<Value> = resource
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } }))
        .collect();
    json!({ "resourceMetrics": [{
        "resource": { "attributes": attributes },
        "scopeMetrics": [{ "metrics": [metric] }],
    }] })
    .to_string()
    .into_bytes()
}

fn version(service: &'static str, version: &'static str) -> [(&'static str, &'static str); 2] {
    [("service.name", service), ("service.version", version)]
}

fn nanos(second: i64) -> String {
    (i128::from(BEFORE + second) * 1_000_000_000).to_string()
}

fn sum(name: &str, second: i64, by: &[(&str, i64)]) -> Value {
    let points: Vec<Value> = by
        .iter()
        .map(|(state, count)| {
            json!({
                "startTimeUnixNano": nanos(5),
                "timeUnixNano": nanos(second),
                "asInt": count,
                "attributes": [
                    { "key": "state", "value": { "stringValue": state } },
                    { "key": "empty", "value": {} },
                ],
            })
        })
        .collect();
    json!({ "name": name, "sum": {
        "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points,
    } })
}

#[test]
fn counters_and_gauges_are_read_by_the_policy_s_names() {
    let rule =
        StatusRule { label: "state".into(), failed: Failed::Values(vec!["rejected".into()]) };
    let named = |metric: &str, status| {
        Source::Named(Named {
            metric: metric.into(),
            labels: BTreeMap::new(),
            status,
            per_second: None,
        })
    };
    let query =
        Source::Query { bad: r#"orders_total{state="lost"}"#.into(), total: "orders_total".into() };
    let subject = subject(vec![
        measure("orders", MeasureKind::Errors, named("orders", Some(rule))),
        measure("lost", MeasureKind::Errors, query),
        measure("queue", MeasureKind::Gauge, named("queue.length", None)),
        measure("memory", MeasureKind::Gauge, Source::Value("process_memory_bytes".into())),
    ]);
    let otlp = Otlp::new(OtlpSettings::default());
    told(&otlp, &subject, at(0));
    let gauge = |name: &str, unit: &str, value: f64| {
        let point = json!({ "timeUnixNano": nanos(20), "asDouble": value });
        json!({ "name": name, "unit": unit, "gauge": { "dataPoints": [point] } })
    };
    for (revision, factor) in [(CANARY, 1), (STABLE, 10)] {
        let orders = sum("orders", 20, &[("done", 9 * factor), ("rejected", 2), ("lost", 1)]);
        let resource = version("checkout", revision);
        json(&otlp, &body(&resource, &orders), at(20));
        json(&otlp, &body(&resource, &gauge("queue.length", "", 17.5)), at(20));
        json(&otlp, &body(&resource, &gauge("process.memory", "By", 1e9)), at(20));
    }
    assert_snapshot!(told(&otlp, &subject, at(21)));
}

/// A delta histogram of two calls that went well and one that failed.
fn calls(name: &str, unit: &str, status: &[Value; 2], label: &str, bounds: [f64; 2]) -> Value {
    let point = |count: u64, status: &Value| {
        json!({
            "startTimeUnixNano": nanos(10),
            "timeUnixNano": nanos(20),
            "count": count.to_string(),
            "bucketCounts": [0, count, "0"],
            "explicitBounds": bounds,
            "attributes": [{ "key": label, "value": status }],
        })
    };
    let points = [point(2, &status[0]), point(1, &status[1])];
    json!({ "name": name, "unit": unit, "histogram": {
        "dataPoints": points, "aggregationTemporality": 1,
    } })
}

#[test]
fn older_and_remote_procedure_conventions_are_known() {
    let text = |text: &str| json!({ "stringValue": text });
    let number = |number: i64| json!({ "intValue": number });
    let grpc = "rpc.grpc.status_code";
    let all = [
        calls(
            "http.server.duration",
            "ms",
            &[number(200), number(503)],
            "http.status_code",
            [5.0, 250.0],
        ),
        calls("rpc.server.duration", "ms", &[number(0), number(14)], grpc, [5.0, 250.0]),
        calls(
            "rpc.server.call.duration",
            "s",
            &[text("OK"), text("DEADLINE_EXCEEDED")],
            "rpc.response.status_code",
            [0.005, 0.25],
        ),
    ];
    let mut texts = Vec::new();
    for metric in all {
        let otlp = Otlp::new(OtlpSettings::default());
        told(&otlp, &usual(), at(0));
        for revision in [CANARY, STABLE] {
            let resource = version("checkout", revision);
            assert_eq!(json(&otlp, &body(&resource, &metric), at(20)), Accepted::default());
        }
        texts.push(told(&otlp, &usual(), at(21)));
    }
    let same = texts[0].clone();
    assert!(texts.iter().all(|text| *text == same), "{texts:?}");
    assert_snapshot!(same);
}

#[test]
fn people_are_told_how_to_label_their_telemetry() {
    let otlp = Otlp::new(OtlpSettings::default());
    let subject = usual();
    let metric = sum("http.requests", 20, &[]);
    let mut all = vec![told(&otlp, &subject, at(0))];
    json(&otlp, &body(&version("cart", "1.4.2"), &metric), at(20));
    all.push(told(&otlp, &subject, at(21)));
    json(&otlp, &body(&version("checkout", "1.4.2"), &metric), at(22));
    json(&otlp, &body(&[("service.name", "checkout")], &metric), at(22));
    all.push(told(&otlp, &subject, at(23)));
    json(&otlp, &body(&version("checkout", "0d1c2b3"), &metric), at(24));
    all.push(told(&otlp, &subject, at(25)));
    json(&otlp, &body(&version("checkout", CANARY), &metric), at(26));
    all.push(told(&otlp, &subject, at(27)));
    assert_snapshot!(all.join("\n"));
}

#[test]
fn people_are_told_what_is_missing_stale_or_refused() {
    let otlp = Otlp::new(OtlpSettings::default());
    let named = |metric: &str| {
        Source::Named(Named {
            metric: metric.into(),
            labels: BTreeMap::new(),
            status: Some(StatusRule { label: "state".into(), failed: Failed::Http }),
            per_second: None,
        })
    };
    let subject = subject(vec![
        measure("orders", MeasureKind::Errors, named("orders")),
        measure("restarts", MeasureKind::Restarts, Source::Auto),
    ]);
    told(&otlp, &subject, at(0));
    let mut fractional = sum("orders", 20, &[("done", 1)]);
    fractional["sum"]["dataPoints"][0]["asInt"] = Value::Null;
    fractional["sum"]["dataPoints"][0]["asDouble"] = json!(0.5);
    let accepted = json(&otlp, &body(&version("checkout", CANARY), &fractional), at(20));
    let mut all = vec![format!("{accepted:?}")];
    json(&otlp, &body(&version("checkout", STABLE), &sum("orders", 20, &[("done", 1)])), at(20));
    all.push(told(&otlp, &subject, at(21)));
    let metric = sum("orders", 30, &[("done", 1)]);
    json(&otlp, &body(&version("checkout", CANARY), &metric), at(30));
    all.push(told(&otlp, &subject, at(31)));
    all.push(told(&otlp, &subject, at(300)));
    let restarts = otlp.chosen("one").remove(1);
    all.push(restarts.chosen.unwrap_err());
    assert_snapshot!(all.join("\n"));
}

#[test]
fn a_point_without_a_recorded_value_is_no_data() {
    let otlp = Otlp::new(OtlpSettings::default());
    let subject = usual();
    told(&otlp, &subject, at(0));
    let mut metric = sum("http.requests", 20, &[("done", 1)]);
    metric["sum"]["dataPoints"][0]["flags"] = json!(1);
    assert_eq!(json(&otlp, &body(&version("checkout", CANARY), &metric), at(20)).rejected, 0);
    assert!(otlp.chosen("one").iter().all(|choice| choice.chosen.is_err()));
}

#[test]
fn a_forgotten_deployment_takes_nothing_in() {
    let otlp = Otlp::new(OtlpSettings::default());
    told(&otlp, &usual(), at(0));
    assert!(otlp.wanted("checkout").is_some());
    json(&otlp, &reply("json-1.json"), at(88));
    assert!(locked(&otlp.state).streams > 0);
    otlp.forget("one");
    assert!(otlp.wanted("checkout").is_none() && otlp.chosen("one").is_empty());
    assert_eq!(locked(&otlp.state).streams, 0);
    // So is one that nobody measures any more.
    told(&otlp, &usual(), at(100));
    json(&otlp, &reply("json-1.json"), at(100 + 16 * 60));
    assert!(otlp.wanted("checkout").is_none());
}
