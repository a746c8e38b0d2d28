//! A repository over SSH, served by a real `sshd` on the loopback address with a key of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{World, free_port, says};
use crate::shop::{good, version};

const SSHD: &str = "/usr/sbin/sshd";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_over_ssh_is_deployed_and_reverted() {
    if !Path::new(SSHD).exists() {
        println!("left out: a repository over SSH; install `openssh-server`");
        return;
    }
    let (mut world, sshd) = with_ssh(true).await;
    let policy = world.policy();
    world.open_shop(&policy).await;
    let bad = world.forge.version("shop", "Add gift cards", &version(0.3, "Gift cards"));
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    assert_ne!(world.forge.tip(), bad);
    drop(sshd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_key_nobody_knows_is_not_trusted() {
    if !Path::new(SSHD).exists() {
        println!("left out: an unknown SSH server; install `openssh-server`");
        return;
    }
    let (mut world, _sshd) = with_ssh(false).await;
    world.forge.version("shop", "Open the shop", &good("Welcome"));
    world.start().await;
    let told = world.trouble("known_hosts").await;
    says(&told, &["ssh://"]);
}

/// Ends with the test.
struct Sshd(Child);

impl Drop for Sshd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A world whose repository is reached over SSH; `known` tells whether the server's key is.
async fn with_ssh(known: bool) -> (World, Sshd) {
    let mut world = World::new().await;
    let folder = world.path().join("ssh");
    let home = world.path().join("home");
    for path in [&folder, &home.join(".ssh")] {
        std::fs::create_dir_all(path).expect("a folder");
    }
    let (host, user) = (key(&folder.join("host")), key(&folder.join("user")));
    let port = free_port();
    let authorized = folder.join("authorized");
    std::fs::copy(user.with_extension("pub"), &authorized).expect("copied");
    if known {
        let public = std::fs::read_to_string(host.with_extension("pub")).expect("a key");
        let line = format!("[127.0.0.1]:{port} {public}");
        std::fs::write(home.join(".ssh/known_hosts"), line).expect("written");
    }
    let settings = [
        format!("Port {port}"),
        "ListenAddress 127.0.0.1".to_owned(),
        format!("HostKey {}", host.display()),
        format!("AuthorizedKeysFile {}", authorized.display()),
        "StrictModes no".to_owned(),
        "UsePAM no".to_owned(),
        "PasswordAuthentication no".to_owned(),
        "PermitRootLogin yes".to_owned(),
        "PidFile none".to_owned(),
    ];
    let config = folder.join("sshd_config");
    std::fs::write(&config, settings.join("\n")).expect("written");
    // As root it wants this folder to be there.
    let _ = std::fs::create_dir_all("/run/sshd");
    let child = Command::new(SSHD)
        .args(["-D", "-e", "-f"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let sshd = Sshd(child.expect("sshd starts"));
    let name = rustix::process::getuid().is_root().then(|| "root".to_owned());
    let name = name.or_else(|| std::env::var_os("USER").and_then(|user| user.into_string().ok()));
    let name = name.expect("a user");
    let path = world.forge.path.display();
    world.repositories = vec![format!(
        "{{ name: shop, url: \"ssh://{name}@127.0.0.1:{port}{path}\", poll: 1s, credentials: {{ sshKey: \"{}\" }} }}",
        user.display()
    )];
    world.environment = vec![("HOME".to_owned(), home.display().to_string())];
    (world, sshd)
}

/// Makes a key pair; returns where the private one is.
fn key(path: &Path) -> PathBuf {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status()
        .expect("ssh-keygen runs");
    assert!(made.success());
    path.to_owned()
}
