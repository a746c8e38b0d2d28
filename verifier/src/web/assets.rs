//! Style, script and icons: part of the program, and named by their content so that browsers keep them.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset {
        name: "serin.css",
        kind: "text/css; charset=utf-8",
        content: include_str!("assets/serin.css"),
    },
    Asset {
        name: "serin.js",
        kind: "text/javascript; charset=utf-8",
        content: include_str!("assets/serin.js"),
    },
    Asset { name: "canary.svg", kind: "image/svg+xml", content: include_str!("assets/canary.svg") },
];

/// Names the content of all of them: any change gives all a new address.
pub(super) static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut sum = Sha256::new();
    for asset in &ASSETS {
        sum.update(asset.content.as_bytes());
    }
    sum.finalize().iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
});

/// `GET /static/{hash}/{name}`.
pub(super) async fn get(Path((hash, name)): Path<(String, String)>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // A page of an older or newer Serin gets what there is, but must not keep it under that name.
    let keep = if hash == *HASH { "public, max-age=31536000, immutable" } else { "no-cache" };
    served(asset, keep)
}

/// `GET /favicon.ico`, which browsers ask for by themselves.
pub(super) async fn favicon() -> Response {
    served(&ASSETS[2], "public, max-age=86400")
}

fn served(asset: &Asset, keep: &'static str) -> Response {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(keep)),
    ]);
    (headers, asset.content).into_response()
}
