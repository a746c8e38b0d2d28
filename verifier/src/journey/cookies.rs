//! The cookies of one attempt.
//!
//! A browser would keep few of them here: the versions are asked by address, without TLS, so a cookie's domain and its
//! `Secure` never fit. Both are ignored; paths and deletions count (RFC 6265, sections 5.1.4 and 5.3).

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{HeaderMap, SET_COOKIE};

/// More cookies, or longer ones, than browsers keep are left out.
const MOST: usize = 50;
const LONGEST: usize = 4_096;

/// The cookies so far.
#[derive(Debug, Default)]
pub(super) struct Cookies(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    path: String,
}

impl Cookies {
    /// Takes in what an answer to a request for `path` sets.
    pub(super) fn keep(&mut self, headers: &HeaderMap, path: &str, now: Timestamp) {
        let lines = headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
        for line in lines.filter(|line| line.len() <= LONGEST) {
            self.set(line, path, now);
        }
    }

    fn set(&mut self, line: &str, request: &str, now: Timestamp) {
        let mut parts = line.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        let (mut path, mut max_age, mut expires) = (None, None, None);
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "path" => path = Some(value).filter(|path| path.starts_with('/')),
                "max-age" => max_age = value.parse::<i64>().ok(),
                "expires" => expires = DateTimeParser::new().parse_timestamp(value).ok(),
                _ => {}
            }
        }
        let path = path.unwrap_or_else(|| default_path(request));
        self.0.retain(|cookie| cookie.name != name || cookie.path != path);
        let gone = max_age.map_or(expires.is_some_and(|moment| moment <= now), |age| age <= 0);
        if !gone && !name.is_empty() && self.0.len() < MOST {
            let (name, value, path) = (name.to_owned(), value.to_owned(), path.to_owned());
            self.0.push(Cookie { name, value, path });
        }
    }

    /// The value of the `cookie` header for a request to `path`, if any cookie goes with it.
    pub(super) fn header(&self, path: &str) -> Option<String> {
        let path = path.split('?').next().unwrap_or_default();
        let mut fitting: Vec<&Cookie> =
            self.0.iter().filter(|cookie| covers(&cookie.path, path)).collect();
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> =
            fitting.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The value of a cookie, the newest of this name.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|cookie| cookie.name == name).map(|cookie| &*cookie.value)
    }
}

/// Everything before the last slash of the request.
fn default_path(request: &str) -> &str {
    let path = request.split('?').next().unwrap_or_default();
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(last) => &path[..last],
    }
}

fn covers(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(lines: &[&str], request: &str) -> Cookies {
        let mut cookies = Cookies::default();
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        for line in lines {
            cookies.set(line, request, now);
        }
        cookies
    }

    #[test]
    fn paths_decide_which_request_a_cookie_goes_with() {
        let kept = cookies(
            &["a=1", "b=\"2\"; Path=/; Secure; Domain=shop.example", "c=3; path=/cart/x"],
            "/cart/items?n=1",
        );
        assert_eq!(kept.header("/cart/x/y?z").as_deref(), Some("c=3; a=1; b=2"));
        assert_eq!(kept.header("/cartoon").as_deref(), Some("b=2"));
        assert_eq!(kept.value("c"), Some("3"));
        assert_eq!(cookies(&["a=1; Path=/x"], "/").header("/"), None);
    }

    #[test]
    fn later_cookies_replace_and_delete_earlier_ones() {
        let gone = ["Max-Age=0", "max-age=-1", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"];
        for how in gone {
            let kept = cookies(&["a=1; Path=/", &format!("a=; Path=/; {how}")], "/");
            assert_eq!(kept.header("/"), None, "{how}");
        }
        let kept = ["Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "Expires=soon", "Max-Age"];
        for how in kept {
            let kept = cookies(&["a=1; Path=/", &format!("a=2; Path=/; {how}")], "/");
            assert_eq!(kept.header("/").as_deref(), Some("a=2"), "{how}");
        }
    }

    #[test]
    fn odd_and_endless_lines_are_left_out() {
        let lines: Vec<String> = (0..500).map(|n| format!("n{n}=x")).collect();
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.extend(["", ";;;", "=", "novalue", "=x; Path"]);
        assert_eq!(cookies(&lines, "no path").0.len(), MOST);
        let mut headers = HeaderMap::new();
        headers.insert(SET_COOKIE, format!("a={}", "x".repeat(5_000)).parse().unwrap());
        let mut kept = Cookies::default();
        kept.keep(&headers, "/", Timestamp::UNIX_EPOCH);
        assert_eq!(kept.header("/"), None);
    }
}
