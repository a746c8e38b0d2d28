//! Metrics that services push: what is answered, in which form, and who may push.

use std::io::Write as _;
use std::time::Duration;

use analysis_providers::otlp::{Otlp, OtlpSettings};
use futures_util::stream;
use reqwest::{Body, RequestBuilder};
use serde_json::Value;

use super::world::{Recorder, Setup, Site};

async fn site(folder: &std::path::Path, token: Option<&'static str>) -> Site {
    let setup = Setup { token, ..Setup::default() };
    Site::over(Recorder::new(folder).await, folder, setup).await
}

fn push(site: &Site, content: &str, body: impl Into<Body>) -> RequestBuilder {
    let request = site.client.post(site.url("/v1/metrics"));
    request.header("content-type", content).body(body)
}

/// Status, content type and text of an answer.
async fn answered(request: RequestBuilder) -> String {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let retry =
        response.headers().get("retry-after").map(|after| after.to_str().unwrap().to_owned());
    let body = response.bytes().await.unwrap();
    let retry = retry.map_or_else(String::new, |after| format!(", again after {after} s"));
    format!("{status} {kind}{retry}: {}", body.escape_ascii())
}

#[tokio::test]
async fn answers_have_the_form_of_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), None).await;
    let json = "application/json";
    let told = [
        answered(push(&site, json, r#"{"resourceMetrics":[]}"#)).await,
        answered(push(&site, "application/x-protobuf", "")).await,
        answered(push(&site, json, "{")).await,
        answered(push(&site, "application/x-protobuf", "{")).await,
        answered(push(&site, json, "{}").header("content-encoding", "br")).await,
        answered(push(&site, json, "{}").header("content-encoding", "gzip")).await,
        answered(push(&site, "text/plain", "{}")).await,
        answered(push(&site, json, "{}").header("origin", "http://evil.example")).await,
    ];
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn pushes_need_the_token_where_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), Some("correct horse")).await;
    let without = answered(push(&site, "application/json", "{}")).await;
    assert!(without.starts_with("401 application/json") && without.contains("a token is needed"));
    let with = push(&site, "application/json", "{}").bearer_auth("correct horse");
    assert_eq!(answered(with).await, "200 application/json: {}");
}

#[tokio::test]
async fn bodies_are_bounded_whether_their_length_is_announced_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), None).await;
    let most = OtlpSettings::default().max_bytes;
    // One byte too many, and nothing after it: the answer is not lost with an unread rest.
    let part = |length: usize| Ok::<_, std::io::Error>(vec![b' '; length]);
    let lengths = (0..most / 1024 / 1024).map(|_| 1024 * 1024).chain([1]);
    let parts = stream::iter(lengths.map(part));
    let large = answered(push(&site, "application/json", Body::wrap_stream(parts)));
    let large = large.await;
    assert!(large.starts_with("413 application/json") && large.contains("code\\\":8"), "{large}");

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..=most / 1024 / 1024 {
        encoder.write_all(&vec![b' '; 1024 * 1024]).unwrap();
    }
    let bomb = push(&site, "application/json", encoder.finish().unwrap());
    let bomb = answered(bomb.header("content-encoding", "gzip")).await;
    assert!(bomb.starts_with("413 application/json"), "{bomb}");
}

#[tokio::test]
async fn too_much_at_once_is_told_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let settings = OtlpSettings { max_bytes: 1_000, ..OtlpSettings::default() };
    let otlp = Some(std::sync::Arc::new(Otlp::new(settings)));
    let setup = Setup { otlp, ..Setup::default() };
    let site = Site::over(Recorder::new(folder.path()).await, folder.path(), setup).await;
    // Two bodies that never end hold all that may be held.
    let endless = |held: std::sync::Arc<tokio::sync::Notify>| {
        let first = stream::once(async { Ok::<_, std::io::Error>(vec![b' '; 1_000]) });
        let rest = stream::once(async move {
            held.notified().await;
            Ok(Vec::new())
        });
        Body::wrap_stream(futures_util::StreamExt::chain(first, rest))
    };
    let end = std::sync::Arc::new(tokio::sync::Notify::new());
    let held: Vec<_> = (0..2)
        .map(|_| {
            let request = push(&site, "application/json", endless(end.clone()));
            tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
        })
        .collect();
    let refused = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let answer = answered(push(&site, "application/json", "{}")).await;
            if answer.starts_with("429") {
                return answer;
            }
        }
    });
    insta::assert_snapshot!(refused.await.unwrap());
    end.notify_waiters();
    end.notify_one();
    end.notify_one();
    for one in held {
        assert_eq!(one.await.unwrap(), 400, "spaces are no JSON");
    }
    let again = answered(push(&site, "application/json", "{}")).await;
    assert_eq!(again, "200 application/json: {}");
}

/// What an exporter sends reaches the provider that measures.
#[tokio::test]
async fn a_push_reaches_the_provider() {
    use analysis_providers::{Completeness, MetricProvider as _, Subject};
    let folder = tempfile::tempdir().unwrap();
    let otlp = std::sync::Arc::new(Otlp::new(OtlpSettings::default()));
    let setup = Setup { otlp: Some(otlp.clone()), ..Setup::default() };
    let site = Site::over(Recorder::new(folder.path()).await, folder.path(), setup).await;
    let body: Value = serde_json::json!({ "resourceMetrics": [{ "resource": { "attributes": [
        { "key": "service.name", "value": { "stringValue": "cart" } }
    ] } }] });
    let pushed = answered(push(&site, "application/json", body.to_string())).await;
    assert_eq!(pushed, "200 application/json: {}");
    let instance = |arm, name: &str| analysis_providers::Instance {
        name: name.to_owned(),
        arm,
        url: None,
        labels: std::collections::BTreeMap::new(),
    };
    let subject = Subject {
        id: "one".to_owned(),
        service: "checkout".to_owned(),
        instances: vec![instance(analysis::Arm::Canary, "4f2c1a9")],
        measures: Vec::new(),
    };
    let measured = otlp.measure(&[subject], crate::clock::now()).await.remove(0);
    let (_, completeness) = measured.result.unwrap();
    let Completeness::None(text) = completeness else { panic!("{completeness:?}") };
    assert!(text.contains("(others do: cart)"), "{text}");
}
