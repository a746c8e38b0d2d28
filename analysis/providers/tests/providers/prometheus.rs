//! The Prometheus provider against recorded replies and against a server that misbehaves.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use analysis::Arm;
use analysis_providers::{
    Access, Credentials, Instance, Measure, MeasureKind, MetricProvider as _, Prometheus,
    PrometheusSettings, Secret, Source, Subject,
};

use crate::server::{Answer, Server};
use crate::told::{at, reply, told, without_port};

/// A part of every query that searches, as it stands in the form-encoded body.
const SEARCH: &str = "group+by";

pub(crate) fn subject(id: &str, stable: &str, canary: &str) -> Subject {
    let instance = |name: &str, arm, version: &str| Instance {
        name: name.into(),
        arm,
        url: None,
        labels: BTreeMap::from([("version".into(), version.into())]),
    };
    Subject {
        id: id.into(),
        service: "shop".into(),
        instances: vec![
            instance("stable", Arm::Baseline, stable),
            instance("canary", Arm::Canary, canary),
        ],
        measures: vec![Measure {
            check: "errors".into(),
            kind: MeasureKind::Errors,
            source: Source::Auto,
            strata: Vec::new(),
        }],
    }
}

pub(crate) fn provider(server: &Server) -> Prometheus {
    let settings = PrometheusSettings {
        timeout: Duration::from_millis(600),
        max_bytes: 1 << 20,
        ..PrometheusSettings::new(&server.url, Duration::from_secs(15))
    };
    Prometheus::new(settings).unwrap()
}

async fn started() -> (Server, Prometheus, [Subject; 1]) {
    let server = Server::start().await;
    server.set(SEARCH, Answer::json(200, reply("prometheus/search.json")));
    server.set("/api", Answer::json(200, reply("prometheus/start.json")));
    let provider = provider(&server);
    let subjects = [subject("d1", "old", "new")];
    assert_eq!(told(&provider.measure(&subjects, at(0)).await[0]), "full");
    (server, provider, subjects)
}

/// What the second attempt says when it gets `answer`, and the third when all is well again.
async fn second(answer: Answer) -> String {
    let (server, provider, subjects) = started().await;
    server.set("/api", answer);
    let mut text = told(&provider.measure(&subjects, at(15)).await[0]);
    server.set("/api", Answer::json(200, reply("prometheus/next.json")));
    text.push_str("\nthen ");
    text.push_str(&told(&provider.measure(&subjects, at(16)).await[0]));
    without_port(&text)
}

#[tokio::test]
async fn replies_from_files() {
    let mut text = String::new();
    for (status, file) in [
        (200, "next.json"),
        (200, "unchanged.json"),
        (200, "one-arm-new.json"),
        (200, "nan.json"),
        (200, "infinite.json"),
        (200, "null.json"),
        (200, "empty.json"),
        (200, "no-data.json"),
        (200, "canary-gone.json"),
        (200, "canary-stale.json"),
        (200, "stale.json"),
        (200, "partial.json"),
        (200, "truncated.json"),
        (200, "out-of-order.json"),
        (200, "reset.json"),
        (200, "reset-without-start-time.json"),
        (200, "duplicates.json"),
        (200, "scraped-by-two-jobs.json"),
        (200, "vector.json"),
        (200, "native-histogram.json"),
        (400, "error-bad-data.json"),
        (422, "error-execution.json"),
        (503, "error-timeout.json"),
        (429, "error-unknown.json"),
        (502, "gateway.html"),
        (404, "gateway.html"),
        (401, "gateway.html"),
    ] {
        let answer = Answer::json(status, reply(&format!("prometheus/{file}")));
        writeln!(text, "== {status} {file}\n{}", second(answer).await).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn servers_that_misbehave() {
    let deep = format!("{{\"status\":\"success\",\"data\":{}", "[".repeat(500_000));
    let mut text = String::new();
    for (name, answer) in [
        ("hang", Answer::Hang),
        ("slow", Answer::Slow),
        ("endless", Answer::Endless),
        ("broken off", Answer::BrokenOff),
        ("deeply nested", Answer::json(200, deep)),
    ] {
        writeln!(text, "== {name}\n{}", second(answer).await).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn many_subjects_share_a_query() {
    let server = Server::start().await;
    server.set(SEARCH, Answer::json(200, reply("prometheus/search.json")));
    server.set("/api", Answer::json(200, reply("prometheus/start.json")));
    let provider = provider(&server);
    let subjects: Vec<Subject> =
        (0..120).map(|n| subject(&format!("d{n}"), "old", "new")).collect();
    let measured = provider.measure(&subjects, at(0)).await;
    assert!(measured.iter().all(|m| told(m) == "full"));
    // However many subjects: one query to search and one for samples.
    assert_eq!(server.seen().len(), 2);
    server.set("/api", Answer::json(200, reply("prometheus/next.json")));
    let measured = provider.measure(&subjects, at(15)).await;
    let expected = "full\n    baseline b1:80 errors: 1 of 501\n    canary c1:80 errors: 3 of 15";
    assert!(measured.iter().all(|m| told(m) == expected), "{}", told(&measured[0]));
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn queries_are_as_expected() {
    let server = Server::start().await;
    server.set(SEARCH, Answer::json(200, reply("prometheus/search.json")));
    server.set("/api", Answer::json(200, reply("prometheus/start.json")));
    let provider = provider(&server);
    let mut own = subject("d2", "1.0", "a|b");
    own.measures.push(Measure {
        check: "orders".into(),
        kind: MeasureKind::Errors,
        source: Source::Query {
            bad: r#"orders_total{state="rejected"}"#.into(),
            total: "orders_total".into(),
        },
        strata: Vec::new(),
    });
    provider.measure(&[subject("d1", "old", "new"), own], at(0)).await;
    let mut queries: Vec<String> = server
        .seen()
        .iter()
        .map(|seen| {
            assert_eq!(seen.path, "/api/v1/query");
            let url = reqwest::Url::parse(&format!("http://h/?{}", seen.body)).unwrap();
            let pairs = url.query_pairs().map(|(name, value)| format!("{name} = {value}"));
            pairs.collect::<Vec<_>>().join("\n")
        })
        .collect();
    queries.sort();
    insta::assert_snapshot!(queries.join("\n\n"));
}

#[tokio::test]
async fn a_subject_that_the_store_refuses_does_not_take_the_others_along() {
    let (server, provider, _) = started().await;
    let mut subjects: Vec<Subject> =
        (0..8).map(|n| subject(&format!("d{n}"), "old", "new")).collect();
    subjects[5] = subject("d5", "old", "toomany");
    server.set("toomany", Answer::json(422, reply("prometheus/error-execution.json")));
    let measured = provider.measure(&subjects, at(1)).await;
    for (index, one) in measured.iter().enumerate() {
        assert_eq!(one.result.is_err(), index == 5, "{index}: {}", told(one));
    }
}

#[tokio::test]
async fn an_own_query_that_hangs_costs_only_its_check() {
    let server = Server::start().await;
    server.set(SEARCH, Answer::json(200, reply("prometheus/search.json")));
    server.set("/api", Answer::json(200, reply("prometheus/start.json")));
    server.set("orders_total", Answer::Hang);
    let provider = provider(&server);
    let mut own = subject("d1", "old", "new");
    own.measures.push(Measure {
        check: "orders".into(),
        kind: MeasureKind::Errors,
        source: Source::Query {
            bad: r#"orders_total{state="rejected"}"#.into(),
            total: r#"orders_total{state!=""}"#.into(),
        },
        strata: Vec::new(),
    });
    let subjects = [own, subject("d2", "old", "new")];
    provider.measure(&subjects, at(0)).await;
    server.set("/api", Answer::json(200, reply("prometheus/next.json")));
    let begun = Instant::now();
    let measured = provider.measure(&subjects, at(15)).await;
    assert!(begun.elapsed() < Duration::from_secs(3));
    let counts = "\n    baseline b1:80 errors: 1 of 501\n    canary c1:80 errors: 3 of 15";
    let own = told(&measured[0]);
    assert!(own.starts_with("partial, shop: ") && own.ends_with(counts), "{own}");
    assert_eq!(told(&measured[1]), format!("full{counts}"));
}

#[tokio::test]
async fn a_search_that_finds_nothing_says_so_and_searches_again() {
    let server = Server::start().await;
    server.set("/api", Answer::json(200, reply("prometheus/search-empty.json")));
    let provider = provider(&server);
    let subjects = [subject("d1", "old", "new")];
    let text = told(&provider.measure(&subjects, at(0)).await[0]);
    assert!(text.starts_with("none, shop: errors: no metric with requests by status"), "{text}");
    provider.measure(&subjects, at(1)).await;
    assert_eq!(server.seen().len(), 1, "not more often than Prometheus scrapes");
    provider.measure(&subjects, at(15)).await;
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let server = Server::start().await;
    server.set("/api", Answer::json(200, reply("prometheus/search-empty.json")));
    let url = server.url.replace("http://", "http://reader:hunter2@");
    let settings = PrometheusSettings {
        access: Access {
            credentials: Credentials::None,
            headers: vec![("X-Scope-OrgID".into(), Secret::new("tenant-7"))],
        },
        ..PrometheusSettings::new(url, Duration::from_secs(15))
    };
    let provider = Prometheus::new(settings).unwrap();
    provider.measure(&[subject("d1", "old", "new")], at(0)).await;
    let seen = server.seen();
    assert_eq!(seen[0].headers["authorization"], "Basic cmVhZGVyOmh1bnRlcjI=");
    assert_eq!(seen[0].headers["x-scope-orgid"], "tenant-7");
    let shown = format!("{provider:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("tenant-7"), "{shown}");
    for bad in ["ftp://reader:hunter2@h", "http://", "nonsense hunter2"] {
        let error =
            Prometheus::new(PrometheusSettings::new(bad, Duration::from_secs(15))).unwrap_err();
        assert!(!error.text.contains("hunter2"), "{error}");
    }
}
