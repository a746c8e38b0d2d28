//! What the policy and the instance say about writing to Git, and who is told.

use alerts_notifiers::{SigningKey, StandardHeaders, verify};
use jiff::Timestamp;
use serde_json::Value;

use crate::harness::{World, free_port, says, text};
use crate::receivers::Receiver;
use crate::shop::{good, version};

/// A failing commit whose revert is only shown.
async fn shows_the_patch(world: &World, why: &str) {
    let bad = world.forge.version("shop", "Add gift cards", &version(0.3, "Gift cards"));
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], false, "{ended:#}");
    says(text(&ended["git"]["sentence"]), &[why]);
    let story = world.cli(&["explain", text(&ended["id"])]).await;
    says(
        &story.out,
        &["what a revert would write:", "-# Gift cards", "+# Welcome", "shop/service.yaml"],
    );
    assert_eq!(world.forge.tip(), bad, "nothing is pushed");
    let shop = world.service("shop").await;
    assert!(shop["hold"].is_null(), "nobody has to decide: {shop:#}");
    // The next commit is tried as usual.
    let next = world.forge.version("shop", "Mend it", &good("Mended"));
    world.ends(&next, "promoted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revert_none_shows_the_patch_and_pushes_nothing() {
    let mut world = World::new().await;
    let policy = world.policy().with("onFail", "{ revert: none }");
    world.open_shop(&policy).await;
    shows_the_patch(&world, "`revert: none`").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_dry_run_shows_the_patch_and_pushes_nothing() {
    let mut world = World::new().await;
    world.repositories[0] = world.repositories[0].replace("poll: 1s", "poll: 1s, onlyDryRun: true");
    let policy = world.policy();
    world.open_shop(&policy).await;
    shows_the_patch(&world, "serin.yaml says that nothing is pushed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_circuit_breaker_asks_a_person_and_approve_lets_the_revert_through() {
    let mut world = World::new().await;
    let policy = world.policy().with("onFail", "{ revert: push, limits: [1 per 1h] }");
    world.open_shop(&policy).await;
    let one = world.forge.version("shop", "Break it", &version(0.3, "Broken"));
    assert_eq!(world.ends(&one, "rolledBack").await["git"]["undone"], true);
    let two = world.forge.version("shop", "Break it again", &version(0.3, "Broken again"));
    let ended = world.ends(&two, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], false, "{ended:#}");
    let shop = world.service("shop").await;
    says(
        text(&shop["hold"]),
        &["the circuit breaker allows 1 automatic reverts within 1h", "serin approve"],
    );
    assert_eq!(shop["approvable"], true);
    assert_eq!(world.forge.tip(), two);
    says(&world.cli(&["status"]).await.out, &["waits for a person: "]);
    says(&world.cli(&["approve", "shop"]).await.out, &["ada approved the revert"]);
    world
        .until("the revert is pushed", async || (world.forge.reverts_of(&two) == 1).then_some(()))
        .await;
    world
        .until("the hold is over", async || {
            world.service("shop").await["hold"].is_null().then_some(())
        })
        .await;
    assert_eq!(world.forge.text("shop/service.yaml"), Some(good("Welcome")));
    let next = world.forge.version("shop", "Mend it", &good("Mended"));
    world.ends(&next, "promoted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_after_traffic_and_git_with_reason_and_numbers() {
    let mut world = World::new().await;
    let slack = Receiver::start(&world.forge.path).await;
    let hook = Receiver::start(&world.forge.path).await;
    let secret = "whsec_c2VyaW4gc2lnbnMgd2l0aCB0aGlzIHNlY3JldA==";
    world.environment = vec![
        ("SLACK_URL".to_owned(), slack.url.clone()),
        ("HOOK_SECRET".to_owned(), secret.to_owned()),
    ];
    world.settings = format!(
        "notifiers:\n  - {{ name: deploys, slack: {{ webhookFrom: {{ env: SLACK_URL }} }} }}\n  - {{ name: pipeline, webhook: {{ url: \"{}\", secretFrom: {{ env: HOOK_SECRET }} }} }}\n",
        hook.url
    );
    let policy = world.policy().with("notify", "[deploys, pipeline]");
    world.open_shop(&policy).await;
    let bad = world.forge.version("shop", "Add gift cards", &version(0.3, "Gift cards"));
    let ended = world.ends(&bad, "rolledBack").await;
    let revert = text(&ended["git"]["revision"]).to_owned();
    let of = |receiver: &Receiver| receiver.about(text(&ended["id"]));
    world
        .until("both are told", async || {
            (!of(&slack).is_empty() && !of(&hook).is_empty()).then_some(())
        })
        .await;
    for receiver in [&slack, &hook] {
        let [message] = &of(receiver)[..] else {
            panic!("told more than once: {:#?}", of(receiver))
        };
        assert_eq!(message.tip, revert, "told after Git");
        says(
            &message.text(),
            &[
                "Add gift cards",
                "Ada Lovelace",
                "of canary requests failed",
                &bad[..7],
                &revert[..7],
            ],
        );
        says(&message.text(), &[&format!("http://127.0.0.1:{}/deployments/", world.page)]);
    }
    let message = &of(&hook)[0];
    let header = |name: &str| message.headers.get(name).and_then(|value| value.to_str().ok());
    let standard = StandardHeaders {
        id: header(verify::ID),
        timestamp: header(verify::TIMESTAMP),
        signature: header(verify::SIGNATURE),
    };
    let second = header(verify::TIMESTAMP).and_then(|s| s.parse().ok()).expect("a time");
    let at = Timestamp::from_second(second).expect("a time");
    let key = [SigningKey::parse(secret).expect("a key")];
    verify::standard(&key, &standard, &message.body, at).expect("the signature is right");
    let event: Value = serde_json::from_slice(&message.body).expect("JSON");
    assert_eq!(event["subject"], "shop");
    says(text(&event["type"]), &["dev.serin."]);
    let shown = [slack.about("first version"), hook.about("first version")];
    assert_eq!(shown.map(|m| m.len()), [1, 1], "the first version is told of, once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_could_be_told_is_told_after_a_crash() {
    let mut world = World::new().await;
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/hook");
    world.environment = vec![("SLACK_URL".to_owned(), url)];
    world.settings =
        "notifiers: [{ name: deploys, slack: { webhookFrom: { env: SLACK_URL } } }]\n".to_owned();
    let policy = world.policy().with("notify", "[deploys]");
    world.open_shop(&policy).await;
    let bad = world.forge.version("shop", "Add gift cards", &version(0.3, "Gift cards"));
    let ended = world.ends(&bad, "rolledBack").await;
    world.kill();
    let hook = Receiver::at(port, &world.forge.path).await;
    world.start().await;
    let told = async || (!hook.about(text(&ended["id"])).is_empty()).then_some(());
    world.until("it is told", told).await;
    says(&hook.about(text(&ended["id"]))[0].text(), &["Add gift cards", "canary requests failed"]);
    says(&hook.about("first version")[0].text(), &["shop"]);
}
