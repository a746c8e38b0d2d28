//! `InfluxDB` 2: Flux, answered in CSV tables, with an error as a table of its own.
//!
//! Format: <https://docs.influxdata.com/influxdb/v2/reference/syntax/annotated-csv/>. The tables have no
//! annotations, as nothing but names of columns is needed.

use std::collections::{BTreeMap, HashMap};

use csv::StringRecord;

use super::{Points, series};
use crate::error::FetchError;
use crate::stores::attempt::Base;
use crate::stores::placeholders::{self, Strings};
use crate::stores::{Reply, Window, moment};

/// How a query is written.
pub(super) const EXAMPLE: &str = "`from(bucket: \"shop\") |> range(start: ${from}, stop: ${to}) |> filter(fn: (r) => \
     r._measurement == \"http\" and r._field == \"requests\" and r.version == \"${version}\") |> group() |> \
     aggregateWindow(every: ${step}s, fn: sum, timeSrc: \"_start\")`";

/// Fills the window in, as literals of moments.
pub(super) fn fill(query: &str, window: Window) -> String {
    placeholders::fill(query, &window.from.to_string(), &window.to.to_string())
}

/// A value for the inside of a string; `${` was refused before.
pub(super) fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Checks a query without asking.
pub(super) fn check(query: &str) -> Result<(), String> {
    let dense: String = query.split_whitespace().collect();
    if dense.contains("aggregateWindow(") && !dense.contains("timeSrc:\"_start\"") {
        return Err(
            "aggregateWindow dates an interval by its end; write timeSrc: \"_start\" into it"
                .to_owned(),
        );
    }
    if dense.contains("|>to(") {
        return Err("the query writes with to(); a check may only read".to_owned());
    }
    let marks = Strings { marks: &['"'], others: &[], backslash: true, comment: "//" };
    placeholders::inside_strings(query, marks)
}

/// Which columns of a table are read.
struct Header {
    time: usize,
    value: usize,
    instance: Option<usize>,
    length: usize,
}

/// The row of names that begins a table.
enum Begin {
    Table(Header),
    Error,
}

/// Reads an answer with success as its status.
pub(super) fn decode(base: &Base, body: &[u8]) -> Result<Reply, FetchError> {
    let cut = || base.broken(&std::io::Error::other("it ends in the middle of a row"));
    if !body.is_empty() && !body.ends_with(b"\n") {
        return Err(cut());
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(body);
    let mut begun: Option<Begin> = None;
    let mut rows: BTreeMap<Option<String>, Points> = BTreeMap::new();
    // Which table an instance was first seen in.
    let mut tables: HashMap<Option<String>, (usize, String)> = HashMap::new();
    let mut table = 0;
    for record in reader.records() {
        let record = record.map_err(|error| base.broken(&error))?;
        let cell = |at: usize| record.get(at).unwrap_or("");
        if cell(0).starts_with('#') {
            continue;
        }
        if let Some(begin) = begins(base, &record)? {
            begun = Some(begin);
            table += 1;
            continue;
        }
        match &begun {
            Some(Begin::Error) => return Err(failed(base, cell(1))),
            None => return Err(base.unreadable("it does not begin with names of columns")),
            Some(Begin::Table(header)) => {
                if record.len() != header.length {
                    return Err(cut());
                }
                let at = moment::of_text(cell(header.time)).ok_or_else(|| {
                    base.unreadable(format!("{:?} is no moment", cell(header.time)))
                })?;
                let value = match cell(header.value) {
                    "" => None,
                    text => Some(text.parse::<f64>().map_err(|_| {
                        base.unreadable(format!("{text:?} in the column of counts is no number"))
                    })?),
                };
                let instance = header.instance.map(|at| cell(at).to_owned());
                let place = (table, cell(2).to_owned());
                if *tables.entry(instance.clone()).or_insert_with(|| place.clone()) != place {
                    return Err(base.unreadable(
                        "it has several tables for one instance; write group() before aggregateWindow, or name \
                         the column that tells processes apart \"instance\"",
                    ));
                }
                rows.entry(instance).or_default().push((at, value));
            }
        }
    }
    if let Some(Begin::Error) = begun {
        return Err(cut());
    }
    Ok(Reply { series: series(rows), incomplete: None })
}

/// Whether a row names columns: of a table, or of an error.
fn begins(base: &Base, record: &StringRecord) -> Result<Option<Begin>, FetchError> {
    let cells: Vec<&str> = record.iter().collect();
    if matches!(cells.as_slice(), ["", "error", "reference"] | ["error", "reference"]) {
        return Ok(Some(Begin::Error));
    }
    if !matches!(cells.as_slice(), ["", "result", "table", ..]) {
        return Ok(None);
    }
    let find =
        |names: [&str; 2]| names.iter().find_map(|name| cells.iter().position(|c| c == name));
    let missing = |what: &str| {
        base.unreadable(format!("a table has no {what}, only {}", cells[3..].join(", ")))
    };
    Ok(Some(Begin::Table(Header {
        time: find(["_time", "time"]).ok_or_else(|| missing("_time"))?,
        value: find(["_value", "count"]).ok_or_else(|| missing("_value"))?,
        instance: cells.iter().position(|c| *c == "instance"),
        length: cells.len(),
    })))
}

/// An error that came while the query ran. A query that cannot run at all is refused with a status.
fn failed(base: &Base, error: &str) -> FetchError {
    FetchError::transient(format!("{} broke the query off: {}", base.shown(), base.hide(error)))
}
