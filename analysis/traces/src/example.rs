//! One trace as a person looks at it: the tree, and which span was waited for when.
//!
//! A copy without ids and resources, bounded, so that it can be kept with a deployment's record.

use serde::{Deserialize, Serialize};

use crate::operation::name_of;
use crate::path::critical_path;
use crate::span::{Attributes, Kind, Status, TraceId, Value};
use crate::statistics::as_f64;
use crate::tree::EntrySubtree;

/// Most spans of one example.
pub const MOST_SHOWN: usize = 400;

/// Most attributes of one span, and longest value in characters.
const MOST_ATTRIBUTES: usize = 12;
const LONGEST: usize = 160;

/// Attributes that identify or repeat what is shown already.
const HIDDEN: [&str; 6] = [
    "thread.id",
    "thread.name",
    "exception.stacktrace",
    "code.stacktrace",
    "span.kind",
    "otel.name",
];

/// What begins like this may tell who a visitor is.
const PERSONAL: [&str; 7] = [
    "enduser.",
    "user.",
    "client.",
    "source.",
    "http.request.header.",
    "http.client_ip",
    "url.query",
];

/// Addresses, of which the query is not shown: it may hold a token.
const ADDRESSES: [&str; 3] = ["url.full", "http.url", "http.target"];

/// One entry subtree, ready to be drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// The trace's id.
    pub trace: TraceId,
    /// The version that answered, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Nanoseconds since 1970 at which the entry began.
    pub start: u64,
    /// Duration of the entry in seconds.
    pub seconds: f64,
    /// Spans, each parent before its children, children by time.
    pub spans: Vec<Shown>,
    /// Spans that did not fit, those with the least time on the path.
    pub left_out: usize,
    /// The critical path in order of time: adjacent stretches that cover the entry exactly.
    pub path: Vec<Stretch>,
}

/// One span of an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Place of its parent among the spans; `None` for the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<usize>,
    /// Who sent it.
    pub service: String,
    /// Which side of a call.
    pub kind: Kind,
    /// The operation's name, identifiers masked.
    pub name: String,
    /// Seconds after the entry's start; negative where clocks differ.
    pub begins: f64,
    /// Duration in seconds.
    pub seconds: f64,
    /// Its own time on the critical path, in seconds.
    pub own: f64,
    /// Whether it failed.
    pub failed: bool,
    /// Some attributes as text, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, String)>,
}

/// A stretch of the critical path.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Place of the span among those shown; `None` if it did not fit.
    pub span: Option<usize>,
    /// Seconds after the entry's start.
    pub from: f64,
    /// Seconds after the entry's start, after `from`.
    pub to: f64,
}

/// A subtree as an example.
pub fn example(subtree: &EntrySubtree) -> Example {
    let spans = subtree.spans();
    let entry = subtree.entry();
    let path = critical_path(subtree);
    let mut own = vec![0_u64; spans.len()];
    for segment in &path {
        own[segment.span] += segment.end - segment.start;
    }
    let place = places(subtree, &own);
    let since = |time: u64| {
        if entry.start <= time {
            as_f64(time - entry.start) * 1e-9
        } else {
            -as_f64(entry.start - time) * 1e-9
        }
    };
    let mut shown: Vec<(usize, Shown)> = (0..spans.len())
        .filter_map(|index| {
            let span = &spans[index];
            let shown = Shown {
                parent: subtree.parent(index).and_then(|parent| place[parent]),
                service: cut(&span.resource.service),
                kind: span.kind,
                name: cut(&name_of(span)),
                begins: since(span.start),
                seconds: as_f64(span.end.saturating_sub(span.start)) * 1e-9,
                own: as_f64(own[index]) * 1e-9,
                failed: span.status == Status::Error,
                attributes: attributes(&span.attributes),
            };
            Some((place[index]?, shown))
        })
        .collect();
    shown.sort_unstable_by_key(|(place, _)| *place);
    Example {
        trace: entry.trace,
        version: entry.resource.version().map(cut),
        start: entry.start,
        seconds: as_f64(entry.end.saturating_sub(entry.start)) * 1e-9,
        left_out: spans.len() - shown.len(),
        spans: shown.into_iter().map(|(_, shown)| shown).collect(),
        path: path
            .iter()
            .map(|segment| Stretch {
                span: place[segment.span],
                from: since(segment.start),
                to: since(segment.end),
            })
            .collect(),
    }
}

/// Where each span is shown: depth first, children by time. Of too many, those with the most time on the path
/// and their ancestors stay.
fn places(subtree: &EntrySubtree, own: &[u64]) -> Vec<Option<usize>> {
    let n = own.len();
    let mut stays = vec![n <= MOST_SHOWN; n];
    if n > MOST_SHOWN {
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|index| std::cmp::Reverse(own[*index]));
        let mut count = 0;
        for index in order {
            let line: Vec<usize> = std::iter::successors(Some(index), |at| subtree.parent(*at))
                .take_while(|at| !stays[*at])
                .collect();
            if count + line.len() <= MOST_SHOWN {
                count += line.len();
                for at in line {
                    stays[at] = true;
                }
            }
        }
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); n];
    for index in (1..n).filter(|index| stays[*index]) {
        if let Some(parent) = subtree.parent(index) {
            children[parent].push(index);
        }
    }
    let mut places = vec![None; n];
    let mut stack: Vec<usize> = if stays[0] { vec![0] } else { Vec::new() };
    let mut next = 0;
    while let Some(index) = stack.pop() {
        places[index] = Some(next);
        next += 1;
        let below = &mut children[index];
        below.sort_by_key(|child| std::cmp::Reverse((subtree.spans()[*child].start, *child)));
        stack.append(below);
    }
    places
}

fn attributes(all: &Attributes) -> Vec<(String, String)> {
    let is_told = |name: &str| {
        !HIDDEN.contains(&name) && !PERSONAL.iter().any(|start| name.starts_with(start))
    };
    let told = all.0.iter().filter(|(name, _)| is_told(name));
    let shown = |(name, value): &(std::sync::Arc<str>, Value)| {
        let text = value.to_string();
        let is_address = ADDRESSES.contains(&&**name);
        let text =
            if is_address { text.split(['?', '#']).next().unwrap_or_default() } else { &text };
        (cut(name), cut(text))
    };
    told.take(MOST_ATTRIBUTES).map(shown).collect()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{child, subtree};

    #[test]
    fn a_small_trace_is_shown_as_it_is() {
        let tree = subtree(vec![
            child(1, 0, "GET /cart", 0, 10),
            child(3, 1, "render", 7, 9),
            child(2, 1, "load", 1, 6),
            child(4, 2, "query", 2, 5),
        ]);
        let example = example(&tree);
        let names: Vec<_> = example.spans.iter().map(|span| (&*span.name, span.parent)).collect();
        let expected =
            [("GET /cart", None), ("load", Some(0)), ("query", Some(1)), ("render", Some(0))];
        assert_eq!(names, expected);
        let covered: f64 = example.path.iter().map(|stretch| stretch.to - stretch.from).sum();
        assert!((covered - example.seconds).abs() < 1e-12);
        let own: f64 = example.spans.iter().map(|span| span.own).sum();
        assert!((own - 0.010).abs() < 1e-12);
        assert_eq!(example.left_out, 0);
    }

    #[test]
    fn nothing_tells_who_the_visitor_was() {
        let mut span = child(1, 0, "GET /cart", 0, 10);
        span.attributes = [
            ("enduser.id", "ada".into()),
            ("user.email", "ada@shop.example".into()),
            ("client.address", "192.0.2.7".into()),
            ("http.request.header.cookie", "session=1".into()),
            ("url.query", "token=1".into()),
            ("url.full", "https://shop.example/cart?token=1#top".into()),
            ("user_agent.original", "Firefox".into()),
            ("cart.lines", 7.into()),
        ]
        .into_iter()
        .collect();
        let shown = example(&subtree(vec![span])).spans.remove(0).attributes;
        let shown: Vec<_> = shown.iter().map(|(name, value)| (&**name, &**value)).collect();
        let address = ("url.full", "https://shop.example/cart");
        assert_eq!(shown, [address, ("user_agent.original", "Firefox"), ("cart.lines", "7")]);
    }

    #[test]
    fn a_large_trace_keeps_what_was_waited_for() {
        let mut spans = vec![child(1, 0, "entry", 0, 10_000)];
        let short = (0..1_000).map(|n| child(n + 2, 1, "row", 5 * n, 5 * n + 1));
        spans.extend(short);
        spans.push(child(2_000, 1, "slow", 6_000, 9_000));
        let example = example(&subtree(spans));
        assert_eq!(example.spans.len(), MOST_SHOWN);
        assert_eq!(example.left_out, 1_002 - MOST_SHOWN);
        assert!(example.spans.iter().any(|span| span.name == "slow"));
        assert!(example.spans.iter().skip(1).all(|span| span.parent == Some(0)));
    }
}
