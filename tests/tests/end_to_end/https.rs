//! A repository over HTTPS: a real nginx speaks TLS in front of the forge, with a certificate of
//! its own that only those trust who were told to.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{World, free_port, says};
use crate::receivers::HttpForge;
use crate::shop::{good, version};

const NGINX: &str = "/usr/sbin/nginx";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_over_https_is_deployed_and_reverted() {
    let Some((mut world, _tls, _forge)) = with_tls().await else {
        println!("left out: a repository over HTTPS; install `nginx-light` and `openssl`");
        return;
    };
    let certificate = world.path().join("tls.pem").display().to_string();
    world.environment = vec![("SSL_CERT_FILE".to_owned(), certificate)];
    let policy = world.policy();
    world.open_shop(&policy).await;
    let bad = world.forge.version("shop", "Add gift cards", &version(0.3, "Gift cards"));
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    assert_ne!(world.forge.tip(), bad);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_nobody_we_know_is_not_trusted() {
    let Some((mut world, _tls, _forge)) = with_tls().await else {
        println!("left out: an unknown certificate; install `nginx-light` and `openssl`");
        return;
    };
    world.forge.version("shop", "Open the shop", &good("Welcome"));
    world.start().await;
    let told = world.trouble("certificate").await;
    says(&told, &["https://127.0.0.1"]);
}

/// Ends with the test.
struct Tls(Child);

impl Drop for Tls {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A world whose repository is reached over HTTPS, where nginx and openssl are there.
async fn with_tls() -> Option<(World, Tls, HttpForge)> {
    if !Path::new(NGINX).exists() {
        return None;
    }
    let mut world = World::new().await;
    let folder = world.path().to_owned();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=forge"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(folder.join("tls.key"))
        .arg("-out")
        .arg(folder.join("tls.pem"))
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return None;
    }
    let forge = HttpForge::start(&folder).await;
    let behind = forge.url.trim_end_matches("/shop.git").to_owned();
    let (port, place) = (free_port(), folder.display());
    let config = format!(
        "daemon off;\nmaster_process off;\npid {place}/nginx.pid;\nerror_log {place}/nginx.log;\nevents {{}}\nhttp {{\n  access_log off;\n  client_body_temp_path {place}/body;\n  proxy_temp_path {place}/proxy;\n  fastcgi_temp_path {place}/fastcgi;\n  uwsgi_temp_path {place}/uwsgi;\n  scgi_temp_path {place}/scgi;\n  server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate {place}/tls.pem;\n    ssl_certificate_key {place}/tls.key;\n    client_max_body_size 0;\n    location / {{ proxy_pass {behind}; }}\n  }}\n}}\n"
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config).expect("written");
    let child = Command::new(NGINX)
        .arg("-e")
        .arg(folder.join("nginx.log"))
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let tls = Tls(child.expect("nginx starts"));
    world.repositories =
        vec![format!("{{ name: shop, url: \"https://127.0.0.1:{port}/shop.git\", poll: 1s }}")];
    Some((world, tls, forge))
}
