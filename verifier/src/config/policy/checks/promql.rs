//! PromQL that a policy writes: counters as plain selectors, so that their raw counts can be tested, and
//! for gauges anything with one value.

use analysis_providers::selector::{Selector, SelectorError};
use promql_parser::parser::{self, value::ValueType};

use crate::config::problem::quote;
use crate::config::reader::Wrong;
use crate::config::values;

const RAW: &str = "Serin takes the raw counts and their differences itself";

const COUNTER: &str = "write a counter with its labels, e.g. orders_total{channel=\"web\"}";

/// A counter: a plain selector.
pub(super) fn counter(text: &str) -> Result<String, Wrong> {
    let text = values::query(text)?;
    match Selector::parse(&text) {
        Ok(_) => Ok(text),
        Err(SelectorError::NotPlain { .. }) => {
            let hint = match plain(&text) {
                Some(inner) => format!("write {inner}, without what is around it; {RAW}"),
                None => {
                    format!("write a counter alone, e.g. orders_total{{channel=\"web\"}}; {RAW}")
                }
            };
            Err(Wrong::new(format!("{} is not a plain counter", quote(&text)), hint))
        }
        Err(SelectorError::Syntax { cause, .. }) => Err(syntax(&text, &cause, COUNTER)),
        Err(SelectorError::NoName { .. }) => Err(Wrong::new(
            format!("{} names no metric", quote(&text)),
            "begin it with a counter's name, e.g. orders_total{channel=\"web\"}",
        )),
    }
}

/// A query that has a value for each series or one for all.
pub(super) fn value(text: &str) -> Result<String, Wrong> {
    let text = values::query(text)?;
    // The parser recurses; a query that a person writes nests a few times.
    if text.matches(['(', '-', '+', '[']).count() > 64 {
        let message = format!("{} nests too deep to be read", quote(&text));
        return Err(Wrong::new(message, "write a simpler query, or record it by a rule"));
    }
    match parser::parse(&text).map(|query| query.value_type()) {
        Ok(ValueType::Vector | ValueType::Scalar) => Ok(text),
        Ok(ValueType::Matrix | ValueType::String) => Err(Wrong::new(
            format!("{} has no single value", quote(&text)),
            "write what the gauge is now, without a range such as [5m]",
        )),
        Err(cause) => Err(syntax(&text, &cause, "write e.g. process_resident_memory_bytes")),
    }
}

fn syntax(text: &str, cause: &str, hint: &str) -> Wrong {
    let cause = cause.lines().next().unwrap_or_default();
    Wrong::new(format!("{} is not PromQL: {}", quote(text), cause.trim_end_matches('.')), hint)
}

/// The one counter inside of `sum(rate(counter[5m]))` and the like.
fn plain(text: &str) -> Option<&str> {
    let inner = text.rsplit_once('(').map_or(text, |(_, inner)| inner);
    let inner = inner.split_once(')').map_or(inner, |(inner, _)| inner);
    let inner = inner.split_once('[').map_or(inner, |(inner, _)| inner).trim();
    Selector::parse(inner).is_ok().then_some(inner)
}
