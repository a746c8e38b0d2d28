//! Observations as text: one JSON object a line, lines with one `t` make one scrape.
//!
//! ```text
//! {"t": 1764000005.0, "arm": "canary",   "instance": "c1", "check": "errors",  "events": 3, "of": 125}
//! {"t": 1764000005.0, "arm": "baseline", "instance": "b1", "check": "latency", "le": [0.1, 0.25], "counts": [2210, 140, 25]}
//! {"t": 1764000005.0, "arm": "baseline", "instance": "b1", "check": "latency", "scale": 3, "first": -26, "counts": [7, 3]}
//! {"t": 1764000005.0, "arm": "canary",   "instance": "c1", "check": "memory",  "value": 183500800}
//! {"t": 1764000005.0, "arm": "canary",   "instance": "17", "check": "buy",     "failed": false, "seconds": 0.21}
//! ```
//!
//! A line may come late, for one of the three newest scrapes.
//!
//! For `judge`, bundles and tests: people write it by hand, so every mistake is told with its line and what to do.
//! Reading is line by line and bounded, so standard input may go on forever.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;
use thiserror::Error;

use crate::{Arm, Exponential, Observation, Refusal, Sample, Scrape, tail::LATE};

/// Longest line in bytes: a histogram of 512 buckets has room.
pub const LONGEST_LINE: usize = 64 * 1024;

/// Most lines of one scrape: a thousand instances with a hundred measurements each.
pub const MOST_OBSERVATIONS: usize = 100_000;

/// Latest `t` that is read: the year 9999.
const LATEST: f64 = 253_402_207_200.0;

/// A line that cannot be read.
#[derive(Debug, Error)]
#[error("line {line}: {problem}")]
pub struct TextError {
    /// From 1.
    pub line: u64,
    /// What is wrong and what to do.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Error)]
pub enum Problem {
    /// Longer than `LONGEST_LINE`.
    #[error("longer than {LONGEST_LINE} bytes; write one observation a line")]
    TooLong,
    /// Not UTF-8.
    #[error("not UTF-8 text; observations are one JSON object a line")]
    NotText,
    /// Not the expected JSON.
    #[error("{}; a line is like {{\"t\": 5.0, \"arm\": \"canary\", \"check\": \"errors\", \"events\": 3, \"of\": 125}}", words(.0))]
    Json(serde_json::Error),
    /// `t` is not a usable time.
    #[error("`t` must be seconds since 1970, from 0 to the year 9999")]
    Time,
    /// `t` is before those of the newest scrapes.
    #[error("`t` goes back in time by more than {LATE} scrapes; sort the lines by `t`")]
    Backwards,
    /// Neither counts of failures nor a histogram, or both.
    #[error(
        "give either `events` and `of`, or `le` and `counts`, or `scale`, `first` and `counts`, or `value`, \
         or `failed` and `seconds`"
    )]
    Sample,
    /// Counts that cannot be real.
    #[error("{0}")]
    Refused(Refusal),
    /// More lines of one `t` than one scrape may have.
    #[error(
        "more than {MOST_OBSERVATIONS} lines with the same `t`; is `t` the time of the scrape?"
    )]
    TooMany,
}

/// The parser counts lines within one observation, which always has one.
fn words(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    t: f64,
    arm: Arm,
    #[serde(default)]
    instance: String,
    check: String,
    #[serde(default)]
    stratum: Option<String>,
    #[serde(default)]
    events: Option<u64>,
    #[serde(default)]
    of: Option<u64>,
    #[serde(default)]
    le: Option<Vec<f64>>,
    #[serde(default)]
    counts: Option<Vec<u64>>,
    #[serde(default)]
    scale: Option<i8>,
    #[serde(default)]
    zero: Option<u64>,
    #[serde(default)]
    first: Option<i32>,
    #[serde(default)]
    value: Option<f64>,
    #[serde(default)]
    failed: Option<bool>,
    #[serde(default)]
    seconds: Option<f64>,
}

impl Line {
    fn sample(&mut self) -> Result<Sample, Problem> {
        let kinds = (
            (self.events, self.of),
            (self.le.take(), self.counts.take()),
            (self.scale, self.first, self.zero),
            (self.value, self.failed, self.seconds),
        );
        match kinds {
            ((Some(events), Some(of)), (None, None), (None, None, None), (None, None, None)) => {
                Ok(Sample::Events { events, of })
            }
            ((None, None), (Some(le), Some(counts)), (None, None, None), (None, None, None)) => {
                Ok(Sample::Histogram { le, counts })
            }
            (
                (None, None),
                (None, Some(counts)),
                (Some(scale), Some(first), zero),
                (None, None, None),
            ) => {
                let zero = zero.unwrap_or(0);
                Ok(Sample::Exponential(Exponential { scale, zero, first, counts }))
            }
            ((None, None), (None, None), (None, None, None), (Some(value), None, None)) => {
                Ok(Sample::Gauge { value })
            }
            (
                (None, None),
                (None, None),
                (None, None, None),
                (None, Some(failed), Some(seconds)),
            ) => Ok(Sample::Attempt { failed, seconds }),
            _ => Err(Problem::Sample),
        }
    }
}

/// Reads observations line by line and groups those with one `t`.
#[derive(Debug, Default)]
pub struct Reader {
    line: u64,
    current: Option<Scrape>,
    /// The newest times, falling.
    newest: Vec<Timestamp>,
}

impl Reader {
    /// Reads one line without its line break. Empty lines are skipped.
    ///
    /// Gives the scrape before, complete, when the line begins a new one.
    ///
    /// # Errors
    /// The line, what is wrong with it and what to do. The reader may go on with the next line.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Scrape>, TextError> {
        self.line = self.line.saturating_add(1);
        self.take(line).map_err(|problem| TextError { line: self.line, problem })
    }

    /// The last scrape, if any: call it at the end of the input.
    pub fn finish(&mut self) -> Option<Scrape> {
        self.current.take()
    }

    fn take(&mut self, line: &[u8]) -> Result<Option<Scrape>, Problem> {
        if line.len() > LONGEST_LINE {
            return Err(Problem::TooLong);
        }
        let text = std::str::from_utf8(line).map_err(|_| Problem::NotText)?.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let (at, observation) = read(text)?;
        match &mut self.current {
            Some(current) if current.at == at => {
                if current.observations.len() >= MOST_OBSERVATIONS {
                    return Err(Problem::TooMany);
                }
                current.observations.push(observation);
                Ok(None)
            }
            Some(_) | None => {
                if !self.newest.contains(&at) {
                    let place = self.newest.partition_point(|newer| *newer > at);
                    if place >= LATE {
                        return Err(Problem::Backwards);
                    }
                    self.newest.insert(place, at);
                    self.newest.truncate(LATE);
                }
                Ok(self.current.replace(Scrape { at, observations: vec![observation] }))
            }
        }
    }
}

fn read(text: &str) -> Result<(Timestamp, Observation), Problem> {
    let mut line: Line = serde_json::from_str(text).map_err(Problem::Json)?;
    let at = time(line.t).ok_or(Problem::Time)?;
    let sample = line.sample()?;
    let observation = Observation {
        arm: line.arm,
        instance: line.instance,
        check: line.check,
        stratum: line.stratum,
        sample,
    };
    observation.validate().map_err(Problem::Refused)?;
    Ok((at, observation))
}

/// Seconds to a time, to the microsecond.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn time(seconds: f64) -> Option<Timestamp> {
    if !(0.0..=LATEST).contains(&seconds) {
        return None;
    }
    Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok()
}

/// Reads a whole text.
///
/// # Errors
/// The first line that cannot be read, what is wrong with it and what to do.
pub fn parse(text: &[u8]) -> Result<Vec<Scrape>, TextError> {
    let mut reader = Reader::default();
    let mut scrapes = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        scrapes.extend(reader.line(line)?);
    }
    scrapes.extend(reader.finish());
    Ok(scrapes)
}

/// Writes a scrape as lines, each with its line break. Times are cut to microseconds, and those before 1970
/// cannot be read back. A scrape without observations is no line at all.
pub fn write(scrape: &Scrape) -> String {
    let mut text = String::new();
    let time = scrape.at.as_microsecond();
    let time = format!("{}.{:06}", time.div_euclid(1_000_000), time.rem_euclid(1_000_000));
    for observation in &scrape.observations {
        let name = |name: &str| serde_json::Value::from(name).to_string();
        let arm = match observation.arm {
            Arm::Baseline => "baseline",
            Arm::Canary => "canary",
        };
        let stratum = observation
            .stratum
            .as_ref()
            .map(|stratum| format!(", \"stratum\": {}", name(stratum)))
            .unwrap_or_default();
        let sample = match &observation.sample {
            Sample::Events { events, of } => format!("\"events\": {events}, \"of\": {of}"),
            Sample::Exponential(histogram) => format!(
                "\"scale\": {}, \"zero\": {}, \"first\": {}, \"counts\": {:?}",
                histogram.scale, histogram.zero, histogram.first, histogram.counts
            ),
            Sample::Gauge { value } => format!("\"value\": {value:?}"),
            Sample::Attempt { failed, seconds } => {
                format!("\"failed\": {failed}, \"seconds\": {seconds:?}")
            }
            Sample::Histogram { le, counts } => format!(
                "\"le\": {}, \"counts\": {}",
                serde_json::Value::from(le.clone()),
                serde_json::Value::from(counts.clone()),
            ),
        };
        writeln!(
            text,
            "{{\"t\": {time}, \"arm\": \"{arm}\", \"instance\": {}, \"check\": {}{stratum}, {sample}}}",
            name(&observation.instance),
            name(&observation.check),
        )
        .expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn lines_with_one_t_make_one_scrape() {
        let text = concat!(
            r#"{"t": 1764000005.0, "arm": "canary", "instance": "c1", "check": "errors", "events": 3, "of": 125}"#,
            "\n\n",
            r#"{"t": 1764000005.0, "arm": "baseline", "instance": "b1", "check": "latency", "le": [0.1, 0.25, 0.5], "counts": [2210, 140, 20, 5]}"#,
            "\r\n",
            r#"{"t": 1764000006, "arm": "canary", "check": "errors", "stratum": "/pay", "events": 0, "of": 1}"#,
        );
        let scrapes = parse(text.as_bytes()).unwrap();
        assert_eq!(
            scrapes.iter().map(|scrape| scrape.observations.len()).collect::<Vec<_>>(),
            [2, 1]
        );
        assert_eq!(scrapes[1].observations[0].stratum.as_deref(), Some("/pay"));
    }

    #[test]
    fn mistakes_are_told_with_line_and_advice() {
        let good = r#"{"t": 5, "arm": "canary", "check": "errors", "events": 1, "of": 2}"#;
        insta::assert_snapshot!(problem(&format!("{good}\n{{\"t\": 4}}")), @r#"line 2: missing field `arm` at column 8; a line is like {"t": 5.0, "arm": "canary", "check": "errors", "events": 3, "of": 125}"#);
        insta::assert_snapshot!(problem(&["5", "6", "8", "7", "4"].map(|t| good.replace('5', t)).join("\n")), @"line 5: `t` goes back in time by more than 3 scrapes; sort the lines by `t`");
        insta::assert_snapshot!(problem(&good.replace("\"of\": 2", "\"counts\": [2]")), @"line 1: give either `events` and `of`, or `le` and `counts`, or `scale`, `first` and `counts`, or `value`, or `failed` and `seconds`");
        insta::assert_snapshot!(problem(&good.replace("\"of\": 2", "\"of\": 0")), @"line 1: more events than requests");
        insta::assert_snapshot!(problem(&good.replace('5', "-5")), @"line 1: `t` must be seconds since 1970, from 0 to the year 9999");
        insta::assert_snapshot!(problem(&good.replace("canary", "control")), @r#"line 1: unknown variant `control`, expected `baseline` or `canary` at column 25; a line is like {"t": 5.0, "arm": "canary", "check": "errors", "events": 3, "of": 125}"#);
        insta::assert_snapshot!(problem(&"x".repeat(LONGEST_LINE + 1)), @"line 1: longer than 65536 bytes; write one observation a line");
        assert!(problem(&good.replace('5', "1e999")).contains("line 1"));
    }

    fn any_observation() -> impl Strategy<Value = Observation> {
        let events = (0..1000_u64, 0..1_000_000_u64)
            .prop_map(|(events, more)| Sample::Events { events, of: events + more });
        let histogram =
            proptest::collection::btree_set(1..1_000_000_u32, 1..20).prop_flat_map(|le| {
                let le: Vec<f64> = le.into_iter().map(|bound| f64::from(bound) / 1003.0).collect();
                let counts = proptest::collection::vec(0..1_000_000_u64, le.len() + 1);
                (Just(le), counts).prop_map(|(le, counts)| Sample::Histogram { le, counts })
            });
        let exponential =
            (0..=20_i8, 0..9_u64, -3..3_i32, proptest::collection::vec(0..99_u64, 0..30)).prop_map(
                |(scale, zero, first, counts)| {
                    Sample::Exponential(Exponential { scale, zero, first, counts })
                },
            );
        (
            any::<bool>(),
            ".{0,20}",
            ".{0,20}",
            proptest::option::of(".{0,20}"),
            prop_oneof![
                events,
                histogram,
                exponential,
                (-1e9..1e9).prop_map(|value| Sample::Gauge { value }),
                (any::<bool>(), 0.0..1e3)
                    .prop_map(|(failed, seconds)| Sample::Attempt { failed, seconds })
            ],
        )
            .prop_map(|(canary, instance, check, stratum, sample)| Observation {
                arm: if canary { Arm::Canary } else { Arm::Baseline },
                instance,
                check,
                stratum,
                sample,
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            scrapes in proptest::collection::btree_map(
                0..4_000_000_000_000_000_i64,
                proptest::collection::vec(any_observation(), 1..5),
                0..5,
            ),
        ) {
            let scrapes: Vec<Scrape> = scrapes
                .into_iter()
                .map(|(at, observations)| Scrape {
                    at: Timestamp::from_microsecond(at).unwrap(),
                    observations,
                })
                .collect();
            let text: String = scrapes.iter().map(write).collect();
            prop_assert_eq!(parse(text.as_bytes()).unwrap(), scrapes);
        }

        #[test]
        fn no_bytes_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&text);
        }

        #[test]
        fn no_near_miss_panics(
            t in ".{0,8}", of in ".{0,8}", le in ".{0,12}",
        ) {
            let _ = parse(format!(
                r#"{{"t": {t}, "arm": "canary", "check": "e", "events": 0, "of": {of}, "le": [{le}]}}"#
            ).as_bytes());
        }
    }
}
