//! A real client of gRPC against the door.

use std::sync::Arc;

use analysis_providers::intake::{Intake, IntakeSettings};
use analysis_providers::otlp::{Otlp, OtlpSettings};
use analysis_traces::{ArmLabel, Arms};
use bytes::{Buf as _, BufMut as _, Bytes};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::clock::now;
use crate::config::Secret;
use crate::web::otlp::Receiver;

/// Messages as they are.
#[derive(Debug, Default, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

struct Site {
    channel: Channel,
    intake: Arc<Intake>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Site {
    async fn open(token: Option<&str>, max_bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let settings = IntakeSettings { max_bytes, ..IntakeSettings::default() };
        let intake = Arc::new(Intake::new(settings));
        let metrics = OtlpSettings { max_bytes, ..OtlpSettings::default() };
        let receiver = Arc::new(Receiver::new(Arc::new(Otlp::new(metrics)), intake.clone()));
        let (stop, stopped) = oneshot::channel();
        let stopping = async move {
            let _ = stopped.await;
        };
        let serving =
            tokio::spawn(super::serve(listener, receiver, token.map(Secret::new), stopping));
        let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        Self { channel, intake, stop, serving }
    }

    async fn call(&self, path: &'static str, body: Vec<u8>, gzip: bool) -> Result<Bytes, Status> {
        self.ask(path, Request::new(Bytes::from(body)), gzip).await
    }

    async fn ask(
        &self,
        path: &'static str,
        request: Request<Bytes>,
        gzip: bool,
    ) -> Result<Bytes, Status> {
        let mut client = Grpc::new(self.channel.clone());
        if gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client.ready().await.unwrap();
        let answer = client.unary(request, path.parse().unwrap(), Raw).await?;
        Ok(answer.into_inner())
    }
}

/// A field of Protobuf that holds bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend_from_slice(bytes);
    out
}

/// Spans of `checkout` 1.1: the entry of a request each, and one without an id.
fn export(traces: u8) -> Vec<u8> {
    let attribute = |name: &str, value: &str| {
        let value = field(2, &field(1, value.as_bytes()));
        field(1, &[field(1, name.as_bytes()), value].concat())
    };
    let resource =
        [attribute("service.name", "checkout"), attribute("service.version", "1.1")].concat();
    let mut spans: Vec<u8> = (1..=traces)
        .flat_map(|trace| {
            let time =
                |tag: u8| [vec![tag << 3 | 1], 1_764_000_000_u64.to_le_bytes().to_vec()].concat();
            let ids = [field(1, &[trace; 16]), field(2, &[trace; 8])].concat();
            let name = field(5, b"GET /");
            field(2, &[ids, name, vec![6 << 3, 2], time(7), time(8)].concat())
        })
        .collect();
    spans.extend(field(2, &field(5, b"without an id")));
    field(1, &[field(1, &resource), field(2, &spans)].concat())
}

#[tokio::test]
async fn spans_come_in_packed_and_plain_with_what_was_refused_told() {
    let site = Site::open(None, 1_000_000).await;
    let label = |version: &str| ArmLabel { version: Some(version.into()), ..ArmLabel::default() };
    let arms = Arms { baseline: label("1.0"), canary: label("1.1") };
    site.intake.watch("one", "checkout", &arms, now());
    for gzip in [false, true] {
        let traces = if gzip { 5 } else { 3 };
        let answer = site.call(super::TRACES, export(traces), gzip).await.unwrap();
        // partial_success { rejected_spans: 1, error_message }
        assert_eq!(answer[2..4], [0x08, 1], "{}", answer.escape_ascii());
        assert!(String::from_utf8_lossy(&answer).contains("not all was taken: 1 span"));
    }
    let counts = site.intake.counts("one", now());
    assert_eq!(counts.iter().map(|count| count.requests).sum::<u64>(), 5, "three came twice");
    assert_eq!(site.call(super::METRICS, Vec::new(), true).await.unwrap(), Bytes::new());
    site.stop.send(()).unwrap();
    drop(site.channel);
    site.serving.await.unwrap();
}

#[tokio::test]
async fn refusals_have_the_codes_of_the_protocol() {
    let site = Site::open(None, 1_000).await;
    let mut told = Vec::new();
    for (path, body, gzip) in [
        (super::TRACES, vec![0; 1_001], false),
        (super::TRACES, vec![0; 100_000], true),
        (super::METRICS, vec![0; 2_000_000], false),
        (super::TRACES, b"\x0a\xff\xff".to_vec(), true),
        (super::METRICS, b"\x0a\xff\xff".to_vec(), false),
        ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", Vec::new(), false),
    ] {
        let status = site.call(path, body, gzip).await.unwrap_err();
        told.push(format!("{:?}: {}", status.code(), status.message()));
    }
    insta::assert_snapshot!(told.join("\n"));
    assert_eq!(site.call(super::TRACES, Vec::new(), false).await.unwrap(), Bytes::new());
}

#[tokio::test]
async fn calls_need_the_token_where_there_is_one() {
    let site = Site::open(Some("correct horse"), 1_000).await;
    let status = site.call(super::TRACES, Vec::new(), false).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("api.tokenFrom") && !status.message().contains("horse"));
    for (token, accepted) in [("Bearer wrong", false), ("Bearer correct horse", true)] {
        let mut request = Request::new(Bytes::new());
        request.metadata_mut().insert("authorization", token.parse().unwrap());
        assert_eq!(site.ask(super::TRACES, request, false).await.is_ok(), accepted, "{token}");
    }
}

#[test]
fn who_is_busy_says_when_to_come_back() {
    use super::{Refused, Signal, framed, status};
    let busy = status(&Refused::Busy(Signal::Traces));
    assert_eq!(busy.code(), Code::Unavailable);
    assert!(busy.details().ends_with(b"google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01"));
    for cut in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x02x", b"\0\0\0\0\x01xy", b"\x02\0\0\0\0"] {
        assert_eq!(framed(cut, 1_000).unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(framed(b"\0\xff\xff\xff\xff", 1_000).unwrap_err().code(), Code::ResourceExhausted);
    assert!(framed(b"\x01\0\0\0\x01x", 1_000).unwrap());
}
