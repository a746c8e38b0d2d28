//! Who is let in, and what every answer carries.

use super::world::{Recorder, Setup, Site, shop};

async fn guarded(folder: &std::path::Path) -> Site {
    Site::over(
        shop(folder).await,
        folder,
        Setup { token: Some("correct horse"), ..Setup::default() },
    )
    .await
}

#[tokio::test]
async fn with_a_token_nothing_is_told_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let site = guarded(folder.path()).await;
    for path in [
        "/api/v1/services",
        "/api/v1/stream",
        "/api/v1/openapi.json",
        "/metrics",
        "/api/v1/no/such/thing",
    ] {
        let response = site.get(path).await;
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert!(response.text().await.unwrap().contains("a token is needed"));
    }
    let page = site.get("/deployments/checkout-044f2c1-2").await;
    assert_eq!(page.status(), 303);
    assert_eq!(page.headers()["location"], "/login?next=/deployments/checkout-044f2c1-2");
    for path in ["/healthz", "/readyz", "/login", "/favicon.ico"] {
        let open = site.get(path).await.status();
        assert_eq!(open == 200, path != "/favicon.ico", "{path}: {open}");
    }
    let bearer = site.client.get(site.url("/api/v1/services")).bearer_auth("correct horse");
    assert_eq!(bearer.send().await.unwrap().status(), 200);
    let wrong = site.client.get(site.url("/api/v1/services")).bearer_auth("correct hors");
    assert_eq!(wrong.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_browser_signs_in_and_out() {
    let folder = tempfile::tempdir().unwrap();
    let site = guarded(folder.path()).await;
    let form = |token: &str| {
        let body = format!("token={}&next=%2Fservices%2Fcheckout", token.replace(' ', "+"));
        site.client
            .post(site.url("/login"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    };
    let wrong = form("wrong").send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert!(wrong.headers().get("set-cookie").is_none());
    assert!(wrong.text().await.unwrap().contains("This is not the token."));

    let right = form("correct horse").send().await.unwrap();
    assert_eq!(
        (right.status().as_u16(), &right.headers()["location"]),
        (303, &"/services/checkout".parse().unwrap())
    );
    let cookie = right.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000")
            && !cookie.contains("horse"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = site
        .client
        .get(site.url("/services/checkout"))
        .header("cookie", &cookie)
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("Sign out"));
    let order = |origin: String| {
        let request = site
            .client
            .post(site.url("/services/checkout"))
            .header("cookie", &cookie)
            .header("origin", origin);
        request.header("content-type", "application/x-www-form-urlencoded").body("action=pause")
    };
    assert_eq!(order("https://evil.example".to_owned()).send().await.unwrap().status(), 403);
    assert!(site.orders.lock().unwrap().is_empty());
    assert_eq!(order(site.url("")).send().await.unwrap().status(), 303);
    assert_eq!(site.orders.lock().unwrap().len(), 1);

    let out = site.client.post(site.url("/logout")).header("cookie", &cookie).send().await.unwrap();
    assert!(out.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn foreign_pages_and_names_get_nothing_from_an_open_loopback_page() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let rebound = site
        .client
        .get(site.url("/api/v1/services"))
        .header("host", "evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(rebound.status(), 421);
    assert!(rebound.text().await.unwrap().contains("publicUrl"));
    let page = site.client.get(site.url("/")).header("host", "evil.example").send().await.unwrap();
    assert_eq!(page.status(), 421);
    let body = page.text().await.unwrap();
    assert!(
        body.contains("<h1>This host name is not one of this Serin</h1>")
            && !body.contains("checkout"),
        "{body}"
    );
    for (name, value) in
        [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("origin", "null")]
    {
        let request =
            site.client.post(site.url("/api/v1/services/checkout/actions")).header(name, value);
        let response = request.body(r#"{"action": "abort"}"#).send().await.unwrap();
        assert_eq!(response.status(), 403, "{name}: {value}");
    }
    assert!(site.orders.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_answer_carries_its_security_headers() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    for path in [
        "/",
        "/services/checkout",
        "/deployments/checkout-054f2c1-3",
        "/login",
        "/nope",
        "/api/v1/services",
        "/healthz",
    ] {
        let response = site.get(path).await;
        let headers = response.headers().clone();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';")
                && !policy.contains("unsafe"),
            "{path}"
        );
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "same-origin", "{path}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        if !headers["content-type"].as_bytes().starts_with(b"text/html") {
            continue;
        }
        let text = response.text().await.unwrap();
        assert!(
            !text.contains("<script>") && !text.contains(" style=") && !text.contains(" onclick="),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_let_go() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup { head: Some(std::time::Duration::from_millis(200)), ..Setup::default() };
    let site = Site::over(Recorder::new(folder.path()).await, folder.path(), setup).await;
    let mut slow = tokio::net::TcpStream::connect(site.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: local").await.unwrap();
    let mut answer = Vec::new();
    let ended =
        tokio::time::timeout(std::time::Duration::from_secs(10), slow.read_to_end(&mut answer))
            .await;
    assert!(ended.is_ok(), "the connection is still open");
    assert_eq!(site.get("/healthz").await.status(), 200);
}
