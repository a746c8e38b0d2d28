//! Clients that are slow, wrong or hostile.

use std::time::Duration;

use rollout_routers::{Arm, RouteOptions};
use tokio::io::AsyncWriteExt;

use crate::world::{BOUND, Shop, full, http, say, says, to_end, up_to};

async fn shop(options: RouteOptions) -> (Shop, crate::world::Server) {
    let shop = Shop::open(options).await;
    let server = says("ok").await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    (shop, server)
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let (shop, _server) = shop(RouteOptions::default()).await;
    let mut client = shop.connect().await;
    let head = format!("GET / HTTP/1.1\r\nhost: shop\r\nx-long: {}\r\n\r\n", "a".repeat(70_000));
    let answer = say(&mut client, &head).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");

    let mut client = shop.connect().await;
    let many = "x-many: 1\r\n".repeat(200);
    let answer = say(&mut client, &format!("GET / HTTP/1.1\r\nhost: shop\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(shop.counts("b1").completed, 0);
}

#[tokio::test]
async fn a_client_without_a_whole_head_is_let_go() {
    let options = RouteOptions { idle: Duration::from_millis(80), ..RouteOptions::default() };
    let (shop, _server) = shop(options).await;
    for beginning in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n\r\nSM",
        "GET / HTTP/1.1\r\nhost: sh",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = shop.connect().await;
        client.write_all(beginning.as_bytes()).await.unwrap();
        to_end(&mut client).await;
    }
    // Also between two requests.
    let mut client = shop.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\nGET / HT").await.unwrap();
    assert!(to_end(&mut client).await.ends_with("ok"));
}

#[tokio::test]
async fn a_long_answer_is_not_taken_for_an_idle_client() {
    let options = RouteOptions { idle: Duration::from_millis(50), ..RouteOptions::default() };
    let shop = Shop::open(options).await;
    let server = http(|_| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        hyper::Response::new(full("late"))
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let mut client = shop.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
    assert!(up_to(&mut client, "late").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn what_is_not_http_gets_400_or_nothing() {
    let (shop, _server) = shop(RouteOptions::default()).await;
    for wrong in [
        "\r\n\r\n\r\nhello\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\u{7f}\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ] {
        let mut client = shop.connect().await;
        client.write_all(wrong.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let answer = to_end(&mut client).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{wrong:?}: {answer}");
    }
    let mut client = shop.connect().await;
    let connect = "CONNECT shop:80 HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
    assert!(say(&mut client, connect).await.starts_with("HTTP/1.1 405 "));
    assert_eq!(shop.counts("b1").completed, 0);
}

#[tokio::test]
async fn a_coding_and_a_length_together_smuggle_nothing() {
    let shop = Shop::open(RouteOptions::default()).await;
    let server = http(|request| async move {
        let length = request.headers().contains_key("content-length");
        let path = request.uri().path().to_owned();
        let body = http_body_util::BodyExt::collect(request).await.unwrap().to_bytes();
        hyper::Response::new(full(format!("{path} {length} {}", String::from_utf8_lossy(&body))))
    })
    .await;
    shop.set(Arm::Baseline, vec![server.backend("b1")]);
    let mut client = shop.connect().await;
    let answer = say(
        &mut client,
        "POST /a HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n",
    )
    .await;
    assert!(
        answer.is_empty() || answer.contains("/a false hi") || answer.contains(" 400 "),
        "{answer}"
    );
    assert!(!answer.contains("/smuggled"), "{answer}");
    assert!(shop.counts("b1").completed <= 1);
}

#[tokio::test]
async fn http10_clients_are_served() {
    let (shop, _server) = shop(RouteOptions::default()).await;
    let mut client = shop.connect().await;
    let answer = say(&mut client, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn dropping_the_proxy_ends_everything() {
    let (shop, _server) = shop(RouteOptions::default()).await;
    let mut client = shop.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
    up_to(&mut client, "ok").await;
    let Shop { proxy, address, .. } = shop;
    drop(proxy);
    to_end(&mut client).await;
    let refused = async || tokio::net::TcpStream::connect(address).await.is_err();
    let start = tokio::time::Instant::now();
    while !refused().await {
        assert!(start.elapsed() < BOUND, "still listens");
    }
}
