//! The root cause in few words: one line for alerts, some lines for the message of a revert commit.
//!
//! Names in them come from whoever sends traces. No line holds control characters or signs that turn the direction of
//! text, and none looks like a trailer of Git, so that no span can sign off a commit.

use analysis_traces::percent;

use super::Cause;

/// Most lines for a commit message, and their width in characters.
const MOST_LINES: usize = 12;
const WIDTH: usize = 100;

/// Width of the table in alerts and commits, in characters, and its rows.
const TABLE_WIDTH: usize = 96;
const TABLE_ROWS: usize = 5;

/// Findings that a commit message tells, and the lines of each.
const FINDINGS: usize = 3;
const LINES_EACH: usize = 2;

/// The first finding in one line of at most 280 characters, as
/// ``p99 +85 ms, mean +64 ms: 62 ms from 16 more `SELECT cart_items` per `GET /cart`, called from `CartRepo::load`
/// (src/cart/repo.rs:88, changed in 4f2c1a9)``.
pub fn headline(cause: &Cause) -> String {
    plain(&cause.root.headline())
}

/// What a revert commit says of it: at most 12 lines of at most 100 characters.
pub fn lines(cause: &Cause) -> Vec<String> {
    let root = &cause.root;
    let headline = headline(cause);
    let mut lines = wrapped(&headline, WIDTH, "  ");
    for finding in root.findings.iter().take(FINDINGS) {
        let what = plain(&root.what(finding));
        if headline.starts_with(&what) {
            continue;
        }
        let words = format!("- {what}");
        let mut of_finding = wrapped(&words, WIDTH, "  ");
        if of_finding.len() > LINES_EACH {
            of_finding.truncate(LINES_EACH);
            if let Some(last) = of_finding.last_mut() {
                *last = format!("{}...", cut(last, WIDTH - 3));
            }
        }
        lines.extend(of_finding);
    }
    if let Some(finding) = root.findings.iter().find(|finding| finding.suspect.is_some())
        && let Some(suspect) = &finding.suspect
    {
        let line = format!(
            "Suspect commit {} of {} ({} of the evidence, confidence {}) {} {}",
            suspect.position,
            suspect.of,
            percent(suspect.share),
            finding.confidence,
            suspect.short(),
            suspect.subject,
        );
        lines.push(cut(&plain(&line), WIDTH).to_owned());
    }
    let ids = [("baseline", &cause.baseline), ("canary", &cause.canary)];
    let ids: Vec<String> = ids
        .into_iter()
        .filter_map(|(arm, example)| Some(format!("{} ({arm})", example.as_ref()?.trace)))
        .collect();
    if !ids.is_empty() {
        lines.push(format!("Traces {}", ids.join(", ")));
    }
    lines.truncate(MOST_LINES);
    lines.into_iter().map(|line| if is_special(&line) { quoted(&line) } else { line }).collect()
}

/// The operations that changed most, for alerts and commits: a head, the first rows and the sum, at most 96 characters
/// wide where names can be cut that far.
pub fn table(cause: &Cause) -> Vec<String> {
    let table = cause.root.table_within(TABLE_WIDTH);
    let harmless = |line: &str| -> String { line.chars().filter(|c| is_harmless(*c)).collect() };
    let lines: Vec<String> = table.lines().map(harmless).collect();
    let Some((sum, rows)) = lines.split_last() else { return Vec::new() };
    rows.iter().take(1 + TABLE_ROWS).chain(std::iter::once(sum)).cloned().collect()
}

/// Whether Git or one of its readers takes the line for something else than text.
fn is_special(line: &str) -> bool {
    let token = line.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-');
    let is_trailer = token.len() < line.len() && token.trim_start().starts_with([':', '=', '#']);
    let marks = ["#", "---", "diff ", "Index: ", "(cherry picked from"];
    is_trailer || marks.iter().any(|mark| line.starts_with(mark))
}

fn quoted(line: &str) -> String {
    format!("> {}", cut(line, WIDTH - 2))
}

/// One line of text without control characters and signs that are not seen.
pub(crate) fn plain(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for sign in text.chars() {
        if sign.is_whitespace() || sign.is_control() {
            if !line.is_empty() && !line.ends_with(' ') {
                line.push(' ');
            }
        } else if is_harmless(sign) {
            line.push(sign);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Whether a sign is seen, and changes neither how others are shown nor what a terminal does.
pub(crate) fn is_harmless(sign: char) -> bool {
    !sign.is_control()
        && !matches!(sign,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// At most `most` characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(at, _)| &text[..at])
}

/// The same, a cut marked by an ellipsis.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        format!("{}…", cut(text, most.saturating_sub(1)))
    }
}

/// One line of text as lines of at most `width` characters, all but the first begun with `indent`; words longer than a
/// line are cut.
pub(crate) fn wrapped(text: &str, width: usize, indent: &str) -> Vec<String> {
    let room = width.saturating_sub(indent.chars().count()).max(8);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    let mut blank = true;
    for word in words(text) {
        let mut rest = word;
        while !rest.is_empty() {
            let part = cut(rest, room);
            rest = &rest[part.len()..];
            let count = part.chars().count();
            if !blank && length + 1 + count > width {
                lines.push(std::mem::replace(&mut line, indent.to_owned()));
                (length, blank) = (indent.chars().count(), true);
            }
            if !blank {
                line.push(' ');
                length += 1;
            }
            line.push_str(part);
            (length, blank) = (length + count, false);
        }
    }
    if !blank {
        lines.push(line);
    }
    lines
}

/// The same with blanks that do not break between a number and its unit.
pub(crate) fn unbroken(text: &str) -> String {
    words(text).map(|word| word.replace(' ', "\u{a0}")).collect::<Vec<_>>().join(" ")
}

/// Words between blanks, a unit together with its number.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text.trim();
    std::iter::from_fn(move || {
        let is_unit = |next: &str| {
            let next = next.split(' ').next().unwrap_or_default();
            matches!(next.trim_end_matches([';', ',', '.', ')']), "s" | "ms" | "us" | "%")
        };
        let mut end = rest.find(' ').unwrap_or(rest.len());
        if rest[..end].ends_with(|c: char| c.is_ascii_digit())
            && is_unit(rest[end..].trim_start_matches(' '))
        {
            let unit = rest.len() - rest[end..].trim_start_matches(' ').len();
            end = rest[unit..].find(' ').map_or(rest.len(), |length| unit + length);
        }
        let (word, after) = rest.split_at(end);
        rest = after.trim_start_matches(' ');
        (!word.is_empty()).then_some(word)
    })
}

#[cfg(test)]
mod tests;
