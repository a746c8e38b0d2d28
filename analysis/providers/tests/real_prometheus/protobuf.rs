//! The protobuf exposition format, the only one that carries native histograms (`io.prometheus.client`).
//!
//! <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>; only the fields
//! that a counter, a gauge and a native histogram need.

use std::collections::BTreeMap;

use prost::Message;

pub(crate) const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

const GAUGE: i32 = 1;
const HISTOGRAM: i32 = 4;

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<NativeHistogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct NativeHistogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// A native histogram as client libraries keep it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durations {
    pub(crate) schema: i32,
    pub(crate) zero: u64,
    pub(crate) buckets: BTreeMap<i32, u64>,
}

impl Durations {
    pub(crate) fn count(&self) -> u64 {
        self.zero + self.buckets.values().sum::<u64>()
    }

    /// Halves the resolution, as client libraries do when there are too many buckets.
    pub(crate) fn coarsen(&mut self) {
        self.schema -= 1;
        for (index, count) in std::mem::take(&mut self.buckets) {
            *self.buckets.entry(((index - 1) >> 1) + 1).or_default() += count;
        }
    }

    fn written(&self) -> NativeHistogram {
        let (mut spans, mut deltas): (Vec<BucketSpan>, Vec<i64>) = (Vec::new(), Vec::new());
        let (mut next, mut before) = (0, 0);
        for (index, count) in &self.buckets {
            match spans.last_mut() {
                Some(span) if *index == next => span.length += 1,
                _ => spans.push(BucketSpan { offset: index - next, length: 1 }),
            }
            let count = i64::try_from(*count).unwrap();
            deltas.push(count - before);
            (next, before) = (index + 1, count);
        }
        NativeHistogram {
            sample_count: self.count(),
            sample_sum: 1.0,
            schema: self.schema,
            zero_threshold: 1e-9,
            zero_count: self.zero,
            positive_span: spans,
            positive_delta: deltas,
        }
    }
}

/// A page with the start of the process and durations by status.
pub(crate) fn page(started: u64, durations: &BTreeMap<String, Durations>) -> Vec<u8> {
    #[expect(clippy::cast_precision_loss, reason = "seconds of our era")]
    let gauge = Metric {
        label: Vec::new(),
        gauge: Some(Number { value: started as f64 }),
        histogram: None,
    };
    let histogram = durations.iter().map(|(code, durations)| Metric {
        label: vec![LabelPair { name: "code".into(), value: code.clone() }],
        gauge: None,
        histogram: Some(durations.written()),
    });
    let families = [
        MetricFamily {
            name: "process_start_time_seconds".into(),
            kind: GAUGE,
            metric: vec![gauge],
        },
        MetricFamily {
            name: "http_request_duration_seconds".into(),
            kind: HISTOGRAM,
            metric: histogram.collect(),
        },
    ];
    families.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}
