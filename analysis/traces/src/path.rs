//! The critical path: every instant of the entry belongs to exactly one span.
//!
//! Walked from the end: the child that finished last before the moment in question was what its parent waited for,
//! the gap after it is the parent's own time (CRISP, Zhang et al., ATC 2022, with children clipped to their
//! parents and ties broken by start and id). `end <= t`, not `end < t`: of two calls back to back, both count.

use serde::{Deserialize, Serialize};

use crate::tree::EntrySubtree;

/// A stretch of time that one span answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Index of the span in the subtree.
    pub span: usize,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970, after `start`.
    pub end: u64,
}

/// The critical path of a subtree, in order of time: adjacent segments that cover the entry exactly.
pub fn critical_path(subtree: &EntrySubtree) -> Vec<Segment> {
    let mut segments = Vec::new();
    Walk::default().walk(subtree, |step| {
        if let Step::Own { span, start, end } = step {
            segments.push(Segment { span, start, end });
        }
    });
    segments.reverse();
    segments
}

/// What the walk meets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A span is on the path; once per span.
    Visit(usize),
    /// This stretch is the span's own.
    Own { span: usize, start: u64, end: u64 },
}

/// A place in the walk: a span, the time up to which it is assigned, and the next child to look at.
#[derive(Debug, Clone, Copy)]
struct Frame {
    span: usize,
    until: u64,
    next: usize,
}

/// The walk's memory, used again from subtree to subtree.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    clipped: Vec<(u64, u64)>,
    first: Vec<usize>,
    next: Vec<usize>,
    children: Vec<usize>,
    stack: Vec<Frame>,
}

impl Walk {
    /// Walks from the end of the entry to its start. O(n log n), no recursion.
    pub(crate) fn walk(&mut self, subtree: &EntrySubtree, mut step: impl FnMut(Step)) {
        self.prepare(subtree);
        self.stack.clear();
        self.enter(0, &mut step);
        while let Some(mut frame) = self.stack.pop() {
            let last = self.first[frame.span + 1];
            while frame.next < last && self.clipped[self.children[frame.next]].1 > frame.until {
                frame.next += 1;
            }
            let own_start = if frame.next < last {
                self.clipped[self.children[frame.next]].1
            } else {
                self.clipped[frame.span].0
            };
            if own_start < frame.until {
                step(Step::Own { span: frame.span, start: own_start, end: frame.until });
            }
            if frame.next < last {
                let child = self.children[frame.next];
                let until = self.clipped[child].0;
                self.stack.push(Frame { until, next: frame.next + 1, ..frame });
                self.enter(child, &mut step);
            }
        }
    }

    fn enter(&mut self, span: usize, step: &mut impl FnMut(Step)) {
        step(Step::Visit(span));
        self.stack.push(Frame { span, until: self.clipped[span].1, next: self.first[span] });
    }

    /// Clips children to their parents and sorts those that are left: end, then start, both falling, then id.
    fn prepare(&mut self, subtree: &EntrySubtree) {
        let spans = subtree.spans();
        let n = spans.len();
        self.clipped.clear();
        self.first.clear();
        self.first.resize(n + 1, 0);
        for (index, span) in spans.iter().enumerate() {
            let Some(parent) = subtree.parent(index) else {
                self.clipped.push((span.start, span.end));
                continue;
            };
            let (from, to) = self.clipped[parent];
            let clipped = (span.start.max(from), span.end.min(to));
            self.clipped.push(clipped);
            if clipped.0 < clipped.1 {
                self.first[parent + 1] += 1;
            }
        }
        for index in 0..n {
            self.first[index + 1] += self.first[index];
        }
        self.next.clear();
        self.next.extend_from_slice(&self.first);
        self.children.clear();
        self.children.resize(self.first[n], 0);
        for index in 1..n {
            let Some(parent) = subtree.parent(index) else { continue };
            if self.clipped[index].0 < self.clipped[index].1 {
                self.children[self.next[parent]] = index;
                self.next[parent] += 1;
            }
        }
        let clipped = &self.clipped;
        for index in 0..n {
            self.children[self.first[index]..self.first[index + 1]].sort_unstable_by(|a, b| {
                let (left, right) = (clipped[*a], clipped[*b]);
                (right.1, right.0).cmp(&(left.1, left.0)).then(spans[*a].id.cmp(&spans[*b].id))
            });
        }
    }

    /// Time of a span that its parent did not wait for, in nanoseconds; of the subtree walked last.
    pub(crate) fn outside(&self, subtree: &EntrySubtree, index: usize) -> u64 {
        let span = &subtree.spans()[index];
        let Some(parent) = subtree.parent(index) else { return 0 };
        span.end.saturating_sub(self.clipped[parent].1.max(span.start))
    }
}

#[cfg(test)]
mod tests;
