//! Trees show all spans or say how many they do not.

use super::*;
use crate::cause::samples::{example, large, n_plus_one, span};

fn shown(example: &Example) -> Tree {
    tree("canary", example, example.seconds, &|_| "o1".to_owned(), &|at| at == 5)
}

fn lines(tree: &Tree) -> Vec<String> {
    let mut depth = 0;
    let line = |row: &Row| {
        let times = row.times.map(|times| format!(" × {times}")).unwrap_or_default();
        let off = if row.waited { "" } else { " (beside)" };
        let line = format!("{}{}{times}{off}", "  ".repeat(depth), row.name);
        depth = depth + row.after.matches("<ul>").count() - row.after.matches("</ul>").count();
        line
    };
    tree.rows.iter().map(line).collect()
}

#[test]
fn alike_calls_are_one_line() {
    let tree = shown(&n_plus_one().canary.unwrap());
    insta::assert_snapshot!(lines(&tree).join("\n"), @r"
    GET /cart/{id}
      Auth/Check
        Auth/Check
      CartRepo.load
        GET cart
        SELECT prices × 10
      render
      publish orders (beside)
        work orders (beside)
    ");
    assert_eq!((tree.spans, tree.hidden), (18, 0));
    assert_eq!(tree.began, "2025-11-24 16:00:31 UTC");
}

#[test]
fn subtrees_are_alike_when_all_of_them_is() {
    let mut spans = vec![span(None, "entry", 0.0, 9.0)];
    for n in 0..4_u32 {
        let begins = f64::from(n) * 2.0;
        spans.push(span(Some(0), "call", begins, begins + 1.0));
        let call = spans.len() - 1;
        spans.push(span(Some(call), "query", begins, begins + 0.5));
        if n == 2 {
            spans.push(span(Some(call), "query", begins + 0.5, begins + 0.8));
        }
    }
    let tree = shown(&example(spans, &[(Some(0), 9.0)]));
    insta::assert_snapshot!(lines(&tree).join("\n"), @r"
    entry
      call × 2 (beside)
        query × 2 (beside)
      call (beside)
        query × 2 (beside)
      call (beside)
        query (beside)
    ");
    assert_eq!(tree.rows[1].seconds, "2.00 s");
}

#[test]
fn a_large_tree_keeps_what_matters_and_counts_the_rest() {
    for deep in [true, false] {
        let mut example = large(deep).canary.unwrap();
        example.spans[20].failed = true;
        let tree = shown(&example);
        let told: usize = tree.rows.iter().map(|row| row.times.unwrap_or(1)).sum();
        assert_eq!(told + tree.hidden, 5_000);
        assert!(tree.rows.iter().any(|row| row.failed) && tree.rows.iter().any(|row| row.found));
        assert!(30 < told && told < 120, "{told}");
        let ends: usize = tree.rows.iter().map(|row| row.after.matches("</li>").count()).sum();
        assert_eq!(ends, tree.rows.len(), "every line ends");
        let told = tree.rows.iter().flat_map(|row| &row.attributes);
        let bytes: usize = told.map(|(name, value)| name.len() + value.len()).sum();
        assert!(0 < bytes && bytes <= ATTRIBUTES, "{bytes}");
    }
}

#[test]
fn impossible_trees_are_shown_as_far_as_they_go() {
    let spans = vec![
        span(Some(1), "first", -5.0, 900.0),
        span(Some(7), "second", 0.0, 1.0),
        span(Some(2), "third", 3.0, 2.0),
    ];
    let tree = shown(&example(spans, &[(None, 1.0)]));
    assert_eq!(lines(&tree), ["first (beside)", "second (beside)", "third (beside)"]);
    assert_eq!((&*tree.rows[0].x, &*tree.rows[0].width), ("0", "100"));
    assert!(shown(&example(Vec::new(), &[])).rows.is_empty());
}
