//! What a new tip of the branch means.

use super::*;

#[test]
fn a_newer_commit_supersedes() {
    let mut rig = Rig::new().on_first_step();
    rig.tip(3);
    assert_eq!(rig.last(), "traffic goes back to stable: superseded by 0303030");
    assert_eq!(rig.weight(), Weight::ZERO);
    rig.confirm();
    assert!(!rig.wants("revert:"));
    assert!(asks(&rig.removed(), "start:"), "the newer one begins at once");
    assert_eq!(rig.outcome(), Some(Outcome::Superseded));
    assert_eq!(rig.id().as_str(), "checkout-0303030-3");
}

#[test]
fn a_newer_commit_supersedes_one_that_is_still_starting() {
    let mut rig = Rig::new();
    rig.tip(2);
    let moved = rig.tip(3);
    assert!(moved.withdrawn.iter().any(|a| a.key().starts_with("start:")));
    rig.confirm();
    rig.removed();
    assert_eq!(rig.outcome(), Some(Outcome::Superseded));
    assert_eq!(rig.finished[0].exposed, None);
}

#[test]
fn only_the_newest_of_several_commits_is_tried() {
    let mut rig = Rig::new().on_first_step();
    rig.tip(3);
    rig.tip(4);
    rig.tip(5);
    rig.confirm();
    rig.removed();
    assert_eq!(rig.id().as_str(), "checkout-0505050-3");
}

#[test]
fn a_newer_commit_ends_a_bake_early() {
    let mut rig = Rig::new().in_bake();
    assert!(asks(&rig.tip(3), "promote:"));
    let deployment = rig.id();
    let moved = rig.happen(Happened::PromotionDone { deployment });
    assert!(asks(&moved, "start:"));
    assert_eq!(rig.outcome(), Some(Outcome::Promoted));
}

#[test]
fn a_newer_commit_does_not_end_a_bake_that_a_person_paused() {
    let mut rig = Rig::new().in_bake();
    rig.order(Order::Pause);
    rig.tip(3);
    assert!(!rig.wants("promote:"), "{}", rig.last());
    rig.order(Order::Promote);
    assert!(rig.wants("promote:"));
}

#[test]
fn a_persons_revert_ends_it_at_once() {
    for rig in [Rig::new().on_first_step(), Rig::new().in_bake()] {
        let mut rig = rig;
        rig.tip_of(Candidate { content: STABLE.to_owned(), ..rig.candidate(3) });
        assert_eq!(rig.last(), "traffic goes back to stable: Ada reverted it in Git with 0303030");
        rig.confirm();
        assert!(!rig.wants("revert:"));
        rig.removed();
        assert_eq!(rig.outcome(), Some(Outcome::RevertedByPerson));
        assert_eq!(rig.state.live, None);
    }
}

#[test]
fn a_persons_revert_during_the_promotion_is_deployed_after_it() {
    let mut rig = Rig::new().in_bake();
    rig.order(Order::Promote);
    rig.tip_of(Candidate { content: STABLE.to_owned(), ..rig.candidate(3) });
    let deployment = rig.id();
    let moved = rig.happen(Happened::PromotionDone { deployment });
    assert!(asks(&moved, "start:"));
    assert_eq!(rig.id().as_str(), "checkout-0303030-3");
}

#[test]
fn a_commit_with_the_content_that_serves_deploys_nothing() {
    let mut rig = Rig::new();
    let moved = rig.tip_of(Candidate { content: STABLE.to_owned(), ..rig.candidate(2) });
    assert_eq!((&moved.actions[..], &rig.state.live), (&[][..], &None));
    assert_eq!(rig.state.stable.as_ref().map(|s| &s.verified), Some(&revision(2)));
}

#[test]
fn a_commit_with_the_content_on_trial_changes_nothing() {
    let mut rig = Rig::new().on_first_step();
    let content = rig.candidate(2).content;
    let moved = rig.tip_of(Candidate { content, ..rig.candidate(3) });
    assert_eq!(moved.actions, []);
    assert_eq!(rig.weight(), percent(10));
}

#[test]
fn a_quarantined_commit_is_refused_once() {
    let mut rig = Rig::new();
    let quarantined = Some("its content failed on 2026-02-27".to_owned());
    let candidate = Candidate { quarantined, ..rig.candidate(2) };
    rig.tip_of(candidate.clone());
    rig.tip_of(candidate);
    assert_eq!(rig.state.live, None);
    assert_eq!(rig.last(), "0202020 is not deployed: its content failed on 2026-02-27");
    assert_eq!(rig.state.outbox.len(), 1);
}

#[test]
fn a_version_whose_successor_was_taken_back_is_tried_after_all() {
    let mut rig = Rig::new().on_first_step();
    rig.tip(3);
    let content = rig.candidate(2).content;
    rig.tip_of(Candidate { content, ..rig.candidate(4) });
    rig.confirm();
    rig.removed();
    assert_eq!(rig.id().as_str(), "checkout-0404040-3");
}

#[test]
fn going_back_to_a_version_that_did_not_stay_ends_its_successor() {
    let mut rig = Rig::new().on_first_step();
    rig.order(Order::Abort);
    rig.confirm();
    rig.removed();
    rig.tip(3);
    rig.started();
    rig.confirm();
    let content = rig.candidate(2).content;
    rig.tip_of(Candidate { content, ..rig.candidate(4) });
    rig.confirm();
    rig.removed();
    assert_eq!(rig.outcome(), Some(Outcome::Superseded));
    assert_eq!(rig.state.live, None);
}
