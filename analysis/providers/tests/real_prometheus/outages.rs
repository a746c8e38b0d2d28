//! A store that is gone for a while, and one that answers too late: nothing is told meanwhile, nothing is lost
//! or counted twice afterwards.

use std::time::{Duration, Instant};

use analysis_providers::{Prometheus, PrometheusSettings};

use crate::classic::{KINDS, services, traffic};
use crate::stores::{Program, SlowWire, Store};
use crate::sums::{Sums, measure, subject, until_known, until_true};

fn seconds(variable: &str, usual: u64) -> Duration {
    let set = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(set.unwrap_or(usual))
}

#[tokio::test]
async fn a_stopped_prometheus_is_no_data_and_its_gap_is_counted_afterwards() {
    let exporter = services().await;
    let Some(mut store) = Store::start(Program::Prometheus, &exporter.scraped("text")) else {
        return;
    };
    let settings = PrometheusSettings::new(store.url(), Duration::from_secs(1));
    let provider = Prometheus::new(settings).unwrap();
    let subjects = [subject("shop", &KINDS), subject("cart", &KINDS)];
    let (mut sums, mut truth) = (Sums::new(), Sums::new());
    until_known(&provider, &subjects, &mut sums).await;
    traffic(&exporter, 4, &mut truth);
    until_true(&provider, &subjects, &mut sums, &truth).await;

    store.stop();
    let stopped = Instant::now();
    let outage = seconds("SERIN_OUTAGE_SECONDS", 15);
    let mut step = 0;
    while stopped.elapsed() < outage {
        // The services go on; one of them fails many requests, which nobody sees yet.
        traffic(&exporter, step, &mut truth);
        step += 1;
        let attempt = measure(&provider, &subjects, &mut sums).await;
        assert_eq!(attempt.observations, 0, "nothing can be known");
        assert_eq!(attempt.incomplete.len(), 2, "every deployment holds: {attempt:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    store.resume();
    until_true(&provider, &subjects, &mut sums, &truth).await;
    // And it goes on as before.
    traffic(&exporter, 5, &mut truth);
    until_true(&provider, &subjects, &mut sums, &truth).await;
}

#[tokio::test]
async fn a_prometheus_that_answers_late_is_not_waited_for_and_nothing_is_counted_twice() {
    let exporter = services().await;
    let Some(store) = Store::start(Program::Prometheus, &exporter.scraped("text")) else { return };
    let wire = SlowWire::to(&store).await;
    let timeout = Duration::from_secs(1);
    let settings = PrometheusSettings {
        timeout,
        ..PrometheusSettings::new(&wire.url, Duration::from_secs(1))
    };
    let provider = Prometheus::new(settings).unwrap();
    let subjects = [subject("shop", &KINDS), subject("cart", &KINDS)];
    let (mut sums, mut truth) = (Sums::new(), Sums::new());
    until_known(&provider, &subjects, &mut sums).await;

    let late = seconds("SERIN_LATE_SECONDS", 8);
    wire.delay(late);
    let begun = Instant::now();
    let mut step = 0;
    while begun.elapsed() < late + Duration::from_secs(2) {
        traffic(&exporter, step, &mut truth);
        step += 1;
        let asked = Instant::now();
        let attempt = measure(&provider, &subjects, &mut sums).await;
        // Two attempts at most, one to search and one for samples, each within its bound.
        assert!(asked.elapsed() < 3 * timeout, "{:?}", asked.elapsed());
        assert_eq!((attempt.observations, attempt.incomplete.len()), (0, 2), "{attempt:?}");
    }
    wire.delay(Duration::ZERO);
    until_true(&provider, &subjects, &mut sums, &truth).await;
}
