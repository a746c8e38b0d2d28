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

    pub(super) const fn named(self) -> &'static str {
        match self {
            Self::Protobuf => "OTLP in Protobuf",
            Self::Json => "OTLP in JSON",
        }
    }
}

/// A body that was taken in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Points that were not taken and must not be sent again.
    pub rejected: u64,
    /// Why, for people; no full stop.
    pub message: Option<String>,
}

impl Accepted {
    /// The body of the answer, with status 200.
    pub fn reply(&self, content: Content) -> Vec<u8> {
        let message = self.message.clone().unwrap_or_default();
        let is_partial = self.rejected > 0 || !message.is_empty();
        match content {
            Content::Json if is_partial => {
                let partial = serde_json::json!({
                    "rejectedDataPoints": self.rejected.to_string(),
                    "errorMessage": message,
                });
                serde_json::json!({ "partialSuccess": partial }).to_string().into_bytes()
            }
            Content::Json => b"{}".to_vec(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_in_the_format_of_the_request() {
        assert_eq!(Content::of("application/json; charset=utf-8"), Some(Content::Json));
        assert_eq!(Content::of("Application/X-Protobuf"), Some(Content::Protobuf));
        assert_eq!(Content::of("text/plain"), None);

        let whole = Accepted::default();
        assert_eq!(whole.reply(Content::Protobuf), b"");
        assert_eq!(whole.reply(Content::Json), b"{}");

        let partial = Accepted { rejected: 3, message: Some("3 points too many".into()) };
        let decoded =
            ExportMetricsServiceResponse::decode(&*partial.reply(Content::Protobuf)).unwrap();
        let success = decoded.partial_success.unwrap();
        assert_eq!((success.rejected_data_points, success.error_message.len()), (3, 17));
        let json = String::from_utf8(partial.reply(Content::Json)).unwrap();
        assert_eq!(
            json,
            r#"{"partialSuccess":{"errorMessage":"3 points too many","rejectedDataPoints":"3"}}"#
        );

        let refused = Status::decode(&*refusal(Content::Protobuf, 413, "too large")).unwrap();
        assert_eq!((refused.code, refused.message.as_str()), (8, "too large"));
        assert_eq!(refusal(Content::Json, 429, "busy"), br#"{"code":14,"message":"busy"}"#);
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
