//! A bundle read line by line, bounded, and replayed on the way.
//!
//! A wrong line does not end the reading: up to ten are told at once, each with its number.

use std::fmt;
use std::io::{BufRead, Read as _};

use analysis::text::{LONGEST_LINE, Reader};
use analysis::{Exponential, LatencyProfile, Scrape, Verdict};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::play::Player;
use super::walk::hex;
use super::{Difference, FORMAT, Header, difference};

/// Longest first line in bytes; a rollout of weeks has some hundred kilobytes.
const LONGEST_HEADER: usize = 16 * 1024 * 1024;

/// Problems that are told at once.
const MOST_PROBLEMS: usize = 10;

/// What is wrong with a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleProblem {
    /// From 1; 0 if it concerns the file as a whole.
    pub line: u64,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for BundleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for BundleProblem {}

/// What a replay gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The bundle's first line.
    pub header: Header,
    /// The verdict of this replay.
    pub verdict: Option<Verdict>,
    /// Scrapes that led to it.
    pub scrapes: u64,
    /// Whether the observations are those that were written, byte for byte.
    pub intact: bool,
    /// Where the verdicts first differ, if they do.
    pub difference: Option<Difference>,
}

impl Replayed {
    /// Whether nothing was changed and the verdict is the same to the last bit.
    pub fn is_same(&self) -> bool {
        self.intact && self.difference.is_none()
    }
}

/// What is heard on the way through a bundle.
#[derive(Debug)]
pub enum Heard<'a> {
    /// What was deployed; first of all.
    Header(&'a Header),
    /// Another verdict than before, or one about another weight.
    Verdict {
        /// When.
        at: Timestamp,
        /// The weight that asks for permission, a share in (0, 1].
        asks: f64,
        /// What the evidence says.
        verdict: &'a Verdict,
    },
}

/// Reads a bundle and lets the engine judge it again; tells `hear` each change on the way.
///
/// # Errors
/// Up to ten lines that cannot be read, each with what to do.
pub fn replay(
    mut input: impl BufRead,
    mut hear: impl FnMut(Heard<'_>),
) -> Result<Replayed, Vec<BundleProblem>> {
    let first = bounded(&mut input, LONGEST_HEADER).map_err(|what| wrong(1, what))?;
    let header = header(first.as_deref().unwrap_or_default()).map_err(|what| wrong(1, what))?;
    hear(Heard::Header(&header));
    let mut player = Player::new(&header);
    let mut digest = Sha256::new();
    let mut problems = Vec::new();
    let (mut number, mut block) = (1_u64, Block::default());
    while problems.len() < MOST_PROBLEMS {
        number += 1;
        let line = match bounded(&mut input, LONGEST_LINE) {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(what) => {
                problems.extend(wrong(number, what));
                break;
            }
        };
        digest.update(&line);
        let text = line.trim_ascii();
        let taken = if text.is_empty() {
            std::mem::take(&mut block).finish().map(|scrape| {
                if let Some(heard) = scrape.and_then(|scrape| player.scrape(&scrape)) {
                    hear(heard);
                }
            })
        } else {
            block.line(text)
        };
        problems.extend(taken.err().into_iter().flat_map(|what| wrong(number, what)));
    }
    let scrapes = player.scrapes();
    if problems.is_empty() && (block.begun || scrapes < header.scrapes) {
        let all = header.scrapes;
        let what =
            format!("the file ends after {scrapes} of {all} scrapes; copy it again as a whole");
        problems.extend(wrong(number, what));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let (verdict, scrapes) = player.finish();
    let intact = hex(&digest.finalize()) == header.sha256;
    let difference = difference(header.verdict.as_ref(), verdict.as_ref());
    Ok(Replayed { header, verdict, scrapes, intact, difference })
}

/// The lines of one scrape, so that scrapes keep the order in which the engine saw them.
#[derive(Debug, Default)]
struct Block {
    at: Option<Timestamp>,
    reader: Reader,
    begun: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    at: Timestamp,
}

impl Block {
    fn line(&mut self, text: &[u8]) -> Result<(), String> {
        let first = !std::mem::replace(&mut self.begun, true);
        if first && text.starts_with(br#"{"at""#) {
            let At { at } = serde_json::from_slice(text).map_err(
                |_| r#"write the time of a scrape as {"at": "2026-11-24T18:43:20.338985775Z"}"#,
            )?;
            self.at = Some(at);
            return Ok(());
        }
        match self.reader.line(text) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => {
                Err("another `t` within a scrape; each scrape ends with an empty line".to_owned())
            }
            Err(error) => Err(error.problem.to_string()),
        }
    }

    /// The scrape, with the exact time that was written beside that of its observations.
    fn finish(mut self) -> Result<Option<Scrape>, String> {
        match (self.reader.finish(), self.at) {
            (Some(scrape), Some(at)) if scrape.at.as_microsecond() != at.as_microsecond() => {
                Err("the time of this scrape, `at`, is not that of its observations, `t`"
                    .to_owned())
            }
            (Some(scrape), Some(at)) => Ok(Some(Scrape { at, ..scrape })),
            (scrape @ Some(_), None) => Ok(scrape),
            (None, at) => Ok(at.map(|at| Scrape { at, observations: Vec::new() })),
        }
    }
}

fn wrong(line: u64, what: String) -> Vec<BundleProblem> {
    vec![BundleProblem { line, what }]
}

/// A line with its break, of at most so many bytes.
fn bounded(input: &mut impl BufRead, most: usize) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(2);
    input.take(limit).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    if line.trim_ascii_end().len() > most {
        return Err(format!("longer than {most} bytes; is this a bundle?"));
    }
    Ok((!line.is_empty()).then_some(line))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Format {
    serin_bundle: u32,
}

fn header(line: &[u8]) -> Result<Header, String> {
    let write = "write a bundle with `serin explain DEPLOYMENT --bundle FILE`";
    let Format { serin_bundle } = serde_json::from_slice(line)
        .map_err(|_| format!("the first line is not that of a bundle; {write}"))?;
    if serin_bundle != FORMAT {
        return Err(format!(
            "the bundle has format {serin_bundle}, and this program reads {FORMAT}; replay it with the version of Serin that wrote it"
        ));
    }
    let header: Header = serde_json::from_slice(line).map_err(|error| {
        format!("the bundle's first line is damaged ({error}); write it again from Serin's journal")
    })?;
    let references =
        header.settings.checks.iter().filter_map(|check| header.history.reference(&check.name));
    let mut profiles = references.map(|reference| &reference.latency);
    if header.settings.checks.is_empty() || !profiles.all(is_possible) {
        return Err("the bundle's first line has no checks or an impossible history; write it again from Serin's journal".to_owned());
    }
    Ok(header)
}

/// Whether bounds rise, counts belong to them, and an exponential histogram is one.
fn is_possible(profile: &LatencyProfile) -> bool {
    let (bounds, counts) = (profile.bounds(), profile.counts());
    let fit = counts.len() == bounds.len() + 1 || (counts.is_empty() && bounds.is_empty());
    let rising = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    let finite = bounds.iter().all(|bound| bound.is_finite());
    let native = serde_json::to_value(profile).map(|value| value["native"].clone());
    let native = native.ok().filter(|native| !native.is_null());
    let native: Option<Exponential> = native.and_then(|native| serde_json::from_value(native).ok());
    fit && rising && finite && native.is_none_or(|native| native.validate().is_ok())
}
