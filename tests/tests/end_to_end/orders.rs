//! What people ask for: by command, by webhook, by a freeze in the policy.

use alerts_notifiers::{SigningKey, verify};
use serde_json::Value;

use crate::harness::{World, says, text};
use crate::shop::good;

/// Holds the first step until it is told otherwise.
const PATIENT: &str = "[{ weight: 20%, atLeast: 10m, deadline: 20m }]";

async fn patient_world() -> World {
    let mut world = World::new().await;
    let policy = world.policy().with("steps", PATIENT);
    world.open_shop(&policy).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_deployment_holds_and_a_resumed_one_goes_on() {
    let world = World::serving().await;
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    world.on_trial(&next).await;
    let said = world.cli(&["pause", "shop"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    says(&said.out, &["shop: paused by ada; evidence accumulates"]);
    let held = world.service("shop").await["live"]["weight"].clone();
    // More than a whole rollout needs.
    world.more_requests(1_200).await;
    let live = world.service("shop").await["live"].clone();
    assert_eq!((live["weight"].clone(), live["pausedBy"].clone()), (held, "ada".into()));
    let status = world.cli(&["status", "shop"]).await;
    says(&status.out, &["progressing", "paused by ada"]);
    let json: Value =
        serde_json::from_str(&world.cli(&["status", "--json"]).await.out).expect("JSON");
    assert_eq!(json["services"][0]["name"], "shop");
    // The evidence of the pause counts, so it goes on at once.
    says(&world.cli(&["resume", "shop"]).await.out, &["shop: step 2 of 2: 50 % of traffic"]);
    world.ends(&next, "promoted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promote_skips_the_steps_and_then_the_bake() {
    let mut world = World::new().await;
    let policy = world.policy().with("steps", PATIENT).with("bake", "10m");
    world.open_shop(&policy).await;
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    world.on_trial(&next).await;
    says(&world.cli(&["promote", "shop"]).await.out, &["ada skipped the remaining steps"]);
    world.live("it bakes", |l| l["phase"] == "baking" && l["weight"].as_f64() == Some(1.0)).await;
    says(&world.cli(&["promote", "shop"]).await.out, &["ada ended the bake"]);
    says(text(&world.ends(&next, "promoted").await["reason"]), &["ada ended the bake"]);
    let none = world.cli(&["promote", "shop"]).await;
    says(&none.out, &["nothing to promote: no deployment is on trial"]);
    let unknown = world.cli(&["promote", "shopp"]).await;
    assert_eq!(unknown.code, 2, "{unknown:?}");
    says(&unknown.err, &["shopp"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_takes_the_traffic_back_and_leaves_git_alone() {
    let world = patient_world().await;
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    world.on_trial(&next).await;
    says(
        &world.cli(&["abort", "shop"]).await.out,
        &["traffic goes back to stable: aborted by ada"],
    );
    let waited = world.cli(&["wait", "shop", "--revision", &next, "--timeout", "30s"]).await;
    assert_eq!(waited.code, 1, "{waited:?}");
    world.ends(&next, "aborted").await;
    assert_eq!(world.forge.tip(), next, "Git stays");
    let late = world.cli(&["wait", "shop", "--revision", "0000000", "--timeout", "1s"]).await;
    assert_eq!(late.code, 4, "{late:?}");
    // The same version again when a person says so.
    says(&world.cli(&["resume", "shop"]).await.out, &["ada wants the last version tried again"]);
    world.on_trial(&next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_in_the_policy_keeps_a_commit_waiting_until_it_is_lifted() {
    let mut world = World::new().await;
    let freeze =
        "[{ reason: summer sale, from: \"2020-01-01T00:00:00Z\", to: \"2099-01-01T00:00:00Z\" }]";
    let frozen = world.policy().with("freezes", freeze);
    let first = world.open_shop(&frozen).await;
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    let shop = world
        .until("the commit waits", async || {
            let shop = world.service("shop").await;
            (!shop["waiting"].is_null()).then_some(shop)
        })
        .await;
    says(text(&shop["waiting"]), &[&next[..7], "Greet"]);
    says(text(&shop["reason"]["reason"]), &["frozen until 2099", "summer sale"]);
    assert!(shop["live"].is_null(), "{shop:#}");
    world.more_requests(300).await;
    assert_eq!(world.service("shop").await["stable"]["revision"], *first);
    let free = world.policy();
    let lifted = world.forge.push("Lift the freeze", &[(&free.path(), Some(&free.text()))]);
    world.ends(&lifted, "promoted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_webhook_wakes_the_watcher_and_no_other_does() {
    let mut world = World::new().await;
    let secret = "whsec_c2VyaW4gc2lnbnMgd2l0aCB0aGlzIHNlY3JldA==";
    world.environment.push(("HOOKS".to_owned(), secret.to_owned()));
    world.settings = "hooks: { secretFrom: { env: HOOKS } }\n".to_owned();
    world.repositories[0] = world.repositories[0].replace("poll: 1s", "poll: 24h");
    let policy = world.policy().with("steps", PATIENT);
    world.open_shop(&policy).await;
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    let key = SigningKey::parse(secret).expect("a key");
    let signed = |id: &str, at: i64, body: &[u8]| {
        let signature = verify::sign(&key, id, at, body);
        [
            (verify::ID, id.to_owned()),
            (verify::TIMESTAMP, at.to_string()),
            (verify::SIGNATURE, signature),
        ]
    };
    #[expect(clippy::disallowed_methods, reason = "a signature is of this moment")]
    let at = jiff::Timestamp::now().as_second();
    let body = b"{}".to_vec();
    let refused = [
        world.post("/hooks/generic", &[], body.clone()).await,
        world.post("/hooks/generic", &signed("old", at - 3_600, &body), body.clone()).await,
        world.post("/hooks/generic", &signed("forged", at, b"other"), body.clone()).await,
    ];
    for (status, said) in &refused {
        assert_eq!(*status, 401, "{said}");
        says(said, &["hint", "hooks.secretFrom"]);
    }
    let huge = vec![b' '; 2 << 20];
    let (status, said) =
        world.post("/hooks/generic", &signed("huge", at, &huge), huge.clone()).await;
    assert_eq!(status, 413, "{said}");
    world.more_requests(300).await;
    assert!(world.service("shop").await["live"].is_null(), "nobody has looked");
    let (status, said) =
        world.post("/hooks/generic", &signed("once", at, &body), body.clone()).await;
    assert_eq!(status, 202, "{said}");
    let (status, said) =
        world.post("/hooks/generic", &signed("once", at, &body), body.clone()).await;
    assert_eq!(status, 409, "{said}");
    world.on_trial(&next).await;
    // The page takes orders, and says what is wrong with those that are none.
    let (status, said) =
        world.post("/api/v1/services/shop/actions", &[], b"{\"action\":\"dance\"}".to_vec()).await;
    assert_eq!(status, 400, "{said}");
    says(&said, &["dance", "pause, resume, promote, abort and approve"]);
    let (status, said) =
        world.post("/api/v1/services/shop/actions", &[], crate::harness::order("abort")).await;
    assert_eq!(status, 200, "{said}");
    world.ends(&next, "aborted").await;
}
