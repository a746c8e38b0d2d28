//! The demo's bad query, found in what its service sends, down to the line and the commit.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use analysis_providers::spans::{self, Limits};
use analysis_traces::{
    Cause, EntrySubtree, Matched, Refused, RootCause, Settings, compare, entries, traces,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use futures_util::StreamExt as _;
use futures_util::stream;
use git2::{Oid, Repository};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::repository::Shop;
use super::scenario::{Commit, Scenario};
use super::service::{Dependency, ServiceConfig, Telemetry, client, serve_until};
use crate::git::deployed_range;

async fn take(State(bodies): State<Arc<Mutex<Vec<Bytes>>>>, body: Bytes) {
    bodies.lock().unwrap().push(body);
}

/// Runs a version as the demo does, asks it, and returns the requests that it told of.
async fn told(
    repository: &Repository,
    revision: Oid,
    folder: &Path,
    requests: u32,
) -> Vec<EntrySubtree> {
    let checkout = folder.join(revision.to_string());
    fs::create_dir_all(checkout.join("shop")).unwrap();
    let tree = repository.find_commit(revision).unwrap().tree().unwrap();
    for name in ["shop/service.yaml", "shop/prices.query"] {
        let entry = tree.get_path(name.as_ref()).unwrap();
        fs::write(checkout.join(name), repository.find_blob(entry.id()).unwrap().content())
            .unwrap();
    }
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(take)).with_state(bodies.clone());
    let mut parts = JoinSet::new();
    parts.spawn(async move { axum::serve(listener, router).await });

    let mut config = ServiceConfig::read(&checkout.join("shop/service.yaml")).await.unwrap();
    config.telemetry = Some(Telemetry {
        endpoint,
        service: "shop".to_owned(),
        attributes: format!("service.version={revision},service.instance.id=shop-0"),
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = JoinSet::new();
    serving.spawn(serve_until(config, listener, async move {
        let _ = stopped.await;
    }));
    let client = client(Duration::from_secs(20)).unwrap();
    let ask = |number: u32| {
        let url = format!("{url}/{}", if number.is_multiple_of(2) { "" } else { "checkout" });
        let trace = format!("00-{:032x}-{:016x}-01", number + 1, 1);
        let request = client.get(url).header("traceparent", trace).send();
        async move { request.await.unwrap().bytes().await.unwrap() }
    };
    stream::iter(0..requests).map(ask).buffer_unordered(24).count().await;
    stop.send(()).unwrap();
    serving.join_next().await.unwrap().unwrap().unwrap();

    let bodies = bodies.lock().unwrap();
    let decoded = bodies.iter().map(|body| spans::otlp_protobuf(body, &Limits::default()).unwrap());
    let spans = decoded.flat_map(|decoded| decoded.spans).collect();
    let mut refused = Refused::default();
    let found: Vec<EntrySubtree> = traces(spans)
        .into_iter()
        .flat_map(|trace| entries(trace, Some("shop"), &mut refused))
        .collect();
    assert_eq!(refused, Refused::default());
    let ids: BTreeSet<_> = found.iter().map(EntrySubtree::trace).collect();
    assert_eq!(ids.len(), usize::try_from(requests).unwrap(), "each trace goes on");
    found
}

/// The comparison of a commit of the demo with the version before it, after as many requests to each.
async fn compared(scenario: Scenario, requests: u32) -> (RootCause, String) {
    let folder = tempfile::tempdir().unwrap();
    let dependency = Dependency::start().await.unwrap();
    let address = "127.0.0.1:9".parse().unwrap();
    let shop = Shop::create(folder.path(), address, dependency.url()).unwrap();
    let before = Commit::of(Scenario::Harmless).push(&shop).unwrap();
    let bad = Commit::of(scenario).push(&shop).unwrap();
    let repository = Repository::open(folder.path().join("shop.git")).unwrap();
    let old = told(&repository, before, folder.path(), requests).await;
    let new = told(&repository, bad, folder.path(), requests).await;
    let range = deployed_range(&repository, before, bad, None).unwrap();
    (compare(&old, &new, &Settings::default(), Some(&range.diff)), bad.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bad_query_is_named_with_its_line_and_its_commit() {
    let (root, bad) = compared(Scenario::Slow, 240).await;
    let finding = &root.findings[0];
    assert_eq!(finding.cause, Cause::NPlusOne, "{}", root.paragraph);
    assert_eq!(finding.operation.as_ref().unwrap().name, "SELECT price");
    let repeats = finding.repeats.unwrap();
    assert!((repeats.baseline - 1.0).abs() < 1e-9, "{repeats:?}");
    assert!((14.0..18.0).contains(&repeats.canary), "{repeats:?}");
    let suspect = finding.suspect.as_ref().unwrap();
    assert_eq!((&suspect.commit, &*suspect.subject), (&bad, "Compute tax per line"));
    assert_eq!((&*suspect.file, suspect.line), ("shop/prices.query", Some(2)));
    assert_eq!(suspect.matched, Matched::Line);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_failing_commit_is_named_by_its_line() {
    let (root, bad) = compared(Scenario::Failing, 800).await;
    let finding = root.findings.iter().find(|finding| finding.error.is_some());
    let finding = finding.expect(&root.paragraph);
    let suspect = finding.suspect.as_ref().unwrap();
    assert_eq!((&suspect.commit, &*suspect.file), (&bad, "shop/service.yaml"));
    assert_eq!((suspect.line, suspect.matched), (Some(3), Matched::Line));
}
