//! Traffic first, then Git, then the canary: how a deployment is undone.

use Arm::{Baseline, Canary};

use super::*;
use crate::cause::{CauseLink, Explanation};
use crate::policy::Limit;

#[test]
fn weight_never_rises_after_a_failing_verdict() {
    let mut rig = Rig::new().on_first_step();
    rig.bad();
    assert_eq!(rig.weight(), Weight::ZERO);
    rig.good();
    rig.order(Order::Promote);
    rig.order(Order::Resume);
    rig.woke();
    assert_eq!(rig.weight(), Weight::ZERO);
    assert_eq!(rig.last(), "nothing to resume: it is not paused");
}

#[test]
fn nothing_is_asked_of_git_before_zero_is_confirmed() {
    let mut rig = Rig::new().on_first_step();
    let moved = rig.bad();
    assert_eq!(
        moved.actions.iter().map(Action::key).collect::<Vec<_>>(),
        ["shift:checkout-0202020-2:2"]
    );
    assert_eq!(rig.keys(), ["shift:checkout-0202020-2:2"], "and nothing else waits");
    let deployment = rig.id();
    let weight = percent(10);
    rig.happen(Happened::Shifted { deployment: deployment.clone(), serial: 1, weight });
    rig.happen(Happened::Shifted { deployment, serial: 2, weight });
    assert!(!rig.wants("revert:"), "only zero counts");
    assert!(asks(&rig.back(), "revert:"));
}

#[test]
fn a_failed_deployment_is_reverted_with_its_evidence_and_then_removed() {
    let mut rig = Rig::new().on_first_step();
    rig.bad();
    let moved = rig.back();
    let Some(Action::Revert(order)) = moved.actions.first() else { panic!("no revert: {moved:?}") };
    assert_eq!(order.candidate.revision(), &revision(2));
    assert_eq!(order.stable.revision, revision(1));
    assert_eq!(order.generation, 1);
    assert_eq!(order.only_show, None);
    assert!(order.evidence[0].starts_with("errors: "), "{:?}", order.evidence);
    assert!(asks(&rig.git(pushed()), "remove:"));
    assert!(asks(&rig.removed(), "notify:"), "people come last");
    let end = &rig.finished[0];
    assert_eq!(end.outcome, Outcome::RolledBack);
    assert_eq!(end.git, Some(pushed()));
    assert_eq!(end.weight, percent(10));
    assert_eq!(end.canary_failures, 200);
    assert!(end.decided <= end.traffic_back.unwrap());
}

#[test]
fn the_revert_says_what_traces_say() {
    let mut rig = Rig::new().on_first_step();
    rig.bad();
    let moved = rig.confirm();
    assert!(asks(&moved, "explain:") && !asks(&moved, "revert:"), "traces come before Git");
    let deployment = rig.id();
    let explanation = Explanation {
        headline: "p99 +85 ms: 16 more `SELECT cart_items`".to_owned(),
        lines: vec!["from `CartRepo::load`".to_owned()],
        table: vec!["operation  change".to_owned()],
        links: vec![CauseLink { text: "a trace".to_owned(), url: "https://t/1".to_owned() }],
        suspect: None,
    };
    let cause = Explained::Found(Box::new(explanation));
    let document = Some("{}".to_owned());
    let moved = rig.happen(Happened::Explained {
        deployment: deployment.clone(),
        cause: cause.clone(),
        document,
    });
    assert!(moved.reason.as_ref().unwrap().starts_with("traces say: p99 +85 ms"));
    let Some(Action::Revert(order)) = moved.actions.first() else { panic!("no revert: {moved:?}") };
    assert_eq!(order.cause, ["from `CartRepo::load`"]);
    assert_eq!((&*order.table[0], &*order.links[0]), ("operation  change", "https://t/1"));
    // An answer that comes twice, and one that comes too late, change nothing.
    let why = "no traces".to_owned();
    let cause_again = Explained::Nothing { why };
    let again = Happened::Explained { deployment, cause: cause_again, document: None };
    assert_eq!(rig.happen(again).actions, []);
    rig.git(pushed());
    rig.removed();
    assert_eq!(rig.finished[0].cause, Some(cause));
}

#[test]
fn a_stale_watcher_does_not_bring_a_reverted_version_back() {
    let mut rig = Rig::new().on_first_step();
    rig.fail_and_undo(pushed());
    rig.tip(2);
    assert_eq!(rig.state.live, None);
    rig.tip_of(Candidate { content: STABLE.to_owned(), ..rig.candidate(3) });
    assert_eq!(rig.state.stable.as_ref().map(|s| &s.verified), Some(&revision(3)));
    assert!(asks(&rig.tip(4), "start:"), "and the next version is tried as ever");
}

#[test]
fn after_a_revert_the_tip_is_looked_at_afresh() {
    let mut rig = Rig::new().on_first_step();
    rig.bad();
    rig.confirm();
    rig.tip(3);
    assert_eq!(rig.last(), "0303030 waits until checkout-0202020-2 has ended");
    rig.git(pushed());
    rig.removed();
    assert_eq!((&rig.state.live, &rig.state.waiting, &rig.state.seen), (&None, &None, &None));
}

#[test]
fn a_conflict_holds_the_service_until_a_person_resumes() {
    let mut rig = Rig::new().on_first_step();
    rig.bad();
    rig.confirm();
    rig.tip(3);
    rig.git(GitOutcome::Conflict { files: vec!["cart.rs".to_owned()] });
    rig.removed();
    assert!(rig.state.hold.as_ref().unwrap().why.contains("cart.rs"));
    rig.tip(4);
    assert_eq!(rig.state.live, None);
    rig.order(Order::Approve);
    assert_eq!(rig.last(), "nothing to approve: no revert waits for a person");
    assert!(asks(&rig.order(Order::Resume), "start:"));
    assert_eq!(rig.state.hold, None);
}

#[test]
fn a_persons_revert_ends_a_hold() {
    let mut rig = Rig::new().on_first_step();
    rig.fail_and_undo(GitOutcome::Conflict { files: vec!["cart.rs".to_owned()] });
    rig.tip_of(Candidate { content: STABLE.to_owned(), ..rig.candidate(3) });
    assert_eq!(rig.state.hold, None);
    assert_eq!(rig.last(), "0303030 brings Git back to what serves; the hold is over");
}

#[test]
fn an_irreversible_change_waits_for_approval_and_approve_lets_it_go_ahead() {
    let mut rig = Rig::new();
    let irreversible = vec!["migrations/7.sql".to_owned()];
    rig.tip_of(Candidate { irreversible, ..rig.candidate(2) });
    rig.started();
    rig.confirm();
    rig.bad();
    let moved = rig.back();
    let Some(Action::Revert(order)) = moved.actions.first() else { panic!("no revert: {moved:?}") };
    let only_show = order.only_show.as_ref().unwrap();
    assert!(only_show.needs_person && only_show.why.contains("migrations/7.sql"), "{only_show:?}");
    rig.git(not_written(true));
    rig.removed();
    let deployment = rig.finished[0].id.clone();
    let moved = rig.order(Order::Approve);
    let Some(Action::Revert(order)) = moved.actions.first() else { panic!("no revert: {moved:?}") };
    assert_eq!(order.only_show, None);
    rig.happen(Happened::GitAnswered { deployment, outcome: pushed() });
    assert_eq!(rig.state.hold, None);
    assert!(!rig.wants("revert:"));
}

#[test]
fn what_a_revert_cannot_undo_by_itself_asks_a_person() {
    for (name, change) in [
        ("security", (|c| c.security = true) as fn(&mut Candidate)),
        ("rewritten", |c| c.rewritten = true),
        ("a revert", |c| c.revert_generation = 1),
    ] {
        let mut rig = Rig::new();
        let mut candidate = rig.candidate(2);
        change(&mut candidate);
        rig.tip_of(candidate);
        rig.started();
        rig.confirm();
        rig.bad();
        let moved = rig.back();
        let Some(Action::Revert(order)) = moved.actions.first() else { panic!("{name}") };
        let only_show = order.only_show.as_ref().unwrap();
        assert!(only_show.needs_person && only_show.why.contains(name), "{only_show:?}");
    }
}

#[test]
fn without_reverts_in_the_policy_the_patch_is_shown_and_nothing_waits() {
    let mut policy = policy();
    policy.on_fail.revert = Revert::None;
    let mut rig = Rig::with(policy).on_first_step();
    rig.bad();
    let moved = rig.back();
    let Some(Action::Revert(order)) = moved.actions.first() else { panic!("no revert: {moved:?}") };
    assert!(order.only_show.as_ref().is_some_and(|o| !o.needs_person));
    rig.git(not_written(false));
    rig.removed();
    assert_eq!(rig.state.hold, None);
    assert!(asks(&rig.tip(3), "start:"));
}

#[test]
fn the_circuit_breaker_stops_automatic_reverts_within_its_window() {
    let mut policy = policy();
    policy.on_fail.limits = vec![Limit { count: 2, per: Duration::from_secs(3_600) }];
    let mut rig = Rig::with(policy);
    let mut shown = Vec::new();
    for version in [2, 3, 4, 5] {
        if version == 5 {
            rig.order(Order::Resume);
            rig.wait(3_600);
        }
        rig.tip(version);
        rig.started();
        rig.confirm();
        rig.bad();
        let moved = rig.back();
        let Some(Action::Revert(order)) = moved.actions.first() else { panic!("{moved:?}") };
        let only_show = order.only_show.clone();
        let outcome = only_show.as_ref().map_or_else(pushed, |_| not_written(true));
        shown.push(only_show.map(|o| o.why));
        rig.git(outcome);
        rig.removed();
    }
    assert_eq!(shown, [
        None,
        None,
        Some("the circuit breaker allows 2 automatic reverts within 1h; `serin approve` lets it go ahead".to_owned()),
        None,
    ]);
}

#[test]
fn a_version_that_cannot_start_is_reverted_without_ever_getting_traffic() {
    let mut rig = Rig::new();
    rig.tip(2);
    let deployment = rig.id();
    let why = "exit status 101: no such table".to_owned();
    rig.happen(Happened::StartFailed { deployment, why, version_fault: true });
    assert_eq!(rig.keys(), ["shift:checkout-0202020-2:1"]);
    assert!(asks(&rig.back(), "revert:"));
    rig.git(pushed());
    rig.removed();
    assert_eq!(rig.outcome(), Some(Outcome::RolledBack));
    assert_eq!(rig.finished[0].exposed, None);
}

#[test]
fn a_machine_that_cannot_start_a_version_is_no_reason_to_revert() {
    let mut rig = Rig::new();
    rig.tip(2);
    let deployment = rig.id();
    let why = "no free port".to_owned();
    rig.happen(Happened::StartFailed { deployment, why, version_fault: false });
    rig.confirm();
    assert!(!rig.wants("revert:"));
    rig.removed();
    assert_eq!(rig.outcome(), Some(Outcome::NotStarted));
    rig.order(Order::Resume);
    assert!(asks(&rig.tip(2), "start:"));
}

#[test]
fn a_canary_that_cannot_be_started_again_gives_its_traffic_back() {
    for (version_fault, reverts) in [(true, true), (false, false)] {
        let mut rig = Rig::new().on_first_step();
        let (deployment, why) = (rig.id(), "exit status 101".to_owned());
        rig.happen(Happened::StartFailed { deployment, why, version_fault });
        assert_eq!(rig.weight(), Weight::ZERO);
        rig.back();
        assert_eq!(rig.wants("revert:"), reverts);
    }
}

#[test]
fn a_crash_loop_is_undone_unless_stable_suffers_too() {
    let exits = |arms: &[Arm]| {
        let mut rig = Rig::new().on_first_step();
        for arm in arms {
            let (deployment, how) = (rig.id(), "signal 9".to_owned());
            rig.happen(Happened::Exited { deployment, arm: *arm, how });
        }
        rig.weight()
    };
    assert_eq!(exits(&[Canary, Canary]), percent(10));
    assert_eq!(exits(&[Canary, Canary, Canary]), Weight::ZERO);
    assert_eq!(exits(&[Canary, Baseline, Canary, Canary]), percent(10));
    assert_eq!(exits(&[Baseline, Baseline, Baseline, Baseline]), percent(10));
}

#[test]
fn people_hear_once_that_undoing_takes_longer() {
    let mut rig = Rig::new().on_first_step();
    rig.bad();
    rig.back();
    let deployment = rig.id();
    for _ in 0..3 {
        let what = "the revert could not be pushed: connection refused".to_owned();
        rig.happen(Happened::Stumbled { deployment: deployment.clone(), what });
    }
    assert_eq!(rig.state.outbox.len(), 1);
    assert!(rig.wants("revert:"), "it stays asked for");
}
