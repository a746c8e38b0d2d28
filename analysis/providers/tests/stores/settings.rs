//! Settings are checked without contacting anybody.

use std::fmt::Write as _;
use std::time::Duration;

use analysis_providers::{
    DatadogSettings, DynatraceSettings, DynatraceStore, ElasticAccess, ElasticSettings,
    NewRelicRegion, NewRelicSettings, Secret,
};

use crate::vendors::SECRET;

#[test]
fn settings_that_cannot_be_are_refused() {
    let key = || Secret::new(SECRET);
    let datadog = |site: &str| DatadogSettings::new(site, key(), key());
    let elastic = |url: &str| ElasticSettings::new(url, ElasticAccess::Open);
    let classic = |url: &str| DynatraceSettings::new(url, DynatraceStore::Classic { token: key() });
    let bad_key = Secret::new(format!("{SECRET}\n"));
    let results = [
        datadog("").provider(),
        datadog("datadoghq.eu/x?y").provider(),
        DatadogSettings { step: Duration::from_secs(7), ..datadog("datadoghq.eu") }.provider(),
        DatadogSettings { step: Duration::from_secs(5), ..datadog("datadoghq.eu") }.provider(),
        DatadogSettings { step: Duration::from_millis(10_500), ..datadog("datadoghq.eu") }
            .provider(),
        DatadogSettings { timeout: Duration::ZERO, ..datadog("datadoghq.eu") }.provider(),
        DatadogSettings::new("datadoghq.eu", bad_key.clone(), key()).provider(),
        NewRelicSettings {
            region: NewRelicRegion::At("ftp://x".into()),
            ..NewRelicSettings::new(1, key())
        }
        .provider(),
        classic("abc.live.dynatrace.com").provider(),
        DynatraceSettings {
            step: Duration::from_secs(30),
            ..classic("https://abc.live.dynatrace.com")
        }
        .provider(),
        elastic("not an address").provider(),
        ElasticSettings { max_bytes: 0, ..elastic("http://localhost:9200") }.provider(),
        ElasticSettings::new("http://localhost:9200", ElasticAccess::ApiKey(bad_key)).provider(),
    ];
    let mut text = String::new();
    for result in results {
        writeln!(text, "{}", result.unwrap_err()).unwrap();
    }
    assert!(!text.contains(SECRET));
    insta::assert_snapshot!(text);
}

#[test]
fn sites_and_regions_are_found_and_nothing_shows_a_key() {
    let key = || Secret::new(SECRET);
    let europe =
        NewRelicSettings { region: NewRelicRegion::Europe, ..NewRelicSettings::new(1, key()) };
    let grail = DynatraceStore::Grail { token: key() };
    let basic = ElasticAccess::Basic { user: "reader".into(), password: key() };
    let settings =
        format!("{europe:?} {grail:?} {basic:?} {:?}", DatadogSettings::new("x", key(), key()));
    let text = [
        DatadogSettings::new("us5.datadoghq.com", key(), key()).provider(),
        DatadogSettings::new("https://proxy.example/datadog", key(), key()).provider(),
        NewRelicSettings::new(1, key()).provider(),
        europe.provider(),
        DynatraceSettings::new("https://abc.apps.dynatrace.com", grail).provider(),
        ElasticSettings::new("https://elastic.example:9200", basic).provider(),
        ElasticSettings::new(
            "https://elastic.example:9200",
            ElasticAccess::ApiKey(Secret::new("id:key")),
        )
        .provider(),
    ]
    .map(|provider| format!("{:?}", provider.unwrap()))
    .join("\n");
    assert!(!text.contains(SECRET) && !settings.contains(SECRET), "{settings}");
    insta::assert_snapshot!(text);
}
