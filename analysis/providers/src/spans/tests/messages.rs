//! Every text that a person reads.

use super::*;

#[test]
fn errors_say_what_was_found_and_what_is_accepted() {
    let limits = Limits { max_bytes: 1_000, ..Limits::default() };
    let gzip = [&[0x1f, 0x8b][..], &[8, 0, 0]].concat();
    let many = b"{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1}";
    let cases: [(&str, &[u8]); 36] = [
        ("any", b""),
        ("any", b" \n"),
        ("any", b"<!DOCTYPE html>\n<html><head><title>Sign in</title>"),
        ("any", b"PK\x03\x04\x14\x00\x00\x00\x08\x00"),
        ("any", &gzip),
        ("any", &[b' '; 1_001]),
        ("any", b"{}"),
        ("any", b"[]"),
        ("any", b"[[]]"),
        ("any", b"[1,2]"),
        ("any", b"{\"spanz\":[],\"traces\":[]}"),
        ("any", many),
        ("any", b"[{\"name\":\"x\"},{}]"),
        ("any", b"{\"resourceSpans\":[{\"scopeSpans\""),
        ("any", b"{\"resourceMetrics\":[]}"),
        ("any", b"\x0a\x80\x01\x00"),
        ("any", b"{\"errors\":[\"Forbidden\"]}"),
        ("any", b"{\"data\":[{\"name\":\"checkout\"}]}"),
        ("otlp_protobuf", b"{\"resourceSpans\":[]}"),
        ("otlp_protobuf", &gzip),
        ("otlp_protobuf", b"\x0a\x05\x01"),
        ("otlp_json", b""),
        ("otlp_json", b"\x0a\x05\x01"),
        ("otlp_json", b"{\"resourceSpans\":{}}"),
        ("otlp_json", b"{\"traces\":[]}"),
        ("otlp_json", b"\"x\""),
        ("jaeger", b"{\"error\":{\"httpCode\":404,\"message\":\"No traces found\"}}"),
        ("jaeger", b"{\"data\":null,\"errors\":[{\"code\":404,\"msg\":\"trace not found\"}]}"),
        ("jaeger", b"{\"data\":{},\"errors\":[{\"code\":404}]}"),
        ("jaeger", b"{\"summaries\":[]}"),
        ("tempo", b"{\"traces\":[],\"metrics\":{}}"),
        ("tempo", b"trace not found"),
        ("zipkin", b"{\"spans\":[]}"),
        ("zipkin", b"17"),
        (
            "datadog",
            b"{\"errors\":[\"Forbidden\",{\"title\":\"Rate limited\",\"detail\":\"wait 12 s\"}]}",
        ),
        ("datadog", b"{\"meta\":{}}"),
    ];
    let mut told = String::new();
    for (name, body) in cases {
        let (_, decode) = all().into_iter().find(|(known, _)| *known == name).unwrap();
        let shown: String = String::from_utf8_lossy(body).escape_default().take(60).collect();
        let error = decode(body, &limits).map(|decoded| decoded.spans.len()).unwrap_err();
        told.push_str(&format!("{name} `{shown}`\n  {error}\n"));
    }
    insta::assert_snapshot!("errors", told);
}

#[test]
fn what_was_left_out_is_told_in_words() {
    assert_eq!(Refusals::default().told(), Vec::<String>::new());
    let one = Refusals {
        too_many: 1,
        bad_ids: 1,
        no_time: 1,
        malformed: 1,
        broken_documents: 1,
        partial: 1,
        attributes: 1,
        exceptions: 1,
        cut: 1,
        invalid_text: 1,
    };
    assert_eq!(one.total(), 4);
    let mut two = one;
    two.add(&one);
    insta::assert_snapshot!("refusals", [one.told(), two.told()].concat().join("\n"));
    let mut most = Refusals { cut: u64::MAX, ..one };
    most.add(&one);
    assert_eq!(most.cut, u64::MAX);
}

#[test]
fn formats_have_names() {
    let names = [
        Format::OtlpProtobuf,
        Format::OtlpJson,
        Format::Jaeger,
        Format::Tempo,
        Format::Zipkin,
        Format::Datadog,
    ]
    .map(|format| format.to_string());
    assert_eq!(
        names,
        ["OTLP in Protobuf", "OTLP in JSON", "Jaeger", "Tempo", "Zipkin v2", "Datadog"]
    );
}
