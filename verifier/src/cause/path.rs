//! The critical path of an example as blocks: which span was waited for when, below which others.
//!
//! A block is a span while the request waited for it or for something below it. Calls of one operation that follow one
//! another without much between them are one block of several calls, so that an N+1 is seen as one thing and not as
//! three hundred. The page draws blocks and the terminal writes them, so both show the same.

use std::collections::HashMap;

use analysis_traces::{Example, Kind, Shown};

use super::Cause;

/// What tells operations apart: service, side of the call, name.
pub(crate) type Key<'a> = (&'a str, Kind, &'a str);

/// The operation of a span.
pub(crate) fn key(span: &Shown) -> Key<'_> {
    (&span.service, span.kind, &span.name)
}

/// One block of the picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    /// Place of the last call's span among those of the example; `None` for spans that were left out.
    pub(crate) span: Option<usize>,
    /// Place of the block above.
    pub(crate) parent: Option<usize>,
    /// Blocks above.
    pub(crate) depth: usize,
    /// When each call was waited for, in seconds after the entry's start; at least one, by time.
    pub(crate) calls: Vec<[f64; 2]>,
    /// The part of it in which nothing below was waited for, by time.
    pub(crate) own: Vec<[f64; 2]>,
}

impl Block {
    /// Seconds after the entry's start.
    pub(crate) fn from(&self) -> f64 {
        self.calls.first().map_or(0.0, |call| call[0])
    }

    /// Seconds after the entry's start.
    pub(crate) fn to(&self) -> f64 {
        self.calls.last().map_or(0.0, |call| call[1])
    }

    /// Seconds of all calls together.
    pub(crate) fn seconds(&self) -> f64 {
        self.calls.iter().map(length).sum()
    }

    /// Seconds in which nothing below was waited for.
    pub(crate) fn own_seconds(&self) -> f64 {
        self.own.iter().map(length).sum()
    }
}

pub(crate) fn length(stretch: &[f64; 2]) -> f64 {
    stretch[1] - stretch[0]
}

/// A number of calls or blocks as a factor or divisor.
pub(crate) fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

/// The blocks of an example, each parent before those below it, those of one parent by time.
pub(crate) fn blocks(example: &Example) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    // The newest block below each block, and at the top.
    let mut newest: HashMap<Option<usize>, usize> = HashMap::new();
    let mut open: Vec<(Option<usize>, usize)> = Vec::new();
    for stretch in example.path.iter().filter(|stretch| stretch.from < stretch.to) {
        let line = line(example, stretch.span);
        let same = open.iter().zip(&line).take_while(|((span, _), wanted)| span == *wanted).count();
        open.truncate(same);
        for (_, at) in &open {
            if let Some(call) = blocks[*at].calls.last_mut() {
                call[1] = stretch.to;
            }
        }
        for span in line.into_iter().skip(same) {
            let parent = open.last().map(|(_, at)| *at);
            let before = newest.get(&parent).copied();
            let again = before.filter(|at| goes_on(example, &blocks[*at], span, stretch.from));
            let call = [stretch.from, stretch.to];
            let at = if let Some(at) = again {
                let block = &mut blocks[at];
                if block.span == span
                    && let Some(last) = block.calls.last_mut()
                {
                    last[1] = stretch.to;
                } else {
                    block.calls.push(call);
                    block.span = span;
                }
                at
            } else {
                let (calls, own) = (vec![call], Vec::new());
                blocks.push(Block { span, parent, depth: open.len(), calls, own });
                newest.insert(parent, blocks.len() - 1);
                blocks.len() - 1
            };
            open.push((span, at));
        }
        if let Some((_, at)) = open.last() {
            blocks[*at].own.push([stretch.from, stretch.to]);
        }
    }
    blocks
}

/// A span and all above it, the entry first.
fn line(example: &Example, span: Option<usize>) -> Vec<Option<usize>> {
    let Some(span) = span.filter(|span| *span < example.spans.len()) else {
        return vec![(!example.spans.is_empty()).then_some(0), None];
    };
    // Parents come before their children: what claims otherwise has none, and no line is endless.
    let above = |at: &usize| example.spans[*at].parent.filter(|parent| parent < at);
    let mut line: Vec<_> = std::iter::successors(Some(span), above).map(Some).collect();
    line.reverse();
    line
}

/// Whether a call that begins now is one more of a block's calls: the same operation with the same end, after a pause
/// no longer than its calls.
fn goes_on(example: &Example, block: &Block, span: Option<usize>, from: f64) -> bool {
    let pause = from - block.to();
    match (block.span, span) {
        (None, None) => true,
        (Some(before), Some(next)) => {
            let (before, next) = (&example.spans[before], &example.spans[next]);
            let is_alike = key(before) == key(next) && before.failed == next.failed;
            is_alike && pause <= block.seconds() / as_f64(block.calls.len())
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// One operation on the critical paths of both examples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Used<'a> {
    /// Which.
    pub(crate) key: Key<'a>,
    /// Calls that were waited for, of the baseline and of the canary.
    pub(crate) calls: [usize; 2],
    /// Seconds that are its own.
    pub(crate) own: [f64; 2],
    /// Whether the first finding is about it.
    pub(crate) found: bool,
}

/// The operations on both paths: that of the first finding, then by falling time.
pub(crate) fn operations<'a>(cause: &'a Cause, blocks: [&[Block]; 2]) -> Vec<Used<'a>> {
    let mut places: HashMap<Key<'a>, usize> = HashMap::new();
    let mut all: Vec<Used<'a>> = Vec::new();
    for (arm, (example, blocks)) in
        [&cause.baseline, &cause.canary].into_iter().zip(blocks).enumerate()
    {
        let Some(example) = example else { continue };
        for block in blocks {
            let Some(span) = block.span else { continue };
            let key = key(&example.spans[span]);
            let at = *places.entry(key).or_insert(all.len());
            if at == all.len() {
                all.push(Used { key, calls: [0; 2], own: [0.0; 2], found: false });
            }
            all[at].calls[arm] += block.calls.len();
            all[at].own[arm] += block.own_seconds();
        }
    }
    let wanted = cause.root.findings.first().and_then(|finding| finding.operation.as_ref());
    if let Some(wanted) = wanted {
        let is_wanted = |used: &Used<'_>| used.key.0 == wanted.service && used.key.2 == wanted.name;
        let exact = all.iter().any(|used| is_wanted(used) && used.key.1 == wanted.kind);
        for used in &mut all {
            used.found = is_wanted(used) && (!exact || used.key.1 == wanted.kind);
        }
    }
    all.sort_by(|a, b| {
        let seconds = |used: &Used<'_>| used.own.iter().sum::<f64>();
        b.found.cmp(&a.found).then(seconds(b).total_cmp(&seconds(a)))
    });
    all
}

/// The `most` blocks with the most time of their own and everything above them, in their order; those of `wanted`
/// first of all.
pub(crate) fn foremost(
    blocks: &[Block],
    most: usize,
    wanted: impl Fn(&Block) -> bool,
) -> Vec<usize> {
    let mut order: Vec<(bool, f64, usize)> =
        (0..blocks.len()).map(|at| (wanted(&blocks[at]), blocks[at].own_seconds(), at)).collect();
    order.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
    let mut stays = vec![false; blocks.len()];
    let mut count = 0;
    for (_, _, at) in order {
        let line: Vec<usize> = std::iter::successors(Some(at), |at| blocks[*at].parent)
            .take_while(|at| !stays[*at])
            .collect();
        if count + line.len() <= most {
            count += line.len();
            for at in line {
                stays[at] = true;
            }
        }
    }
    (0..blocks.len()).filter(|at| stays[*at]).collect()
}

#[cfg(test)]
mod tests;
