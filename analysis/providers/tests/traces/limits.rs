//! Stores that ask to be left alone are, and shares of an account are not exceeded.

use std::fmt::Write as _;

use crate::server::{Answer, Server};
use crate::stores::{ALL, Kind, ask};
use crate::told::told;

#[tokio::test]
async fn a_store_that_asks_for_a_pause_gets_it() {
    let mut text = String::new();
    for kind in ALL {
        let server = Server::start().await;
        kind.set_base(&server);
        let slow_down = Answer::json(429, r#"{"errors":["Too many requests"]}"#);
        server.set(&[kind.any_search()], slow_down.with("retry-after", "100"));
        let store = kind.store(&server.url).unwrap();
        let first = told(&store.fetch(&ask()).await);
        let asked = server.seen().len();
        kind.set_good(&server);
        let second = told(&store.fetch(&ask()).await);
        assert_eq!(server.seen().len(), asked, "{kind:?}: asked during the pause");
        writeln!(text, "== {kind:?}\n{first}\n{second}").unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn at_most_eight_requests_are_under_way() {
    let server = Server::start().await;
    let kind = Kind::Zipkin;
    kind.set_good(&server);
    let mut asked = ask();
    asked.most = [1_200, 400];
    server.set(&[kind.any_search()], Answer::Hang);
    // The trials, one for each arm, answer; then eight searches hang until their time is over.
    for arm in ["baseline", "canary"] {
        let [path, version] = kind.search(arm);
        server.set(&[path, version, "limit=5"], kind.found(arm));
        server.set(&[path, version], Answer::Hang);
    }
    let store = kind.store(&server.url).unwrap();
    let reading = store.fetch(&asked);
    tokio::select! {
        _ = reading => panic!("ended before its searches could"),
        () = until(&server, 10) => {}
    }
    assert_eq!(server.seen().len(), 10);
}

/// Waits until so many requests came, and a moment longer for any more.
async fn until(server: &Server, count: usize) {
    let bound = tokio::time::Duration::from_millis(10);
    while server.seen().len() < count {
        tokio::time::sleep(bound).await;
    }
    tokio::time::sleep(10 * bound).await;
}

#[tokio::test]
async fn large_traces_are_asked_for_one_by_one() {
    let server = Server::start().await;
    let kind = Kind::Zipkin;
    kind.set_good(&server);
    let padded = |arm: &str| {
        let text = String::from_utf8(kind.reply(&format!("{arm}.json"))).unwrap();
        let long = format!("\"big\": \"{}\", \"http.route\"", "x".repeat(9_000));
        Answer::json(200, text.replace("\"http.route\"", &long))
    };
    server.set(&kind.search("baseline"), padded("baseline"));
    server.set(&kind.search("canary"), padded("canary"));
    let mut asked = ask();
    asked.most = [16_000, 16_000];
    let fetched = kind.store(&server.url).unwrap().fetch(&asked).await.unwrap();
    assert!(server.seen().iter().any(|seen| seen.path.contains("limit=3")));
    assert!(!server.seen().iter().any(|seen| seen.path.contains("limit=50")));
    assert!(fetched.notes.iter().any(|note| note.starts_with("traces are large")));
}

#[tokio::test]
async fn datadogs_searches_of_an_hour_are_shared() {
    let server = Server::start().await;
    let kind = Kind::Datadog;
    kind.set_good(&server);
    let store = kind.store(&server.url).unwrap();
    let mut text = String::new();
    let mut last = String::new();
    for reading in 1..=20 {
        let told = told(&store.fetch(&ask()).await);
        if told != last {
            writeln!(text, "== reading {reading}\n{told}").unwrap();
        }
        last = told;
    }
    let searches = |path: &str| server.seen().iter().filter(|one| one.path.contains(path)).count();
    assert_eq!(searches("spans/events/search"), 60);
    assert!(searches("api/v2/trace/") <= 50);
    insta::assert_snapshot!(text);
}
