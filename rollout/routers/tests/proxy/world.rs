//! Real servers and clients on loopback for the proxy to stand between.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rollout::Weight;
use rollout_routers::{Arm, Backend, InstanceCounts, Proxy, RouteOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Longer than anything takes on a busy machine; reached only when a test fails.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A running server; dropping it ends it with all its connections.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) fn backend(&self, instance: &str) -> Backend {
        Backend { instance: instance.to_owned(), address: self.address }
    }
}

/// An HTTP server (1.1 and 2) that answers by `answer`.
pub(crate) async fn http<A, F>(answer: A) -> Server
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    tcp(move |stream| {
        let answer = answer.clone();
        async move {
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let _ended = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

/// A server that does with each connection what `serve` does.
pub(crate) async fn tcp<S, F>(serve: S) -> Server
where
    S: Fn(TcpStream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream));
        }
    });
    Server { address, _tasks: tasks }
}

/// A server whose every answer is `text`.
pub(crate) async fn says(text: &'static str) -> Server {
    http(move |_| async move { Response::new(full(text)) }).await
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

/// A proxy for the service `shop`, with a client to ask it.
pub(crate) struct Shop {
    pub(crate) proxy: Proxy,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client<HttpConnector, Body>,
}

impl Shop {
    pub(crate) async fn open(options: RouteOptions) -> Self {
        let proxy = Proxy::new();
        let address = proxy.open("shop", "127.0.0.1:0".parse().unwrap(), options).await.unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { proxy, address, client }
    }

    pub(crate) fn set(&self, arm: Arm, backends: Vec<Backend>) {
        self.proxy.set_backends("shop", arm, backends);
    }

    pub(crate) fn shift(&self, basis_points: u16) {
        let weight = Weight::from_basis_points(basis_points).unwrap();
        assert_eq!(self.proxy.shift_now("shop", weight).unwrap().weight, weight);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        timeout(BOUND, self.client.request(request)).await.expect("in time").expect("an answer")
    }

    /// GET `/`: status and text.
    pub(crate) async fn get(&self) -> (u16, String) {
        let request = Request::get(self.url()).body(full("")).unwrap();
        read(self.send(request).await).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) fn counts(&self, instance: &str) -> InstanceCounts {
        self.proxy
            .counts("shop")
            .into_iter()
            .find(|counts| counts.instance == instance)
            .unwrap_or_else(|| panic!("{instance} is not listed"))
    }
}

pub(crate) async fn read(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Waits until `reached` holds.
pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < BOUND, "not reached: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Sends `text` as it is and reads until the other side closes.
pub(crate) async fn say(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    to_end(stream).await
}

/// Reads until the other side closes.
pub(crate) async fn to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is as good an end.
    let _ended = timeout(BOUND, stream.read_to_end(&mut answer)).await.expect("closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until `end` was seen.
pub(crate) async fn up_to(stream: &mut TcpStream, end: &str) -> String {
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains(end) {
        let byte = timeout(BOUND, stream.read_u8()).await.expect("in time").expect("more to come");
        got.push(byte);
    }
    String::from_utf8_lossy(&got).into_owned()
}
