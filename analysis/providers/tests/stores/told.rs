//! Results as text, for snapshots and for people who read failures.

use analysis::{Arm, Sample};
use analysis_providers::{Completeness, Measured};
use jiff::Timestamp;

/// A moment of the recorded replies, in seconds after their beginning.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_764_000_000 + second).unwrap()
}

/// One result in a few lines.
pub(crate) fn told(measured: &Measured) -> String {
    let (scrape, completeness) = match &measured.result {
        Ok(result) => result,
        Err(error) => return without_port(&format!("{:?}: {error}", error.persistence)),
    };
    let mut text = match completeness {
        Completeness::Full => "full".to_owned(),
        Completeness::Partial(text) => format!("partial, {text}"),
        Completeness::None(text) => format!("none, {text}"),
        Completeness::Stale(text) => format!("stale, {text}"),
    };
    for one in &scrape.observations {
        let arm = match one.arm {
            Arm::Baseline => "baseline",
            Arm::Canary => "canary",
        };
        let sample = match &one.sample {
            Sample::Events { events, of } => format!("{events} of {of}"),
            other @ (Sample::Histogram { .. }
            | Sample::Exponential(_)
            | Sample::Gauge { .. }
            | Sample::Attempt { .. }) => format!("{other:?}"),
        };
        text += &format!("\n    {arm} {} {}: {sample}", one.instance, one.check);
    }
    without_port(&text)
}

/// The text of a recorded reply.
pub(crate) fn reply(path: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/replies");
    std::fs::read(format!("{folder}/{path}")).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Text without the port that loopback happened to give.
pub(crate) fn without_port(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("127.0.0.1:") {
        let (before, after) = rest.split_at(start + "127.0.0.1:".len());
        out.push_str(before);
        out.push_str("PORT");
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out + rest
}
