//! Commits of every kind: newer ones, a person's revert, others' paths, a broken policy, several
//! services and repositories.

use serde_json::Value;

use crate::harness::{World, free_port, says, text};
use crate::shop::{Forge, Policy, good, version};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_commit_supersedes_the_one_on_trial() {
    let world = World::serving().await;
    world.forge.push("Take it slow", &[slow_steps(&world)].map(as_file));
    let policy = world.forge.tip();
    let second = world.forge.version("shop", "Second", &good("Second"));
    world.on_trial(&second).await;
    let third = world.forge.version("shop", "Third", &good("Third"));
    let ended = world.ends(&second, "superseded").await;
    says(text(&ended["reason"]), &["superseded by", &third[..7]]);
    world.on_trial(&third).await;
    world
        .until("the second version is gone", async || world.pid(&second).is_none().then_some(()))
        .await;
    assert_eq!(world.forge.tip(), third, "nothing is reverted");
    assert!(policy != second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persons_revert_ends_the_rollout_at_once() {
    let world = World::serving().await;
    let (path, policy) = slow_steps(&world);
    let bad = world
        .forge
        .push("Second", &[(&path, Some(&policy)), ("shop/service.yaml", Some(&good("Second")))]);
    world.on_trial(&bad).await;
    let revert = world.forge.revert_tip();
    let ended = world.ends(&bad, "revertedByPerson").await;
    says(text(&ended["reason"]), &["Grace Hopper reverted it in Git with", &revert[..7]]);
    world.until("the canary is gone", async || world.pid(&bad).is_none().then_some(())).await;
    let shop = world.service("shop").await;
    assert_eq!(shop["stable"]["verified"], *revert);
    assert!(shop["live"].is_null() && shop["waiting"].is_null(), "{shop:#}");
    assert_eq!(world.forge.tip(), revert, "Serin writes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_touches_none_of_the_paths_deploys_nothing() {
    let world = World::serving().await;
    let first = world.forge.tip();
    let other = world.forge.push("Write more", &[("README.md", Some("A fine shop.\n"))]);
    world
        .until("the commit is seen", async || {
            (world.service("shop").await["stable"]["verified"] == *other).then_some(())
        })
        .await;
    let shop = world.service("shop").await;
    assert_eq!(shop["stable"]["revision"], *first);
    assert!(shop["live"].is_null(), "{shop:#}");
    assert_eq!(world.deployments().await.len(), 1, "only the first version was deployed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_finds_the_deployment_of_a_commit_below_the_tip() {
    let mut world = World::new().await;
    world.repositories[0] = world.repositories[0].replace("poll: 1s", "poll: 24h");
    let policy = world.policy();
    world.open_shop(&policy).await;
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    let tip = world.forge.push("Write more", &[("README.md", Some("A fine shop.\n"))]);
    let (status, said) = world.post("/hooks/generic", &[], Vec::new()).await;
    assert_eq!(status, 202, "{said}");
    let waited = world.cli(&["wait", "shop", "--revision", &next, "--timeout", "50s"]).await;
    assert_eq!(waited.code, 0, "{waited:?}");
    says(&waited.out, &["promoted: passed every step"]);
    world.ends(&tip, "promoted").await;
    // Also when it is over already, and by the first digits.
    let again = world.cli(&["wait", "shop", "--revision", &next[..10], "--timeout", "5s"]).await;
    assert_eq!(again.code, 0, "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_broken_by_the_commit_itself_is_judged_by_the_last_good_one() {
    let mut world = World::new().await;
    let policy = world.policy().with("paths", "[shop/**, .serin/shop.yaml]");
    world.open_shop(&policy).await;
    let broken = policy.clone().with("harm", "1").with("stepz", "auto").text();
    let bad = world.forge.push(
        "Add gift cards and a typo",
        &[(".serin/shop.yaml", Some(&broken)), ("shop/service.yaml", Some(&version(0.3, "Gifts")))],
    );
    let said = world.trouble(".serin/shop.yaml").await;
    says(&said, &["harm", "stepz", "did you mean `steps`"]);
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    let story = world.get(&format!("/api/v1/deployments/{}", text(&ended["id"]))).await;
    says(text(&story["policyProblem"]), &["stepz"]);
    assert_eq!(world.forge.text("shop/service.yaml"), Some(good("Welcome")));
    assert_eq!(world.forge.text(".serin/shop.yaml"), Some(policy.text()), "also the policy");
    world
        .until("the trouble is over", async || world.troubles().await.is_empty().then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_services_and_repositories_are_each_judged_alone() {
    let mut world = World::new().await;
    let forge = Forge::create(&world.path().join("tills.git"));
    let url = Value::from(forge.path.to_str().expect("UTF-8"));
    world.repositories.push(format!("{{ name: tills, url: {url}, poll: 1s }}"));
    let (cart, till) = (Policy::new("cart", free_port()), Policy::new("till", free_port()));
    world.forge.push(
        "Open the cart",
        &[(&cart.path(), Some(&cart.text())), ("cart/service.yaml", Some(&good("Cart")))],
    );
    let open = forge.push(
        "Open the till",
        &[(&till.path(), Some(&till.text())), ("till/service.yaml", Some(&good("Till")))],
    );
    let shop = world.policy();
    world.open_shop(&shop).await;
    world
        .until("all three serve", async || {
            let mut serve = 0;
            for name in ["shop", "cart", "till"] {
                serve += usize::from(!world.service(name).await["stable"].is_null());
            }
            (serve == 3).then_some(())
        })
        .await;
    // The cart gets no requests: nothing is proven, and it stays on trial.
    let undecided = world.forge.version("cart", "Change the cart", &good("Another cart"));
    let cart = world
        .until("the cart is on trial", async || {
            let cart = world.service("cart").await["live"].clone();
            (cart["weight"].as_f64() > Some(0.0)).then_some(cart)
        })
        .await;
    assert!(undecided.starts_with(text(&cart["revision"])), "{cart:#}");
    let bad = world.forge.version("shop", "Break the shop", &version(0.3, "Broken"));
    world.ends(&bad, "rolledBack").await;
    assert_eq!(world.forge.text("shop/service.yaml"), Some(good("Welcome")));
    assert_eq!(world.forge.text("cart/service.yaml"), Some(good("Another cart")), "it stays");
    let still = world.service("cart").await["live"].clone();
    assert_eq!(still["id"], cart["id"], "the other service's revert is nothing to it");
    let till = world.service("till").await;
    assert_eq!(
        (till["stable"]["revision"].clone(), till["repository"].clone()),
        (open.into(), "tills".into())
    );
    assert_eq!(world.service("cart").await["repository"], "shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_name_in_two_repositories_is_told_and_only_one_is_deployed() {
    let mut world = World::new().await;
    let copy = Forge::create(&world.path().join("copy.git"));
    let url = Value::from(copy.path.to_str().expect("UTF-8"));
    world.repositories.push(format!("{{ name: copy, url: {url}, poll: 1s }}"));
    let policy = world.policy();
    for forge in [&world.forge, &copy] {
        let service = good(forge.path.to_str().expect("UTF-8"));
        let files =
            [(&*policy.path(), Some(&*policy.text())), ("shop/service.yaml", Some(&*service))];
        forge.push("Open the shop", &files);
    }
    world.start().await;
    let said = world.trouble("service shop is deployed from repository").await;
    says(&said, &["already; give one of the two another name"]);
    let shop = world
        .until("one of them serves", async || {
            let shop = world.service("shop").await;
            (shop["live"].is_null() && !shop["stable"].is_null()).then_some(shop)
        })
        .await;
    // Both are looked at again, and still one is left alone.
    let other = if shop["repository"] == "shop" { &copy } else { &world.forge };
    let ignored = other.push("Change the other", &[("shop/service.yaml", Some(&good("Other")))]);
    let (status, _) = world.post("/hooks/generic", &[], Vec::new()).await;
    assert_eq!(status, 202);
    world.trouble("service shop is deployed from repository").await;
    let mine = if shop["repository"] == "shop" { &world.forge } else { &copy };
    let next = mine.push("Change the first", &[("shop/service.yaml", Some(&good("First")))]);
    world
        .until("it is deployed", async || {
            let live = world.service("shop").await["live"].clone();
            next.starts_with(text(&live["revision"])).then_some(()).filter(|()| live.is_object())
        })
        .await;
    assert_eq!(world.deployments().await.len(), 2, "{ignored} is deployed as well");
}

/// A policy by which nothing is promoted within a test.
fn slow_steps(world: &World) -> (String, String) {
    let policy = world.policy().with("steps", "[{ weight: 20%, atLeast: 10m, deadline: 20m }]");
    (policy.path(), policy.text())
}

fn as_file((path, text): (String, String)) -> (&'static str, Option<&'static str>) {
    (path.leak(), Some(text.leak()))
}
