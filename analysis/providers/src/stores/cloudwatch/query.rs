//! What a policy may ask of `CloudWatch`, and the request that it becomes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Placed;
use crate::stores::{USUAL_THRESHOLDS, Window};
use crate::subject::{BROWSERS_TELL, MeasureKind, SPANS_TELL, Source};

/// How a query of a policy may look, for messages.
const FORMS: &str = "write a metric as JSON, {\"Namespace\": \"Shop\", \"MetricName\": \"Requests\", \
    \"Dimensions\": {\"Version\": \"${version}\"}, \"Stat\": \"Sum\"}, or an expression like \
    SELECT SUM(Requests) FROM \"Shop\" WHERE Version = '${version}'";

/// One query.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Query {
    /// One metric with all its dimensions.
    Metric(Metric),
    /// An expression of `CloudWatch` that needs no other query.
    Expression(String),
}

/// One metric, in a form of our own that is near `MetricStat`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Metric {
    namespace: String,
    #[serde(rename = "MetricName")]
    name: String,
    #[serde(default)]
    dimensions: BTreeMap<String, String>,
    stat: String,
}

impl Query {
    /// Reads the text of a policy, whose labels may still be placeholders.
    ///
    /// # Errors
    /// What is wrong with it and what to write.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err(format!("the query is empty; {FORMS}"));
        }
        if !text.starts_with('{') {
            return Ok(Self::Expression(text.to_owned()));
        }
        let metric: Metric = serde_json::from_str(text)
            .map_err(|error| format!("the query is no metric of CloudWatch: {error}; {FORMS}"))?;
        if metric.dimensions.len() > 30 {
            return Err("a metric of CloudWatch has at most 30 dimensions".to_owned());
        }
        Ok(Self::Metric(metric))
    }

    /// Whether AWS takes no other query beside it: Metrics Insights.
    pub(super) fn is_alone(&self) -> bool {
        match self {
            Self::Metric(_) => false,
            Self::Expression(text) => {
                text.get(..6).is_some_and(|s| s.eq_ignore_ascii_case("select"))
            }
        }
    }

    /// Whether each series of the answer is an instance, named by its label.
    pub(super) fn is_grouped(&self) -> bool {
        match self {
            Self::Metric(_) => false,
            Self::Expression(text) => {
                self.is_alone() && text.to_ascii_lowercase().contains("group by")
            }
        }
    }

    fn json(&self, id: &str, seconds: u64) -> Value {
        match self {
            Self::Expression(text) => {
                json!({"Id": id, "Expression": text, "Period": seconds, "ReturnData": true})
            }
            Self::Metric(metric) => {
                let dimensions: Vec<Value> = metric
                    .dimensions
                    .iter()
                    .map(|(name, value)| json!({"Name": name, "Value": value}))
                    .collect();
                json!({
                    "Id": id,
                    "MetricStat": {
                        "Metric": {
                            "Namespace": metric.namespace,
                            "MetricName": metric.name,
                            "Dimensions": dimensions,
                        },
                        "Period": seconds,
                        "Stat": metric.stat,
                    },
                    "ReturnData": true,
                })
            }
        }
    }
}

/// The id under which a query is asked: its place in the request.
pub(super) fn id(place: usize) -> String {
    format!("q{place}")
}

/// The body of one request.
pub(super) fn request(batch: &[Placed], window: Window, token: Option<&str>) -> Vec<u8> {
    let seconds = window.step.as_secs();
    let queries: Vec<Value> = batch
        .iter()
        .enumerate()
        .map(|(place, (_, query))| query.json(&id(place), seconds))
        .collect();
    let mut body = json!({
        "StartTime": window.from.as_second(),
        "EndTime": window.to.as_second(),
        "ScanBy": "TimestampAscending",
        "MetricDataQueries": queries,
    });
    if let Some(token) = token {
        body["NextToken"] = json!(token);
    }
    body.to_string().into_bytes()
}

/// The requests of a target group behind an Application Load Balancer, which counts them without a change to
/// the service.
///
/// Metrics: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html>.
/// What the load balancer answers itself because no target
/// took the connection is counted for the whole load balancer alone and is not seen here.
pub(super) fn usual(kind: MeasureKind) -> Result<Source, String> {
    let metric = |name: &str, stat: &str| {
        format!(
            "{{\"Namespace\": \"AWS/ApplicationELB\", \"MetricName\": \"{name}\", \"Dimensions\": \
             {{\"LoadBalancer\": \"${{loadBalancer}}\", \"TargetGroup\": \"${{targetGroup}}\"}}, \
             \"Stat\": \"{stat}\"}}"
        )
    };
    match kind {
        MeasureKind::Errors => Ok(Source::Query {
            bad: metric("HTTPCode_Target_5XX_Count", "Sum"),
            total: metric("RequestCount", "Sum"),
        }),
        MeasureKind::Latency => Ok(Source::Slower {
            total: metric("TargetResponseTime", "SampleCount"),
            slower: USUAL_THRESHOLDS
                .iter()
                .map(|bound| {
                    // Trimmed count: how many were above the bound.
                    let stat = format!("TC({}:)", bound.as_secs_f64());
                    (*bound, metric("TargetResponseTime", &stat))
                })
                .collect(),
        }),
        MeasureKind::Restarts => Err(format!(
            "CloudWatch has no usual place for restarts; write the queries `bad` and `total` into the policy: \
             {FORMS}"
        )),
        MeasureKind::NewErrors => Err(SPANS_TELL.to_owned()),
        MeasureKind::Vital(_) | MeasureKind::ScriptErrors => Err(BROWSERS_TELL.to_owned()),
        MeasureKind::Gauge => Err(format!(
            "CloudWatch has no usual gauge; write the query `value` into the policy: {FORMS}"
        )),
    }
}
