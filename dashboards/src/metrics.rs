//! The table of every metric that Serin exports itself.
//!
//! One table serves the exporter, and later boards and alert rules, so that no board can ask for a
//! metric that is not exported. Only this file can make a [`Metric`], and the exporter takes nothing
//! else, with as many label values as the table names labels. Names are
//! `serin_<noun>_<unit>[_total]` in base units; the figures of the process itself keep the names
//! that every Prometheus client gives them.

/// One row of the table.
#[derive(Debug, PartialEq)]
pub struct Metric {
    name: &'static str,
    kind: Type,
    unit: Unit,
    help: &'static str,
    labels: &'static [&'static str],
    bounds: &'static [f64],
}

impl Metric {
    /// The full name, with `_total` where it is a counter.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name of the family as `OpenMetrics` has it: without `_total`.
    pub fn family(&self) -> &'static str {
        self.name.strip_suffix("_total").unwrap_or(self.name)
    }

    /// Counter, gauge or histogram.
    pub fn kind(&self) -> Type {
        self.kind
    }

    /// What is counted or measured.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// One sentence for whoever reads it the first time.
    pub fn help(&self) -> &'static str {
        self.help
    }

    /// The names of its labels, in the order in which values are given.
    pub fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// A histogram's upper bounds in its unit, rising, without the infinite one; empty otherwise.
    pub fn bounds(&self) -> &'static [f64] {
        self.bounds
    }
}

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

impl Type {
    /// The word of the exposition formats.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The unit of a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things, counted.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share or a quotient; 1 is the whole.
    Ratio,
}

impl Unit {
    /// The word that a name ends in, empty for a count.
    pub fn word(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
        }
    }
}

/// A counter with `N` labels.
#[derive(Debug)]
pub struct Counter<const N: usize>(Metric);
/// A gauge with `N` labels.
#[derive(Debug)]
pub struct Gauge<const N: usize>(Metric);
/// A histogram with `N` labels.
#[derive(Debug)]
pub struct Histogram<const N: usize>(Metric);

impl<const N: usize> Counter<N> {
    /// Its row of the table.
    pub fn metric(&self) -> &Metric {
        &self.0
    }
}

impl<const N: usize> Gauge<N> {
    /// Its row of the table.
    pub fn metric(&self) -> &Metric {
        &self.0
    }
}

impl<const N: usize> Histogram<N> {
    /// Its row of the table.
    pub fn metric(&self) -> &Metric {
        &self.0
    }
}

macro_rules! table {
    ($($kind:ident $id:ident $name:literal $unit:ident [$($label:literal)*] $bounds:expr, $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub static $id: $kind<{ <[&str]>::len(&[$($label),*]) }> = $kind(Metric {
                name: $name,
                kind: Type::$kind,
                unit: Unit::$unit,
                help: $help,
                labels: &[$($label),*],
                bounds: $bounds,
            });
        )*

        /// Every metric, in the order of this file.
        pub static TABLE: &[&Metric] = &[$(&$id.0),*];
    };
}

/// Around 50 ms, the promise for the time from a verdict to weight 0.
const TRAFFIC: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From a push over a local path to a forge that queues.
const REVERT: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// From a write to memory to a disk that stalls.
const JOURNAL: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

table! {
    Counter DEPLOYMENTS "serin_deployments_total" Count ["service" "outcome"] &[],
        "Deployments that ended, by outcome.";
    Gauge LIVE_DEPLOYMENTS "serin_live_deployments" Count ["phase"] &[],
        "Deployments under way, by phase.";
    Gauge WEIGHT "serin_weight_ratio" Ratio ["service"] &[],
        "Share of the service's traffic that goes to the canary.";
    Gauge EVIDENCE "serin_evidence_ratio" Ratio ["service" "check" "toward"] &[],
        "Logarithm of the evidence toward pass or fail over what decides; 1 decides.";
    Histogram VERDICT_TO_TRAFFIC "serin_verdict_to_traffic_seconds" Seconds ["router"] TRAFFIC,
        "Time from a failing verdict to weight 0 in what the router serves.";
    Histogram REVERT_TIME "serin_revert_seconds" Seconds ["result"] REVERT,
        "Time from a failing verdict to the end of the revert, by result.";
    Counter EVENTS "serin_journal_events_total" Count ["kind"] &[],
        "Events appended to the journal.";
    Histogram JOURNAL_APPEND "serin_journal_append_seconds" Seconds [] JOURNAL,
        "Time until an event was durable in the journal.";
    Counter SCRAPES "serin_provider_scrapes_total" Count ["provider" "completeness"] &[],
        "Answers of metric providers: complete, partial, missing or failed.";
    Counter NOTIFICATIONS "serin_notifications_total" Count ["notifier" "result"] &[],
        "Attempts to deliver an alert: delivered, transient, permanent or hushed.";
    Counter ACTION_RETRIES "serin_action_retries_total" Count ["action"] &[],
        "Actions that were tried again after they failed.";
    Gauge BUILD "serin_build_info" Count ["version" "revision"] &[],
        "What is running; always 1.";
    Counter DROPPED "serin_metrics_dropped_total" Count [] &[],
        "Values that were not exported: not finite, falling counters, or one series too many.";
    Counter PROCESS_CPU "process_cpu_seconds_total" Seconds [] &[],
        "Processor time of this process.";
    Gauge PROCESS_MEMORY "process_resident_memory_bytes" Bytes [] &[],
        "Resident memory of this process.";
    Gauge PROCESS_START "process_start_time_seconds" Seconds [] &[],
        "When this process started, in seconds since 1970.";
    Gauge PROCESS_OPEN_FILES "process_open_fds" Count [] &[],
        "File descriptors that this process has open.";
    Gauge PROCESS_MOST_FILES "process_max_fds" Count [] &[],
        "File descriptors that this process may have open.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_follows_the_rule() {
        for metric in TABLE {
            let name = metric.name();
            assert!(name.starts_with("serin_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
            assert_eq!(metric.kind() == Type::Counter, name.ends_with("_total"), "{name}");
            assert!(metric.family().ends_with(metric.unit().word()), "{name}");
            assert!(metric.help().ends_with('.') && !metric.help().contains('\n'), "{name}");
            assert_eq!(metric.kind() == Type::Histogram, !metric.bounds().is_empty(), "{name}");
            assert!(metric.bounds().is_sorted_by(|a, b| a < b), "{name}");
        }
    }

    #[test]
    fn no_name_or_label_is_there_twice() {
        let families: BTreeSet<_> = TABLE.iter().map(|metric| metric.family()).collect();
        assert_eq!(families.len(), TABLE.len());
        for metric in TABLE {
            let labels: BTreeSet<_> = metric.labels().iter().collect();
            assert_eq!(labels.len(), metric.labels().len(), "{}", metric.name());
            for label in labels {
                assert!(label.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{label}");
                assert!(!label.starts_with("__") && *label != "le", "{label}");
            }
        }
    }
}
