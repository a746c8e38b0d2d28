//! Counters and classic histograms, across restarts of the services, in Prometheus and in `VictoriaMetrics`.

use std::time::Duration;

use analysis_providers::{MeasureKind, MetricProvider as _, Prometheus, PrometheusSettings};

use crate::exporter::{Exporter, Version};
use crate::stores::{Program, Store};
use crate::sums::{Sums, add, arm, measure, subject, until, until_known, until_true};

pub(crate) const NAMES: [&str; 4] = ["shop-old", "shop-new", "cart-old", "cart-new"];

/// Services that have counted before anybody looked.
pub(crate) async fn services() -> Exporter {
    let versions = NAMES.iter().zip([50_000, 3, 700, 0]).map(|(name, good)| {
        (*name, Version { good, started: 1_700_000_000, ..Version::default() })
    });
    Exporter::start(versions).await
}

/// One step of traffic on all versions.
pub(crate) fn traffic(exporter: &Exporter, step: u64, truth: &mut Sums) {
    for (name, weight) in NAMES.iter().zip([40, 2, 7, 1]) {
        let (service, version) = name.split_once('-').unwrap();
        let (good, bad, slow) = (weight * (step + 1), step % 3, step % 2);
        let counts =
            [("failed", bad), ("completed", good + bad), ("slow", slow), ("timed", good + bad)];
        for (what, count) in counts {
            add(truth, service, arm(version), what, count);
        }
        let mut versions = exporter.versions();
        let counts = versions.get_mut(*name).unwrap();
        counts.good += good;
        counts.bad += bad;
        counts.slow += slow;
    }
}

pub(crate) const KINDS: [(&str, MeasureKind); 3] = [
    ("errors", MeasureKind::Errors),
    ("latency", MeasureKind::Latency),
    ("restarts", MeasureKind::Restarts),
];

async fn sums_equal_the_true_counts(program: Program, settle: Duration) {
    let exporter = services().await;
    let Some(store) = Store::start(program, &exporter.scraped("text")) else { return };
    let settings = PrometheusSettings {
        settle,
        ..PrometheusSettings::new(store.url(), Duration::from_secs(1))
    };
    let provider = Prometheus::new(settings).unwrap();
    let subjects = [subject("shop", &KINDS), subject("cart", &KINDS)];
    let mut sums = Sums::new();

    // Start points of all arms, before anything counts.
    until_known(&provider, &subjects, &mut sums).await;
    for choice in provider.chosen("shop") {
        let expected = match choice.check.as_str() {
            "errors" => "http_requests_total",
            "restarts" => "process_start_time_seconds",
            _ => "http_request_duration_seconds",
        };
        assert_eq!(choice.chosen.unwrap().metric, expected);
    }

    let mut truth = Sums::new();
    for round in 0..2_u64 {
        for step in 0..12_u64 {
            traffic(&exporter, step, &mut truth);
            measure(&provider, &subjects, &mut sums).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        until_true(&provider, &subjects, &mut sums, &truth).await;
        if round == 0 {
            // All is counted; both versions of one service go away and come back, with new counters.
            for name in ["shop-old", "shop-new"] {
                exporter.versions().get_mut(name).unwrap().down = true;
            }
            let mut away = Sums::new();
            until(&provider, &subjects, &mut away, |_, incomplete| !incomplete.is_empty()).await;
            sums.extend(away.into_iter().filter(|(_, count)| *count > 0));
            for name in ["shop-old", "shop-new"] {
                let fresh = Version { started: 1_700_000_500, ..Version::default() };
                exporter.versions().insert(name.to_owned(), fresh);
                let (service, version) = name.split_once('-').unwrap();
                add(&mut truth, service, arm(version), "restarts", 1);
            }
        }
    }
}

#[tokio::test]
async fn sums_of_differences_equal_the_true_counts_in_prometheus() {
    sums_equal_the_true_counts(Program::Prometheus, Duration::ZERO).await;
}

#[tokio::test]
async fn sums_of_differences_equal_the_true_counts_in_victoria_metrics() {
    sums_equal_the_true_counts(Program::VictoriaMetrics, Duration::from_secs(3)).await;
}
