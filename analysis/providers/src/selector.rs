//! Selectors of raw counters, as Prometheus writes them, and the series that they select.
//!
//! A policy's own query must be a plain selector: `rate()`, `sum()` and arithmetic destroy the raw
//! counts that the tests need, so they are refused with an explanation.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr};

/// The name and the labels of one series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Series {
    /// The metric's name.
    pub name: String,
    /// Labels by name, sorted, without the metric's name.
    pub labels: Vec<(String, String)>,
}

impl Series {
    /// A series with its labels put in order.
    pub fn new(name: impl Into<String>, mut labels: Vec<(String, String)>) -> Self {
        labels.sort();
        Self { name: name.into(), labels }
    }

    /// The value of a label; empty when the series does not have it, as in Prometheus.
    pub fn label(&self, name: &str) -> &str {
        self.labels
            .binary_search_by(|(key, _)| key.as_str().cmp(name))
            .map_or("", |at| self.labels[at].1.as_str())
    }
}

/// A plain selector of one metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The metric's name.
    pub name: String,
    matchers: Vec<Matcher>,
}

/// Why a selector is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Not PromQL at all.
    #[error("`{text}` is not PromQL: {cause}")]
    Syntax {
        /// What was written.
        text: String,
        /// What the parser says.
        cause: String,
    },
    /// PromQL, but more than a selector.
    #[error(
        "`{text}` is not a plain counter; write only the counter, e.g. `orders_total{{channel=\"web\"}}`, without rate(), sum(), [5m] or arithmetic: Serin takes the raw counts and their differences itself"
    )]
    NotPlain {
        /// What was written.
        text: String,
    },
    /// A selector without a metric's name.
    #[error("`{text}` names no metric; begin it with a counter's name")]
    NoName {
        /// What was written.
        text: String,
    },
}

/// Longest selector that is parsed; a policy's line is far shorter, and the parser recurses.
const LONGEST: usize = 4_096;

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// When the text is not PromQL, is more than a selector, or names no metric.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let shown = || crate::error::bounded(text.to_owned());
        let expression = parsed(text)?;
        let Expr::VectorSelector(selector) = expression else {
            return Err(SelectorError::NotPlain { text: shown() });
        };
        if selector.offset.is_some()
            || selector.at.is_some()
            || !selector.matchers.or_matchers.is_empty()
        {
            return Err(SelectorError::NotPlain { text: shown() });
        }
        let (names, matchers): (Vec<_>, Vec<_>) =
            selector.matchers.matchers.into_iter().partition(|m| m.name == "__name__");
        let name = match (selector.name, names.as_slice()) {
            (Some(name), _) => name,
            (None, [Matcher { op: MatchOp::Equal, value, .. }]) => value.clone(),
            (None, _) => return Err(SelectorError::NoName { text: shown() }),
        };
        Ok(Self { name, matchers })
    }

    /// A selector by a metric's name and exact labels.
    pub fn exact<'a>(
        name: impl Into<String>,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        Self {
            name: name.into(),
            matchers: labels
                .into_iter()
                .map(|(name, value)| Matcher::new(MatchOp::Equal, name, value))
                .collect(),
        }
    }

    /// The same of another metric.
    pub(crate) fn renamed(&self, name: &str) -> Self {
        Self { name: name.to_owned(), matchers: self.matchers.clone() }
    }

    /// Whether a series is selected.
    pub fn selects(&self, series: &Series) -> bool {
        series.name == self.name && self.matchers.iter().all(|m| m.is_match(series.label(&m.name)))
    }

    /// The matchers without the name, in PromQL, each followed by nothing.
    pub(crate) fn matchers(&self) -> Vec<String> {
        self.matchers.iter().map(|m| format!("{}{}{}", m.name, m.op, quoted(&m.value))).collect()
    }
}

/// PromQL of a policy, of a length and depth that the parser's recursion can take.
///
/// # Errors
/// When it is none, or too much of it.
pub(crate) fn parsed(text: &str) -> Result<Expr, SelectorError> {
    let shown = || crate::error::bounded(text.to_owned());
    if text.len() > LONGEST {
        let cause = format!("longer than {LONGEST} bytes");
        return Err(SelectorError::Syntax { text: shown(), cause });
    }
    // Deep nesting would exhaust the stack.
    if text.matches(['(', '-', '+', '[']).count() > 64 {
        return Err(SelectorError::NotPlain { text: shown() });
    }
    parser::parse(text).map_err(|cause| SelectorError::Syntax { text: shown(), cause })
}

/// A PromQL string literal.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A literal text as a part of a regular expression (RE2 syntax).
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, labels: &[(&str, &str)]) -> Series {
        Series::new(name, labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_plain_counter_selects_its_series() {
        let selector =
            Selector::parse(r#"orders_total{channel=~"web|app", region!="eu"}"#).unwrap();
        assert_eq!(selector.name, "orders_total");
        assert!(selector.selects(&series("orders_total", &[("channel", "web")])));
        assert!(!selector.selects(&series("orders_total", &[("channel", "webx")])));
        assert!(
            !selector.selects(&series("orders_total", &[("channel", "web"), ("region", "eu")]))
        );
        assert!(!selector.selects(&series("orders", &[("channel", "web")])));
        assert_eq!(selector.matchers(), [r#"channel=~"web|app""#, r#"region!="eu""#]);
        assert_eq!(Selector::parse(r#"{__name__="a:b"}"#).unwrap().name, "a:b");
    }

    #[test]
    fn anything_else_is_refused_with_help() {
        let told: Vec<String> = [
            "rate(orders_total[5m])",
            "orders_total[5m]",
            "sum(orders_total)",
            "orders_total offset 5m",
            "orders_total / orders_total",
            "{channel=\"web\"}",
            "orders_total{",
            "orders_total{channel=~\"(\"}",
            "",
            "1",
        ]
        .into_iter()
        .map(|text| Selector::parse(text).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(told.join("\n"));
        assert!(Selector::parse(&"(".repeat(100_000)).is_err());
        assert!(Selector::parse(&"(".repeat(4_000)).is_err());
        assert!(Selector::parse(&"x".repeat(10_000)).is_err());
    }

    #[test]
    fn texts_are_quoted_for_promql() {
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
        assert_eq!(escaped("a.b|c"), r"a\.b\|c");
    }
}
