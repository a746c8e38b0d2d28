//! Names and messages without what differs from request to request.
//!
//! An operation called `GET /cart/8f14e45f` and an error "user 4711 not found" are one operation and one error, not
//! a thousand. What stays are words; what looks like an identifier becomes `*`.

use std::collections::HashMap;

/// Longest text that is looked at, in bytes: no name or message says more in its second kilobyte.
const LONGEST: usize = 1_024;

/// Shortest run of hexadecimal digits that is an identifier.
const LEAST_HEX: usize = 8;

/// The text up to [`LONGEST`] bytes, cut at a character.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// A name with identifiers (UUIDs, hexadecimal from eight digits on, numbers) replaced by `*`.
///
/// Digits within a word stay: `v2`, `http1`, `s3`.
pub(crate) fn name(text: &str) -> String {
    let text = cut(text, LONGEST);
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        if length == 0 {
            masked.push(character);
            rest = &rest[character.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(length);
        if is_identifier(word) {
            if !masked.ends_with('*') {
                masked.push('*');
            }
        } else {
            masked.push_str(word);
        }
        rest = after;
    }
    masked
}

/// A message with identifiers, quoted texts and addresses replaced by `*`, as for fingerprints.
pub(crate) fn message(text: &str) -> String {
    let text = cut(text, LONGEST);
    let mut unquoted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\'', '`']) {
        let quote = rest.as_bytes()[at];
        let before = rest[..at].chars().next_back();
        // An apostrophe within a word quotes nothing.
        let opens = quote != b'\'' || before.is_none_or(|c| !c.is_alphanumeric());
        let (head, tail) = rest.split_at(at + 1);
        if let Some(end) = tail.find(char::from(quote)).filter(|_| opens) {
            unquoted.push_str(&head[..at]);
            unquoted.push('*');
            rest = &tail[end + 1..];
        } else {
            unquoted.push_str(head);
            rest = tail;
        }
    }
    unquoted.push_str(rest);
    name(&unquoted)
}

/// A statement's shape: literals and lists of them replaced. For senders that record the raw text.
pub(crate) fn statement(text: &str) -> String {
    let masked = message(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut shape = masked.replace("$*", "*").replace('?', "*");
    for repeated in ["*, *", "*,*", "(*), (*)"] {
        let single = if repeated.starts_with('(') { "(*)" } else { "*" };
        while shape.contains(repeated) {
            shape = shape.replace(repeated, single);
        }
    }
    cut(&shape, 120).to_owned()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '-'
}

fn is_identifier(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let hex = word.chars().filter(char::is_ascii_hexdigit).count();
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let of_hex = word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if digits > 0 && letters == 0 {
        return true;
    }
    if word.starts_with("0x") && word.len() > 2 {
        return true;
    }
    (of_hex && hex >= LEAST_HEX && digits > 0) || (digits >= LEAST_HEX)
}

/// Groups names that differ in some of their words only, for services with more names than operations.
///
/// A shallow form of Drain (He et al., ICWS 2017): groups by number of words and first word; a name joins the group
/// whose words agree for the larger part, and words that differ become `*`.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    groups: HashMap<(usize, String), Vec<usize>>,
    templates: Vec<Vec<String>>,
}

/// Most groups of one service; further names share one.
const MOST_CLUSTERS: usize = 500;

impl Clusters {
    /// Index of the group of this name.
    pub(crate) fn add(&mut self, name: &str) -> usize {
        let words: Vec<&str> = name.split([' ', '/', '.', ':', '-', '_']).collect();
        let group = (words.len(), words.first().copied().unwrap_or_default().to_owned());
        let members = self.groups.entry(group).or_default();
        for index in members.iter() {
            let template = &mut self.templates[*index];
            let agree = template.iter().zip(&words).filter(|(a, b)| a == *b).count();
            if 2 * agree >= words.len() {
                for (kept, word) in template.iter_mut().zip(&words) {
                    if kept != word {
                        "*".clone_into(kept);
                    }
                }
                return *index;
            }
        }
        if self.templates.len() >= MOST_CLUSTERS {
            return MOST_CLUSTERS;
        }
        members.push(self.templates.len());
        self.templates.push(words.into_iter().map(str::to_owned).collect());
        self.templates.len() - 1
    }

    /// What the names of a group have in common.
    pub(crate) fn name(&self, index: usize) -> String {
        self.templates.get(index).map_or_else(|| "(others)".to_owned(), |words| words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_masked_and_words_stay() {
        for (text, expected) in [
            ("GET /cart/42", "GET /cart/*"),
            ("GET /v2/users", "GET /v2/users"),
            ("job 6fa459ea-ee8a-3ca4-894e-db77e160355e", "job *"),
            ("key 8f14e45fceea", "key *"),
            ("deadbeef", "deadbeef"),
            ("0x7ffe12", "*"),
            ("order_20240131", "*"),
            ("größe 7 ü", "größe * ü"),
            ("", ""),
        ] {
            assert_eq!(name(text), expected, "{text}");
        }
        assert_eq!(name(&"ü".repeat(10_000)).len(), LONGEST);
    }

    #[test]
    fn messages_lose_what_they_quote() {
        for (text, expected) in [
            ("no key \"abc\" in 'x y'", "no key * in *"),
            ("can't find it", "can't find it"),
            ("open ' quote", "open ' quote"),
            ("took 12.5 ms", "took *.* ms"),
        ] {
            assert_eq!(message(text), expected, "{text}");
        }
    }

    #[test]
    fn statements_keep_their_shape() {
        for (text, expected) in [
            ("SELECT *  FROM a WHERE id = 17", "SELECT * FROM a WHERE id = *"),
            ("SELECT b FROM a WHERE id IN (1, 2, 3)", "SELECT b FROM a WHERE id IN (*)"),
            ("SELECT b FROM a WHERE id IN ($1,$2)", "SELECT b FROM a WHERE id IN (*)"),
        ] {
            assert_eq!(statement(text), expected, "{text}");
        }
    }

    #[test]
    fn similar_names_share_a_group() {
        let mut clusters = Clusters::default();
        let first = clusters.add("load user anna");
        assert_eq!(clusters.add("load user bert"), first);
        assert_eq!(clusters.name(first), "load user *");
        assert_ne!(clusters.add("store a b"), first);
        for number in 0..5_000 {
            clusters.add(&format!("{number} x{number} y{number}"));
        }
        assert!(clusters.templates.len() <= MOST_CLUSTERS);
        assert_eq!(clusters.name(MOST_CLUSTERS), "(others)");
    }
}
