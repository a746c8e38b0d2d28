//! What a sender is told: the bodies of answers, in the format of the request.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp-response> (1.9): a success may say how many points were not
//! taken, and the sender must not send those again; a failure is a `google.rpc.Status`.

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use prost::Message;

/// The format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Content {
    /// The format that a content type names; `None` for any other.
    pub fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/x-protobuf") {
            Some(Self::Protobuf)
        } else if kind.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }

    /// Its content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    pub(crate) const fn named(self) -> &'static str {
        match self {
            Self::Protobuf => "OTLP in Protobuf",
            Self::Json => "OTLP in JSON",
        }
    }
}

/// What is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `ExportMetricsServiceRequest`.
    Metrics,
    /// `ExportTraceServiceRequest`.
    Traces,
}

impl Signal {
    /// The field that counts what was not taken.
    const fn rejected(self) -> &'static str {
        match self {
            Self::Metrics => "rejectedDataPoints",
            Self::Traces => "rejectedSpans",
        }
    }

    /// What it is called in texts for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }
}

/// A body that was taken in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Points or spans that were not taken and must not be sent again.
    pub rejected: u64,
    /// Why, for people; no full stop.
    pub message: Option<String>,
}

impl Accepted {
    /// The body of the answer, with status 200.
    pub fn reply(&self, signal: Signal, content: Content) -> Vec<u8> {
        let message = self.message.clone().unwrap_or_default();
        let is_partial = self.rejected > 0 || !message.is_empty();
        match content {
            Content::Json if is_partial => {
                let partial = serde_json::json!({
                    signal.rejected(): self.rejected.to_string(),
                    "errorMessage": message,
                });
                serde_json::json!({ "partialSuccess": partial }).to_string().into_bytes()
            }
            Content::Json => b"{}".to_vec(),
            // The reply to traces has the same fields at the same places.
            Content::Protobuf => ExportMetricsServiceResponse {
                partial_success: is_partial.then_some(ExportMetricsPartialSuccess {
                    rejected_data_points: i64::try_from(self.rejected).unwrap_or(i64::MAX),
                    error_message: message,
                }),
            }
            .encode_to_vec(),
        }
    }
}

/// A body that was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Larger than may be held.
    #[error("the body has more than {limit} bytes, unpacked; send smaller batches")]
    TooLarge {
        /// Most bytes, packed and unpacked.
        limit: usize,
    },
    /// Packed in a way that is not understood.
    #[error("the content encoding `{0}` is not understood; use gzip or none")]
    Encoding(String),
    /// Not what its type says.
    #[error("the body is no {what}: {cause}")]
    Malformed {
        /// What it should be.
        what: &'static str,
        /// What the decoder says.
        cause: String,
    },
}

impl Rejected {
    /// The HTTP status: 413, 415 or 400.
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            Self::Encoding(_) => 415,
            Self::Malformed { .. } => 400,
        }
    }
}

/// `google.rpc.Status`, <https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto>.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// The body of an answer that is not a success, for an HTTP status and a text for people.
pub fn refusal(content: Content, status: u16, text: &str) -> Vec<u8> {
    // The codes of google.rpc.Code that the specification gives for these statuses.
    let code = match status {
        413 => 8,
        429 | 503 => 14,
        500 => 13,
        _ => 3,
    };
    match content {
        Content::Json => {
            serde_json::json!({ "code": code, "message": text }).to_string().into_bytes()
        }
        Content::Protobuf => Status { code, message: text.to_owned() }.encode_to_vec(),
    }
}

/// `google.rpc.Status` with its details, of which there is one here, already encoded.
#[derive(Clone, PartialEq, Message)]
struct Detailed {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(message, required, tag = "2")]
    value: RetryInfo,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, required, tag = "1")]
    retry_delay: Delay,
}

/// `google.protobuf.Duration`, whole seconds.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// The details of a gRPC status that asks a sender to come back after these seconds, as OTLP over gRPC throttles
/// (1.9, "OTLP/gRPC Throttling").
pub fn come_back(code: i32, text: &str, seconds: u8) -> Vec<u8> {
    let retry_delay = Delay { seconds: seconds.into() };
    let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
    // An encoded message and the bytes of one look the same.
    let details = vec![Any { type_url, value: RetryInfo { retry_delay } }];
    Detailed { code, message: text.to_owned(), details }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_in_the_format_of_the_request() {
        assert_eq!(Content::of("application/json; charset=utf-8"), Some(Content::Json));
        assert_eq!(Content::of("Application/X-Protobuf"), Some(Content::Protobuf));
        assert_eq!(Content::of("text/plain"), None);

        let whole = Accepted::default();
        assert_eq!(whole.reply(Signal::Metrics, Content::Protobuf), b"");
        assert_eq!(whole.reply(Signal::Traces, Content::Json), b"{}");

        let partial = Accepted { rejected: 3, message: Some("3 points too many".into()) };
        let decoded = ExportMetricsServiceResponse::decode(
            &*partial.reply(Signal::Metrics, Content::Protobuf),
        )
        .unwrap();
        let success = decoded.partial_success.unwrap();
        assert_eq!((success.rejected_data_points, success.error_message.len()), (3, 17));
        let json = |signal| String::from_utf8(partial.reply(signal, Content::Json)).unwrap();
        assert_eq!(
            json(Signal::Traces),
            r#"{"partialSuccess":{"errorMessage":"3 points too many","rejectedSpans":"3"}}"#
        );
        assert_eq!(
            json(Signal::Metrics),
            r#"{"partialSuccess":{"errorMessage":"3 points too many","rejectedDataPoints":"3"}}"#
        );

        let refused = Status::decode(&*refusal(Content::Protobuf, 413, "too large")).unwrap();
        assert_eq!((refused.code, refused.message.as_str()), (8, "too large"));
        assert_eq!(refusal(Content::Json, 429, "busy"), br#"{"code":14,"message":"busy"}"#);
        let details = b"type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";
        assert!(come_back(14, "busy", 1).ends_with(details));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let all = [
            Rejected::TooLarge { limit: 67_108_864 },
            Rejected::Encoding("br".into()),
            Rejected::Malformed { what: "gzip", cause: "unexpected end of file".into() },
        ];
        let told: Vec<String> = all.iter().map(|r| format!("{} {r}", r.status())).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        413 the body has more than 67108864 bytes, unpacked; send smaller batches
        415 the content encoding `br` is not understood; use gzip or none
        400 the body is no gzip: unexpected end of file
        ");
    }
}
