//! What is said of answers that cannot be used, and of servers that misbehave.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::server::{Answer, Server};
use crate::stores::{ALL, BUDGET, Kind, SIZE, ask};
use crate::told::{requests, told, without_port};

/// What is told when every search gets this answer.
async fn every_search(kind: Kind, answer: Answer) -> String {
    let server = Server::start().await;
    kind.set_base(&server);
    server.set(&[kind.any_search()], answer);
    let began = Instant::now();
    let result = kind.store(&server.url).unwrap().fetch(&ask()).await;
    assert!(began.elapsed() < 2 * BUDGET, "{kind:?}");
    let text = told(&result);
    for secret in ["hunter2", "hunter3", "tenant-7"] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

#[tokio::test]
async fn answers_that_cannot_be_used() {
    for kind in ALL {
        let mut text = String::new();
        for (name, answer) in [
            ("a status 302", Answer::json(302, "")),
            (
                "a status 400",
                Answer::json(400, r#"{"error":{"httpCode":400,"message":"hunter2 is wrong"}}"#),
            ),
            ("a status 401", Answer::json(401, r#"{"errors":["Forbidden"]}"#)),
            ("a status 500", Answer::json(500, "<html></html>")),
            ("a status 503", Answer::json(503, "").with("retry-after", "30")),
            ("truncated", Answer::json(200, "{\"data\":[{\"traces\":[{\"tra")),
            ("nothing", Answer::json(200, "")),
            ("a number", Answer::json(200, "77")),
            ("deeply nested", Answer::json(200, "[".repeat(90_000))),
            ("a web page", Answer::json(200, "<html><title>Log in</title></html>")),
            ("too long", Answer::json(200, " ".repeat(SIZE + 1))),
            ("broken off", Answer::BrokenOff),
        ] {
            let told = every_search(kind, answer).await;
            // What exactly is wrong is told by those who read it, and tested there.
            let told = match told.split_once("cannot be read: ") {
                Some((before, _)) => format!("{before}cannot be read: ..."),
                None => told,
            };
            writeln!(text, "== {name}\n{told}").unwrap();
        }
        insta::assert_snapshot!(format!("{kind:?}_wrong"), text);
    }
}

#[tokio::test]
async fn servers_that_hang_are_left_in_time() {
    let cases = ALL.into_iter().flat_map(|kind| {
        [("hangs", Answer::Hang), ("is slow", Answer::Slow), ("never ends", Answer::Endless)]
            .map(|(name, answer)| (kind, name, answer))
    });
    let told = cases.map(|(kind, name, answer)| async move {
        let told = every_search(kind, answer).await;
        format!("== {kind:?} {name}\n{}\n", told.lines().next().unwrap_or_default())
    });
    let text = futures_util::future::join_all(told).await.concat();
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_search_that_hangs_takes_nothing_from_the_others() {
    for kind in ALL {
        let server = Server::start().await;
        kind.set_good(&server);
        let [path, version] = kind.search("canary");
        let failed = match kind {
            Kind::Jaeger | Kind::Legacy => "error%22%3A%22true",
            Kind::Tempo => "status+%3D+error",
            Kind::Zipkin => "and+error",
            Kind::Datadog => "status:error",
        };
        server.set(&[path, version, failed], Answer::Hang);
        let began = Instant::now();
        let fetched = kind.store(&server.url).unwrap().fetch(&ask()).await.unwrap();
        assert!(began.elapsed() < 2 * BUDGET, "{kind:?}");
        assert_eq!((fetched.baseline.len(), fetched.canary.len()), (3, 3), "{kind:?}");
        let told = fetched.notes.join("\n");
        assert!(told.contains("did not answer within 1000 ms"), "{kind:?}: {told}");
    }
}

#[tokio::test]
async fn nobody_is_there() {
    for kind in ALL {
        let error = kind.store("http://127.0.0.1:9").unwrap().fetch(&ask()).await.unwrap_err();
        let text = without_port(&error.to_string());
        assert!(text.starts_with("http://127.0.0.1:PORT/ cannot be reached"), "{kind:?}: {text}");
    }
}

#[tokio::test]
async fn credentials_that_are_refused_are_told_after_few_requests() {
    let mut text = String::new();
    for kind in ALL {
        let server = Server::start().await;
        server.set_all(Answer::json(403, kind_of_refusal(kind)));
        let result = kind.store(&server.url).unwrap().fetch(&ask()).await;
        writeln!(text, "== {kind:?}\n{}", told(&result)).unwrap();
        assert!(server.seen().len() <= 8, "{kind:?}: {}", requests(&server.seen()));
    }
    insta::assert_snapshot!(text);
}

fn kind_of_refusal(kind: Kind) -> String {
    match kind {
        Kind::Datadog => String::from_utf8(kind.reply("error-403.json")).unwrap(),
        Kind::Jaeger | Kind::Legacy | Kind::Tempo | Kind::Zipkin => "no, hunter2".to_owned(),
    }
}

#[tokio::test]
async fn what_the_stores_say_is_missing_is_told() {
    let mut text = String::new();
    for (kind, reply) in [
        (Kind::Legacy, "legacy-partial.json"),
        (Kind::Tempo, "search-partial.json"),
        (Kind::Datadog, "search-partial.json"),
    ] {
        let server = Server::start().await;
        kind.set_good(&server);
        let arm = if kind == Kind::Legacy { "baseline" } else { "canary" };
        server.set(&kind.search(arm), Answer::json(200, kind.reply(reply)));
        match kind {
            Kind::Tempo => server.set(
                &["/api/metrics/query?", "version+%3D+%221.1"],
                Answer::json(200, kind.reply("count-partial.json")),
            ),
            Kind::Datadog => server
                .set(&["/api/v2/query/scalar"], Answer::json(200, kind.reply("hits-none.json"))),
            Kind::Jaeger | Kind::Legacy | Kind::Zipkin => {}
        }
        let result = kind.store(&server.url).unwrap().fetch(&ask()).await;
        writeln!(text, "== {kind:?}\n{}", told(&result)).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_tempo_that_lags_is_asked_again_later() {
    let kind = Kind::Tempo;
    let lag = Answer::Whole(500, Vec::new(), kind.reply("lag-500.txt"));
    let mut text = every_search(kind, lag).await;
    let server = Server::start().await;
    let mut asked = ask();
    asked.to = "2026-11-24T10:29:31Z".parse().unwrap();
    text += &format!("\n{}", told(&kind.store(&server.url).unwrap().fetch(&asked).await));
    assert!(server.seen().is_empty());
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn traces_that_are_gone_or_cut_are_told() {
    let mut text = String::new();
    for (kind, answer) in [
        (Kind::Tempo, Answer::json(404, "")),
        (Kind::Datadog, Answer::json(404, "{}")),
        (Kind::Datadog, Answer::json(200, r#"{"data":{"attributes":{"is_truncated":true}}}"#)),
    ] {
        let server = Server::start().await;
        kind.set_good(&server);
        server.set(&[&kind.trace_path("canary", 2)], answer);
        let fetched = kind.store(&server.url).unwrap().fetch(&ask()).await;
        writeln!(text, "== {kind:?}\n{}", told(&fetched)).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_jaeger_without_v3_or_with_an_old_one_is_asked_as_before() {
    let kind = Kind::Legacy;
    let mut text = String::new();
    let (before, services) = (kind.reply("v3-400-before-2.19.json"), kind.reply("services.json"));
    for (name, services, search) in [
        ("no v3", Answer::json(404, "404 page not found"), Answer::json(404, "")),
        ("its page", Answer::json(200, "<html></html>"), Answer::json(200, "<html></html>")),
        ("before 2.19", Answer::json(200, services), Answer::json(400, before)),
    ] {
        let server = Server::start().await;
        kind.set_good(&server);
        server.set(&["/api/v3/services"], services);
        server.set(&["/api/v3/traces"], search);
        let store = kind.store(&server.url).unwrap();
        assert_eq!(store.fetch(&ask()).await.unwrap().canary.len(), 3, "{name}");
        let first = server.seen().len();
        assert_eq!(store.fetch(&ask()).await.unwrap().canary.len(), 3, "{name}");
        let seen = server.seen();
        let v3 = |seen: &[crate::server::Seen]| {
            seen.iter().filter(|one| one.path.starts_with("/api/v3")).count()
        };
        // What was found out is remembered.
        assert_eq!(v3(&seen[first..]), 0, "{name}");
        writeln!(text, "{name}: {} requests to v3", v3(&seen)).unwrap();
    }
    // A newer Jaeger has no older search any more: the next reading finds its v3.
    let server = Server::start().await;
    kind.set_good(&server);
    let store = kind.store(&server.url).unwrap();
    store.fetch(&ask()).await.unwrap();
    server.clear();
    Kind::Jaeger.set_good(&server);
    writeln!(text, "gone: {}", told(&store.fetch(&ask()).await)).unwrap();
    assert_eq!(store.fetch(&ask()).await.unwrap().canary.len(), 3);
    let nobody = Server::start().await;
    let wrong = kind.store(&nobody.url).unwrap().fetch(&ask()).await;
    writeln!(text, "neither: {}", told(&wrong)).unwrap();
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_reading_ends_with_its_time_and_says_so() {
    let kind = Kind::Zipkin;
    let server = Server::start().await;
    kind.set_good(&server);
    server.set(&["limit=1&"], Answer::Hang);
    let store = kind.within(&server.url, Duration::from_millis(300)).unwrap();
    let began = Instant::now();
    let text = told(&store.fetch(&ask()).await);
    assert!(began.elapsed() < Duration::from_secs(2));
    insta::assert_snapshot!(text);
}
