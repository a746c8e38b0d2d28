//! The two critical paths as pictures on one scale of time: rows by depth, the entry on top, colours by operation.
//!
//! A block is coloured where its operation itself was waited for, and grey where something below it was: read from
//! above, every instant of the request has one colour.
//!
//! Places are percentages and heights are pixels, so that a picture fills any width while its letters keep their
//! size. An operation has one colour and one number in both pictures, in the trees and in the legend; the number, or
//! the name where there is room, tells it without the colour.

use analysis_traces::{Example, Kind, duration};
use serde::Serialize;

use crate::cause::Cause;
use crate::cause::path::{Block, Key, Used, as_f64, foremost, key, length};
use crate::cause::short::{plain, shortened};

/// Operations with a colour of their own: more are not told apart.
const COLOURS: usize = 8;

/// Blocks of one picture: those with the most time of their own. More cannot be seen, and the page stays small.
const MOST_BLOCKS: usize = 40;

/// Rows of one picture.
const MOST_ROWS: usize = 10;

/// Stretches of one block that are drawn one by one: more would be thinner than the lines between them.
const MOST_STRETCHES: usize = 40;

/// Distance between rows, which are 24 high, and height of the lines above and below, in pixels.
const STEP: usize = 27;
const ABOVE: usize = 22;
const BELOW: usize = 20;

/// Pixels of a character, and of a picture on a desk and on a phone, with some caution.
const CHARACTER: f64 = 6.8;
const DESK: f64 = 470.0;
const PHONE: f64 = 320.0;

/// A block below this width, in pixels, would vanish behind its own edges.
const THIN: f64 = 6.0;

#[derive(Debug, Serialize)]
pub(super) struct Pictures {
    arms: Vec<Picture>,
    legend: Vec<Entry>,
    /// Operations without a colour of their own.
    others: usize,
    rows: Vec<Entry>,
    whole: [String; 2],
}

#[derive(Debug, Serialize)]
struct Picture {
    arm: &'static str,
    trace: String,
    version: Option<String>,
    whole: String,
    /// Where the request ended, and whether its duration stands before that.
    end: String,
    before: bool,
    height: usize,
    bottom: usize,
    ticks: Vec<Tick>,
    shapes: Vec<Shape>,
    summary: String,
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Tick {
    x: String,
    label: String,
    /// ` start` or ` stop` at the picture's edges, where a label in the middle would stick out.
    edge: &'static str,
}

#[derive(Debug, Serialize)]
struct Shape {
    x: String,
    width: String,
    y: usize,
    class: String,
    title: String,
    label: Option<String>,
    /// The label would be cut on a phone so that it says something else.
    tight: bool,
    /// Something below it was waited for more than half of the time: mostly grey.
    under: bool,
    /// Where it was waited for itself, as a path 1000 wide; `None` for all of it.
    own: Option<String>,
}

/// A line of the legend and of the table that says the same.
#[derive(Debug, Serialize)]
struct Entry {
    class: String,
    number: String,
    name: String,
    side: String,
    found: bool,
    calls: [String; 2],
    seconds: [String; 2],
}

/// Who sends an operation's spans, and which side of a call it is.
pub(super) fn side(service: &str, kind: Kind) -> String {
    let service = shortened(&plain(service), 60);
    match kind {
        Kind::Internal => service,
        Kind::Server => format!("{service}, server"),
        Kind::Client => format!("{service}, client"),
        Kind::Producer => format!("{service}, producer"),
        Kind::Consumer => format!("{service}, consumer"),
    }
}

/// The number of an operation's colour, from 1.
fn number(used: &[Used<'_>], wanted: Key<'_>) -> Option<usize> {
    used.iter().take(COLOURS).position(|used| used.key == wanted).map(|at| at + 1)
}

/// The class of an operation's colour.
pub(super) fn class(used: &[Used<'_>], wanted: Key<'_>) -> String {
    number(used, wanted).map_or_else(|| "ox".to_owned(), |number| format!("o{number}"))
}

/// A share of the scale in percent, for an attribute.
pub(super) fn across(seconds: f64, scale: f64) -> String {
    let share = (seconds / scale * 100.0).clamp(0.0, 100.0);
    let text = format!("{:.2}", if share.is_nan() { 0.0 } else { share });
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Both pictures; `None` without a path to draw.
pub(super) fn pictures(
    cause: &Cause,
    paths: &[Vec<Block>; 2],
    used: &[Used<'_>],
    scale: f64,
) -> Option<Pictures> {
    if scale <= 0.0 || used.is_empty() {
        return None;
    }
    let examples = [("baseline", &cause.baseline), ("canary", &cause.canary)];
    let arms = examples.into_iter().zip(paths).filter_map(|((arm, example), blocks)| {
        Some(picture(arm, example.as_ref()?, blocks, used, scale))
    });
    let entry = |used_here: &Used<'_>| {
        let (service, kind, name) = used_here.key;
        Entry {
            class: class(used, used_here.key),
            number: number(used, used_here.key).map(|n| n.to_string()).unwrap_or_default(),
            name: shortened(&plain(name), 80),
            side: side(service, kind),
            found: used_here.found,
            calls: used_here.calls.map(|calls| calls.to_string()),
            seconds: used_here.own.map(duration),
        }
    };
    Some(Pictures {
        arms: arms.collect(),
        legend: used.iter().take(COLOURS).map(entry).collect(),
        others: used.len().saturating_sub(COLOURS),
        rows: used.iter().take(2 * COLOURS).map(entry).collect(),
        whole: examples.map(|(_, example)| {
            example.as_ref().map_or_else(|| "–".to_owned(), |example| duration(example.seconds))
        }),
    })
}

fn picture(
    arm: &'static str,
    example: &Example,
    blocks: &[Block],
    used: &[Used<'_>],
    scale: f64,
) -> Picture {
    let is_found = |block: &Block| {
        let of = block.span.map(|span| key(&example.spans[span]));
        used.iter().any(|used| used.found && Some(used.key) == of)
    };
    let shown = foremost(blocks, MOST_BLOCKS, is_found);
    let rows = rows(blocks, &shown, is_found);
    let shapes: Vec<Shape> = shown
        .iter()
        .filter_map(|at| {
            let block = &blocks[*at];
            let row = rows.iter().position(|depth| *depth == block.depth)?;
            Some(shape(example, block, used, scale, ABOVE + row * STEP))
        })
        .collect();
    let hidden = blocks.len() - shapes.len();
    let ends = example.seconds / scale;
    let bottom = ABOVE + rows.len() * STEP;
    Picture {
        arm,
        trace: example.trace.to_string(),
        version: example.version.as_deref().map(|version| shortened(&plain(version), 40)),
        whole: duration(example.seconds),
        end: across(example.seconds, scale),
        before: ends > 0.25,
        height: bottom + BELOW,
        bottom,
        ticks: ticks(scale),
        shapes,
        summary: summary(example, blocks),
        note: (hidden > 0).then(|| {
            let more = if hidden == 1 { "stretch is" } else { "stretches are" };
            format!("{hidden} short {more} not drawn")
        }),
    }
}

/// The depths that are drawn: where all do not fit, those with the most time of their own.
fn rows(blocks: &[Block], shown: &[usize], is_found: impl Fn(&Block) -> bool) -> Vec<usize> {
    let mut depths: Vec<(usize, bool, f64)> = Vec::new();
    for block in shown.iter().map(|at| &blocks[*at]) {
        let at = depths.iter().position(|(depth, ..)| *depth == block.depth);
        let at = at.unwrap_or_else(|| {
            depths.push((block.depth, block.depth == 0, 0.0));
            depths.len() - 1
        });
        depths[at].1 |= is_found(block);
        depths[at].2 += block.own_seconds();
    }
    depths.sort_by(|a, b| b.1.cmp(&a.1).then(b.2.total_cmp(&a.2)).then(a.0.cmp(&b.0)));
    depths.truncate(MOST_ROWS);
    let mut rows: Vec<usize> = depths.into_iter().map(|(depth, ..)| depth).collect();
    rows.sort_unstable();
    rows
}

fn shape(example: &Example, block: &Block, used: &[Used<'_>], scale: f64, y: usize) -> Shape {
    let (from, to) = (block.from(), block.to());
    let share = ((to - from) / scale).clamp(0.0, 1.0);
    let calls = block.calls.len();
    let seconds = block.seconds();
    let when = format!("from {} to {}", duration(from), duration(to));
    let Some(span) = block.span.map(|span| &example.spans[span]) else {
        return Shape {
            x: across(from, scale),
            width: across(to - from, scale),
            y,
            class: "ox".to_owned(),
            title: format!("spans that were left out, {}, {when}", duration(seconds)),
            label: None,
            tight: false,
            under: false,
            own: None,
        };
    };
    let name = shortened(&plain(&span.name), 80);
    let is_found = used.iter().any(|used| used.found && used.key == key(span));
    let number = number(used, key(span));
    let mark = if span.failed { "✗ " } else { "" };
    let (label, tight) = label(&format!("{mark}{name}"), calls, number, share);
    let title = match calls {
        1 => format!("{name}, {}, {}, {when}", side(&span.service, span.kind), duration(seconds)),
        _ => format!(
            "{name}, {}, {calls} calls one after the other, {}, {} each, {when}",
            side(&span.service, span.kind),
            duration(seconds),
            duration(seconds / as_f64(calls)),
        ),
    };
    let failed = if span.failed { ", failed" } else { "" };
    Shape {
        x: across(from, scale),
        width: across(to - from, scale),
        y,
        class: format!(
            "{}{}{}{}{}",
            class(used, key(span)),
            if is_found { " found" } else { "" },
            if span.failed { " failed" } else { "" },
            if calls > 1 { " many" } else { "" },
            if share * DESK < THIN { " thin" } else { "" },
        ),
        title: format!("{title}{failed}"),
        label,
        tight,
        under: block.own_seconds() < 0.5 * (to - from),
        own: own(block),
    }
}

/// What stands in a block, and whether it must not be cut on a phone: the name and how many calls, as far as there is
/// room, else the number of the operation.
fn label(name: &str, calls: usize, number: Option<usize>, share: f64) -> (Option<String>, bool) {
    let room = |width: f64| (share * width - 8.0) / CHARACTER;
    let fits = |text: &str, width: f64| as_f64(text.chars().count()) <= room(width);
    let times = if calls > 1 { format!("× {calls}") } else { String::new() };
    let with = |name: &str| if calls > 1 { format!("{name} {times}") } else { name.to_owned() };
    let whole = with(name);
    if fits(&whole, DESK) {
        let tight = calls > 1 && !fits(&whole, PHONE);
        return (Some(whole), tight);
    }
    let length = name.chars().count();
    let short = (8..length).rev().map(|most| with(&shortened(name, most)));
    let short = short.into_iter().find(|text| fits(text, DESK));
    if let Some(short) = short {
        let tight = calls > 1 && !fits(&short, PHONE);
        return (Some(short), tight);
    }
    let number = number.map(|number| number.to_string());
    let least = if calls > 1 { Some(times) } else { number };
    match least.filter(|text| fits(text, DESK)) {
        Some(text) => {
            let tight = !fits(&text, PHONE);
            (Some(text), tight)
        }
        None => (None, false),
    }
}

/// The stretches that are a block's own as one path, 1000 wide and 1 high; `None` where they are all of it.
fn own(block: &Block) -> Option<String> {
    let (from, whole) = (block.from(), block.to() - block.from());
    let is_all = block.own.len() == 1 && block.own_seconds() >= 0.999 * whole;
    if is_all || whole <= 0.0 {
        return None;
    }
    let place = |seconds: f64| ((seconds - from) / whole * 1_000.0).round().clamp(0.0, 1_000.0);
    let mut longest: Vec<&[f64; 2]> = block.own.iter().collect();
    longest.sort_by(|a, b| length(b).total_cmp(&length(a)));
    longest.truncate(MOST_STRETCHES);
    longest.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let stretches = longest.into_iter().map(|stretch| (place(stretch[0]), place(stretch[1])));
    let stretches = stretches.filter(|(left, right)| left < right);
    let path = stretches.map(|(left, right)| format!("M{left} 0V1H{right}V0z"));
    Some(path.collect::<Vec<_>>().concat())
}

/// Marks of the scale at round times.
fn ticks(scale: f64) -> Vec<Tick> {
    let rough = scale / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|by| by * power).find(|step| rough <= *step);
    let step = step.unwrap_or(10.0 * power);
    let times = (0_u32..).map(|at| step * f64::from(at)).take_while(|time| *time <= scale);
    let edge = |time: f64| match time / scale {
        ..0.06 => " start",
        0.94.. => " stop",
        _ => "",
    };
    times
        .take(6)
        .map(|time| Tick { x: across(time, scale), label: round(time), edge: edge(time) })
        .collect()
}

/// A round time without the digits that say nothing.
fn round(seconds: f64) -> String {
    let text = duration(seconds);
    let (value, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let value =
        if value.contains('.') { value.trim_end_matches('0').trim_end_matches('.') } else { value };
    if seconds <= 0.0 { "0".to_owned() } else { format!("{value} {unit}") }
}

/// The picture in words.
fn summary(example: &Example, blocks: &[Block]) -> String {
    let most = foremost(blocks, blocks.len(), |_| false);
    let mut most: Vec<&Block> = most.into_iter().map(|at| &blocks[at]).collect();
    most.sort_by(|a, b| b.own_seconds().total_cmp(&a.own_seconds()));
    let told = most.into_iter().take(4).filter_map(|block| {
        let span = &example.spans[block.span?];
        let calls = match block.calls.len() {
            1 => String::new(),
            calls => format!(" in {calls} calls"),
        };
        let name = shortened(&plain(&span.name), 80);
        Some(format!("{name} {}{calls}", duration(block.own_seconds())))
    });
    format!(
        "The request took {}. It waited longest for {}.",
        duration(example.seconds),
        told.collect::<Vec<_>>().join(", ")
    )
}

#[cfg(test)]
mod tests;
