//! Addresses and replies of any HTTP store without a server.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::error::Persistence;

fn pointers() -> JsonPointers {
    JsonPointers {
        series: String::new(),
        instance: None,
        rows: None,
        time: "/times".into(),
        value: "/counts".into(),
        error: Some("/error".into()),
        partial: Some("/partial".into()),
    }
}

fn store(time: TimeFormat, pointers: JsonPointers) -> HttpJson {
    HttpJson::new(HttpJsonSettings::new("https://m.example/api", time, pointers)).unwrap()
}

fn lists() -> HttpJson {
    store(TimeFormat::Milliseconds, pointers())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_714_564_800 + second).unwrap()
}

#[test]
fn every_common_shape_is_read() {
    let reply = lists().decode(include_bytes!("../../../replies/http_json/lists.json")).unwrap();
    let points = vec![(at(0), Some(402.0)), (at(60), Some(418.0))];
    assert_eq!(
        reply,
        Reply { series: vec![StoredSeries { instance: None, points }], incomplete: None }
    );

    let rows = JsonPointers { time: "/t".into(), value: "/n".into(), ..pointers() };
    let reply = store(TimeFormat::Rfc3339, rows)
        .decode(include_bytes!("../../../replies/http_json/rows.json"))
        .unwrap();
    assert_eq!(reply.series[0].points, [(at(0), Some(402.0)), (at(60), None), (at(120), None)]);

    let nested = JsonPointers {
        series: "/data/result".into(),
        instance: Some("/metric/pod".into()),
        rows: Some("/values".into()),
        time: "/0".into(),
        value: "/1".into(),
        ..pointers()
    };
    let reply = store(TimeFormat::Seconds, nested)
        .decode(include_bytes!("../../../replies/http_json/nested.json"))
        .unwrap();
    assert_eq!(reply.series[0].instance.as_deref(), Some("p1"));
    assert_eq!(reply.series[0].points, [(at(60), Some(418.0)), (at(0), Some(402.0))]);
    assert_eq!(reply.series[1].points[0], (at(0), None));
    assert!(reply.series[1].points[1].1.unwrap().is_nan());
    let empty = JsonPointers { series: "/data".into(), ..pointers() };
    for body in ["{\"data\": []}", "{\"data\": null}"] {
        let reply = store(TimeFormat::Seconds, empty.clone()).decode(body.as_bytes());
        assert_eq!(reply, Ok(Reply::default()));
    }
}

#[test]
fn what_is_wrong_is_told() {
    let cases: [(Persistence, &[u8]); 6] = [
        (Persistence::Transient, include_bytes!("../../../replies/http_json/error.json")),
        (Persistence::Permanent, include_bytes!("../../../replies/http_json/uneven.json")),
        (Persistence::Permanent, include_bytes!("../../../replies/http_json/moment.json")),
        (Persistence::Permanent, include_bytes!("../../../replies/http_json/number.json")),
        (Persistence::Permanent, include_bytes!("../../../replies/http_json/other.json")),
        (Persistence::Transient, include_bytes!("../../../replies/http_json/truncated.json")),
    ];
    let mut lines = Vec::new();
    for (persistence, body) in cases {
        let error = lists().decode(body).unwrap_err();
        assert_eq!(error.persistence, persistence, "{error}");
        lines.push(error.text);
    }
    let partial =
        lists().decode(include_bytes!("../../../replies/http_json/partial.json")).unwrap();
    lines.push(partial.incomplete.unwrap());
    let deep = JsonPointers { series: "/data/series".into(), ..pointers() };
    lines.push(store(TimeFormat::Seconds, deep).decode(b"{}").unwrap_err().text);
    lines.push(lists().usual(MeasureKind::Errors).unwrap_err());
    let wrong = JsonPointers { series: "data".into(), ..pointers() };
    let settings = HttpJsonSettings::new("https://m.example", TimeFormat::Seconds, wrong);
    lines.push(HttpJson::new(settings).unwrap_err().text);
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn no_query_leads_away_from_the_configured_address() {
    let base = Url::parse("https://m.example/api").unwrap();
    for (query, expected) in [
        ("counts?v=1", "https://m.example/api/counts?v=1"),
        ("/counts", "https://m.example/api/counts"),
        ("a/../b", "https://m.example/api/b"),
        ("?v=1", "https://m.example/api/?v=1"),
        ("https://m.example/api/x", "https://m.example/api/x"),
        ("https://m.example:443/api/x", "https://m.example/api/x"),
    ] {
        assert_eq!(below(&base, query).unwrap().as_str(), expected, "{query}");
    }
    let away = [
        "https://evil.example/api/x",
        "http://m.example/api/x",
        "https://m.example:8443/api/x",
        "https://u:p@m.example/api/x",
        "//evil.example/x",
        "///evil.example/x",
        "\\\\evil.example\\x",
        "/\\evil.example/x",
        "../admin",
        "%2e%2e/admin",
        "..\\admin",
        "https://m.example/apiadmin",
        "https://m.example.evil.example/api/x",
        "file:///etc/passwd",
        "x#y",
        "http://[",
    ];
    let told = away.map(|query| below(&base, query).unwrap_err());
    insta::assert_snapshot!(told.join("\n"));
}

static LISTS: LazyLock<HttpJson> = LazyLock::new(lists);

proptest! {
    #[test]
    fn whatever_a_policy_writes_stays_below(query in "[a-z./\\\\:@?#%2eE&=$\t -]{0,24}") {
        let base = Url::parse("https://m.example/api").unwrap();
        if let Ok(url) = below(&base, &query) {
            prop_assert!(url.as_str().starts_with("https://m.example/api/"), "{url}");
        }
    }

    #[test]
    fn a_value_is_one_part_of_an_address(value in "\\PC{1,12}") {
        if let Ok(quoted) = LISTS.quote(&value) {
            let url = below(LISTS.base.url(), &format!("a/{quoted}/b?v={quoted}&w=1")).unwrap();
            let pairs: Vec<_> = url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
            prop_assert_eq!(pairs, [("v".to_owned(), value.clone()), ("w".to_owned(), "1".to_owned())]);
            if value != "." {
                prop_assert_eq!(url.path_segments().unwrap().count(), 4);
            }
        }
    }
}
