//! Pairs against real services on this machine: good ones, and every kind of bad.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body as Payload, Bytes};
use axum::extract::{Path, Request as Incoming, State};
use axum::http::{HeaderMap as Headers, StatusCode, Version};
use axum::response::{AppendHeaders, IntoResponse, Redirect};
use axum::routing::{any, get};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Colour, policies, render_problems};

/// What a service was asked: method, path with query, headers, body.
type Asked = Arc<Mutex<Vec<(String, String, Headers, String)>>>;

/// A service with one route for each way to answer; returns its base and what it was asked.
async fn service() -> (String, Asked) {
    let asked = Asked::default();
    let thing = || async {
        let body = json!({
            "id": 7, "big": 9_007_199_254_740_993_u64, "ok": true, "none": null, "name": "Ann",
            "items": [{"sku": "A-1"}], "a/b": 1.0,
        });
        (AppendHeaders([("x-kind", "one"), ("x-kind", "two")]), axum::Json(body))
    };
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        "late"
    };
    let endless = || async {
        Payload::from_stream(futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 8_192]))
        }))
    };
    let login =
        || async { AppendHeaders([("set-cookie", "session=\"s 1\"; Path=/; Secure; HttpOnly")]) };
    let me = |headers: Headers| async move {
        let cookie = headers.get("cookie").and_then(|value| value.to_str().ok());
        if cookie == Some("theme=dark; session=s 1") {
            StatusCode::OK
        } else {
            StatusCode::UNAUTHORIZED
        }
    };
    let router =
        Router::new()
            .route("/thing", get(thing))
            .route("/slow", get(slow))
            .route("/hang", get(std::future::pending::<()>))
            .route("/endless", get(endless))
            .route("/large", get(|| async { "a".repeat(1024 * 1024) + "b" }))
            .route("/deep", get(|| async { "[".repeat(100_000) }))
            .route("/bytes", get(|| async { vec![0xff_u8, 0xfe, b'o', b'k'] }))
            .route("/page", get(|| async { "<input name=csrf value=\"k/9\">\r\n" }))
            .route("/login", any(login))
            .route("/me", get(me))
            .route("/away", get(|| async { Redirect::to("/thing?token=hunter2") }))
            .route(
                "/status/{code}",
                any(|Path(code): Path<u16>| async move {
                    (StatusCode::from_u16(code).unwrap(), "hunter2")
                }),
            )
            .route("/echo/{*rest}", any(|| async {}))
            .layer(axum::middleware::from_fn_with_state(asked.clone(), remember))
            .with_state(());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, asked)
}

async fn remember(
    State(asked): State<Asked>,
    request: Incoming,
    next: axum::middleware::Next,
) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8_lossy(&body).into_owned();
    let method = head.method.to_string();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let http2 = if head.version == Version::HTTP_2 { "2 " } else { "" };
    let seen = (format!("{http2}{method}"), path, head.headers.clone(), text);
    asked.lock().unwrap().push(seen);
    next.run(Incoming::from_parts(head, Payload::from(body))).await
}

/// A service that answers every connection with these bytes and closes it.
async fn raw(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4_096];
            let read = stream.read(&mut head).await;
            if read.is_ok() && !bytes.is_empty() {
                let _ = stream.write_all(bytes).await;
            }
        }
    });
    base
}

/// The one journey of a policy, from its requests in YAML.
fn script(requests: &str) -> Script {
    let text = format!(
        "metadata: {{ name: shop }}\nspec:\n  paths: [a]\n  target: {{ process: {{ command: ./a }} }}\n  journeys:\n    - name: buy\n      timeout: 2s\n      variables: {{ user: \"a b\", n: \"3\" }}\n      requests:\n{requests}\n"
    );
    let policies = policies("p.yaml", text.as_bytes())
        .unwrap_or_else(|problems| panic!("{}", render_problems(&problems, Colour::Never)));
    Script::new(&policies[0].journeys[0]).unwrap()
}

/// What one attempt at these requests, each an item in YAML, fails with.
async fn told(base: &str, requests: &str) -> Option<String> {
    let [attempt, _] = pair(&client(false).unwrap(), &script(requests), [base; 2], false).await;
    assert!(attempt.seconds > 0.0 && attempt.seconds < 60.0);
    attempt.failed.map(|failure| failure.to_string())
}

#[tokio::test]
async fn a_good_pair_passes_and_says_who_asks() {
    let (base, asked) = service().await;
    let script = script(
        "      - get: /thing\n      - get: /echo/{{user}}?n={{n}}\n        headers: { Accept: \"a/b; n={{n}}\", host: shop.example }",
    );
    let client = client(false).unwrap();
    for canary_first in [false, true] {
        asked.lock().unwrap().clear();
        let [baseline, canary] =
            pair(&client, &script, [&base, &format!("{base}/")], canary_first).await;
        assert_eq!((&baseline.failed, &canary.failed), (&None, &None));
        assert_ne!(baseline.trace, canary.trace);
        let asked = asked.lock().unwrap();
        let header = |index: usize, name: &str| asked[index].2[name].to_str().unwrap().to_owned();
        let order: Vec<String> = (0..4).map(|index| header(index, "x-serin-canary")).collect();
        let (first, second) = if canary_first { ("always", "never") } else { ("never", "always") };
        assert_eq!(order, [first, first, second, second]);
        let traces = if canary_first {
            [canary.trace, baseline.trace]
        } else {
            [baseline.trace, canary.trace]
        };
        for (index, trace) in [traces[0], traces[0], traces[1], traces[1]].into_iter().enumerate() {
            let context = header(index, "traceparent");
            assert!(context.starts_with(&format!("00-{trace}-")) && context.ends_with("-01"));
            assert_eq!(context.len(), 55);
            assert_eq!(header(index, "baggage"), "synthetic=true");
            assert!(header(index, "user-agent").starts_with("serin-journey/"));
        }
        assert_ne!(header(0, "traceparent"), header(1, "traceparent"));
        assert_eq!(asked[1].1, "/echo/a%20b?n=3");
        assert_eq!(header(1, "accept"), "a/b; n=3");
        assert_eq!(header(1, "host"), "shop.example");
    }
}

#[tokio::test]
async fn every_expectation_that_holds_passes() {
    let (base, _) = service().await;
    let requests = "
      - get: /thing
        expect:
          status: [200, 404]
          within: 2s
          header: { content-type: ~json, X-Kind: two }
          body: '~\"ok\":true'
          json: { /id: 7, /big: 9007199254740993, /items/0/sku: '~^A-[0-9]$', /items/0: not null, /none: null, /a~1b: 1, /ok: true, /items: [{ sku: \"A-1\" }] }
        take: { id: { json: /id }, sku: { json: /items/0/sku } }
      - get: /page
        expect: { body: \"<input name=csrf value=\\\"k/9\\\">\" }
        take: { csrf: { body: '~value=\"([^\"]*)\"' } }
      - post: /echo/{{id}}/{{csrf}}
        json: { id: \"{{id}}\", text: \"no. {{id}}\", user: \"{{user}}\", attempt: \"{{attempt}}\", n: 3, s: \"3\" }
      - head: /thing
      - get: /bytes
        expect: { body: ~ok$ }
      - put: /status/204
        body: user={{user}}
        expect: { status: 204 }
      - delete: /status/302
        expect: { status: 3xx }
      - patch: /status/400
        expect: { status: [4xx] }";
    assert_eq!(told(&base, requests).await, None);
}

#[tokio::test]
async fn bodies_are_sent_with_their_variables() {
    let (base, asked) = service().await;
    let requests = "
      - get: /thing
        take: { id: { json: /id }, name: { json: /name } }
      - post: /echo/a
        json: { id: \"{{id}}\", text: \"{{name}} \\\"{{id}}\\\"\", n: 3, s: \"3\", list: [true, null, x] }
      - put: /echo/b
        headers: { content-type: text/plain }
        body: \"user={{user}}&id={{id}}\"";
    assert_eq!(told(&base, requests).await, None);
    let asked = asked.lock().unwrap();
    let (_, _, headers, body) = &asked[1];
    let sent: Value = body.parse().unwrap();
    let expected =
        json!({"id": 7, "text": "Ann \"7\"", "n": 3, "s": "3", "list": [true, null, "x"]});
    assert_eq!(sent, expected);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(asked[2].3, "user=a b&id=7");
    assert_eq!(asked[2].2["content-type"], "text/plain");
}

#[tokio::test]
async fn each_expectation_that_fails_is_told_with_its_step() {
    let (base, _) = service().await;
    for (request, expected) in [
        ("get: /status/500", "GET /status/500: expected status 2xx, got 500"),
        ("get: /away", "GET /away: expected status 2xx, got 303"),
        (
            "post: \"/status/200?password=hunter2\"\n        expect: { status: [201, 4xx] }",
            "POST /status/200: expected status 201 or 4xx, got 200",
        ),
        (
            "get: /thing\n        expect: { header: { content-type: ~html } }",
            "GET /thing: expected header content-type ~html, got `application/json`",
        ),
        (
            "get: /thing\n        expect: { header: { x-kind: three } }",
            "GET /thing: expected header x-kind three, got another value",
        ),
        (
            "get: /thing\n        expect: { header: { x-none: a } }",
            "GET /thing: expected header x-none a, it is missing",
        ),
        (
            "get: /status/200\n        expect: { body: ~^ok$ }",
            "GET /status/200: expected body ~^ok$, got 7 bytes of another",
        ),
        (
            "get: /status/200\n        expect: { json: { /id: 1 } }",
            "GET /status/200: the body is no JSON",
        ),
        ("get: /deep\n        expect: { json: { /id: 1 } }", "GET /deep: the body is no JSON"),
        (
            "get: /echo/a\n        expect: { json: { /id: 1 } }",
            "GET /echo/a: the body is empty, expected JSON",
        ),
        (
            "get: /thing\n        expect: { json: { /none: not null } }",
            "GET /thing: expected /none not null, got null",
        ),
        (
            "get: /thing\n        expect: { json: { /x: not null } }",
            "GET /thing: expected /x not null, it is missing",
        ),
        (
            "get: /thing\n        expect: { json: { /id: \"7\" } }",
            "GET /thing: expected /id \"7\", got 7",
        ),
        (
            "get: /thing\n        expect: { json: { /big: 9007199254740992 } }",
            "GET /thing: expected /big 9007199254740992, got 9007199254740993",
        ),
        (
            "get: /thing\n        expect: { json: { /name: Bob } }",
            "GET /thing: expected /name \"Bob\", got another text",
        ),
        (
            "get: /thing\n        expect: { json: { /items: ~A } }",
            "GET /thing: expected /items ~A, got a list of 1",
        ),
        (
            "get: /thing\n        expect: { json: { /items/0: 1 } }",
            "GET /thing: expected /items/0 1, got an object",
        ),
        (
            "get: /thing\n        take: { a: { json: /x } }",
            "GET /thing: `a` cannot be taken: /x is missing",
        ),
        (
            "get: /thing\n        take: { a: { json: /items } }",
            "GET /thing: `a` cannot be taken: /items is no single value",
        ),
        (
            "get: /thing\n        take: { a: { header: location } }",
            "GET /thing: `a` cannot be taken: header location is missing",
        ),
        (
            "get: /thing\n        take: { a: { cookie: session } }",
            "GET /thing: `a` cannot be taken: cookie session is missing",
        ),
        (
            "get: /thing\n        take: { a: { body: \"(q{9})\" } }",
            "GET /thing: `a` cannot be taken: ~(q{9}) matches nowhere in the body",
        ),
        (
            "get: /large\n        take: { a: { body: \"(a+)\" } }",
            "GET /large: `a` cannot be taken: it is longer than 4096 bytes",
        ),
    ] {
        let told = told(&base, &format!("      - get: /thing\n      - {request}")).await;
        assert_eq!(told.as_deref(), Some(&*format!("step 2, {expected}")));
    }
    let slow = told(&base, "      - get: /slow\n        expect: { within: 5ms }").await.unwrap();
    assert!(
        slow.starts_with("step 1, GET /slow: expected an answer within 5ms, it took 0."),
        "{slow}"
    );
    let unfit = "      - get: /page\n        take: { a: { body: '([^x]*)' } }\n      - get: /thing\n        headers: { x-a: \"{{a}}\" }";
    let unfit = told(&base, unfit).await.unwrap();
    assert_eq!(unfit, "step 2, GET /thing: header x-a cannot hold its value");
}

#[tokio::test]
async fn a_version_that_does_not_answer_fails_in_time() {
    let (base, _) = service().await;
    let hang = told(&base, "      - get: /thing\n      - get: /hang").await;
    assert_eq!(hang.unwrap(), "step 2, GET /hang: no whole answer within the 2s of the journey");
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    let cases: [(&'static [u8], &str); 3] = [
        (b"", "step 1, GET /: no answer: "),
        (half, "step 1, GET /: the answer broke off: "),
        (b"no HTTP at all\r\n\r\n", "step 1, GET /: no answer: "),
    ];
    for (bytes, expected) in cases {
        let told = told(&raw(bytes).await, "      - get: /").await.unwrap();
        assert!(told.starts_with(expected), "{told}");
    }
    // A port that nothing listens on any more.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = told(&format!("http://{closed}"), "      - get: /").await.unwrap();
    assert!(refused.starts_with("step 1, GET /: no answer: "), "{refused}");
    assert!(refused.contains("refused") && !refused.contains("127.0.0.1"), "{refused}");
}

#[tokio::test]
async fn endless_bodies_are_read_up_to_their_bound() {
    let (base, _) = service().await;
    assert_eq!(
        told(&base, "      - get: /endless\n        expect: { body: '~^x{9}' }").await,
        None
    );
    let large = told(&base, "      - get: /large\n        expect: { json: { /a: 1 } }").await;
    assert_eq!(large.unwrap(), "step 1, GET /large: the body is longer than 1048576 bytes of JSON");
    let last = told(&base, "      - get: /large\n        expect: { body: ~b }").await;
    assert_eq!(last.unwrap(), "step 1, GET /large: expected body ~b, got 1048576 bytes of another");
}

#[tokio::test]
async fn cookies_last_for_one_attempt() {
    let (base, asked) = service().await;
    let requests = "
      - get: /me
        headers: { cookie: theme=dark }
        expect: { status: 401 }
      - post: /login
        take: { session: { cookie: session } }
      - get: /me
        headers: { cookie: theme=dark }
      - get: /echo/{{session}}";
    assert_eq!(told(&base, requests).await, None);
    assert_eq!(asked.lock().unwrap()[3].1, "/echo/s%201");
    assert_eq!(asked.lock().unwrap()[4].2["cookie"], "theme=dark");
}

#[tokio::test]
async fn nothing_is_followed_or_tried_again() {
    let (base, asked) = service().await;
    let told = told(
        &base,
        "      - get: /away\n        expect: { status: 303, header: { location: /x } }",
    )
    .await;
    let told = told.unwrap();
    assert_eq!(told, "step 1, GET /away: expected header location /x, got another value");
    // One request of each version.
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn one_failing_version_is_told_from_the_other() {
    let (base, _) = service().await;
    let bad = format!("{base}/status/500?");
    let [baseline, canary] =
        pair(&client(false).unwrap(), &script("      - get: /thing"), [&base, &bad], true).await;
    assert_eq!(baseline.failed, None);
    let failure = canary.failed.unwrap();
    assert_eq!((failure.step, &*failure.request), (1, "GET /thing"));
    assert_eq!(failure.reason, "expected status 2xx, got 500");
    let [broken, _] =
        pair(&client(false).unwrap(), &script("      - get: /"), ["no url", &base], false).await;
    assert!(broken.failed.unwrap().reason.starts_with("no answer: "));
}

#[tokio::test]
async fn services_that_speak_http2_only_are_asked_so() {
    let (base, asked) = service().await;
    let [first, _] =
        pair(&client(true).unwrap(), &script("      - get: /thing"), [&base; 2], false).await;
    assert_eq!(first.failed, None);
    assert_eq!(asked.lock().unwrap()[0].0, "2 GET");
}

#[test]
fn a_pattern_that_explodes_is_refused() {
    assert!(pattern(r"(\w{1000}){1000}").is_err());
    assert!(pattern("(").is_err());
    assert!(pattern(&"(".repeat(900)).is_err());
}
