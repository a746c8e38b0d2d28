//! Blocks say exactly what the path says.

use analysis_traces::Stretch;

use super::*;
use crate::cause::samples::{example, large, n_plus_one, new_error, retries, span};

fn names(example: &Example, blocks: &[Block]) -> Vec<(String, usize, usize)> {
    let name = |block: &Block| match block.span {
        Some(span) => example.spans[span].name.clone(),
        None => "left out".to_owned(),
    };
    blocks.iter().map(|block| (name(block), block.depth, block.calls.len())).collect()
}

fn named(all: &[(&str, usize, usize)]) -> Vec<(String, usize, usize)> {
    all.iter().map(|(name, depth, calls)| ((*name).to_owned(), *depth, *calls)).collect()
}

#[test]
fn every_instant_belongs_to_one_block() {
    for cause in [n_plus_one(), retries(), new_error(), large(true), large(false)] {
        for example in [cause.baseline, cause.canary].into_iter().flatten() {
            let blocks = blocks(&example);
            let own: f64 = blocks.iter().map(Block::own_seconds).sum();
            assert!((own - example.seconds).abs() < 1e-9, "{own} of {}", example.seconds);
            for (at, block) in blocks.iter().enumerate() {
                assert!(block.calls.windows(2).all(|two| two[0][1] <= two[1][0]));
                let Some(parent) = block.parent else { continue };
                assert!(parent < at && blocks[parent].depth + 1 == block.depth);
                assert!(blocks[parent].from() <= block.from() && block.to() <= blocks[parent].to());
            }
        }
    }
}

#[test]
fn repeated_calls_are_one_block() {
    let example = n_plus_one().canary.unwrap();
    let expected = [
        ("GET /cart/{id}", 0, 1),
        ("Auth/Check", 1, 1),
        ("Auth/Check", 2, 1),
        ("CartRepo.load", 1, 1),
        ("GET cart", 2, 1),
        ("SELECT prices", 2, 10),
        ("render", 1, 1),
    ];
    assert_eq!(names(&example, &blocks(&example)), named(&expected));
}

#[test]
fn what_is_below_repeated_calls_is_one_block_too() {
    let mut spans = vec![span(None, "entry", 0.0, 10.0)];
    let mut path = vec![(Some(0), 1.0)];
    for n in 0..3_u32 {
        let begins = 1.0 + 3.0 * f64::from(n);
        spans.push(span(Some(0), "call", begins, begins + 2.6));
        spans.push(span(Some(spans.len() - 1), "query", begins + 0.2, begins + 2.4));
        let call = spans.len() - 2;
        path.extend([
            (Some(call), begins + 0.2),
            (Some(call + 1), begins + 2.4),
            (Some(call), begins + 2.6),
            (Some(0), begins + 3.0),
        ]);
    }
    let example = example(spans, &path);
    let blocks = blocks(&example);
    let expected = [("entry", 0, 1), ("call", 1, 3), ("query", 2, 3)];
    assert_eq!(names(&example, &blocks), named(&expected));
    assert!(
        (blocks[1].own_seconds() - 1.2).abs() < 1e-9 && (blocks[1].seconds() - 7.8).abs() < 1e-9
    );
}

#[test]
fn a_long_pause_a_failure_or_another_call_begins_a_new_block() {
    let mut spans = vec![span(None, "entry", 0.0, 10.0)];
    for (name, from, to) in [
        ("try", 0.0, 1.0),
        ("try", 1.5, 2.5),
        ("try", 4.0, 5.0),
        ("try", 5.0, 6.0),
        ("other", 6.0, 7.0),
        ("try", 7.0, 8.0),
    ] {
        spans.push(span(Some(0), name, from, to));
    }
    spans[4].failed = true;
    let path = [
        (Some(1), 1.0),
        (Some(0), 1.5),
        (Some(2), 2.5),
        (Some(0), 4.0),
        (Some(3), 5.0),
        (Some(4), 6.0),
        (Some(5), 7.0),
        (Some(6), 8.0),
        (Some(0), 10.0),
    ];
    let example = example(spans, &path);
    let expected = [
        ("entry", 0, 1),
        ("try", 1, 2),
        ("try", 1, 1),
        ("try", 1, 1),
        ("other", 1, 1),
        ("try", 1, 1),
    ];
    assert_eq!(names(&example, &blocks(&example)), named(&expected));
}

#[test]
fn what_cannot_be_is_drawn_as_far_as_it_can_be() {
    let mut spans = vec![span(None, "entry", 0.0, 4.0), span(Some(2), "a", 0.0, 1.0)];
    spans.push(span(Some(1), "b", 0.0, 1.0));
    let mut example = example(
        spans,
        &[(Some(2), 1.0), (None, 2.0), (Some(99), 3.0), (Some(0), 4.0), (Some(0), f64::NAN)],
    );
    example.path.push(Stretch { span: Some(0), from: 5.0, to: 4.0 });
    let expected = [("a", 0, 1), ("b", 1, 1), ("entry", 0, 1), ("left out", 1, 1)];
    assert_eq!(names(&example, &blocks(&example)), named(&expected));
    example.spans.clear();
    assert_eq!(names(&example, &blocks(&example)).len(), 2);
    example.path.clear();
    assert!(blocks(&example).is_empty());
}

#[test]
fn the_operation_that_was_found_comes_first_in_both_arms() {
    let cause = n_plus_one();
    let shown = [&cause.baseline, &cause.canary].map(|it| blocks(it.as_ref().unwrap()));
    let used = operations(&cause, [&shown[0], &shown[1]]);
    let first = &used[0];
    assert_eq!((first.key.2, first.found, first.calls), ("SELECT prices", true, [1, 10]));
    assert!(used.iter().skip(1).all(|used| !used.found));
    let total = |arm: usize| used.iter().map(|used| used.own[arm]).sum::<f64>();
    assert!((total(1) - cause.canary.as_ref().unwrap().seconds).abs() < 1e-9);
    assert!((total(0) - cause.baseline.as_ref().unwrap().seconds).abs() < 1e-9);
}

#[test]
fn the_foremost_blocks_come_with_what_is_above_them() {
    let example = large(true).canary.unwrap();
    let blocks = blocks(&example);
    let is_wanted = |block: &Block| block.depth == 7;
    let shown = foremost(&blocks, 10, is_wanted);
    assert_eq!(shown, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(foremost(&blocks, 10, |block| block.depth == 20).len(), 10);
    assert_eq!(
        foremost(&blocks, 5, is_wanted),
        [0, 1, 2, 3, 4],
        "what does not fit is passed over"
    );
}
