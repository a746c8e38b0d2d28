//! What people can ask for, and what a restart makes of it all.

use super::*;
use crate::replay;

#[test]
fn a_pause_holds_the_weight_and_keeps_the_evidence() {
    let mut rig = Rig::new().on_first_step();
    rig.order(Order::Pause);
    for _ in 0..5 {
        rig.good();
        assert_eq!(rig.weight(), percent(10));
    }
    rig.wait(3_000).woke();
    rig.good();
    rig.order(Order::Resume);
    assert_eq!(rig.weight(), percent(50), "what was seen meanwhile counts");
}

#[test]
fn a_failing_canary_goes_although_it_is_paused() {
    let mut rig = Rig::new().on_first_step();
    rig.order(Order::Pause);
    rig.bad();
    assert_eq!(rig.weight(), Weight::ZERO);
}

#[test]
fn the_time_of_a_paused_step_does_not_run_out() {
    let mut rig = Rig::with(steps(0, OnInconclusive::RollBack)).on_first_step();
    rig.order(Order::Pause);
    rig.wait(6_000).woke();
    rig.order(Order::Resume);
    rig.wait(599).woke();
    assert_eq!(rig.weight(), percent(10));
    rig.wait(1).woke();
    assert_eq!(rig.weight(), Weight::ZERO);
}

#[test]
fn promote_goes_to_full_traffic_and_then_ends_the_bake() {
    let mut rig = Rig::new().on_first_step();
    rig.order(Order::Pause);
    rig.order(Order::Promote);
    assert_eq!(rig.weight(), Weight::FULL);
    rig.confirm();
    assert!(asks(&rig.order(Order::Promote), "promote:"));
    rig.order(Order::Promote);
    assert_eq!(rig.last(), "it is being promoted already");
}

#[test]
fn abort_takes_the_traffic_back_and_leaves_git_alone() {
    let mut rig = Rig::new().on_first_step();
    rig.order(Order::Abort);
    rig.confirm();
    assert!(!rig.wants("revert:"));
    rig.removed();
    assert_eq!(rig.outcome(), Some(Outcome::Aborted));
    rig.tip(2);
    assert_eq!(rig.state.live, None, "it does not come back by itself");
    rig.order(Order::Resume);
    assert!(asks(&rig.tip(2), "start:"), "resume tries it again");
}

#[test]
fn an_order_that_does_not_apply_says_so_and_changes_nothing() {
    let mut rig = Rig::new();
    for (order, answer) in [
        (Order::Pause, "nothing to pause: no deployment is on trial"),
        (Order::Resume, "nothing to resume: no deployment is on trial and nothing is held"),
        (Order::Promote, "nothing to promote: no deployment is on trial"),
        (Order::Abort, "nothing to abort: no deployment is on trial"),
        (Order::Approve, "nothing to approve: no revert waits for a person"),
    ] {
        let before = rig.state.clone();
        let moved = rig.order(order);
        assert_eq!((moved.reason.as_deref(), &rig.state), (Some(answer), &before));
    }
}

#[test]
fn a_breached_objective_holds_and_asks_a_person() {
    let mut policy = policy();
    let test = Test::ErrorObjective { at_most: 0.005, on_breach: analysis::OnBreach::Pause };
    policy.analysis.checks.push(Check { reads: "errors".to_owned(), ..Check::new("slo", test) });
    let mut rig = Rig::with(policy).on_first_step();
    for _ in 0..5 {
        rig.scrape((50, 1_000), (50, 1_000));
    }
    assert_eq!(rig.weight(), percent(10));
    assert!(rig.wants("notify:"), "{}", rig.last());
    assert_eq!(rig.state.outbox.len(), 1);
}

#[test]
fn stale_and_duplicate_answers_are_ignored() {
    let mut rig = Rig::new().on_first_step();
    let id = rig.id();
    rig.good();
    rig.confirm();
    let before = rig.state.clone();
    let other = DeploymentId::from_text("checkout-9999999-9");
    for what in [
        Happened::Started { deployment: id.clone() },
        Happened::Shifted { deployment: id.clone(), serial: 1, weight: percent(10) },
        Happened::Shifted { deployment: id.clone(), serial: 2, weight: percent(50) },
        Happened::Removed { deployment: id.clone() },
        Happened::PromotionDone { deployment: id.clone() },
        Happened::GitAnswered { deployment: id, outcome: pushed() },
        Happened::Started { deployment: other.clone() },
        Happened::Removed { deployment: other.clone() },
        Happened::Unobserved { deployment: other.clone(), why: "late".to_owned() },
        Happened::Observed { deployment: other, scrape: scrape(rig.now, (200, 1_000), (0, 1_000)) },
        Happened::Notified { key: "no such".to_owned(), given_up: None },
        Happened::Woke,
    ] {
        let moved = rig.happen(what.clone());
        assert_eq!(moved.actions, [], "{what:?}");
        assert_eq!(rig.state, before, "{what:?}");
    }
}

#[test]
fn after_any_crash_exactly_what_was_outstanding_is_asked_for_again() {
    let mut rig = Rig::new();
    let mut live = vec![outstanding(&rig.state)];
    let from = rig.events.len();
    rig.tip(2);
    rig.started();
    rig.confirm();
    rig.good();
    rig.confirm();
    rig.bad();
    rig.confirm();
    rig.git(pushed());
    rig.removed();
    rig.deliver();
    for count in from..rig.events.len() {
        let text = serde_json::to_string(&rig.events[..=count]).unwrap();
        let events: Vec<Event> = serde_json::from_str(&text).unwrap();
        live.push(outstanding(&replay::state(State::new("checkout"), &events)));
    }
    // What a live run had: asked for, minus answered or withdrawn.
    let mut state = replay::state(State::new("checkout"), &rig.events[..from]);
    let mut asked = outstanding(&state);
    for (event, replayed) in rig.events[from..].iter().zip(&live[1..]) {
        let moved = transition(state, event);
        asked.retain(|action| !moved.withdrawn.contains(action));
        asked.extend(moved.actions);
        state = moved.state;
        assert_eq!(asked.len(), replayed.len());
        assert!(replayed.iter().all(|action| asked.contains(action)), "{replayed:?}");
    }
    assert_eq!(asked, []);
}

#[test]
fn a_story_tells_the_reasons_and_the_end_of_one_deployment() {
    let mut rig = Rig::new();
    let from = rig.events.len();
    let before = rig.state.clone();
    rig.tip(2);
    let id = rig.id();
    rig.started();
    rig.confirm();
    rig.bad();
    rig.confirm();
    rig.git(pushed());
    rig.removed();
    rig.tip(3);
    let story = replay::story(before, &rig.events[from..], &id);
    assert_eq!(story.finished.map(|f| f.outcome), Some(Outcome::RolledBack));
    assert_eq!(story.moments[0].reason, "starting canary 0202020 beside stable 0101010");
    assert_eq!(story.points.len(), 1);
    assert!(story.moments.iter().all(|m| !m.reason.contains("0303030")));
}
