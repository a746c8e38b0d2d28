//! Results as text, for snapshots and for people who read failures.

use analysis::{Arm, Observation, Sample};
use analysis_providers::{Completeness, Measured};
use jiff::Timestamp;

/// A moment of the recorded replies, in seconds after their beginning.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_764_000_000 + second).unwrap()
}

/// One result in a few lines.
pub(crate) fn told(measured: &Measured) -> String {
    match &measured.result {
        Err(error) => format!("{:?}: {error}", error.persistence),
        Ok((scrape, completeness)) => {
            let head = match completeness {
                Completeness::Full => "full".to_owned(),
                Completeness::Partial(text) => format!("partial, {text}"),
                Completeness::None(text) => format!("none, {text}"),
                Completeness::Stale(text) => format!("stale, {text}"),
            };
            let lines: Vec<String> = scrape.observations.iter().map(observation).collect();
            if lines.is_empty() { head } else { format!("{head}\n{}", lines.join("\n")) }
        }
    }
}

fn observation(one: &Observation) -> String {
    let arm = match one.arm {
        Arm::Baseline => "baseline",
        Arm::Canary => "canary",
    };
    let sample = match &one.sample {
        Sample::Events { events, of } => format!("{events} of {of}"),
        Sample::Histogram { le, counts } => format!("{counts:?} up to {le:?}"),
        Sample::Exponential(h) => {
            format!(
                "{:?} from bucket {} of scale {}, {} at zero",
                h.counts, h.first, h.scale, h.zero
            )
        }
        Sample::Gauge { value } => format!("{value}"),
        other @ Sample::Attempt { .. } => format!("{other:?}"),
    };
    let stratum = one.stratum.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
    format!("    {arm} {} {}{stratum}: {sample}", one.instance, one.check)
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
