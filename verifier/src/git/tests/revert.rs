//! The revert, case by case.

use std::process::Command;

use super::*;
use crate::git::{GitError, Quarantining, RevertPlan, quarantined};

const FILE: &str = "svc/a/app.txt";

#[test]
fn one_bad_commit_is_undone_and_later_work_is_kept() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some(&lines(&[]))), ("svc/b/x", Some("1"))]);
    let bad = world.commit("Add gift cards", &[(FILE, Some(&lines(&[(2, "bad")])))]);
    let later = lines(&[(2, "bad"), (9, "later")]);
    let tip = world.commit("Later", &[(FILE, Some(&later)), ("svc/b/x", Some("2"))]);

    let reverted = world.revert(&ask(verified, bad));
    let Reverted::Pushed { revision, parent, subject, quarantine } = reverted else {
        panic!("{reverted:?}")
    };
    assert_eq!(world.tip(), Some(revision));
    assert_eq!(parent, tip);
    assert_eq!(subject, "Revert \"Add gift cards\"");
    assert_eq!(quarantine, Quarantining::Entered);
    assert_eq!(world.text(revision, FILE), Some(lines(&[(9, "later")])));
    assert_eq!(world.text(revision, "svc/b/x").as_deref(), Some("2"));

    let again = world.revert(&ask(verified, bad));
    assert_eq!(again, Reverted::AlreadyDone { commit: Some(revision) });
    assert_eq!(world.tip(), Some(revision));

    let trailers = world.mirror.revert_of(revision).unwrap().unwrap();
    assert_eq!((trailers.verified, trailers.bad, trailers.generation), (verified, bad, 1));
    let entries = world.mirror.quarantine(revision, ".serin").unwrap();
    let content = world.mirror.content(bad, &paths(&["svc/a/**"])).unwrap();
    assert_eq!(entries.len(), 1);
    assert!(quarantined(&entries, "a", bad, content).is_some());
    assert!(quarantined(&entries, "a", tip, content).is_some(), "known by content");
    assert!(quarantined(&entries, "b", bad, content).is_none());
}

/// The result is the tree that `git revert` itself makes, for a plain commit and for a merge.
#[test]
fn the_tree_is_that_of_git_revert() {
    for merge in [false, true] {
        let world = World::new();
        let verified =
            world.commit("Start", &[(FILE, Some(&lines(&[]))), ("svc/a/old", Some("x"))]);
        let change: &[(&str, Option<&str>)] =
            &[(FILE, Some(&lines(&[(1, "bad")]))), ("svc/a/old", None), ("svc/a/new", Some("n"))];
        let bad = if merge {
            let side = world.commit_on(&[verified], "Feature", change);
            let tree = world.forge.find_commit(side).unwrap().tree_id();
            let bad = world.commit_tree(&[verified, side], "Merge branch 'feature'", tree);
            world.point(bad);
            bad
        } else {
            world.commit("Feature", change)
        };
        world.commit("Later", &[(FILE, Some(&lines(&[(1, "bad"), (8, "later")])))]);

        let work = world.folder.path().join("work");
        let git = |arguments: &[&str]| {
            let output = Command::new("git")
                .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
                .args(arguments)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let (forge, at) = (world.forge.path().to_str().unwrap(), work.to_str().unwrap());
        git(&["clone", "-q", "-b", "main", forge, at]);
        let bad_text = bad.to_string();
        let mut arguments = vec!["-C", at, "revert", "--no-edit"];
        if merge {
            arguments.extend(["-m", "1"]);
        }
        arguments.push(&bad_text);
        git(&arguments);
        let expected = git(&["-C", at, "rev-parse", "HEAD^{tree}"]);

        let request = RevertRequest { quarantine: false, ..ask(verified, bad) };
        let revision = pushed(&world.revert(&request));
        let tree = world.forge.find_commit(revision).unwrap().tree_id();
        assert_eq!(tree.to_string(), expected, "merge: {merge}");
    }
}

#[test]
fn a_conflict_writes_nothing_and_names_the_file() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some(&lines(&[])))]);
    let bad = world.commit("Bad", &[(FILE, Some(&lines(&[(2, "bad")])))]);
    let tip = world.commit("Same line", &[(FILE, Some(&lines(&[(2, "bad, edited")])))]);
    let reverted = world.revert(&ask(verified, bad));
    assert_eq!(reverted, Reverted::Conflict { files: vec![FILE.into()] });
    assert_eq!(world.tip(), Some(tip));
    assert_eq!(world.forge.references().unwrap().count(), 1);
}

#[test]
fn what_somebody_undid_already_is_left_alone() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some(&lines(&[])))]);
    let bad = world.commit("Bad", &[(FILE, Some(&lines(&[(2, "bad")])))]);
    let tip = world.commit("Revert \"Bad\"", &[(FILE, Some(&lines(&[])))]);
    assert_eq!(world.revert(&ask(verified, bad)), Reverted::AlreadyDone { commit: None });
    assert_eq!(world.tip(), Some(tip));
}

#[test]
fn the_other_services_part_of_the_same_commit_stays() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some("1\n")), ("svc/b/x", Some("1\n"))]);
    let bad = world.commit("Both", &[(FILE, Some("2\n")), ("svc/b/x", Some("2\n"))]);
    let revision = pushed(&world.revert(&ask(verified, bad)));
    assert_eq!(world.text(revision, FILE).as_deref(), Some("1\n"));
    assert_eq!(world.text(revision, "svc/b/x").as_deref(), Some("2\n"));
}

#[test]
fn a_file_moved_out_of_the_service_meanwhile_is_a_conflict() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some(&lines(&[])))]);
    let bad_text = lines(&[(2, "bad")]);
    let bad = world.commit("Bad", &[(FILE, Some(&bad_text))]);
    let tip = world.commit("Move", &[(FILE, None), ("lib/app.txt", Some(&bad_text))]);
    let reverted = world.revert(&ask(verified, bad));
    assert!(matches!(reverted, Reverted::Conflict { .. }), "{reverted:?}");
    assert_eq!(world.tip(), Some(tip));
}

#[test]
fn a_file_renamed_within_the_service_is_followed() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some(&lines(&[])))]);
    let bad = world.commit("Bad", &[(FILE, Some(&lines(&[(2, "bad")])))]);
    let moved = lines(&[(2, "bad"), (9, "later")]);
    world.commit("Move", &[(FILE, None), ("svc/a/moved.txt", Some(&moved))]);
    let revision = pushed(&world.revert(&ask(verified, bad)));
    assert_eq!(world.text(revision, "svc/a/moved.txt"), Some(lines(&[(9, "later")])));
    assert_eq!(world.text(revision, FILE), None);
}

#[test]
fn a_rewritten_branch_is_refused() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some("1"))]);
    let bad = world.commit("Bad", &[(FILE, Some("2"))]);
    world.mirror.fetch().unwrap();
    let other = world.commit_on(&[verified], "Instead", &[(FILE, Some("3"))]);
    world.point(other);
    let reverted = world.revert(&ask(verified, bad));
    let Reverted::Refused { why } = &reverted else { panic!("{reverted:?}") };
    assert!(why.contains("no longer contains"), "{why}");
    assert!(world.mirror.last_tip().unwrap() == Some(other));

    let reverted = world.revert(&ask(bad, other));
    let Reverted::Refused { why } = &reverted else { panic!("{reverted:?}") };
    assert!(why.contains("not in the history"), "{why}");
}

#[test]
fn a_revert_is_not_reverted_without_approval() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some("1"))]);
    let bad = world.commit("Bad", &[(FILE, Some("2"))]);
    let revert = pushed(&world.revert(&ask(verified, bad)));

    let reverted = world.revert(&ask(bad, revert));
    let Reverted::Refused { why } = &reverted else { panic!("{reverted:?}") };
    assert!(why.contains("itself a revert by Serin"), "{why}");

    let approved = RevertRequest { generation: 2, ..ask(bad, revert) };
    let revision = pushed(&world.revert(&approved));
    assert_eq!(world.text(revision, FILE).as_deref(), Some("2"));
    assert_eq!(world.mirror.revert_of(revision).unwrap().unwrap().generation, 2);
    let subject = world.mirror.commit(revision).unwrap().subject;
    assert_eq!(subject, "Revert \"Revert \"Bad\"\"");
}

#[test]
fn a_revert_goes_to_a_branch_of_its_own_once() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some("1"))]);
    let bad = world.commit("Bad", &[(FILE, Some("2"))]);
    let request = RevertRequest { destination: Destination::Review, ..ask(verified, bad) };
    let first = world.revert(&request);
    let Reverted::Branch { name, revision } = &first else { panic!("{first:?}") };
    assert_eq!(world.tip(), Some(bad), "the watched branch stays");
    let there = world.forge.refname_to_id(&format!("refs/heads/{name}")).unwrap();
    assert_eq!(there, *revision);
    world.commit("Later", &[("svc/b/x", Some("2"))]);
    assert_eq!(world.revert(&request), first);

    let hostile = RevertRequest { service: "../x y.lock".into(), ..request };
    assert!(matches!(world.revert(&hostile), Reverted::Branch { .. }));
}

#[test]
fn a_busy_branch_is_tried_five_times() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some("1"))]);
    let bad = world.commit("Bad", &[(FILE, Some("2"))]);
    let mut count = 0;
    let result = world.mirror.revert_with(&ask(verified, bad), |_| {
        count += 1;
        world.commit("Push", &[("svc/b/x", Some(&count.to_string()))]);
    });
    let Err(error @ GitError::Contended { attempts: 5, .. }) = result else { panic!("{result:?}") };
    assert!(error.transient());
    assert_eq!(count, 5);
    assert_eq!(world.text(world.tip().unwrap(), FILE).as_deref(), Some("2"));
}

/// Somebody rewinds the branch to an earlier commit: a plain push would bring back what they removed.
#[test]
fn a_branch_that_was_rewound_meanwhile_is_not_wound_forward() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some("1"))]);
    let bad = world.commit("Bad", &[(FILE, Some("2"))]);
    world.commit("Secret", &[("secret", Some("oops"))]);
    let mut rewound = false;
    let result = world.mirror.revert_with(&ask(verified, bad), |_| {
        if !std::mem::replace(&mut rewound, true) {
            world.point(bad);
        }
    });
    let revision = pushed(&result.unwrap());
    assert_eq!(world.forge.find_commit(revision).unwrap().parent_id(0).unwrap(), bad);
    assert_eq!(world.text(revision, "secret"), None);
}

#[test]
fn a_dry_run_shows_the_patch_and_writes_nothing() {
    let world = World::new();
    let verified = world.commit("Start", &[(FILE, Some("1\n"))]);
    let bad = world.commit("Bad", &[(FILE, Some("2\n"))]);
    world.mirror.fetch().unwrap();
    let plan = world.mirror.plan_revert(&ask(verified, bad)).unwrap();
    let RevertPlan::Clean { patch, files, parent, .. } = plan else { panic!("{plan:?}") };
    assert_eq!((files, parent), (vec![FILE.to_owned()], bad));
    assert!(patch.contains("-2\n+1\n"), "{patch}");
    assert!(patch.contains("b/.serin/quarantine.yaml"), "{patch}");
    assert_eq!(world.tip(), Some(bad));
}

#[test]
fn the_quarantine_list_never_blocks_a_revert_and_keeps_what_people_wrote() {
    let theirs = "# lift on Friday\n- service: b   # flaky\n  revision: '12'\n  ticket: OPS-1";
    let cases = [
        (Some(theirs), Quarantining::Entered),
        (Some("[]\n"), Quarantining::Entered),
        (Some("# nothing\n"), Quarantining::Entered),
        (Some("{ not: a list }\n"), Quarantining::NotAsked),
        (Some("- service: [\n"), Quarantining::NotAsked),
    ];
    for (list, expected) in cases {
        let world = World::new();
        let verified =
            world.commit("Start", &[(FILE, Some("1")), (".serin/quarantine.yaml", list)]);
        let bad = world.commit("Bad", &[(FILE, Some("2"))]);
        let reverted = world.revert(&ask(verified, bad));
        let Reverted::Pushed { revision, quarantine, .. } = reverted else {
            panic!("{reverted:?}")
        };
        let text = world.text(revision, ".serin/quarantine.yaml").unwrap();
        match expected {
            Quarantining::Entered => {
                assert_eq!(quarantine, expected);
                let comments = list.unwrap().trim_end().trim_end_matches("[]");
                assert!(text.starts_with(comments), "{text}");
                let entries = world.mirror.quarantine(revision, ".serin").unwrap();
                assert_eq!(entries.last().unwrap().revision, bad.to_string());
            }
            Quarantining::NotAsked | Quarantining::Already | Quarantining::Skipped(_) => {
                assert!(matches!(quarantine, Quarantining::Skipped(_)), "{quarantine:?}");
                assert_eq!(Some(text.as_str()), list);
                let error = world.mirror.quarantine(revision, ".serin").unwrap_err();
                assert!(matches!(error, GitError::Quarantine { .. }), "{error}");
            }
        }
    }
}

#[test]
fn a_service_that_is_the_whole_repository_is_back_where_it_was() {
    let world = World::new();
    let all = paths(&["**"]);
    let verified = world.commit("Start", &[("main.rs", Some("1"))]);
    let bad = world.commit("Bad", &[("main.rs", Some("2"))]);
    let request = RevertRequest { paths: all.clone(), ..ask(verified, bad) };
    let revision = pushed(&world.revert(&request));
    let content = |revision| world.mirror.content(revision, &all).unwrap();
    assert_eq!(content(revision), content(verified));
    assert_ne!(content(revision), content(bad));
}

/// A push that lands between the check and the move of the branch must win or lose, never vanish.
#[test]
fn a_push_at_the_same_moment_is_never_overwritten() {
    let world = World::new();
    let mut verified = world.commit("Start", &[(FILE, Some("0"))]);
    let mut landed = 0;
    for round in 1..=15 {
        let number = round.to_string();
        let bad = world.commit("Bad", &[(FILE, Some(&number))]);
        let theirs = std::sync::Mutex::new(None);
        let reverted = std::thread::scope(|scope| {
            world.mirror.revert_with(&ask(verified, bad), |attempt| {
                if attempt > 1 {
                    return;
                }
                let forge = Repository::open(world.forge.path()).unwrap();
                let tip = world.tip().unwrap();
                let next = world.commit_on(&[tip], "Theirs", &[("svc/b/x", Some(&number))]);
                let theirs = &theirs;
                scope.spawn(move || {
                    let name = "refs/heads/main";
                    let moved = forge.reference_matching(name, next, true, tip, "push").is_ok();
                    *theirs.lock().unwrap() = moved.then_some(next);
                });
            })
        });
        let revision = pushed(&reverted.unwrap());
        if let Some(theirs) = *theirs.lock().unwrap() {
            landed += 1;
            assert!(world.forge.graph_descendant_of(revision, theirs).unwrap(), "round {round}");
        }
        assert_eq!(world.tip(), Some(revision));
        verified = revision;
    }
    assert!(landed > 0, "no push ever came in between: the test shows nothing");
}
