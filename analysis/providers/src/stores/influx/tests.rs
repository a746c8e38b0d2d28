//! Requests and replies of `InfluxDB` without a server.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::error::Persistence;

fn settings(version: u8) -> InfluxSettings {
    let api = match version {
        1 => InfluxApi::V1 { database: "shop".into() },
        2 => InfluxApi::V2 { org: "acme".into() },
        _ => InfluxApi::V3 { database: "shop".into() },
    };
    let mut settings = InfluxSettings::new("http://influx.example:8086/", api);
    settings.access.credentials = Credentials::Bearer(Secret::new("hunter2"));
    settings
}

fn store(version: u8) -> Influx {
    Influx::new(settings(version)).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_714_564_800 + second).unwrap()
}

fn window() -> Window {
    Window { from: at(0), to: at(30), step: Duration::from_secs(10) }
}

fn decode(version: u8, body: &[u8]) -> Result<Reply, FetchError> {
    let base = store(version).base;
    match version {
        1 => influxql::decode(&base, body),
        2 => flux::decode(&base, body),
        _ => sql::decode(&base, body),
    }
}

fn named(name: &str, points: Points) -> StoredSeries {
    StoredSeries { instance: Some(name.into()), points }
}

#[test]
fn requests_are_those_of_the_apis() {
    let mut lines = Vec::new();
    for version in 1..=3 {
        let store = store(version);
        let query =
            store.example().trim_matches('`').replace("${version}", "v1").replace("${step}", "10");
        let request = store.request(&query, window()).build().unwrap();
        assert!(!format!("{request:?}").contains("hunter2"));
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        lines.push(format!("{} {}", request.method(), request.url()));
        lines.push(String::from_utf8(body.to_vec()).unwrap());
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn points_come_as_they_are() {
    let reply = decode(1, include_bytes!("../../../replies/influx/v1.json")).unwrap();
    let p1 = vec![(at(10), Some(7.0)), (at(0), Some(5.0)), (at(20), None)];
    let p2 = vec![(at(0), Some(2.5)), (at(0), Some(2.5))];
    assert_eq!(reply.series, [named("p1", p1.clone()), named("p2", p2)]);

    let reply = decode(2, include_bytes!("../../../replies/influx/v2.csv")).unwrap();
    assert_eq!(reply.series[1], named("p1", p1));
    assert_eq!(reply.series[0].instance.as_deref(), Some("p,2\r\nand more"));
    assert!(reply.series[0].points[0].1.unwrap().is_nan());
    let reply = decode(2, include_bytes!("../../../replies/influx/v2-annotated.csv")).unwrap();
    assert_eq!(reply.series, [StoredSeries { instance: None, points: vec![(at(0), Some(5.0))] }]);

    let reply = decode(3, include_bytes!("../../../replies/influx/v3.json")).unwrap();
    let p1 = vec![(at(10), Some(7.0)), (at(0), Some(5.0))];
    let p2 = vec![(at(0), Some(2.0)), (at(10), None)];
    assert_eq!(reply.series, [named("p1", p1), named("p2", p2)]);
    // Sums of nothing, which are left out.
    let reply = decode(3, br#"[{"time":"2024-05-01T12:00:00","instance":"p1"}]"#).unwrap();
    assert_eq!(reply.series, [named("p1", vec![(at(0), None)])]);
}

#[test]
fn empty_answers_are_no_data() {
    for (version, body) in [
        (1, include_bytes!("../../../replies/influx/v1-empty.json").as_slice()),
        (2, include_bytes!("../../../replies/influx/v2-empty.csv")),
        (2, b""),
        (3, include_bytes!("../../../replies/influx/v3-empty.json")),
    ] {
        assert_eq!(decode(version, body), Ok(Reply::default()));
    }
}

#[test]
fn what_is_wrong_is_told() {
    use Persistence::{Permanent, Transient};
    let cases: [(u8, Persistence, &[u8]); 14] = [
        (1, Permanent, include_bytes!("../../../replies/influx/v1-error.json")),
        (1, Transient, include_bytes!("../../../replies/influx/v1-timeout.json")),
        (1, Permanent, include_bytes!("../../../replies/influx/v1-columns.json")),
        (1, Permanent, include_bytes!("../../../replies/influx/v1-two.json")),
        (1, Transient, include_bytes!("../../../replies/influx/v1-truncated.json")),
        (2, Transient, include_bytes!("../../../replies/influx/v2-error.csv")),
        (2, Transient, include_bytes!("../../../replies/influx/v2-late-error.csv")),
        (2, Permanent, include_bytes!("../../../replies/influx/v2-several.csv")),
        (2, Permanent, include_bytes!("../../../replies/influx/v2-columns.csv")),
        (2, Transient, include_bytes!("../../../replies/influx/v2-truncated.csv")),
        (2, Transient, include_bytes!("../../../replies/influx/v2-cut.csv")),
        (3, Permanent, include_bytes!("../../../replies/influx/v3-error.json")),
        (3, Permanent, include_bytes!("../../../replies/influx/v3-columns.json")),
        (3, Transient, include_bytes!("../../../replies/influx/v3-truncated.json")),
    ];
    let mut lines = Vec::new();
    for (version, persistence, body) in cases {
        let error = decode(version, body).unwrap_err();
        assert_eq!(error.persistence, persistence, "{error}");
        lines.push(format!("{version}: {error}"));
    }
    let partial = decode(1, include_bytes!("../../../replies/influx/v1-partial.json")).unwrap();
    lines.push(format!("1: {}", partial.incomplete.unwrap()));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn wrong_queries_and_settings_are_told() {
    let mut lines = Vec::new();
    let mut refuse = |version: u8, query: &str| {
        let source = Source::Value(query.into());
        let kind = MeasureKind::Gauge;
        let measure = Measure { check: "c".into(), kind, source, strata: Vec::new() };
        lines.push(format!("{version}: {}", store(version).check(&measure).unwrap_err()));
    };
    refuse(1, "SELECT a FROM b WHERE time >= ${from}");
    refuse(1, "SELECT a FROM b WHERE time >= ${from} AND time < ${to}; DROP DATABASE shop");
    refuse(1, "SELECT a INTO c FROM b WHERE time >= ${from} AND time < ${to}");
    refuse(1, "DROP SERIES WHERE time >= ${from} AND time < ${to}");
    refuse(1, "SELECT a FROM b WHERE v =~ /${version}/ AND time >= ${from} AND time < ${to}");
    refuse(
        2,
        "from(bucket: \"a\") |> range(start: ${from}, stop: ${to}) |> aggregateWindow(every: 1m, fn: sum)",
    );
    refuse(2, "from(bucket: \"a\") |> range(start: ${from}, stop: ${to}) |> to(bucket: \"b\")");
    refuse(2, "from(bucket: ${version}) |> range(start: ${from}, stop: ${to})");
    refuse(3, "SELECT \"${version}\" FROM a WHERE time >= ${from} AND time < ${to}");
    refuse(3, "SELECT a FROM b WHERE time >= '${from}' AND time < ${to}");
    for version in 1..=3 {
        let store = store(version);
        lines.push(store.usual(MeasureKind::Errors).unwrap_err());
        let source = Source::Value(store.example().trim_matches('`').into());
        let kind = MeasureKind::Gauge;
        let measure = Measure { check: "c".into(), kind, source, strata: Vec::new() };
        assert_eq!(store.check(&measure), Ok(()), "the example itself");
    }
    let nameless = InfluxSettings { api: InfluxApi::V2 { org: String::new() }, ..settings(2) };
    lines.push(Influx::new(nameless).unwrap_err().text);
    let step = InfluxSettings { step: Duration::from_secs(7), ..settings(1) };
    lines.push(Influx::new(step).unwrap_err().text);
    insta::assert_snapshot!(lines.join("\n"));
}

/// What a string of the language means, and where it ends.
fn meant(text: &str, mark: char, backslash: bool) -> (String, usize) {
    let mut meant = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if backslash && c == '\\' {
            meant.extend(chars.next().map(|(_, c)| c));
        } else if c == mark {
            match chars.peek() {
                Some((_, next)) if !backslash && *next == mark => {
                    meant.push(mark);
                    chars.next();
                }
                _ => return (meant, at),
            }
        } else {
            meant.push(c);
        }
    }
    (meant, text.len())
}

static STORES: LazyLock<[Influx; 3]> = LazyLock::new(|| [1, 2, 3].map(store));

proptest! {
    #[test]
    fn no_value_leaves_its_string(value in "[ -~\u{e9}\u{201c}]{0,20}") {
        for (version, mark) in [(1_u8, '\''), (1, '"'), (2, '"'), (3, '\'')] {
            match STORES[usize::from(version - 1)].quote(&value) {
                Ok(quoted) => {
                    let text = format!("{quoted}{mark} rest");
                    let (read, end) = meant(&text, mark, version != 3);
                    prop_assert_eq!(&read, &value);
                    prop_assert_eq!(end, quoted.len());
                    prop_assert!(!quoted.contains("${"), "{}", quoted);
                }
                Err(_) => prop_assert!(value.contains("${"), "{}", value),
            }
        }
    }

    #[test]
    fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        // Either is right; none may panic.
        let _ = influxql::decode(&STORES[0].base, &body);
        let _ = flux::decode(&STORES[1].base, &body);
        let _ = sql::decode(&STORES[2].base, &body);
    }
}
