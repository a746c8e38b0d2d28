//! What is counted against which instance, and what the client sees of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use rollout_routers::{Arm, Backend, LE, RouteOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::world::{BOUND, Shop, full, http, nobody, read, say, says, tcp, until, up_to};

fn within(timeout: Duration) -> RouteOptions {
    RouteOptions { timeout, ..RouteOptions::default() }
}

#[tokio::test]
async fn no_answer_in_time_is_504_and_counted_as_hung() {
    let shop = Shop::open(within(Duration::from_millis(100))).await;
    let silent = http(|_| std::future::pending()).await;
    shop.set(Arm::Baseline, vec![silent.backend("b1")]);
    assert_eq!(shop.get().await, (504, "the service did not answer in time\n".to_owned()));
    let counts = shop.counts("b1");
    assert_eq!((counts.completed, counts.failed, counts.hung, counts.aborted), (1, 1, 1, 0));
    assert_eq!(counts.in_flight, 0);
    let least = LE.partition_point(|bound| *bound < 0.1);
    assert_eq!(counts.counts[least..].iter().sum::<u64>(), 1, "took at least the timeout");
}

#[tokio::test]
async fn a_request_in_flight_is_seen_before_it_ends() {
    let shop = Arc::new(Shop::open(RouteOptions::default()).await);
    let silent = http(|_| std::future::pending()).await;
    shop.set(Arm::Baseline, vec![silent.backend("b1")]);
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        let shop = Arc::clone(&shop);
        clients.spawn(async move { shop.get().await });
    }
    until("three in flight", || shop.counts("b1").in_flight == 3).await;
    // The clients give up, which says nothing about the instance.
    clients.shutdown().await;
    until("three aborted", || shop.counts("b1").aborted == 3).await;
    let counts = shop.counts("b1");
    assert_eq!((counts.completed, counts.failed, counts.in_flight), (0, 0, 0));
}

#[tokio::test]
async fn a_canary_that_cannot_be_reached_fails_and_nobody_sees_it() {
    let shop = Shop::open(RouteOptions::default()).await;
    let stable = http(|request| async move {
        Response::new(full(request.collect().await.unwrap().to_bytes()))
    })
    .await;
    shop.set(Arm::Baseline, vec![stable.backend("b1")]);
    shop.set(Arm::Canary, vec![Backend { instance: "c1".to_owned(), address: nobody().await }]);
    shop.shift(10_000);
    assert_eq!(shop.get().await.0, 200);
    // Nothing of the body was sent, so a POST may go elsewhere as well.
    let request = Request::post(shop.url()).body(full("order")).unwrap();
    assert_eq!(read(shop.send(request).await).await, (200, "order".to_owned()));
    let (canary, stable) = (shop.counts("c1"), shop.counts("b1"));
    assert_eq!((canary.completed, canary.failed, canary.hung), (2, 2, 0));
    assert_eq!((stable.completed, stable.failed), (2, 0));
}

#[tokio::test]
async fn nothing_goes_from_the_baseline_to_the_canary() {
    let shop = Shop::open(RouteOptions::default()).await;
    let canary = says("canary").await;
    let dead = |name: &str, address| Backend { instance: name.to_owned(), address };
    shop.set(Arm::Baseline, vec![dead("b1", nobody().await)]);
    shop.set(Arm::Canary, vec![canary.backend("c1")]);
    assert_eq!(shop.get().await, (502, "the service gave no answer\n".to_owned()));
    assert_eq!((shop.counts("b1").failed, shop.counts("c1").completed), (1, 0));
    // But to another instance of the baseline.
    let alive = says("stable").await;
    shop.set(Arm::Baseline, vec![dead("b1", nobody().await), alive.backend("b2")]);
    for _ in 0..4 {
        assert_eq!(shop.get().await, (200, "stable".to_owned()));
    }
    assert_eq!((shop.counts("b1").failed, shop.counts("b2").completed), (2, 4));
}

#[tokio::test]
async fn a_canary_that_breaks_before_its_answer_fails_and_a_get_is_served_elsewhere() {
    let shop = Shop::open(RouteOptions::default()).await;
    let stable = says("stable").await;
    let breaking = tcp(|mut stream| async move {
        let _got = up_to(&mut stream, "\r\n\r\n").await;
    })
    .await;
    shop.set(Arm::Baseline, vec![stable.backend("b1")]);
    shop.set(Arm::Canary, vec![breaking.backend("c1")]);
    shop.shift(10_000);
    assert_eq!(shop.get().await, (200, "stable".to_owned()));
    // A POST may have had its effect, so it is not sent twice.
    let request = Request::post(shop.url()).body(full("order")).unwrap();
    assert_eq!(shop.send(request).await.status(), 502);
    assert_eq!(shop.counts("c1").failed, 2);
    assert_eq!(shop.counts("b1").completed, 1);
}

#[tokio::test]
async fn a_pooled_connection_that_went_stale_is_no_failure() {
    let shop = Shop::open(RouteOptions::default()).await;
    // Answers once, then closes when the next request has come, without a word.
    let closing = tcp(|mut stream| async move {
        up_to(&mut stream, "\r\n\r\n").await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
        let _next = stream.read_u8().await;
    })
    .await;
    shop.set(Arm::Baseline, vec![closing.backend("b1")]);
    for _ in 0..5 {
        assert_eq!(shop.get().await, (200, "ok".to_owned()));
    }
    let counts = shop.counts("b1");
    assert_eq!((counts.completed, counts.failed), (5, 0));
}

#[tokio::test]
async fn an_http2_connection_that_went_stale_is_no_failure() {
    let options = RouteOptions { upstream_http2: true, ..RouteOptions::default() };
    let shop = Shop::open(options).await;
    // Every connection answers one request and is then closed.
    let server = tcp(|stream| async move {
        let answered = Arc::new(Notify::new());
        let service = {
            let answered = Arc::clone(&answered);
            hyper::service::service_fn(move |_| {
                answered.notify_one();
                async { Ok::<_, std::convert::Infallible>(Response::new(full("ok"))) }
            })
        };
        let executor = hyper_util::rt::TokioExecutor::new();
        let mut serving = std::pin::pin!(
            hyper::server::conn::http2::Builder::new(executor)
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
        );
        tokio::select! {
            _ = serving.as_mut() => return,
            () = answered.notified() => serving.as_mut().graceful_shutdown(),
        }
        let _ended = serving.await;
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    for _ in 0..20 {
        assert_eq!(shop.get().await, (200, "ok".to_owned()));
    }
    assert_eq!((shop.counts("b1").completed, shop.counts("b1").failed), (20, 0));
}

#[tokio::test]
async fn connections_to_an_instance_are_kept() {
    let shop = Shop::open(RouteOptions::default()).await;
    let opened = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counting = {
        let opened = Arc::clone(&opened);
        tcp(move |mut stream| {
            opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                loop {
                    up_to(&mut stream, "\r\n\r\n").await;
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    };
    shop.set(Arm::Baseline, vec![counting.backend("b1")]);
    for _ in 0..20 {
        assert_eq!(shop.get().await.0, 200);
    }
    assert_eq!(opened.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure_and_the_client_sees_it() {
    let shop = Shop::open(RouteOptions::default()).await;
    let seen = Arc::new(Notify::new());
    let breaking = {
        let seen = Arc::clone(&seen);
        tcp(move |mut stream| {
            let seen = Arc::clone(&seen);
            async move {
                up_to(&mut stream, "\r\n\r\n").await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this";
                stream.write_all(answer).await.unwrap();
                seen.notified().await;
            }
        })
        .await
    };
    shop.set(Arm::Baseline, vec![breaking.backend("b1")]);
    let request = Request::get(shop.url()).body(full("")).unwrap();
    let response = shop.send(request).await;
    assert_eq!(response.status(), 200);
    seen.notify_one();
    assert!(response.into_body().collect().await.is_err());
    let counts = shop.counts("b1");
    assert_eq!((counts.completed, counts.failed, counts.aborted), (1, 1, 0));
}

#[tokio::test]
async fn a_failure_is_counted_by_its_head_and_only_once() {
    let shop = Shop::open(RouteOptions::default()).await;
    let go = Arc::new(Notify::new());
    let failing = {
        let go = Arc::clone(&go);
        tcp(move |mut stream| {
            let go = Arc::clone(&go);
            async move {
                up_to(&mut stream, "\r\n\r\n").await;
                let head = b"HTTP/1.1 500 Oops\r\ncontent-length: 5\r\n\r\n";
                stream.write_all(head).await.unwrap();
                go.notified().await;
                stream.write_all(b"later").await.unwrap();
            }
        })
        .await
    };
    shop.set(Arm::Baseline, vec![failing.backend("b1")]);
    let request = Request::get(shop.url()).body(full("")).unwrap();
    let response = shop.send(request).await;
    let counts = shop.counts("b1");
    assert_eq!((counts.completed, counts.failed, counts.in_flight), (1, 1, 1));
    go.notify_one();
    assert_eq!(read(response).await, (500, "later".to_owned()));
    let counts = shop.counts("b1");
    assert_eq!((counts.completed, counts.failed, counts.in_flight), (1, 1, 0));
}

#[tokio::test]
async fn a_client_error_is_no_failure() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server = http(|_| async { Response::builder().status(404).body(full("")).unwrap() }).await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    assert_eq!(shop.get().await.0, 404);
    assert_eq!((shop.counts("b1").completed, shop.counts("b1").failed), (1, 0));
}

#[tokio::test]
async fn a_client_that_stalls_its_upload_is_not_held_against_the_instance() {
    let shop = Shop::open(within(Duration::from_millis(100))).await;
    let server = http(|request| async move {
        let _body = request.collect().await;
        Response::new(full("whole"))
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let mut client = shop.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 10\r\n\r\nhalf";
    client.write_all(head.as_bytes()).await.unwrap();
    assert!(up_to(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 408 "));
    until("aborted", || shop.counts("b1").aborted == 1).await;
    assert_eq!((shop.counts("b1").completed, shop.counts("b1").failed), (0, 0));
}

#[tokio::test]
async fn a_slow_upload_that_moves_has_all_the_time_it_needs() {
    let shop = Shop::open(within(Duration::from_secs(1))).await;
    let server = http(|request| async move {
        Response::new(full(request.collect().await.unwrap().to_bytes()))
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let mut client = shop.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: 9\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let start = tokio::time::Instant::now();
    for byte in "slow body".bytes() {
        // The pace of the client is what is tested.
        tokio::time::sleep(Duration::from_millis(150)).await;
        client.write_all(&[byte]).await.unwrap();
    }
    assert!(start.elapsed() > Duration::from_secs(1));
    assert!(say(&mut client, "").await.ends_with("slow body"));
}

#[tokio::test]
async fn grpc_passes_with_its_trailers_and_their_status_counts() {
    let options = RouteOptions { upstream_http2: true, ..RouteOptions::default() };
    let shop = Shop::open(options).await;
    let server = http(|request| async move {
        assert_eq!(request.version(), http::Version::HTTP_2);
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.uri().scheme_str(), Some("http"));
        let status = request.headers()["x-status"].clone();
        let message = Frame::data(Bytes::from_static(b"message"));
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status)]);
        let frames = [message, Frame::trailers(trailers)].map(Ok);
        Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http();
    for (status, failed) in [("0", 0), ("13", 1), ("5", 1)] {
        let request = Request::post(shop.url()).header("te", "trailers").header("x-status", status);
        let response = client.request(request.body(full("question")).unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], HeaderValue::from_static(status));
        assert_eq!(body.to_bytes(), "message");
        assert_eq!(shop.counts("b1").failed, failed, "grpc-status {status}");
    }
    assert_eq!(shop.counts("b1").completed, 3);
}

#[tokio::test]
async fn the_metrics_are_well_formed_and_say_what_the_counts_say() {
    let shop = Shop::open(within(Duration::from_secs(1))).await;
    let server = http(|request| async move {
        match request.uri().path() {
            "/silent" => std::future::pending().await,
            "/bad" => Response::builder().status(503).body(full("")).unwrap(),
            _ => Response::new(full("ok")),
        }
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b\"1\\")]);
    for path in ["", "", "", "bad", "silent"] {
        let request = Request::get(format!("{}{path}", shop.url())).body(full("")).unwrap();
        read(shop.send(request).await).await;
    }
    let text = shop.proxy.metrics();
    let number = |value: &str| value.parse::<f64>().expect("a number");
    let mut values: HashMap<&str, &str> = HashMap::new();
    let mut typed = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some(kind) = comment.strip_prefix("TYPE ") {
                typed.push(kind.split(' ').next().unwrap());
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        number(value);
        assert!(values.insert(series, value).is_none(), "{series} twice");
        let name = series.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|family| typed.contains(family)));
        assert!(typed.contains(&family.unwrap_or(name)), "{name} has no type");
    }
    let labels = r#"service="shop",arm="baseline",instance="b\"1\\""#;
    let value =
        |name: &str, more: &str| values[format!("serin_proxy_{name}{{{labels}{more}}}").as_str()];
    assert_eq!(value("requests_total", ",code=\"2xx\""), "3");
    assert_eq!(value("requests_total", ",code=\"5xx\""), "1");
    assert_eq!(value("requests_total", ",code=\"none\""), "1");
    assert_eq!(value("requests_failed_total", ""), "2");
    assert_eq!(value("requests_hung_total", ""), "1");
    assert_eq!(value("request_duration_seconds_count", ""), "5");
    assert_eq!(value("request_duration_seconds_bucket", ",le=\"+Inf\""), "5");
    assert!(number(value("request_duration_seconds_sum", "")) >= 1.0);
    let buckets: Vec<f64> = LE
        .iter()
        .map(|le| number(value("request_duration_seconds_bucket", &format!(",le=\"{le}\""))))
        .collect();
    assert!(buckets.is_sorted());
    assert_eq!(values["serin_proxy_weight_ratio{service=\"shop\"}"], "0");
}

#[tokio::test]
async fn a_slow_answer_falls_into_its_bucket() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server = http(|_| async {
        tokio::time::sleep(Duration::from_millis(110)).await;
        Response::new(full("ok"))
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    tokio::time::timeout(BOUND, shop.get()).await.unwrap();
    let counts = shop.counts("b1").counts;
    let from = LE.partition_point(|bound| *bound < 0.11);
    assert_eq!(counts[from..].iter().sum::<u64>(), 1, "{counts:?}");
}
