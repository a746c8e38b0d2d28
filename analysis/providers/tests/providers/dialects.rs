//! What stores that speak Prometheus' API do in their own way: logins, warnings, limits, and many subjects.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use analysis_providers::prometheus::Login;
use analysis_providers::{
    AwsCredentials, Completeness, Measure, MeasureKind, MetricProvider as _, Named, Prometheus,
    PrometheusSettings, Secret, Source, Subject,
};

use crate::prometheus::{provider, subject};
use crate::server::{Answer, Server};
use crate::told::{at, reply, told, without_port};

fn named(subject: Subject) -> Subject {
    let named = Named {
        metric: "http_requests_total".into(),
        labels: BTreeMap::new(),
        status: None,
        per_second: None,
    };
    let measure = Measure {
        check: "errors".into(),
        kind: MeasureKind::Errors,
        source: Source::Named(named),
        strata: Vec::new(),
    };
    Subject { measures: vec![measure], ..subject }
}

fn with_login(server: &Server, login: Login) -> Prometheus {
    let settings = PrometheusSettings {
        login,
        ..PrometheusSettings::new(&server.url, Duration::from_secs(15))
    };
    Prometheus::new(settings).unwrap()
}

#[tokio::test]
async fn a_store_that_says_it_is_incomplete_holds_the_counters() {
    let server = Server::start().await;
    let provider = provider(&server);
    let subjects = [named(subject("d1", "old", "new"))];
    server.set("/api", Answer::json(200, reply("prometheus/start.json")));
    provider.measure(&subjects, at(0)).await;
    let next = String::from_utf8(reply("prometheus/next.json")).unwrap();
    let mut text = String::new();
    for mark in [
        // VictoriaMetrics, in its place before the data.
        r#""status": "success", "isPartial": true"#,
        // Thanos and Mimir.
        r#""status": "success", "warnings": ["receive series: store 10.0.0.7:10901 is down"]"#,
        r#""status": "success", "isPartial": false"#,
    ] {
        let body = next.replacen(r#""status": "success""#, mark, 1);
        assert_ne!(body, next);
        server.set("/api", Answer::json(200, body));
        writeln!(text, "{}", told(&provider.measure(&subjects, at(15)).await[0])).unwrap();
    }
    insta::assert_snapshot!(without_port(&text));
}

#[tokio::test]
async fn a_store_that_asks_for_a_pause_gets_it() {
    let server = Server::start().await;
    let subjects = [named(subject("d1", "old", "new"))];
    for (status, after, waited) in [
        (429, "20", 20),
        (503, "Mon, 24 Nov 2025 16:01:05 GMT", 65),
        (429, "999999999", 600),
        (429, "soon", 1),
        (500, "60", 1),
    ] {
        let provider = provider(&server);
        server.set("/api", Answer::Later(status, after, "slow down"));
        let before = server.seen().len();
        provider.measure(&subjects, at(0)).await;
        provider.measure(&subjects, at(waited - 1)).await;
        let asked = server.seen().len() - before;
        assert_eq!(asked, if waited > 1 { 1 } else { 2 }, "{after}");
        provider.measure(&subjects, at(waited)).await;
        assert_eq!(server.seen().len() - before, asked + 1, "{after}: asked when it may be");
    }
    // The words, at a moment that is always the same.
    server.set("/api", Answer::Later(429, "20", "slow down"));
    let provider = provider(&server);
    let mut words = told(&provider.measure(&subjects, at(0)).await[0]);
    write!(words, "\n{}", told(&provider.measure(&subjects, at(19)).await[0])).unwrap();
    insta::assert_snapshot!(without_port(&words));
}

#[tokio::test]
async fn a_token_is_read_again_when_its_file_changes() {
    let server = Server::start().await;
    server.set("/api", Answer::json(200, reply("prometheus/start.json")));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let provider = with_login(&server, Login::TokenFile(file.clone()));
    let subjects = [named(subject("d1", "old", "new"))];
    let missing = told(&provider.measure(&subjects, at(0)).await[0]);
    std::fs::write(&file, "\n").unwrap();
    let empty = told(&provider.measure(&subjects, at(0)).await[0]);
    for token in ["hunter2", "hunter3"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        let measured = provider.measure(&subjects, at(0)).await;
        assert!(!format!("{measured:?} {provider:?}").contains(token));
        assert_eq!(
            server.seen().last().unwrap().headers["authorization"],
            format!("Bearer {token}")
        );
    }
    std::fs::write(&file, "hunter4\u{7}").unwrap();
    let broken = told(&provider.measure(&subjects, at(0)).await[0]);
    let text = [missing, empty, broken].join("\n");
    insta::assert_snapshot!(text.replace(&folder.path().display().to_string(), "FOLDER"));
}

#[tokio::test]
async fn requests_to_amazon_are_signed_and_show_no_key() {
    let server = Server::start().await;
    server.set("/api", Answer::json(200, reply("prometheus/start.json")));
    let credentials = AwsCredentials {
        access_key: "AKIDEXAMPLE".into(),
        secret_key: Secret::new("hunter2"),
        session_token: Some(Secret::new("hunter3")),
    };
    let login = Login::SigV4 { credentials, region: "eu-central-1".into() };
    let provider = with_login(&server, login);
    let subjects = [named(subject("d1", "old", "new"))];
    assert_eq!(told(&provider.measure(&subjects, at(0)).await[0]), "full");
    let seen = server.seen().remove(0);
    let header = seen.headers["authorization"].to_str().unwrap();
    assert!(
        header.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20251124/eu-central-1/aps/aws4_request, "
        ),
        "{header}"
    );
    assert_eq!(seen.headers["x-amz-date"], "20251124T160000Z");
    assert_eq!(seen.headers["content-type"], "application/x-www-form-urlencoded");
    assert!(seen.body.starts_with("query=") && seen.body.contains("&time=1764000000.000"));
    let shown = format!("{provider:?}");
    assert!(!shown.contains("hunter"), "{shown}");
}

/// Live deployments whose versions are all different, of which the recorded replies know one.
fn many(count: usize) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = (1..count)
        .map(|n| named(subject(&format!("d{n}"), &format!("o{n}"), &format!("n{n}"))))
        .collect();
    subjects.push(named(subject("d0", "old", "new")));
    subjects
}

#[tokio::test]
async fn ten_thousand_subjects_take_one_query_an_interval() {
    let server = Server::start().await;
    let provider = provider(&server);
    let mut subjects = many(10_000);
    for subject in &mut subjects[5_000..] {
        // Half of them have a check of their own family as well.
        let mut other = subject.measures[0].clone();
        other.check = "orders".into();
        other.source = Source::Query {
            bad: r#"orders_total{state="rejected"}"#.into(),
            total: "orders_total".into(),
        };
        subject.measures.push(other);
    }
    for (round, file) in ["start", "next", "next"].iter().enumerate() {
        server.set("/api", Answer::json(200, reply(&format!("prometheus/{file}.json"))));
        let begun = Instant::now();
        let now = at(15 * i64::try_from(round).unwrap());
        let measured = provider.measure(&subjects, now).await;
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        let last = &measured[9_999].result.as_ref().unwrap().0;
        assert_eq!(last.observations.len(), if round == 1 { 2 } else { 0 });
        let silent =
            measured[..9_999].iter().all(|m| matches!(&m.result, Ok((_, Completeness::None(_)))));
        assert!(silent, "what a subject's labels do not select is not its own");
        // One for each set of families and matchers: requests; requests and all orders; bad orders.
        assert_eq!(server.seen().len(), 3 * (round + 1));
    }
    for subject in &subjects {
        provider.forget(&subject.id);
    }
}

#[tokio::test]
async fn what_is_too_much_for_all_is_asked_in_parts_for_a_while() {
    let server = Server::start().await;
    let provider = provider(&server);
    let subjects = many(120);
    server.set("/api", Answer::json(200, reply("prometheus/start.json")));
    // `.+` as it stands in a form.
    server.set("version%3D%7E%22.%2B", Answer::json(422, reply("prometheus/error-execution.json")));
    let seconds = [0, 15, 601, 616];
    let mut asked = Vec::new();
    for second in seconds {
        let before = server.seen().len();
        let measured = provider.measure(&subjects, at(second)).await;
        assert!(measured.iter().all(|m| m.result.is_ok()), "{}", told(&measured[0]));
        asked.push(server.seen().len() - before);
    }
    assert_eq!(asked, [4, 3, 4, 3], "once for all, then fifty at a time; ten minutes later again");
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_counted_once_with_the_next() {
    let server = Server::start().await;
    let provider = provider(&server);
    let subjects = [named(subject("d1", "old", "new"))];
    server.set("/api", Answer::json(200, reply("prometheus/start.json")));
    provider.measure(&subjects, at(0)).await;
    server.set("/api", Answer::Hang);
    let begun = Instant::now();
    let late = provider.measure(&subjects, at(15)).await;
    assert!(late[0].result.is_err() && begun.elapsed() < Duration::from_secs(3));
    server.set("/api", Answer::json(200, reply("prometheus/next.json")));
    let expected = "full\n    baseline b1:80 errors: 1 of 501\n    canary c1:80 errors: 3 of 15";
    assert_eq!(told(&provider.measure(&subjects, at(16)).await[0]), expected);
    assert_eq!(told(&provider.measure(&subjects, at(17)).await[0]), "full");
}
