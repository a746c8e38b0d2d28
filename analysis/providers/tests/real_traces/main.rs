//! The readers of trace stores against a real Jaeger 2, a real Jaeger 1 and a real Zipkin.
//!
//! Runs where the programs `jaeger`, `jaeger-all-in-one` and `zipkin` are on the path, as `tests/run` puts them there;
//! elsewhere it says what was left out. A planted population is pushed and read back: every request must come once,
//! whole and in its arm, and the comparison must name what was planted and nothing else.
//!
//! What these programs do, beyond what their documents say:
//! - Jaeger 2.13, the newest that its Go module holds, does not search by attributes in API v3 and ignores
//!   `query.attributes` without a word; it wants `query.start_time_min` and `query.num_traces`, answers 500 without
//!   the latter, and sends JSON as `text/plain`. Its older API searches by tags of spans and of resources alike.
//! - Jaeger 2.13 in memory takes the tag `error` for false whatever it says, and then wants spans whose status is OK:
//!   a search for failed traces finds none, or only ones that did not fail.
//! - Jaeger 1 takes spans in through a queue and answers 200 before they can be found.
//! - Zipkin writes names of services and spans in lower case and answers 202 before spans can be found; a client's
//!   span and its server's share one id.
//!
//! No Tempo: it is under the AGPL, so that it is not built here, and its reader is tested by recorded answers only.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "it runs programs beside itself, against the real clock"
)]

mod planted;
mod store;

use std::collections::BTreeMap;

use analysis::Arm;
use analysis_providers::Persistence;
use analysis_providers::traces::{Fetched, TraceQuery};
use analysis_traces::{
    ArmLabel, Arms, Cause, EntrySubtree, Kept, Settings, Status, TraceId, compare,
};
use jiff::{SignedDuration, Timestamp};

use planted::{Planted, Population};
use store::{Program, Store};

/// How long the planted requests went on; they ended a little before now, so that they are settled.
const LASTED: SignedDuration = SignedDuration::from_secs(120);
const AGO: SignedDuration = SignedDuration::from_secs(15);

fn question(service: &str, ended: Timestamp) -> TraceQuery {
    let label = |version: &str| ArmLabel { version: Some(version.into()), ..ArmLabel::default() };
    TraceQuery {
        service: service.into(),
        arms: Arms { baseline: label(planted::OLD), canary: label(planted::NEW) },
        // Zipkin's times are whole milliseconds: none of the requests may lie on a border.
        from: ended - LASTED - SignedDuration::from_secs(1),
        to: ended,
        most: TraceQuery::MOST,
    }
}

/// Spans of each request and whether it failed, by trace.
fn shapes(found: &[EntrySubtree]) -> BTreeMap<TraceId, (usize, bool)> {
    let shape = |one: &EntrySubtree| (one.spans().len(), one.entry().status == Status::Error);
    let shapes: BTreeMap<_, _> = found.iter().map(|one| (one.trace(), shape(one))).collect();
    assert_eq!(shapes.len(), found.len(), "each request comes once");
    shapes
}

fn is_all_there(fetched: &Fetched, population: &Population) {
    assert_eq!(fetched.refused.subtrees(), 0, "{:?}", fetched.refused);
    for (arm, found) in [(Arm::Baseline, &fetched.baseline), (Arm::Canary, &fetched.canary)] {
        let truth = population.shapes(arm);
        let found = shapes(found);
        assert_eq!(found.len(), truth.len(), "{arm:?}: {:#?}", fetched.notes);
        assert_eq!(found, truth, "{arm:?}");
    }
}

/// All that is asked of every store.
async fn reads_what_was_planted(program: Program) {
    let Some(mut store) = Store::start(program).await else { return };
    let ended = Timestamp::now() - AGO;
    let mut planted = Planted::new(ended - LASTED, LASTED);
    let slow = planted.population("checkout", true);
    let same = planted.population("catalogue", false);
    planted.unlabelled("mute");
    store.push(&planted).await;
    let reader = store.reader();

    // The cause is found from what the store answered.
    let fetched = reader.fetch(&question("checkout", ended)).await.unwrap();
    is_all_there(&fetched, &slow);
    let cause = compare(&fetched.baseline, &fetched.canary, &Settings::default(), None);
    let [first, ..] = &*cause.findings else { panic!("{}", cause.paragraph) };
    assert_eq!(first.cause, Cause::NPlusOne, "{}", cause.paragraph);
    assert_eq!(first.operation.as_ref().unwrap().name, "SELECT prices");
    assert!(first.sentence.contains("src/cart/repo.rs:88"), "{}", first.sentence);
    let wrong: Vec<_> = cause.findings.iter().skip(1).map(|finding| &finding.sentence).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");

    // Nothing is found where nothing is, beside a third version in the same store.
    let fetched = reader.fetch(&question("catalogue", ended)).await.unwrap();
    is_all_there(&fetched, &same);
    let cause = compare(&fetched.baseline, &fetched.canary, &Settings::default(), None);
    assert!(cause.findings.is_empty(), "{}", cause.paragraph);

    // Fewer than there are come from all of the time, and of failed and slow ones more than their share.
    let ask = TraceQuery { most: [64, 32], ..question("checkout", ended) };
    let fetched = reader.fetch(&ask).await.unwrap();
    for (found, most) in [(&fetched.baseline, 64), (&fetched.canary, 32)] {
        assert!((most / 3..=most).contains(&found.len()), "{}: {:#?}", found.len(), fetched.notes);
        let starts = found.iter().map(|one| one.entry().start);
        let (first, last) = (starts.clone().min().unwrap(), starts.max().unwrap());
        let spread = u64::try_from(LASTED.as_nanos()).unwrap() * 2 / 3;
        assert!(last - first > spread, "from {first} to {last}");
    }
    let kept = |kind| fetched.baseline.iter().filter(move |one| one.kept() == kind);
    let finds_failed = program != Program::Jaeger2;
    assert_eq!(kept(Kept::Error).count() > 0, finds_failed, "{:#?}", fetched.notes);
    assert!(kept(Kept::Error).all(|one| one.entry().status == Status::Error));
    let length = |one: &EntrySubtree| one.entry().end - one.entry().start;
    let shortest = kept(Kept::Slow).map(length).min().unwrap();
    let any: Vec<u64> = kept(Kept::Uniform).map(length).collect();
    let below = any.iter().filter(|one| **one < shortest).count();
    assert!(below * 10 >= any.len() * 8, "{below} of {} are faster", any.len());
    if program != Program::Zipkin {
        assert!(
            fetched.notes.iter().any(|note| note.contains("older API")),
            "{:#?}",
            fetched.notes
        );
    }

    // What cannot be had is told.
    let error = reader.fetch(&question("mute", ended)).await.unwrap_err();
    assert_eq!(error.persistence, Persistence::Permanent);
    assert!(error.text.contains("label your telemetry"), "{error}");
    let fetched = reader.fetch(&question("nobody", ended)).await.unwrap();
    assert!(fetched.notes[0].contains("has no requests of `nobody`"), "{:#?}", fetched.notes);
    store.answers_of_version_3(&planted, ended).await;
    store.stop();
    let error = reader.fetch(&question("checkout", ended)).await.unwrap_err();
    assert_eq!(error.persistence, Persistence::Transient, "{error}");
}

#[tokio::test]
async fn jaeger_2_answers_every_request_of_both_versions() {
    reads_what_was_planted(Program::Jaeger2).await;
}

#[tokio::test]
async fn jaeger_1_answers_every_request_of_both_versions() {
    reads_what_was_planted(Program::Jaeger1).await;
}

#[tokio::test]
async fn zipkin_answers_every_request_of_both_versions() {
    reads_what_was_planted(Program::Zipkin).await;
}
