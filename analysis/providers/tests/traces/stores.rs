//! The stores as the tests set them up, and what their servers answer when all is well.

use std::sync::Arc;
use std::time::Duration;

use analysis_providers::traces::{
    DatadogTracesSettings, JaegerSettings, TempoSettings, TraceQuery, TraceStore, ZipkinSettings,
    datadog, jaeger, tempo, zipkin,
};
use analysis_providers::{Access, Credentials, FetchError, Secret};
use analysis_traces::{ArmLabel, Arms};
use jiff::Timestamp;

use crate::server::{Answer, Server};

/// Longest time for one request.
pub(crate) const BOUND: Duration = Duration::from_millis(1_000);
/// Longest time for one reading.
pub(crate) const BUDGET: Duration = Duration::from_millis(3_000);
/// Longest answer.
pub(crate) const SIZE: usize = 300_000;

/// Which store, and in which of its ways to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Jaeger,
    Legacy,
    Tempo,
    Zipkin,
    Datadog,
}

pub(crate) const ALL: [Kind; 5] =
    [Kind::Jaeger, Kind::Legacy, Kind::Tempo, Kind::Zipkin, Kind::Datadog];

/// Some time after what is asked for is over.
pub(crate) fn clock() -> Timestamp {
    "2026-11-24T10:30:00Z".parse().unwrap()
}

/// The time and the versions of the recorded replies.
pub(crate) fn ask() -> TraceQuery {
    let label = |version: &str, digit: &str| ArmLabel {
        version: Some(version.into()),
        revision: Some(digit.repeat(40)),
        ..ArmLabel::default()
    };
    TraceQuery {
        service: "checkout".into(),
        arms: Arms { baseline: label("1.0", "a"), canary: label("1.1", "c") },
        from: "2026-11-24T10:00:00Z".parse().unwrap(),
        to: "2026-11-24T10:10:00Z".parse().unwrap(),
        most: [48, 48],
    }
}

impl Kind {
    fn folder(self) -> &'static str {
        match self {
            Self::Jaeger | Self::Legacy => "jaeger",
            Self::Tempo => "tempo",
            Self::Zipkin => "zipkin",
            Self::Datadog => "datadog",
        }
    }

    /// The store at an address.
    pub(crate) fn store(self, url: &str) -> Result<Arc<dyn TraceStore>, FetchError> {
        self.within(url, BUDGET)
    }

    /// The same with another time for one reading.
    pub(crate) fn within(
        self,
        url: &str,
        budget: Duration,
    ) -> Result<Arc<dyn TraceStore>, FetchError> {
        let access = Access {
            credentials: Credentials::Bearer(Secret::new("hunter2")),
            headers: Vec::new(),
        };
        match self {
            Self::Jaeger | Self::Legacy => jaeger(JaegerSettings {
                access,
                page: Some("https://jaeger.example.com/ui/".into()),
                timeout: BOUND,
                max_bytes: SIZE,
                budget,
                ..JaegerSettings::new(url, clock)
            }),
            Self::Tempo => tempo(TempoSettings {
                access,
                tenant: Some("tenant-7".into()),
                grafana: Some(analysis_providers::traces::GrafanaPage {
                    url: "https://grafana.example.com/".into(),
                    datasource: "tempo-uid".into(),
                }),
                timeout: BOUND,
                max_bytes: SIZE,
                budget,
                ..TempoSettings::new(url, clock)
            }),
            Self::Zipkin => zipkin(ZipkinSettings {
                access,
                timeout: BOUND,
                max_bytes: SIZE,
                budget,
                ..ZipkinSettings::new(url, clock)
            }),
            Self::Datadog => datadog(DatadogTracesSettings {
                timeout: BOUND,
                max_bytes: SIZE,
                budget,
                ..DatadogTracesSettings::new(
                    url,
                    Secret::new("hunter2"),
                    Secret::new("hunter3"),
                    clock,
                )
            }),
        }
    }

    /// What a search for an arm has in its request.
    pub(crate) fn search(self, arm: &str) -> [&'static str; 2] {
        let is_canary = arm == "canary";
        let pick = |baseline, canary| if is_canary { canary } else { baseline };
        match self {
            Self::Jaeger => {
                ["GET /api/v3/traces?", pick("version%22%3A%221.0", "version%22%3A%221.1")]
            }
            Self::Legacy => {
                ["GET /api/traces?", pick("version%22%3A%221.0", "version%22%3A%221.1")]
            }
            Self::Tempo => ["GET /api/search?", pick("version+%3D+%221.0", "version+%3D+%221.1")],
            Self::Zipkin => ["GET /api/v2/traces?", pick("version%3D1.0", "version%3D1.1")],
            Self::Datadog => ["POST /api/v2/spans", pick("version:\\\"1.0", "version:\\\"1.1")],
        }
    }

    /// What any search has in its request.
    pub(crate) fn any_search(self) -> &'static str {
        self.search("baseline")[0]
    }

    /// What the server answers to a search that finds something of an arm.
    pub(crate) fn found(self, arm: &str) -> Answer {
        let name = match self {
            Self::Jaeger => format!("v3-{arm}.json"),
            Self::Legacy => format!("legacy-{arm}.json"),
            Self::Tempo | Self::Datadog => format!("search-{arm}.json"),
            Self::Zipkin => format!("{arm}.json"),
        };
        Answer::json(200, self.reply(&name))
    }

    /// What the server answers to a search that finds nothing.
    pub(crate) fn nothing(self) -> Answer {
        match self {
            Self::Jaeger => Answer::json(404, self.reply("v3-404.json")),
            Self::Legacy => Answer::json(200, self.reply("legacy-empty.json")),
            Self::Tempo | Self::Datadog => Answer::json(200, self.reply("search-empty.json")),
            Self::Zipkin => Answer::json(200, self.reply("empty.json")),
        }
    }

    /// A recorded reply.
    pub(crate) fn reply(self, name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/replies/traces");
        let path = format!("{folder}/{}/{name}", self.folder());
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// All answers but those to searches.
    pub(crate) fn set_base(self, server: &Server) {
        match self {
            Self::Jaeger => {
                server.set(&["/api/v3/services"], Answer::json(200, self.reply("services.json")));
            }
            Self::Legacy | Self::Zipkin => {}
            Self::Tempo => {
                for (arm, query) in [("baseline", "1.0"), ("canary", "1.1")] {
                    let query = format!("version+%3D+%22{query}");
                    let count = Answer::json(200, self.reply(&format!("count-{arm}.json")));
                    server.set(&["/api/metrics/query?", &query], count);
                }
            }
            Self::Datadog => {
                server.set(&["/api/v2/query/scalar"], Answer::json(200, self.reply("hits.json")));
            }
        }
        if matches!(self, Self::Tempo | Self::Datadog) {
            for arm in ["baseline", "canary", "unlabelled"] {
                for n in 1..=3 {
                    let trace = Answer::json(200, self.reply(&format!("trace-{arm}-{n}.json")));
                    server.set(&[&self.trace_path(arm, n)], trace);
                }
            }
        }
    }

    /// Where a trace is asked for by its id.
    pub(crate) fn trace_path(self, arm: &str, n: u64) -> String {
        let (high, low) = match arm {
            "baseline" => ("4bf92f3577b34da6", 0xa3ce_929d_0e0e_4b00_u64),
            "canary" => ("7c0a1d9e55b84f0f", 0x9d1b_3b2a_6f5e_0c00),
            _ => ("0af7651916cd43dd", 0x8448_eb21_1c80_3100),
        };
        match self {
            Self::Datadog => format!("/api/v2/trace/{}", low + n),
            Self::Jaeger | Self::Legacy | Self::Tempo | Self::Zipkin => {
                format!("/api/v2/traces/{high}{:016x}?", low + n)
            }
        }
    }

    /// Everything well.
    pub(crate) fn set_good(self, server: &Server) {
        self.set_base(server);
        for arm in ["baseline", "canary"] {
            server.set(&self.search(arm), self.found(arm));
        }
    }

    /// The canary's traces are there, without a label.
    pub(crate) fn set_unlabelled(self, server: &Server) {
        self.set_base(server);
        let name = match self {
            Self::Jaeger | Self::Legacy => "v3-unlabelled.json",
            Self::Tempo | Self::Datadog => "search-unlabelled.json",
            Self::Zipkin => "unlabelled.json",
        };
        server.set(&[self.any_search()], Answer::json(200, self.reply(name)));
        let labelled: &[&str] = match self {
            Self::Jaeger => &["query.attributes="],
            Self::Legacy => &["tags="],
            Self::Tempo => &["version+%3D"],
            Self::Zipkin => &["annotationQuery="],
            Self::Datadog => &["version:"],
        };
        for part in labelled {
            server.set(&[self.any_search(), part], self.nothing());
        }
        server.set(&self.search("baseline"), self.found("baseline"));
        if self == Self::Tempo || self == Self::Datadog {
            let [path, version] = self.search("baseline");
            server.set(&[path, version, version], self.found("baseline"));
        }
    }
}
