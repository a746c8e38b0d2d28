//! The root cause for a terminal, as `serin explain` shows it: the paragraph with one finding a line, the table, the
//! two critical paths as bars on one scale, and where to look further.
//!
//! Names in it come from whoever sends traces: nothing of them reaches the terminal that it would obey.

use analysis_traces::{Example, duration, signed_duration};

use super::Cause;
use super::path::{Block, Key, as_f64, blocks, foremost, key, length, operations};
use super::short::{cut, is_harmless, plain, wrapped};

/// Narrowest and widest text, in characters: bars need some room, and long lines are hard to read.
const WIDTHS: (usize, usize) = (60, 160);

/// Most lines of one critical path.
const MOST_BARS: usize = 16;

/// Signs of the terminal.
struct Look {
    strong: &'static str,
    found: &'static str,
    faint: &'static str,
    plain: &'static str,
    /// A cell of a bar that is the operation's own, one that is so for its smaller part, and one that waits for
    /// something below.
    cells: [char; 3],
    times: char,
}

const COLOUR: Look = Look {
    strong: "\u{1b}[1m",
    found: "\u{1b}[1;31m",
    faint: "\u{1b}[2m",
    plain: "\u{1b}[0m",
    cells: ['█', '▌', '─'],
    times: '×',
};

const ASCII: Look =
    Look { strong: "", found: "", faint: "", plain: "", cells: ['#', '+', '-'], times: 'x' };

/// The root cause as text of about `width` characters. With `colour` it has escape sequences of ANSI terminals and
/// block characters; without, names apart, it is ASCII.
pub fn text(cause: &Cause, width: usize, colour: bool) -> String {
    let width = width.clamp(WIDTHS.0, WIDTHS.1);
    let look = if colour { &COLOUR } else { &ASCII };
    let mut parts = vec![paragraph(cause, width, look)];
    let table = cause.root.table_within(width);
    if !table.is_empty() {
        parts.push(table.lines().map(row).collect::<Vec<_>>().join("\n"));
    }
    parts.extend(paths(cause, width, look));
    if !cause.links.is_empty() {
        let links = cause.links.iter();
        let links = links.map(|link| format!("  {}\n    {}", plain(&link.text), plain(&link.url)));
        parts.push(format!("look at\n{}", links.collect::<Vec<_>>().join("\n")));
    }
    let mut text = parts.join("\n\n");
    text.push('\n');
    text
}

fn paragraph(cause: &Cause, width: usize, look: &Look) -> String {
    let root = &cause.root;
    let mut lines = wrapped(&plain(&format!("{}: {}", root.service, root.measured())), width, "  ");
    if root.findings.is_empty() && root.canary.compared > 0 {
        lines.push("nothing differs by more than chance".to_owned());
    }
    for (number, finding) in (1..).zip(&root.findings) {
        let head =
            format!("{number}. {}, confidence {}", finding.cause.words(), finding.confidence);
        let (open, close) = if number == 1 { (look.strong, look.plain) } else { ("", "") };
        let words = wrapped(&format!("{head}: {}", plain(&finding.sentence)), width, "   ");
        lines.extend(words.into_iter().enumerate().map(
            |(at, line)| match line.get(head.len()..) {
                Some(rest) if at == 0 && line.starts_with(&head) => {
                    format!("{open}{head}{close}{rest}")
                }
                Some(_) | None => line,
            },
        ));
    }
    if root.findings.iter().any(|finding| finding.effect.is_some()) {
        lines.push(format!("not explained: {}", signed_duration(root.change.unexplained)));
    }
    for note in &root.notes {
        lines.extend(wrapped(&format!("note: {}", plain(note)), width, "  "));
    }
    lines.join("\n")
}

/// Both critical paths on one scale; `None` without examples.
fn paths(cause: &Cause, width: usize, look: &Look) -> Option<String> {
    let examples = [("baseline", &cause.baseline), ("canary", &cause.canary)];
    let shown = examples.map(|(_, example)| example.as_ref().map(blocks).unwrap_or_default());
    let used = operations(cause, [&shown[0], &shown[1]]);
    let found: Vec<Key<'_>> = used.iter().filter(|used| used.found).map(|used| used.key).collect();
    let scale = examples.iter().filter_map(|(_, example)| example.as_ref());
    let scale = scale.map(|example| example.seconds).fold(0.0, f64::max);
    if scale <= 0.0 || shown.iter().all(Vec::is_empty) {
        return None;
    }
    let mut lines = vec![format!(
        "what one request of each waited for, from 0 to {} ({} itself, {} something below it)",
        duration(scale),
        look.cells[0],
        look.cells[2]
    )];
    for ((arm, example), blocks) in examples.into_iter().zip(&shown) {
        if let Some(example) = example {
            lines.push(String::new());
            lines.extend(path(arm, example, blocks, &found, scale, width, look));
        }
    }
    Some(lines.join("\n"))
}

fn path(
    arm: &str,
    example: &Example,
    blocks: &[Block],
    found: &[Key<'_>],
    scale: f64,
    width: usize,
    look: &Look,
) -> Vec<String> {
    /// Room for the duration and for how many calls.
    const TAIL: usize = 16;
    let version = example.version.as_deref().map(|version| format!(" of {}", plain(version)));
    let mut lines = vec![format!(
        "{}{arm}{}{}  {}  trace {}",
        look.strong,
        look.plain,
        cut(&version.unwrap_or_default(), 40),
        duration(example.seconds),
        example.trace
    )];
    let is_found =
        |block: &Block| block.span.is_some_and(|span| found.contains(&key(&example.spans[span])));
    let shown = foremost(blocks, MOST_BARS, is_found);
    let name_width = (width / 3).min(32);
    let bar_width = width - name_width - TAIL - 3;
    for at in &shown {
        let block = &blocks[*at];
        let span = block.span.and_then(|span| example.spans.get(span));
        let name = span.map_or_else(|| "(left out)".to_owned(), |span| plain(&span.name));
        let failed = if span.is_some_and(|span| span.failed) { "! " } else { "" };
        let indent = " ".repeat(block.depth.min(8));
        let name = format!("{indent}{failed}{name}");
        let name = cut(&name, name_width);
        let fill = " ".repeat(name_width - name.chars().count());
        let times = match block.calls.len() {
            1 => String::new(),
            calls => format!(" {} {calls}", look.times),
        };
        let is_found = is_found(block);
        let mark = if is_found { '>' } else { ' ' };
        let (open, close) = match (is_found, block.own.is_empty()) {
            (true, _) => (look.found, look.plain),
            (false, true) => (look.faint, look.plain),
            (false, false) => ("", ""),
        };
        let bar = bar(block, scale, bar_width, look);
        let seconds = duration(block.seconds());
        lines.push(format!("{mark} {open}{name}{fill} {bar}{close} {seconds:>8}{times}"));
    }
    let more = blocks.len() - shown.len();
    if more > 0 {
        let seconds: f64 = blocks.iter().map(Block::own_seconds).sum();
        let told: f64 = shown.iter().map(|at| blocks[*at].own_seconds()).sum();
        lines.push(format!("  and {more} more, {} together", duration((seconds - told).max(0.0))));
    }
    lines
}

/// A block's bar of `width` characters.
fn bar(block: &Block, scale: f64, width: usize, look: &Look) -> String {
    let cell = scale / as_f64(width.max(1));
    let covered = |stretches: &[[f64; 2]], from: f64| -> f64 {
        let to = from + cell;
        stretches.iter().map(|it| length(&[it[0].max(from), it[1].min(to)]).max(0.0)).sum()
    };
    let signs = (0..width).map(|at| {
        let from = cell * as_f64(at);
        let own = covered(&block.own, from);
        let whole = covered(&block.calls, from);
        if own > cell / 2.0 {
            look.cells[0]
        } else if whole > cell / 2.0 || (whole > cell / 16.0 && own <= 0.0) {
            look.cells[2]
        } else if whole > cell / 16.0 {
            look.cells[1]
        } else {
            ' '
        }
    });
    signs.collect()
}

/// One line of the table, its blanks as they are.
fn row(line: &str) -> String {
    line.chars().map(|sign| if is_harmless(sign) { sign } else { ' ' }).collect()
}

#[cfg(test)]
mod tests;
