//! Changes as they happen.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::world::Site;

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(10);

/// The text of a stream until it holds `wanted`.
async fn until(
    response: &mut (impl futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin),
    wanted: &str,
) -> String {
    let mut text = String::new();
    let reading = async {
        while !text.contains(wanted) {
            let chunk = response.next().await.expect("the stream goes on").unwrap();
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    timeout(SOON, reading).await.unwrap_or_else(|_| panic!("{wanted:?} did not come"));
    text
}

#[tokio::test]
async fn a_change_arrives_and_those_of_other_services_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let response = site.get("/api/v1/stream?service=checkout").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut events = Box::pin(response.bytes_stream());
    until(&mut events, "retry: 2000").await;
    site.order("/api/v1/services/search/actions", r#"{"action": "pause"}"#).await;
    site.order("/api/v1/services/checkout/actions", r#"{"action": "pause", "by": "Ada"}"#).await;
    let text = until(&mut events, "\n\n").await;
    assert!(text.contains("event: update"), "{text}");
    let json = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let update: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        (&update["service"], &update["live"]["pausedBy"]),
        (&"checkout".into(), &"Ada".into())
    );
    assert!(update["reason"].as_str().unwrap().starts_with("paused by Ada"));
}

#[tokio::test]
async fn a_reader_that_fell_behind_is_told_to_read_afresh() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let mut events = Box::pin(site.get("/api/v1/stream").await.bytes_stream());
    until(&mut events, "retry: 2000").await;
    let state = site.recorder.lock().await.states["checkout"].clone();
    // More than the board and the connection hold, while nobody reads.
    let reason = "x".repeat(10_000);
    for _ in 0..4_000 {
        site.board.publish(&state, Some(&reason));
    }
    until(&mut events, "event: resync").await;
}

#[tokio::test]
async fn streams_end_when_serin_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut site = Site::open(folder.path()).await;
    let mut events = Box::pin(site.get("/api/v1/stream").await.bytes_stream());
    until(&mut events, "retry: 2000").await;
    site.stop.send_replace(true);
    let end = async { while events.next().await.is_some_and(|chunk| chunk.is_ok()) {} };
    timeout(SOON, end).await.expect("the stream ends");
    drop((site.client, site.inbox));
    timeout(SOON, site.tasks.join_next()).await.expect("the page ends");
}
