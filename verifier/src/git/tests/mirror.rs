//! Fetching, reading and writing out.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::git::{GitError, PathsError, Tip};

#[test]
fn an_empty_repository_is_a_state_and_not_an_error() {
    let world = World::new();
    assert_eq!(world.mirror.fetch().unwrap(), None);
    let first = world.commit("Start", &[("x", Some("1"))]);
    let tip = world.mirror.fetch().unwrap();
    assert_eq!(tip, Some(Tip { revision: first, previous: None, rewritten: false }));
}

#[test]
fn a_force_push_is_noticed() {
    let world = World::new();
    let first = world.commit("Start", &[("x", Some("1"))]);
    let second = world.commit("Next", &[("x", Some("2"))]);
    world.mirror.fetch().unwrap();
    let third = world.commit("Next", &[("x", Some("3"))]);
    let tip = world.mirror.fetch().unwrap().unwrap();
    assert_eq!(tip, Tip { revision: third, previous: Some(second), rewritten: false });
    let other = world.commit_on(&[first], "Instead", &[("x", Some("4"))]);
    world.point(other);
    let tip = world.mirror.fetch().unwrap().unwrap();
    assert_eq!(tip, Tip { revision: other, previous: Some(third), rewritten: true });
    assert!(world.mirror.is_ancestor(first, other).unwrap());
    assert!(!world.mirror.is_ancestor(third, other).unwrap(), "the old tip stays readable");
}

#[test]
fn a_mirror_survives_what_a_killed_process_left() {
    let world = World::new();
    world.commit("Start", &[("x", Some("1"))]);
    world.mirror.fetch().unwrap();
    let second = world.commit("Next", &[("x", Some("2"))]);
    let dir = world.folder.path().join("mirror.git");
    fs::write(dir.join("refs/serin/main.lock"), "").unwrap();
    fs::write(dir.join("packed-refs.lock"), "").unwrap();
    let mirror = Mirror::open(&dir, world.mirror.remote.clone()).unwrap();
    assert_eq!(mirror.fetch().unwrap().unwrap().revision, second);
}

#[test]
fn a_mirror_that_was_deleted_is_filled_again() {
    let world = World::new();
    let first = world.commit("Start", &[("x", Some("1"))]);
    world.mirror.fetch().unwrap();
    fs::remove_dir_all(world.folder.path().join("mirror.git")).unwrap();
    let error = world.mirror.commit(first).unwrap_err();
    assert!(matches!(error, GitError::Mirror { .. }) && error.transient(), "{error}");
    assert_eq!(world.mirror.fetch().unwrap().unwrap().revision, first);
    assert_eq!(world.mirror.commit(first).unwrap().subject, "Start");
}

#[test]
fn a_folder_with_other_things_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter.txt"), "Dear Ann").unwrap();
    let error = Mirror::open(folder.path(), remote("/nowhere")).unwrap_err();
    assert!(matches!(error, GitError::Mirror { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn errors_say_what_is_wrong_without_secrets() {
    let world = World::new();
    world.commit("Start", &[("x", Some("1"))]);
    let dir = world.folder.path().join("other.git");
    let fetch = |url: &str, branch: &str| {
        let remote = Remote {
            url: url.into(),
            branch: branch.into(),
            credentials: Credentials::Token { user: "serin".into(), token: "s3cret".into() },
        };
        assert!(!format!("{remote:?}").contains("s3cret"));
        let error = Mirror::open(&dir, remote).unwrap().fetch().unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let all = format!("{error} | {} | {}", cause.unwrap_or_default(), error.hint());
        assert!(!all.contains("s3cret") && !all.contains("hunter2"), "{all}");
        (
            format!("{error}").replace(world.folder.path().to_str().unwrap(), "DIR"),
            error.transient(),
        )
    };
    let forge = world.forge.path().to_str().unwrap().trim_end_matches('/').to_owned();
    insta::assert_snapshot!(fetch(&forge, "release").0, @"DIR/forge.git has no branch `release`; it has `main`");
    let (text, transient) = fetch("/nowhere/at/all.git", "main");
    insta::assert_snapshot!(text, @"there is no Git repository at /nowhere/at/all.git, or these credentials may not see it");
    assert!(!transient);
    let (text, transient) = fetch("file:///nowhere/at/all.git", "main");
    insta::assert_snapshot!(text, @"there is no Git repository at file:///nowhere/at/all.git, or these credentials may not see it");
    assert!(!transient);
    let (text, transient) = fetch("http://ann:hunter2@127.0.0.1:1/x.git?token=hunter2", "main");
    insta::assert_snapshot!(text, @"cannot reach the repository http://127.0.0.1:1/x.git");
    assert!(transient);
    let unknown = Oid::from_str(&"12".repeat(20)).unwrap();
    let error = world.mirror.commit(unknown).unwrap_err();
    assert!(error.to_string().starts_with("revision 1212121212"), "{error}");
}

#[test]
fn a_file_url_with_escapes_is_the_same_repository() {
    let world = World::new();
    let first = world.commit("Start", &[("x", Some("1"))]);
    let spaced = world.folder.path().join("my forge.git");
    fs::rename(world.forge.path(), &spaced).unwrap();
    let url = format!("file://{}", spaced.to_str().unwrap().replace(' ', "%20"));
    let mirror = Mirror::open(&world.folder.path().join("m2"), remote(&url)).unwrap();
    assert_eq!(mirror.fetch().unwrap().unwrap().revision, first);
    assert_eq!(mirror.remote.local(), Some(spaced));
}

#[test]
fn a_checkout_is_whole_or_absent() {
    let world = World::new();
    let first =
        world.commit("Start", &[("bin/run", Some("#!/bin/sh\n")), ("a b/ü", Some("x\r\n"))]);
    let mut index = git2::Index::new().unwrap();
    index.read_tree(&world.forge.find_commit(first).unwrap().tree().unwrap()).unwrap();
    let mut run = super::entry("bin/run");
    run.id = world.forge.blob(b"#!/bin/sh\n").unwrap();
    run.mode = 0o100_755;
    index.add(&run).unwrap();
    let mut link = super::entry("etc");
    link.id = world.forge.blob(b"/etc").unwrap();
    link.mode = 0o120_000;
    index.add(&link).unwrap();
    let tree = index.write_tree_to(&world.forge).unwrap();
    let second = world.commit_tree(&[first], "Modes", tree);
    world.point(second);
    world.mirror.fetch().unwrap();

    let to = world.folder.path().join("versions").join("v2");
    fs::create_dir_all(world.folder.path().join("versions/.v2.partial/left")).unwrap();
    world.mirror.checkout(second, &to).unwrap();
    assert_eq!(fs::read(to.join("a b/ü")).unwrap(), b"x\r\n");
    assert_eq!(fs::metadata(to.join("bin/run")).unwrap().permissions().mode() & 0o111, 0o111);
    assert_eq!(fs::read_link(to.join("etc")).unwrap().to_str(), Some("/etc"));
    fs::write(to.join("mine"), "kept").unwrap();
    world.mirror.checkout(second, &to).unwrap();
    assert!(to.join("mine").exists(), "a second checkout changes nothing");
    assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1);

    let blocked = world.folder.path().join("forge.git/HEAD/v3");
    let error = world.mirror.checkout(second, &blocked).unwrap_err();
    assert!(matches!(error, GitError::Checkout { .. }), "{error}");
}

/// Trees that Git would never make: a path into `.git`, and a link in whose place a folder stands too.
#[test]
fn a_hostile_tree_stays_inside_its_folder() {
    let world = World::new();
    let odb = world.forge.odb().unwrap();
    let blob = world.forge.blob(b"evil").unwrap();
    let outside = world.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let target = world.forge.blob(outside.to_str().unwrap().as_bytes()).unwrap();
    let raw = |entries: &[(&str, &str, Oid)]| {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            bytes.extend_from_slice(id.as_bytes());
        }
        odb.write(git2::ObjectType::Tree, &bytes).unwrap()
    };
    let inner = raw(&[("100644", "config", blob)]);
    let hostile = [
        raw(&[("40000", "..", inner)]),
        raw(&[("40000", ".git", inner)]),
        raw(&[("120000", "a", target), ("40000", "a", inner)]),
        raw(&[("100644", "../../outside/config", blob)]),
    ];
    for (number, tree) in hostile.into_iter().enumerate() {
        let revision = world.commit_tree(world.tip().as_slice(), "Evil", tree);
        world.point(revision);
        if world.mirror.fetch().is_err() {
            continue;
        }
        let to = world.folder.path().join(format!("v{number}"));
        let done = world.mirror.checkout(revision, &to);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{number}: {done:?}");
        assert!(!world.folder.path().join("config").exists(), "{number}");
        assert!(done.is_ok() || !to.exists());
    }
}

#[test]
fn folders_without_end_are_an_error() {
    let world = World::new();
    let mut tree = world.forge.treebuilder(None).unwrap().write().unwrap();
    for _ in 0..400 {
        let mut builder = world.forge.treebuilder(None).unwrap();
        builder.insert("d", tree, 0o040_000).unwrap();
        tree = builder.write().unwrap();
    }
    let revision = world.commit_tree(&[], "Deep", tree);
    world.point(revision);
    world.mirror.fetch().unwrap();
    let error = world.mirror.content(revision, &paths(&["**/x"])).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("256 deep"));
}

#[test]
fn policies_are_read_within_limits() {
    let world = World::new();
    let large = "x".repeat(300 * 1024);
    let revision = world.commit(
        "Policies",
        &[
            (".serin/b.yml", Some("b")),
            (".serin/a.yaml", Some("a")),
            (".serin/large.yaml", Some(&large)),
            (".serin/quarantine.yaml", Some("[]")),
            (".serin/README.md", Some("no")),
            (".serin/deep/c.yaml", Some("no")),
        ],
    );
    world.mirror.fetch().unwrap();
    let found = world.mirror.read_folder(revision, ".serin/").unwrap();
    let names: Vec<_> = found.files.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(names, [".serin/a.yaml", ".serin/b.yml"]);
    assert_eq!(found.refused.len(), 1);
    insta::assert_snapshot!(found.refused[0].1, @"it has 307200 bytes, a policy may have at most 262144");
    assert_eq!(world.mirror.read_folder(revision, "none").unwrap().files, []);
}

#[test]
fn patterns_mean_what_people_expect() {
    let cases: &[(&[&str], &str, bool)] = &[
        (&["deploy/checkout/**"], "deploy/checkout/a/b.yaml", true),
        (&["deploy/checkout/**"], "deploy/checkout2/a", false),
        (&["deploy/checkout"], "deploy/checkout/a/b", true),
        (&["deploy/checkout"], "deploy/checkout", true),
        (&["./deploy/checkout/"], "deploy/checkout/x", true),
        (&["/Makefile"], "Makefile", true),
        (&["*.go"], "a/b.go", false),
        (&["**/*.go"], "a/b.go", true),
        (&["**/*.go"], "b.go", true),
        (&["svc/{a,b}/**"], "svc/b/x", true),
        (&["svc/{a,b}/**"], "svc/c/x", false),
        (&["svc/a*/x"], "svc/abc/x", true),
        (&["svc/a*/x"], "svc/a/b/x", false),
        (&["**"], ".serin/policy.yaml", true),
        (&["**"], ".serin/quarantine.yaml", false),
    ];
    for (patterns, path, expected) in cases {
        let paths = paths(patterns);
        assert_eq!(paths.matches(path), *expected, "{patterns:?} {path}");
        for (at, _) in path.match_indices('/').filter(|_| *expected) {
            assert!(paths.may_hold(&path.as_bytes()[..at]), "{patterns:?} {path}");
        }
    }
    let fault = |pattern: &str| Paths::new(&[pattern], ".serin").unwrap_err().to_string();
    insta::assert_snapshot!(fault("a/[b"), @"path pattern `a/[b` cannot be used: unclosed character class; missing ']'");
    insta::assert_snapshot!(fault("../x"), @"path pattern `../x` cannot be used: it holds `.`, `..` or an empty folder name");
    insta::assert_snapshot!(fault("/"), @"path pattern `/` cannot be used: it is empty; write `**` for the whole repository");
    assert_eq!(Paths::new::<&str>(&[], ".serin").unwrap_err(), PathsError::Empty);
    assert!(Paths::new(&["{".repeat(2000)], ".serin").is_err());
}

#[test]
fn a_fingerprint_follows_the_services_files_alone() {
    let world = World::new();
    let texts = [("svc/a/x", Some("1")), ("svc/a/deep/y", Some("1")), ("svc/b/x", Some("1"))];
    let first = world.commit("Start", &texts);
    let second =
        world.commit("Other", &[("svc/b/x", Some("2")), (".serin/quarantine.yaml", Some("[]"))]);
    let third = world.commit("Own", &[("svc/a/deep/y", Some("2"))]);
    world.mirror.fetch().unwrap();
    for pattern in ["svc/a/**", "svc/a/*/*", "svc/{a,c}/**", "**/y"] {
        let of = |revision| world.mirror.content(revision, &paths(&[pattern])).unwrap();
        assert_eq!(of(first), of(second), "{pattern}");
        assert_ne!(of(second), of(third), "{pattern}");
        assert_eq!(of(first).to_string().parse(), Ok(of(first)));
    }
}

#[test]
fn a_range_lists_what_touches_the_service() {
    let world = World::new();
    let first = world.commit("Start", &[("svc/a/x", Some("1\n2\n")), ("svc/b/x", Some("1"))]);
    world.commit("Other", &[("svc/b/x", Some("2"))]);
    let main = world.commit("Close CVE-2026-12345", &[("svc/a/x", Some("1\n3\n"))]);
    let side = world.commit_on(&[first], "Side", &[("svc/a/migrations/1.sql", Some("drop\n"))]);
    let mut merged = world
        .forge
        .merge_commits(
            &world.forge.find_commit(main).unwrap(),
            &world.forge.find_commit(side).unwrap(),
            None,
        )
        .unwrap();
    let tree = merged.write_tree_to(&world.forge).unwrap();
    let merge = world.commit_tree(&[main, side], "Merge branch 'side'", tree);
    world.point(merge);
    world.mirror.fetch().unwrap();
    let (of_a, sql) = (paths(&["svc/a/**"]), paths(&["**/*.sql"]));
    let touched = world.mirror.touched(first, merge, &of_a, Some(&sql)).unwrap();
    let mut subjects: Vec<_> =
        touched.commits.iter().map(|commit| commit.subject.as_str()).collect();
    assert_eq!(subjects.pop(), Some("Merge branch 'side'"), "oldest first");
    subjects.sort_unstable();
    assert_eq!(subjects, ["Close CVE-2026-12345", "Side"]);
    assert_eq!((touched.landed, touched.merges, touched.security), (2, true, Some(main)));
    assert_eq!(touched.irreversible, ["svc/a/migrations/1.sql"]);
    let files: Vec<_> =
        touched.files.iter().map(|file| (file.path.as_str(), file.added, file.removed)).collect();
    assert_eq!(files, [("svc/a/migrations/1.sql", 1, 0), ("svc/a/x", 1, 1)]);

    let text = world.mirror.diff_text(first, merge, &of_a, 100_000).unwrap();
    assert!(text.contains("-2\n+3\n") && text.contains("+drop"), "{text}");
    let cut = world.mirror.diff_text(first, merge, &of_a, 120).unwrap();
    assert!(cut.ends_with("[cut at 120 bytes; 1 more files]\n"), "{cut}");
}
