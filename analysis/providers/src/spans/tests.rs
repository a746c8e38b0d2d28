//! Bodies end to end: recorded ones, the same trace in every format, hostile ones, and the texts for people.
//!
//! `replies/spans/` holds one trace of two services. `otlp.pb` and `zipkin.json` were recorded from the OpenTelemetry
//! SDK for Python 1.45.2; the replies of stores were written from the same spans after their published models.

mod agreement;
mod formats;
mod hostile;
mod messages;
mod shapes;

use super::*;

type Decode = fn(&[u8], &Limits) -> Result<Decoded, Unreadable>;

fn reply(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/replies/spans");
    std::fs::read(format!("{folder}/{name}")).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All functions that decode, by name.
fn all() -> [(&'static str, Decode); 7] {
    [
        ("otlp_protobuf", otlp_protobuf),
        ("otlp_json", otlp_json),
        ("jaeger", jaeger),
        ("tempo", tempo),
        ("zipkin", zipkin),
        ("datadog", datadog),
        ("any", |body, limits| any(body, limits).map(|(_, decoded)| decoded)),
    ]
}

/// Panics when anything is beyond the limits.
fn check(decoded: &Decoded, limits: &Limits) {
    let text = |text: &str| assert!(text.len() <= limits.max_text, "{}", text.len());
    let attributes = |attributes: &analysis_traces::Attributes| {
        assert!(attributes.0.len() <= limits.max_attributes);
        for (name, value) in &attributes.0 {
            text(name);
            let most = if name.ends_with("stacktrace") || &**name == "error.stack" {
                limits.max_stack()
            } else {
                limits.max_text
            };
            assert!(value.text().unwrap_or_default().len() <= most);
        }
    };
    assert!(decoded.spans.len() <= limits.max_spans);
    for span in &decoded.spans {
        assert!(span.trace.0 > 0 && span.id.0 > 0 && span.parent.is_none_or(|id| id.0 > 0));
        assert!(span.start > 0 && span.end > 0 && span.weight >= 1.0);
        text(&span.name);
        text(&span.resource.service);
        assert!(!span.resource.service.is_empty());
        attributes(&span.attributes);
        attributes(&span.resource.attributes);
        assert!(span.exceptions.len() <= 8);
        for exception in &span.exceptions {
            text(&exception.kind);
            text(&exception.message);
            assert!(exception.stack.as_ref().is_none_or(|it| it.len() <= limits.max_stack()));
        }
    }
}
