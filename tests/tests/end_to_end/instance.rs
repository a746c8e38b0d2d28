//! Serin itself: a second one, ports in use, SIGTERM, repositories that cannot be read.

use std::net::TcpListener;
use std::process::Command;

use crate::harness::{Said, World, is_gone, said, says, text};
use crate::receivers::{HttpForge, Receiver};
use crate::shop::{good, version};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_serin_on_one_journal_or_one_port_refuses() {
    let world = World::serving().await;
    let second = run(world.command()).await;
    assert_eq!(second.code, 2, "{second:?}");
    says(
        &second.err,
        &["is in use by another Serin; stop that one, or give this one a `journal` of its own"],
    );
    let mut other = World::new().await;
    other.page = world.page;
    let refused = run(other.command()).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    says(
        &refused.err,
        &["failed to listen on 127.0.0.1:", "set `listen` in serin.yaml to a free one"],
    );
    world.requests_work().await;
}

async fn run(command: Command) -> Said {
    said(tokio::process::Command::from(command).kill_on_drop(true)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_port_is_in_use_serves_when_it_is_free() {
    let mut world = World::new().await;
    let other = TcpListener::bind(("127.0.0.1", world.proxy)).expect("free");
    let policy = world.policy();
    let first = world.forge.push(
        "Open the shop",
        &[(&policy.path(), Some(&policy.text())), ("shop/service.yaml", Some(&good("Welcome")))],
    );
    world.start().await;
    let shop = world
        .until("it is told", async || {
            let shop = world.service("shop").await;
            text(&shop["reason"]["reason"]).contains("in use").then_some(shop)
        })
        .await;
    says(text(&shop["reason"]["reason"]), &["is in use by another program", "hint", "ss -ltnp"]);
    drop(other);
    world.serves(&first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_everything_in_order_and_a_restart_goes_on() {
    let mut world = World::new().await;
    let policy = world.policy().with("steps", "[{ weight: 20%, atLeast: 10m, deadline: 20m }]");
    let first = world.open_shop(&policy).await;
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    world.on_trial(&next).await;
    let pids = [&first, &next].map(|revision| world.pid(revision).expect("it runs"));
    let status = world.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", world.log());
    for pid in pids {
        assert!(is_gone(pid), "a process outlives Serin");
    }
    assert_eq!(world.processes(), []);
    let seen = world.answers(&next);
    world.start().await;
    world.requests_work().await;
    world
        .until("the canary has its share again", async || {
            (seen.ok + 20 < world.answers(&next).ok).then_some(())
        })
        .await;
    let live = world.on_trial(&next).await;
    assert_eq!(live["weight"].as_f64(), Some(0.2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_repository_is_told_and_deployed_once_it_has_a_commit() {
    let mut world = World::new().await;
    world.start().await;
    says(&world.trouble("repository shop").await, &["has no commit yet; push one"]);
    let policy = world.policy();
    let first = world.forge.push(
        "Open the shop",
        &[(&policy.path(), Some(&policy.text())), ("shop/service.yaml", Some(&good("Welcome")))],
    );
    world.serves(&first).await;
    assert_eq!(world.troubles().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_repository_is_told_and_nothing_else_happens() {
    let mut world = World::new().await;
    let git = HttpForge::start(world.path()).await;
    world.repositories = vec![format!("{{ name: shop, url: \"{}\", poll: 1s }}", git.url)];
    let policy = world.policy();
    let first = world.open_shop(&policy).await;
    let away = world.path().join("away.git");
    std::fs::rename(&world.forge.path, &away).expect("moved");
    says(
        &world.trouble("repository shop").await,
        &["there is no Git repository at", "check the spelling"],
    );
    world.more_requests(100).await;
    assert_eq!(world.service("shop").await["stable"]["revision"], *first);
    std::fs::rename(&away, &world.forge.path).expect("moved");
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    world.ends(&next, "promoted").await;
    assert_eq!(world.troubles().await, "");
    drop(git);
    says(
        &world.trouble("repository shop").await,
        &["cannot reach the repository", "Serin tries again by itself"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_force_pushed_branch_is_judged_but_never_written_by_itself() {
    let world = World::serving().await;
    let first = world.forge.tip();
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    world.ends(&next, "promoted").await;
    world.forge.point(&first);
    let bad = world.forge.version("shop", "Rewrite history", &version(0.3, "Rewritten"));
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], false, "{ended:#}");
    says(text(&ended["git"]["sentence"]), &["the branch was rewritten"]);
    assert_eq!(world.forge.tip(), bad, "nothing was written");
    says(
        text(&world.service("shop").await["hold"]),
        &["the branch was rewritten", "serin approve"],
    );
    assert_eq!(world.service("shop").await["stable"]["revision"], *next);
    world.requests_work().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_own_actions_are_traced() {
    let mut world = World::new().await;
    let collector = Receiver::start(&world.forge.path).await;
    let endpoint = collector.url.trim_end_matches("/hook").to_owned();
    world.settings = format!("telemetry: {{ otlp: \"{endpoint}\" }}\n");
    world.open_shop(&world.policy()).await;
    // The last spans are sent before it ends.
    assert!(world.terminate().await.success());
    // Names of a span, of its service and of a field, in protobuf: plain bytes.
    for word in ["action", "serin", "adopt"] {
        assert!(!collector.about(word).is_empty(), "no span with {word}: {}", world.log());
    }
}
