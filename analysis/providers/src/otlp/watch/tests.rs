//! What is kept for a deployment: bounds, start points, and arms that begin together.

use super::*;
use crate::Completeness;
use crate::otlp::model::Temporality;
use crate::subject::{Instance, Measure, MeasureKind, Source};

const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 1_764_000_000;

fn at(second: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(BEGIN + second).unwrap()).unwrap()
}

fn subject() -> Subject {
    let instance =
        |name: &str, arm| Instance { name: name.into(), arm, url: None, labels: BTreeMap::new() };
    let measure = |check: &str, kind| Measure {
        check: check.into(),
        kind,
        source: Source::Auto,
        strata: Vec::new(),
    };
    Subject {
        id: "one".into(),
        service: "checkout".into(),
        instances: vec![instance("4f2c1a9", Arm::Canary), instance("0d1c2b3", Arm::Baseline)],
        measures: vec![measure("errors", MeasureKind::Errors)],
    }
}

/// Counters of one process by route, good requests only.
fn batch(version: &str, start: u64, time: u64, routes: &[(&str, i64)]) -> Batch {
    let point = |(route, count): &(&str, i64)| Point {
        attributes: vec![
            ("http.response.status_code".into(), "200".into()),
            ("http.route".into(), (*route).into()),
        ],
        start: (BEGIN + start) * SECOND,
        time: (BEGIN + time) * SECOND,
        value: Value::Int(*count),
    };
    let metric = Metric {
        scope: 0,
        name: "http.requests".into(),
        unit: String::new(),
        shape: Shape::Sum { monotonic: true },
        temporality: Temporality::Cumulative,
    };
    Batch {
        service: "checkout".into(),
        resource: vec![("service.version".into(), version.into())],
        metrics: vec![(metric, routes.iter().map(point).collect())],
    }
}

struct World {
    watch: Watch,
    identities: Identities,
    most: usize,
}

impl World {
    fn new(most: usize) -> Self {
        Self { watch: Watch::new(&subject(), at(100)), identities: Identities::default(), most }
    }

    fn push(&mut self, arrived: u64, batch: &Batch) -> Vec<String> {
        let arrived = (BEGIN + arrived) * SECOND;
        self.watch.take(batch, arrived, self.most, &self.identities).told()
    }

    /// Requests by arm and route, and how complete they are.
    fn measure(&mut self, second: u64) -> (Vec<String>, Completeness) {
        let (scrape, completeness) = self.watch.measure(&subject(), at(second), 180 * SECOND, &[]);
        let told = scrape.observations.iter().map(|o| {
            let analysis::Sample::Events { of, .. } = o.sample else { panic!("{o:?}") };
            format!("{:?} {} {of}", o.arm, o.stratum.as_deref().unwrap_or("-"))
        });
        (told.collect(), completeness)
    }
}

#[test]
fn what_was_counted_before_the_watch_began_is_a_start_point() {
    let mut world = World::new(100);
    world.push(110, &batch("0d1c2b3", 1, 110, &[("/", 1_000)]));
    world.push(110, &batch("4f2c1a9", 105, 110, &[("/", 7)]));
    // The stable version has only a start point so far: the canary's first counts wait for it.
    assert_eq!(world.measure(111), (Vec::new(), Completeness::Full));
    world.push(120, &batch("0d1c2b3", 1, 120, &[("/", 1_050)]));
    assert_eq!(
        world.measure(121),
        (vec!["Baseline / 50".into(), "Canary / 7".into()], Completeness::Full)
    );
    assert_eq!(world.measure(121).0, [""; 0], "nothing is counted twice");
    // A route that is called for the first time counts from zero, though its process began long ago.
    world.push(130, &batch("0d1c2b3", 1, 130, &[("/", 1_060), ("/new", 3)]));
    world.push(130, &batch("4f2c1a9", 105, 130, &[("/", 9)]));
    assert_eq!(
        world.measure(131).0,
        ["Baseline / 10", "Baseline /new 3", "Canary / 2"].map(str::to_owned)
    );
}

#[test]
fn the_arms_begin_together_and_go_on_together() {
    let mut world = World::new(100);
    world.push(110, &batch("0d1c2b3", 1, 110, &[("/", 1_000)]));
    world.push(120, &batch("0d1c2b3", 1, 120, &[("/", 1_100)]));
    assert!(world.measure(121).0.is_empty());
    world.push(130, &batch("0d1c2b3", 1, 130, &[("/", 1_200)]));
    world.push(130, &batch("4f2c1a9", 122, 130, &[("/", 4)]));
    // What the stable version counted while there was no canary was dropped.
    assert_eq!(world.measure(131).0, ["Baseline / 100", "Canary / 4"].map(str::to_owned));
    // The canary falls silent: the stable version's counts wait for it.
    world.push(140, &batch("0d1c2b3", 1, 140, &[("/", 1_300)]));
    assert!(world.measure(141).0.is_empty());
    world.push(150, &batch("0d1c2b3", 1, 150, &[("/", 1_400)]));
    world.push(150, &batch("4f2c1a9", 122, 150, &[("/", 6)]));
    assert_eq!(world.measure(151).0, ["Baseline / 200", "Canary / 2"].map(str::to_owned));
    let (observations, completeness) = world.measure(340);
    assert!(observations.is_empty() && matches!(completeness, Completeness::Stale(_)));
}

#[test]
fn streams_are_bounded_and_dropped_ones_are_never_counted_again() {
    let mut world = World::new(3);
    let routes = [("/a", 1), ("/b", 1), ("/c", 1), ("/d", 1), ("/e", 1)];
    let told = world.push(110, &batch("4f2c1a9", 105, 110, &routes));
    assert_eq!(told, ["2 points of more streams than are kept; drop attributes with many values"]);
    assert_eq!(world.watch.streams(), 3);
    // Eleven minutes later the old ones have made room; what was counted of them stays counted.
    let later = [("/c", 5), ("/d", 5)];
    assert!(world.push(770, &batch("4f2c1a9", 105, 770, &later)).is_empty());
    world.push(770, &batch("0d1c2b3", 765, 770, &[("/", 9)]));
    let counted = world.measure(771).0;
    assert!(
        counted.contains(&"Canary /c 5".to_owned()) && !counted.iter().any(|o| o.contains("/d")),
        "{counted:?}"
    );
}

#[test]
fn many_routes_share_the_last_stratum() {
    let mut world = World::new(1_000);
    let names: Vec<String> = (0..30).map(|i| format!("/r{i:02}")).collect();
    let routes: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 2)).collect();
    world.push(110, &batch("4f2c1a9", 105, 110, &routes));
    world.push(110, &batch("0d1c2b3", 105, 110, &routes));
    let counted = world.measure(111).0;
    assert_eq!(counted.len(), 34);
    assert!(counted.contains(&"Canary (other) 28".to_owned()));
    assert!(counted.contains(&"Baseline /r15 2".to_owned()));
}
