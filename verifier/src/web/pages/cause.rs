//! The root cause on a deployment's page: what was found, the two critical paths as pictures, the operations as a
//! table, and the traces to open.
//!
//! Everything that is shown of a cause is bounded, whatever the traces are: two examples of four hundred spans stay
//! below 60 kB of page. Names come from strangers; they are escaped by the template, or by [`Html`] where parts of a
//! sentence are set as code.

mod picture;
mod table;
mod trees;

use analysis_traces::{Finding, Matched, RootCause, percent, signed_duration};
use serde::Serialize;

use self::picture::Pictures;
use self::table::Table;
use self::trees::Tree;
use crate::cause::path::{blocks, key, operations};
use crate::cause::short::{plain, shortened, unbroken};
use crate::cause::{Cause, Link};
use crate::web::show;

/// Findings that are shown in full, and how many more with their sentence only.
const IN_FULL: usize = 4;
const MORE: usize = 8;

/// Notes and links that are shown; there are seldom more than five.
const MOST_NOTES: usize = 12;
const MOST_LINKS: usize = 8;

/// Longest text of one part of a finding, in characters.
const LONGEST: usize = 600;

/// Text as HTML: escaped, and what stands between backticks set as code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Html(String);

impl Html {
    fn new(text: &str) -> Self {
        let text = unbroken(&shortened(&plain(text), LONGEST));
        let parts: Vec<&str> = text.split('`').collect();
        // An odd number of parts has all its code closed; otherwise a backtick is only that.
        if parts.len().is_multiple_of(2) {
            return Self(escaped(&text));
        }
        let html = parts.into_iter().enumerate().map(|(at, part)| {
            if at % 2 == 1 {
                format!("<code>{}</code>", escaped(part))
            } else {
                escaped(&part.replace(" -> ", " → "))
            }
        });
        Self(html.collect())
    }

    /// The same as the beginning of a sentence; code stays as it is.
    fn sentence(text: &str) -> Self {
        let mut rest = text.chars();
        let first = rest.next().into_iter().flat_map(char::to_uppercase);
        Self::new(&first.chain(rest).collect::<String>())
    }
}

fn escaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    tera::escape_html(text, &mut bytes).expect("writing to memory does not fail");
    String::from_utf8(bytes).expect("escaping keeps UTF-8")
}

/// Everything that the template lays out.
#[derive(Debug, Serialize)]
pub(in crate::web) struct Section {
    service: String,
    change: Option<Change>,
    traces: String,
    is_empty: bool,
    findings: Vec<Item>,
    more: Vec<Html>,
    unexplained: Option<String>,
    notes: Vec<Html>,
    pictures: Option<Pictures>,
    table: Option<Table>,
    trees: Vec<Tree>,
    links: Vec<Link>,
}

#[derive(Debug, Serialize)]
struct Change {
    mean: String,
    lower: String,
    upper: String,
    p95: String,
    p99: String,
}

/// One finding in its parts.
#[derive(Debug, Serialize)]
struct Item {
    word: &'static str,
    /// `bad` for what a commit may have done, `warn` for what it has not.
    tone: &'static str,
    confidence: String,
    what: Html,
    only: Option<Html>,
    code: Option<Html>,
    suspect: Option<Suspected>,
    also: Option<Html>,
}

#[derive(Debug, Serialize)]
struct Suspected {
    position: usize,
    of: usize,
    short: String,
    full: String,
    subject: String,
    file: String,
    how: &'static str,
    share: String,
}

/// The root cause, ready for `cause.html`.
pub(in crate::web) fn section(cause: &Cause) -> Section {
    let root = &cause.root;
    let examples = [&cause.baseline, &cause.canary];
    let paths = examples.map(|example| example.as_ref().map(blocks).unwrap_or_default());
    let used = operations(cause, [&paths[0], &paths[1]]);
    let scale = examples.iter().filter_map(|example| example.as_ref());
    let scale = scale.map(|example| example.seconds).fold(0.0, f64::max);
    let is_measured = root.canary.compared > 0 && root.baseline.compared > 0;
    let arms = ["baseline", "canary"];
    let trees = arms.into_iter().zip(examples).filter_map(|(arm, example)| {
        let example = example.as_ref()?;
        let class = |at: usize| picture::class(&used, key(&example.spans[at]));
        let found = |at: usize| {
            let key = key(&example.spans[at]);
            used.iter().any(|used| used.found && used.key == key)
        };
        Some(trees::tree(arm, example, scale, &class, &found))
    });
    let findings = root.findings.iter();
    Section {
        service: plain(&root.service),
        change: is_measured.then(|| change(root)),
        traces: if is_measured {
            traces(root.canary.compared, root.baseline.compared)
        } else {
            traces(root.canary.traces, root.baseline.traces)
        },
        is_empty: root.findings.is_empty() && is_measured,
        findings: findings.clone().take(IN_FULL).map(|finding| item(root, finding)).collect(),
        more: findings
            .skip(IN_FULL)
            .take(MORE)
            .map(|more| Html::sentence(&more.sentence))
            .collect(),
        unexplained: root
            .findings
            .iter()
            .any(|finding| finding.effect.is_some())
            .then(|| signed_duration(root.change.unexplained)),
        notes: root.notes.iter().take(MOST_NOTES).map(|note| Html::sentence(note)).collect(),
        pictures: picture::pictures(cause, &paths, &used, scale),
        table: table::table(root),
        trees: trees.collect(),
        links: links(&cause.links),
    }
}

fn traces(canary: u64, baseline: u64) -> String {
    format!("{} canary and {} baseline traces", show::count(canary), show::count(baseline))
}

fn change(root: &RootCause) -> Change {
    let RootCause { change, baseline, canary, .. } = root;
    Change {
        mean: signed_duration(change.adjusted),
        lower: signed_duration(change.interval[0]),
        upper: signed_duration(change.interval[1]),
        p95: signed_duration(canary.p95 - baseline.p95),
        p99: signed_duration(canary.p99 - baseline.p99),
    }
}

fn item(root: &RootCause, finding: &Finding) -> Item {
    let blames_code = finding.cause.blames_code();
    let place = finding.place().filter(|_| blames_code);
    let caller = finding.caller.as_ref().filter(|_| blames_code);
    let code = match (caller, place) {
        (Some(caller), Some(place)) => Some(format!("{place}, called from `{caller}`")),
        (Some(caller), None) => Some(format!("called from `{caller}`")),
        (None, place) => place,
    };
    let only =
        finding.only.as_ref().filter(|_| finding.cause != analysis_traces::Cause::SomeRequests);
    Item {
        word: finding.cause.words(),
        tone: if blames_code { "bad" } else { "warn" },
        confidence: finding.confidence.to_string(),
        what: Html::sentence(&root.what(finding)),
        only: only.map(|only| {
            Html::new(&format!("{} of the damage is where `{}`", percent(only.coverage), only.what))
        }),
        code: code.map(|code| Html::new(&code)),
        suspect: finding.suspect.as_ref().map(|suspect| Suspected {
            position: suspect.position,
            of: suspect.of,
            short: plain(suspect.short()),
            full: shortened(&plain(&suspect.commit), 64),
            subject: shortened(&plain(&suspect.subject), 120),
            file: shortened(&plain(&suspect.file), 160),
            how: match suspect.matched {
                Matched::Text => "its changed lines name it",
                Matched::File => "the file was changed",
                Matched::Function => "the function was changed",
                Matched::Line => "this very line was changed",
            },
            share: percent(suspect.share),
        }),
        also: finding.also_changed.as_ref().zip(finding.operation.as_ref()).map(
            |(versions, operation)| {
                Html::new(&format!(
                    "{} ran versions {versions} meanwhile, which may be the cause as well",
                    operation.service
                ))
            },
        ),
    }
}

/// Links that a browser may follow: the addresses are made from settings and trace ids, but a page that runs what a
/// stranger wrote would be worse than one without a link.
fn links(all: &[Link]) -> Vec<Link> {
    let is_safe = |link: &&Link| {
        (link.url.starts_with("https://") || link.url.starts_with("http://"))
            && !link.url.contains(|c: char| c.is_control() || c.is_whitespace())
    };
    let text =
        |link: &Link| Link { text: shortened(&plain(&link.text), 120), url: link.url.clone() };
    all.iter().filter(is_safe).take(MOST_LINKS).map(text).collect()
}

#[cfg(test)]
mod tests;
