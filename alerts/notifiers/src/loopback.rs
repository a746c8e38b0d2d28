//! A receiver on this machine that behaves as well or as badly as a test wants, and the laws that
//! every notifier keeps.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use alerts::{Message, Templates};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use crate::{DeliverError, Notifier};

/// How long a test waits for what must come.
const BOUND: Duration = Duration::from_secs(20);

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_764_000_006).unwrap()
}

pub(crate) fn message() -> Message {
    let alert = alerts::samples::kinds().swap_remove(1).1;
    Templates::builtin().render(&alert).message
}

/// What the receiver answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Text {
        status: StatusCode,
        headers: Vec<(&'static str, String)>,
        text: String,
    },
    /// Never.
    Hang,
    /// The head, and then a body that never ends.
    Endless {
        status: StatusCode,
    },
}

impl Reply {
    pub(crate) fn text(status: StatusCode, text: &str) -> Self {
        Self::Text { status, headers: Vec::new(), text: text.to_owned() }
    }

    fn with(status: StatusCode, name: &'static str, value: String) -> Self {
        Self::Text { status, headers: vec![(name, value)], text: String::new() }
    }

    async fn answer(self) -> Response {
        let response = Response::builder();
        match self {
            Self::Text { status, headers, text } => {
                let add = |response: axum::http::response::Builder, (name, value)| {
                    response.header::<&str, String>(name, value)
                };
                headers
                    .into_iter()
                    .fold(response.status(status), add)
                    .body(Body::from(text))
                    .unwrap()
            }
            Self::Hang => std::future::pending().await,
            Self::Endless { status } => {
                let chunk = || Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4_096]));
                let body = futures_util::stream::repeat_with(chunk);
                response.status(status).body(Body::from_stream(body)).unwrap()
            }
        }
    }
}

/// A request as it arrived.
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A receiver that ends with the test.
pub(crate) struct Loopback {
    address: SocketAddr,
    received: tokio::sync::Mutex<mpsc::UnboundedReceiver<Received>>,
    _tasks: JoinSet<()>,
}

impl Loopback {
    pub(crate) async fn start(reply: Reply) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(move |request: Request| {
            let (sender, reply) = (sender.clone(), reply.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(body, 1 << 20).await.unwrap();
                let _a_test_may_not_look = sender.send(Received { headers: head.headers, body });
                reply.answer().await
            }
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, received: received.into(), _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks/token", self.address)
    }

    pub(crate) async fn request(&self) -> Received {
        let mut received = self.received.lock().await;
        tokio::time::timeout(BOUND, received.recv()).await.unwrap().unwrap()
    }

    async fn was_left_alone(&self) -> bool {
        self.received.lock().await.try_recv().is_err()
    }
}

/// Attempts once and checks that the address is not in what people read.
async fn fail(notifier: &dyn Notifier) -> DeliverError {
    let message = message();
    let attempt = tokio::time::timeout(BOUND, notifier.deliver(&message, now()));
    let error = attempt.await.expect("an attempt is bounded in time").unwrap_err();
    let mut shown = format!("{notifier:?} {error:?}");
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        shown = format!("{shown} {error}");
        cause = error.source();
    }
    assert!(!shown.contains("token") && !shown.contains("hooks"), "{shown}");
    error
}

fn wait(error: &DeliverError) -> Option<u64> {
    match error {
        DeliverError::Transient { retry_after, .. } => retry_after.map(|wait| wait.as_secs()),
        DeliverError::Permanent { .. } => None,
    }
}

/// The laws of a notifier that fails, for any notifier that posts to an address.
pub(crate) async fn check_every_failure(notifier: impl Fn(String, Duration) -> Box<dyn Notifier>) {
    let build = |url| notifier(url, BOUND / 2);
    for (status, transient) in [
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (410, false),
        (413, false),
        (408, true),
        (425, true),
        (429, true),
        (500, true),
        (502, true),
        (503, true),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let server = Loopback::start(Reply::text(status, "see /hooks/token")).await;
        let error = fail(&*build(server.url())).await;
        assert_eq!(error.is_transient(), transient, "{error}");
        assert_eq!(error.to_string(), format!("the receiver answered {}", status.as_u16()));
        assert_eq!(wait(&error), None);
    }

    let busy = Reply::with(StatusCode::TOO_MANY_REQUESTS, "retry-after", "30".to_owned());
    let server = Loopback::start(busy).await;
    assert_eq!(wait(&fail(&*build(server.url())).await), Some(30));

    let elsewhere = Loopback::start(Reply::text(StatusCode::OK, "ok")).await;
    let moved = Reply::with(StatusCode::TEMPORARY_REDIRECT, "location", elsewhere.url());
    let server = Loopback::start(moved).await;
    let error = fail(&*build(server.url())).await;
    assert!(!error.is_transient() && error.to_string().contains("redirects"), "{error}");
    assert!(elsewhere.was_left_alone().await);

    let server = Loopback::start(Reply::Hang).await;
    let error = fail(&*notifier(server.url(), Duration::from_millis(200))).await;
    assert!(error.is_transient() && error.to_string().contains("in time"), "{error}");

    let server = Loopback::start(Reply::Endless { status: StatusCode::BAD_GATEWAY }).await;
    assert!(fail(&*build(server.url())).await.is_transient());

    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = fail(&*build(format!("http://{unused}/hooks/token"))).await;
    assert!(error.is_transient() && error.to_string().contains("cannot be reached"), "{error}");
}
