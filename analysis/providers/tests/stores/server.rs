//! A server on loopback that answers as it is told: well, badly, slowly or never.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::stream;

/// What a request gets.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status, headers and a body.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Nothing, ever.
    Hang,
    /// A space every 20 ms, without end.
    Slow,
    /// Spaces without end, as fast as they are taken.
    Endless,
    /// Half of what it said it would send.
    BrokenOff,
}

impl Answer {
    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(status, vec![("content-type", "application/json".into())], body.into())
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Whole(_, headers, _) = &mut self {
            headers.push((name, value.into()));
        }
        self
    }
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

#[derive(Default)]
struct Shared {
    rules: Vec<(Vec<String>, Answer)>,
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

    /// Sets what requests get that hold all `parts`; of several that fit, the one with most parts, then the last.
    pub(crate) fn set(&self, parts: &[&str], answer: Answer) {
        let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        let mut shared = self.shared.lock().unwrap();
        shared.rules.retain(|(other, _)| *other != parts);
        shared.rules.push((parts, answer));
    }

    /// Sets what every request gets.
    pub(crate) fn set_all(&self, answer: Answer) {
        self.clear();
        self.set(&[], answer);
    }

    /// Forgets what was set.
    pub(crate) fn clear(&self) {
        self.shared.lock().unwrap().rules.clear();
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().unwrap().seen.clone()
    }
}

async fn answer(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let method = request.method().to_string();
    let path = request.uri().to_string();
    let headers = request.headers().clone();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    let answer = {
        let mut shared = shared.lock().unwrap();
        let whole = format!("{method} {path} {body}");
        shared.seen.push(Seen { method, path, headers, body });
        let fits = |parts: &[String]| parts.iter().all(|part| whole.contains(part.as_str()));
        let fitting = shared.rules.iter().filter(|(parts, _)| fits(parts));
        fitting.max_by_key(|(parts, _)| parts.len()).map(|(_, answer)| answer.clone())
    };
    let built = Response::builder();
    match answer {
        None => built.status(StatusCode::NOT_FOUND).body(Body::from("not here")).unwrap(),
        Some(Answer::Hang) => std::future::pending().await,
        Some(Answer::Whole(status, headers, body)) => {
            let built = headers.into_iter().fold(built.status(status), |b, (n, v)| b.header(n, v));
            built.body(Body::from(body)).unwrap()
        }
        Some(Answer::Slow) => {
            let spaces = stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b" ")), ()))
            });
            built.body(Body::from_stream(spaces)).unwrap()
        }
        Some(Answer::Endless) => {
            let block = Bytes::from(" ".repeat(65_536));
            let spaces =
                stream::repeat_with(move || Ok::<_, std::convert::Infallible>(block.clone()));
            built.body(Body::from_stream(spaces)).unwrap()
        }
        Some(Answer::BrokenOff) => {
            let part = stream::iter([
                Ok(Bytes::from("{\"data\":")),
                Err(std::io::Error::other("broken off")),
            ]);
            built.body(Body::from_stream(part)).unwrap()
        }
    }
}
