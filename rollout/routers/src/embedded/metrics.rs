//! The proxy's own numbers in the Prometheus text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Every series names its instance, so that each only ever rises: a promoted instance starts new
//! series under its new arm, and no arm's total falls when an instance leaves.

use std::fmt::{self, Write};

use analysis::Arm;
use rollout::Weight;

use super::counts::{InstanceCounts, LE};
use crate::error::arm_name;

/// One service as the metrics show it.
pub(super) struct ServiceMetrics {
    pub(super) service: String,
    pub(super) weight: Weight,
    pub(super) unrouted: u64,
    pub(super) instances: Vec<InstanceMetrics>,
}

/// One instance as the metrics show it.
pub(super) struct InstanceMetrics {
    pub(super) counts: InstanceCounts,
    /// Completed requests by status class, index 0 for those without an answer.
    pub(super) classes: [u64; 6],
    /// Sum of durations in seconds.
    pub(super) seconds: f64,
}

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Writes all services.
pub(super) fn render(services: &[ServiceMetrics]) -> String {
    let mut text = String::new();
    write(&mut text, services).expect("writing to a string does not fail");
    text
}

fn write(out: &mut String, services: &[ServiceMetrics]) -> fmt::Result {
    type Value = fn(&InstanceCounts) -> u64;
    head(
        out,
        "requests_total",
        "counter",
        "Requests completed, by status class; none is no answer.",
    )?;
    for (labels, instance) in all(services) {
        for (class, count) in CLASSES.iter().zip(instance.classes) {
            writeln!(out, "{PREFIX}requests_total{{{labels},code=\"{class}\"}} {count}")?;
        }
    }
    let counters: [(&str, &str, Value); 4] = [
        ("requests_failed_total", "Requests that failed.", |counts| counts.failed),
        ("requests_hung_total", "Requests without an answer within the timeout.", |counts| {
            counts.hung
        }),
        ("requests_aborted_total", "Requests that their client gave up.", |counts| counts.aborted),
        ("tester_requests_total", "Requests of testers, in no other counter.", |counts| {
            counts.testers
        }),
    ];
    for (name, help, value) in counters {
        head(out, name, "counter", help)?;
        for (labels, instance) in all(services) {
            writeln!(out, "{PREFIX}{name}{{{labels}}} {}", value(&instance.counts))?;
        }
    }
    head(out, "request_duration_seconds", "histogram", "Time to the last byte of the answer.")?;
    for (labels, instance) in all(services) {
        let mut below = 0;
        for (bound, count) in LE.iter().zip(instance.counts.counts) {
            below += count;
            writeln!(
                out,
                "{PREFIX}request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {below}"
            )?;
        }
        let all = instance.counts.completed;
        writeln!(out, "{PREFIX}request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {all}")?;
        writeln!(out, "{PREFIX}request_duration_seconds_sum{{{labels}}} {}", instance.seconds)?;
        writeln!(out, "{PREFIX}request_duration_seconds_count{{{labels}}} {all}")?;
    }
    head(out, "requests_in_flight", "gauge", "Requests being served now.")?;
    for (labels, instance) in all(services) {
        writeln!(out, "{PREFIX}requests_in_flight{{{labels}}} {}", instance.counts.in_flight)?;
    }
    head(out, "weight_ratio", "gauge", "Share of traffic that the canary serves.")?;
    for service in services {
        let name = Escaped(&service.service);
        writeln!(out, "{PREFIX}weight_ratio{{service=\"{name}\"}} {}", service.weight.share())?;
    }
    head(out, "requests_unrouted_total", "counter", "Requests that no instance was there for.")?;
    for service in services {
        let name = Escaped(&service.service);
        writeln!(
            out,
            "{PREFIX}requests_unrouted_total{{service=\"{name}\"}} {}",
            service.unrouted
        )?;
    }
    Ok(())
}

const PREFIX: &str = "serin_proxy_";

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {PREFIX}{name} {help}")?;
    writeln!(out, "# TYPE {PREFIX}{name} {kind}")
}

fn all(services: &[ServiceMetrics]) -> impl Iterator<Item = (String, &InstanceMetrics)> {
    services.iter().flat_map(|service| {
        service.instances.iter().map(|instance| {
            (labels(&service.service, instance.counts.arm, &instance.counts.instance), instance)
        })
    })
}

fn labels(service: &str, arm: Arm, instance: &str) -> String {
    let (service, instance) = (Escaped(service), Escaped(instance));
    format!("service=\"{service}\",arm=\"{}\",instance=\"{instance}\"", arm_name(arm))
}

/// A label value with its special characters escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
