//! Addresses of the stores' own pages.
//!
//! Spaces are written `%20` and nothing is left for a page to decode differently: Go, JavaScript and Rust differ
//! on `+` and `~`. Times are absolute, so that a link shows the same later.

use std::fmt::Write as _;

use reqwest::Url;

use crate::error::FetchError;

/// A text in a path or a query: all but letters, digits, `-`, `.` and `_` is escaped.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// An address below a page's own, with a query.
pub(super) fn page(base: &str, path: &str, query: &[(&str, String)]) -> String {
    let mut address = format!("{}/{path}", base.trim_end_matches('/'));
    for (index, (name, value)) in query.iter().enumerate() {
        let mark = if index == 0 { '?' } else { '&' };
        // Writing to a text cannot fail.
        let _ = write!(address, "{mark}{}={}", escaped(name), escaped(value));
    }
    address
}

/// Checks the address of a page that is shown to people.
///
/// # Errors
/// When it is none, or holds a login, which everybody would see; permanent.
pub(super) fn checked(of: &str, address: &str) -> Result<String, FetchError> {
    let wrong = |why: &str| FetchError::permanent(format!("the address of the page of {of} {why}"));
    let url = Url::parse(address).map_err(|error| wrong(&format!("is not valid: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("does not begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a login, which everybody who sees a link would learn"));
    }
    Ok(address.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_escaped_and_checked() {
        let link = page("https://h/x/", "search", &[("q", "a b+~\"é".into()), ("n", "1".into())]);
        assert_eq!(link, "https://h/x/search?q=a%20b%2B%7E%22%C3%A9&n=1");
        let wrong = ["grafana", "ftp://h", "https://u:hunter2@h"]
            .map(|address| checked("Grafana", address).unwrap_err().text);
        insta::assert_snapshot!(wrong.join("\n"), @r"
        the address of the page of Grafana is not valid: relative URL without a base
        the address of the page of Grafana does not begin with http:// or https://
        the address of the page of Grafana holds a login, which everybody who sees a link would learn
        ");
        assert_eq!(checked("Grafana", "https://h/g/").unwrap(), "https://h/g");
    }
}
