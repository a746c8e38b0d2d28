//! Few words, and none that Git or a terminal would obey.

use super::*;
use crate::cause::samples::{NASTY, n_plus_one, nasty, new_error, nothing, retries};

#[test]
fn a_revert_says_what_was_found() {
    let said =
        [n_plus_one(), retries(), new_error(), nothing()].map(|cause| lines(&cause).join("\n"));
    insta::assert_snapshot!(said.join("\n\n"), @r"
    p99 +42.8 ms, mean +31.6 ms: 31.5 ms from 12 more `SELECT prices` per request, one after the other,
      called from `checkout::cart::load` (src/cart/repo.rs:88, changed in 4f2c4f2)
    - `SELECT prices`: 1.00 -> 12.7 calls by each caller, one after the other (N+1), +31.5 ms per
      request (100 % of the change)
    Suspect commit 2 of 4 (100 % of the evidence, confidence high) 4f2c4f2 Load carts in another way
    Traces 00000000863ae030fce6fde700000486 (baseline), 00000000d0cd5acf0d76f2780000008d (canary)

    p99 +8.12 ms, mean +2.15 ms: 2.05 ms from 0.08 more retries of `POST /charge` per request, called
      from `checkout::pay::charge` (src/pay.rs:60, changed in 4f2c4f2)
    - `POST /charge` is tried again 0.01 -> 0.09 times per request and fails more often, +2.05 ms per
      request (95 % of the change)
    Suspect commit 2 of 4 (100 % of the evidence, confidence high) 4f2c4f2 Load carts in another way
    Traces 00000000898efa5e0a907dd000000001 (baseline), 000000008b8bfd409199e30c00000007 (canary)

    new error `checkout::PriceMissing: no price for item *` in `GET /cart`: 10 canary traces and none of
      the baseline, at 25 % of the requests (p = 1e-6), at `checkout::render::total`
      (./src/render.rs:24, changed in 4f2c4f2)
    Suspect commit 2 of 4 (100 % of the evidence, confidence high) 4f2c4f2 Load carts in another way
    Traces 00000000354bcaf8a2cc1ef600000245 (baseline), 0000000063d0b8b0539a689900000092 (canary)

    nothing differs by more than chance: mean +1.31 ms, p99 +12.3 ms, in 400 canary and 1200 baseline
      traces
    ");
}

#[test]
fn a_headline_is_one_line() {
    insta::assert_snapshot!(headline(&n_plus_one()), @"p99 +42.8 ms, mean +31.6 ms: 31.5 ms from 12 more `SELECT prices` per request, one after the other, called from `checkout::cart::load` (src/cart/repo.rs:88, changed in 4f2c4f2)");
}

#[test]
fn lines_stay_short_and_harmless_whatever_the_names() {
    let mut cause = nasty();
    let finding = cause.root.findings[0].clone();
    cause.root.findings.extend((0..5).map(|_| finding.clone()));
    for line in lines(&cause).into_iter().chain([headline(&cause)]) {
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(!is_special(&line), "{line}");
    }
    let lines = lines(&cause);
    assert!(lines.len() <= MOST_LINES, "{lines:#?}");
    assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
}

#[test]
fn what_git_takes_for_something_else_is_quoted() {
    for special in [
        "Signed-off-by: somebody",
        "Signed-off-by : somebody",
        "Fixes #12",
        "Key= value",
        "# a comment",
        "---",
        "diff --git a b",
        "(cherry picked from commit 4f2c1a9)",
    ] {
        assert!(is_special(special), "{special}");
        assert!(!is_special(&quoted(special)), "{special}");
    }
    for text in
        ["p99 +85 ms, mean +64 ms: 62 ms", "- `a`: b", "  Key: value", "Suspect commit 2 of 5"]
    {
        assert!(!is_special(text), "{text}");
    }
    assert_eq!(quoted(&"x".repeat(200)).len(), WIDTH);
}

#[test]
fn lines_break_between_words_and_not_before_units() {
    let text = "it takes 31.5 ms more (100 % of the change); 3 s";
    assert_eq!(
        wrapped(text, 14, "  "),
        ["it takes", "  31.5 ms more", "  (100 % of", "  the change);", "  3 s"]
    );
    assert_eq!(
        wrapped("abcdefghijklmnopqrst uv", 12, "  "),
        ["abcdefghij", "  klmnopqrst", "  uv"]
    );
    assert!(wrapped("  ", 10, "").is_empty());
    assert_eq!(unbroken("a 5 ms, b"), "a 5\u{a0}ms, b");
    assert_eq!(plain(NASTY), "</svg><script>alert(1)</script> [31m Signed-off-by: you <`x`> \"'&");
    assert_eq!([shortened("größe", 4), shortened("größe", 5)], ["grö…", "größe"]);
}
