//! Properties over any list of events, also in an order that cannot happen.

use proptest::prelude::*;

use super::*;
use crate::replay;

/// What to do next, relative to what is live at that moment.
#[derive(Debug, Clone)]
enum Move {
    Tip(u8, bool),
    Answer(u8),
    Stale(u8),
    Scrape(u64, u64),
    Silence,
    Order(u8),
    Git(u8),
    Exit(bool),
    Wait(i64),
    Deliver,
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        2 => (1_u8..6, prop::bool::weighted(0.1)).prop_map(|(v, q)| Move::Tip(v, q)),
        8 => (0_u8..7).prop_map(Move::Answer),
        1 => (0_u8..6).prop_map(Move::Stale),
        6 => (prop_oneof![4 => Just(0_u64), 1 => 0_u64..300], 0_u64..30_000)
            .prop_map(|(e, n)| Move::Scrape(e.min(n), n)),
        1 => Just(Move::Silence),
        1 => (0_u8..5).prop_map(Move::Order),
        3 => (0_u8..6).prop_map(Move::Git),
        1 => any::<bool>().prop_map(Move::Exit),
        2 => (0_i64..1_000).prop_map(Move::Wait),
        1 => Just(Move::Deliver),
    ]
}

fn happened(rig: &Rig, what: &Move) -> Vec<Happened> {
    let ghost = || DeploymentId::from_text("checkout-0000000-0");
    let deployment = rig.state.live_id().cloned().unwrap_or_else(ghost);
    let shift = rig
        .state
        .live
        .as_ref()
        .map_or((0, Weight::ZERO), |live| (live.shift.serial, live.shift.weight));
    let answer = |kind, deployment, (serial, weight)| match kind {
        0 => Happened::Started { deployment },
        1 => Happened::StartFailed { deployment, why: "why".to_owned(), version_fault: true },
        2 | 3 => Happened::Shifted { deployment, serial, weight },
        4 => Happened::Removed { deployment },
        5 => Happened::Explained {
            deployment,
            cause: Explained::Nothing { why: "why".to_owned() },
            document: None,
        },
        _ => Happened::PromotionDone { deployment },
    };
    let one = match what {
        Move::Tip(version, refused) => {
            let mut candidate = rig.candidate(*version);
            candidate.quarantined = refused.then(|| "quarantined".to_owned());
            Happened::TipMoved { candidate: Box::new(candidate) }
        }
        Move::Answer(kind) => answer(*kind, deployment, shift),
        Move::Stale(kind) => answer(*kind, ghost(), (shift.0.saturating_sub(1), percent(10))),
        Move::Scrape(events, of) => {
            Happened::Observed { deployment, scrape: scrape(rig.now, (*events, *of), (0, 20_000)) }
        }
        Move::Silence => Happened::Unobserved { deployment, why: "silence".to_owned() },
        Move::Order(kind) => {
            let orders =
                [Order::Pause, Order::Resume, Order::Promote, Order::Abort, Order::Approve];
            Happened::Operated { by: "bob".to_owned(), order: orders[usize::from(*kind)] }
        }
        Move::Git(kind) => {
            let files = vec!["a.rs".to_owned()];
            let outcome = match kind {
                0 | 1 => pushed(),
                2 => GitOutcome::Conflict { files },
                3 => GitOutcome::AlreadyDone { revision: None },
                4 => not_written(true),
                _ => not_written(false),
            };
            Happened::GitAnswered { deployment, outcome }
        }
        Move::Exit(canary) => {
            let arm = if *canary { Arm::Canary } else { Arm::Baseline };
            Happened::Exited { deployment, arm, how: "signal 9".to_owned() }
        }
        Move::Wait(_) => Happened::Woke,
        Move::Deliver => {
            let told = |key: String| Happened::Notified { key, given_up: None };
            return rig.state.outbox.iter().map(|n| told(n.key.clone())).collect();
        }
    };
    vec![one]
}

/// What must hold after any event whatever.
fn check(before: &State, event: &Event, last: &mut Last) {
    let moved = transition(before.clone(), event);
    assert_eq!(transition(before.clone(), event), moved, "deterministic");
    if let Some(live) = &moved.state.live {
        let undoing = matches!(live.phase, Phase::RollingBack(_));
        if undoing {
            assert_eq!(live.shift.weight, Weight::ZERO);
        }
        if last.deployment.as_ref() == Some(&live.deployment.id) {
            assert!(!last.undoing || undoing, "a rollback is never taken back");
        }
        *last = Last { deployment: Some(live.deployment.id.clone()), undoing };
    }
    for action in &moved.actions {
        if let Action::Revert(order) = action
            && let Some(live) = &moved.state.live
        {
            assert_eq!(live.deployment.id, order.deployment);
            assert!(live.shift.confirmed.is_some() && live.shift.weight == Weight::ZERO);
        }
    }
    let all = outstanding(&moved.state);
    let reverts = all.iter().filter(|a| matches!(a, Action::Revert(_))).count();
    assert!(reverts <= 1, "{all:?}");
    let mut keys: Vec<_> = all.iter().map(Action::key).collect();
    keys.sort();
    let count = keys.len();
    keys.dedup();
    assert!(matches!(all.iter().filter(|a| matches!(a, Action::WakeAt { .. })).count(), 0..=2));
    assert_eq!(keys.len(), count, "each piece of work is asked for once: {all:?}");
    if let Some(finished) = &moved.finished {
        assert!(!finished.reason.is_empty(), "every end is explained");
        assert!(
            before.live_id() == Some(&finished.id) && moved.state.live_id() != Some(&finished.id)
        );
    }
}

#[derive(Default)]
struct Last {
    deployment: Option<DeploymentId>,
    undoing: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold_for_any_events(moves in prop::collection::vec(a_move(), 1..120), cut in 0_usize..120) {
        let mut rig = Rig::empty(policy());
        let mut last = Last::default();
        let mut at_cut = serde_json::to_string(&rig.state).unwrap();
        let mut cut_events = 0;
        for (index, what) in moves.iter().enumerate() {
            if let Move::Wait(seconds) = what {
                rig.wait(*seconds);
            }
            for happened in happened(&rig, what) {
                let before = rig.state.clone();
                rig.happen(happened);
                check(&before, rig.events.last().unwrap(), &mut last);
            }
            if index == cut.min(moves.len() - 1) {
                at_cut = serde_json::to_string(&rig.state).unwrap();
                cut_events = rig.events.len();
            }
        }
        let text = serde_json::to_string(&rig.events).unwrap();
        let events: Vec<Event> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&events, &rig.events);
        let from_all = replay::state(State::new("checkout"), &events);
        let from_cut = replay::state(serde_json::from_str(&at_cut).unwrap(), &events[cut_events..]);
        prop_assert_eq!(&from_all, &rig.state);
        prop_assert_eq!(&from_cut, &rig.state);
        let text = serde_json::to_string(&rig.state).unwrap();
        prop_assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), &rig.state);
    }
}
