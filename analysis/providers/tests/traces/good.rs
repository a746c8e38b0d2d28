//! What is asked of each store, and what its recorded replies become.

use std::fmt::Write as _;

use analysis_traces::{EntrySubtree, Kept, Settings, compare};

use crate::server::{Answer, Server};
use crate::stores::{ALL, Kind, ask};
use crate::told::{requests, told};

#[tokio::test]
async fn both_versions_are_read() {
    for kind in ALL {
        let server = Server::start().await;
        kind.set_good(&server);
        let store = kind.store(&server.url).unwrap();
        let fetched = store.fetch(&ask()).await;
        insta::assert_snapshot!(format!("{kind:?}_read"), told(&fetched));
        insta::assert_snapshot!(format!("{kind:?}_requests"), requests(&server.seen()));
        for seen in server.seen() {
            let name = if kind == Kind::Datadog { "dd-api-key" } else { "authorization" };
            assert!(seen.headers.contains_key(name), "{kind:?}: {}", seen.path);
            let tenant = seen.headers.get("x-scope-orgid").map(|tenant| tenant.to_str().unwrap());
            assert_eq!(tenant, (kind == Kind::Tempo).then_some("tenant-7"));
        }
        let fetched = fetched.unwrap();
        let found = compare(&fetched.baseline, &fetched.canary, &Settings::default(), None);
        assert_eq!((found.baseline.traces, found.canary.traces), (3, 3), "{kind:?}");
    }
}

/// Twenty-four traces of the baseline, so that it is known what is slow.
fn many(of: &str, n: u64) -> String {
    of.replace("4b01", &format!("{:04x}", 0x5000 + n))
}

#[tokio::test]
async fn slow_and_failed_traces_are_asked_for_in_both_versions_alike() {
    let kind = Kind::Tempo;
    let server = Server::start().await;
    kind.set_good(&server);
    let search = String::from_utf8(kind.reply("search-baseline.json")).unwrap();
    let search: serde_json::Value = serde_json::from_str(&search).unwrap();
    let trace = String::from_utf8(kind.reply("trace-baseline-1.json")).unwrap();
    let [path, version] = kind.search("baseline");
    // Eight parts of the time with three traces each.
    for (n, start) in (0..8).map(|part| (3 * part, 1_795_514_400 + 75 * part)) {
        let mut part = search.clone();
        for (place, n) in (n..n + 3).enumerate() {
            let one = many(&search["traces"][0].to_string(), n);
            part["traces"][place] = serde_json::from_str(&one).unwrap();
            let id = many(&kind.trace_path("baseline", 1), n);
            server.set(&[&id], Answer::json(200, many(&trace, n)));
        }
        let start = format!("start={start}");
        server.set(&[path, version, &start], Answer::json(200, part.to_string()));
    }
    let fetched = kind.store(&server.url).unwrap().fetch(&ask()).await.unwrap();
    assert_eq!(fetched.baseline.len(), 24);
    let count = |kept| fetched.canary.iter().filter(|one| one.kept() == kept).count();
    // The same answer to every search: found as they came, and so never again as slow or failed ones.
    assert_eq!([count(Kept::Uniform), count(Kept::Slow), count(Kept::Error)], [3, 0, 0]);
    let all = requests(&server.seen());
    let searches: Vec<&str> = all.lines().filter(|line| line.contains("| select")).collect();
    insta::assert_snapshot!(searches.join("\n"));
}

#[tokio::test]
async fn failed_traces_that_only_their_search_finds_are_kept_as_such() {
    for kind in ALL {
        let server = Server::start().await;
        kind.set_good(&server);
        let failed = match kind {
            Kind::Jaeger | Kind::Legacy => "error%22%3A%22true",
            Kind::Tempo => "status+%3D+error",
            Kind::Zipkin => "and+error",
            Kind::Datadog => "status:error",
        };
        let [path, version] = kind.search("canary");
        server.set(&[path, version], kind.found("baseline"));
        server.set(&[path, version, failed], kind.found("canary"));
        let fetched = kind.store(&server.url).unwrap().fetch(&ask()).await.unwrap();
        let kept: Vec<Kept> = fetched.canary.iter().map(EntrySubtree::kept).collect();
        assert!(
            kept.len() >= 2 && kept.iter().all(|kept| *kept == Kept::Error),
            "{kind:?}: {:?}",
            fetched.notes
        );
    }
}

#[tokio::test]
async fn an_arm_without_traces_is_told() {
    let mut text = String::new();
    for kind in ALL {
        let server = Server::start().await;
        kind.set_base(&server);
        server.set(&[kind.any_search()], kind.nothing());
        let store = kind.store(&server.url).unwrap();
        let both = told(&store.fetch(&ask()).await);
        server.set(&kind.search("baseline"), kind.found("baseline"));
        let one = told(&store.fetch(&ask()).await);
        writeln!(text, "== {kind:?}, neither\n{both}\n== {kind:?}, no canary\n{one}").unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn traces_without_a_label_are_told_what_to_do() {
    let mut text = String::new();
    for kind in ALL {
        let server = Server::start().await;
        kind.set_unlabelled(&server);
        let result = kind.store(&server.url).unwrap().fetch(&ask()).await;
        writeln!(text, "== {kind:?}\n{}", told(&result)).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn another_label_is_tried_when_the_version_finds_nothing() {
    let server = Server::start().await;
    let kind = Kind::Jaeger;
    kind.set_base(&server);
    server.set(&[kind.any_search()], kind.nothing());
    let hash = "vcs.ref.head.revision%22%3A%22";
    let relabelled = |arm: &str, digit: &str| {
        let text = String::from_utf8(kind.reply(&format!("v3-{arm}.json"))).unwrap();
        let version = if arm == "canary" { "1.1" } else { "1.0" };
        let text = text.replace("service.version", "vcs.ref.head.revision");
        Answer::json(
            200,
            text.replace(&format!("\"{version}\""), &format!("\"{}\"", digit.repeat(7))),
        )
    };
    server.set(&[&format!("{hash}aaaaaaa%22")], relabelled("baseline", "a"));
    server.set(&[&format!("{hash}ccccccc%22")], relabelled("canary", "c"));
    let fetched = kind.store(&server.url).unwrap().fetch(&ask()).await;
    insta::assert_snapshot!(told(&fetched));
}

#[tokio::test]
async fn instances_tell_the_arms_where_nothing_else_does() {
    for kind in ALL {
        let mut asked = ask();
        for (label, arm) in
            [(&mut asked.arms.baseline, "baseline"), (&mut asked.arms.canary, "canary")]
        {
            label.version = Some("latest".into());
            label.revision = None;
            label.instances = vec![format!("checkout-{arm}-1"), format!("checkout-{arm}-2")];
        }
        let server = Server::start().await;
        kind.set_base(&server);
        server.set(&[kind.any_search()], kind.nothing());
        for arm in ["baseline", "canary"] {
            server.set(&[kind.any_search(), &format!("checkout-{arm}-1")], kind.found(arm));
        }
        let fetched = kind.store(&server.url).unwrap().fetch(&asked).await;
        let fetched = fetched.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!((fetched.baseline.len(), fetched.canary.len()), (3, 3), "{kind:?}");
    }
}

#[tokio::test]
async fn versions_that_do_not_differ_are_refused() {
    let mut asked = ask();
    asked.arms.canary = asked.arms.baseline.clone();
    let server = Server::start().await;
    let kind = Kind::Zipkin;
    let store = kind.store(&server.url).unwrap();
    let mut text = told(&store.fetch(&asked).await);
    assert!(server.seen().is_empty());
    let mut asked = ask();
    asked.to = asked.from;
    text += &format!("\n{}", told(&store.fetch(&asked).await));
    insta::assert_snapshot!(text);
}
