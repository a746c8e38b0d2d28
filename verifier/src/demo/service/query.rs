//! The query by which the demo's service looks prices up, in a file of its repository.
//!
//! A commit can turn one query for a whole cart into one for each of its lines, as happens to real services: then the
//! file and line that spans name are those of the commit's own change.

use std::path::Path;

/// A query, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its file, as the service was told it: from the top of the repository.
    pub(super) file: String,
    /// Line of the statement, from 1.
    pub(super) line: u32,
    /// Its name, after `-- name:`.
    pub(super) name: String,
    /// The statement.
    pub(super) text: String,
    /// What it asks for.
    pub(super) table: String,
    /// How often it is made.
    pub(super) asks: Asks,
}

/// How often a query is made for a cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// Once, with all lines (`= ANY($1)`).
    Once,
    /// Once for each line (`= $1`).
    ForEachLine,
}

impl Query {
    /// Reads a file with one query.
    pub(super) fn parse(file: &Path, text: &str) -> Result<Self, String> {
        let mut name = String::new();
        let mut statement: Option<(u32, String)> = None;
        for (number, line) in (1_u32..).zip(text.lines().map(str::trim)) {
            if let Some(comment) = line.strip_prefix("--") {
                if let Some(named) = comment.trim().strip_prefix("name:") {
                    named.split_whitespace().next().unwrap_or_default().clone_into(&mut name);
                }
            } else if !line.is_empty() {
                let (_, words) = statement.get_or_insert_with(|| (number, String::new()));
                *words = format!("{words} {line}");
            }
        }
        let wrong = "write one statement as `SELECT amount FROM price WHERE sku = ANY($1);`, or `sku = $1` to ask for each line of a cart";
        let (line, text) = statement.ok_or(wrong)?;
        let text = text.trim().trim_end_matches(';').to_owned();
        let mut words = text.split_whitespace();
        if !words.next().is_some_and(|word| word.eq_ignore_ascii_case("select")) {
            return Err(wrong.to_owned());
        }
        let from = words.by_ref().find(|word| word.eq_ignore_ascii_case("from"));
        let table = from.and_then(|_| words.next()).ok_or(wrong)?.to_owned();
        let asks = match (text.contains("= ANY($1)"), text.contains("= $1")) {
            (true, _) => Asks::Once,
            (false, true) => Asks::ForEachLine,
            (false, false) => return Err(wrong.to_owned()),
        };
        let name = if name.is_empty() { table.clone() } else { name };
        Ok(Self { file: file.display().to_string(), line, name, text, table, asks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_how_often_it_asks_and_where_it_stands() {
        let parse = |text| Query::parse(Path::new("shop/prices.query"), text);
        let once =
            parse("-- name: CartPrices :many\n\nSELECT amount\nFROM price WHERE sku = ANY($1);\n")
                .unwrap();
        let expected = Query {
            file: "shop/prices.query".to_owned(),
            line: 3,
            name: "CartPrices".to_owned(),
            text: "SELECT amount FROM price WHERE sku = ANY($1)".to_owned(),
            table: "price".to_owned(),
            asks: Asks::Once,
        };
        assert_eq!(once, expected);
        let each = parse("SELECT amount, tax FROM price WHERE sku = $1;").unwrap();
        assert_eq!((each.asks, each.line, each.name.as_str()), (Asks::ForEachLine, 1, "price"));
        for wrong in ["", "-- nothing", "DELETE FROM price", "SELECT 1", "SELECT a FROM b"] {
            assert!(parse(wrong).unwrap_err().contains("write one statement"), "{wrong}");
        }
    }
}
