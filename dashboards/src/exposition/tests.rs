//! What is written can be read back, whatever the labels hold.

use super::*;
use crate::metrics::{
    BUILD, DEPLOYMENTS, EVIDENCE, JOURNAL_APPEND, LIVE_DEPLOYMENTS, PROCESS_CPU, REVERT_TIME,
    WEIGHT,
};

/// Samples by name and labels; a strict reading of both formats, which panics at any fault.
fn parse(text: &str, format: Format) -> BTreeMap<(String, Vec<(String, String)>), f64> {
    let mut samples = BTreeMap::new();
    let (mut family, mut kind) = (String::new(), String::new());
    let mut lines: Vec<&str> = text.lines().collect();
    if format == Format::OpenMetrics {
        assert_eq!(lines.pop(), Some("# EOF"));
    }
    assert!(text.ends_with('\n'));
    for line in lines {
        if let Some(comment) = line.strip_prefix("# ") {
            let (word, rest) = comment.split_once(' ').unwrap();
            let (name, rest) = rest.split_once(' ').unwrap();
            match word {
                "HELP" => name.clone_into(&mut family),
                "TYPE" => rest.clone_into(&mut kind),
                "UNIT" => assert!(name.ends_with(rest) && format == Format::OpenMetrics),
                _ => panic!("{line}"),
            }
            assert_eq!(name, family);
            continue;
        }
        let end = line.find(['{', ' ']).unwrap();
        let (name, rest) = line.split_at(end);
        let suffix = name.strip_prefix(family.as_str()).expect(name);
        let expected: &[&str] = match (kind.as_str(), format) {
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            ("counter", Format::OpenMetrics) => &["_total"],
            ("counter" | "gauge", _) => &[""],
            _ => panic!("{kind}"),
        };
        assert!(expected.contains(&suffix), "{line}");
        let (labels, rest) = labels(rest);
        let value: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap();
        assert!(samples.insert((name.to_owned(), labels), value).is_none(), "{line} twice");
    }
    samples
}

fn labels(text: &str) -> (Vec<(String, String)>, &str) {
    let mut out = Vec::new();
    let Some(mut rest) = text.strip_prefix('{') else {
        return (out, text);
    };
    loop {
        let (name, after) = rest.split_once("=\"").unwrap();
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (index, '"') => break index,
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c @ ('"' | '\\') => c,
                    c => panic!("\\{c}"),
                }),
                (_, c) => value.push(c),
            }
        };
        out.push((name.to_owned(), value));
        rest = &after[end + 1..];
        if let Some(rest) = rest.strip_prefix('}') {
            return (out, rest);
        }
        rest = rest.strip_prefix(',').unwrap();
    }
}

fn value(exposition: &Exposition, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<_> = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let of = |format| {
        parse(&exposition.text(format), format).get(&(name.to_owned(), labels.clone())).copied()
    };
    let value = of(Format::Prometheus);
    assert_eq!(value, of(Format::OpenMetrics), "the formats agree");
    value
}

fn filled() -> Exposition {
    let mut exposition = Exposition::new();
    exposition.add(&DEPLOYMENTS, ["checkout", "promoted"], 2);
    exposition.add(&DEPLOYMENTS, ["checkout", "rolled_back"], 1);
    exposition.set(&WEIGHT, ["checkout"], 0.25);
    exposition.set(&EVIDENCE, ["checkout", "errors", "fail"], -0.125);
    exposition.set(&BUILD, ["0.1.0", "4f2c1a9"], 1.0);
    exposition.total(&PROCESS_CPU, [], 1.5);
    for seconds in [0.0, 0.1, 0.2, 400.0] {
        exposition.observe(&REVERT_TIME, ["pushed"], seconds);
    }
    exposition
}

#[test]
fn both_formats_read_as_they_should() {
    insta::assert_snapshot!("prometheus", filled().text(Format::Prometheus));
    insta::assert_snapshot!("openmetrics", filled().text(Format::OpenMetrics));
}

#[test]
fn a_histogram_is_cumulative_and_its_bounds_are_inclusive() {
    let exposition = filled();
    let bucket =
        |le| value(&exposition, "serin_revert_seconds_bucket", &[("result", "pushed"), ("le", le)]);
    assert_eq!(bucket("0.1"), Some(2.0));
    assert_eq!(bucket("0.25"), Some(3.0));
    assert_eq!(bucket("300.0"), Some(3.0));
    assert_eq!(bucket("+Inf"), Some(4.0));
    let one = |name| value(&exposition, name, &[("result", "pushed")]);
    assert_eq!(one("serin_revert_seconds_count"), Some(4.0));
    assert_eq!(one("serin_revert_seconds_sum"), Some(400.3));
}

#[test]
fn series_without_labels_begin_at_zero() {
    let exposition = Exposition::new();
    assert_eq!(value(&exposition, "serin_metrics_dropped_total", &[]), Some(0.0));
    assert_eq!(value(&exposition, "serin_journal_append_seconds_count", &[]), Some(0.0));
    assert_eq!(value(&exposition, "process_open_fds", &[]), None);
}

#[test]
fn hostile_labels_are_escaped_and_cut() {
    let wicked = "a\"b\\c\nd}\u{1F986},x=\"1\"} 9\n# EOF";
    let mut exposition = Exposition::new();
    exposition.set(&WEIGHT, [wicked], 0.5);
    exposition.set(&WEIGHT, [&"\u{1F986}".repeat(100_000)], 0.25);
    assert_eq!(value(&exposition, "serin_weight_ratio", &[("service", wicked)]), Some(0.5));
    let cut = "\u{1F986}".repeat(MOST_LABEL);
    assert_eq!(value(&exposition, "serin_weight_ratio", &[("service", &cut)]), Some(0.25));
}

#[test]
fn what_cannot_be_exported_is_counted() {
    let mut exposition = filled();
    let before = exposition.clone();
    exposition.set(&WEIGHT, ["checkout"], f64::NAN);
    exposition.total(&PROCESS_CPU, [], 1.0);
    exposition.total(&PROCESS_CPU, [], f64::INFINITY);
    exposition.observe(&JOURNAL_APPEND, [], -1.0);
    exposition.observe(&JOURNAL_APPEND, [], f64::NAN);
    assert_eq!(value(&exposition, "serin_metrics_dropped_total", &[]), Some(5.0));
    exposition.families.remove("serin_metrics_dropped_total");
    let mut expected = before;
    expected.families.remove("serin_metrics_dropped_total");
    assert_eq!(exposition, expected);
}

#[test]
fn a_label_that_goes_wild_is_stopped() {
    let mut exposition = Exposition::new();
    for number in 0..MOST_SERIES + 10 {
        exposition.add(&DEPLOYMENTS, [&number.to_string(), "promoted"], 1);
    }
    exposition.add(&DEPLOYMENTS, ["7", "promoted"], 1);
    let families = &exposition.families;
    assert_eq!(families["serin_deployments_total"].len(), MOST_SERIES);
    assert_eq!(families["serin_metrics_dropped_total"][&Box::default()], Value::Single(10.0));
    let seven = Box::from(["7".to_owned(), "promoted".to_owned()]);
    assert_eq!(families["serin_deployments_total"][&seven as &Box<[String]>], Value::Single(2.0));
}

#[test]
fn a_service_that_is_gone_leaves_nothing() {
    let mut exposition = filled();
    exposition.set(&WEIGHT, ["search"], 0.5);
    exposition.set(&LIVE_DEPLOYMENTS, ["paused"], 1.0);
    exposition.forget("service", "checkout");
    let text = exposition.text(Format::Prometheus);
    assert!(!text.contains("checkout") && text.contains("search"), "{text}");
    exposition.clear(&LIVE_DEPLOYMENTS);
    assert_eq!(value(&exposition, "serin_live_deployments", &[("phase", "paused")]), None);
}

#[test]
fn the_format_is_negotiated() {
    let open = Format::OpenMetrics;
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.2";
    for (accept, format) in [
        (None, Format::Prometheus),
        (Some("*/*"), Format::Prometheus),
        (Some(prometheus), open),
        (Some("application/openmetrics-text; q=0"), Format::Prometheus),
        (Some("application/openmetrics-text; q=0.3, text/plain"), Format::Prometheus),
        (Some("application/openmetrics-text;q=x"), Format::Prometheus),
    ] {
        assert_eq!(Format::of_accept(accept), format, "{accept:?}");
    }
    assert!(open.content_type().starts_with("application/openmetrics-text"));
}
