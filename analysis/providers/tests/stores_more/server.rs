//! A server on loopback that asks the test what to answer.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream;

/// What a request gets.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status, headers and a body.
    Whole(u16, Vec<(&'static str, String)>, String),
    /// Nothing, ever.
    Hang,
    /// Spaces without end, as fast as they are taken.
    Endless,
    /// A part of what it said it would send.
    BrokenOff,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Self::Whole(200, Vec::new(), body.into())
    }
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    /// Decoded pairs of the query string, or of a form.
    pub(crate) pairs: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    /// The value of a pair.
    pub(crate) fn pair(&self, name: &str) -> &str {
        self.pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

type Handler = Box<dyn Fn(&Seen) -> Answer + Send + Sync>;

struct Shared {
    handler: Handler,
    seen: Mutex<Vec<Seen>>,
}

/// The server; it ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared { handler: Box::new(handler), seen: Mutex::default() });
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared }
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let uri = request.uri().clone();
    let headers = request.headers().clone();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    let form =
        headers.get("content-type").is_some_and(|t| t == "application/x-www-form-urlencoded");
    let pairs = if form { body.clone() } else { uri.query().unwrap_or("").to_owned() };
    let pairs = reqwest::Url::parse(&format!("http://x/?{pairs}")).unwrap();
    let pairs = pairs.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    let seen = Seen { path: uri.path().to_owned(), pairs, headers, body };
    let answer = (shared.handler)(&seen);
    shared.seen.lock().unwrap().push(seen);
    let built = Response::builder();
    match answer {
        Answer::Hang => std::future::pending().await,
        Answer::Whole(status, headers, body) => {
            let built =
                headers.iter().fold(built.status(status), |built, (k, v)| built.header(*k, v));
            built.body(Body::from(body)).unwrap()
        }
        Answer::Endless => {
            let block = Bytes::from(" ".repeat(65_536));
            let blocks =
                stream::repeat_with(move || Ok::<_, std::convert::Infallible>(block.clone()));
            built.body(Body::from_stream(blocks)).unwrap()
        }
        Answer::BrokenOff => {
            let part = [Ok(Bytes::from("[ ")), Err(std::io::Error::other("broken off"))];
            built.body(Body::from_stream(stream::iter(part))).unwrap()
        }
    }
}
