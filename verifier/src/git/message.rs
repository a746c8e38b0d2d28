//! The message of a revert commit: what was undone, why, on which evidence, and how to bring it back.
//!
//! The trailers at its end are read by machines: Serin recognises its own reverts by them. Subjects,
//! names and reasons are foreign text, so each is made one printable line first, and every free line is
//! kept from looking like the end of the message, so that nobody's subject can forge a trailer.

use super::changes::Touched;
use super::commit::{DEPLOYMENT, EVIDENCE, GENERATION, REASON, REVERTS, columns, printable, short};
use super::revert::RevertRequest;

/// Width of the message's lines, in characters.
const WIDTH: usize = 100;

/// Longest subject, in characters: what forges and `git log --oneline` show without cutting.
const SUBJECT: usize = 72;

/// Most reverted commits that are listed by name.
const COMMITS: usize = 30;

/// Most lines of evidence, and of links.
const LINES: usize = 40;

/// The first line of the message.
pub(super) fn subject(ask: &RevertRequest, touched: &Touched) -> String {
    let count = touched.commits.len() + touched.commits_left_out;
    match &touched.only {
        Some(only) => {
            let room = SUBJECT - "Revert \"...\"".len();
            format!("Revert \"{}\"", printable(&only.subject, room))
        }
        None if count == 0 => format!("Revert changes of {}", printable(&ask.service, 50)),
        None => format!("Revert {count} commits of {}", printable(&ask.service, 45)),
    }
}

/// The whole message.
pub(super) fn message(ask: &RevertRequest, touched: &Touched) -> String {
    let mut text = subject(ask, touched);
    text.push_str("\n\n");
    let reason = match printable(&ask.reason, 300) {
        empty if empty.is_empty() => "no reason was given".to_owned(),
        reason => reason,
    };
    paragraph(&mut text, &reason, "", "");
    let deployment = printable(&ask.deployment, 200);
    let (service, verified, bad) =
        (printable(&ask.service, 100), short(ask.verified), short(ask.bad));
    let what = format!(
        "Deployment {deployment} of {service} took {bad} to real traffic and was rolled back to \
         {verified}. This commit takes the files of {service} back to {verified}; later changes are kept."
    );
    text.push('\n');
    paragraph(&mut text, &what, "", "");

    text.push_str("\nReverted commits:\n");
    for commit in touched.commits.iter().rev().take(COMMITS) {
        let merge = if commit.merge() { ", merge" } else { "" };
        let line = format!("{} {} ({}{merge})", commit.short(), commit.subject, commit.author);
        paragraph(&mut text, &line, "  ", "    ");
    }
    let rest = touched.commits.len().saturating_sub(COMMITS) + touched.commits_left_out;
    if rest > 0 {
        paragraph(&mut text, &format!("and {rest} more"), "  ", "  ");
    }
    list(&mut text, "Evidence", &ask.evidence);
    list(&mut text, "Cause", &ask.cause);
    table(&mut text, &ask.table);
    list(&mut text, "Links", &ask.links);

    text.push('\n');
    paragraph(&mut text, "To bring the change back, revert this commit after fixing it.", "", "");
    if touched.merges {
        let warning = "A merge is among the reverted commits: merging the same branch again will not \
                       bring the change back, because Git takes it for merged. Revert this commit first.";
        paragraph(&mut text, warning, "", "");
    }

    text.push('\n');
    let evidence = ask.evidence_hash.as_deref().map(|hash| printable(hash, 100));
    let trailers = [
        (REVERTS, Some(format!("{}..{}", ask.verified, ask.bad))),
        (DEPLOYMENT, Some(deployment)),
        (REASON, Some(reason)),
        (EVIDENCE, evidence.filter(|hash| !hash.is_empty())),
        (GENERATION, Some(ask.generation.to_string())),
    ];
    for (key, value) in trailers {
        if let Some(value) = value {
            text.extend([key, ": ", &value, "\n"]);
        }
    }
    text
}

fn list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    text.extend(["\n", title, ":\n"]);
    for line in lines.iter().take(LINES) {
        paragraph(text, &printable(line, 400), "  ", "    ");
    }
    if lines.len() > LINES {
        paragraph(text, &format!("and {} more", lines.len() - LINES), "  ", "  ");
    }
}

/// Lines whose columns stand below one another: nothing of them is wrapped.
fn table(text: &mut String, lines: &[String]) {
    if lines.iter().all(String::is_empty) {
        return;
    }
    text.push('\n');
    for line in lines.iter().take(LINES) {
        text.extend(["  ", columns(line, WIDTH - 2).trim_end(), "\n"]);
    }
}

/// Writes words in lines of at most [`WIDTH`] characters; a longer word, such as a link, stays whole.
fn paragraph(text: &mut String, words: &str, first: &str, rest: &str) {
    let mut line = first.to_owned();
    let mut width = line.chars().count();
    let mut blank = true;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if !blank && width + 1 + length > WIDTH {
            text.push_str(&line);
            text.push('\n');
            rest.clone_into(&mut line);
            width = rest.chars().count();
            blank = true;
        }
        if blank {
            // `---` ends a message and `#` begins a comment for some of Git's readers.
            if line.is_empty() && (word.starts_with("---") || word.starts_with('#')) {
                line.push(' ');
                width += 1;
            }
        } else {
            line.push(' ');
            width += 1;
        }
        line.push_str(word);
        width += length;
        blank = false;
    }
    text.push_str(&line);
    text.push('\n');
}
