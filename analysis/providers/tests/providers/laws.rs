//! What every provider must do, written once and run for each.

use analysis::Arm;
use analysis_providers::{
    Access, Completeness, Credentials, Measured, MetricProvider, Prometheus, PrometheusSettings,
    Scraper, ScraperSettings, Secret, Subject,
};
use std::time::{Duration, Instant};

use crate::server::{Answer, Server};
use crate::told::{at, told};
use crate::{prometheus, scrape};

const BOUND: Duration = Duration::from_millis(500);
const SECRET: &str = "hunter2";

fn access() -> Access {
    Access {
        credentials: Credentials::Bearer(Secret::new(SECRET)),
        headers: vec![("X-Token".into(), Secret::new(SECRET))],
    }
}

/// A provider, its `Debug`, and subjects of which the first gets `answer`.
struct Case {
    name: &'static str,
    shown: String,
    provider: Box<dyn MetricProvider>,
    subjects: Vec<Subject>,
    _server: Server,
}

async fn cases(empty: bool, answer: Answer) -> Vec<Case> {
    let server = Server::start().await;
    let vector = br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    let metric = br#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"__name__":"http_requests_total","code":"200","version":"x"},"value":[1764000000,"1"]}]}}"#;
    let found = if empty { vector.to_vec() } else { metric.to_vec() };
    server.set("/api", Answer::json(200, found));
    server.set("first", answer.clone());
    server.set(
        "/page",
        if empty {
            Answer::text("")
        } else {
            Answer::text("http_requests_total{code=\"200\"} 1\n")
        },
    );
    let scraper = Scraper::new(ScraperSettings {
        timeout: BOUND,
        access: access(),
        ..ScraperSettings::default()
    })
    .unwrap();
    let url = |path: &str| format!("{}{path}", server.url);
    let pages = vec![
        scrape::subject("d1", &[(Arm::Baseline, url("/first")), (Arm::Canary, url("/first"))]),
        scrape::subject("d2", &[(Arm::Baseline, url("/page")), (Arm::Canary, url("/page"))]),
    ];
    let prometheus = Prometheus::new(PrometheusSettings {
        timeout: BOUND,
        access: access(),
        ..PrometheusSettings::new(&server.url, Duration::from_secs(15))
    })
    .unwrap();
    let mut alone = prometheus::subject("d1", "first", "x");
    // Labels of its own, so that it shares no query with the other.
    for instance in &mut alone.instances {
        instance.labels.insert("team".into(), "first".into());
    }
    let series = vec![alone, prometheus::subject("d2", "w", "x")];
    vec![
        Case {
            name: "scraper",
            shown: format!("{scraper:?}"),
            provider: Box::new(scraper),
            subjects: pages,
            _server: server.clone(),
        },
        Case {
            name: "prometheus",
            shown: format!("{prometheus:?}"),
            provider: Box::new(prometheus),
            subjects: series,
            _server: server,
        },
    ]
}

fn is_silent(measured: &Measured) -> bool {
    measured.result.as_ref().is_ok_and(|(scrape, completeness)| {
        scrape.observations.is_empty() && matches!(completeness, Completeness::None(_))
    })
}

#[tokio::test]
async fn an_empty_reply_is_no_sample_and_never_zero() {
    let nothing = Answer::Whole(200, "application/json", "", Vec::new());
    for case in cases(true, nothing).await {
        for second in [0, 20, 40] {
            let measured = case.provider.measure(&case.subjects, at(second)).await;
            assert!(is_silent(&measured[1]), "{}: {}", case.name, told(&measured[1]));
            let first = &measured[0];
            assert!(first.result.is_err() || is_silent(first), "{}: {}", case.name, told(first));
        }
    }
}

#[tokio::test]
async fn one_subject_that_hangs_takes_nothing_from_the_others() {
    for case in cases(false, Answer::Hang).await {
        let begun = Instant::now();
        let measured = case.provider.measure(&case.subjects, at(0)).await;
        // Two attempts at most, one to search and one for samples, each within its bound.
        assert!(begun.elapsed() < 5 * BOUND, "{}: {:?}", case.name, begun.elapsed());
        let error = measured[0].result.as_ref().unwrap_err();
        assert!(error.text.contains("did not answer within 500 ms"), "{}: {error}", case.name);
        assert!(measured[1].result.is_ok(), "{}: {}", case.name, told(&measured[1]));
    }
}

#[tokio::test]
async fn nothing_shows_a_credential() {
    for case in cases(false, Answer::Whole(401, "text/plain", "", Vec::new())).await {
        assert!(!case.shown.contains(SECRET), "{}", case.shown);
        let measured = case.provider.measure(&case.subjects, at(0)).await;
        let text = format!("{measured:?}");
        assert!(text.contains("401") && !text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn results_come_in_the_order_of_the_subjects_and_forgetting_is_harmless() {
    for case in cases(false, Answer::text("")).await {
        let measured = case.provider.measure(&case.subjects, at(0)).await;
        let ids: Vec<&str> = measured.iter().map(|m| m.subject.as_str()).collect();
        assert_eq!(ids, ["d1", "d2"], "{}", case.name);
        case.provider.forget("d2");
        case.provider.forget("never heard of");
        assert!(case.provider.chosen("d2").is_empty());
        assert!(case.provider.measure(&[], at(1)).await.is_empty());
    }
}
