//! From what was found to the change that made it: places in the code against the diff of the deployed range.
//!
//! `evidence = sum over suspects of weight x (0.5 path + 0.3 function + 0.2 line)`. Spans name places by the stable
//! conventions `code.file.path`, `code.function.name`, `code.line.number` (OpenTelemetry 1.33 and later) or the older
//! `code.filepath`, `code.function`, `code.lineno`, `code.namespace`. No match at all is worth knowing too: then a
//! dependency, a setting, the image or the schema is the more likely cause.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::frames::Frame;
use crate::span::Span;

/// Less evidence than this names no commit.
const LEAST_EVIDENCE: f64 = 0.25;

/// Lines around a changed one that still count half.
const NEAR: u32 = 5;

/// What a name found in the changed text counts, where spans name no places.
const TEXT: f64 = 0.3;

/// The deployed range, commit by commit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// From the oldest to the newest.
    pub commits: Vec<Commit>,
}

/// One commit of the range.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Full hash.
    pub id: String,
    /// First line of its message.
    pub subject: String,
    /// What of it is left in the deployed version.
    pub files: Vec<ChangedFile>,
}

/// A file that a commit changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Path from the top of the repository, with `/`.
    pub path: String,
    /// Its changes.
    pub hunks: Vec<Hunk>,
}

/// Lines that a commit changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hunk {
    /// First line in the deployed version, from 1.
    pub start: u32,
    /// How many lines; 0 where lines were only removed, before `start`.
    pub lines: u32,
    /// The function that Git shows after `@@`; may be empty.
    #[serde(default)]
    pub function: String,
    /// The new lines; may be empty.
    #[serde(default)]
    pub added: String,
}

/// How well a place matches a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matched {
    /// A name (table, route) stands in the changed lines.
    Text,
    /// The file was changed.
    File,
    /// The function was changed, or lines close by.
    Function,
    /// The very line was changed.
    Line,
}

/// The commit that most likely made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// Its full hash.
    pub commit: String,
    /// First line of its message.
    pub subject: String,
    /// Its place in the range, from 1, oldest first.
    pub position: usize,
    /// Commits of the range.
    pub of: usize,
    /// Its share of the evidence of all commits, in (0, 1].
    pub share: f64,
    /// The changed file that matches best.
    pub file: String,
    /// The line in it that a span or a frame named, or the first changed one.
    pub line: Option<u32>,
    /// How well.
    pub matched: Matched,
}

impl Suspect {
    /// The hash as people write it.
    pub fn short(&self) -> &str {
        crate::mask::cut(&self.commit, 7)
    }
}

/// The place in the code that a span names, if any.
pub fn place_of(span: &Span) -> Option<Frame> {
    let attributes = &span.attributes;
    let file = attributes.text(&["code.file.path", "code.filepath"]).unwrap_or_default();
    let name = attributes.text(&["code.function.name", "code.function"]).unwrap_or_default();
    if file.is_empty() && name.is_empty() {
        return None;
    }
    let function = match attributes.text(&["code.namespace"]).filter(|_| !name.is_empty()) {
        Some(namespace) if !name.contains(['.', ':']) => format!("{namespace}.{name}"),
        Some(_) | None => name.to_owned(),
    };
    let line = ["code.line.number", "code.lineno"]
        .iter()
        .find_map(|name| attributes.get(name)?.to_string().parse().ok());
    let cut = |text: &str| crate::mask::cut(text, 512).to_owned();
    Some(Frame { function: cut(&function), file: cut(file), line })
}

/// One comparison of a place with a change.
#[derive(Debug, Clone, Copy)]
struct Match<'a> {
    score: f64,
    matched: Matched,
    file: &'a str,
    line: Option<u32>,
}

/// The commit that these places, each with its weight, speak against most; else the one whose changed lines name one
/// of `words`. `None` if the range has nothing to do with them.
pub fn suspect(places: &[(Frame, f64)], words: &[String], diff: &Diff) -> Option<Suspect> {
    let paths: BTreeSet<&str> =
        diff.commits.iter().flat_map(|commit| &commit.files).map(|file| &*file.path).collect();
    let mut scores: Vec<(f64, Option<Match<'_>>)> = vec![(0.0, None); diff.commits.len()];
    for (place, weight) in places {
        let best_path = paths.iter().map(|path| common(&place.file, path)).max().unwrap_or(0);
        let tied = paths.iter().filter(|path| common(&place.file, path) == best_path).count();
        for (commit, score) in diff.commits.iter().zip(&mut scores) {
            let best = commit
                .files
                .iter()
                .filter(|file| best_path > 0 && common(&place.file, &file.path) == best_path)
                .filter_map(|file| compare(place, file, tied))
                .max_by(|a, b| a.score.total_cmp(&b.score));
            if let Some(best) = best {
                score.0 += weight * best.score;
                if score.1.is_none_or(|before| before.score < best.score) {
                    score.1 = Some(best);
                }
            }
        }
    }
    if scores.iter().all(|(score, _)| *score < LEAST_EVIDENCE) {
        scores = diff.commits.iter().map(|commit| by_text(commit, words)).collect();
    }
    let total: f64 = scores.iter().map(|(score, _)| score).sum();
    // Of commits that match alike the newest changed it last.
    let (at, (score, best)) = scores
        .iter()
        .enumerate()
        .max_by(|(i, a), (j, b)| a.0.total_cmp(&b.0).then(i.cmp(j)))
        .filter(|(_, (score, _))| *score >= LEAST_EVIDENCE)?;
    let (best, commit) = ((*best)?, &diff.commits[at]);
    Some(Suspect {
        commit: commit.id.clone(),
        subject: commit.subject.clone(),
        position: at + 1,
        of: diff.commits.len(),
        share: score / total,
        file: best.file.to_owned(),
        line: best.line,
        matched: best.matched,
    })
}

fn compare<'a>(place: &Frame, file: &'a ChangedFile, tied: usize) -> Option<Match<'a>> {
    let path = path_match(&place.file, &file.path);
    if path <= 0.0 {
        return None;
    }
    let path = path / crate::statistics::len_f64(tied.max(1));
    let name = last_name(&place.function);
    let whole =
        Match { score: 0.5 * path, matched: Matched::File, file: &file.path, line: place.line };
    let of_hunk = |hunk: &Hunk| {
        let function = !name.is_empty() && words_of(&hunk.function).any(|word| word == name);
        let line = place.line.map_or(0.0, |line| line_match(line, hunk));
        let matched = match (line >= 1.0, function || line > 0.0) {
            (true, _) => Matched::Line,
            (false, true) => Matched::Function,
            (false, false) => Matched::File,
        };
        let score = 0.5 * path + 0.3 * f64::from(u8::from(function)) + 0.2 * line;
        Match { score, matched, line: place.line.or(Some(hunk.start)), ..whole }
    };
    file.hunks
        .iter()
        .map(of_hunk)
        .chain([whole])
        .reduce(|a, b| if a.score < b.score { b } else { a })
}

fn line_match(line: u32, hunk: &Hunk) -> f64 {
    let last = hunk.start.saturating_add(hunk.lines.saturating_sub(1));
    if hunk.lines > 0 && hunk.start <= line && line <= last {
        1.0
    } else if hunk.start.saturating_sub(NEAR) <= line && line <= last.saturating_add(NEAR) {
        0.5
    } else {
        0.0
    }
}

fn by_text<'a>(commit: &'a Commit, words: &[String]) -> (f64, Option<Match<'a>>) {
    for file in &commit.files {
        for hunk in &file.hunks {
            if words.iter().any(|word| words_of(&hunk.added).any(|found| found == word)) {
                let line = Some(hunk.start);
                let found = Match { score: TEXT, matched: Matched::Text, file: &file.path, line };
                return (TEXT, Some(found));
            }
        }
    }
    (0.0, None)
}

/// Words of an operation that may stand in code: tables, parts of routes, methods.
pub(crate) fn telling_words(operation: &str) -> Vec<String> {
    const COMMON: [&str; 12] = [
        "select", "insert", "update", "delete", "from", "where", "into", "values", "post", "http",
        "patch", "query",
    ];
    let mut words: Vec<String> = words_of(operation)
        .filter(|word| word.len() >= 4 && !COMMON.contains(&&*word.to_ascii_lowercase()))
        .map(str::to_owned)
        .collect();
    words.dedup();
    words
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The function's own name, without class, module, closure and type parameters.
fn last_name(function: &str) -> &str {
    let plain = function.split(['<', '(']).find(|part| !part.is_empty()).unwrap_or_default();
    let plain = if function.starts_with('<') || plain.ends_with('.') { function } else { plain };
    plain
        .rsplit(['.', ':', '/', '#', '$'])
        .map(|part| part.trim_matches(|c: char| !c.is_alphanumeric() && c != '_'))
        .find(|part| !part.is_empty() && *part != "closure" && !part.starts_with("func1"))
        .unwrap_or_default()
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".")
}

/// How many last parts of two paths agree.
fn common(one: &str, other: &str) -> usize {
    parts(one).rev().zip(parts(other).rev()).take_while(|(a, b)| a == b).count()
}

/// How sure it is that both paths are the same file, in [0, 1].
fn path_match(named: &str, repository: &str) -> f64 {
    let (agree, named, of) =
        (common(named, repository), parts(named).count(), parts(repository).count());
    let share = crate::statistics::len_f64(agree) / crate::statistics::len_f64(of.max(1));
    if agree == 0 {
        0.0
    } else if agree == of || (agree == named && agree > 1) {
        1.0
    } else if agree == named {
        // A bare file name: other folders may have one of the same name.
        0.6
    } else if agree == 1 {
        share / 2.0
    } else {
        share.max(0.6)
    }
}

#[cfg(test)]
mod tests;
