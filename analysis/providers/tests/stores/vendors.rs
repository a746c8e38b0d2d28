//! Every store alike: how it is made for a test, and where its recorded replies are.

use std::collections::BTreeMap;
use std::time::Duration;

use analysis::Arm;
use analysis_providers::{
    DatadogSettings, DynatraceSettings, DynatraceStore, ElasticAccess, ElasticSettings, FetchError,
    Instance, Measure, MeasureKind, NewRelicRegion, NewRelicSettings, Secret, Source, Subject,
    Windows,
};

use crate::server::{Answer, Server};
use crate::told::reply;

/// How long a store may take in these tests.
pub(crate) const BOUND: Duration = Duration::from_millis(500);
/// The longest answer.
pub(crate) const SIZE: usize = 100_000;
/// In every credential.
pub(crate) const SECRET: &str = "hunter2";

const STEP: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vendor {
    Datadog,
    NewRelic,
    Grail,
    Classic,
    Elastic,
}

pub(crate) const ALL: [Vendor; 5] =
    [Vendor::Datadog, Vendor::NewRelic, Vendor::Grail, Vendor::Classic, Vendor::Elastic];

impl Vendor {
    /// The folder of its replies.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Datadog => "datadog",
            Self::NewRelic => "new_relic",
            Self::Grail => "dynatrace",
            Self::Classic => "dynatrace_classic",
            Self::Elastic => "elastic",
        }
    }

    /// Its key.
    pub(crate) fn key(self) -> String {
        match self {
            Self::NewRelic => format!("NRAK-{SECRET}"),
            Self::Datadog | Self::Grail | Self::Classic | Self::Elastic => SECRET.to_owned(),
        }
    }

    /// A provider with steps of a minute that settle at once.
    pub(crate) fn provider(self, url: &str) -> Result<Windows, FetchError> {
        let (settle, timeout, max_bytes) = (Duration::ZERO, BOUND, SIZE);
        match self {
            Self::Datadog => DatadogSettings {
                step: STEP,
                settle,
                timeout,
                max_bytes,
                ..DatadogSettings::new(url, Secret::new(SECRET), Secret::new(SECRET))
            }
            .provider(),
            Self::NewRelic => NewRelicSettings {
                region: NewRelicRegion::At(url.to_owned()),
                settle,
                timeout,
                max_bytes,
                ..NewRelicSettings::new(1_234_567, Secret::new(self.key()))
            }
            .provider(),
            Self::Grail => DynatraceSettings {
                settle,
                timeout,
                max_bytes,
                ..DynatraceSettings::new(url, DynatraceStore::Grail { token: Secret::new(SECRET) })
            }
            .provider(),
            Self::Classic => DynatraceSettings {
                settle,
                timeout,
                max_bytes,
                ..DynatraceSettings::new(
                    url,
                    DynatraceStore::Classic { token: Secret::new(SECRET) },
                )
            }
            .provider(),
            Self::Elastic => ElasticSettings {
                step: STEP,
                settle,
                timeout,
                max_bytes,
                ..ElasticSettings::new(url, ElasticAccess::ApiKey(Secret::new(SECRET)))
            }
            .provider(),
        }
    }

    /// Errors of a service with two versions.
    pub(crate) fn subject(self, id: &str) -> Subject {
        let instance = |name: &str, arm, version: &str| Instance {
            name: name.into(),
            arm,
            url: None,
            labels: BTreeMap::from([("version".into(), version.into())]),
        };
        let source = match self {
            Self::Classic => Source::Query {
                bad: r#"app.failed:filter(eq("version","${version}")):splitBy():sum"#.into(),
                total: r#"app.orders:filter(eq("version","${version}")):splitBy():sum"#.into(),
            },
            Self::Datadog | Self::NewRelic | Self::Grail | Self::Elastic => Source::Auto,
        };
        Subject {
            id: id.into(),
            service: "shop".into(),
            instances: vec![
                instance("stable", Arm::Baseline, "1.0.0"),
                instance("canary", Arm::Canary, "2.0.0"),
            ],
            measures: vec![Measure {
                check: "errors".into(),
                kind: MeasureKind::Errors,
                source,
                strata: Vec::new(),
            }],
        }
    }

    /// What tells its request of failures from that of all.
    fn failed(self) -> Option<&'static str> {
        match self {
            Self::Datadog | Self::NewRelic => None,
            Self::Grail => Some("is_failed"),
            Self::Classic => Some("app.failed"),
            Self::Elastic => Some("failure"),
        }
    }

    /// Sets all requests to the good replies.
    pub(crate) fn set_good(self, server: &Server) {
        let file = |name: &str| Answer::json(200, reply(&format!("{}/{name}.json", self.folder())));
        match self.failed() {
            None => server.set(&["POST"], file("good")),
            Some(failed) => {
                server.set(&["1.0.0"], file("baseline-total"));
                server.set(&["1.0.0", failed], file("baseline-bad"));
                server.set(&["2.0.0"], file("canary-total"));
                server.set(&["2.0.0", failed], file("canary-bad"));
            }
        }
    }

    /// Sets the request of the canary's total, or the only request.
    pub(crate) fn set(self, server: &Server, answer: Answer) {
        let parts: &[&str] = if self.failed().is_some() { &["2.0.0"] } else { &["POST"] };
        server.set(parts, answer);
    }

    /// The good reply to the canary's total, or the only one.
    pub(crate) fn good(self) -> String {
        let name = if self.failed().is_some() { "canary-total" } else { "good" };
        let body = reply(&format!("{}/{name}.json", self.folder()));
        String::from_utf8(body).unwrap()
    }
}
