//! The rules of [`Windows`] against a store that does as it is told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use analysis::Arm;

use super::*;
use crate::stores::{Pace, StoredSeries};
use crate::subject::{Instance, Measure, MeasureKind, Named, Source};
use crate::{Completeness, FetchError};

mod properties;

const STEP: i64 = 10;
const SETTLE: i64 = 15;
const STALE_AFTER: i64 = 50;

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_764_000_000 + second).unwrap()
}

/// Value of an interval, with the moment from which the store shows it.
#[derive(Debug, Clone, Copy)]
struct Kept {
    start: i64,
    shown_from: i64,
    value: f64,
}

#[derive(Debug, Default)]
struct Truth {
    now: i64,
    /// What a query gets instead of an answer.
    fails: Option<FetchError>,
    incomplete: Option<String>,
    kept: HashMap<String, Vec<Kept>>,
    /// Whole series of a query, shown as they are.
    series: HashMap<String, Vec<StoredSeries>>,
    asked: Vec<(Vec<String>, Window)>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Truth>>);

impl Fake {
    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.0.lock().unwrap()
    }

    fn keep(&self, query: &str, start: i64, value: f64) {
        let kept = Kept { start, shown_from: 0, value };
        self.truth().kept.entry(query.into()).or_default().push(kept);
    }
}

impl Store for Fake {
    fn shown(&self) -> &'static str {
        "https://store.example"
    }

    fn pace(&self) -> Pace {
        let seconds = |s: i64| Duration::from_secs(s.unsigned_abs());
        Pace {
            step: seconds(STEP),
            settle: seconds(SETTLE),
            stale_after: seconds(STALE_AFTER),
            together: 3,
        }
    }

    fn usual(&self, kind: MeasureKind) -> Result<Source, String> {
        match kind {
            MeasureKind::Errors => {
                Ok(Source::Query { bad: "bad ${version}".into(), total: "all ${version}".into() })
            }
            MeasureKind::Latency
            | MeasureKind::Restarts
            | MeasureKind::Gauge
            | MeasureKind::NewErrors
            | MeasureKind::Vital(_)
            | MeasureKind::ScriptErrors => Err("this store has no usual place for it".into()),
        }
    }

    fn quote(&self, value: &str) -> Result<String, String> {
        Ok(value.replace('\'', "''"))
    }

    fn ask<'a>(
        &'a self,
        queries: &'a [String],
        window: Window,
    ) -> BoxFuture<'a, Vec<Result<Reply, FetchError>>> {
        let mut truth = self.truth();
        truth.asked.push((queries.to_vec(), window));
        let answer = |query: &String| {
            if let Some(error) = &truth.fails {
                return Err(error.clone());
            }
            let mut series = truth.series.get(query).cloned().unwrap_or_default();
            if let Some(kept) = truth.kept.get(query) {
                // Backwards, and more than was asked for.
                let shown = kept.iter().rev().filter(|kept| kept.shown_from <= truth.now);
                let points = shown.map(|kept| (second(kept.start), Some(kept.value))).collect();
                series.push(StoredSeries { instance: None, points });
            }
            Ok(Reply { series, incomplete: truth.incomplete.clone() })
        };
        let answers = queries.iter().map(answer).collect();
        async move { answers }.boxed()
    }
}

fn instance(name: &str, arm: Arm, labels: &[(&str, &str)]) -> Instance {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Instance { name: name.into(), arm, url: None, labels }
}

fn measure(kind: MeasureKind, source: Source) -> Measure {
    Measure { check: "errors".into(), kind, source, strata: Vec::new() }
}

fn subject(id: &str) -> Subject {
    Subject {
        id: id.into(),
        service: "shop".into(),
        instances: vec![
            instance("stable", Arm::Baseline, &[("version", "v1")]),
            instance("canary", Arm::Canary, &[("version", "v2")]),
        ],
        measures: vec![measure(MeasureKind::Errors, Source::Auto)],
    }
}

fn told(measured: &Measured) -> String {
    let (scrape, completeness) = match &measured.result {
        Ok(result) => result,
        Err(error) => return format!("{:?}: {error}", error.persistence),
    };
    let mut text = match completeness {
        Completeness::Full => "full".to_owned(),
        Completeness::Partial(text) => format!("partial, {text}"),
        Completeness::None(text) => format!("none, {text}"),
        Completeness::Stale(text) => format!("stale, {text}"),
    };
    for o in &scrape.observations {
        text += &format!("\n    {:?} {} {}: {:?}", o.arm, o.instance, o.check, o.sample);
    }
    text
}

async fn at(windows: &Windows, fake: &Fake, subjects: &[Subject], now: i64) -> String {
    fake.truth().now = now;
    let measured = windows.measure(subjects, second(now)).await;
    measured.iter().map(told).collect::<Vec<_>>().join("\n")
}

/// Both arms with something in the first interval.
fn started() -> (Windows, Fake) {
    let fake = Fake::default();
    for (query, value) in [("all v1", 1_000.0), ("bad v1", 3.0), ("all v2", 10.0)] {
        fake.keep(query, 0, value);
    }
    (Windows::new(fake.clone()), fake)
}

/// What is told when the first interval of `query` is this series instead.
async fn instead(query: &str, series: Vec<StoredSeries>) -> String {
    let (windows, fake) = started();
    let subjects = [subject("d1")];
    assert_eq!(at(&windows, &fake, &subjects, 3).await, "full");
    fake.truth().kept.remove(query);
    fake.truth().series.insert(query.into(), series);
    at(&windows, &fake, &subjects, 25).await
}

fn points(points: &[(i64, f64)]) -> Vec<StoredSeries> {
    let points = points.iter().map(|(at, value)| (second(*at), Some(*value))).collect();
    vec![StoredSeries { instance: None, points }]
}

#[tokio::test]
async fn each_interval_is_delivered_once_and_absent_failures_are_none() {
    let (windows, fake) = started();
    let subjects = [subject("d1")];
    let mut text = String::new();
    for now in [3, 24, 25, 26, 30, 34] {
        text += &format!("{now}: {}\n", at(&windows, &fake, &subjects, now).await);
    }
    insta::assert_snapshot!(text);
    // Nothing before its interval has settled, and once for it.
    let asked: Vec<Window> = fake.truth().asked.iter().map(|(_, window)| *window).collect();
    let first =
        Window { from: second(0), to: second(10), step: Duration::from_secs(STEP.unsigned_abs()) };
    assert_eq!(asked, [first, first]);
}

#[tokio::test]
async fn what_is_no_count_is_refused() {
    let mut text = String::new();
    let null = vec![StoredSeries { instance: None, points: vec![(second(0), None)] }];
    let pods = |names: [&str; 2]| -> Vec<StoredSeries> {
        let named = |name: &&str| StoredSeries {
            instance: Some((*name).into()),
            points: vec![(second(0), Some(5.0))],
        };
        names.iter().map(named).collect()
    };
    for (name, query, series) in [
        ("zero", "all v2", points(&[(0, 0.0)])),
        ("null", "all v2", null),
        ("nothing", "all v2", Vec::new()),
        ("not a number", "all v2", points(&[(0, f64::NAN)])),
        ("infinite", "all v2", points(&[(0, f64::INFINITY)])),
        ("negative", "all v2", points(&[(0, -1.0)])),
        ("huge", "all v2", points(&[(0, 1e300)])),
        ("fraction", "all v2", points(&[(0, 10.4)])),
        ("twice", "all v2", points(&[(0, 10.0), (0, 10.0)])),
        ("other intervals", "all v2", points(&[(5, 10.0)])),
        ("outside", "all v2", points(&[(-10, 7.0), (0, 10.0), (10, 9.0)])),
        ("more bad than all", "bad v2", points(&[(0, 11.0)])),
        ("bad not a number", "bad v2", points(&[(0, f64::NAN)])),
        ("pods", "all v2", pods(["a", "b"])),
        ("one pod twice", "all v2", pods(["a", "a"])),
        ("bad of another pod", "bad v2", pods(["a", "b"])),
    ] {
        text += &format!("{name}: {}\n", instead(query, series).await);
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn an_arm_that_is_missing_is_told_and_one_that_ends_grows_stale() {
    let (windows, fake) = started();
    let subjects = [subject("d1")];
    fake.truth().kept.remove("all v2");
    let mut text = String::new();
    at(&windows, &fake, &subjects, 3).await;
    text += &format!("never: {}\n", at(&windows, &fake, &subjects, 25).await);
    fake.keep("all v2", 0, 10.0);
    text += &format!("late: {}\n", at(&windows, &fake, &subjects, 35).await);
    for now in [75, 85, 95] {
        for start in [10, 20, 30, 40, 50, 60] {
            if start < now - SETTLE && start > now - SETTLE - 20 {
                fake.keep("all v1", start, 1_000.0);
            }
        }
        text += &format!("{now}: {}\n", at(&windows, &fake, &subjects, now).await);
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn outages_and_incomplete_answers_take_nothing() {
    let (windows, fake) = started();
    let subjects = [subject("d1")];
    at(&windows, &fake, &subjects, 3).await;
    let mut text = String::new();
    fake.truth().fails = Some(FetchError::transient("https://store.example is down"));
    text += &format!("down: {}\n", at(&windows, &fake, &subjects, 25).await);
    fake.truth().fails = None;
    fake.truth().incomplete = Some("https://store.example lost a shard".into());
    text += &format!("incomplete: {}\n", at(&windows, &fake, &subjects, 26).await);
    fake.truth().incomplete = None;
    text += &format!("well: {}\n", at(&windows, &fake, &subjects, 27).await);
    // An hour later only the last sixty intervals are asked for.
    for query in ["all v1", "all v2"] {
        (1..400).for_each(|n| fake.keep(query, n * STEP, 1.0));
    }
    text += &format!("an hour later: {}\n", at(&windows, &fake, &subjects, 3_600).await);
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn latency_gauges_and_restarts_are_read_too() {
    let fake = Fake::default();
    let windows = Windows::new(fake.clone());
    let mut one = subject("d1");
    let slower = |millis: u64, query: &str| (Duration::from_millis(millis), query.to_owned());
    let latency = Source::Slower {
        total: "all ${version}".into(),
        slower: vec![slower(100, "over 100 ${version}"), slower(250, "over 250 ${version}")],
    };
    one.measures = vec![
        Measure { check: "latency".into(), ..measure(MeasureKind::Latency, latency) },
        Measure {
            check: "memory".into(),
            ..measure(MeasureKind::Gauge, Source::Value("memory ${version}".into()))
        },
        Measure {
            check: "restarts".into(),
            ..measure(
                MeasureKind::Restarts,
                Source::Query { bad: "restarts ${version}".into(), total: "up ${version}".into() },
            )
        },
    ];
    for start in [0, 10] {
        for (query, value) in [
            ("all v1", 100.0),
            ("over 100 v1", 20.0),
            ("over 250 v1", 5.0),
            ("all v2", 10.0),
            ("over 100 v2", 2.0),
            // Impossible, but it happens with sketches.
            ("over 250 v2", 3.0),
            ("up v1", 29.5),
            ("up v2", 9.9),
            ("restarts v2", 1.0),
        ] {
            fake.keep(query, start, value);
        }
        #[expect(clippy::cast_precision_loss, reason = "small")]
        for query in ["memory v1", "memory v2"] {
            fake.keep(query, start, -1.5 + start as f64);
        }
    }
    let subjects = [one];
    at(&windows, &fake, &subjects, 0).await;
    insta::assert_snapshot!(at(&windows, &fake, &subjects, 35).await);
}

#[tokio::test]
async fn queries_that_cannot_be_asked_say_what_to_write() {
    let fake = Fake::default();
    let query = |bad: &str, total: &str| Source::Query { bad: bad.into(), total: total.into() };
    let slower = |bounds: &[u64]| Source::Slower {
        total: "all ${version}".into(),
        slower: bounds.iter().map(|b| (Duration::from_secs(*b), "s ${version}".into())).collect(),
    };
    let named = Named {
        metric: "http_requests_total".into(),
        labels: BTreeMap::new(),
        status: None,
        per_second: None,
    };
    let mut text = String::new();
    for (kind, source) in [
        (MeasureKind::Errors, Source::Named(named)),
        (MeasureKind::Errors, Source::Value("x".into())),
        (MeasureKind::Errors, query("bad", "all")),
        (MeasureKind::Errors, query("bad ${version}", " ")),
        (MeasureKind::Errors, query("bad ${pod}", "all ${version}")),
        (MeasureKind::Errors, query("bad ${version", "all ${version}")),
        (MeasureKind::Latency, Source::Auto),
        (MeasureKind::Latency, query("bad", "all")),
        (MeasureKind::Latency, slower(&[])),
        (MeasureKind::Latency, slower(&[2, 1])),
        (MeasureKind::Latency, slower(&[0])),
        (MeasureKind::Restarts, Source::Value("x".into())),
        (MeasureKind::Gauge, query("bad", "all")),
    ] {
        let windows = Windows::new(fake.clone());
        let one = Subject { measures: vec![measure(kind, source)], ..subject("d1") };
        text += &at(&windows, &fake, std::slice::from_ref(&one), 25).await;
        text.push('\n');
        assert!(windows.chosen("d1")[0].chosen.is_err());
    }
    assert!(fake.truth().asked.is_empty());
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn labels_are_filled_in_and_the_same_query_is_asked_once() {
    let fake = Fake::default();
    let windows = Windows::new(fake.clone());
    let source = Source::Query {
        bad: "bad '${version}' ${zone} of ${service} by ${step} from ${from}".into(),
        total: "all '${version}'".into(),
    };
    let mut one = subject("d1");
    one.service = "o'shop".into();
    one.measures = vec![measure(MeasureKind::Errors, source)];
    one.instances = vec![
        instance("b1", Arm::Baseline, &[("version", "v'1"), ("zone", "a")]),
        // The same version in the same zone is counted by the same query.
        instance("b2", Arm::Baseline, &[("version", "v'1"), ("zone", "a")]),
        instance("c1", Arm::Canary, &[("zone", "only label")]),
    ];
    let mut two = subject("d2");
    two.measures.clone_from(&one.measures);
    two.instances = one.instances.clone();
    two.service.clone_from(&one.service);
    let subjects = [one, two];
    at(&windows, &fake, &subjects, 0).await;
    at(&windows, &fake, &subjects, 25).await;
    let asked: Vec<String> = fake.truth().asked.iter().flat_map(|(q, _)| q.clone()).collect();
    let chosen = windows.chosen("d1")[0].chosen.clone().unwrap();
    insta::assert_snapshot!(format!("{}\n\n{chosen}", asked.join("\n")));
    windows.forget("d1");
    assert!(windows.chosen("d1").is_empty());
}

#[tokio::test]
async fn an_arm_without_an_instance_is_not_waited_for() {
    let (windows, fake) = started();
    let mut one = subject("d1");
    one.instances.remove(0);
    let subjects = [one];
    at(&windows, &fake, &subjects, 3).await;
    let text = at(&windows, &fake, &subjects, 25).await;
    assert_eq!(text, "full\n    Canary canary errors: Events { events: 0, of: 10 }");
}

#[tokio::test]
async fn a_repeated_moment_yields_nothing_and_a_dropped_call_loses_nothing() {
    let (windows, fake) = started();
    let subjects = [subject("d1")];
    at(&windows, &fake, &subjects, 3).await;
    drop(windows.measure(&subjects, second(25)));
    let mut text = at(&windows, &fake, &subjects, 25).await;
    text += "\nagain ";
    text += &at(&windows, &fake, &subjects, 25).await;
    text += "\nearlier ";
    text += &at(&windows, &fake, &subjects, 20).await;
    insta::assert_snapshot!(text);
    assert!(windows.measure(&[], second(30)).await.is_empty());
}
