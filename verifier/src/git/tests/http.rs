//! The same over Git's own smart protocol: `git http-backend` behind a small web server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::git::GitError;

const FILE: &str = "svc/a/x";

/// What a test may change about the server.
#[derive(Debug, Default)]
struct Mood {
    /// Carries a push out and breaks the connection instead of answering.
    loses_answers: AtomicBool,
}

/// Serves the world's folder; `serin:s3cret` may read and write.
fn serve(world: &World) -> (String, Arc<Mood>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/forge.git", listener.local_addr().unwrap());
    let mood = Arc::new(Mood::default());
    let (root, of_server) = (world.folder.path().to_owned(), Arc::clone(&mood));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (root, mood) = (root.clone(), Arc::clone(&of_server));
            std::thread::spawn(move || answer(stream.unwrap(), root, &mood));
        }
    });
    (url, mood)
}

fn answer(stream: TcpStream, root: PathBuf, mood: &Mood) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut parts = first.split(' ');
    let (method, target) = (parts.next()?, parts.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut command = Command::new("git");
    let (mut length, mut chunked, mut allowed) = (0, false, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "transfer-encoding" => chunked = value == "chunked",
            // `serin:s3cret`
            "authorization" => allowed = value == "Basic c2VyaW46czNjcmV0",
            "content-type" => drop(command.env("CONTENT_TYPE", value)),
            "content-encoding" => drop(command.env("HTTP_CONTENT_ENCODING", value)),
            "expect" => stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?,
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else {
        body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
    }
    if !allowed {
        let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\n";
        stream
            .write_all(format!("{head}Connection: close\r\nContent-Length: 0\r\n\r\n").as_bytes())
            .ok()?;
        return Some(());
    }
    let mut backend = command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("REMOTE_USER", "serin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    backend.stdin.take()?.write_all(&body).ok()?;
    let reply = backend.wait_with_output().ok()?.stdout;
    if path.ends_with("/git-receive-pack") && mood.loses_answers.load(Ordering::SeqCst) {
        return Some(());
    }
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&reply[..end]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let length = reply.len() - end - 4;
    let start = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n");
    stream.write_all(start.as_bytes()).ok()?;
    stream.write_all(&reply).ok()
}

fn mirror(world: &World, url: &str, token: &str) -> Mirror {
    let remote = Remote {
        url: url.into(),
        branch: "main".into(),
        credentials: Credentials::Token { user: "serin".into(), token: token.into() },
    };
    Mirror::open(&world.folder.path().join("over-http.git"), remote).unwrap()
}

fn world() -> (World, Oid, Oid) {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some("1"))]);
    let bad = world.commit("Bad", &[(FILE, Some("2"))]);
    (world, verified, bad)
}

#[test]
fn a_revert_is_pushed_over_http_though_others_push_too() {
    let (world, verified, bad) = world();
    let (url, _) = serve(&world);
    let mirror = mirror(&world, &url, "s3cret");
    let mut theirs = None;
    let reverted = mirror
        .revert_with(&ask(verified, bad), |attempt| {
            if attempt == 1 {
                theirs = Some(world.commit("Faster", &[("svc/b/x", Some("1"))]));
            }
        })
        .unwrap();
    let revision = pushed(&reverted);
    assert_eq!(world.tip(), Some(revision));
    let commit = world.forge.find_commit(revision).unwrap();
    assert_eq!(Some(commit.parent_id(0).unwrap()), theirs);
    let again = mirror.revert(&ask(verified, bad)).unwrap();
    assert_eq!(again, Reverted::AlreadyDone { commit: Some(revision) });
    let review = RevertRequest {
        destination: Destination::Review,
        deployment: "other".into(),
        ..ask(verified, bad)
    };
    world.point(theirs.unwrap());
    let first = mirror.revert(&review).unwrap();
    assert!(matches!(first, Reverted::Branch { .. }), "{first:?}");
    assert_eq!(mirror.revert(&review).unwrap(), first);
}

#[test]
fn a_branch_rewound_meanwhile_is_not_wound_forward_over_http_either() {
    let (world, verified, bad) = world();
    world.commit("Secret", &[("secret", Some("oops"))]);
    let (url, _) = serve(&world);
    let mirror = mirror(&world, &url, "s3cret");
    let reverted = mirror.revert_with(&ask(verified, bad), |attempt| {
        if attempt == 1 {
            world.point(bad);
        }
    });
    let revision = pushed(&reverted.unwrap());
    assert_eq!(world.forge.find_commit(revision).unwrap().parent_id(0).unwrap(), bad);
    assert_eq!(world.text(revision, "secret"), None);
}

#[test]
fn a_push_whose_answer_was_lost_is_found_again() {
    let (world, verified, bad) = world();
    let (url, mood) = serve(&world);
    let mirror = mirror(&world, &url, "s3cret");
    mood.loses_answers.store(true, Ordering::SeqCst);
    let error = mirror.revert(&ask(verified, bad)).unwrap_err();
    assert!(error.transient(), "{error:?}");
    mood.loses_answers.store(false, Ordering::SeqCst);
    let revision = world.tip().unwrap();
    assert_ne!(revision, bad, "it had landed");
    let again = mirror.revert(&ask(verified, bad)).unwrap();
    assert_eq!(again, Reverted::AlreadyDone { commit: Some(revision) });
    assert_eq!(world.tip(), Some(revision));
}

#[test]
fn a_protected_branch_is_permanent_and_in_the_servers_words() {
    use std::os::unix::fs::PermissionsExt;
    let (world, verified, bad) = world();
    let (url, _) = serve(&world);
    let hook = world.forge.path().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho 'GH006: Protected branch update failed' >&2\nexit 1\n")
        .unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = mirror(&world, &url, "s3cret").revert(&ask(verified, bad)).unwrap_err();
    assert!(!error.transient());
    insta::assert_snapshot!(error, @"the server refused the push to `main`: pre-receive hook declined: GH006: Protected branch update failed");
    assert_eq!(world.tip(), Some(bad));
}

#[test]
fn wrong_credentials_are_said_to_be_wrong() {
    let (world, _, _) = world();
    let (url, _) = serve(&world);
    let error = mirror(&world, &url, "wr0ng").fetch().unwrap_err();
    assert!(matches!(error, GitError::Authentication { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("wr0ng"));
    let error =
        Mirror::open(&world.folder.path().join("m"), remote(&url)).unwrap().fetch().unwrap_err();
    assert!(matches!(error, GitError::Authentication { .. }), "{error:?}");
    let error = mirror(&world, &url.replace("forge", "none"), "s3cret").fetch().unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
}

#[test]
fn a_silent_server_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}/x.git", listener.local_addr().unwrap());
    let mirror = Mirror::open(&folder.path().join("m"), remote(&url))
        .unwrap()
        .with_patience(Duration::from_millis(200));
    for _ in 0..4 {
        let error = mirror.fetch().unwrap_err();
        assert!(matches!(error, GitError::Stalled { .. }) && error.transient(), "{error:?}");
    }
    let error = mirror.fetch().unwrap_err();
    assert!(matches!(error, GitError::Busy { .. }) && error.transient(), "{error:?}");
    // When the server lets go, so do the threads that were left, and the next attempt starts.
    for _ in 0..4 {
        drop(listener.accept().unwrap());
    }
    drop(listener);
    let mut last = None;
    for _ in 0..50 {
        last = mirror.fetch().err();
        if matches!(last, Some(GitError::Unreachable { .. })) {
            return;
        }
    }
    panic!("{last:?}");
}
