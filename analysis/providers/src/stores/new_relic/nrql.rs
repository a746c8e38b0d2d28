//! NRQL and the `GraphQL` around it.

use crate::stores::Window;

/// NRQL with its time.
pub(super) fn with_time(query: &str, window: Window) -> String {
    let limit = if has_word(query, "FACET") { " LIMIT MAX" } else { "" };
    let (from, to) = (window.from.as_millisecond(), window.to.as_millisecond());
    let step = window.step.as_secs();
    format!("{query}{limit} TIMESERIES {step} seconds SINCE {from} UNTIL {to}")
}

/// Whether a word stands in NRQL outside of quotes.
pub(super) fn has_word(query: &str, wanted: &str) -> bool {
    let mut bare = String::with_capacity(query.len());
    let mut open: Option<char> = None;
    let mut chars = query.chars();
    while let Some(c) = chars.next() {
        match open {
            Some(_) if c == '\\' => {
                chars.next();
            }
            Some(mark) if c == mark => open = None,
            Some(_) => {}
            None if matches!(c, '\'' | '`' | '"') => {
                open = Some(c);
                bare.push(' ');
            }
            None => bare.push(c),
        }
    }
    bare.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w.eq_ignore_ascii_case(wanted))
}

const RESULT: &str = "{results metadata{messages} queryProgress{queryId completed retryAfter}}";

/// The document with an alias for each query; everything foreign is a variable.
pub(super) fn document(places: &[usize], is_start: bool) -> String {
    let kind = if is_start { "Nrql!" } else { "ID!" };
    let variables: Vec<String> = places.iter().map(|n| format!("$q{n}:{kind}")).collect();
    let fields: Vec<String> = places
        .iter()
        .map(|n| {
            if is_start {
                format!("q{n}:nrql(query:$q{n},async:true){RESULT}")
            } else {
                format!("q{n}:nrqlQueryProgress(queryId:$q{n}){RESULT}")
            }
        })
        .collect();
    format!(
        "query($a:Int!,{}){{actor{{account(id:$a){{{}}}}}}}",
        variables.join(","),
        fields.join(" ")
    )
}
