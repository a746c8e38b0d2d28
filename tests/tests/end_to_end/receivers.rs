//! What Serin speaks to: receivers of messages, and a forge that serves Git over HTTP.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::shop::Forge;

/// A message as it came.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The newest commit of the watched repository when it came.
    pub(crate) tip: String,
}

impl Message {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A server on the loopback address that keeps what it is sent.
pub(crate) struct Receiver {
    pub(crate) url: String,
    messages: Arc<Mutex<Vec<Message>>>,
    _server: JoinSet<std::io::Result<()>>,
}

impl Receiver {
    pub(crate) async fn start(repository: &Path) -> Self {
        Self::at(0, repository).await
    }

    pub(crate) async fn at(port: u16, repository: &Path) -> Self {
        let messages = Arc::new(Mutex::new(Vec::new()));
        let state = (messages.clone(), repository.to_owned());
        let (address, server) =
            serve(port, Router::new().fallback(receive).with_state(state)).await;
        Self { url: format!("http://{address}/hook"), messages, _server: server }
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The messages that hold these words.
    pub(crate) fn about(&self, words: &str) -> Vec<Message> {
        self.messages().into_iter().filter(|message| message.text().contains(words)).collect()
    }
}

type Kept = (Arc<Mutex<Vec<Message>>>, PathBuf);

async fn receive(
    State((kept, path)): State<Kept>,
    headers: HeaderMap,
    body: Bytes,
) -> &'static str {
    let tip = Forge { path }.tip();
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(Message { headers, body, tip });
    "ok"
}

async fn serve(port: u16, router: Router) -> (std::net::SocketAddr, JoinSet<std::io::Result<()>>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await });
    (address, server)
}

/// Git's smart protocol over HTTP by `git http-backend`, whose hooks run for every push.
pub(crate) struct HttpForge {
    pub(crate) url: String,
    _server: JoinSet<std::io::Result<()>>,
}

impl HttpForge {
    /// Serves the repository `shop.git` in `root`.
    pub(crate) async fn start(root: &Path) -> Self {
        let (address, server) =
            serve(0, Router::new().fallback(backend).with_state(root.to_owned())).await;
        Self { url: format!("http://{address}/shop.git"), _server: server }
    }
}

/// Carried out to the end also when the caller goes away, as by a real server.
async fn backend(
    State(root): State<PathBuf>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let mut command = tokio::process::Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", method.as_str())
        .env("REMOTE_USER", "serin")
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let work = async move {
        let mut backend = command.spawn().ok()?;
        backend.stdin.take()?.write_all(&body).await.ok()?;
        Some(backend.wait_with_output().await.ok()?.stdout)
    };
    let reply = tokio::spawn(work).await.ok().flatten();
    let parsed = reply.and_then(|reply| {
        let end = reply.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&reply[..end]).into_owned();
        Some((head, reply[end + 4..].to_vec()))
    });
    let Some((head, body)) = parsed else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = body.into_response();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        if name == "Status" {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            *response.status_mut() = code.unwrap_or(StatusCode::OK);
        } else if let (Ok(name), Ok(value)) =
            (axum::http::HeaderName::try_from(name), value.parse())
        {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Puts a hook into a repository.
pub(crate) fn hook(repository: &Path, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = repository.join("hooks").join(name);
    std::fs::create_dir_all(repository.join("hooks")).expect("a folder");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("executable");
}
