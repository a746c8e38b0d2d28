//! Real native histograms, scraped as protobuf, across a change of their schema and a restart.

use std::time::Duration;

use analysis_providers::{MetricProvider as _, Prometheus, PrometheusSettings};

use crate::classic::KINDS;
use crate::exporter::{Exporter, Version};
use crate::protobuf::Durations;
use crate::stores::{Program, Store};
use crate::sums::{SCALE, Sums, add, arm, measure, subject, until_known, until_true};

const NAMES: [&str; 2] = ["pay-old", "pay-new"];

/// One request on one version; `index` is its bucket at schema 3.
fn request(exporter: &Exporter, name: &str, code: &str, index: Option<i32>, truth: &mut Sums) {
    let (service, version) = name.split_once('-').unwrap();
    add(truth, service, arm(version), "completed", 1);
    add(truth, service, arm(version), "failed", u64::from(code == "500"));
    let mut versions = exporter.versions();
    let new = || Durations { schema: 3, ..Durations::default() };
    let durations =
        versions.get_mut(name).unwrap().durations.entry(code.to_owned()).or_insert_with(new);
    let Some(index) = index else {
        durations.zero += 1;
        add(truth, service, arm(version), "zero", 1);
        return;
    };
    let at = |scale: i32| ((index - 1) >> (3 - scale)) + 1;
    *durations.buckets.entry(at(durations.schema)).or_default() += 1;
    add(truth, service, arm(version), &format!("bucket {}", at(SCALE.into())), 1);
}

#[tokio::test]
async fn native_histograms_are_counted_to_the_request() {
    let begun = Version { started: 1_700_000_000, ..Version::default() };
    let exporter = Exporter::start(NAMES.map(|name| (name, begun.clone()))).await;
    // What was counted before anybody looked.
    let mut before = Sums::new();
    for name in NAMES {
        for index in [-30, -24, -20] {
            request(&exporter, name, "200", Some(index), &mut before);
        }
    }
    let configuration = exporter.scraped("native");
    let Some(store) = Store::start(Program::Prometheus, &configuration) else { return };
    let settings = PrometheusSettings::new(store.url(), Duration::from_secs(1));
    let provider = Prometheus::new(settings).unwrap();
    let subjects = [subject("pay", &KINDS)];
    let (mut sums, mut truth) = (Sums::new(), Sums::new());
    until_known(&provider, &subjects, &mut sums).await;
    let chosen: Vec<String> = provider
        .chosen("pay")
        .into_iter()
        .map(|choice| format!("{}: {}", choice.check, choice.chosen.unwrap()))
        .collect();
    insta::assert_snapshot!(chosen.join("\n"));

    for round in 0..3 {
        for step in 0..12_i32 {
            for (name, weight) in NAMES.iter().zip([20, 3]) {
                for n in 0..weight {
                    let code = if (step + n) % 5 == 4 { "500" } else { "200" };
                    let index = (n % 7 != 6).then_some(-28 + (step * 3 + n * 5) % 40);
                    request(&exporter, name, code, index, &mut truth);
                }
            }
            measure(&provider, &subjects, &mut sums).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        until_true(&provider, &subjects, &mut sums, &truth).await;
        let mut versions = exporter.versions();
        if round == 0 {
            // One version has too many buckets and halves its resolution, while the other goes on.
            for durations in versions.get_mut("pay-new").unwrap().durations.values_mut() {
                durations.coarsen();
            }
        } else if round == 1 {
            let fresh = Version { started: 1_700_000_500, ..Version::default() };
            versions.insert("pay-old".to_owned(), fresh);
            add(&mut truth, "pay", arm("old"), "restarts", 1);
        }
    }
}
