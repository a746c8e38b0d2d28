//! What can be measured in Prometheus beside counters: native histograms, strata, restarts and gauges.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use analysis_providers::{Measure, MeasureKind, MetricProvider as _, Named, Source, Subject};
use serde_json::{Value, json};

use crate::prometheus::{provider, subject};
use crate::server::{Answer, Server};
use crate::told::{at, told};

/// A series of both arms that shows `then` at each scrape, given as seconds and value.
fn series(name: &str, labels: &[(&str, &str)], points: &[(&str, &[(i64, Value)])]) -> Vec<Value> {
    let each = points.iter().map(|(version, points)| {
        let mut metric =
            json!({"__name__": name, "version": version, "pod": format!("{version}-1")});
        for (label, value) in labels {
            metric[*label] = json!(value);
        }
        let stamped: Vec<Value> =
            points.iter().map(|(second, value)| json!([at(*second).as_second(), value])).collect();
        let key =
            if points.iter().any(|(_, value)| value.is_object()) { "histograms" } else { "values" };
        json!({"metric": metric, key: stamped})
    });
    each.collect()
}

fn matrix(series: Vec<Vec<Value>>) -> Answer {
    let all: Vec<Value> = series.into_iter().flatten().collect();
    let body = json!({"status": "success", "data": {"resultType": "matrix", "result": all}});
    Answer::json(200, body.to_string())
}

fn named(check: &str, kind: MeasureKind, metric: &str) -> Measure {
    let named =
        Named { metric: metric.into(), labels: BTreeMap::new(), status: None, per_second: None };
    Measure { check: check.into(), kind, source: Source::Named(named), strata: Vec::new() }
}

fn with(measures: Vec<Measure>) -> Subject {
    Subject { measures, ..subject("d1", "old", "new") }
}

/// What each answer told, one after another, a scrape every 15 seconds.
async fn told_by(subject: Subject, answers: Vec<Answer>) -> String {
    let server = Server::start().await;
    let provider = provider(&server);
    let subjects = [subject];
    let mut text = String::new();
    for (round, answer) in answers.into_iter().enumerate() {
        server.set("/api", answer);
        let second = 15 * i64::try_from(round).unwrap();
        let measured = provider.measure(&subjects, at(second)).await;
        writeln!(text, "{}", told(&measured[0])).unwrap();
    }
    text
}

/// A native histogram as the API shows it: its zero bucket and others by index.
fn native(scale: i32, zero: u32, buckets: &[(i32, u32)]) -> Value {
    let bound = |index: i32| (f64::from(index) * f64::from(-scale).exp2()).exp2().to_string();
    let mut all = vec![json!([3, "-0.001", "0.001", zero.to_string()])];
    all.retain(|_| zero > 0);
    all.extend(
        buckets
            .iter()
            .map(|(index, count)| json!([0, bound(index - 1), bound(*index), count.to_string()])),
    );
    let count: u32 = zero + buckets.iter().map(|(_, count)| count).sum::<u32>();
    json!({"count": count.to_string(), "sum": "1", "buckets": all})
}

/// Samples of the canary and of the baseline.
type Arms<'a> = (&'a [(i64, Value)], &'a [(i64, Value)]);

#[tokio::test]
async fn native_histograms_are_differenced_across_schema_changes_and_resets() {
    let name = "http_request_duration_seconds";
    let answer = |round: i64, old: Value, new: Value| {
        let both: [(&str, &[(i64, Value)]); 2] =
            [("old", &[(15 * round, old)]), ("new", &[(15 * round, new)])];
        matrix(vec![series(name, &[("code", "200")], &both)])
    };
    let subject = with(vec![
        named("latency", MeasureKind::Latency, name),
        named("errors", MeasureKind::Errors, name),
    ]);
    let text = told_by(
        subject,
        vec![
            answer(0, native(3, 1, &[(-20, 100)]), native(3, 0, &[(-20, 10)])),
            // More in known buckets, and a bucket that was empty before.
            answer(1, native(3, 3, &[(-20, 150)]), native(3, 0, &[(-20, 15), (-10, 2)])),
            // The canary drops to a coarser schema, in which -20 is -10 and -10 is -5.
            answer(2, native(3, 3, &[(-20, 160)]), native(2, 0, &[(-10, 16), (-5, 2), (-4, 1)])),
            // It becomes finer again, and stays at the coarser one that is remembered.
            answer(3, native(3, 3, &[(-20, 170)]), native(3, 0, &[(-20, 17), (-10, 2), (-8, 1)])),
            // A restart: a bucket is lower than before.
            answer(4, native(3, 3, &[(-20, 180)]), native(3, 0, &[(-20, 4)])),
        ],
    )
    .await;
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn custom_buckets_of_a_native_histogram_make_an_ordinary_one() {
    let custom = |buckets: &[(&str, &str, u32)]| {
        let all: Vec<Value> =
            buckets.iter().map(|(l, r, count)| json!([0, l, r, count.to_string()])).collect();
        let count: u32 = buckets.iter().map(|(_, _, count)| count).sum();
        json!({"count": count.to_string(), "sum": "1", "buckets": all})
    };
    let answer = |round: i64, old: Value, new: Value| {
        let both: [(&str, &[(i64, Value)]); 2] =
            [("old", &[(15 * round, old)]), ("new", &[(15 * round, new)])];
        matrix(vec![series("d_seconds", &[], &both)])
    };
    let text = told_by(
        with(vec![named("latency", MeasureKind::Latency, "d_seconds")]),
        vec![
            answer(
                0,
                custom(&[("-Inf", "0.1", 50), ("0.1", "0.25", 9), ("0.25", "0.7", 2)]),
                custom(&[("-Inf", "0.1", 5)]),
            ),
            answer(
                1,
                custom(&[("-Inf", "0.1", 60), ("0.1", "0.25", 9), ("0.25", "0.7", 3)]),
                custom(&[("-Inf", "0.1", 8), ("0.7", "+Inf", 1)]),
            ),
        ],
    )
    .await;
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_named_histogram_is_read_natively_only_where_both_arms_have_that() {
    let classic = |round: i64, old: u32, new: u32| {
        let points = |n: u32| [(15 * round, json!(n.to_string()))];
        let (old, new) = (points(old), points(new));
        let both: [(&str, &[(i64, Value)]); 2] = [("old", &old), ("new", &new)];
        series("d_seconds_bucket", &[("le", "+Inf")], &both)
    };
    let native = |round: i64, versions: &[&str], n: u32| {
        let points = [(15 * round, native(3, 0, &[(0, n)]))];
        let all: Vec<(&str, &[(i64, Value)])> =
            versions.iter().map(|version| (*version, points.as_slice())).collect();
        series("d_seconds", &[], &all)
    };
    let mut text = String::new();
    for versions in [&["old"][..], &["old", "new"]] {
        let subject = with(vec![named("latency", MeasureKind::Latency, "d_seconds")]);
        let answer =
            |round: i64, n: u32| matrix(vec![classic(round, n, n), native(round, versions, n)]);
        let told = told_by(subject, vec![answer(0, 10), answer(1, 14)]).await;
        writeln!(text, "== native of {}\n{told}", versions.join(" and ")).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn routes_split_a_check_and_other_labels_only_where_named() {
    let counter = |round: i64, labels: &[(&str, &str)], old: u32, new: u32| {
        let points = |n: u32| [(15 * round, json!(n.to_string()))];
        let (old, new) = (points(old), points(new));
        let both: [(&str, &[(i64, Value)]); 2] = [("old", &old), ("new", &new)];
        series("http_requests_total", labels, &both)
    };
    let answer = |round: i64, n: u32| {
        matrix(vec![
            counter(round, &[("code", "200"), ("route", "/buy"), ("zone", "a")], 10 * n, n),
            counter(round, &[("code", "500"), ("route", "/buy"), ("zone", "b")], 2 * n, n),
            counter(round, &[("code", "200"), ("route", "/see"), ("zone", "b")], 100 * n, n),
            counter(round, &[("code", "200")], 7 * n, n),
        ])
    };
    let mut text = String::new();
    for strata in [vec![], vec!["zone"], vec!["method", "route"]] {
        let mut measure = named("errors", MeasureKind::Errors, "http_requests_total");
        measure.strata = strata.iter().map(|label| (*label).to_owned()).collect();
        let told = told_by(with(vec![measure]), vec![answer(0, 1), answer(1, 2)]).await;
        writeln!(text, "== by {strata:?}\n{told}").unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn restarts_are_counted_once_out_of_the_seconds_of_running() {
    let started =
        |points: &[(&str, &[(i64, Value)])]| series("process_start_time_seconds", &[], points);
    let start = |second: i64, started: f64| (second, json!(started.to_string()));
    let counter = |points: &[(&str, &[(i64, Value)])]| {
        series("http_requests_total", &[("code", "200")], points)
    };
    let count = |second: i64, n: u32| (second, json!(n.to_string()));
    let mut auto = named("restarts", MeasureKind::Restarts, "");
    auto.source = Source::Auto;
    let mut text = String::new();

    // By the start time: one restart shows in the start time and in the counters.
    let server = Server::start().await;
    let search = json!({"status": "success", "data": {"resultType": "vector", "result": [
        {"metric": {"__name__": "process_start_time_seconds", "version": "old"}, "value": [0, "1"]},
        {"metric": {"__name__": "process_start_time_seconds", "version": "new"}, "value": [0, "1"]}]}});
    server.set("group+by", Answer::json(200, search.to_string()));
    let first = provider(&server);
    let subjects = [with(vec![auto.clone()])];
    let rounds: [Arms<'_>; 3] = [
        (&[start(0, 100.0)], &[start(0, 200.0)]),
        (&[start(5, 100.0), start(15, 100.0)], &[start(5, 200.0), start(14, 209.5)]),
        // A start time that is computed anew each time is the same process.
        (&[start(30, 100.4)], &[start(30, 209.5)]),
    ];
    for ((old, new), second) in rounds.iter().zip([0, 15, 30]) {
        server.set("/api", matrix(vec![started(&[("old", *old), ("new", *new)])]));
        let measured = first.measure(&subjects, at(second)).await;
        writeln!(text, "{}", told(&measured[0])).unwrap();
    }
    let chosen = first.chosen("d1").remove(0).chosen.unwrap();
    writeln!(text, "{chosen}\n").unwrap();

    // By counters, where no start time is shown.
    let server = Server::start().await;
    let search = json!({"status": "success", "data": {"resultType": "vector", "result": [
        {"metric": {"__name__": "http_requests_total", "code": "200", "version": "old"}, "value": [0, "1"]},
        {"metric": {"__name__": "http_requests_total", "code": "200", "version": "new"}, "value": [0, "1"]}]}});
    server.set("group+by", Answer::json(200, search.to_string()));
    let second = provider(&server);
    let rounds: [Arms<'_>; 2] =
        [(&[count(0, 500)], &[count(0, 50)]), (&[count(15, 600)], &[count(10, 4), count(15, 2)])];
    for ((old, new), moment) in rounds.iter().zip([0, 15]) {
        server.set("/api", matrix(vec![counter(&[("old", *old), ("new", *new)])]));
        let measured = second.measure(&subjects, at(moment)).await;
        writeln!(text, "{}", told(&measured[0])).unwrap();
    }
    let chosen = second.chosen("d1").remove(0).chosen.unwrap();
    writeln!(text, "{chosen}\n").unwrap();

    // By a counter of restarts that a policy names.
    let name = "kube_pod_container_status_restarts_total";
    let answer = |round: i64, old: u32, new: u32| {
        let points = |n: u32| [(15 * round, json!(n.to_string()))];
        let (old, new) = (points(old), points(new));
        matrix(vec![series(name, &[("container", "shop")], &[("old", &old), ("new", &new)])])
    };
    let subject = with(vec![named("restarts", MeasureKind::Restarts, name)]);
    text.push_str(&told_by(subject, vec![answer(0, 4, 0), answer(1, 4, 3)]).await);
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn gauges_are_values_and_never_differences() {
    let name = "process_resident_memory_bytes";
    let answer = |round: i64, old: &str, new: &str| {
        let points = |n: &str| [(15 * round, json!(n))];
        let (old, new) = (points(old), points(new));
        matrix(vec![series(name, &[], &[("old", &old), ("new", &new)])])
    };
    let subject = with(vec![named("memory", MeasureKind::Gauge, name)]);
    let answers = vec![
        answer(0, "100.5", "-3"),
        answer(1, "90", "4e9"),
        answer(1, "90", "4e9"),
        answer(2, "95", "NaN"),
    ];
    insta::assert_snapshot!(told_by(subject, answers).await);
}

#[tokio::test]
async fn the_value_of_a_query_is_asked_once_for_all_subjects_and_told_apart_by_labels() {
    let server = Server::start().await;
    let sample =
        |labels: Value, value: &str| json!({"metric": labels, "value": [at(0).as_second(), value]});
    let result = json!({"status": "success", "data": {"resultType": "vector", "result": [
        sample(json!({"version": "old", "pod": "o1"}), "0.5"),
        sample(json!({"version": "new", "pod": "n1"}), "0.75"),
        sample(json!({"version": "other", "pod": "x"}), "9")]}});
    server.set("/api", Answer::json(200, result.to_string()));
    let query = "sum by (version, pod) (queue_length) / 10";
    let measure = |source| Measure {
        check: "queue".into(),
        kind: MeasureKind::Gauge,
        source,
        strata: Vec::new(),
    };
    let value = || with(vec![measure(Source::Value(query.into()))]);
    let provider = provider(&server);
    let subjects = [value(), Subject { id: "d2".into(), ..value() }];
    let measured = provider.measure(&subjects, at(0)).await;
    assert_eq!(server.seen().len(), 1);
    let mut text = told(&measured[0]);
    assert_eq!(text, told(&measured[1]));
    for (source, id) in [
        (Source::Value("sum by (".into()), "broken"),
        (Source::Auto, "unnamed"),
        (Source::Query { bad: "a".into(), total: "b".into() }, "two"),
    ] {
        let subjects = [Subject { id: id.into(), ..with(vec![measure(source)]) }];
        write!(text, "\n{}", told(&provider.measure(&subjects, at(0)).await[0])).unwrap();
    }
    insta::assert_snapshot!(text);
}
