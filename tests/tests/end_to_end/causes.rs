//! What spans, journeys and a comparison of traces add: errors that nobody saw before, a gate before any traffic, and
//! a revert that says what was to blame.

use crate::harness::{World, says, text};
use crate::shop::{BINARY, Policy, good, version};

/// Opens a shop that has never failed.
async fn flawless(world: &mut World, policy: &Policy) -> String {
    let files = [
        (&*policy.path(), Some(&*policy.text())),
        ("shop/service.yaml", Some(&*version(0.0, "Welcome"))),
    ];
    let first = world.forge.push("Open the shop", &files);
    world.start().await;
    world.serves(&first).await;
    world.load.set_rate(250.0);
    first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_nobody_saw_before_undoes_a_version_and_names_its_line() {
    let mut world = World::new().await;
    // No check counts failures: what speaks is the error itself.
    // Spans come late: a rollout that is over in seconds would be over before them.
    let policy = world
        .policy()
        .with("checks", "[latency, newErrors]")
        .with("steps", "[{ weight: 25%, atLeast: 30s, deadline: 2m }]");
    flawless(&mut world, &policy).await;
    let bad = world.forge.version("shop", "Add gift cards", &version(0.05, "Gift cards"));
    let ended = world.ends(&bad, "rolledBack").await;
    says(text(&ended["reason"]), &["newErrors: new error `ShopError", "in none of stable's"]);
    says(text(&ended["cause"]), &["new error `ShopError", "shop/service.yaml:3", &bad[..7]]);
    let (_, message) = &world.forge.log()[0];
    says(message, &["\nCause:\n", "shop/service.yaml", "Reverts-Deployment: shop-"]);
    let id = text(&ended["id"]);
    let story = world.cli(&["explain", id]).await;
    says(&story.out, &["\nroot cause\n", "new error", "what happened"]);
    let told = world.get(&format!("/api/v1/deployments/{id}")).await;
    assert_eq!(told["cause"]["root"]["findings"][0]["cause"], "newError", "{:#}", told["cause"]);
    let page = text(&world.get(&format!("/deployments/{id}")).await).to_owned();
    says(&page, &["Root cause", "new error", "shop/service.yaml"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_fails_its_journeys_never_gets_a_request_of_anybody() {
    let mut world = World::new().await;
    let journey = "[{ name: buy, every: 200ms, timeout: 2s, gate: 20, requests: [{ get: /, expect: { status: 2xx } }, \
                   { get: /checkout, expect: { status: 200, within: 1s } }] }]";
    let policy = world.policy().with("journeys", journey);
    world.open_shop(&policy).await;
    let next = world.forge.version("shop", "Greet people by name", &good("Hello"));
    let ended = world.ends(&next, "promoted").await;
    let story = world.cli(&["explain", text(&ended["id"])]).await;
    says(&story.out, &["no traffic to the canary yet", "the journeys pass on the canary"]);
    let bad = world.forge.version("shop", "Add gift cards", &version(1.0, "Gift cards"));
    let ended = world.ends(&bad, "rolledBack").await;
    says(text(&ended["reason"]), &["buy: of ", "failed on the canary alone"]);
    assert!(ended["exposed"].is_null(), "{ended:#}");
    let answers = world.answers(&bad);
    assert_eq!(answers.ok + answers.failed, 0, "somebody was served by it: {answers:?}");
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    says(text(&ended["cause"]), &["shop/service.yaml"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_traces_new_errors_hold_the_weight_and_say_what_to_set() {
    let mut world = World::new().await;
    let target = serde_json::json!({ "process": {
        "command": [BINARY, "demo-service", "--config", "shop/service.yaml"],
        // Another name than the policy's: its spans are somebody else's.
        "environment": { "OTEL_SERVICE_NAME": "till" },
        "health": "/healthz", "startTimeout": "10s", "stopGrace": "2s",
    } });
    let policy = world.policy().with("target", &target.to_string());
    world.open_shop(&policy.with("checks", "[errors, newErrors]")).await;
    let next = world.forge.version("shop", "Greet people by name", &good("Hello"));
    let live = world.on_trial(&next).await;
    let path = format!("/api/v1/deployments/{}", text(&live["id"]));
    let told = world
        .until("it says why nothing comes", async || {
            let moments = world.get(&path).await["moments"].as_array().cloned()?;
            moments.iter().map(|m| text(&m["reason"]).to_owned()).find(|said| said.contains("till"))
        })
        .await;
    says(&told, &["newErrors", "no spans of service.name=shop", "OTEL_SERVICE_NAME=shop"]);
    let still = world.service("shop").await["live"].clone();
    assert_eq!((&still["id"], &still["weight"]), (&live["id"], &live["weight"]), "it rose");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_metrics_is_judged_by_its_spans() {
    let mut world = World::new().await;
    let policy = world.policy().with("metrics", "traces");
    world.open_shop(&policy).await;
    let next = world.forge.version("shop", "Greet people by name", &good("Hello"));
    world.ends(&next, "promoted").await;
    let bad = world.forge.version("shop", "Add gift cards", &version(0.3, "Gift cards"));
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    says(text(&ended["cause"]), &["ShopError"]);
}
