//! Requests and replies of Graphite without a server.

use jiff::Timestamp;

use super::*;
use crate::error::Persistence;

fn store() -> Graphite {
    Graphite::new(GraphiteSettings::new("http://u:hunter2@graphite.example/g")).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_714_564_800 + second).unwrap()
}

fn window() -> Window {
    Window { from: at(0), to: at(180), step: Duration::from_secs(60) }
}

fn read(body: &[u8], query: &str) -> Result<Reply, FetchError> {
    decode(&store().base, body, query, window())
}

#[test]
fn a_request_is_one_of_the_api() {
    let store = store();
    insta::assert_snapshot!(format!(
        "{}\n{}\n{}",
        store.base.at("render"),
        store.form("sumSeries(shop.v2.*.requests)", window()),
        store.form(" summarize(shop.queue, '60s', 'last')", window()),
    ));
}

#[test]
fn points_come_as_they_are() {
    let reply = read(include_bytes!("../../../replies/graphite/one.json"), "sumSeries(a)").unwrap();
    let points = vec![(at(60), Some(418.0)), (at(0), Some(402.0)), (at(120), None)];
    assert_eq!(
        reply,
        Reply { series: vec![StoredSeries { instance: None, points }], incomplete: None }
    );
    let body = include_bytes!("../../../replies/graphite/aliased.json");
    let reply = read(body, "aliasByTags(a, 'pod')").unwrap();
    let names: Vec<_> =
        reply.series.iter().map(|s| (s.instance.as_deref(), s.points.len())).collect();
    assert_eq!(names, [(Some("p1"), 2), (Some("p2"), 1)]);
    let empty = read(include_bytes!("../../../replies/graphite/empty.json"), "a");
    assert_eq!(empty, Ok(Reply::default()));
}

#[test]
fn what_is_wrong_is_told() {
    let several =
        read(include_bytes!("../../../replies/graphite/aliased.json"), "a.*").unwrap_err();
    assert_eq!(several.persistence, Persistence::Permanent);
    let cut = read(include_bytes!("../../../replies/graphite/truncated.json"), "a").unwrap_err();
    assert_eq!(cut.persistence, Persistence::Transient);
    let infinite =
        read(include_bytes!("../../../replies/graphite/infinite.json"), "a").unwrap_err();
    let mut lines = vec![several.text, cut.text, infinite.text];
    let sums = [
        "sumSeries(a",
        "a)(",
        "a('b",
        "smartSummarize(a, '1min', 'sum')",
        "summarize(a, '1min', 'sum')",
        "scale(a, 2)&maxDataPoints=3",
    ];
    lines.extend(sums.map(|query| check(query, MeasureKind::Errors).unwrap_err()));
    lines.push(check("averageSeries(a)", MeasureKind::Gauge).unwrap_err());
    lines.extend(
        [MeasureKind::Errors, MeasureKind::Gauge].map(|kind| store().usual(kind).unwrap_err()),
    );
    for value in ["", "~x", "*", "a,b", "a b", "a'", "a\n"] {
        lines.push(store().quote(value).unwrap_err());
    }
    let step = GraphiteSettings { step: Duration::ZERO, ..GraphiteSettings::new("http://h") };
    lines.push(Graphite::new(step).unwrap_err().text);
    insta::assert_snapshot!(lines.join("\n"));
    assert_eq!(store().quote("v1.2.3+b-1_x"), Ok("v1.2.3+b-1_x".to_owned()));
    assert!(!format!("{:?}", store()).contains("hunter2"));
}

#[test]
fn the_examples_are_right() {
    assert_eq!(check(EXAMPLE.trim_matches('`'), MeasureKind::Errors), Ok(()));
    assert_eq!(check(gauge().trim_matches('`'), MeasureKind::Gauge), Ok(()));
}
