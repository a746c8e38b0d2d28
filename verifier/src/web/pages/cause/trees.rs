//! An example as a tree to open: every span with its bar, those that the request did not wait for muted.
//!
//! Calls that are alike with everything below them are one line, and lines and attributes stop where the page would
//! become large; what is missing is told. What matters stays: what was found, what failed, what took long.

use std::collections::HashMap;

use analysis_traces::{Example, duration};
use jiff::Timestamp;
use serde::Serialize;

use super::escaped;
use super::picture::{across, side};
use crate::cause::path::{Key, key};
use crate::cause::short::{plain, shortened};
use crate::web::show;

/// Bytes of page for the lines and for the attributes of one tree.
const LINES: usize = 13_000;
const ATTRIBUTES: usize = 3_500;

/// Bytes of a line and of an attribute without their texts.
const LINE: usize = 150;
const ATTRIBUTE: usize = 24;

/// Deepest line: browsers give up on much deeper pages.
const DEEPEST: usize = 40;

#[derive(Debug, Serialize)]
pub(super) struct Tree {
    arm: &'static str,
    trace: String,
    version: Option<String>,
    began: String,
    whole: String,
    spans: usize,
    rows: Vec<Row>,
    /// Spans that are not shown.
    hidden: usize,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    side: String,
    times: Option<usize>,
    seconds: String,
    x: String,
    width: String,
    class: String,
    waited: bool,
    failed: bool,
    found: bool,
    /// Whose attributes they are, in the page.
    id: usize,
    attributes: Vec<(String, String)>,
    /// Tags that follow: the list of what is below, or the ends of lists.
    after: String,
}

/// Spans that are alike, with the same line.
struct Group {
    parent: Option<usize>,
    depth: usize,
    spans: Vec<usize>,
}

pub(super) fn tree(
    arm: &'static str,
    example: &Example,
    scale: f64,
    class: &impl Fn(usize) -> String,
    found: &impl Fn(usize) -> bool,
) -> Tree {
    let waited = waited(example);
    let groups = groups(example, &waited);
    let own = |group: &Group| group.spans.iter().map(|at| example.spans[*at].own).sum::<f64>();
    let mut order: Vec<usize> = (0..groups.len()).collect();
    let rank = |at: &usize| {
        let group = &groups[*at];
        let span = group.spans[0];
        (*at == 0 || found(span) || example.spans[span].failed, waited[span], own(group))
    };
    order.sort_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        b.0.cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.total_cmp(&a.2))
    });
    let shown = shown(example, &groups, &order);
    let attributes = attributes(example, &groups, &order, &shown);
    let rows: Vec<usize> = (0..groups.len()).filter(|at| shown[*at]).collect();
    let depth = |at: usize| groups[at].depth.min(DEEPEST);
    let told: usize = rows.iter().map(|at| groups[*at].spans.len()).sum();
    let row = |(place, at): (usize, &usize)| {
        let group = &groups[*at];
        let first = group.spans[0];
        let span = &example.spans[first];
        let ends = |at: &usize| example.spans[*at].begins + example.spans[*at].seconds;
        let begins = group.spans.iter().map(|at| example.spans[*at].begins);
        let begins = begins.fold(f64::INFINITY, f64::min).max(0.0);
        let ends = group.spans.iter().map(ends).fold(0.0, f64::max).min(scale);
        let seconds: f64 = group.spans.iter().map(|at| example.spans[*at].seconds).sum();
        let next = rows.get(place + 1).map_or(0, |next| depth(*next));
        let after = if next > depth(*at) {
            "<ul>".to_owned()
        } else {
            format!("</li>{}", "</ul></li>".repeat(depth(*at) - next))
        };
        Row {
            name: name(&span.name),
            side: side(&span.service, span.kind),
            times: (group.spans.len() > 1).then_some(group.spans.len()),
            seconds: duration(seconds),
            x: across(begins, scale),
            width: across((ends - begins).max(0.0), scale),
            class: class(first),
            waited: waited[first],
            failed: span.failed,
            found: found(first),
            id: *at,
            attributes: attributes.get(at).cloned().unwrap_or_default(),
            after,
        }
    };
    let second = i64::try_from(example.start / 1_000_000_000).unwrap_or(0);
    let began = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
    Tree {
        arm,
        trace: example.trace.to_string(),
        version: example.version.as_deref().map(|version| shortened(&plain(version), 40)),
        began: show::date(began),
        whole: duration(example.seconds),
        spans: example.spans.len() + example.left_out,
        rows: rows.iter().enumerate().map(row).collect(),
        hidden: example.spans.len() - told + example.left_out,
    }
}

fn name(text: &str) -> String {
    shortened(&plain(text), 80)
}

/// Whether the request waited for a span, or for something below it.
fn waited(example: &Example) -> Vec<bool> {
    let mut waited: Vec<bool> = example.spans.iter().map(|span| span.own > 0.0).collect();
    for at in (0..waited.len()).rev() {
        if waited[at]
            && let Some(parent) = parent(example, at)
        {
            waited[parent] = true;
        }
    }
    waited
}

/// The parent of a span; parents come before their children, and what claims otherwise has none.
fn parent(example: &Example, at: usize) -> Option<usize> {
    example.spans[at].parent.filter(|parent| *parent < at)
}

/// All spans as lines, each before those below it: siblings in a row that are alike with all below them are one.
fn groups(example: &Example, waited: &[bool]) -> Vec<Group> {
    type Shape<'a> = (Key<'a>, bool, bool, Vec<(usize, usize)>);
    let n = example.spans.len();
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); n];
    let mut tops = Vec::new();
    for at in 0..n {
        match parent(example, at) {
            Some(parent) => below[parent].push(at),
            None => tops.push(at),
        }
    }
    let mut numbers: HashMap<Shape<'_>, usize> = HashMap::new();
    let mut shapes = vec![0; n];
    for at in (0..n).rev() {
        let inside = runs(&below[at], &shapes).into_iter().map(|run| (shapes[run[0]], run.len()));
        let span = &example.spans[at];
        let shape = (key(span), span.failed, waited[at], inside.collect());
        let next = numbers.len();
        shapes[at] = *numbers.entry(shape).or_insert(next);
    }
    let mut groups: Vec<Group> = Vec::new();
    let tops = runs(&tops, &shapes).into_iter().rev();
    let mut stack: Vec<Group> = tops.map(|spans| Group { parent: None, depth: 0, spans }).collect();
    while let Some(group) = stack.pop() {
        let at = groups.len();
        // Alike, so the nth run below one of them is like the nth below every other.
        let mut parts: Vec<Vec<usize>> = Vec::new();
        for span in &group.spans {
            for (nth, run) in runs(&below[*span], &shapes).into_iter().enumerate() {
                match parts.get_mut(nth) {
                    Some(part) => part.extend(run),
                    None => parts.push(run),
                }
            }
        }
        let depth = group.depth + 1;
        let inside = parts.into_iter().rev().map(|spans| Group { parent: Some(at), depth, spans });
        stack.extend(inside);
        groups.push(group);
    }
    groups
}

/// Neighbours of one shape together.
fn runs(spans: &[usize], shapes: &[usize]) -> Vec<Vec<usize>> {
    spans.chunk_by(|a, b| shapes[*a] == shapes[*b]).map(<[usize]>::to_vec).collect()
}

/// The lines that fit, in order of their rank, each with those above it.
fn shown(example: &Example, groups: &[Group], order: &[usize]) -> Vec<bool> {
    let mut shown = vec![false; groups.len()];
    let mut left = LINES;
    for at in order {
        let line: Vec<usize> = std::iter::successors(Some(*at), |at| groups[*at].parent)
            .take_while(|at| !shown[*at])
            .collect();
        let cost = |at: &usize| {
            let span = &example.spans[groups[*at].spans[0]];
            LINE + escaped(&name(&span.name)).len() + escaped(&side(&span.service, span.kind)).len()
        };
        let cost: usize = line.iter().map(cost).sum();
        if cost <= left {
            left -= cost;
            for at in line {
                shown[at] = true;
            }
        }
    }
    shown
}

/// The attributes that fit, by line; of several spans those of the longest.
fn attributes(
    example: &Example,
    groups: &[Group],
    order: &[usize],
    shown: &[bool],
) -> HashMap<usize, Vec<(String, String)>> {
    let mut all = HashMap::new();
    let mut left = ATTRIBUTES;
    for at in order.iter().filter(|at| shown[**at]) {
        let spans = groups[*at].spans.iter().map(|span| &example.spans[*span]);
        let Some(span) = spans.max_by(|a, b| a.seconds.total_cmp(&b.seconds)) else { continue };
        let told: Vec<(String, String)> =
            span.attributes.iter().map(|(name, value)| (plain(name), plain(value))).collect();
        let cost = |(name, value): &(String, String)| {
            ATTRIBUTE + escaped(name).len() + escaped(value).len()
        };
        let cost: usize = told.iter().map(cost).sum();
        if !told.is_empty() && cost <= left {
            left -= cost;
            all.insert(*at, told);
        }
    }
    all
}

#[cfg(test)]
mod tests;
