//! Places against changes.

use super::*;
use crate::samples::span;

fn diff() -> Diff {
    let commit =
        |id: &str, path: &str, start: u32, lines: u32, function: &str, added: &str| Commit {
            id: id.repeat(10),
            subject: format!("change {path}"),
            files: vec![ChangedFile {
                path: path.into(),
                hunks: vec![Hunk { start, lines, function: function.into(), added: added.into() }],
            }],
        };
    Diff {
        commits: vec![
            commit("aaaa", "services/cart/src/web.rs", 10, 2, "pub fn get(&self) {", ""),
            commit(
                "bbbb",
                "services/cart/src/repo.rs",
                80,
                12,
                "fn load_prices(id: u64) -> Vec<Price>",
                "",
            ),
            commit(
                "cccc",
                "services/cart/src/mod.rs",
                1,
                1,
                "",
                "sqlx::query(\"SELECT * FROM cart_items\")",
            ),
            commit("dddd", "services/mail/src/mod.rs", 1, 1, "", ""),
        ],
    }
}

fn check(function: &str, file: &str, line: Option<u32>) -> Option<(usize, Matched)> {
    let place = Frame { function: function.into(), file: file.into(), line };
    suspect(&[(place, 1.0)], &[], &diff()).map(|suspect| (suspect.position, suspect.matched))
}

#[test]
fn places_find_their_commit() {
    assert_eq!(check("cart::load_prices", "/app/src/repo.rs", Some(88)), Some((2, Matched::Line)));
    assert_eq!(check("cart::load_prices", "repo.rs", Some(400)), Some((2, Matched::Function)));
    assert_eq!(check("cart::other", "./src/repo.rs", Some(95)), Some((2, Matched::Function)));
    assert_eq!(check("cart::other", "./src/repo.rs", None), Some((2, Matched::File)));
    assert_eq!(check("Cart.get::{{closure}}", "src/web.rs", None), Some((1, Matched::Function)));
    assert_eq!(check("main.(*Cart).get", "src/web.rs", None), Some((1, Matched::Function)));
    assert_eq!(check("f", "services/cart/src/mod.rs", None), Some((3, Matched::File)));
}

#[test]
fn places_elsewhere_accuse_nobody() {
    assert_eq!(check("f", "/app/src/other.rs", Some(88)), None);
    assert_eq!(check("load_prices", "", None), None);
    // Two changed files could be meant.
    assert_eq!(check("f", "lib/mod.rs", None), None);
}

#[test]
fn names_in_changed_lines_are_the_last_resort() {
    let words = telling_words("SELECT cart_items");
    assert_eq!(words, ["cart_items"]);
    let found = suspect(&[], &words, &diff()).unwrap();
    assert_eq!((found.position, found.matched, found.short()), (3, Matched::Text, "ccccccc"));
    assert_eq!(suspect(&[], &telling_words("SELECT users"), &diff()), None);
    assert_eq!(suspect(&[], &words, &Diff::default()), None);
}

#[test]
fn spans_name_their_place_by_either_convention() {
    let mut span = span("cart", "load");
    span.attributes = [
        ("code.filepath", "src/repo.rs".into()),
        ("code.function", "load".into()),
        ("code.namespace", "cart.Repo".into()),
        ("code.lineno", crate::span::Value::Integer(88)),
    ]
    .into_iter()
    .collect();
    let expected =
        Frame { function: "cart.Repo.load".into(), file: "src/repo.rs".into(), line: Some(88) };
    assert_eq!(place_of(&span), Some(expected));
    span.attributes = [("code.function.name", "cart.Repo.load".into())].into_iter().collect();
    assert_eq!(place_of(&span).unwrap().function, "cart.Repo.load");
    span.attributes = crate::span::Attributes::default();
    assert_eq!(place_of(&span), None);
}
