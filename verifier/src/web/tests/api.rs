//! What programs get.

use rollout::Order;
use serde_json::{Value, json};

use super::super::api::OPENAPI;
use super::world::{HOSTILE, Setup, Site, revision, shop};

#[tokio::test]
async fn services_are_told_with_what_moves() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let all = site.json("/api/v1/services").await;
    let names: Vec<&str> =
        all["services"].as_array().unwrap().iter().filter_map(|s| s["name"].as_str()).collect();
    assert_eq!(names, ["checkout", "payments", "search"]);
    assert_eq!(all["troubles"], json!([]));

    let checkout = site.json("/api/v1/services/checkout").await;
    assert_eq!(checkout["stable"]["subject"], "Show the basket");
    assert_eq!(checkout["live"]["subject"], HOSTILE);
    assert_eq!(checkout["live"]["phase"], "progressing");
    assert!(checkout["policy"].as_str().unwrap().contains("kind: CanaryPolicy"));
    let payments = site.json("/api/v1/services/payments").await;
    assert!(payments["hold"].as_str().unwrap().contains("deploy/payments/ledger.py"));
    assert_eq!(payments["live"], Value::Null);
}

#[tokio::test]
async fn deployments_are_listed_newest_first_and_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let ids = |all: &Value| -> Vec<String> {
        all["deployments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = site.json("/api/v1/deployments?service=checkout").await;
    assert_eq!(ids(&all), ["checkout-054f2c1-3", "checkout-044f2c1-2", "checkout-014f2c1-1"]);
    assert_eq!(all["deployments"][0]["outcome"], Value::Null);
    assert_eq!(all["deployments"][1]["outcome"], "rolledBack");
    assert_eq!(all["deployments"][1]["git"]["undone"], true);
    assert_eq!(all["deployments"][1]["git"]["revision"], revision(0xee).as_str());
    assert_eq!(all["deployments"][2]["outcome"], "adopted");

    let first = site.json("/api/v1/deployments?limit=1").await;
    let before = first["deployments"][0]["began"].as_str().unwrap();
    let rest = site.json(&format!("/api/v1/deployments?limit=500&before={before}")).await;
    assert_eq!(ids(&first).len() + ids(&rest).len(), 7);

    for bad in ["limit=0", "limit=501", "limit=many", "before=yesterday"] {
        let response = site.get(&format!("/api/v1/deployments?{bad}")).await;
        assert_eq!(response.status(), 400, "{bad}");
        let problem: Value = response.json().await.unwrap();
        assert!(problem["error"].is_string() && problem["hint"].is_string(), "{bad}: {problem}");
    }
}

#[tokio::test]
async fn a_story_holds_decisions_evidence_and_git() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let story = site.json("/api/v1/deployments/checkout-044f2c1-2").await;
    assert_eq!(story["ended"]["outcome"], "rolledBack");
    assert_eq!(story["commit"]["subject"], "Add gift cards to the basket");
    assert_eq!(
        story["files"][0],
        json!({"path": "deploy/checkout/app.py", "added": 42, "removed": 7})
    );
    assert_eq!(story["steps"][0]["weight"], 0.01);
    assert!(story.get("live").is_none());
    let moments = story["moments"].as_array().unwrap();
    assert!(moments[0]["reason"].as_str().unwrap().starts_with("starting canary 044f2c1"));
    assert!(
        moments
            .iter()
            .any(|m| m["reason"].as_str().unwrap().starts_with("traffic goes back to stable"))
    );
    let points = story["points"].as_array().unwrap();
    assert!((10..=300).contains(&points.len()));
    let verdict = &points.last().unwrap()["verdict"];
    assert_eq!(verdict["outcome"], "fail");
    assert!(
        verdict["log_evidence"].as_f64().unwrap() >= verdict["log_threshold"].as_f64().unwrap()
    );

    let live = site.json("/api/v1/deployments/checkout-054f2c1-3").await;
    assert_eq!(live["live"]["id"], "checkout-054f2c1-3");
    assert!(live.get("ended").is_none());
}

#[tokio::test]
async fn orders_reach_the_driver_with_who_gave_them() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let live = "/api/v1/deployments/checkout-054f2c1-3/actions";
    let (status, answer) =
        site.order(live, r#"{"action": "pause", "by": "Ada\u0007 Lovelace"}"#).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["reason"].as_str().unwrap().starts_with("paused by Ada Lovelace"), "{answer}");
    assert_eq!(site.json("/api/v1/services/checkout").await["live"]["pausedBy"], "Ada Lovelace");
    let (_, answer) =
        site.order("/api/v1/services/checkout/actions", r#"{"action": "resume"}"#).await;
    assert_eq!(answer["reason"], "resumed by the API");
    let long = format!(r#"{{"action": "pause", "by": "{}"}}"#, "x".repeat(5_000));
    site.order(live, &long).await;

    let orders = site.orders.lock().unwrap().clone();
    assert_eq!(orders[0], ("checkout".to_owned(), "Ada Lovelace".to_owned(), Order::Pause));
    assert_eq!(orders[1].2, Order::Resume);
    assert_eq!(orders[2].1.len(), 80);
}

#[tokio::test]
async fn orders_that_make_no_sense_get_help() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let service = "/api/v1/services/checkout/actions";
    for (path, body, status, error) in [
        (service, "", 400, "the body is no order"),
        (service, "pause", 400, "the body is no order"),
        (service, r#"{"action": "explode"}"#, 400, "\"explode\" is no action"),
        (
            "/api/v1/services/nope/actions",
            r#"{"action": "pause"}"#,
            404,
            "there is no service nope",
        ),
        (
            "/api/v1/deployments/nope/actions",
            r#"{"action": "pause"}"#,
            404,
            "there is no deployment nope",
        ),
        (
            "/api/v1/deployments/checkout-044f2c1-2/actions",
            r#"{"action": "promote"}"#,
            409,
            "deployment checkout-044f2c1-2 is over",
        ),
    ] {
        let (got, answer) = site.order(path, body).await;
        assert_eq!(got, status, "{path} {body}: {answer}");
        assert!(answer["error"].as_str().unwrap().starts_with(error), "{answer}");
        assert!(answer["hint"].is_string());
    }
    assert!(site.orders.lock().unwrap().is_empty());
    let (status, answer) = site.order(service, &"x".repeat(70_000)).await;
    assert_eq!((status, &answer["error"]), (413, &json!("the body is too large")));
}

#[tokio::test]
async fn the_description_names_every_path_and_only_those() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup { rum: true, ..Setup::default() };
    let site = Site::over(shop(folder.path()).await, folder.path(), setup).await;
    let served: Value = site.json("/api/v1/openapi.json").await;
    assert_eq!(served, serde_json::from_str::<Value>(OPENAPI).unwrap());
    let paths = served["paths"].as_object().unwrap();
    for (path, operations) in paths {
        let real = path.replace("{name}", "checkout").replace("{id}", "checkout-044f2c1-2");
        for method in ["get", "post"] {
            let request =
                site.client.request(method.to_uppercase().parse().unwrap(), site.url(&real));
            let status = request.send().await.unwrap().status();
            let described = operations.get(method).is_some();
            assert_eq!(status != 405 && status != 404, described, "{method} {path} gives {status}");
        }
    }
    let source = include_str!("../mod.rs");
    let routes =
        source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next());
    let described =
        routes.filter(|path| super::super::for_programs(path) && !path.starts_with("/static/"));
    assert_eq!(
        described.filter(|path| !paths.contains_key(*path)).collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
}

#[tokio::test]
async fn probes_tell_how_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    assert_eq!(site.text("/healthz").await, "alive\n");
    assert_eq!(site.text("/readyz").await, "ready\n");
    assert_eq!(site.json("/api/v1/prometheus-targets").await, json!([]));
    site.board.trouble("journal", Some("no space left on device".to_owned()));
    let response = site.get("/readyz").await;
    assert_eq!(response.status(), 503);
    let problem: Value = response.json().await.unwrap();
    assert!(problem["error"].as_str().unwrap().contains("no space left on device"), "{problem}");
    assert_eq!(site.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn metrics_are_those_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let finished = {
        let recorder = site.recorder.lock().await;
        let entries =
            recorder.journal.reader().deployments(Some("checkout"), None, 2).await.unwrap();
        entries[1].finished.clone().unwrap()
    };
    site.board.metrics.ended(&finished);
    let response = site.get("/metrics").await;
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    for line in [
        "serin_deployments_total{service=\"checkout\",outcome=\"rolled_back\"} 1",
        "serin_live_deployments{phase=\"progressing\"} 1",
        "serin_verdict_to_traffic_seconds_bucket{router=\"proxy\",le=\"0.005\"} 1",
        "serin_revert_seconds_count{result=\"pushed\"} 1",
        "serin_weight_ratio{service=\"search\"} 0",
        "# TYPE serin_proxy_requests_total counter",
    ] {
        assert!(text.contains(line), "{line} is missing");
    }
    assert!(
        text.contains("serin_evidence_ratio{service=\"checkout\",check=\"all\",toward=\"fail\"}")
    );
}
