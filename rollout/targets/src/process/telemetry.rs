//! What tells an instance's telemetry which version it is, and where Serin takes it in.
//!
//! Arms can only be told apart by what spans and metrics say of their sender. Every OpenTelemetry SDK reads these
//! variables, so a service that has one is labelled without a line of its own configuration. Follows "OpenTelemetry
//! environment variable specification" and "OTLP exporter configuration", 1.50.

use std::collections::{BTreeMap, BTreeSet};

/// Where to send to, and how; a service that names either itself sends as it says.
const EXPORTER: &str = "OTEL_EXPORTER_OTLP_";
/// The name of the service.
const NAME: &str = "OTEL_SERVICE_NAME";
/// What else is known of the sender.
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// Who sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) service: &'a str,
    pub(super) revision: &'a str,
    pub(super) instance: &'a str,
}

/// The variables beside those of the specification, whose own values win.
pub(super) fn variables(
    sender: Sender<'_>,
    own: &BTreeMap<String, String>,
    endpoint: Option<&str>,
) -> Vec<(&'static str, String)> {
    let mut variables = Vec::new();
    let said = own.get(ATTRIBUTES).map(String::as_str).unwrap_or_default().trim_matches([',', ' ']);
    let named: BTreeSet<&str> =
        said.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.trim())).collect();
    // The variable would win over the attribute.
    if !own.contains_key(NAME) && !named.contains("service.name") {
        variables.push((NAME, sender.service.to_owned()));
    }
    let ours = [
        ("service.version", sender.revision),
        ("vcs.ref.head.revision", sender.revision),
        ("service.instance.id", sender.instance),
    ];
    let ours = ours.into_iter().filter(|(name, _)| !named.contains(name));
    let ours = ours.map(|(name, value)| format!("{name}={}", encoded(value)));
    let said = (!said.is_empty()).then(|| said.to_owned());
    variables.push((ATTRIBUTES, said.into_iter().chain(ours).collect::<Vec<_>>().join(",")));
    let sends_elsewhere = own.keys().any(|name| name.starts_with(EXPORTER));
    if let Some(endpoint) = endpoint.filter(|_| !sends_elsewhere) {
        variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.to_owned()));
        // The default of some SDKs is gRPC, which has another port.
        variables.push(("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()));
    }
    variables
}

/// A value as W3C Baggage writes it: everything that could end it is a percent sign and two digits.
fn encoded(value: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte);
    value
        .bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(own: &[(&str, &str)], endpoint: Option<&str>, expected: &[(&str, &str)]) {
        let own = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let sender =
            Sender { service: "Café, 2", revision: "4f2c1a9d", instance: "Café, 2-4f2c1a9-0" };
        let found = variables(sender, &own.collect(), endpoint);
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_instance_is_told_who_it_is_and_where_to_send() {
        let attributes = "service.version=4f2c1a9d,vcs.ref.head.revision=4f2c1a9d,service.instance.id=Caf%C3%A9%2C%202-4f2c1a9-0";
        let (name, all) = ((NAME, "Café, 2"), (ATTRIBUTES, attributes));
        check(&[], None, &[name, all]);
        let endpoint = "http://127.0.0.1:8787";
        let send = ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        check(&[("A", "b")], Some(endpoint), &[name, all, send, protocol]);
    }

    #[test]
    fn what_the_service_says_itself_wins() {
        let attributes =
            "vcs.ref.head.revision=4f2c1a9d,service.instance.id=Caf%C3%A9%2C%202-4f2c1a9-0";
        let merged = format!("team=a, service.version=1.4,{attributes}");
        let own = (ATTRIBUTES, "team=a, service.version=1.4,");
        check(
            &[own, (NAME, "cafe"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector")],
            Some("http://127.0.0.1:8787"),
            &[(ATTRIBUTES, &merged)],
        );
        let version = "service.version=4f2c1a9d";
        let merged = format!("service.name=cafe,{version},{attributes}");
        check(&[(ATTRIBUTES, "service.name=cafe")], None, &[(ATTRIBUTES, &merged)]);
    }
}
