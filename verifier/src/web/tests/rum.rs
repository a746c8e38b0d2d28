//! What browsers report: who may, how it is answered, and what is counted.

use analysis_providers::RumSettings;
use analysis_providers::rum::Rate;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::world::{Recorder, Setup, Site};

const ORIGIN: &str = "https://shop.example";

/// One page may report, some times at once.
pub(super) fn settings() -> RumSettings {
    RumSettings {
        origins: [ORIGIN.to_owned()].into(),
        session_rate: Rate { per_second: 1, burst: 3 },
        ..RumSettings::default()
    }
}

async fn site(folder: &std::path::Path, token: Option<&'static str>) -> Site {
    let setup = Setup { token, rum: true, ..Setup::default() };
    Site::over(Recorder::new(folder).await, folder, setup).await
}

fn beacon(site: &Site, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let request = site.client.post(site.url(path)).header("origin", ORIGIN);
    request.header("content-type", "text/plain;charset=UTF-8").body(body)
}

fn view(session: &str) -> String {
    let vital = json!({ "name": "CLS", "value": 0.4, "id": session });
    json!({ "app": "shop", "version": "4f2c1a9", "session": session, "page": "/cart/4711?a=b",
        "ended": true, "vitals": [vital], "errors": [{ "type": "TypeError", "message": "x is 'y'" }] })
    .to_string()
}

/// Status, what the page may read, and the text.
async fn answered(request: RequestBuilder) -> String {
    let response = request.send().await.unwrap();
    let headers = [
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-max-age",
        "retry-after",
        "vary",
    ];
    let header = |response: &Response, name: &str| {
        let value = response.headers().get(name)?.to_str().unwrap().to_owned();
        Some(format!("{name}: {value}; "))
    };
    let status = response.status().as_u16();
    let headers: String = headers.iter().filter_map(|name| header(&response, name)).collect();
    format!("{status} {headers}{}", response.text().await.unwrap())
}

#[tokio::test]
async fn pages_that_are_listed_may_report_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), None).await;
    let faro = json!({ "meta": { "app": { "name": "shop", "gitHash": "4f2c1a9" } } }).to_string();
    let ask = |origin: &'static str| {
        let request = site.client.request(Method::OPTIONS, site.url("/v1/rum/faro"));
        let request = request.header("origin", origin);
        request.header("access-control-request-method", "POST")
    };
    let evil = "https://evil.example";
    let mut told = vec![
        answered(ask(ORIGIN)).await,
        answered(ask(evil)).await,
        answered(beacon(&site, "/v1/rum/faro", faro).header("cookie", "a=b")).await,
        answered(site.client.post(site.url("/v1/rum/vitals")).body(view("b"))).await,
        answered(beacon(&site, "/v1/rum/vitals", "{")).await,
        answered(beacon(&site, "/v1/rum/vitals", "{}")).await,
        answered(beacon(&site, "/v1/rum/vitals", "{}").header("content-encoding", "br")).await,
        answered(beacon(&site, "/v1/rum/vitals", vec![b' '; 65_537])).await,
    ];
    let foreign = site.client.post(site.url("/v1/rum/vitals")).header("origin", evil);
    told.push(answered(foreign.body(view("c"))).await);
    for _ in 0..4 {
        told.push(answered(beacon(&site, "/v1/rum/vitals", view("d"))).await);
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn nobody_may_where_no_page_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let site =
        Site::over(Recorder::new(folder.path()).await, folder.path(), Setup::default()).await;
    let closed = answered(beacon(&site, "/v1/rum/vitals", view("a"))).await;
    insta::assert_snapshot!(closed);
    let ask = site.client.request(Method::OPTIONS, site.url("/v1/rum/faro"));
    assert_eq!(answered(ask).await, closed);
    assert_eq!(answered(beacon(&site, "/v1/rum/faro", "{}")).await, closed);
    assert_eq!(site.get("/v1/rum/serin-rum.js").await.status(), 404);
    let told = site.json("/api/v1/rum").await;
    assert_eq!(told, json!({ "configured": false, "apps": [], "open": 0, "leftOut": [] }));
}

#[tokio::test]
async fn what_is_counted_is_told_to_those_who_may_read() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), Some("correct horse")).await;
    // The doors need no token: a page's visitors have none.
    let query = "/v1/rum/vitals?app=shop&version=0d1c2b3";
    let plain = json!([{ "name": "LCP", "value": 100, "id": "v5-1" }]).to_string();
    let robot = |name: &str, value: &str| {
        beacon(&site, "/v1/rum/vitals", view("robot")).header(name, value)
    };
    for request in [
        beacon(&site, "/v1/rum/vitals", view("a")),
        beacon(&site, query, plain),
        robot("baggage", "a=b, synthetic=true;p=1"),
        robot("user-agent", "serin-journey/0.1.0"),
    ] {
        let told = answered(request).await;
        assert!(
            told.starts_with("202 access-control-allow-origin: https://shop.example;"),
            "{told}"
        );
    }
    for path in ["/api/v1/rum", "/v1/rum/nothing", "/v1/metrics"] {
        assert_eq!(site.get(path).await.status(), 401, "{path}");
    }
    let told = site.client.get(site.url("/api/v1/rum")).bearer_auth("correct horse");
    let told: Value = told.send().await.unwrap().json().await.unwrap();
    assert_eq!((&told["open"], &told["configured"]), (&json!(1), &json!(true)), "{told}");
    insta::assert_json_snapshot!(told["apps"]);
}

#[tokio::test]
async fn the_script_is_small_and_for_every_page() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), Some("correct horse")).await;
    let response = site.get("/v1/rum/serin-rum.js").await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(headers["cross-origin-resource-policy"], "cross-origin");
    assert_eq!(headers["cache-control"], "public, max-age=3600");
    let script = response.text().await.unwrap();
    assert!(script.len() < 3 * 1_024, "{} bytes", script.len());
    assert!(!script.contains("\n//") && script.ends_with("})();\n"));
}
