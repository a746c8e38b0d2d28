//! Settings that cannot be are refused before anything is asked.

use analysis_providers::Secret;
use analysis_providers::traces::{
    DatadogTracesSettings, GrafanaPage, JaegerSettings, TempoSettings, ZipkinSettings, datadog,
    jaeger, tempo, zipkin,
};

use crate::stores::{ALL, clock};

#[test]
fn settings_that_cannot_be_are_refused() {
    let key = || Secret::new("hunter2");
    let page = Some("https://u:hunter2@jaeger".to_owned());
    let grafana = Some(GrafanaPage { url: "grafana".into(), datasource: "t".into() });
    let tenant = Some("line\nbreak hunter2".to_owned());
    let refused = [
        jaeger(JaegerSettings::new("jaeger:16686", clock)).err(),
        jaeger(JaegerSettings { page, ..JaegerSettings::new("http://j", clock) }).err(),
        tempo(TempoSettings::new("", clock)).err(),
        tempo(TempoSettings { grafana, ..TempoSettings::new("http://t", clock) }).err(),
        tempo(TempoSettings { tenant, ..TempoSettings::new("http://t", clock) }).err(),
        zipkin(ZipkinSettings::new("ftp://zipkin", clock)).err(),
        datadog(DatadogTracesSettings::new("data dog", key(), key(), clock)).err(),
    ];
    let told: Vec<String> = refused.into_iter().map(|error| error.unwrap().to_string()).collect();
    assert!(!told.join("").contains("hunter2"), "{told:?}");
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn every_store_says_when_it_has_everything() {
    for kind in ALL {
        let settle = kind.store("http://127.0.0.1:1").unwrap().settle();
        assert!((10..=120).contains(&settle.as_secs()), "{kind:?}");
    }
}
