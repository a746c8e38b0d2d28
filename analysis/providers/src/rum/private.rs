//! What of a page's address and of an error's message may be kept: nothing that tells one visitor from another.
//!
//! Addresses are cut to the first two parts of their path, without query and fragment; what may be an identifier, an
//! e-mail address or free text becomes `*`. When in doubt it is masked: a page group that is too coarse costs a little
//! power, a name that is kept cannot be taken back.

/// Parts of a path that make a page group.
const PARTS: usize = 2;

/// Longest part that is a word and no slug, in bytes.
const LONGEST_PART: usize = 32;

/// Longest masked message, in bytes.
const LONGEST_MESSAGE: usize = 120;

/// Longest text that is looked at, in bytes.
const LONGEST: usize = 2_048;

/// The page group of an address or path, e.g. `/cart/*` for `https://shop.example/cart/4711?user=ada#x`.
pub(super) fn page_group(address: &str) -> String {
    let address = cut(address.trim(), LONGEST);
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => address,
    };
    let path = path.split(['?', '#', ';']).next().unwrap_or_default();
    let parts = path.split('/').filter(|part| !part.is_empty()).take(PARTS);
    let masked = parts.map(|part| if is_word(part) { part } else { "*" });
    let group: String = masked.flat_map(|part| ["/", part]).collect();
    if group.is_empty() { "/".to_owned() } else { group }
}

/// Whether a part of a path names a page and nobody.
fn is_word(part: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let words = || part.split(['-', '_', '.']);
    part.len() <= LONGEST_PART
        && part.bytes().all(plain)
        && part.bytes().any(|b| b.is_ascii_alphabetic())
        && !words().any(is_identifier)
}

fn is_identifier(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let hexadecimal = word.bytes().all(|b| b.is_ascii_hexdigit());
    !word.is_empty() && (digits == word.len() || digits > 2 || (word.len() >= 8 && hexadecimal))
}

/// What an error is told as, e.g. `TypeError: Cannot read properties of undefined (reading *)`.
pub(super) fn error(kind: &str, message: &str) -> String {
    let named = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '$';
    let kind = cut(kind, 40);
    let kind = if !kind.is_empty() && kind.chars().all(named) { kind } else { "Error" };
    let message = masked(message);
    if message.is_empty() { kind.to_owned() } else { format!("{kind}: {message}") }
}

/// A message without quoted texts, numbers, addresses and whatever else is no plain word.
fn masked(message: &str) -> String {
    let mut text = String::new();
    let mut rest = cut(message, LONGEST);
    while let Some(at) = rest.find(['"', '\'', '`']) {
        let quote = &rest[at..=at];
        // An apostrophe within a word quotes nothing.
        let within = quote == "'" && rest[..at].ends_with(char::is_alphanumeric);
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if within {
            text.push('\'');
        } else {
            // What is opened and never closed is quoted to its end.
            text.push('*');
            rest = rest.split_once(quote).map_or("", |(_, after)| after);
        }
    }
    text.push_str(rest);
    let mut message = String::new();
    for word in text.split_whitespace() {
        let plain = |c: char| c.is_alphabetic() || ".,:;!?()[]{}*'=<>_-$".contains(c);
        let told = if word.chars().all(plain) && word.len() <= 40 { word } else { "*" };
        if told == "*" && message.ends_with('*') {
            continue;
        }
        if message.len() + told.len() >= LONGEST_MESSAGE {
            break;
        }
        if !message.is_empty() {
            message.push(' ');
        }
        message.push_str(told);
    }
    message
}

/// The text up to so many bytes, cut at a character.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_group_names_a_page_and_nobody() {
        for (address, group) in [
            ("https://shop.example/cart/4711?user=ada#x", "/cart/*"),
            ("https://ada:secret@shop.example/orders", "/orders"),
            ("https://shop.example", "/"),
            ("/", "/"),
            ("", "/"),
            ("/a/b/c/d", "/a/b"),
            ("/cart;jsessionid=8f14e45f/x", "/cart"),
            ("/users/ada@example.org", "/users/*"),
            ("/users/Ada%20Lovelace", "/users/*"),
            ("/v2/items", "/v2/items"),
            ("/t/8f14e45fceea167a", "/t/*"),
            ("/t/123e4567-e89b-12d3-a456-426614174000", "/t/*"),
            ("/p/blue-suede-shoes-for-the-dancing-king-size-nine", "/p/*"),
            ("/sale-2024/index.html", "/*/index.html"),
            ("//evil.example//x", "/evil.example/x"),
            ("/küche/ö", "/*/*"),
            ("/.../..", "/*/*"),
        ] {
            assert_eq!(page_group(address), group, "{address}");
        }
    }

    #[test]
    fn a_message_says_what_broke_and_not_for_whom() {
        let told = [
            ("TypeError", "Cannot read properties of undefined (reading 'price')"),
            ("ReferenceError", "cart is not defined"),
            ("Error", "user ada@example.org (id 4711) can't pay at https://shop.example/pay?t=1"),
            ("Error", "no item \"blue shoes"),
            ("<script>", ""),
            ("", "Script error."),
        ]
        .map(|(kind, message)| error(kind, message));
        insta::assert_snapshot!(told.join("\n"), @r"
        TypeError: Cannot read properties of undefined (reading *)
        ReferenceError: cart is not defined
        Error: user * (id * can't pay at *
        Error: no item *
        Error
        Error: Script error.
        ");
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_kept_short_and_without_numbers(text in "\\PC{0,400}|[a-z/'\"0-9 @.]{0,400}") {
            let group = page_group(&text);
            prop_assert!(group.starts_with('/') && group.len() <= 2 * (LONGEST_PART + 1));
            prop_assert!(!group.contains(['?', '#', '@', '%']));
            let told = error(&text, &text);
            prop_assert!(told.len() <= 40 + 2 + LONGEST_MESSAGE);
            prop_assert!(!told.contains(|c: char| c.is_ascii_digit() || c == '@' || c == '/'));
        }
    }
}
