//! Pictures show what the paths are.

use super::*;
use crate::cause::path::{blocks, operations};
use crate::cause::samples::{large, n_plus_one, retries};

fn drawn(cause: &Cause) -> Pictures {
    let examples = [&cause.baseline, &cause.canary].map(|it| it.as_ref().unwrap());
    let paths = examples.map(blocks);
    let used = operations(cause, [&paths[0], &paths[1]]);
    let scale = examples[0].seconds.max(examples[1].seconds);
    pictures(cause, &paths, &used, scale).unwrap()
}

#[test]
fn both_pictures_have_one_scale_and_the_same_colours() {
    let pictures = drawn(&n_plus_one());
    let ends: Vec<&str> = pictures.arms.iter().map(|picture| &*picture.end).collect();
    assert_eq!(ends, ["81.15", "100"]);
    let found = |picture: &Picture| {
        let found = picture.shapes.iter().filter(|shape| shape.class.starts_with("o1 found"));
        found.map(|shape| shape.label.clone().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(found(&pictures.arms[0]), ["SELECT prices"]);
    assert_eq!(found(&pictures.arms[1]), ["SELECT prices × 10"]);
    assert_eq!((&*pictures.legend[0].number, pictures.legend[0].found), ("1", true));
    insta::assert_snapshot!(pictures.arms[1].summary, @"The request took 62.3 ms. It waited longest for SELECT prices 45.9 ms in 10 calls, render 7.64 ms, Auth/Check 5.93 ms, Auth/Check 800 us.");
    let titles: Vec<&str> = pictures.arms[1].shapes.iter().map(|it| &*it.title).collect();
    insta::assert_snapshot!(titles.join("\n"), @r"
    GET /cart/{id}, checkout, server, 62.3 ms, from 0 ms to 62.3 ms
    Auth/Check, checkout, client, 6.73 ms, from 639 us to 7.37 ms
    Auth/Check, auth, server, 5.93 ms, from 1.04 ms to 6.97 ms
    CartRepo.load, checkout, 47.3 ms, from 7.37 ms to 54.7 ms
    GET cart, checkout, client, 608 us, from 8.16 ms to 8.77 ms
    SELECT prices, checkout, client, 10 calls one after the other, 45.9 ms, 4.59 ms each, from 8.77 ms to 54.7 ms
    render, checkout, 7.64 ms, from 54.7 ms to 62.3 ms
    ");
}

#[test]
fn a_picture_is_bounded_and_says_so() {
    for deep in [true, false] {
        for picture in drawn(&large(deep)).arms {
            assert!(picture.shapes.len() <= MOST_BLOCKS && picture.height < 400);
            assert!(picture.note.unwrap().contains("short stretches are not drawn"));
        }
    }
    let pictures = drawn(&retries());
    assert_eq!((pictures.legend.len(), pictures.others), (8, 3));
}

#[test]
fn a_row_with_what_was_found_stays_among_too_many() {
    let cause = large(true);
    let blocks = blocks(cause.canary.as_ref().unwrap());
    let shown: Vec<usize> = (0..40).collect();
    let rows = rows(&blocks, &shown, |block| block.depth == 33);
    assert_eq!(rows.len(), MOST_ROWS);
    assert!(rows.contains(&0) && rows.contains(&33), "{rows:?}");
}

#[test]
fn labels_say_as_much_as_fits() {
    let shown = |share, calls| label("SELECT cart_items", calls, Some(3), share);
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(shown(0.5, 1), (text("SELECT cart_items"), false));
    assert_eq!(shown(0.4, 16), (text("SELECT cart_items × 16"), true));
    assert_eq!(shown(0.9, 16), (text("SELECT cart_items × 16"), false));
    assert_eq!(shown(0.2, 1), (text("SELECT cart…"), false));
    assert_eq!(shown(0.1, 16), (text("× 16"), true));
    assert_eq!(shown(0.05, 1), (text("3"), false));
    assert_eq!(shown(0.01, 1), (None, false));
    assert_eq!(label("x", 1, None, 0.01), (None, false));
}

#[test]
fn marks_are_at_round_times() {
    let shown =
        |scale| ticks(scale).into_iter().map(|tick| tick.label).collect::<Vec<_>>().join(" ");
    assert_eq!(shown(0.0623), "0 20 ms 40 ms 60 ms");
    assert_eq!(shown(0.1), "0 20 ms 40 ms 60 ms 80 ms 100 ms");
    assert_eq!(shown(1.3), "0 500 ms 1 s");
    assert_eq!(shown(7e-6), "0 2 us 4 us 6 us");
    assert!(ticks(1e300).len() <= 6 && ticks(f64::MIN_POSITIVE).len() <= 6);
}

#[test]
fn places_are_within_the_picture() {
    let shown = [0.0, 0.5, 1.0, 2.0, -1.0, f64::NAN].map(|seconds| across(seconds, 1.0));
    assert_eq!(shown, ["0", "50", "100", "100", "0", "0"]);
}
