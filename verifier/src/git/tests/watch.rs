//! What a new tip means.

use super::*;
use crate::git::{Relation, Reverter, Watched};

const FILE: &str = "svc/a/x";

#[test]
fn a_tip_is_the_same_a_return_or_news() {
    let world = World::new();
    let of_a = paths(&["svc/a/**"]);
    let stable = world.commit("Start", &[(FILE, Some("1"))]);
    let live = world.commit("Change", &[(FILE, Some("2"))]);
    let other = world.commit("Other", &[("svc/b/x", Some("1"))]);
    world.mirror.fetch().unwrap();
    let relation = |tip| world.mirror.relation(live, stable, tip, &of_a).unwrap();
    assert_eq!(relation(other), Relation::Same);

    let revert = pushed(&world.revert(&ask(stable, live)));
    let Relation::BackToStable(Reverter::Serin { revision, trailers }) = relation(revert) else {
        panic!("{:?}", relation(revert))
    };
    assert_eq!((revision, trailers.bad), (revert, live));

    let newer = world.commit("Newer", &[(FILE, Some("3"))]);
    let person = world.commit("Take it back", &[(FILE, Some("1"))]);
    world.commit("Other again", &[("svc/b/x", Some("2"))]);
    let tip = world.mirror.fetch().unwrap().unwrap().revision;
    assert_eq!(relation(newer), Relation::Newer);
    let Relation::BackToStable(Reverter::Person(commit)) = relation(tip) else { panic!() };
    assert_eq!(commit.revision, person);

    world.point(stable);
    let tip = world.mirror.fetch().unwrap().unwrap();
    assert!(tip.rewritten);
    assert_eq!(relation(tip.revision), Relation::BackToStable(Reverter::Rewritten));
}

#[test]
fn only_the_services_that_a_commit_touches_have_news() {
    let world = World::new();
    let (of_a, of_b) = (paths(&["svc/a/**"]), paths(&["svc/b/**"]));
    let first = world.commit("Start", &[(FILE, Some("1")), ("svc/b/x", Some("1"))]);
    let bad = world.commit("Change", &[(FILE, Some("2"))]);
    let top = world.commit("Docs", &[("README.md", Some("hello"))]);
    world.mirror.fetch().unwrap();
    let watched = |deployed| {
        [("a", &of_a), ("b", &of_b)].map(|(service, paths)| Watched {
            service,
            paths,
            irreversible: None,
            deployed,
        })
    };
    let changes = world.mirror.changes(top, &watched(Some(first)), &[]).unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].service.as_str(), changes[0].revision), ("a", top));
    assert_eq!(changes[0].commit.revision, bad, "its author is told, not the top's");
    assert_eq!(changes[0].quarantined, None);
    assert_eq!(world.mirror.changes(top, &watched(None), &[]).unwrap().len(), 2);
    assert_eq!(world.mirror.changes(top, &watched(Some(bad)), &[]).unwrap(), []);

    let revert = pushed(&world.revert(&ask(first, bad)));
    let again = world.commit("Bump by bot", &[(FILE, Some("2"))]);
    world.mirror.fetch().unwrap();
    let list = world.mirror.quarantine(again, ".serin").unwrap();
    let changes = world.mirror.changes(again, &watched(Some(revert)), &list).unwrap();
    let entry = changes[0].quarantined.as_ref().unwrap();
    assert_eq!(entry.revision, bad.to_string(), "recognised by its content");
}
