//! Tests of the choice over pages that libraries and proxies really write, and of the README's table.

use std::fmt::Write as _;

use super::*;

fn series(lines: &[&str]) -> Vec<Series> {
    lines
        .iter()
        .map(|line| match crate::exposition::parse_line(line, |_| true) {
            Ok(crate::exposition::Line::Sample(point)) => point.series,
            other => panic!("{line}: {other:?}"),
        })
        .collect()
}

fn told(kind: MeasureKind, arms: &[&[&str]]) -> String {
    let arms: Vec<_> = arms.iter().map(|lines| series(lines)).collect();
    match choose(kind, &arms) {
        Ok((chosen, true)) => chosen.to_string(),
        Ok((chosen, false)) => format!("for now: {chosen}"),
        Err(text) => format!("none: {text}"),
    }
}

#[test]
fn usual_families_are_found_and_explained() {
    let pages: &[&[&str]] = &[
        &[r#"http_requests_total{code="200",method="get"} 1"#],
        &[r#"http_requests_total{method="get"} 1"#],
        &[
            r#"http_server_request_duration_seconds_count{http_response_status_code="200"} 1"#,
            r#"http_server_request_duration_seconds_bucket{http_response_status_code="200",le="0.1"} 1"#,
            r#"http_requests_total{status="200"} 1"#,
        ],
        &[
            r#"http_server_duration_milliseconds_count{http_status_code="200"} 1"#,
            r#"http_server_duration_milliseconds_bucket{http_status_code="200",le="5"} 1"#,
        ],
        &[r#"http_server_requests_seconds_count{outcome="SUCCESS",status="200",uri="/"} 1"#],
        &[
            r#"shop_http_requests_total{status="200"} 1"#,
            r#"admin_http_requests_total{status="200"} 1"#,
        ],
        &[
            r#"axum_http_requests_total{status="200"} 1"#,
            r#"promhttp_metric_handler_http_requests_total{code="200"} 1"#,
            r#"rest_client_http_requests_total{code="200"} 1"#,
        ],
        &[
            r#"grpc_server_handled_total{grpc_code="OK"} 1"#,
            r#"grpc_server_handling_seconds_bucket{le="1"} 1"#,
        ],
        &[
            r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="2"} 1"#,
            r#"envoy_cluster_upstream_rq_time_bucket{le="5"} 1"#,
        ],
        &[r#"istio_requests_total{reporter="source",response_code="200"} 1"#],
        &[r#"istio_requests_total{reporter="destination",response_code="200"} 1"#],
        &[r#"response_total{direction="inbound",classification="success"} 1"#],
        &[],
    ];
    let mut text = String::new();
    for page in pages {
        for kind in [MeasureKind::Errors, MeasureKind::Latency] {
            writeln!(text, "{kind:?}: {}", told(kind, &[page])).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn both_arms_read_the_same_family() {
    let old: &[&str] = &[
        r#"http_request_duration_seconds_count{code="200"} 1"#,
        r#"http_requests_total{code="200"} 1"#,
    ];
    let new: &[&str] = &[r#"http_requests_total{code="200"} 1"#];
    let chosen = told(MeasureKind::Errors, &[old, new]);
    assert!(chosen.starts_with("`http_requests_total` by `code`"), "{chosen}");
    let early = told(MeasureKind::Errors, &[old, &[]]);
    assert!(early.starts_with("for now: `http_request_duration_seconds_count`"), "{early}");
}

#[test]
fn a_native_histogram_is_preferred_where_both_arms_have_it() {
    let both: &[&str] = &[
        r#"http_request_duration_seconds{code="200"} 1"#,
        r#"http_request_duration_seconds_bucket{code="200"} 1"#,
        r#"http_request_duration_seconds_count{code="200"} 1"#,
    ];
    let classic = &both[1..];
    let native = &both[..1];
    let summary: &[&str] = &[r#"http_request_duration_seconds{code="200",quantile="0.99"} 1"#];
    let mut text = String::new();
    for (name, arms) in [
        ("both", [both, both]),
        ("only native", [native, native]),
        ("native in one arm", [both, classic]),
        ("a summary", [summary, summary]),
    ] {
        for kind in [MeasureKind::Errors, MeasureKind::Latency] {
            writeln!(text, "{name}, {kind:?}: {}", told(kind, &arms)).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn restarts_are_told_by_the_start_of_the_process_or_by_counters() {
    let shown: &[&str] =
        &["process_start_time_seconds 1.7e9", r#"http_requests_total{code="200"} 1"#];
    let counters = &shown[1..];
    let mut text = String::new();
    let pairs = [[shown, shown], [shown, &[]], [shown, counters], [counters, counters], [&[], &[]]];
    for arms in pairs {
        writeln!(text, "{}", told(MeasureKind::Restarts, &arms)).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_readme_shows_the_table() {
    let readme = include_str!("../../README.md");
    let missing: Vec<String> = TABLE
        .iter()
        .map(|row| {
            let prefix = if row.prefixed { "*_" } else { "" };
            format!("| `{prefix}{}` |", row.name)
        })
        .filter(|start| !readme.contains(start.as_str()))
        .collect();
    assert!(missing.is_empty(), "rows missing in the README: {missing:#?}");
}

#[test]
fn candidates_are_exactly_what_the_query_names() {
    assert!(is_candidate("http_requests_total"));
    assert!(is_candidate("shop_http_requests_total"));
    assert!(is_candidate("http_request_duration_seconds_bucket"));
    assert!(!is_candidate("http_request_duration_seconds_sum"));
    assert!(!is_candidate("http_request_duration_seconds"), "a page has no native histograms");
    assert!(!is_candidate("process_start_time_seconds"));
    let names = Selector::parse(&format!("{{__name__=\"x\",a=~\"{}\"}}", names())).unwrap();
    let fits = |name: &str| names.selects(&Series::new("x", vec![("a".into(), name.into())]));
    assert!(fits("shop_http_requests_total") && fits("http_server_duration_count"));
    assert!(fits("http_request_duration_seconds") && fits("shop_http_request_duration_seconds"));
    assert!(fits("process_start_time_seconds"), "for restarts");
    assert!(!fits("http_request_duration_seconds_sum") && !fits("http_requests_total_bucket"));
    assert!(!fits("process_cpu_seconds_total"));
}
