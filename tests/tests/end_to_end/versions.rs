//! Versions that cannot run: each is rolled back and reverted, and the message says what to mend.

use serde_json::json;

use crate::harness::{World, is_gone, says, text};
use crate::shop::{BINARY, Policy, good, version};

/// The policy is a part of what is deployed, and is reverted with it.
async fn world() -> (World, Policy) {
    let mut world = World::new().await;
    let policy = world.policy().with("paths", "[shop/**, .serin/shop.yaml]");
    world.open_shop(&policy).await;
    (world, policy)
}

fn with_command(policy: &Policy, command: &[&str], start_timeout: &str) -> Policy {
    let target = json!({ "process": {
        "command": command, "health": "/healthz", "startTimeout": start_timeout, "stopGrace": "1s",
    } });
    policy.clone().with("target", &target.to_string())
}

async fn undone(world: &World, policy: &Policy, bad: &str, words: &[&str]) {
    let ended = world.ends(bad, "rolledBack").await;
    says(text(&ended["reason"]), words);
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    assert_eq!(world.forge.text(&policy.path()), Some(policy.text()));
    assert_eq!(world.forge.text("shop/service.yaml"), Some(good("Welcome")));
    assert_eq!(world.forge.reverts_of(bad), 1);
    assert_eq!(world.pid(bad), None, "the canary still runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_never_become_healthy_are_undone() {
    let (world, policy) = world().await;
    for (command, start_timeout, words) in [
        (
            vec!["./bin/shop"],
            "5s",
            vec!["could not be started", "cannot execute `./bin/shop`", "must be executable"],
        ),
        (
            vec!["sh", "-c", "echo no database >&2; exit 3"],
            "5s",
            vec!["ended before it was healthy", "exit status: 3", "no database"],
        ),
        (
            vec!["sleep", "60"],
            "500ms",
            vec!["was not healthy within 0.5 s", "must listen on the port in PORT"],
        ),
    ] {
        let broken = with_command(&policy, &command, start_timeout);
        let bad = world.forge.push("Run it otherwise", &[(&broken.path(), Some(&broken.text()))]);
        undone(&world, &policy, &bad, &words).await;
    }
    let counts = world.load.counts();
    assert_eq!(counts.unanswered, 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_crashes_again_and_again_is_undone_without_any_request() {
    let (world, policy) = world().await;
    world.load.set_rate(0.0);
    let script = format!(
        "{BINARY} demo-service --config shop/service.yaml & sleep 0.5; echo out of memory >&2; kill -9 $!; exit 7"
    );
    let broken = with_command(&policy, &["sh", "-c", &script], "5s");
    let bad = world.forge.push("Leak", &[(&broken.path(), Some(&broken.text()))]);
    let words = [
        "the canary ended by itself 3 times, stable 0 times; last: ",
        "exit status: 7",
        "out of memory",
    ];
    undone(&world, &policy, &bad, &words).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_version_that_ignores_sigterm_is_gone_all_the_same() {
    let (world, policy) = world().await;
    let script =
        format!("trap '' TERM; {BINARY} demo-service --config shop/service.yaml & wait; sleep 600");
    let stubborn = with_command(&policy, &["sh", "-c", &script], "5s");
    let bad = world.forge.push(
        "Be stubborn",
        &[
            (&stubborn.path(), Some(&stubborn.text())),
            ("shop/service.yaml", Some(&version(0.3, "No"))),
        ],
    );
    world.on_trial(&bad).await;
    let pid = world.pid(&bad).expect("it runs");
    undone(&world, &policy, &bad, &["errors: ", "of canary requests failed"]).await;
    assert!(is_gone(pid), "the stubborn process still runs");
}
