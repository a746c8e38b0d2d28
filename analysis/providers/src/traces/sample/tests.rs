//! The sample of a store: spread, bounded, alike in both arms.

use analysis_traces::{ArmLabel, Attributes, Kind, SpanId, Status, Value};

use super::*;

fn arms() -> Arms {
    let label =
        |version: &str| ArmLabel { version: Some(version.to_owned()), ..ArmLabel::default() };
    Arms { baseline: label("1.0"), canary: label("1.1") }
}

/// A request of a version that took so many milliseconds; `tag` is where the version stands.
fn request(
    trace: u128,
    version: &str,
    route: &str,
    millis: u64,
    tag: Option<&'static str>,
) -> Span {
    let said = |name: &'static str| Attributes::from_iter([(name, Value::from(version))]);
    let mut attributes = tag.map(said).unwrap_or_default();
    attributes.0.push(("http.route".into(), route.into()));
    let of_process = if tag.is_none() { said("service.version") } else { Attributes::default() };
    Span {
        trace: TraceId(trace),
        id: SpanId(1),
        parent: None,
        resource: Arc::new(Resource { service: "shop".into(), attributes: of_process }),
        kind: Kind::Server,
        name: "GET".into(),
        start: 0,
        end: millis * 1_000_000,
        status: Status::Unset,
        message: None,
        attributes,
        exceptions: Vec::new(),
        weight: 1.0,
    }
}

fn traces_of(subtrees: &[EntrySubtree]) -> Vec<u128> {
    let mut ids: Vec<u128> = subtrees.iter().map(|one| one.trace().0).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_trace_counts_once_and_as_what_it_was_found_first() {
    let arms = arms();
    let mut sample = Sample::new(&arms, "shop");
    let one = || vec![request(1, "1.1", "/", 5, None)];
    sample.add(Arm::Canary, Kept::Uniform, one());
    sample.add(Arm::Canary, Kept::Error, one());
    // Of the other version, of none, and of another service.
    sample.add(Arm::Canary, Kept::Uniform, vec![request(2, "1.0", "/", 5, None)]);
    sample.add(Arm::Canary, Kept::Uniform, vec![request(3, "0.9", "/", 5, None)]);
    let mut other = request(4, "1.1", "/", 5, None);
    other.resource = Arc::new(Resource { service: "gateway".into(), ..(*other.resource).clone() });
    sample.add(Arm::Canary, Kept::Uniform, vec![other]);
    assert_eq!((sample.count(Arm::Baseline), sample.count(Arm::Canary)), (0, 1));
    assert_eq!(sample.unlabelled, 1);
    let taken = sample.take(Arm::Canary, Wanted::of(8), 8);
    assert_eq!(taken[0].kept(), Kept::Uniform);
}

#[test]
fn a_version_among_the_tags_of_a_request_counts() {
    let arms = arms();
    let mut sample = Sample::new(&arms, "shop");
    sample.add(Arm::Canary, Kept::Uniform, vec![request(1, "1.1", "/", 5, Some("version"))]);
    sample.add(
        Arm::Canary,
        Kept::Uniform,
        vec![request(2, "1.1", "/", 5, Some("service.version"))],
    );
    sample.add(Arm::Canary, Kept::Uniform, vec![request(3, "1.1", "/", 5, Some("api.version"))]);
    assert_eq!((sample.count(Arm::Canary), sample.unlabelled), (2, 1));
}

#[test]
fn slow_is_what_one_in_twenty_exceeds() {
    let arms = arms();
    let mut sample = Sample::new(&arms, "shop");
    for (n, millis) in (1..=19).zip(1..) {
        sample.add(Arm::Baseline, Kept::Uniform, vec![request(n, "1.0", "/", millis, None)]);
    }
    assert_eq!(sample.slow(), None);
    sample.add(Arm::Baseline, Kept::Error, vec![request(98, "1.0", "/", 900, None)]);
    sample.add(Arm::Canary, Kept::Uniform, vec![request(99, "1.1", "/", 900, None)]);
    assert_eq!(sample.slow(), None, "only the baseline's requests as they came count");
    sample.add(Arm::Baseline, Kept::Uniform, vec![request(20, "1.0", "/", 20, None)]);
    assert_eq!(sample.slow(), Some(Duration::from_millis(20)));
}

#[test]
fn a_sample_has_no_more_than_is_wanted_and_each_operation_in_turn() {
    let arms = arms();
    let mut sample = Sample::new(&arms, "shop");
    for n in 1..=100 {
        sample.add(Arm::Canary, Kept::Uniform, vec![request(n << 64 | 7, "1.1", "/", 5, None)]);
        let route = if n == 50 { "/pay" } else { "/cart" };
        sample.add(Arm::Canary, Kept::Error, vec![request(1_000 + n, "1.1", route, 5, None)]);
        sample.add(Arm::Canary, Kept::Slow, vec![request(2_000 + n, "1.1", "/", 5, None)]);
    }
    let wanted = Wanted::of(40);
    assert_eq!(wanted, Wanted { uniform: 20, slow: 10, error: 10 });
    let taken = sample.take(Arm::Canary, wanted, 40);
    let of = |kept: Kept| -> Vec<EntrySubtree> {
        taken.iter().filter(|one| one.kept() == kept).cloned().collect()
    };
    assert_eq!(taken.len(), 40);
    assert_eq!((of(Kept::Uniform).len(), of(Kept::Slow).len()), (20, 10));
    assert!(traces_of(&of(Kept::Error)).contains(&1_050), "the route with one failed request");
    assert_eq!(sample.count(Arm::Canary), 0);
}

#[test]
fn what_particular_searches_did_not_find_is_filled_up() {
    let arms = arms();
    let mut sample = Sample::new(&arms, "shop");
    for n in 1..=100 {
        sample.add(Arm::Baseline, Kept::Uniform, vec![request(n, "1.0", "/", 5, None)]);
    }
    let taken = sample.take(Arm::Baseline, Wanted::of(40), 40);
    assert_eq!(traces_of(&taken), (1..=40).collect::<Vec<_>>());
}
