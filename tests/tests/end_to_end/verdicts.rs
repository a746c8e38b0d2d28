//! The main job: a good commit is promoted, a failing one is rolled back, reverted and told of.

use crate::harness::{World, says, text};
use crate::shop::{good, version};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_commit_is_promoted_and_its_process_serves_alone() {
    let world = World::serving().await;
    let first = world.forge.tip();
    let old = world.pid(&first).expect("it runs");
    let next = world.forge.version("shop", "Greet people by name", &good("Hello"));
    let waited = world.cli(&["wait", "shop", "--revision", &next, "--timeout", "50s"]).await;
    assert_eq!(waited.code, 0, "{waited:?}");
    let ended = world.ends(&next, "promoted").await;
    says(text(&ended["reason"]), &["passed every step and the bake of 1s"]);
    world.serves(&next).await;
    assert!(crate::harness::is_gone(old), "the old version still runs");
    let counts = world.load.counts();
    assert_eq!(counts.unanswered, 0, "{counts:?}");
    assert_eq!(world.forge.tip(), next, "nothing was written to Git");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_commit_is_rolled_back_reverted_and_quarantined() {
    let world = World::serving().await;
    let first = world.forge.tip();
    let bad = world.forge.version("shop", "Add gift cards", &version(0.3, "Gift cards"));
    let waited = world.cli(&["wait", "shop", "--revision", &bad, "--timeout", "50s"]).await;
    assert_eq!(waited.code, 1, "{waited:?}");
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    let log = world.forge.log();
    assert_eq!(log.len(), 3, "{log:#?}");
    let (tip, message) = &log[0];
    assert_eq!(ended["git"]["revision"], **tip);
    says(
        message,
        &[
            "Revert \"Add gift cards\"\n",
            "\nReverts-Deployment: shop-",
            "\nRollback-Reason: errors: ",
        ],
    );
    says(message, &[&format!("{first}..{bad}\n"), "Evidence:\n  errors: "]);
    assert_eq!(world.forge.text("shop/service.yaml"), Some(good("Welcome")));
    says(&world.forge.text(".serin/quarantine.yaml").expect("a list"), &["shop", &bad]);
    let story = world.cli(&["explain", text(&ended["id"])]).await;
    assert_eq!(story.code, 0, "{story:?}");
    says(
        &story.out,
        &["\"Add gift cards\" by Ada Lovelace", "rolledBack: ", "\nevidence\n", "errors"],
    );
    says(&story.out, &["what happened", "stable serves all traffic again; Git is next"]);
    is_judged_alike_offline(&world, text(&ended["id"])).await;
    // The watcher takes the revert for what it is, and the service is at rest.
    world
        .until("the revert is seen", async || {
            let shop = world.service("shop").await;
            (shop["stable"]["verified"] == **tip).then_some(())
        })
        .await;
    let shop = world.service("shop").await;
    assert_eq!(shop["stable"]["revision"], first);
    assert!(shop["live"].is_null() && shop["hold"].is_null(), "{shop:#}");
    let before = world.answers(&bad);
    world.more_requests(100).await;
    assert_eq!(world.answers(&bad), before, "the canary still gets traffic");
}

/// The evidence as a file gives the same verdict to another process, and another verdict once it is changed.
async fn is_judged_alike_offline(world: &World, deployment: &str) {
    let file = world.path().join("evidence.ndjson");
    let path = file.to_str().expect("plain text");
    let written = world.cli(&["explain", deployment, "--bundle", path]).await;
    assert_eq!(written.code, 0, "{written:?}");
    says(&written.out, &["serin replay "]);
    let replayed = world.cli(&["replay", path]).await;
    assert_eq!(replayed.code, 0, "{replayed:?}");
    says(&replayed.out, &["\"Add gift cards\" of shop", "rolled back: ", "\nfail: errors: "]);
    says(&replayed.out, &["the same verdict as recorded, bit for bit"]);
    let recorded = std::fs::read_to_string(&file).expect("it was written");
    let at = recorded.find("\"events\": 0, ").expect("a scrape without a failure");
    let changed = format!("{}1{}", &recorded[..at + 10], &recorded[at + 11..]);
    std::fs::write(&file, changed).expect("it is ours");
    let other = world.cli(&["replay", path]).await;
    assert_eq!(other.code, 1, "{other:?}");
    says(&other.out, &["their checksum differs", "not the verdict that was recorded: "]);
}
