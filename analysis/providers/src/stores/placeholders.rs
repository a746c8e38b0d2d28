//! Placeholders in a query, and how a foreign value is kept from changing what the query means.
//!
//! A label's value comes out of Git or a cluster and may hold anything. It is escaped for a string of the
//! store's language, and a query is refused whose placeholders stand outside of a string.

use crate::subject::{Measure, Source};

/// Marks that would begin a placeholder.
const OPENING: &str = "${";

/// The placeholders that become literals: two moments by the store itself, the step in seconds by `Windows`.
pub(crate) const OWN: [&str; 3] = ["from", "to", "step"];

/// Replaces `${from}` and `${to}`.
pub(crate) fn fill(query: &str, from: &str, to: &str) -> String {
    query.replace("${from}", from).replace("${to}", to)
}

/// Whether a query says which window it reads.
///
/// # Errors
/// Which placeholder is missing and an example.
pub(crate) fn is_windowed(query: &str, example: &str) -> Result<(), String> {
    for name in ["${from}", "${to}"] {
        if !query.contains(name) {
            return Err(format!(
                "the query does not say {name}, so that it would read other intervals than those asked for; \
                 write it like {example}"
            ));
        }
        if query.contains(&format!("'{name}")) || query.contains(&format!("\"{name}")) {
            return Err(format!(
                "{name} stands for a whole literal and takes no quotation marks; write it like {example}"
            ));
        }
    }
    Ok(())
}

/// The queries of a measure, with their placeholders; none where the store's usual ones are meant.
///
/// # Errors
/// When the measure names a metric, which these stores cannot look up.
pub(crate) fn queries<'a>(measure: &'a Measure, store: &str) -> Result<Vec<&'a str>, String> {
    match &measure.source {
        Source::Auto => Ok(Vec::new()),
        Source::Named(named) => Err(format!(
            "{store} cannot be asked for the metric {:?} by its name alone; write the queries `bad` and `total` \
             into the check {:?}",
            named.metric, measure.check
        )),
        Source::Query { bad, total } => Ok(vec![bad, total]),
        Source::Slower { total, slower } => {
            let slower = slower.iter().map(|(_, query)| query.as_str());
            Ok(std::iter::once(total.as_str()).chain(slower).collect())
        }
        Source::Value(value) => Ok(vec![value]),
    }
}

/// How a language writes its strings and comments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strings {
    /// Characters that begin and end a string.
    pub(crate) marks: &'static [char],
    /// Characters that begin and end something else, where escaping does not hold, e.g. a name in SQL.
    pub(crate) others: &'static [char],
    /// Whether a backslash takes the next character's meaning away.
    pub(crate) backslash: bool,
    /// What begins a comment up to the end of the line.
    pub(crate) comment: &'static str,
}

/// Whether every placeholder of a label stands inside of a string, where escaping holds.
///
/// # Errors
/// Which one does not, and what to write.
pub(crate) fn inside_strings(query: &str, strings: Strings) -> Result<(), String> {
    let mut open: Option<char> = None;
    let mut at = 0;
    while let Some(next) = query[at..].chars().next() {
        let rest = &query[at..];
        let mut length = next.len_utf8();
        if let Some(name) = name(rest) {
            let mark = strings.marks.first().copied().unwrap_or('"');
            if open.is_none_or(|open| !strings.marks.contains(&open)) && !OWN.contains(&name) {
                return Err(format!(
                    "${{{name}}} stands outside of a string; write {mark}${{{name}}}{mark}"
                ));
            }
            length = OPENING.len() + name.len();
        } else if open.is_some() && strings.backslash && next == '\\' {
            length += rest[length..].chars().next().map_or(0, char::len_utf8);
        } else if let Some(mark) = open {
            if next == mark {
                open = None;
            }
        } else if rest.starts_with(strings.comment) {
            length = rest.find('\n').unwrap_or(rest.len());
        } else if strings.marks.contains(&next) || strings.others.contains(&next) {
            open = Some(next);
        }
        at += length;
    }
    Ok(())
}

/// The name of the placeholder that `text` begins with.
fn name(text: &str) -> Option<&str> {
    let name = text.strip_prefix(OPENING)?;
    let end = name.find('}')?;
    let name = &name[..end];
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// Refuses a value with one of some characters, a control character or the beginning of a placeholder.
///
/// # Errors
/// What in the value cannot be written safely.
pub(crate) fn without(value: &str, refused: &[char], language: &str) -> Result<String, String> {
    let bad = value.chars().find(|c| c.is_control() || refused.contains(c));
    if let Some(bad) = bad {
        let bad = if bad.is_control() { format!("{bad:?}") } else { format!("`{bad}`") };
        return Err(format!(
            "the value {value:?} holds {bad}, which cannot be written safely into a query of {language}; \
             use another label"
        ));
    }
    if value.contains(OPENING) {
        return Err(format!(
            "the value {value:?} holds \"${{\", which begins a placeholder; use another label"
        ));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKSLASH: Strings =
        Strings { marks: &['\'', '"'], others: &[], backslash: true, comment: "--" };
    const SQL: Strings =
        Strings { marks: &['\''], others: &['"'], backslash: false, comment: "--" };

    #[test]
    fn placeholders_of_labels_belong_into_strings() {
        for good in [
            "a = '${version}' AND b = \"${pod}\" AND time >= ${from}",
            "a = 'it\\'s ${version}'",
            "-- don't\na = '${version}'",
            "a = 'x' -- ${version} ends with the line",
            "",
            "'",
            "'\\",
            "${",
            "${}",
        ] {
            assert_eq!(inside_strings(good, BACKSLASH), Ok(()), "{good}");
        }
        assert_eq!(inside_strings("a = 'it''s ${version}'", SQL), Ok(()));
        for bad in ["a = ${version}", "a = 'x' OR b = ${pod-1}", "a =~ /${version}/", "'\\\\' ${x}"]
        {
            assert!(inside_strings(bad, BACKSLASH).is_err(), "{bad}");
        }
        assert!(
            inside_strings("SELECT \"${version}\"", SQL).is_err(),
            "a name is no string in SQL"
        );
        let error = inside_strings("a = ${version}", BACKSLASH).unwrap_err();
        insta::assert_snapshot!(error);
    }

    #[test]
    fn refused_values_are_named() {
        assert_eq!(without("v1.2.3+b/é", &['\''], "SQL"), Ok("v1.2.3+b/é".to_owned()));
        let refused =
            ["a'b", "a\nb", "a${from}"].map(|value| without(value, &['\''], "SQL").unwrap_err());
        insta::assert_snapshot!(refused.join("\n"));
    }

    #[test]
    fn own_placeholders_are_filled() {
        assert_eq!(fill("${from} ${to} ${x}", "1", "2"), "1 2 ${x}");
        assert_eq!(is_windowed("${from} ${to}", "x"), Ok(()));
        let wrong = ["${from}", "'${from}'"].map(|q| is_windowed(q, "`a < ${to}`").unwrap_err());
        insta::assert_snapshot!(wrong.join("\n"));
    }
}
