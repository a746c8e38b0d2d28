//! Tests of what series count and which samples their differences make.

use super::*;
use crate::exposition::{Line, parse_line};

/// Reads lines of a page as if all was counted since the reading before.
fn counts(reads: &Reads, lines: &[&str]) -> Result<Option<Sample>, String> {
    let mut values = Values::new();
    for line in lines {
        let Ok(Line::Sample(point)) = parse_line(line, |_| true) else { panic!("{line}") };
        reads.put(&mut values, &point.series, point.value.into())?;
    }
    reads.validate(&values)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
    let counts = values.into_iter().map(|(k, c)| (k, c.value as u64)).collect();
    Ok(reads.sample(&counts, &BTreeSet::new()))
}

fn named(kind: MeasureKind, metric: &str) -> Reads {
    let metric = metric.to_owned();
    let labels = BTreeMap::new();
    Reads::named(kind, &Named { metric, labels, status: None, per_second: None })
}

#[test]
fn failed_and_completed_come_from_one_family() {
    let reads = named(MeasureKind::Errors, "http_requests_total");
    let sample = counts(
        &reads,
        &[
            r#"http_requests_total{code="200"} 90"#,
            r#"http_requests_total{code="404"} 5"#,
            r#"http_requests_total{code="503"} 4"#,
            r#"http_requests_total{error_type="timeout"} 1"#,
            "http_requests_total 100",
            r#"other_total{code="500"} 7"#,
        ],
    );
    assert_eq!(sample, Ok(Some(Sample::Events { events: 5, of: 100 })));
    assert_eq!(counts(&reads, &[]), Ok(None));
}

#[test]
fn requests_of_scrapers_and_probes_are_left_out_of_families_found_by_name() {
    let arms = [vec![Series::new("http_requests_total", vec![("code".into(), "200".into())])]];
    let (chosen, _) = crate::families::choose(MeasureKind::Errors, &arms).unwrap();
    let sample = counts(
        &chosen.reads,
        &[
            r#"http_requests_total{code="200",path="/metrics"} 90"#,
            r#"http_requests_total{code="200",path="/buy"} 5"#,
        ],
    );
    assert_eq!(sample, Ok(Some(Sample::Events { events: 0, of: 5 })));
}

#[test]
fn buckets_are_added_over_series_and_told_in_seconds() {
    let reads = named(MeasureKind::Latency, "d_milliseconds");
    let sample = counts(
        &reads,
        &[
            r#"d_milliseconds_bucket{le="5",code="200"} 3"#,
            r#"d_milliseconds_bucket{le="100",code="200"} 7"#,
            r#"d_milliseconds_bucket{le="+Inf",code="200"} 8"#,
            r#"d_milliseconds_bucket{le="5",code="500"} 1"#,
            r#"d_milliseconds_bucket{le="100",code="500"} 1"#,
            r#"d_milliseconds_bucket{le="+Inf",code="500"} 1"#,
        ],
    );
    let expected = Sample::Histogram { le: vec![0.005, 0.1], counts: vec![4, 4, 1] };
    assert_eq!(sample, Ok(Some(expected)));
}

#[test]
fn buckets_that_do_not_fit_are_refused() {
    let reads = named(MeasureKind::Latency, "d_seconds");
    let pages: [&[&str]; 4] = [
        &[r#"d_seconds_bucket{le="1"} 3"#],
        &[
            r#"d_seconds_bucket{le="1",a="x"} 3"#,
            r#"d_seconds_bucket{le="+Inf",a="x"} 3"#,
            r#"d_seconds_bucket{le="+Inf",a="y"} 3"#,
        ],
        &[r#"d_seconds_bucket{le="soon"} 3"#],
        &[r#"d_seconds_bucket{le="-1"} 3"#],
    ];
    let told = pages.map(|page| counts(&reads, page).unwrap_err());
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_series_may_be_bad_and_total_at_once() {
    let measure = Measure {
        check: "orders".into(),
        kind: MeasureKind::Errors,
        source: Source::Query {
            bad: "orders_total{state=~\"rejected|lost\"}".into(),
            total: "orders_total".into(),
        },
        strata: Vec::new(),
    };
    let reads = Reads::given(&measure).unwrap().unwrap();
    let sample = counts(
        &reads,
        &[
            r#"orders_total{state="done"} 90"#,
            r#"orders_total{state="rejected"} 6"#,
            r#"orders_total{state="lost"} 4"#,
        ],
    );
    assert_eq!(sample, Ok(Some(Sample::Events { events: 10, of: 100 })));
}
