//! Queries in `TraceQL`.

use analysis_traces::Kept;

use crate::traces::labels::Tag;
use crate::traces::source::Search;

/// The conditions of a request that the service answers.
fn conditions(service: &str, label: Option<&Vec<Tag>>) -> Vec<String> {
    let mut all = vec![
        format!("resource.service.name = {}", quoted(service)),
        "(kind = server || kind = consumer)".to_owned(),
    ];
    if let Some(label) = label {
        let any: Vec<String> = label
            .iter()
            .map(|tag| format!("resource.{} = {}", tag.name, quoted(&tag.value)))
            .collect();
        all.push(match &*any {
            [one] => one.clone(),
            several => format!("({})", several.join(" || ")),
        });
    }
    all
}

/// The service's requests.
pub(super) fn entries(service: &str, label: Option<&Vec<Tag>>) -> String {
    format!("{{ {} }}", conditions(service, label).join(" && "))
}

/// A search, which answers the route of what it finds.
pub(super) fn search(search: &Search<'_>) -> String {
    let mut all = conditions(search.service, search.label);
    match search.kept {
        Kept::Uniform => {}
        Kept::Slow => all.push(format!("duration >= {}us", search.slower.as_micros())),
        Kept::Error => all.push("status = error".to_owned()),
    }
    format!("{{ {} }} | select(resource.service.version, span.http.route, name)", all.join(" && "))
}

/// A count of all requests. `with(sample=...)` would be faster and an estimate.
pub(super) fn count(service: &str, label: Option<&Vec<Tag>>) -> String {
    format!("{} | count_over_time() by (resource.service.version, status)", entries(service, label))
}

/// A string; control characters were refused before.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        let tag = Tag { name: "service.version", value: r#"1" || true || "\"#.to_owned() };
        insta::assert_snapshot!(entries("a\"b", Some(&vec![tag])), @r#"{ resource.service.name = "a\"b" && (kind = server || kind = consumer) && resource.service.version = "1\" || true || \"\\" }"#);
    }
}
