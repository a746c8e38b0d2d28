//! The words of a command: quoting, and values with their units.

use std::time::Duration;

use rollout::Weight;

use super::problem::Wrong;

/// Most characters of a word that a message repeats.
const REPEATED: usize = 60;

/// Longest time that a script may ask for: a week shows everything that a rollout can do.
pub(super) const LONGEST_TIME: Duration = Duration::from_hours(7 * 24);

/// Splits a line at blanks; `"..."` is one word.
pub(super) fn split(text: &str) -> Result<Vec<String>, Wrong> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (word, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"').ok_or_else(|| {
                Wrong::new("a quote is not closed", "end the text with a second \"")
            })?
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            rest.split_at(end)
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

/// A word as a message shows it.
pub(super) fn quote(word: &str) -> String {
    let cut: String = word.chars().filter(|c| !c.is_control()).take(REPEATED).collect();
    format!("`{cut}`")
}

/// `10m`, `1h30m`, `0s`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong =
        || Wrong::new(format!("{} is not a duration", quote(text)), "write e.g. 30s, 10m or 1h30m");
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..].chars().next().ok_or_else(wrong)?;
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        seconds = number
            .checked_mul(factor)
            .and_then(|part| part.checked_add(seconds))
            .filter(|sum| *sum <= LONGEST_TIME.as_secs())
            .ok_or_else(|| {
                Wrong::new(
                    format!("{} is more than a week", quote(text)),
                    "write a shorter time; a script plays at most 7 days",
                )
            })?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

/// `0.2%`, as a share in [0, 1].
pub(super) fn percent(text: &str) -> Result<f64, Wrong> {
    text.strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok())
        .filter(|number| (0.0..=100.0).contains(number))
        .map(|number| number / 100.0)
        .ok_or_else(|| {
            let what = format!("{} is not a share", quote(text));
            Wrong::new(what, "write it with a percent sign, from 0% to 100%, e.g. 0.2%")
        })
}

/// `5%`, as a weight.
pub(super) fn weight(text: &str) -> Result<Weight, Wrong> {
    percent(text).map(Weight::from_share)
}

/// `200/s` or `30/min`, as requests per second.
pub(super) fn rate(text: &str) -> Result<f64, Wrong> {
    let number = |text: &str, per: f64| Some(text.parse::<f64>().ok()? / per);
    let rate = match text.split_once('/') {
        Some((count, "s")) => number(count, 1.0),
        Some((count, "min")) => number(count, 60.0),
        _ => None,
    };
    rate.filter(|rate| (0.0..=1e6).contains(rate)).ok_or_else(|| {
        let what = format!("{} is not a rate of requests", quote(text));
        Wrong::new(what, "write e.g. 200/s or 30/min, at most 1000000/s")
    })
}

/// `80ms` or `1.5s`, in seconds.
pub(super) fn latency(text: &str) -> Result<f64, Wrong> {
    let seconds = if let Some(number) = text.strip_suffix("ms") {
        number.parse::<f64>().ok().map(|number| number / 1e3)
    } else {
        text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok())
    };
    seconds.filter(|seconds| (1e-4..=3_600.0).contains(seconds)).ok_or_else(|| {
        let what = format!("{} is not a duration of requests", quote(text));
        Wrong::new(what, "write e.g. 80ms or 1.5s, from 0.1ms to 3600s")
    })
}

/// A number that is at least `low`.
pub(super) fn number(text: &str, low: f64) -> Result<f64, Wrong> {
    text.parse::<f64>().ok().filter(|n| (low..=1e6).contains(n)).ok_or_else(|| {
        let what = format!("{} is not a number from {low} on", quote(text));
        Wrong::new(what, "write a plain number, e.g. 1.25")
    })
}

/// Hex digits of a revision, 7 to 40.
pub(super) fn is_revision(word: &str) -> bool {
    (7..=40).contains(&word.len())
        && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
