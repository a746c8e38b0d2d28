//! What people see.

use rollout::GitOutcome;

use super::world::{Recorder, Setup, Site, revision};

/// The words of a page: no tags, no blanks at ends, no times, which differ from run to run.
fn words(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        let part = part.split_once('>').map_or(part, |(_, text)| text);
        text.push_str(part);
        text.push('\n');
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_overview_shows_what_waits_what_moves_and_what_serves() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    site.board.trouble("repository shop", Some("failed to fetch: <timeout>".to_owned()));
    let html = site.text("/").await;
    let text = words(&html);
    for wanted in [
        "Something is wrong\nrepository shop",
        "failed to fetch: &lt;timeout&gt;",
        "Waits for you\npayments\nnot reverted in Git: later commits changed the same lines of deploy/payments/ledger.py",
        "Under way\ncheckout\nprogressing",
        "All services\n3",
        "search\n024f2c1\nCache the suggestions\nsteady\npromoted",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is missing from\n{text}");
    }
    let at = |word: &str| html.find(word).unwrap();
    assert!(at("Something is wrong") < at("Waits for you") && at("Under way") < at("All services"));
    assert!(html.contains("http-equiv=\"refresh\"") && html.contains("<noscript>"));
}

#[tokio::test]
async fn an_empty_instance_says_how_to_begin() {
    let folder = tempfile::tempdir().unwrap();
    let site =
        Site::over(Recorder::new(folder.path()).await, folder.path(), Setup::default()).await;
    let text = words(&site.text("/").await);
    assert!(text.contains("No service yet") && text.contains("kind: CanaryPolicy"), "{text}");
}

#[tokio::test]
async fn a_finished_deployment_tells_its_story() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let html = site.text("/deployments/checkout-044f2c1-2").await;
    let text = words(&html);
    for wanted in [
        "Add gift cards to the basket\nrolled back",
        "by Linus Example",
        "Traffic back\n3 ms after the decision",
        "Git\nreverted in Git by ee4f2c1",
        "Revert &quot;Add gift cards to the basket&quot;",
        "needed to fail\nfail",
        "Evidence over time",
        "traffic goes back to stable",
        "starting canary 044f2c1 beside stable 014f2c1",
        "Prepare the ledger",
        "deploy/checkout/app.py\n+42\n−7",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is missing from\n{text}");
    }
    assert!(!html.contains("data-order"), "nothing is left to press");
    assert!(!html.contains("http-equiv"), "it no longer changes");
    assert!(html.len() < 60_000, "{} bytes", html.len());
}

#[tokio::test]
async fn promoted_and_adopted_ones_have_pages_too() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let promoted = words(&site.text("/deployments/search-024f2c1-2").await);
    assert!(promoted.contains("Cache the suggestions\npromoted"), "{promoted}");
    assert!(
        promoted.contains("64 %\n100 %, bake 2 min") && promoted.contains("Weight then\n100 %"),
        "{promoted}"
    );
    let adopted = words(&site.text("/deployments/search-014f2c1-1").await);
    assert!(
        adopted.contains("Rank by freshness\nadopted") && !adopted.contains("Findings"),
        "{adopted}"
    );
    let list = words(&site.text("/services/search").await);
    assert!(
        list.contains("Serves")
            && list.contains("adopted")
            && list.contains("Policy, with every default"),
        "{list}"
    );
}

#[tokio::test]
async fn a_deployment_under_way_has_the_buttons_that_make_sense() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let path = "/deployments/checkout-054f2c1-3";
    let buttons = |html: &str| -> Vec<String> {
        html.split("name=\"action\" value=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(buttons(&site.text(path).await), ["pause", "promote", "abort"]);
    let pressed = site
        .client
        .post(site.url(path))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("action=pause");
    let answer = pressed.send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["location"]),
        (303, &path.parse().unwrap())
    );
    let html = site.text(path).await;
    assert_eq!(buttons(&html), ["resume", "promote", "abort"]);
    assert!(words(&html).contains("paused by the page"));
    assert_eq!(buttons(&site.text("/services/payments").await), ["resume"]);
    assert_eq!(buttons(&site.text("/services/search").await), Vec::<String>::new());
}

#[tokio::test]
async fn what_others_wrote_stays_text() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    for path in ["/", "/services/checkout", "/deployments/checkout-054f2c1-3"] {
        let html = site.text(path).await;
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &quot;&#39;&gt;&lt;img src=x onerror=alert(2)&gt; {{ 7*7 }}"), "{path}");
        assert!(
            !html.contains("<script>alert")
                && !html.contains("<img src=x")
                && !html.contains("<b>\""),
            "{path}"
        );
    }
    let missing = site.get("/services/%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert_eq!(missing.status(), 404);
    let html = missing.text().await.unwrap();
    assert!(
        html.contains("There is no service &lt;script&gt;alert(1)")
            && html.contains("/services/search"),
        "{html}"
    );
}

#[tokio::test]
async fn a_fragment_is_the_changing_part_only() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    for path in ["/", "/services/checkout", "/deployments/checkout-054f2c1-3"] {
        let response =
            site.client.get(site.url(path)).header("x-fragment", "main").send().await.unwrap();
        assert_eq!(response.headers()["vary"], "x-fragment");
        let html = response.text().await.unwrap();
        assert!(
            html.trim_start().starts_with('<') && html.contains("data-part=\"title\""),
            "{path}"
        );
        assert!(!html.contains("<html") && !html.contains("<main"), "{path}");
    }
}

#[tokio::test]
async fn a_patch_that_was_not_written_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::new(folder.path()).await;
    recorder.adopt("billing", "Bill monthly").await;
    recorder.tip("billing", 9, "Bill weekly", "Ada").await;
    recorder.started("billing").await;
    let patch = Some("--- a/<x>\n+++ b/<x>\n-weekly\n+monthly\n".to_owned());
    let git = GitOutcome::NotWritten {
        why: "the policy says revert: none".to_owned(),
        patch,
        needs_person: false,
    };
    recorder.fails("billing", 0.2, git).await;
    let site = Site::over(recorder, folder.path(), Setup::default()).await;
    let html = site.text("/deployments/billing-094f2c1-2").await;
    assert!(
        html.contains("The patch that was not written")
            && html.contains("--- a/&lt;x&gt;\n+++ b/&lt;x&gt;"),
        "{html}"
    );
    assert!(html.contains(&revision(9).to_string()));
}

#[tokio::test]
async fn static_files_are_kept_and_pages_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let html = site.text("/").await;
    let mut total = html.len();
    for (start, kind) in [
        ("href=\"/static/", "text/css; charset=utf-8"),
        ("src=\"/static/", "text/javascript; charset=utf-8"),
    ] {
        let name = html
            .split(start)
            .map(|rest| rest.split('"').next().unwrap())
            .find(|name| name.contains("serin."))
            .unwrap();
        let response = site.get(&format!("/static/{name}")).await;
        assert_eq!(response.headers()["content-type"], kind);
        assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable");
        total += response.text().await.unwrap().len();
    }
    assert!(total < 60_000, "{total} bytes");
    assert_eq!(site.get("/static/0000/serin.css").await.headers()["cache-control"], "no-cache");
    assert_eq!(site.get("/static/0000/other.css").await.status(), 404);
    assert_eq!(site.get("/favicon.ico").await.headers()["content-type"], "image/svg+xml");
}

#[tokio::test]
async fn errors_are_pages_for_people_and_objects_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    for (path, status) in [
        ("/nope", 404),
        ("/services/nope", 404),
        ("/deployments/nope", 404),
        ("/services/checkout?before=x", 400),
    ] {
        let response = site.get(path).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (status, &"text/html; charset=utf-8".parse().unwrap()),
            "{path}"
        );
        assert!(response.text().await.unwrap().contains("All services"), "{path}");
    }
    for (path, status) in [
        ("/api/v1/nope", 404),
        ("/api/v1/services/nope", 404),
        ("/api/v1/deployments/nope", 404),
        ("/hooks/generic", 405),
        ("/api/v1/services/%ff", 400),
    ] {
        let response = site.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        let problem: serde_json::Value = response.json().await.unwrap();
        assert!(problem["error"].is_string() && problem["hint"].is_string(), "{path}: {problem}");
    }
    let response = site.get("/hooks/generic").await;
    assert_eq!(response.headers()["allow"], "POST");
}

#[tokio::test]
async fn five_hundred_services_fit_on_the_overview() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(folder.path()).await;
    for number in 0..500 {
        let mut state = rollout::State::new(&format!("service-{number:03}"));
        state.hold = None;
        recorder.board.publish(&state, Some("looked at"));
    }
    let site = Site::over(recorder, folder.path(), Setup::default()).await;
    let html = site.text("/").await;
    assert_eq!(html.matches("<th scope=\"row\">").count(), 500);
    let all = site.json("/api/v1/services").await;
    assert_eq!(all["services"].as_array().unwrap().len(), 500);
}
