//! Requests and replies of `CloudWatch` without a server.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::*;
use crate::error::Persistence;
use crate::http::Secret;
use crate::stores::StoredSeries;
use crate::stores::attempt::Answer;

fn settings() -> CloudWatchSettings {
    let credentials = AwsCredentials {
        access_key: "AKIDEXAMPLE".into(),
        secret_key: Secret::new("SECRET-hunter2"),
        session_token: Some(Secret::new("SESSION-hunter2")),
    };
    CloudWatchSettings::new("eu-central-1", credentials, || Timestamp::UNIX_EPOCH)
}

fn store() -> CloudWatch {
    CloudWatch::new(settings()).unwrap()
}

fn window() -> Window {
    let from = Timestamp::from_second(1_714_564_800).unwrap();
    let to = Timestamp::from_second(1_714_564_920).unwrap();
    Window { from, to, step: Duration::from_secs(60) }
}

const METRIC: &str = r#"{"Namespace": "AWS/ApplicationELB", "MetricName": "RequestCount",
    "Dimensions": {"LoadBalancer": "app/shop/1", "TargetGroup": "targetgroup/new/2"}, "Stat": "Sum"}"#;
const GROUPED: &str = "SELECT SUM(n) FROM \"Shop\" GROUP BY InstanceId";

fn placed(texts: &[&str]) -> Vec<Placed> {
    texts.iter().map(|text| Query::read(text).unwrap()).enumerate().collect()
}

fn answer(status: u16, body: &[u8]) -> Answer {
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers: HeaderMap::new(), body: body.to_vec() }
}

fn told(body: &[u8], texts: &[&str]) -> Vec<Result<Reply, FetchError>> {
    let store = store();
    let mut collected = Collected::default();
    collected.add(reply::page(&store.base, &answer(200, body)).unwrap());
    collected.told(&store.base, &placed(texts)).into_iter().map(|(_, result)| result).collect()
}

#[test]
fn a_request_is_one_of_the_api() {
    let batch = placed(&[METRIC, "SUM(SEARCH('{Shop,Version} MetricName=\"n\"', 'Sum', 60))"]);
    let body: serde_json::Value =
        serde_json::from_slice(&query::request(&batch, window(), Some("t2"))).unwrap();
    insta::assert_json_snapshot!(body);
}

#[test]
fn points_come_as_they_are() {
    let told = told(
        include_bytes!("../../../replies/cloudwatch/complete.json"),
        &[METRIC, METRIC, METRIC],
    );
    let at = |second| Timestamp::from_second(second).unwrap();
    let series =
        |points| Reply { series: vec![StoredSeries { instance: None, points }], incomplete: None };
    // Newest first, as AWS may; and a metric that it knows nothing of.
    let expected = [
        series(vec![(at(1_714_564_860), Some(418.0)), (at(1_714_564_800), Some(402.0))]),
        series(vec![(at(1_714_564_860), Some(3.0))]),
        Reply::default(),
    ];
    assert_eq!(told, expected.map(Ok));
}

#[test]
fn the_stores_doubts_are_kept_apart_by_query() {
    let texts = [METRIC; 5];
    let told_of = told(include_bytes!("../../../replies/cloudwatch/partial.json"), &texts);
    let all = told(include_bytes!("../../../replies/cloudwatch/messages.json"), &[METRIC, METRIC]);
    let lines = told_of.into_iter().chain(all).map(|result| match result {
        Ok(reply) => reply.incomplete.unwrap(),
        Err(error) => format!("{:?}: {error}", error.persistence),
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn groups_are_instances_and_other_queries_have_one_series() {
    let body = include_bytes!("../../../replies/cloudwatch/grouped.json");
    let reply = told(body, &[GROUPED]).remove(0).unwrap();
    let names: Vec<_> =
        reply.series.iter().map(|s| (s.instance.as_deref(), s.points.len())).collect();
    // The same interval twice is not added up here: it is a defect, and refused later.
    assert_eq!(names, [(Some("i-0a"), 2), (Some("i-0b"), 1)]);
    insta::assert_snapshot!(told(body, &["SEARCH('x', 'Sum')"]).remove(0).unwrap_err());
}

#[test]
fn an_empty_answer_is_no_data_and_a_cut_one_an_error() {
    let reply = told(include_bytes!("../../../replies/cloudwatch/empty.json"), &[METRIC])
        .remove(0)
        .unwrap();
    assert!(reply.series.iter().all(|series| series.points.is_empty()));
    let cut = include_bytes!("../../../replies/cloudwatch/truncated.json");
    let Err(Trouble::Other(error)) = reply::page(&store().base, &answer(200, cut)) else {
        panic!()
    };
    assert_eq!(error.persistence, Persistence::Transient);
}

#[test]
fn refusals_say_what_to_do_and_show_no_secret() {
    let store = store();
    let cases: [(&str, &[u8]); 6] = [
        ("throttled", include_bytes!("../../../replies/cloudwatch/throttled.json")),
        ("other", include_bytes!("../../../replies/cloudwatch/signature.json")),
        ("other", include_bytes!("../../../replies/cloudwatch/expired.json")),
        ("other", include_bytes!("../../../replies/cloudwatch/denied.json")),
        ("other", include_bytes!("../../../replies/cloudwatch/unknown-key.json")),
        ("request", include_bytes!("../../../replies/cloudwatch/invalid.json")),
    ];
    let mut lines = Vec::new();
    for (expected, body) in cases {
        let (kind, error) = match reply::page(&store.base, &answer(400, body)).unwrap_err() {
            Trouble::Throttled(error) => ("throttled", error),
            Trouble::Request(error) => ("request", error),
            Trouble::Other(error) => ("other", error),
        };
        assert_eq!(kind, expected, "{error}");
        lines.push(format!("{:?}: {error}", error.persistence));
    }
    let Err(Trouble::Other(error)) = reply::page(&store.base, &answer(503, b"busy SECRET-hunter2"))
    else {
        panic!()
    };
    lines.push(format!("{:?}: {error}", error.persistence));
    let text = lines.join("\n");
    assert!(!text.contains("hunter2") && !format!("{store:?}").contains("hunter2"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn usual_queries_are_those_of_a_load_balancer() {
    let store = store();
    for kind in [MeasureKind::Errors, MeasureKind::Latency] {
        let source = store.usual(kind).unwrap();
        let measure = Measure { check: "c".into(), kind, source, strata: Vec::new() };
        store.check(&measure).unwrap();
    }
    let refused =
        [MeasureKind::Restarts, MeasureKind::Gauge].map(|kind| store.usual(kind).unwrap_err());
    insta::assert_snapshot!(format!(
        "{:#?}\n{:#?}\n{}",
        store.usual(MeasureKind::Errors),
        store.usual(MeasureKind::Latency),
        refused.join("\n")
    ));
}

#[test]
fn wrong_settings_queries_and_values_are_told() {
    let mut lines = Vec::new();
    let mut refuse = |settings| lines.push(CloudWatch::new(settings).unwrap_err().text);
    refuse(CloudWatchSettings { region: "evil.example/".into(), ..settings() });
    refuse(CloudWatchSettings { step: Duration::from_secs(45), ..settings() });
    refuse(CloudWatchSettings { endpoint: Some("s3://x".into()), ..settings() });
    for text in
        ["", " ", "{", r#"{"Namespace": "a", "MetricName": "b", "Stat": "Sum", "Period": 1}"#]
    {
        lines.push(Query::read(text).unwrap_err());
    }
    let many: Vec<String> = (0..31).map(|n| format!("\"d{n}\": \"v\"")).collect();
    let many = many.join(", ");
    let many = format!(
        r#"{{"Namespace": "a", "MetricName": "b", "Stat": "Sum", "Dimensions": {{{many}}}}}"#
    );
    lines.push(Query::read(&many).unwrap_err());
    lines.push(store().quote("v1' OR '1'='1").unwrap_err());
    insta::assert_snapshot!(lines.join("\n"));
    assert_eq!(store().quote("targetgroup/new/2"), Ok("targetgroup/new/2".to_owned()));
    assert_eq!(store().shown(), "https://monitoring.eu-central-1.amazonaws.com/");
    let china = CloudWatchSettings { region: "cn-north-1".into(), ..settings() };
    assert_eq!(
        CloudWatch::new(china).unwrap().shown(),
        "https://monitoring.cn-north-1.amazonaws.com.cn/"
    );
}

#[test]
fn labels_stand_in_strings() {
    let check = |query: &str| {
        let source = Source::Value(query.into());
        store().check(&Measure {
            check: "c".into(),
            kind: MeasureKind::Gauge,
            source,
            strata: Vec::new(),
        })
    };
    assert_eq!(check("SELECT SUM(n) FROM \"Shop\" WHERE Version = '${version}'"), Ok(()));
    let error = check("SELECT SUM(n) FROM \"Shop\" WHERE Version = ${version}").unwrap_err();
    insta::assert_snapshot!(error);
}
