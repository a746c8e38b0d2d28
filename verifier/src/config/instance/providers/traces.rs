//! `providers`: the stores of traces, from which root cause is read after a verdict.
//!
//! They hold no numbers that a policy could check; a policy's own service and versions say what to look for there.
//! Datadog is a store of both, and stands among the others.

use std::time::Duration;

use super::{Context, Endpoint, ProviderKind, endpoint, url};
use crate::config::policy::duration_within;
use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::values;

/// A store of traces.
#[derive(Debug, Clone)]
pub enum Traces {
    /// Jaeger.
    Jaeger(TraceServer),
    /// Tempo.
    Tempo(TempoServer),
    /// Zipkin.
    Zipkin(TraceServer),
}

/// A server of traces with a page of its own.
#[derive(Debug, Clone)]
pub struct TraceServer {
    /// Where it is and how Serin is let in.
    pub endpoint: Endpoint,
    /// Where people see its page, for links; `None`: at the same address.
    pub page: Option<String>,
    /// Longest wait for an answer; `None`: the store's own default.
    pub timeout: Option<Duration>,
}

/// Tempo, whose page is Grafana's.
#[derive(Debug, Clone)]
pub struct TempoServer {
    /// Where it is and how Serin is let in.
    pub endpoint: Endpoint,
    /// The tenant; `None` for a Tempo without tenants.
    pub tenant: Option<String>,
    /// Where people see its traces; `None`: no links.
    pub grafana: Option<Grafana>,
    /// Longest wait for an answer; `None`: the store's own default.
    pub timeout: Option<Duration>,
}

/// A data source of a Grafana.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grafana {
    /// Grafana's address as people see it.
    pub url: String,
    /// The data source's uid.
    pub datasource: String,
}

/// Keys of the kinds.
pub(in crate::config) const TRACES: [&str; 3] = ["jaeger", "tempo", "zipkin"];

impl Traces {
    /// Its key.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Jaeger(_) => "jaeger",
            Self::Tempo(_) => "tempo",
            Self::Zipkin(_) => "zipkin",
        }
    }
}

/// Reads a store of one of the kinds.
pub(super) fn read(kind: &str, at: &At<'_>, context: Context<'_>) -> Option<ProviderKind> {
    let (example, read): (_, fn(&Fields<'_>, Context<'_>) -> Option<Traces>) = match kind {
        "jaeger" => ("url: http://jaeger:16686", |fields, context| {
            server(fields, "url: http://jaeger:16686", context).map(Traces::Jaeger)
        }),
        "tempo" => {
            ("url: http://tempo:3200", |fields, context| tempo(fields, context).map(Traces::Tempo))
        }
        _ => ("url: http://zipkin:9411", |fields, context| {
            server(fields, "url: http://zipkin:9411", context).map(Traces::Zipkin)
        }),
    };
    let example = format!("a map, e.g. {{ {example} }}");
    at.map(&example, |fields| read(fields, context))?.map(ProviderKind::Traces)
}

fn server(fields: &Fields<'_>, example: &str, context: Context<'_>) -> Option<TraceServer> {
    let endpoint = endpoint(fields, example, context);
    let page = fields.get("page").and_then(|at| url(&at));
    let timeout = timeout(fields);
    Some(TraceServer { endpoint: endpoint?, page, timeout })
}

fn tempo(fields: &Fields<'_>, context: Context<'_>) -> Option<TempoServer> {
    let endpoint = endpoint(fields, "url: http://tempo:3200", context);
    let tenant =
        fields.get("tenant").and_then(|at| at.parse("a tenant's name", values::header_value));
    let twice = endpoint.as_ref().is_some_and(|endpoint| {
        endpoint.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("X-Scope-OrgID"))
    });
    if let (Some(_), true, Some(at)) = (&tenant, twice, fields.raw("tenant")) {
        let message = "the tenant is given twice, here and by the header `X-Scope-OrgID`";
        at.wrong(Wrong::new(message, "keep `tenant`"));
    }
    let grafana = fields.get("grafana").and_then(|at| {
        at.map("a map, e.g. { url: https://grafana.example.com, datasource: tempo }", grafana)?
    });
    let timeout = timeout(fields);
    Some(TempoServer { endpoint: endpoint?, tenant, grafana, timeout })
}

fn grafana(fields: &Fields<'_>) -> Option<Grafana> {
    let url = fields.required("url", "url: https://grafana.example.com").and_then(|at| url(&at));
    let example = "datasource: tempo, the uid in the address of the data source's settings";
    let datasource = fields.required("datasource", example).and_then(|at| {
        at.parse("a uid of a data source", |text| {
            // The rule of Grafana for uids.
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            if (1..=40).contains(&text.len()) && text.bytes().all(plain) {
                return Ok(text.to_owned());
            }
            let hint = "it is the last part of the address of the data source's settings";
            Err(Wrong::new(format!("{} is not a uid of Grafana", quote(text)), hint))
        })
    });
    Some(Grafana { url: url?, datasource: datasource? })
}

fn timeout(fields: &Fields<'_>) -> Option<Duration> {
    let second = Duration::from_secs(1);
    fields.get("timeout").and_then(|at| duration_within(&at, second / 10, 60 * second))
}
