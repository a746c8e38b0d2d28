//! What an entry span says of its request: how long, whether it failed, and whether it is one of those that count.

use std::sync::Arc;

use analysis_traces::{Resource, Span, Status, Value, is_synthetic};

use crate::reads::is_probed;
use crate::subject::Failed;

/// Longest name of an instance in bytes.
const LONGEST: usize = 200;

/// Whether a request failed: its status says so, or its protocol's.
pub(super) fn has_failed(span: &Span) -> bool {
    let code = |names: &[&str], failed: &Failed| {
        let value = names.iter().find_map(|name| span.attributes.get(name));
        value.is_some_and(|value| match value {
            Value::Text(text) => failed.matches(text),
            Value::Integer(number) => failed.matches(&number.to_string()),
            Value::Number(_) | Value::Flag(_) => false,
        })
    };
    span.status == Status::Error
        || code(&["http.response.status_code", "http.status_code"], &Failed::Http)
        || code(&["rpc.response.status_code", "rpc.grpc.status_code"], &Failed::Grpc)
}

/// Whether a request counts: those of probes and scrapers always succeed, synthetic ones are compared in pairs.
pub(super) fn is_counted(span: &Span) -> bool {
    let attributes = &span.attributes;
    let path = attributes.text(&["http.route", "url.path", "http.target", "http.path"]);
    let is_probe = path.is_some_and(|path| is_probed(path.split('?').next().unwrap_or(path)));
    !is_probe && !is_synthetic(span)
}

/// The process that answered, as far as it says.
pub(super) fn instance(resource: &Resource) -> Arc<str> {
    cut(resource.instance().or_else(|| resource.version()).unwrap_or("unnamed"), LONGEST).into()
}

/// A text of at most so many bytes.
pub(super) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::super::tests::samples::entry;
    use super::*;

    #[test]
    fn failures_are_told_by_status_and_protocol() {
        let failed = |name: &str, value: Value| {
            let mut span = entry(1, 1);
            span.attributes.0.insert(0, (name.into(), value));
            has_failed(&span)
        };
        assert!(failed("http.response.status_code", Value::Integer(503)));
        assert!(failed("http.status_code", "500".into()));
        assert!(failed("rpc.grpc.status_code", Value::Integer(14)));
        assert!(!failed("http.response.status_code", Value::Integer(404)));
        assert!(!failed("rpc.grpc.status_code", Value::Integer(5)));
        assert!(!failed("http.response.status_code", Value::Number(f64::NAN)));
        let mut span = entry(1, 1);
        assert!(!has_failed(&span));
        span.status = Status::Error;
        assert!(has_failed(&span));
    }

    #[test]
    fn probes_and_synthetic_requests_do_not_count() {
        let counted = |name: &str, value: &str| {
            let mut span = entry(1, 1);
            span.attributes.0.clear();
            span.attributes.0.push((name.into(), value.into()));
            is_counted(&span)
        };
        assert!(!counted("url.path", "/healthz"));
        assert!(!counted("http.target", "/readyz?verbose"));
        assert!(!counted("user_agent.synthetic.type", "test"));
        assert!(!counted("baggage.synthetic", "true"));
        assert!(counted("http.route", "/cart"));
        assert!(counted("http.route", "/metrics/of/sales"));
        assert_eq!(cut("äöü", 3), "ä");
    }
}
