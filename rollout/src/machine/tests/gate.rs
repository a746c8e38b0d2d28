//! Journeys before any traffic: the canary is looked at first, and nobody is served by it until it passes.

use super::*;

fn rig() -> Rig {
    let mut rig = Rig::new();
    let journey = Check::new("buy", Test::Journey { stretch: 0.25, gate: 20 });
    rig.policy.analysis.checks.push(journey);
    let _ = rig.tip(2);
    let _ = rig.started();
    let _ = rig.confirm();
    rig
}

/// One pair a second later.
fn pair(rig: &mut Rig, number: u32, canary_fails: bool) -> Moved {
    rig.wait(1);
    let one = |arm, failed| Observation {
        arm,
        instance: number.to_string(),
        check: "buy".to_owned(),
        stratum: None,
        sample: Sample::Attempt { failed, seconds: 0.1 },
    };
    let observations = vec![one(Arm::Canary, canary_fails), one(Arm::Baseline, false)];
    let (deployment, scrape) = (rig.id(), Scrape { at: rig.now, observations });
    rig.happen(Happened::Observed { deployment, scrape })
}

#[test]
fn the_canary_gets_traffic_when_enough_pairs_have_passed() {
    let mut rig = rig();
    assert_eq!(rig.weight(), Weight::ZERO);
    for number in 0..19 {
        let _ = pair(&mut rig, number, false);
        assert_eq!(rig.weight(), Weight::ZERO, "{number}");
    }
    let moved = pair(&mut rig, 19, false);
    assert_eq!(rig.weight(), percent(10));
    assert_eq!(
        moved.reason.as_deref(),
        Some("step 2 of 3: 10 % of traffic to the canary; the journeys pass on the canary")
    );
}

#[test]
fn good_traffic_elsewhere_opens_no_gate() {
    let mut rig = rig();
    let _ = rig.good();
    assert_eq!(rig.weight(), Weight::ZERO);
}

#[test]
fn a_canary_that_fails_its_journeys_goes_without_ever_getting_traffic() {
    let mut rig = rig();
    for number in 0..12 {
        let moved = pair(&mut rig, number, true);
        if asks(&moved, "shift:") {
            let _ = rig.back();
            let _ =
                rig.git(GitOutcome::Pushed { revision: revision(3), subject: "Revert".to_owned() });
            let _ = rig.removed();
            assert_eq!(rig.outcome(), Some(Outcome::RolledBack));
            assert_eq!(rig.finished[0].exposed, None);
            assert!(rig.finished[0].reason.starts_with("buy: of "), "{}", rig.finished[0].reason);
            return;
        }
    }
    panic!("it is still there after 12 failures");
}

#[test]
fn a_gate_that_nobody_walks_through_asks_a_person() {
    let mut rig = rig();
    rig.wait(16 * 60);
    let _ = rig.woke();
    assert_eq!(rig.weight(), Weight::ZERO);
    assert!(rig.wants("notify:"), "{:?}", rig.keys());
}

#[test]
fn a_paused_gate_waits() {
    let mut rig = rig();
    let _ = rig.order(Order::Pause);
    for number in 0..30 {
        let _ = pair(&mut rig, number, false);
    }
    assert_eq!(rig.weight(), Weight::ZERO);
    let _ = rig.order(Order::Resume);
    assert_eq!(rig.weight(), percent(10));
}
