//! Numbers and times in the words of the page: as few digits as help, always with a unit.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A share in [0, 1] as percent: `12.5 %`, `0.04 %`, `100 %`.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = if percent == 0.0 || percent >= 99.995 {
        0
    } else if percent < 0.1 {
        3
    } else if percent < 10.0 {
        2
    } else {
        1
    };
    let text = format!("{percent:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

/// A ratio: `1.25`, `31`, `0.042`.
pub(super) fn ratio(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Evidence as everywhere: the natural logarithm of the odds, to one decimal.
pub(super) fn evidence(log: f64) -> String {
    if log.is_finite() { format!("{log:.1}") } else { "beyond all bounds".to_owned() }
}

/// Evidence as odds: `14 : 1` against the canary is a bet that pays 14 times its stake.
pub(super) fn odds(log: f64) -> String {
    let value = log.exp();
    if !value.is_finite() || value >= 1e6 {
        "over 1,000,000 : 1".to_owned()
    } else if value >= 10.0 {
        format!("{} : 1", grouped(value.round()))
    } else if value >= 1.0 {
        format!("{value:.1} : 1")
    } else {
        "none".to_owned()
    }
}

/// A whole number with its thousands set apart.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its thousands set apart.
pub(super) fn count(value: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people; below 2^53 nothing is lost")]
    grouped(value as f64)
}

/// A span of time: `850 ms`, `12.3 s`, `3 min 20 s`, `1 h 5 min`, `3 d`.
pub(super) fn span(span: SignedDuration) -> String {
    let seconds = span.as_secs_f64().max(0.0);
    let whole = span.as_secs().max(0);
    let two = |big: i64, unit: &str, small: i64, name: &str| match small {
        0 => format!("{big} {unit}"),
        small => format!("{big} {unit} {small} {name}"),
    };
    match whole {
        0 => format!("{:.0} ms", seconds * 1e3),
        1..60 if seconds.fract() < 0.05 => format!("{whole} s"),
        1..60 => format!("{seconds:.1} s"),
        60..3_600 => two(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => two(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

/// As [`span`].
pub(super) fn duration(duration: Duration) -> String {
    span(SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX))
}

/// How long ago: `just now`, `12 s ago`, `3 min ago`, `2 h ago`, `5 d ago`.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.duration_since(at).as_secs() {
        ..2 => "just now".to_owned(),
        s @ 2..60 => format!("{s} s ago"),
        s @ 60..3_600 => format!("{} min ago", s / 60),
        s @ 3_600..86_400 => format!("{} h ago", s / 3_600),
        s => format!("{} d ago", s / 86_400),
    }
}

/// A time of day, UTC.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// Day and time, UTC.
pub(super) fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_as_few_digits_as_help() {
        let shown = [0.0, 0.000_123, 0.0123, 0.125, 0.5, 0.99999, 1.0].map(percent);
        assert_eq!(shown, ["0 %", "0.012 %", "1.23 %", "12.5 %", "50 %", "100 %", "100 %"]);
        assert_eq!(
            [0.0, 0.0421, 1.25, 31.04, 1234.5].map(ratio),
            ["0", "0.042", "1.25", "31.0", "1234"]
        );
    }

    #[test]
    fn odds_read_like_odds() {
        let shown = [-3.0, 0.0, 2.0, 4.605_170_186, 9.3, 800.0].map(odds);
        assert_eq!(
            shown,
            ["none", "1.0 : 1", "7.4 : 1", "100 : 1", "10,938 : 1", "over 1,000,000 : 1"]
        );
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let shown = |milliseconds: i64| span(SignedDuration::from_millis(milliseconds));
        assert_eq!(
            [850, 12_000, 12_340, 200_000, 3_900_000].map(shown),
            ["850 ms", "12 s", "12.3 s", "3 min 20 s", "1 h 5 min"]
        );
        assert_eq!(
            [-5, 86_400_000 * 3, i64::MAX].map(shown),
            ["0 ms", "3 d", "106751991167 d 7 h"]
        );
    }
}
