//! The texts that people read.

use super::*;
use crate::code::{Matched, Suspect};
use crate::compare::{Settings, compare};
use crate::decompose::Level;
use crate::errors::{ErrorKind, Fingerprint};
use crate::finding::{Confidence, ErrorEvidence, Examples, OperationChange, Repeats};
use crate::operation::Operation;
use crate::span::Kind;
use crate::strata::Stratum;

#[test]
fn durations_have_the_unit_that_fits() {
    for (seconds, expected) in [
        (0.0, "0 ms"),
        (0.062, "+62.0 ms"),
        (-0.000_25, "-250 us"),
        (12.345, "+12.3 s"),
        (1e-12, "0 ms"),
    ] {
        assert_eq!(signed(seconds), expected);
    }
    assert_eq!([percent(0.004), percent(0.856), percent(0.0)], ["less than 1 %", "86 %", "0 %"]);
    assert_eq!([small(0.04), small(2e-5), small(0.0)], ["0.040", "2e-5", "< 1e-9"]);
    assert_eq!(cut("größer als alles", 8), "größe...");
    assert_eq!(capital("über"), "Über");
}

fn operation(name: &str) -> Operation {
    Operation { service: "shop".to_owned(), kind: Kind::Client, name: name.to_owned() }
}

/// The change of the issue: 16 more queries of 3.9 ms.
fn finding() -> Finding {
    let effect = Effect {
        change: 0.062,
        by_calls: 0.062,
        by_time: 0.0,
        baseline: Level { calls: 1.0, seconds: 0.0039 },
        canary: Level { calls: 17.0, seconds: 0.0659 },
        error: 0.001,
        p: 1e-12,
    };
    Finding {
        cause: Cause::NPlusOne,
        operation: Some(operation("SELECT cart_items")),
        caller: Some(operation("CartRepo.load")),
        score: 1.0,
        share: 0.97,
        effect: Some(effect),
        tail_only: false,
        repeats: Some(Repeats {
            baseline: 1.0,
            canary: 17.0,
            sequential: 1.0,
            retries: [0.5, 2.0],
        }),
        error: None,
        only: None,
        host: None,
        mix: None,
        places: vec![Frame {
            function: "CartRepo::load".to_owned(),
            file: "src/cart/repo.rs".to_owned(),
            line: Some(88),
        }],
        suspect: Some(Suspect {
            commit: "4f2c1a9d".repeat(5),
            subject: "Load carts row by row".to_owned(),
            position: 2,
            of: 5,
            share: 1.0,
            file: "src/cart/repo.rs".to_owned(),
            line: Some(88),
            matched: Matched::Line,
        }),
        also_changed: None,
        confidence: Confidence::High,
        examples: Examples::default(),
        sentence: String::new(),
    }
}

fn root_cause(finding: Finding) -> RootCause {
    let mut found = compare(&[], &[], &Settings::default(), None);
    found.service = "shop".to_owned();
    (found.baseline.compared, found.canary.compared) = (1_200, 400);
    (found.baseline.p99, found.canary.p99, found.change.adjusted) = (0.1, 0.185, 0.064);
    found.entries = vec![Stratum {
        entry: "GET /cart".to_owned(),
        baseline: 1_200,
        canary: 400,
        compared: Compared::Alone,
    }];
    found.findings = vec![finding];
    found
}

fn headline(change: impl FnOnce(&mut Finding)) -> String {
    let mut finding = finding();
    change(&mut finding);
    root_cause(finding).headline()
}

#[test]
fn a_headline_says_how_much_what_and_where() {
    insta::assert_snapshot!(headline(|_| {}), @"p99 +85.0 ms, mean +64.0 ms: 62.1 ms from 16 more `SELECT cart_items` per `GET /cart`, one after the other, called from `CartRepo::load` (src/cart/repo.rs:88, changed in 4f2c1a9)");
    let causes = [
        Cause::Slower,
        Cause::MoreCalls,
        Cause::NewCall,
        Cause::LostCache,
        Cause::Retries,
        Cause::FanOut,
    ];
    let all: Vec<String> =
        causes.into_iter().map(|cause| headline(|finding| finding.cause = cause)).collect();
    insta::assert_snapshot!(all.join("\n"), @r"
    p99 +85.0 ms, mean +64.0 ms: 62.1 ms from `SELECT cart_items`, 3.90 ms -> 3.88 ms each, called from `CartRepo::load` (src/cart/repo.rs:88, changed in 4f2c1a9)
    p99 +85.0 ms, mean +64.0 ms: 62.1 ms from 16 more `SELECT cart_items` per `GET /cart`, called from `CartRepo::load` (src/cart/repo.rs:88, changed in 4f2c1a9)
    p99 +85.0 ms, mean +64.0 ms: 62.1 ms from the new call `SELECT cart_items`, 17 per `GET /cart`, called from `CartRepo::load` (src/cart/repo.rs:88, changed in 4f2c1a9)
    p99 +85.0 ms, mean +64.0 ms: 62.1 ms from 16 more `SELECT cart_items` per `GET /cart` that a cache spared, called from `CartRepo::load` (src/cart/repo.rs:88, changed in 4f2c1a9)
    p99 +85.0 ms, mean +64.0 ms: 62.1 ms from 1.5 more retries of `SELECT cart_items` per `GET /cart`, called from `CartRepo::load` (src/cart/repo.rs:88, changed in 4f2c1a9)
    p99 +85.0 ms, mean +64.0 ms: 62.1 ms from 16 more `SELECT cart_items` per `CartRepo.load` at the same time, called from `CartRepo::load` (src/cart/repo.rs:88, changed in 4f2c1a9)
    ");
}

#[test]
fn a_headline_says_less_where_less_is_known() {
    let all = [
        headline(|finding| finding.suspect = None),
        headline(|finding| finding.places.clear()),
        headline(|finding| (finding.places, finding.suspect) = (Vec::new(), None)),
        headline(|finding| finding.places[0].file.clear()),
        headline(|finding| (finding.caller, finding.tail_only, finding.share) = (None, true, 0.7)),
        headline(|finding| {
            let fingerprint = Fingerprint(7);
            let error = ErrorKind {
                fingerprint,
                kind: "shop::PriceMissing".to_owned(),
                message: "no price for *".to_owned(),
                origin: "shop render".to_owned(),
                frames: Vec::new(),
            };
            finding.cause = Cause::NewError;
            finding.effect = None;
            finding.caller = None;
            finding.error =
                Some(ErrorEvidence { error, canary: 12, baseline: 0, share: 0.25, p: 6e-8 });
        }),
        compare(&[], &[], &Settings::default(), None).headline(),
        RootCause { findings: Vec::new(), ..root_cause(finding()) }.headline(),
    ];
    insta::assert_snapshot!(all.join("\n"), @r"
    p99 +85.0 ms, mean +64.0 ms: 62.1 ms from 16 more `SELECT cart_items` per `GET /cart`, one after the other, called from `CartRepo::load` (src/cart/repo.rs:88)
    p99 +85.0 ms, mean +64.0 ms: 62.1 ms from 16 more `SELECT cart_items` per `GET /cart`, one after the other, called from `CartRepo.load` (changed in 4f2c1a9)
    p99 +85.0 ms, mean +64.0 ms: 62.1 ms from 16 more `SELECT cart_items` per `GET /cart`, one after the other, called from `CartRepo.load`
    p99 +85.0 ms, mean +64.0 ms: 62.1 ms from 16 more `SELECT cart_items` per `GET /cart`, one after the other, called from `CartRepo::load` (changed in 4f2c1a9)
    p99 +85.0 ms: 70 % in the slowest requests from 16 more `SELECT cart_items` per `GET /cart`, one after the other, at `CartRepo::load` (src/cart/repo.rs:88, changed in 4f2c1a9)
    new error `shop::PriceMissing: no price for *` in `SELECT cart_items`: 12 canary traces and none of the baseline, at 25 % of the requests (p = 6e-8), at `CartRepo::load` (src/cart/repo.rs:88, changed in 4f2c1a9)
    too few traces to compare: 0 of the baseline, 0 of the canary
    nothing differs by more than chance: mean +64.0 ms, p99 +85.0 ms, in 400 canary and 1200 baseline traces
    ");
}

#[test]
fn a_headline_is_short_however_long_the_names() {
    let text = headline(|finding| {
        finding.operation = Some(operation(&"SELECT `größe` ".repeat(90)));
        finding.caller = Some(operation(&"caller".repeat(90)));
        finding.places[0].function = "module::".repeat(90);
        finding.places[0].file = "folder/".repeat(90);
    });
    insta::assert_snapshot!(text, @"p99 +85.0 ms, mean +64.0 ms: 62.1 ms from 16 more `SELECT 'größe' SELECT 'größe' SELECT 'größe' SELECT '...` per `GET /cart`, one after the other, called from `...:module::module::module::module::module::` (...r/folder/folder/folder/folder/folder/:88, changed in 4f2c1a9)");
    assert!(text.chars().count() <= 280 && text.matches('`').count() == 6, "{text}");
}

#[test]
fn a_table_becomes_narrower_by_cutting_names() {
    let mut found = root_cause(finding());
    let effect = found.findings[0].effect.unwrap();
    let name = "SELECT cart_items by cart with prices and discounts";
    found.operations = vec![OperationChange { operation: operation(name), effect, tail: 0.0 }];
    found.table = table(&found);
    let widest = |table: &str| table.lines().map(str::len).max().unwrap();
    assert_eq!(found.table_within(200), found.table);
    assert_eq!(widest(&found.table_within(90)), 90);
    insta::assert_snapshot!(found.table_within(40), @r"
    operation                calls                each    change  by calls  by time       p
    SELECT cart_i...  1.00 -> 17.0  3.90 ms -> 3.88 ms  +62.0 ms  +62.0 ms     0 ms  < 1e-9
    all others                                              0 ms
    request                                             +64.0 ms
    ");
}
