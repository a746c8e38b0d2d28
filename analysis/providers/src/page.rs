//! A whole metrics page, read as it streams in: only the series that somebody wants are kept.
//!
//! A page may be megabytes of which a few lines matter, and hundreds are read at once, so memory is
//! bounded by one line and the wanted series. A page that ends in the middle of a line is refused:
//! `12` may be the beginning of `12345`.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::counters::Cumulative;
use crate::exposition::{Line, Point, parse_line};
use crate::reads::{Reads, Values};
use crate::selector::Series;

/// When the process started, in seconds since 1970, as all client libraries export it.
pub(crate) const STARTED: &str = "process_start_time_seconds";

/// Longest line; usual ones have 200 bytes.
const LONGEST_LINE: usize = 64 * 1_024;

/// Why a page is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    #[error("line {line}: {cause}; is this the metrics page?")]
    Line { line: usize, cause: crate::exposition::LineError },
    #[error("line {0} is not UTF-8")]
    Encoding(usize),
    #[error("line {0} is longer than {LONGEST_LINE} bytes")]
    LongLine(usize),
    #[error("more than {0} series of requests; the metric has a label with too many values")]
    TooMany(usize),
    #[error("it ends in the middle: no line feed at the end, or no `# EOF` in an OpenMetrics page")]
    Truncated,
    #[error("something follows `# EOF`")]
    AfterEnd,
}

/// The formats, which differ in the unit of timestamps and in how a page ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    OpenMetrics,
}

/// Reads a page chunk by chunk.
pub(crate) struct PageReader<W> {
    wanted: W,
    most: usize,
    rest: Vec<u8>,
    line: usize,
    ended: bool,
    points: Vec<Point>,
}

impl<W: Fn(&str) -> bool> PageReader<W> {
    /// Keeps series whose name is `wanted`, up to `most`.
    pub(crate) fn new(wanted: W, most: usize) -> Self {
        Self { wanted, most, rest: Vec::new(), line: 0, ended: false, points: Vec::new() }
    }

    /// Takes in the next bytes.
    pub(crate) fn feed(&mut self, mut chunk: &[u8]) -> Result<(), PageError> {
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&chunk[..end], &chunk[end + 1..]);
            chunk = after;
            if self.rest.is_empty() {
                self.read(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.read(&whole)?;
            }
        }
        self.rest.extend_from_slice(chunk);
        if self.rest.len() > LONGEST_LINE {
            return Err(PageError::LongLine(self.line + 1));
        }
        Ok(())
    }

    /// The page, once all bytes were fed.
    pub(crate) fn finish(mut self, format: Format) -> Result<Page, PageError> {
        if format == Format::OpenMetrics && !self.rest.is_empty() {
            // `# EOF` may be the last line without a line feed.
            let last = std::mem::take(&mut self.rest);
            self.read(&last)?;
        }
        if !self.rest.is_empty() || (format == Format::OpenMetrics && !self.ended) {
            return Err(PageError::Truncated);
        }
        Ok(Page { points: self.points, format })
    }

    fn read(&mut self, line: &[u8]) -> Result<(), PageError> {
        self.line += 1;
        if line.len() > LONGEST_LINE {
            return Err(PageError::LongLine(self.line));
        }
        let text = str::from_utf8(line).map_err(|_| PageError::Encoding(self.line))?;
        if self.ended && !text.trim().is_empty() {
            return Err(PageError::AfterEnd);
        }
        match parse_line(text, &self.wanted) {
            Ok(Line::Sample(point)) if self.points.len() < self.most => {
                // A quoted name is known only after the labels were read.
                if (self.wanted)(&point.series.name) {
                    self.points.push(point);
                }
            }
            Ok(Line::Sample(_)) => return Err(PageError::TooMany(self.most)),
            Ok(Line::Other) => {}
            Ok(Line::End) => self.ended = true,
            Err(cause) => return Err(PageError::Line { line: self.line, cause }),
        }
        Ok(())
    }
}

/// The wanted series of a page.
#[derive(Debug)]
pub(crate) struct Page {
    points: Vec<Point>,
    format: Format,
}

impl Page {
    /// All series, for the choice of a family.
    pub(crate) fn series(&self) -> impl Iterator<Item = &Series> {
        self.points.iter().map(|point| &point.series)
    }

    /// When the process started, if it says so.
    pub(crate) fn started(&self) -> Option<f64> {
        let own = self.points.iter().find(|point| point.series.name == STARTED)?;
        own.value.is_finite().then_some(own.value)
    }

    /// The counters of one check, and their own timestamp if they have one.
    pub(crate) fn values(&self, reads: &Reads) -> Result<(Values, Option<Timestamp>), String> {
        let mut values = Values::new();
        let creations = self.creations();
        let mut stamp: Option<f64> = None;
        for point in self.points.iter().filter(|point| reads.wants(&point.series.name)) {
            let created = if creations.is_empty() {
                None
            } else {
                created_name(&point.series.name)
                    .and_then(|name| creations.get(&(name, without_le(&point.series))).copied())
            };
            reads.put(&mut values, &point.series, Cumulative { value: point.value, created })?;
            stamp = stamp.into_iter().chain(point.timestamp).reduce(f64::max);
        }
        reads.validate(&values)?;
        Ok((values, stamp.and_then(|stamp| self.moment(stamp))))
    }

    /// The creation times by name and labels.
    fn creations(&self) -> Creations<'_> {
        let creations = self.points.iter().filter(|point| point.series.name.ends_with("_created"));
        creations.map(|p| ((p.series.name.clone(), without_le(&p.series)), p.value)).collect()
    }

    fn moment(&self, stamp: f64) -> Option<Timestamp> {
        let seconds = match self.format {
            Format::Text => stamp / 1_000.0,
            Format::OpenMetrics => stamp,
        };
        let since = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
        Timestamp::from_duration(since).ok()
    }
}

/// Creation times by the name of `_created` series and their labels.
type Creations<'a> = HashMap<(String, Vec<&'a (String, String)>), f64>;

fn without_le(series: &Series) -> Vec<&(String, String)> {
    series.labels.iter().filter(|(label, _)| label != "le").collect()
}

/// The name under which the creation time of a counter or histogram is exported.
pub(crate) fn created_name(series: &str) -> Option<String> {
    let base = ["_total", "_bucket", "_count"].iter().find_map(|end| series.strip_suffix(end))?;
    Some(format!("{base}_created"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8], format: Format, chunk: usize) -> Result<Page, PageError> {
        let mut reader = PageReader::new(|name: &str| name.starts_with('a'), 3);
        for part in text.chunks(chunk) {
            reader.feed(part)?;
        }
        reader.finish(format)
    }

    #[test]
    fn only_wanted_series_are_kept_whatever_the_chunks() {
        let text = b"# TYPE a counter\na{x=\"1\"} 5\nb{broken 7\na 6\n";
        for chunk in 1..text.len() {
            let page = read(text, Format::Text, chunk).unwrap();
            let values: Vec<f64> = page.points.iter().map(|p| p.value).collect();
            assert_eq!(values, [5.0, 6.0]);
        }
    }

    #[test]
    fn incomplete_and_broken_pages_are_refused() {
        let text = |text: &str| read(text.as_bytes(), Format::Text, 7).unwrap_err();
        let open = |text: &str| read(text.as_bytes(), Format::OpenMetrics, 7).map(|_| ());
        assert_eq!(text("a 1\na 12"), PageError::Truncated);
        assert_eq!(open("a 1\n"), Err(PageError::Truncated));
        assert_eq!(open("a 1\n# EOF"), Ok(()));
        assert_eq!(open("a 1\n# EOF\n"), Ok(()));
        assert_eq!(open("a 1\n# EOF\na 2\n"), Err(PageError::AfterEnd));
        assert_eq!(text("a 1\na 1\na 1\na 1\n"), PageError::TooMany(3));
        assert_eq!(text(&"x".repeat(70_000)), PageError::LongLine(1));
        let html = text("<!doctype html>\n").to_string();
        assert_eq!(
            html,
            "line 1: it does not begin with a metric's name; is this the metrics page?"
        );
        assert_eq!(
            read(b"a{b=\"\xff\"} 1\n", Format::Text, 7).unwrap_err(),
            PageError::Encoding(1)
        );
    }

    #[test]
    fn timestamps_have_the_unit_of_the_format() {
        let moment = |text: &str, format| {
            let page = read(text.as_bytes(), format, 100).unwrap();
            page.moment(page.points[0].timestamp.unwrap()).unwrap().to_string()
        };
        assert_eq!(moment("a 1 1764000000250\n", Format::Text), "2025-11-24T16:00:00.25Z");
        assert_eq!(
            moment("a 1 1764000000.25\n# EOF\n", Format::OpenMetrics),
            "2025-11-24T16:00:00.25Z"
        );
    }

    #[test]
    fn a_counter_finds_its_creation_time_beside_its_labels() {
        let text = b"a_total{x=\"1\"} 5\na_total{x=\"2\"} 6\na_created{x=\"2\"} 17\n";
        let page = read(text, Format::Text, 100).unwrap();
        let creations = page.creations();
        let of = |i: usize| {
            let series = &page.points[i].series;
            let name = created_name(&series.name).unwrap();
            creations.get(&(name, without_le(series))).copied()
        };
        assert_eq!((of(0), of(1)), (None, Some(17.0)));
        assert_eq!(created_name("a_bucket").as_deref(), Some("a_created"));
    }

    proptest! {
        #[test]
        fn no_page_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), chunk in 1_usize..50) {
            for format in [Format::Text, Format::OpenMetrics] {
                let _ = read(&bytes, format, chunk);
            }
        }
    }
}
