//! Links to the stores' own pages.

use std::fmt::Write as _;

use analysis_providers::Secret;
use analysis_providers::traces::{
    DatadogTracesSettings, TempoSettings, TraceStore, datadog, tempo,
};
use analysis_traces::TraceId;

use crate::stores::{Kind, ask, clock};
use crate::told::without_port;

fn all(store: &dyn TraceStore) -> String {
    let (one, other) = (TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4b01), TraceId(0x5e));
    let asked = ask();
    let links = [
        ("trace", store.link(one, Some((asked.from, asked.to)))),
        ("trace at an unknown time", store.link(one, None)),
        ("both versions", store.explore(&asked)),
        ("a pair", store.pair(one, other)),
    ];
    let told = links.map(|(name, link)| format!("{name}: {}", link.as_deref().unwrap_or("none")));
    without_port(&told.join("\n"))
}

#[test]
fn links_lead_to_the_traces() {
    let mut text = String::new();
    for kind in [Kind::Jaeger, Kind::Tempo, Kind::Zipkin, Kind::Datadog] {
        let store = kind.store("http://127.0.0.1:1").unwrap();
        writeln!(text, "== {kind:?}\n{}", all(&*store)).unwrap();
    }
    for site in ["datadoghq.com", "datadoghq.eu", "us5.datadoghq.com", "ddog-gov.com"] {
        let key = || Secret::new("hunter2");
        let store = datadog(DatadogTracesSettings::new(site, key(), key(), clock)).unwrap();
        writeln!(text, "== {site}\n{}", all(&*store)).unwrap();
    }
    let plain = tempo(TempoSettings::new("http://tempo:3200", clock)).unwrap();
    writeln!(text, "== without Grafana\n{}", all(&*plain)).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn two_panes_are_the_json_that_explore_reads() {
    let store = Kind::Tempo.store("http://tempo:3200").unwrap();
    let link = reqwest::Url::parse(&store.explore(&ask()).unwrap()).unwrap();
    let panes = link.query_pairs().find(|(name, _)| name == "panes").unwrap().1;
    let panes: serde_json::Value = serde_json::from_str(&panes).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&panes).unwrap());
}
