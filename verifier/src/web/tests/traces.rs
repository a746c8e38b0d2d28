//! Spans that services push: what is answered, in which form, and that they arrive.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use analysis_providers::intake::{Intake, IntakeSettings};
use analysis_traces::{ArmLabel, Arms, Requests};
use futures_util::stream;
use reqwest::{Body, RequestBuilder};
use serde_json::{Value, json};

use super::world::{Recorder, Setup, Site};
use crate::clock::now;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

async fn site(folder: &std::path::Path, settings: IntakeSettings) -> (Site, Arc<Intake>) {
    let intake = Arc::new(Intake::new(settings));
    let setup = Setup { traces: Some(intake.clone()), ..Setup::default() };
    (Site::over(Recorder::new(folder).await, folder, setup).await, intake)
}

fn watch(intake: &Intake) {
    let label = |version: &str| ArmLabel { version: Some(version.into()), ..ArmLabel::default() };
    let arms = Arms { baseline: label("1.0"), canary: label("1.1") };
    intake.watch("one", "checkout", &arms, now());
}

/// A request of each version, and a span that cannot be used.
fn body() -> Value {
    let process = |version: &str, trace: &str| {
        let attribute =
            |name: &str, value: &str| json!({ "key": name, "value": { "stringValue": value } });
        let span = json!({
            "traceId": trace.repeat(32), "spanId": trace.repeat(16), "name": "GET /", "kind": 2,
            "startTimeUnixNano": "1764000000000000000", "endTimeUnixNano": 1_764_000_000_010_000_000_u64,
            "attributes": [attribute("http.route", "/"), { "key": "empty", "value": {} }],
            "unknown": [1],
        });
        json!({
            "resource": { "attributes": [
                attribute("service.name", "checkout"), attribute("service.version", version),
            ] },
            "scopeSpans": [{ "spans": [span] }],
        })
    };
    let mut body = json!({ "resourceSpans": [process("1.0", "a"), process("1.1", "C")] });
    let spans = &mut body["resourceSpans"][1]["scopeSpans"][0]["spans"];
    spans.as_array_mut().unwrap().push(json!({ "name": "without ids" }));
    body
}

fn push(site: &Site, content: &str, body: impl Into<Body>) -> RequestBuilder {
    let request = site.client.post(site.url("/v1/traces"));
    request.header("content-type", content).body(body)
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
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
    let (site, intake) = site(folder.path(), IntakeSettings::default()).await;
    let whole = body().to_string();
    let unused = answered(push(&site, JSON, whole.clone())).await;
    assert_eq!(unused, "200 application/json: {}", "nobody wants them: taken and dropped");
    watch(&intake);
    let gzip = push(&site, JSON, packed(whole.as_bytes())).header("content-encoding", "gzip");
    let told = [
        answered(push(&site, JSON, whole)).await,
        answered(gzip).await,
        answered(push(&site, PROTOBUF, "")).await,
        answered(push(&site, JSON, "{")).await,
        answered(push(&site, PROTOBUF, "{")).await,
        answered(push(&site, JSON, "{}").header("content-encoding", "br")).await,
        answered(push(&site, "text/plain", "{}")).await,
        answered(push(&site, JSON, "{}").header("origin", "http://evil.example")).await,
    ];
    insta::assert_snapshot!(told.join("\n"));
    let (split, refused, requests) = {
        let later = now() + Duration::from_secs(30);
        intake.subtrees("one", later).unwrap()
    };
    assert_eq!((split.baseline.len(), split.canary.len()), (1, 1), "{refused:?}");
    assert_eq!(requests, Requests { baseline: 1, canary: 1 }, "what is sent again counts once");
}

#[tokio::test]
async fn bodies_are_bounded_packed_and_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let settings = IntakeSettings { max_bytes: 10_000, ..IntakeSettings::default() };
    let (site, intake) = site(folder.path(), settings).await;
    watch(&intake);
    let large = answered(push(&site, JSON, vec![b' '; 10_001])).await;
    assert!(
        large.starts_with("413 application/json") && large.contains("\\\"code\\\":8"),
        "{large}"
    );
    let parts = (0..11).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1_000]));
    let unannounced = push(&site, PROTOBUF, Body::wrap_stream(stream::iter(parts)));
    assert!(answered(unannounced).await.starts_with("413 application/x-protobuf"));
    let bomb = push(&site, JSON, packed(&vec![b' '; 1_000_000])).header("content-encoding", "gzip");
    assert!(answered(bomb).await.starts_with("413 application/json"));
}

#[tokio::test]
async fn too_much_at_once_is_told_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (site, _) = site(folder.path(), IntakeSettings::default()).await;
    // Two bodies that never end hold all that may be held of spans; metrics have their own room.
    let end = Arc::new(tokio::sync::Notify::new());
    let most = IntakeSettings::default().max_bytes;
    let held: Vec<_> = ["/v1/traces", "/v1/traces"]
        .map(|path| {
            let end = end.clone();
            let parts = (0..most / (1_024 * 1_024)).map(|_| Ok(vec![b' '; 1_024 * 1_024]));
            let last = stream::once(async move {
                end.notified().await;
                Ok::<_, std::io::Error>(Vec::new())
            });
            let body = Body::wrap_stream(futures_util::StreamExt::chain(stream::iter(parts), last));
            let request = site.client.post(site.url(path)).header("content-type", JSON).body(body);
            tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
        })
        .into();
    let refused = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let answer = answered(push(&site, JSON, "{}")).await;
            if answer.starts_with("429") {
                return answer;
            }
        }
    });
    let refused = refused.await.unwrap();
    assert!(
        refused.contains(", again after 1 s") && refused.contains("more traces arrive"),
        "{refused}"
    );
    let metrics = site.client.post(site.url("/v1/metrics")).header("content-type", JSON).body("{}");
    assert_eq!(answered(metrics).await, "200 application/json: {}");
    end.notify_waiters();
    end.notify_one();
    end.notify_one();
    for one in held {
        assert_eq!(one.await.unwrap(), 400, "spaces are no JSON");
    }
    assert_eq!(answered(push(&site, JSON, "{}")).await, "200 application/json: {}");
}
