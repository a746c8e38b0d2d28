//! The same trace in every format.

use std::fmt::Write as _;

use super::*;

/// What a format cannot say of a span, or says besides.
#[derive(Default)]
struct Differs {
    /// Attributes that only this format has.
    more: &'static [&'static str],
    /// It knows failed and not failed.
    has_no_ok: bool,
    /// It has no message of a status, but that of the exception.
    has_no_message: bool,
    /// Attributes of a resource that it has no place for.
    loses: &'static [&'static str],
}

/// Spans as lines, values as text, in the order of ids.
fn lines(decoded: &Decoded, differs: &Differs) -> Vec<String> {
    let mut spans: Vec<&Span> = decoded.spans.iter().collect();
    spans.sort_by_key(|span| (span.trace, span.id));
    spans.into_iter().map(|span| line(span, differs)).collect()
}

fn line(span: &Span, differs: &Differs) -> String {
    let attributes = |attributes: &analysis_traces::Attributes| {
        let ignored = |name: &str| differs.more.contains(&name) || differs.loses.contains(&name);
        let kept = attributes.0.iter().filter(|(name, _)| !ignored(name));
        let mut kept: Vec<_> = kept.map(|(name, value)| format!("{name}={value}")).collect();
        kept.sort();
        kept.join(" ")
    };
    let parent = span.parent.map_or("-".to_owned(), |id| id.to_string());
    let mut line = format!("{} {} {parent} {:?} {}", span.trace, span.id, span.kind, span.name);
    write!(line, "\n  {} + {} ns", span.start, span.end - span.start).unwrap();
    let is_error = span.status == analysis_traces::Status::Error;
    if differs.has_no_ok {
        write!(line, ", failed: {is_error}").unwrap();
    } else {
        write!(line, ", {:?}", span.status).unwrap();
    }
    if !differs.has_no_message {
        write!(line, ", {:?}", span.message).unwrap();
    }
    let resource = attributes(&span.resource.attributes);
    write!(line, "\n  {}: {resource}", span.resource.service).unwrap();
    write!(line, "\n  {}", attributes(&span.attributes)).unwrap();
    for exception in &span.exceptions {
        write!(line, "\n  {exception:?}").unwrap();
    }
    line
}

#[test]
fn the_same_trace_is_the_same_spans_in_every_format() {
    let limits = Limits::default();
    let recorded = otlp_protobuf(&reply("otlp.pb"), &limits).unwrap();
    assert_eq!(recorded.refused, Refusals::default());
    insta::assert_snapshot!("recorded", lines(&recorded, &Differs::default()).join("\n\n"));

    let same = Differs::default;
    let of_datadog = || Differs {
        more: &[
            "operation.name",
            "span.type",
            "error.type",
            "error.message",
            "error.stack",
            "deployment.environment.name",
            "host.name",
        ],
        has_no_ok: true,
        has_no_message: true,
        loses: &["telemetry.sdk.language"],
    };
    let table: [(&str, Format, Decode, Differs); 15] = [
        ("otlp.pb", Format::OtlpProtobuf, otlp_protobuf, same()),
        ("otlp_frames.pb", Format::OtlpProtobuf, any_of, same()),
        ("otlp.pb.gz", Format::OtlpProtobuf, any_of, same()),
        ("otlp.json", Format::OtlpJson, otlp_json, same()),
        ("otlp_plain_mapping.json", Format::OtlpJson, otlp_json, same()),
        ("otlp_snake_case.json", Format::OtlpJson, otlp_json, same()),
        ("otlp_lines.jsonl", Format::OtlpJson, otlp_json, same()),
        ("jaeger_v3.json", Format::Jaeger, jaeger, same()),
        ("jaeger_legacy.json", Format::Jaeger, jaeger, same()),
        ("tempo_v1.json", Format::Tempo, tempo, same()),
        ("tempo_v2.json", Format::Tempo, tempo, same()),
        ("tempo_v2.pb", Format::Tempo, tempo, same()),
        ("zipkin.json", Format::Zipkin, zipkin, same()),
        ("datadog_trace.json", Format::Datadog, datadog, of_datadog()),
        ("datadog_spans.json", Format::Datadog, datadog, of_datadog()),
    ];
    for (name, format, decode, differs) in table {
        let body = reply(name);
        let decoded = decode(&body, &limits).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&decoded, &limits);
        similar(name, &lines(&decoded, &differs), &lines(&recorded, &differs));
        assert_eq!(any(&body, &limits), Ok((format, decoded.clone())), "{name}");
        let partial = u64::from(name.starts_with("tempo_v2"));
        assert_eq!(decoded.refused, Refusals { partial, ..Refusals::default() }, "{name}");
    }

    // A pruned trace says of itself that spans are missing.
    let body = reply("datadog_pruned_trace.json");
    let decoded = datadog(&body, &limits).unwrap();
    let differs = of_datadog();
    similar("pruned", &lines(&decoded, &differs), &lines(&recorded, &differs));
    assert_eq!(decoded.refused, Refusals { partial: 1, ..Refusals::default() });
    assert_eq!(any(&body, &limits), Ok((Format::Datadog, decoded)));
}

fn any_of(body: &[u8], limits: &Limits) -> Result<Decoded, Unreadable> {
    any(body, limits).map(|(_, decoded)| decoded)
}

fn similar(name: &str, found: &[String], expected: &[String]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{name}:\n{found}\nbut recorded were\n{expected}");
    }
}

#[test]
fn texts_and_resources_are_shared() {
    let decoded = otlp_protobuf(&reply("otlp.pb"), &Limits::default()).unwrap();
    let of = |name: &str| {
        let spans = decoded.spans.iter().filter(|span| &*span.resource.service == name);
        let resources: Vec<_> = spans.map(|span| &span.resource).collect();
        resources.windows(2).all(|pair| std::sync::Arc::ptr_eq(pair[0], pair[1]))
    };
    assert!(of("checkout") && of("cart"));
    // A reply that repeats a resource for each span, as Datadog's does.
    let decoded = datadog(&reply("datadog_trace.json"), &Limits::default()).unwrap();
    let mut resources: Vec<_> =
        decoded.spans.iter().map(|span| std::sync::Arc::as_ptr(&span.resource)).collect();
    resources.sort_unstable();
    resources.dedup();
    assert_eq!(resources.len(), 2);
}

#[test]
fn any_format_is_known_with_its_documents_one_after_the_other() {
    let limits = Limits::default();
    for name in
        ["otlp.json", "jaeger_legacy.json", "tempo_v1.json", "zipkin.json", "datadog_trace.json"]
    {
        let body = reply(name);
        let (format, once) = any(&body, &limits).unwrap();
        let (again, twice) = any(&[&body[..], b"\n\n", &body].concat(), &limits).unwrap();
        assert_eq!(format, again);
        assert_eq!(twice.spans.len(), 2 * once.spans.len(), "{name}");
        // The last document is being written.
        let half = &body[..body.len() / 2];
        let (_, cut) = any(&[&body[..], half].concat(), &limits).unwrap();
        assert_eq!(cut.spans, once.spans, "{name}");
        assert_eq!(cut.refused.broken_documents, 1 + once.refused.broken_documents);
    }
    let spans: Vec<serde_json::Value> = serde_json::from_slice(&reply("zipkin.json")).unwrap();
    let by_line: Vec<String> = spans.iter().map(ToString::to_string).collect();
    let (format, decoded) = any(by_line.join("\n").as_bytes(), &limits).unwrap();
    assert_eq!((format, decoded.spans.len()), (Format::Zipkin, 4));
    let request = String::from_utf8(reply("otlp.json")).unwrap();
    let (format, decoded) =
        any(format!("\u{feff}[{request},{request}]").as_bytes(), &limits).unwrap();
    assert_eq!((format, decoded.spans.len()), (Format::OtlpJson, 8));
}
