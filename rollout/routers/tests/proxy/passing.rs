//! What passes through: bodies frame by frame, trailers, tunnels, headers.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rollout_routers::{Arm, RouteOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::world::{BOUND, Body, Shop, full, http, read, say, tcp, until, up_to};

/// A body that is written while it is read.
fn written() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let frame = Ok(Frame::data(receiver.recv().await?));
        Some((frame, receiver))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

async fn frame(body: &mut Incoming) -> Bytes {
    let frame = timeout(BOUND, body.frame()).await.expect("in time").expect("a frame");
    frame.unwrap().into_data().expect("data")
}

fn echo(request: Request<Incoming>) -> Response<Body> {
    let (sender, body) = written();
    tokio::spawn(async move {
        let mut incoming = request.into_body();
        while let Some(Ok(frame)) = incoming.frame().await {
            if let Ok(part) = frame.into_data()
                && sender.send(part).await.is_err()
            {
                return;
            }
        }
    });
    Response::new(body)
}

#[tokio::test]
async fn the_first_chunk_arrives_before_the_last_is_sent_in_both_directions() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server = http(|request| async move { echo(request) }).await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let http2 = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    for client in [shop.client.clone(), http2] {
        let (upload, body) = written();
        upload.send(Bytes::from_static(b"first")).await.unwrap();
        let request = Request::post(shop.url()).body(body).unwrap();
        let response = timeout(BOUND, client.request(request)).await.unwrap().unwrap();
        let mut download = response.into_body();
        assert_eq!(frame(&mut download).await, "first");
        upload.send(Bytes::from_static(b"last")).await.unwrap();
        assert_eq!(frame(&mut download).await, "last");
        drop(upload);
        // HTTP/2 may end with an empty frame.
        let rest = timeout(BOUND, download.collect()).await.unwrap().unwrap();
        assert_eq!(rest.to_bytes(), "");
    }
    assert_eq!(shop.counts("b1").completed, 2);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_instance_back() {
    const PART: usize = 1024 * 1024;
    const FAR: usize = 256;
    let shop = Shop::open(RouteOptions::default()).await;
    let written_parts = Arc::new(AtomicUsize::new(0));
    let held = Arc::new(tokio::sync::Notify::new());
    let server = {
        let (parts, held) = (Arc::clone(&written_parts), Arc::clone(&held));
        http(move |_| {
            let (sender, body) = written();
            let (parts, held) = (Arc::clone(&parts), Arc::clone(&held));
            tokio::spawn(async move {
                let part = Bytes::from(vec![7; PART]);
                for _ in 0..FAR {
                    let sent = sender.send(part.clone());
                    if !matches!(timeout(Duration::from_millis(300), sent).await, Ok(Ok(()))) {
                        break;
                    }
                    parts.fetch_add(1, Ordering::Relaxed);
                }
                held.notify_one();
            });
            async move { Response::new(body) }
        })
        .await
    };
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let request = Request::get(shop.url()).body(full("")).unwrap();
    let response = shop.send(request).await;
    timeout(BOUND, held.notified()).await.unwrap();
    let parts = written_parts.load(Ordering::Relaxed);
    assert!(parts < 64, "{parts} MiB were taken for a client that reads nothing");
    drop(response);
    until("aborted", || shop.counts("b1").aborted == 1).await;
}

#[tokio::test]
async fn a_large_body_passes_whole() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server = http(|request| async move { echo(request) }).await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let body: Bytes = (0..5_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let request = Request::post(shop.url()).body(full(body.clone())).unwrap();
    let back = shop.send(request).await.into_body().collect().await.unwrap().to_bytes();
    assert!(back == body);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_is_nobodys_failure() {
    let options = RouteOptions { body_limit: Some(8), ..RouteOptions::default() };
    let shop = Shop::open(options).await;
    let server = http(|request| async move {
        let _body = request.collect().await;
        Response::new(full("ok"))
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    for (body, status) in [("8 bytes.", 200), ("nine byte", 413)] {
        let request = Request::post(shop.url()).body(full(body)).unwrap();
        assert_eq!(shop.send(request).await.status(), status);
    }
    // Chunked, so that only counting tells.
    let mut client = shop.connect().await;
    let answer = say(
        &mut client,
        "POST / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\n12345\r\n5\r\n12345\r\n0\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let counts = shop.counts("b1");
    assert_eq!((counts.completed, counts.failed), (1, 0));
}

#[tokio::test]
async fn trailers_pass_in_http1() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server = tcp(|mut stream| async move {
        let head = up_to(&mut stream, "\r\n\r\n").await;
        assert!(head.contains("te: trailers\r\n"), "{head}");
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                      2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let mut client = shop.connect().await;
    let request = "GET / HTTP/1.1\r\nhost: shop\r\nte: trailers\r\nconnection: te, close\r\n\r\n";
    let answer = say(&mut client, request).await;
    assert!(answer.contains("x-sum: 42\r\n"), "{answer}");
}

#[tokio::test]
async fn http2_comes_in_on_the_same_port() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server = http(|request| async move {
        assert_eq!(request.version(), Version::HTTP_11);
        Response::new(full(request.headers()["host"].as_bytes().to_vec()))
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    for _ in 0..3 {
        let request = Request::get(shop.url()).body(full("")).unwrap();
        let response = timeout(BOUND, client.request(request)).await.unwrap().unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(read(response).await, (200, shop.address.to_string()));
    }
    assert_eq!(shop.get().await.0, 200);
}

#[tokio::test]
async fn a_websocket_passes_and_is_in_flight_until_it_ends() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server = http(|mut request| async move {
        assert_eq!(request.headers()["upgrade"], "websocket");
        assert_eq!(request.headers()["connection"], "upgrade");
        assert_eq!(request.headers()["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgraded.await.unwrap());
            let mut word = [0; 4];
            while stream.read_exact(&mut word).await.is_ok() {
                stream.write_all(&word).await.unwrap();
            }
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            .body(full(""))
            .unwrap()
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let mut client = shop.connect().await;
    let request = "GET /socket HTTP/1.1\r\nhost: shop\r\nconnection: keep-alive, Upgrade\r\n\
                   upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let head = up_to(&mut client, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"));
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    for word in ["ping", "pong"] {
        client.write_all(word.as_bytes()).await.unwrap();
        let mut back = [0; 4];
        timeout(BOUND, client.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, word.as_bytes());
    }
    // The weight and the arms may change meanwhile.
    shop.set(Arm::Baseline, vec![]);
    let counts = shop.counts("b1");
    assert_eq!((counts.completed, counts.failed, counts.in_flight), (1, 0, 1));
    client.write_all(b"last").await.unwrap();
    let mut back = [0; 4];
    timeout(BOUND, client.read_exact(&mut back)).await.unwrap().unwrap();
    drop(client);
    assert_eq!(shop.proxy.drain("shop", "b1", BOUND).await, 0);
}

#[tokio::test]
async fn an_upgrade_may_be_refused() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server =
        http(|_| async { Response::builder().status(400).body(full("no")).unwrap() }).await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let mut client = shop.connect().await;
    let request =
        "GET / HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    assert!(up_to(&mut client, "no").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn closing_ends_a_tunnel_when_the_grace_is_over() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server = tcp(|mut stream| async move {
        up_to(&mut stream, "\r\n\r\n").await;
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let _until_closed = stream.read_u8().await;
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let mut client = shop.connect().await;
    let request = "GET / HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    up_to(&mut client, "\r\n\r\n").await;
    shop.proxy.close("shop", Duration::from_millis(20)).await;
    assert_eq!(crate::world::to_end(&mut client).await, "");
}

#[tokio::test]
async fn the_instance_learns_who_asked_and_within_which_trace() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server = http(|request| async move {
        let mut text = String::new();
        for (name, value) in request.headers() {
            writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
        Response::builder()
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            .header("x-end", "2")
            .body(full(text))
            .unwrap()
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let request = Request::get(shop.url())
        .header("host", "shop.test")
        .header("x-forwarded-for", "203.0.113.7")
        .header("connection", "x-internal")
        .header("x-internal", "secret")
        .header("traceparent", trace)
        .header("tracestate", "vendor=1")
        .body(full(""))
        .unwrap();
    let response = shop.send(request).await;
    assert!(!response.headers().contains_key("x-hop"));
    assert!(!response.headers().contains_key("keep-alive"));
    assert_eq!(response.headers()["x-end"], "2");
    let seen = read(response).await.1;
    for line in [
        "host: shop.test",
        "x-forwarded-for: 203.0.113.7, 127.0.0.1",
        "x-forwarded-host: shop.test",
        "x-forwarded-proto: http",
        &format!("traceparent: {trace}"),
        "tracestate: vendor=1",
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line} in\n{seen}");
    }
    assert!(!seen.contains("x-internal") && !seen.contains("connection"), "{seen}");

    let (_, started) = shop.get().await;
    assert!(started.contains("traceparent: 00-"), "{started}");
    assert!(!started.contains("tracestate"));
}

#[tokio::test]
async fn a_head_request_keeps_the_length_and_has_no_body() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server = http(|_| async { Response::new(full("twelve bytes")) }).await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    for _ in 0..2 {
        let request = Request::head(shop.url()).body(full("")).unwrap();
        let response = shop.send(request).await;
        assert_eq!(response.headers()["content-length"], "12");
        assert_eq!(read(response).await, (200, String::new()));
    }
    assert_eq!(shop.counts("b1").completed, 2);
}
