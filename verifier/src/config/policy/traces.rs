//! `spec.traces`: where traces of both versions are looked at when the canary has failed.

use rollout::policy::{Traces, VersionText};

use super::metrics::version;
use crate::config::reader::{At, Fields};
use crate::config::source::Span;
use crate::config::values;

/// What it says, and the store that it names with its place.
pub(super) fn read(at: Option<&At<'_>>) -> (Traces, Option<(Span, String)>) {
    let read = at
        .and_then(|at| at.map("a map, e.g. { provider: tempo } or { service: checkout }", fields));
    read.unwrap_or_default()
}

fn fields(fields: &Fields<'_>) -> (Traces, Option<(Span, String)>) {
    let service = fields.get("service").and_then(|at| at.parse("a name", values::line));
    let named = fields
        .get("provider")
        .and_then(|at| Some((at.span(), at.parse("a name of a provider", values::name)?)));
    let version = fields.or("version", VersionText::Full, version);
    let provider = named.as_ref().map(|(_, name)| name.clone());
    (Traces { service, provider, version }, named)
}
