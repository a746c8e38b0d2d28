//! Requests of a small shop in two versions, as its processes would send their spans: OTLP and Zipkin JSON.
//!
//! The generator of `tests/` makes finished spans; here they must go out over a wire, so that a store can change them.

use std::collections::BTreeMap;

use analysis::Arm;
use analysis_traces::TraceId;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// What serves now.
pub(crate) const OLD: &str = "1.0";

/// What is on trial.
pub(crate) const NEW: &str = "1.1";

/// Requests of each version in each population, and of a third that must not be mixed in.
const REQUESTS: [(&str, usize); 3] = [(OLD, 240), (NEW, 80), ("0.9", 20)];

/// Traces in which both versions answered, the first without success.
const RETRIED: usize = 10;

/// One request in so many fails.
const FAILS: usize = 19;

/// A kind of span: OTLP's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// Who sends spans.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    service: String,
    version: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Span {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    process: Process,
    kind: Kind,
    name: &'static str,
    start: i64,
    end: i64,
    failed: bool,
    attributes: Vec<(&'static str, Value)>,
}

/// All that is pushed to one store.
pub(crate) struct Planted {
    begun: i64,
    lasted: i64,
    chance: u64,
    spans: Vec<Vec<Span>>,
}

/// What a reader must find of one service: spans of each request and whether it failed, by trace.
#[derive(Debug, Default)]
pub(crate) struct Population {
    baseline: BTreeMap<TraceId, (usize, bool)>,
    canary: BTreeMap<TraceId, (usize, bool)>,
}

impl Population {
    pub(crate) fn shapes(&self, arm: Arm) -> BTreeMap<TraceId, (usize, bool)> {
        match arm {
            Arm::Baseline => self.baseline.clone(),
            Arm::Canary => self.canary.clone(),
        }
    }

    fn add(&mut self, trace: u128, version: &str, shape: (usize, bool)) {
        let arm = match version {
            OLD => &mut self.baseline,
            NEW => &mut self.canary,
            _ => return,
        };
        arm.insert(TraceId(trace), shape);
    }
}

impl Planted {
    /// Nothing yet; requests will lie in this time.
    pub(crate) fn new(begun: Timestamp, lasted: SignedDuration) -> Self {
        Self {
            begun: i64::try_from(begun.as_nanosecond()).unwrap(),
            lasted: i64::try_from(lasted.as_nanos()).unwrap(),
            chance: 7,
            spans: Vec::new(),
        }
    }

    /// Requests of all versions; with `n_plus_one` the new one asks for each price by itself.
    pub(crate) fn population(&mut self, service: &str, n_plus_one: bool) -> Population {
        let mut population = Population::default();
        for (version, count) in REQUESTS {
            for number in 0..count {
                let (trace, gateway) = self.begin(number, count);
                let failed = number % FAILS == 7;
                let many = n_plus_one && version == NEW;
                let size = self.request(service, Some(version), gateway, many, failed);
                population.add(trace, version, (size, failed));
            }
        }
        for number in 0..RETRIED {
            let (trace, gateway) = self.begin(number, RETRIED);
            for (version, failed) in [(OLD, true), (NEW, false)] {
                let many = n_plus_one && version == NEW;
                let size = self.request(service, Some(version), gateway, many, failed);
                population.add(trace, version, (size, failed));
            }
        }
        population
    }

    /// Requests that do not say which version answered.
    pub(crate) fn unlabelled(&mut self, service: &str) {
        for number in 0..30 {
            let (_, gateway) = self.begin(number, 30);
            self.request(service, None, gateway, false, false);
        }
    }

    /// Bodies of OTLP, some requests each.
    pub(crate) fn otlp(&self) -> impl Iterator<Item = Value> {
        self.spans.chunks(50).map(|traces| {
            let mut by_process: BTreeMap<&Process, Vec<Value>> = BTreeMap::new();
            for span in traces.iter().flatten() {
                by_process.entry(&span.process).or_default().push(span.otlp());
            }
            let resources = by_process.into_iter().map(|(process, spans)| {
                let Process { service, version } = process;
                let version = version.map(|version| ("service.version", json!(version)));
                let labels = [("service.name", json!(service))].into_iter().chain(version);
                json!({
                    "resource": { "attributes": attributes(labels) },
                    "scopeSpans": [{ "scope": { "name": "planted" }, "spans": spans }],
                })
            });
            json!({ "resourceSpans": resources.collect::<Vec<_>>() })
        })
    }

    /// Bodies of Zipkin v2; there a call is one span that both sides report.
    pub(crate) fn zipkin(&self) -> impl Iterator<Item = Value> {
        self.spans.chunks(50).map(|traces| {
            traces.iter().flat_map(|trace| trace.iter().map(|span| span.zipkin(trace))).collect()
        })
    }

    /// How many spans were made.
    pub(crate) fn count(&self) -> usize {
        self.spans.iter().map(Vec::len).sum()
    }

    /// Splitmix64: the same requests in each run.
    fn next(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About so many microseconds, as nanoseconds.
    fn about(&mut self, microseconds: i64) -> i64 {
        let share = i64::try_from(self.next() % 500).unwrap();
        microseconds * (750 + share)
    }

    /// A new trace with the gateway's span.
    fn begin(&mut self, number: usize, count: usize) -> (u128, usize) {
        let trace = u128::from(self.next()) << 64 | u128::from(self.next());
        let (number, count) = (i64::try_from(number).unwrap(), i64::try_from(count).unwrap());
        // The last second is free, so that every request has ended.
        let start = self.begun + (self.lasted - 1_000_000_000) * number / count;
        self.spans.push(Vec::new());
        let gateway = Process { service: "gateway".into(), version: None };
        (trace, self.open(trace, None, &gateway, Kind::Server, "GET /", start))
    }

    /// One answer of the service; returns how many spans lie below its entry, with it.
    fn request(
        &mut self,
        service: &str,
        version: Option<&'static str>,
        gateway: usize,
        n_plus_one: bool,
        failed: bool,
    ) -> usize {
        let trace = self.now()[gateway].trace;
        let shop = Process { service: service.into(), version };
        let (front, payments) = (
            self.now()[gateway].process.clone(),
            Process { service: "payments".into(), version: Some("7") },
        );
        let start = self.now()[gateway].end + self.about(300);
        let call = self.open(trace, Some(gateway), &front, Kind::Client, "GET", start);
        let begun = start + self.about(400);
        let entry = self.open(trace, Some(call), &shop, Kind::Server, "GET /cart", begun);
        self.tell(entry, &[("http.route", "/cart".into()), ("http.request.method", "GET".into())]);
        let mut now = begun + self.about(1_000);
        let load = self.open(trace, Some(entry), &shop, Kind::Internal, "CartRepo.load", now);
        self.tell(
            load,
            &[
                ("code.function.name", "checkout::cart::load".into()),
                ("code.file.path", "src/cart/repo.rs".into()),
                ("code.line.number", 88.into()),
            ],
        );
        let items = 4 + self.next() % 12;
        let (selects, each) = if n_plus_one { (items, 3_000) } else { (1, 10_000) };
        for _ in 0..selects {
            now += self.about(200);
            let select = self.open(trace, Some(load), &shop, Kind::Client, "SELECT", now);
            self.tell(
                select,
                &[
                    ("db.system.name", "postgresql".into()),
                    ("db.operation.name", "SELECT".into()),
                    ("db.collection.name", "prices".into()),
                ],
            );
            now += self.about(each);
            self.now()[select].end = now;
        }
        now += self.about(200);
        self.now()[load].end = now;
        let charge = self.open(trace, Some(entry), &shop, Kind::Client, "POST", now);
        now += self.about(400);
        let pay = self.open(trace, Some(charge), &payments, Kind::Server, "POST /charge", now);
        for span in [charge, pay] {
            self.tell(
                span,
                &[("http.route", "/charge".into()), ("http.request.method", "POST".into())],
            );
        }
        now += self.about(8_000);
        self.now()[pay].end = now;
        now += self.about(400);
        self.now()[charge].end = now;
        now += self.about(500);
        self.now()[entry].end = now;
        self.now()[entry].failed = failed;
        now += self.about(400);
        self.now()[call].end = now;
        self.now()[gateway].end = now + 100_000;
        let size = 5 + usize::try_from(selects).unwrap() - 1;
        assert_eq!(size + 1, self.now().len() - call, "all but the gateway's call");
        size
    }

    fn now(&mut self) -> &mut Vec<Span> {
        self.spans.last_mut().unwrap()
    }

    fn open(
        &mut self,
        trace: u128,
        parent: Option<usize>,
        process: &Process,
        kind: Kind,
        name: &'static str,
        start: i64,
    ) -> usize {
        let id = self.next().max(1);
        let parent = parent.map(|at| self.now()[at].id);
        self.now().push(Span {
            trace,
            id,
            parent,
            process: process.clone(),
            kind,
            name,
            start,
            end: start,
            failed: false,
            attributes: Vec::new(),
        });
        self.now().len() - 1
    }

    fn tell(&mut self, span: usize, attributes: &[(&'static str, Value)]) {
        self.now()[span].attributes.extend_from_slice(attributes);
    }
}

/// Why failed requests failed.
const EXCEPTION: (&str, &str) = ("checkout::NoPrice", "no price for item 4711");

fn attributes<'a>(all: impl Iterator<Item = (&'a str, Value)>) -> Vec<Value> {
    let one = |(key, value): (&str, Value)| {
        let value = match value.as_i64() {
            Some(number) => json!({ "intValue": number.to_string() }),
            None => json!({ "stringValue": value }),
        };
        json!({ "key": key, "value": value })
    };
    all.map(one).collect()
}

impl Span {
    fn otlp(&self) -> Value {
        let mut span = json!({
            "traceId": format!("{:032x}", self.trace),
            "spanId": format!("{:016x}", self.id),
            "kind": self.kind as u8,
            "name": self.name,
            "startTimeUnixNano": self.start.to_string(),
            "endTimeUnixNano": self.end.to_string(),
            "attributes": attributes(self.attributes.iter().cloned()),
        });
        if let Some(parent) = self.parent {
            span["parentSpanId"] = format!("{parent:016x}").into();
        }
        if self.failed {
            let told =
                [("exception.type", EXCEPTION.0.into()), ("exception.message", EXCEPTION.1.into())];
            span["status"] = json!({ "code": 2, "message": EXCEPTION.1 });
            span["events"] = json!([{
                "name": "exception",
                "timeUnixNano": self.end.to_string(),
                "attributes": attributes(told.into_iter()),
            }]);
        }
        span
    }

    fn zipkin(&self, trace: &[Self]) -> Value {
        let of = |id: Option<u64>| trace.iter().find(|span| Some(span.id) == id);
        let called = |span: &Self| {
            of(span.parent).filter(|by| span.kind == Kind::Server && by.kind == Kind::Client)
        };
        // Whatever lies below the callee names the id that both sides share.
        let own = |span: &Self| called(span).map_or(span.id, |by| by.id);
        let shared = called(self);
        let parent = shared.unwrap_or(self).parent;
        let parent = parent.map(|id| of(Some(id)).map_or(id, own));
        let mut tags: BTreeMap<String, Value> = BTreeMap::new();
        for (name, value) in &self.attributes {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            tags.insert((*name).to_owned(), text.into());
        }
        // As collectors write attributes of a resource.
        if let Some(version) = self.process.version {
            tags.insert("service.version".into(), version.into());
        }
        if self.failed {
            tags.insert("error".into(), EXCEPTION.1.into());
        }
        let mut span = json!({
            "traceId": format!("{:032x}", self.trace),
            "id": format!("{:016x}", own(self)),
            "name": self.name,
            "timestamp": self.start / 1_000,
            "duration": ((self.end - self.start) / 1_000).max(1),
            "localEndpoint": { "serviceName": self.process.service },
            "tags": tags,
        });
        if let Some(parent) = parent {
            span["parentId"] = format!("{parent:016x}").into();
        }
        match self.kind {
            Kind::Internal => {}
            Kind::Server => span["kind"] = "SERVER".into(),
            Kind::Client => span["kind"] = "CLIENT".into(),
        }
        if shared.is_some() {
            span["shared"] = true.into();
        }
        span
    }
}
