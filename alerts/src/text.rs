//! Cleaning, cutting and escaping of texts that come from anyone.
//!
//! A commit subject is written by whoever may push, and ends in a chat where `<!channel>` wakes a
//! hundred people, in a terminal that obeys escape sequences, and in JSON. So every text passes
//! [`clean`] once, on its way into the templates, and the escape function of its format on the way
//! out. All functions stop reading as soon as they have enough.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Longest key in bytes.
const KEY_BYTES: usize = 200;

/// One line of at most `most` characters without control characters, invisible direction changes
/// or runs of blanks; a cut is marked with an ellipsis.
pub(crate) fn clean(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most * 4));
    let mut count = 0;
    let mut blank = false;
    // Blanks and unwanted characters could go on for gigabytes: reading is bounded as well.
    for c in text.chars().take(most.saturating_mul(8).saturating_add(64)) {
        if c.is_whitespace() {
            blank = !out.is_empty();
            continue;
        }
        if unwanted(c) {
            continue;
        }
        let width = 1 + usize::from(blank);
        if count + width > most {
            return cut_mark(out, most);
        }
        if blank {
            out.push(' ');
            blank = false;
        }
        out.push(c);
        count += width;
    }
    out
}

/// Replaces the last character by an ellipsis so that `most` characters still hold it.
fn cut_mark(mut out: String, most: usize) -> String {
    if most == 0 {
        return String::new();
    }
    while out.chars().count() >= most || out.ends_with(' ') {
        out.pop();
    }
    out.push('\u{2026}');
    out
}

/// Characters that show nothing but change what a reader sees.
fn unwanted(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}'
            | '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// The address if it is `http` or `https`, at most `most` bytes long and without blanks or control
/// characters; what could end a link in a message is percent-encoded.
pub(crate) fn address(url: &str, most: usize) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    if rest.is_empty() || rest.starts_with('/') || url.len() > most {
        return None;
    }
    let mut out = String::with_capacity(url.len());
    for c in url.chars() {
        if c.is_whitespace() || unwanted(c) {
            return None;
        }
        if matches!(c, '|' | '<' | '>' | '"' | '\'' | '\\' | '`' | '^' | '{' | '}') {
            let _infallible = write!(out, "%{:02X}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    (out.len() <= most).then_some(out)
}

/// Joins parts to one key: letters, digits, `-` and `_` stay, everything else is percent-encoded,
/// and a key that would be too long ends in a checksum of the whole.
pub(crate) fn key(parts: &[&str]) -> String {
    let mut out = String::new();
    // FNV-1a (Fowler, Noll, Vo), 64 bits: only to tell long names apart, not against attackers.
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push('/');
        }
        for byte in part.bytes().chain([b'/']) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        for byte in part.bytes().take(KEY_BYTES) {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
                out.push(char::from(byte));
            } else {
                let _infallible = write!(out, "%{byte:02X}");
            }
        }
    }
    if out.len() > KEY_BYTES {
        out.truncate(KEY_BYTES - 17);
        let _infallible = write!(out, "~{sum:016x}");
    }
    out
}

/// The first seven characters of a revision, as Git shows it.
pub(crate) fn short(revision: &str) -> String {
    clean(revision, 64).chars().take(7).collect()
}

/// A whole number with a comma between thousands.
pub(crate) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with one or two decimals, or a dash where there is none.
pub(crate) fn decimal(number: Option<f64>) -> String {
    match number {
        Some(x) if x.is_finite() && x.abs() < 10.0 => format!("{x:.2}"),
        Some(x) if x.is_finite() && x.abs() < 1e9 => format!("{x:.1}"),
        Some(x) if x.is_finite() => format!("{x:.1e}"),
        Some(_) | None => "\u{2013}".to_owned(),
    }
}

/// A span of time in the units that a person would choose; nothing for what is no span.
pub(crate) fn seconds(seconds: f64) -> Option<String> {
    if !(0.0..=1e10).contains(&seconds) {
        return None;
    }
    Some(if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked above"
        )]
        let total = seconds.round() as u64;
        let (days, hours, minutes) = (total / 86_400, total % 86_400 / 3_600, total % 3_600 / 60);
        if days > 0 {
            format!("{days} d {hours} h")
        } else if hours > 0 {
            format!("{hours} h {minutes} min")
        } else {
            format!("{minutes} min {} s", total % 60)
        }
    })
}

/// Escapes a text for the inside of a JSON string.
///
/// # Errors
/// Those of the writer.
pub(crate) fn escape_json(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let quoted = serde_json::to_string(text)?;
    out.write_all(&quoted.as_bytes()[1..quoted.len() - 1])
}

/// Escapes a text for Slack's mrkdwn inside a JSON string
/// (<https://docs.slack.dev/messaging/formatting-message-text>, "Escaping text").
///
/// Mentions by plain words, which some compatible servers obey, get an invisible joiner.
///
/// # Errors
/// Those of the writer.
pub(crate) fn escape_slack(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut escaped = String::with_capacity(text.len() + 16);
    for (index, c) in text.char_indices() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '@' if mentions_all(&text[index + 1..]) => escaped.push_str("@\u{2060}"),
            _ => escaped.push(c),
        }
    }
    // A code block that a text opens would swallow what the template puts behind it.
    escape_json(&escaped.replace("```", "'''"), out)
}

/// A line of a table, whose blanks count, in at most so many characters.
pub(crate) fn columns(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_whitespace() { ' ' } else { c };
    let read = text.chars().take(most.saturating_mul(2));
    let kept: String = read.map(plain).filter(|c| !unwanted(*c)).take(most).collect();
    kept.trim_end().to_owned()
}

/// Whether the text after an `@` begins with a word that stands for everybody.
fn mentions_all(rest: &str) -> bool {
    ["channel", "here", "everyone", "all", "group"]
        .iter()
        .any(|word| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slack(text: &str) -> String {
        let mut out = Vec::new();
        escape_slack(text, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cleaning_leaves_one_bounded_line() {
        assert_eq!(clean("  a\tb\r\n\r\nc  ", 10), "a b c");
        assert_eq!(clean("\u{1b}[31mred\u{7}\u{202e}x", 20), "[31mredx");
        assert_eq!(clean("abcdef", 6), "abcdef");
        assert_eq!(clean("abcdefg", 6), "abcde\u{2026}");
        assert_eq!(clean("abcd efgh", 6), "abcd\u{2026}");
        assert_eq!(clean(&"\n".repeat(1_000_000), 5), "");
        assert_eq!(clean("x", 0), "");
        assert_eq!(clean("\u{1F986}\u{1F986}\u{1F986}", 2), "\u{1F986}\u{2026}");
    }

    #[test]
    fn only_web_addresses_are_links() {
        assert_eq!(address("https://a/b?c=d&e", 99).unwrap(), "https://a/b?c=d&e");
        assert_eq!(address("https://a/|x>y", 99).unwrap(), "https://a/%7Cx%3Ey");
        for refused in
            ["javascript:alert(1)", "https://", "https:///x", "http://a b", "ftp://a", ""]
        {
            assert_eq!(address(refused, 99), None, "{refused}");
        }
        assert_eq!(address(&format!("https://{}", "a".repeat(99)), 99), None);
    }

    #[test]
    fn mentions_are_harmless_in_slack() {
        assert_eq!(
            slack("<!channel> & <@U1> \"q\""),
            "&lt;!channel&gt; &amp; &lt;@U1&gt; \\\"q\\\""
        );
        assert_eq!(slack("@Here me@a.b @\u{1F986}"), "@\u{2060}Here me@a.b @\u{1F986}");
    }

    #[test]
    fn keys_are_safe_bounded_and_distinct() {
        assert_eq!(key(&["prod", "a.b", "x y"]), "prod/a%2Eb/x%20y");
        assert_ne!(key(&["a.b"]), key(&["a%2Eb"]));
        assert_ne!(key(&["a/b", ""]), key(&["a", "b"]));
        let (one, two) = (key(&[&"a".repeat(999), "1"]), key(&[&"a".repeat(999), "2"]));
        assert_eq!(one.len(), 200);
        assert_ne!(one, two);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(whole), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(decimal(Some(4.605)), "4.61");
        assert_eq!(decimal(Some(-12.34)), "-12.3");
        assert_eq!(decimal(Some(f64::NAN)), "\u{2013}");
        assert_eq!(
            [0.031, 0.9996, 8.24, 59.96, 3_599.6, 90_000.0].map(|s| seconds(s).unwrap()),
            ["31 ms", "1.0 s", "8.2 s", "1 min 0 s", "1 h 0 min", "1 d 1 h"]
        );
        assert_eq!(seconds(f64::NAN), None);
        assert_eq!(seconds(-1.0), None);
    }
}
