//! From the first version to full traffic: what lets the weight rise, and what holds it.

use super::*;
use crate::policy::EDGE;

#[test]
fn the_first_version_is_adopted_without_comparison() {
    let mut rig = Rig::empty(policy());
    assert!(asks(&rig.tip(1), "adopt:"));
    rig.started();
    assert_eq!(rig.outcome(), Some(Outcome::Adopted));
    assert_eq!(rig.state.stable.as_ref().map(|s| s.content.as_str()), Some(STABLE));
    assert_eq!(rig.finished[0].stable, None);
}

#[test]
fn a_first_version_that_does_not_start_is_tried_again_only_on_request() {
    let mut rig = Rig::empty(policy());
    rig.tip(1);
    let deployment = rig.id();
    let why = "port 8080 is in use".to_owned();
    rig.happen(Happened::StartFailed { deployment, why, version_fault: true });
    assert_eq!(rig.outcome(), Some(Outcome::NotStarted));
    rig.tip(1);
    assert_eq!(rig.state.live, None);
    rig.order(Order::Resume);
    assert_eq!(rig.state.seen, None, "the watcher is asked for the tip again");
    assert!(asks(&rig.tip(1), "adopt:"));
}

#[test]
fn a_canary_gets_no_traffic_before_it_has_started() {
    let mut rig = Rig::new();
    let moved = rig.tip(2);
    assert!(asks(&moved, "start:") && asks(&moved, "measure:") && !asks(&moved, "shift:"));
    assert!(asks(&rig.started(), "shift:"));
    assert_eq!(rig.weight(), percent(10));
}

#[test]
fn what_the_proxy_sees_beside_a_silent_source_neither_raises_the_weight_nor_hides_the_silence() {
    let mut rig = Rig::new().on_first_step();
    rig.good();
    rig.confirm();
    rig.silence();
    rig.wait(1);
    let mut at_the_edge = scrape(rig.now, (0, 1_000), (0, 1_000));
    at_the_edge.observations.iter_mut().for_each(|o| EDGE.clone_into(&mut o.check));
    let deployment = rig.id();
    rig.happen(Happened::Observed { deployment, scrape: at_the_edge });
    assert_eq!(rig.weight(), percent(50), "on what was seen before the step");
    let live = rig.state.live.as_ref().expect("it is on trial");
    assert_eq!(live.unobserved.as_deref(), Some("the provider hangs"));
    rig.good();
    assert_eq!(rig.weight(), Weight::FULL);
}

#[test]
fn a_healthy_canary_goes_step_by_step_to_full_traffic_and_is_promoted_after_the_bake() {
    let mut rig = Rig::new().on_first_step();
    rig.good();
    assert_eq!(rig.weight(), percent(50));
    rig.confirm();
    rig.good();
    assert_eq!(rig.weight(), Weight::FULL);
    rig.confirm();
    for _ in 0..59 {
        rig.good();
        assert!(matches!(rig.phase(), Phase::Baking { .. }));
    }
    assert!(asks(&rig.good(), "promote:"));
    let deployment = rig.id();
    rig.happen(Happened::PromotionDone { deployment });
    assert_eq!(rig.outcome(), Some(Outcome::Promoted));
    assert_eq!(rig.finished[0].weight, Weight::FULL);
    assert_eq!(rig.state.stable.as_ref().map(|s| &s.revision), Some(&revision(2)));
}

#[test]
fn a_step_needs_a_scrape_since_its_weight_was_confirmed() {
    let mut rig = Rig::new().on_first_step();
    rig.good();
    assert_eq!(rig.weight(), percent(50));
    rig.confirm();
    rig.woke();
    assert_eq!(rig.weight(), percent(50), "the verdict that brought us here is not used twice");
}

#[test]
fn a_weight_that_is_not_confirmed_is_not_raised() {
    let mut rig = Rig::new();
    rig.tip(2);
    rig.started();
    rig.good();
    rig.good();
    assert_eq!(rig.weight(), percent(10));
}

#[test]
fn a_step_lasts_at_least_as_long_as_the_policy_says() {
    let mut rig = Rig::with(steps(30, OnInconclusive::Hold)).on_first_step();
    for _ in 0..29 {
        rig.good();
        assert_eq!(rig.weight(), percent(10));
    }
    rig.good();
    assert_eq!(rig.weight(), percent(50));
}

#[test]
fn the_machine_asks_to_be_woken_when_a_stay_or_a_deadline_ends() {
    let mut rig = Rig::with(steps(30, OnInconclusive::Hold)).on_first_step();
    let confirmed = rig.now;
    rig.good();
    let wakes: Vec<_> = outstanding(&rig.state)
        .into_iter()
        .filter_map(|action| if let Action::WakeAt { at } = action { Some(at) } else { None })
        .map(|at| at.duration_since(confirmed).as_secs())
        .collect();
    assert_eq!(wakes, [30, 600]);
}

#[test]
fn no_data_is_never_a_pass() {
    let mut rig = Rig::with(steps(5, OnInconclusive::Hold)).on_first_step();
    for _ in 0..30 {
        rig.scrape((0, 0), (0, 20_000));
        assert_eq!(rig.weight(), percent(10));
    }
}

#[test]
fn an_outage_of_the_provider_holds_the_weight_although_the_last_verdict_passed() {
    let mut rig = Rig::with(steps(30, OnInconclusive::Hold)).on_first_step();
    rig.good();
    for _ in 0..500 {
        rig.silence();
        assert_eq!(rig.weight(), percent(10));
    }
    rig.good();
    assert_eq!(rig.weight(), percent(50));
}

#[test]
fn data_that_has_grown_old_is_not_used() {
    let mut rig = Rig::with(steps(200, OnInconclusive::Hold)).on_first_step();
    rig.good();
    rig.wait(300).woke();
    assert_eq!(rig.weight(), percent(10));
}

#[test]
fn a_deadline_without_an_answer_holds_and_asks_people_once() {
    let mut rig = Rig::new().on_first_step();
    rig.little();
    rig.wait(600).woke();
    assert!(
        rig.last().starts_with("holding: the deadline passed and the evidence settles nothing")
    );
    rig.deliver();
    rig.wait(600).woke();
    rig.little();
    assert_eq!(rig.weight(), percent(10));
    assert!(!rig.wants("notify:"), "people are told once");
    rig.order(Order::Resume);
    rig.wait(600).woke();
    assert!(rig.wants("notify:"), "a resumed step is told of again");
}

#[test]
fn a_held_step_goes_on_when_later_evidence_decides() {
    let mut rig = Rig::new().on_first_step();
    rig.wait(600).woke();
    rig.good();
    assert_eq!(rig.weight(), percent(50));
}

#[test]
fn a_deadline_without_an_answer_can_take_the_traffic_back_and_leaves_git_to_people() {
    let mut rig = Rig::with(steps(0, OnInconclusive::RollBack)).on_first_step();
    rig.wait(600).woke();
    assert_eq!(rig.weight(), Weight::ZERO);
    rig.confirm();
    assert!(!rig.wants("revert:"));
    rig.removed();
    assert_eq!(rig.outcome(), Some(Outcome::Inconclusive));
    rig.tip(2);
    assert_eq!(rig.state.live, None, "it is not tried again by itself");
}

#[test]
fn a_deadline_without_an_answer_can_go_on() {
    let mut rig = Rig::with(steps(0, OnInconclusive::Promote)).on_first_step();
    rig.wait(600).woke();
    assert_eq!(rig.weight(), percent(50));
    assert!(rig.last().ends_with("the policy goes on"), "{}", rig.last());
}

#[test]
fn a_bake_does_not_end_without_data_of_its_own() {
    let mut rig = Rig::new().in_bake();
    for _ in 0..59 {
        rig.silence();
    }
    rig.wait(1).woke();
    assert!(matches!(rig.phase(), Phase::Baking { .. }), "what the ramp showed is no bake");
    rig.wait(90).woke();
    assert!(rig.last().starts_with("holding: the bake is over but no canary requests are seen"));
    rig.order(Order::Resume);
    for _ in 0..60 {
        rig.good();
    }
    assert!(rig.wants("promote:"));
}

#[test]
fn a_policy_without_a_bake_promotes_at_full_traffic() {
    let mut policy = policy();
    policy.bake = Duration::ZERO;
    let mut rig = Rig::with(policy).in_bake();
    rig.woke();
    assert!(rig.wants("promote:"));
}

#[test]
fn a_suspicious_bake_is_compared_again_before_anything_is_undone() {
    let mut rig = Rig::new().in_bake();
    rig.scrape((100, 1_000), (0, 0));
    assert!(matches!(rig.phase(), Phase::Comparing { .. }), "{}", rig.last());
    assert_eq!(rig.weight(), percent(50));
    rig.scrape((100, 1_000), (0, 0));
    rig.confirm();
    rig.woke();
    assert!(matches!(rig.phase(), Phase::Comparing { .. }), "the ramp's evidence does not count");
    for _ in 0..40 {
        rig.scrape((100, 1_000), (100, 1_000));
    }
    assert!(matches!(rig.phase(), Phase::Baking { since: Some(_), .. }), "{}", rig.last());
    assert_eq!(rig.weight(), Weight::FULL);
}

#[test]
fn a_canary_that_turned_bad_in_the_bake_fails_the_second_comparison() {
    let mut rig = Rig::new().in_bake();
    rig.scrape((100, 1_000), (0, 0));
    rig.confirm();
    rig.scrape((100, 1_000), (0, 1_000));
    for _ in 0..10 {
        if rig.weight() == Weight::ZERO {
            break;
        }
        rig.scrape((100, 1_000), (0, 1_000));
    }
    assert_eq!(rig.weight(), Weight::ZERO, "{}", rig.last());
}

#[test]
fn the_clock_of_a_step_stands_still_while_a_freeze_holds_it() {
    let mut policy = steps(0, OnInconclusive::RollBack);
    policy.freezes.push(freeze("2026-03-01T12:00:10Z", "2026-03-01T14:00:00Z"));
    let mut rig = Rig::with(policy).on_first_step();
    rig.wait(30);
    rig.good();
    assert_eq!(rig.weight(), percent(10), "no step advances in a freeze");
    rig.little();
    rig.wait(7_200 - 60).woke();
    rig.wait(60).woke();
    assert_ne!(rig.weight(), Weight::ZERO, "the deadline did not run out meanwhile");
}

#[test]
fn a_freeze_does_not_hold_a_rollback() {
    let mut policy = policy();
    policy.freezes.push(freeze("2026-03-01T12:00:10Z", "2026-03-01T14:00:00Z"));
    let mut rig = Rig::with(policy).on_first_step();
    rig.wait(30);
    rig.bad();
    assert_eq!(rig.weight(), Weight::ZERO);
}

#[test]
fn a_commit_in_a_freeze_waits_until_it_ends() {
    let mut policy = policy();
    policy.freezes.push(freeze("2026-03-01T12:00:10Z", "2026-03-01T14:00:00Z"));
    let mut rig = Rig::with(policy);
    rig.wait(30);
    assert!(asks(&rig.tip(2), "wake:"));
    assert!(rig.last().starts_with("0202020 waits: frozen until 2026-03-01T14:00:00Z"));
    let said = rig.reasons.len();
    rig.woke();
    assert_eq!(rig.reasons.len(), said, "it is said once");
    rig.wait(7_200);
    assert!(asks(&rig.woke(), "start:"));
    assert!(!rig.wants("wake:"));
}

fn freeze(from: &str, to: &str) -> crate::freeze::Freeze {
    crate::freeze::Freeze {
        reason: "sale".to_owned(),
        window: crate::freeze::Window::Span {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        },
    }
}
