//! Webhooks: signed, unsigned, replayed and huge ones.

use alerts_notifiers::{SigningKey, verify};
use reqwest::RequestBuilder;
use serde_json::Value;

use super::world::{Recorder, Setup, Site};
use crate::clock::now;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn site(
    folder: &std::path::Path,
    hooks_secret: Option<&'static str>,
    listen: Option<&'static str>,
) -> Site {
    let setup = Setup { hooks_secret, listen, token: listen.map(|_| "token"), ..Setup::default() };
    Site::over(Recorder::new(folder).await, folder, setup).await
}

async fn sent(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
    (status, body["error"].as_str().unwrap_or_default().to_owned())
}

/// Whether the watcher was woken since the last time this was asked.
fn woken(site: &Site) -> bool {
    use futures_util::FutureExt as _;
    site.nudge.notified().now_or_never().is_some()
}

#[tokio::test]
async fn a_signed_webhook_wakes_the_watcher_once() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), Some(SECRET), None).await;
    let key = SigningKey::parse(SECRET).unwrap();
    let (body, second) = (r#"{"ref": "main"}"#, now().as_second());
    let request = |id: &str, signature: &str, second: i64, body: &str| {
        let request = site.client.post(site.url("/hooks/generic"));
        let request =
            request.header("webhook-id", id).header("webhook-timestamp", second.to_string());
        request.header("webhook-signature", signature).body(body.to_owned())
    };
    let good = verify::sign(&key, "msg_1", second, body.as_bytes());
    assert_eq!(sent(request("msg_1", &good, second, body)).await.0, 202);
    assert!(woken(&site));

    assert_eq!(
        sent(request("msg_1", &good, second, body)).await,
        (409, "this webhook was received before".to_owned())
    );
    assert_eq!(sent(request("msg_1", &good, second, "{}")).await.0, 401);
    assert_eq!(sent(request("msg_2", &good, second, body)).await.0, 401);
    let old = verify::sign(&key, "msg_3", second - 600, body.as_bytes());
    let (status, error) = sent(request("msg_3", &old, second - 600, body)).await;
    assert!(status == 401 && error.starts_with("the timestamp is"), "{status} {error}");
    let (status, error) = sent(site.client.post(site.url("/hooks/generic")).body(body)).await;
    assert!(status == 401 && error.contains("`webhook-id` is missing"), "{status} {error}");
    assert!(!woken(&site));
}

#[tokio::test]
async fn a_forge_s_signature_is_taken_once() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), Some("an ordinary secret"), None).await;
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"an ordinary secret").unwrap();
    mac.update(b"{}");
    let hex = mac
        .finalize()
        .into_bytes()
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let request = |signature: String, delivery: &str| {
        let request =
            site.client.post(site.url("/hooks/generic")).header("x-github-delivery", delivery);
        request.header("x-hub-signature-256", signature).body("{}")
    };
    assert_eq!(sent(request(format!("sha256={hex}"), "1")).await.0, 202);
    assert!(woken(&site));
    // The delivery's number is not signed: another one does not make it new.
    assert_eq!(sent(request(format!("sha256={hex}"), "2")).await.0, 409);
    assert_eq!(sent(request(format!("sha256={}", hex.to_uppercase()), "3")).await.0, 409);
    assert_eq!(sent(request(format!("sha256={}", "0".repeat(64)), "4")).await.0, 401);
    assert_eq!(sent(request("sha256=xyz".to_owned(), "5")).await.0, 401);
    assert!(!woken(&site));
}

#[tokio::test]
async fn a_huge_webhook_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), Some(SECRET), None).await;
    let huge = site.client.post(site.url("/hooks/generic")).body(vec![b'x'; 1024 * 1024 + 1]);
    assert_eq!(sent(huge).await, (413, "the body is too large".to_owned()));
    assert!(!woken(&site));
}

#[tokio::test]
async fn without_a_secret_only_a_loopback_listener_takes_webhooks() {
    let folder = tempfile::tempdir().unwrap();
    let open = site(folder.path(), None, None).await;
    assert_eq!(sent(open.client.post(open.url("/hooks/generic"))).await.0, 202);
    assert!(woken(&open));
    let foreign =
        open.client.post(open.url("/hooks/generic")).header("origin", "https://evil.example");
    assert_eq!(sent(foreign).await.0, 403);

    let folder = tempfile::tempdir().unwrap();
    let reachable = site(folder.path(), None, Some("0.0.0.0:0")).await;
    let (status, error) = sent(reachable.client.post(reachable.url("/hooks/generic"))).await;
    assert!(status == 403 && error.contains("without a signature"), "{status} {error}");
    assert!(!woken(&reachable));
}
