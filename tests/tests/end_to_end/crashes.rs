//! `kill -9` at every kind of moment: a restart changes nothing about the outcome.

use crate::harness::{World, is_gone, says, text};
use crate::receivers::{HttpForge, hook};
use crate::shop::{BINARY, good, version};

/// A world whose repository is served over HTTP, with a hook that holds pushes up until `go` is there.
async fn with_slow_pushes(end: &str) -> (World, HttpForge) {
    let mut world = World::new().await;
    let git = HttpForge::start(world.path()).await;
    world.repositories = vec![format!("{{ name: shop, url: \"{}\", poll: 1s }}", git.url)];
    let folder = world.path().display();
    let wait = format!(
        "touch {folder}/began\nfor i in $(seq 1200); do [ -e {folder}/go ] && break; sleep 0.05; done\n{end}"
    );
    hook(&world.forge.path, "pre-receive", &wait);
    let policy = world.policy();
    world.open_shop(&policy).await;
    (world, git)
}

/// Kills Serin while its push of a revert is under way, and starts it again.
async fn killed_while_reverting(end: &str) {
    let (mut world, _git) = with_slow_pushes(end).await;
    let first = world.forge.tip();
    let bad = world.forge.version("shop", "Add gift cards", &version(0.3, "Gift cards"));
    let began = world.path().join("began");
    world.until("the push is under way", async || began.exists().then_some(())).await;
    let live = world.service("shop").await["live"].clone();
    assert_eq!(
        (live["phase"].clone(), live["weight"].as_f64()),
        ("rolling back".into(), Some(0.0))
    );
    let stable = world.pid(&first).expect("it runs");
    world.kill();
    let lost = world.load.counts().unanswered;
    world
        .until("the proxy is gone", async || {
            (lost + 30 < world.load.counts().unanswered).then_some(())
        })
        .await;
    let seen = world.answers(&bad);
    std::fs::write(world.path().join("go"), "").expect("written");
    world.start().await;
    world.requests_work().await;
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    assert_eq!(world.forge.reverts_of(&bad), 1, "{:#?}", world.forge.log());
    assert_eq!(world.forge.log().len(), 3, "{:#?}", world.forge.log());
    assert_eq!(world.forge.text("shop/service.yaml"), Some(good("Welcome")));
    world.until("the canary is gone", async || world.pid(&bad).is_none().then_some(())).await;
    assert_eq!(world.answers(&bad), seen, "the canary's traffic came back");
    assert_eq!(world.pid(&first), Some(stable), "stable was not restarted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_a_push_that_lands_it_reverts_once() {
    killed_while_reverting("exit 0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_a_push_that_fails_it_reverts_once() {
    killed_while_reverting("[ -e $0.tried ] && exit 0; touch $0.tried; exit 1").await;
}

/// Kills Serin four times during one healthy rollout, so many answered requests apart.
async fn killed_often(moments: [u64; 4]) {
    let mut world = World::serving().await;
    let first = world.forge.tip();
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    let stable = world.pid(&first);
    let mut canary = None;
    for moment in moments {
        world.more_requests(moment).await;
        canary = canary.or(world.pid(&next).filter(|pid| !is_gone(*pid)));
        world.kill();
        let lives = [stable, canary].into_iter().flatten().filter(|pid| !is_gone(*pid)).count();
        assert!(1 <= lives, "versions outlive Serin");
        world.start().await;
        world.requests_work().await;
        if world.service("shop").await["stable"]["revision"] == *first {
            assert_eq!(world.pid(&first), stable, "stable is adopted, not restarted");
        }
    }
    world.ends(&next, "promoted").await;
    world.serves(&next).await;
    assert!(canary.is_some(), "{moments:?} are too early to kill it on trial");
    assert_eq!(world.pid(&next), canary, "the canary is adopted, not restarted");
    world
        .until("the old version is gone", async || world.pid(&first).is_none().then_some(()))
        .await;
    assert_eq!(world.forge.tip(), next, "nothing was reverted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_early_and_often_a_good_commit_is_still_promoted() {
    killed_often([190, 150, 100, 60]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_late_and_often_a_good_commit_is_still_promoted() {
    killed_often([330, 270, 410, 230]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_the_bake_it_bakes_on() {
    let mut world = World::new().await;
    let policy = world.policy().with("bake", "3s");
    let first = world.open_shop(&policy).await;
    let stable = world.pid(&first);
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    world.live("it bakes", |live| live["phase"] == "baking" && live["confirmed"] == true).await;
    let old = world.answers(&first);
    world.kill();
    world.start().await;
    world.requests_work().await;
    let live = world.service("shop").await["live"].clone();
    assert_eq!((live["phase"].clone(), live["weight"].as_f64()), ("baking".into(), Some(1.0)));
    assert_eq!(world.pid(&first), stable, "the old version stays warm");
    world.ends(&next, "promoted").await;
    let now = world.answers(&first);
    assert!(now.ok + now.failed <= old.ok + old.failed + 20, "the old version got traffic again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_the_promotion_it_promotes() {
    let mut world = World::new().await;
    // The first version ignores SIGTERM, so that the promotion takes as long as the grace.
    let stubborn =
        format!("trap '' TERM; {BINARY} demo-service --config shop/service.yaml & wait; sleep 60");
    let target = serde_json::json!({ "process": {
        "command": ["sh", "-c", stubborn], "health": "/healthz", "startTimeout": "10s", "stopGrace": "4s",
    } });
    let policy = world.policy().with("target", &target.to_string());
    let first = world.open_shop(&policy).await;
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    let old = world.pid(&first);
    world.live("it is promoted", |live| live["phase"] == "promoting").await;
    world.kill();
    world.start().await;
    world.requests_work().await;
    let now = world.pid(&first);
    assert!(now.is_none() || now == old, "the old version is started again");
    let ended = world.ends(&next, "promoted").await;
    says(text(&ended["reason"]), &["passed every step"]);
    world.serves(&next).await;
    world
        .until("the old version is gone", async || world.pid(&first).is_none().then_some(()))
        .await;
    let before = world.answers(&next).ok;
    world.more_requests(100).await;
    assert!(before + 80 <= world.answers(&next).ok, "the new version serves everything");
}
