//! The revert's message, as people and machines read it.

use super::*;
use crate::git::message::message;
use crate::git::plan::RevertPlan;

fn message_of(world: &World, request: &RevertRequest) -> String {
    world.mirror.fetch().unwrap();
    match world.mirror.plan_revert(request).unwrap() {
        RevertPlan::Clean { message, .. } => message,
        other @ (RevertPlan::AlreadyDone { .. }
        | RevertPlan::Conflict { .. }
        | RevertPlan::Refused { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn a_message_tells_the_whole_story() {
    let world = World::new();
    let verified = world.commit("Start", &[("svc/a/x", Some("1"))]);
    let bad = world.commit("Add gift cards", &[("svc/a/x", Some("2"))]);
    insta::assert_snapshot!(message_of(&world, &ask(verified, bad)), @r#"
    Revert "Add gift cards"

    errors failed: 3.1 % of the canary's requests against 0.2 % of the baseline's

    Deployment a-025711c245-1 of a took 025711c245 to real traffic and was rolled back to a0ef4cf49e.
    This commit takes the files of a back to a0ef4cf49e; later changes are kept.

    Reverted commits:
      025711c245 Add gift cards (Ann Lee)

    Evidence:
      errors: ratio 15.5 (at least 9.1, allowed 1.25), n = 5,988

    Links:
      http://127.0.0.1:8787/deployments/a-1

    To bring the change back, revert this commit after fixing it.

    Reverts: a0ef4cf49e401f4e6a49b2a3d09799a5d8e13c3b..025711c245129ae0fd85a74169c4f2c45cda8967
    Reverts-Deployment: a-025711c245-1
    Rollback-Reason: errors failed: 3.1 % of the canary's requests against 0.2 % of the baseline's
    Evidence: sha256:abababababababababababababababababababababababababababababababab
    Revert-Generation: 1
    "#);
}

#[test]
fn a_merge_is_warned_about() {
    let world = World::new();
    let verified = world.commit("Start", &[("svc/a/x", Some("1"))]);
    let one = world.commit_on(&[verified], "One", &[("svc/a/x", Some("2"))]);
    let two = world.commit_on(&[one], "Two", &[("svc/a/y", Some("2"))]);
    let tree = world.forge.find_commit(two).unwrap().tree_id();
    let merge = world.commit_tree(&[verified, two], "Merge branch 'gift-cards'", tree);
    world.point(merge);
    let text = message_of(&world, &ask(verified, merge));
    insta::assert_snapshot!(text, @r#"
    Revert "Merge branch 'gift-cards'"

    errors failed: 3.1 % of the canary's requests against 0.2 % of the baseline's

    Deployment a-63678ec9a7-1 of a took 63678ec9a7 to real traffic and was rolled back to a0ef4cf49e.
    This commit takes the files of a back to a0ef4cf49e; later changes are kept.

    Reverted commits:
      63678ec9a7 Merge branch 'gift-cards' (Ann Lee, merge)
      8f85dd8bb7 Two (Ann Lee)
      369ccb53b0 One (Ann Lee)

    Evidence:
      errors: ratio 15.5 (at least 9.1, allowed 1.25), n = 5,988

    Links:
      http://127.0.0.1:8787/deployments/a-1

    To bring the change back, revert this commit after fixing it.
    A merge is among the reverted commits: merging the same branch again will not bring the change back,
    because Git takes it for merged. Revert this commit first.

    Reverts: a0ef4cf49e401f4e6a49b2a3d09799a5d8e13c3b..63678ec9a731bb8c72a6b01b6821713edb64f7cf
    Reverts-Deployment: a-63678ec9a7-1
    Rollback-Reason: errors failed: 3.1 % of the canary's requests against 0.2 % of the baseline's
    Evidence: sha256:abababababababababababababababababababababababababababababababab
    Revert-Generation: 1
    "#);
}

#[test]
fn foreign_text_cannot_forge_a_trailer() {
    let world = World::new();
    let verified = world.commit("Start", &[("svc/a/x", Some("1"))]);
    let evil = "Fine\u{202e}\n\nReverts-Deployment: other\nSecurity: yes";
    world.commit(evil, &[("svc/a/x", Some("2"))]);
    let bad = world.commit("--- a\r\rReverts: b", &[("svc/a/y", Some("2"))]);
    let request = RevertRequest {
        reason: "--- x\n\nReverts-Deployment: other\0\u{7}".into(),
        evidence: vec!["\n\nReverts-Deployment: other\n".into(), "---".into()],
        links: vec!["#\n---\nReverts-Deployment: other".into()],
        cause: vec!["x\n\nReverts-Deployment: other".into()],
        table: vec!["a   b\n\nReverts-Deployment: other\u{202e}".into()],
        evidence_hash: Some("sha256:1\nReverts-Deployment: other".into()),
        deployment: "real\nReverts-Deployment: other".into(),
        service: "a\n\nRevert-Generation: 9".into(),
        ..ask(verified, bad)
    };
    let revision = pushed(&world.revert(&request));
    let commit = world.mirror.commit(revision).unwrap();
    let keys: Vec<_> = commit.trailers.iter().map(|(key, _)| key.as_str()).collect();
    let ours =
        ["Reverts", "Reverts-Deployment", "Rollback-Reason", "Evidence", "Revert-Generation"];
    assert_eq!(keys, ours);
    assert_eq!(commit.trailer("reverts-deployment"), Some("real Reverts-Deployment: other"));
    assert_eq!(commit.revert().unwrap().generation, 1);
    let again = world.revert(&request);
    assert_eq!(again, Reverted::AlreadyDone { commit: Some(revision) });
    let text = world.forge.find_commit(revision).unwrap().message().unwrap().to_owned();
    assert!(text.chars().all(|sign| sign == '\n' || !sign.is_control()), "{text:?}");
    assert!(!text.contains('\u{202e}'));
}

#[test]
fn a_message_has_bounds() {
    let world = World::new();
    let verified = world.commit("Start", &[("svc/a/x", Some("1"))]);
    for number in 0..40 {
        world.commit(&"long ".repeat(5000), &[("svc/a/x", Some(&format!("v{number}")))]);
    }
    let bad = world.tip().unwrap();
    let request = RevertRequest {
        reason: "word ".repeat(50_000),
        evidence: vec!["x".repeat(100_000); 1000],
        service: "service-".repeat(1000),
        ..ask(verified, bad)
    };
    world.mirror.fetch().unwrap();
    let of_a = &request.paths;
    let touched = world.mirror.touched(verified, bad, of_a, None).unwrap();
    let text = message(&request, &touched);
    assert!(text.len() < 64 * 1024, "{}", text.len());
    let subject = text.lines().next().unwrap();
    assert!(subject.chars().count() <= 72, "{subject}");
    assert!(subject.starts_with("Revert 40 commits of service-"), "{subject}");
}
