//! What is sent: the requests of every store, and values that try to change a query.

use std::fmt::Write as _;
use std::time::Duration;

use analysis_providers::{Measure, MeasureKind, MetricProvider as _, Source};

use crate::server::{Seen, Server};
use crate::told::{at, told};
use crate::vendors::{ALL, Vendor};

fn written(seen: &Seen) -> String {
    let body = serde_json::from_str::<serde_json::Value>(&seen.body)
        .map_or_else(|_| seen.body.clone(), |body| serde_json::to_string_pretty(&body).unwrap());
    let path = reqwest::Url::parse(&format!("http://h{}", seen.path)).unwrap();
    let mut text = format!("{} {}", seen.method, path.path());
    for (name, value) in path.query_pairs() {
        write!(text, "\n  {name} = {value}").unwrap();
    }
    format!("{text}\n{body}")
}

#[tokio::test]
async fn requests_are_as_expected() {
    for vendor in ALL {
        let server = Server::start().await;
        vendor.set_good(&server);
        let provider = vendor.provider(&server.url).unwrap();
        let mut one = vendor.subject("d1");
        // Values out of Git and a cluster may hold anything.
        "it's \"a\\shop".clone_into(&mut one.service);
        let version = r#"1.0.0") OR '1'='1"#;
        one.instances[0].labels.insert("version".into(), version.into());
        if vendor != Vendor::Datadog && vendor != Vendor::Classic {
            one.measures.push(Measure {
                check: "latency".into(),
                kind: MeasureKind::Latency,
                source: Source::Auto,
                strata: Vec::new(),
            });
        }
        let subjects = [one];
        provider.measure(&subjects, at(0)).await;
        provider.measure(&subjects, at(125)).await;
        let mut seen: Vec<String> = server.seen().iter().map(written).collect();
        seen.sort();
        insta::assert_snapshot!(format!("{}_requests", vendor.folder()), seen.join("\n\n"));
    }
}

#[tokio::test]
async fn queries_that_do_not_count_are_refused_before_they_are_asked() {
    let query = |total: &str| Source::Query { bad: total.into(), total: total.into() };
    let cases = [
        (Vendor::Datadog, MeasureKind::Errors, query("avg:shop.latency{version:${version}}")),
        (Vendor::Datadog, MeasureKind::Errors, query("sum:shop.orders{version:${version}}")),
        (
            Vendor::Datadog,
            MeasureKind::Errors,
            query("apm latency_p99 service:shop version:${version}"),
        ),
        (Vendor::Datadog, MeasureKind::Latency, Source::Auto),
        (Vendor::Datadog, MeasureKind::Gauge, Source::Auto),
        (
            Vendor::NewRelic,
            MeasureKind::Errors,
            query("FROM T SELECT count(*) WHERE v = '${version}' SINCE 1 hour ago"),
        ),
        (
            Vendor::NewRelic,
            MeasureKind::Errors,
            query("FROM T SELECT count(*) WHERE v = ${version}"),
        ),
        (
            Vendor::NewRelic,
            MeasureKind::Errors,
            query("FROM T SELECT count(*) WHERE v = '${version}' extrapolate"),
        ),
        (Vendor::NewRelic, MeasureKind::Errors, query("count(*) '${version}'")),
        (Vendor::NewRelic, MeasureKind::Restarts, Source::Auto),
        (
            Vendor::Grail,
            MeasureKind::Errors,
            query("fetch spans, samplingRatio:10 | filter v == \"${version}\""),
        ),
        (
            Vendor::Grail,
            MeasureKind::Errors,
            query("fetch spans | filter v == \"${version}\" | summarize count()"),
        ),
        (Vendor::Grail, MeasureKind::Errors, query("fetch spans | filter v == ${version}")),
        (Vendor::Grail, MeasureKind::Gauge, Source::Auto),
        (Vendor::Classic, MeasureKind::Errors, Source::Auto),
        (
            Vendor::Classic,
            MeasureKind::Errors,
            query("app.orders:filter(eq(\"v\",\"${version}\")):avg"),
        ),
        (
            Vendor::Elastic,
            MeasureKind::Errors,
            query("FROM logs | WHERE v == \"${version}\" | STATS n = COUNT(*)"),
        ),
        (Vendor::Elastic, MeasureKind::Errors, query("FROM logs | WHERE v == ${version}")),
        (
            Vendor::NewRelic,
            MeasureKind::Errors,
            query("FROM T SELECT count(*) WHERE v = '${version}' FACET host LIMIT 5"),
        ),
        (
            Vendor::Grail,
            MeasureKind::Errors,
            query("fetch spans | limit 5 | filter v == \"${version}\""),
        ),
        (
            Vendor::Elastic,
            MeasureKind::Errors,
            query("FROM logs | WHERE v == \"${version}\" | LIMIT 5"),
        ),
        (Vendor::Elastic, MeasureKind::Restarts, Source::Auto),
    ];
    let mut text = String::new();
    for (vendor, kind, source) in cases {
        let server = Server::start().await;
        let provider = vendor.provider(&server.url).unwrap();
        let mut one = vendor.subject("d1");
        one.measures[0].kind = kind;
        one.measures[0].source = source;
        let measured = provider.measure(&[one], at(125)).await;
        writeln!(text, "{vendor:?} {}", told(&measured[0])).unwrap();
        assert!(server.seen().is_empty());
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn what_is_read_is_told() {
    let mut text = String::new();
    for vendor in ALL {
        let server = Server::start().await;
        let provider = vendor.provider(&server.url).unwrap();
        provider.measure(&[vendor.subject("d1")], at(0)).await;
        for choice in provider.chosen("d1") {
            writeln!(text, "{vendor:?} {}: {}", choice.check, choice.chosen.unwrap()).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_threshold_query_of_datadog_is_a_latency() {
    let server = Server::start().await;
    let vendor = Vendor::Datadog;
    vendor.set_good(&server);
    let provider = vendor.provider(&server.url).unwrap();
    let mut one = vendor.subject("d1");
    one.measures[0].kind = MeasureKind::Latency;
    one.measures[0].source = Source::Slower {
        total: "count:trace.http.request{version:${version}}.as_count()".into(),
        slower: vec![(
            Duration::from_millis(500),
            "count(v: v>0.5):trace.http.request{version:${version}}.as_count()".into(),
        )],
    };
    let subjects = [one];
    provider.measure(&subjects, at(0)).await;
    insta::assert_snapshot!(told(&provider.measure(&subjects, at(125)).await[0]));
}
