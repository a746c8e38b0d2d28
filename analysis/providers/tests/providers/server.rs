//! A server on loopback that answers as it is told: well, badly, slowly or never.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::stream;

/// What a path answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status, a content type, a content encoding and a body.
    Whole(u16, &'static str, &'static str, Vec<u8>),
    /// A status, the header `Retry-After` and a body.
    Later(u16, &'static str, &'static str),
    /// Nothing, ever.
    Hang,
    /// A correct page, one line every 20 ms, without end.
    Slow,
    /// Lines without end, as fast as they are taken.
    Endless,
    /// Half of what it said it would send.
    BrokenOff,
}

impl Answer {
    pub(crate) fn text(body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(200, "text/plain; version=0.0.4", "", body.into())
    }

    pub(crate) fn open_metrics(body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(200, "application/openmetrics-text; version=1.0.0", "", body.into())
    }

    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(status, "application/json", "", body.into())
    }
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

#[derive(Default)]
struct Shared {
    answers: HashMap<String, Answer>,
    seen: Vec<Seen>,
}

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    shared: Arc<Mutex<Shared>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared }
    }

    /// Sets what requests get whose path and body hold `part`; the longest fitting part counts.
    pub(crate) fn set(&self, part: &str, answer: Answer) {
        self.shared.lock().unwrap().answers.insert(part.to_owned(), answer);
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().unwrap().seen.clone()
    }
}

async fn answer(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    let answer = {
        let mut shared = shared.lock().unwrap();
        let whole = format!("{path} {body}");
        shared.seen.push(Seen { path, headers, body });
        let fitting = shared.answers.iter().filter(|(part, _)| whole.contains(part.as_str()));
        fitting.max_by_key(|(part, _)| part.len()).map(|(_, answer)| answer.clone())
    };
    let built = Response::builder();
    match answer {
        None => built.status(StatusCode::NOT_FOUND).body(Body::from("not here")).unwrap(),
        Some(Answer::Later(status, after, body)) => {
            built.status(status).header("retry-after", after).body(Body::from(body)).unwrap()
        }
        Some(Answer::Hang) => std::future::pending().await,
        Some(Answer::Whole(status, content, encoding, body)) => {
            let mut built = built.status(status).header("content-type", content);
            if !encoding.is_empty() {
                built = built.header("content-encoding", encoding);
            }
            built.body(Body::from(body)).unwrap()
        }
        Some(Answer::Slow) => {
            let lines = stream::unfold(0_u64, |n| async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let line =
                    Bytes::from(format!("http_requests_total{{code=\"200\",n=\"{n}\"}} 1\n"));
                Some((Ok::<_, std::convert::Infallible>(line), n + 1))
            });
            built.body(Body::from_stream(lines)).unwrap()
        }
        Some(Answer::Endless) => {
            let block = Bytes::from("# HELP a b\n".repeat(8_192));
            let lines =
                stream::repeat_with(move || Ok::<_, std::convert::Infallible>(block.clone()));
            built.body(Body::from_stream(lines)).unwrap()
        }
        Some(Answer::BrokenOff) => {
            let part = stream::iter([
                Ok(Bytes::from("http_requests_total{code=\"200\"} 1\n")),
                Err(std::io::Error::other("broken off")),
            ]);
            built.body(Body::from_stream(part)).unwrap()
        }
    }
}
