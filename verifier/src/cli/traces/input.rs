//! Files of traces, read whole: the formats need all of a document.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use analysis_providers::spans::{self, Decoded, Limits};
use indicatif::{ProgressBar, ProgressStyle};

/// A megabyte holds some thousand spans; more than this is a backup rather than a sample.
const LIMITS_BYTES: usize = 512 * 1024 * 1024;

/// Spans of one file.
const MOST_SPANS: usize = 2_000_000;

/// Between two looks at the bar.
const CHUNK: usize = 256 * 1024;

/// Reads the files that are named; one that is named twice is read once, also standard input.
pub(super) fn read(paths: &[Option<&Path>; 2]) -> Result<[Option<Decoded>; 2], String> {
    // Both arms in one file are read once; which span is whose is said by their versions.
    let (first, second) = match *paths {
        [Some(first), Some(second)] if first == second => (Some(first), None),
        [first, second] => (first, second),
    };
    let first = first.map(file).transpose()?;
    let second = second.map(file).transpose()?;
    Ok([first, second])
}

fn file(path: &Path) -> Result<Decoded, String> {
    let name = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let failed = |error: io::Error| {
        let is_none = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory);
        let hint = if is_none {
            "\nhint: name a file of traces, as a store or the collector's file exporter writes it"
        } else {
            ""
        };
        format!("failed to read {name}: {error}{hint}")
    };
    let bytes = if path == Path::new("-") {
        whole(&mut io::stdin().lock(), None, &name)
    } else {
        let mut file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        whole(&mut file, Some(size), &name)
    };
    let bytes = bytes.map_err(failed)?;
    let limits = Limits { max_bytes: LIMITS_BYTES, max_spans: MOST_SPANS, ..Limits::default() };
    let bar = super::waiting("reading the spans");
    let (_, decoded) = spans::any(&bytes, &limits).map_err(|error| format!("{name}: {error}"))?;
    bar.finish_and_clear();
    if decoded.spans.is_empty() {
        let refused = decoded.refused.told();
        let refused = super::indented(&refused);
        return Err(format!("{name} holds no spans{refused}"));
    }
    Ok(decoded)
}

/// Everything up to one byte over the limit, which tells that there is more.
fn whole(from: &mut impl Read, size: Option<u64>, name: &str) -> io::Result<Vec<u8>> {
    let bar = bar(size, name);
    let mut bytes = Vec::new();
    let mut rest = from.take(LIMITS_BYTES as u64 + 1);
    loop {
        let read = rest.by_ref().take(CHUNK as u64).read_to_end(&mut bytes)?;
        if read == 0 {
            bar.finish_and_clear();
            return Ok(bytes);
        }
        bar.inc(read as u64);
    }
}

/// Shown on a terminal only.
fn bar(size: Option<u64>, name: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{msg} {bar:40} {bytes}/{total_bytes}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg} {bytes}"),
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(format!("reading {name}"))
}
