//! Values with units: shares in percent, durations, ratios; from text and back.
//!
//! Decimal digits are read as integers, so `0.1%` is exactly the number that it looks like, and what
//! `show` prints reads back as the same value.

use std::fmt::Write;
use std::time::Duration;

use rollout::Weight;

use super::problem::quote;
use super::reader::Wrong;

/// A percentage in steps of 0.000001 %; exact for every percentage that a person writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Percent(u64);

/// Steps in one percent.
const STEPS: u64 = 1_000_000;

/// Decimals of a percentage.
const DECIMALS: usize = 6;

/// Beyond this a percentage is a slip of the pen.
const LARGEST_PERCENT: u64 = 10_000;

impl Percent {
    /// `percent(1)` is 1 %.
    pub(super) const fn whole(percent: u64) -> Self {
        Self(percent * STEPS)
    }

    /// `permille(1)` is 0.1 %.
    pub(super) const fn permille(permille: u64) -> Self {
        Self(permille * STEPS / 10)
    }

    /// From text such as `0.1%`.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let example = "write a percentage with its sign, e.g. 1% or 0.1%";
        let Some(digits) = text.strip_suffix('%').map(str::trim_end) else {
            return Err(match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() && text.len() < 20 => Wrong::new(
                    format!("{} has no unit", quote(text)),
                    percent_hint(text.trim(), number),
                ),
                _ => Wrong::new(format!("{} is not a percentage", quote(text)), example),
            });
        };
        if digits.starts_with('-') {
            return Err(Wrong::new(format!("{} is negative", quote(text)), example));
        }
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let numeric = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        if !numeric(whole) || !numeric(part) {
            return Err(Wrong::new(format!("{} is not a percentage", quote(text)), example));
        }
        let part = part.trim_end_matches('0');
        if part.len() > DECIMALS {
            let message = format!("{} has more than {DECIMALS} decimals", quote(text));
            return Err(Wrong::new(message, "round it"));
        }
        let whole: u64 = whole.parse().ok().filter(|w| *w <= LARGEST_PERCENT).ok_or_else(|| {
            Wrong::new(format!("{} is out of range", quote(text)), "a share is between 0% and 100%")
        })?;
        let part = format!("{part:0<DECIMALS$}").parse::<u64>().expect("six digits are a number");
        Ok(Self(whole * STEPS + part))
    }

    /// From a share, e.g. 0.001, that was read from a percentage.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a validated policy is small and not negative; a cast saturates otherwise"
    )]
    pub(super) fn from_share(share: f64) -> Self {
        Self((share * 100.0 * 1e6).round() as u64)
    }

    /// As a share, e.g. 0.001.
    #[expect(clippy::cast_precision_loss, reason = "at most 10^10, far below 2^53")]
    pub(super) fn share(self) -> f64 {
        self.0 as f64 / 1e8
    }

    /// What is left of 100 %; 0 for more than that.
    pub(super) const fn rest(self) -> Self {
        Self((100 * STEPS).saturating_sub(self.0))
    }

    /// As a weight, if it is at most 100 % and has at most two decimals.
    pub(super) fn weight(self) -> Option<Weight> {
        let points = u16::try_from(self.0 / (STEPS / 100)).ok()?;
        Weight::from_basis_points(points).ok().filter(|_| self.0.is_multiple_of(STEPS / 100))
    }
}

/// `0.1%`: as few decimals as needed.
impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = format!("{:0DECIMALS$}", self.0 % STEPS);
        match part.trim_end_matches('0') {
            "" => write!(f, "{}%", self.0 / STEPS),
            part => write!(f, "{}.{part}%", self.0 / STEPS),
        }
    }
}

/// What a number without a sign may mean: `0.5` is half a percent to some and a half to others.
fn percent_hint(text: &str, number: f64) -> String {
    let hundredfold = (number * 1e8).round() / 1e6;
    if 0.0 < number && number < 1.0 {
        format!("write {text}% or {hundredfold}%, whichever you mean")
    } else {
        format!("write {text}% if you mean {text} percent")
    }
}

/// A weight from text such as `12.5%`.
pub(super) fn weight(text: &str) -> Result<Weight, Wrong> {
    let percent = Percent::parse(text)?;
    percent.weight().ok_or_else(|| {
        if percent > Percent::whole(100) {
            Wrong::new(
                format!("{} is more than all traffic", quote(text)),
                "write a weight of at most 100%",
            )
        } else {
            Wrong::new(
                format!("{} is finer than 0.01%", quote(text)),
                "weights have at most two decimals, e.g. 0.25%",
            )
        }
    })
}

/// The units of a duration, largest first, with milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A rollout, an interval or a timeout of more than a year is a slip of the pen.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// A duration from text such as `30s` or `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let example = "write a whole number with ms, s, m, h or d, e.g. 30s, 10m or 1h30m";
    let wrong = || Wrong::new(format!("{} is not a duration", quote(text)), example);
    if text.starts_with('-') {
        let hint = "a duration cannot be negative; write 0s for none";
        return Err(Wrong::new(format!("{} is negative", quote(text)), hint));
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let message = format!("{} has no unit", quote(text));
        let number: String = text.chars().take(12).collect();
        // Three digits are rather milliseconds than hours.
        let units = if number.len() < 3 { ["s", "m", "h"] } else { ["ms", "s", "m"] };
        let [first, second, third] = units.map(|unit| format!("{number}{unit}"));
        return Err(Wrong::new(message, format!("write {first}, {second} or {third}")));
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        // `units` goes on from the unit before, so units fall and none comes twice.
        let Some((_, factor)) = units.find(|(name, _)| *name == unit) else {
            return Err(misread(text, unit));
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = number.checked_mul(*factor).map(Duration::from_millis);
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|sum| *sum <= LONGEST)
            .ok_or_else(|| {
                Wrong::new(
                    format!("{} is more than a year", quote(text)),
                    "write a shorter duration",
                )
            })?;
        rest = &rest[digits + letters..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Why a unit was not understood: a long name, a fraction, or an order that is unusual.
fn misread(text: &str, unit: &str) -> Wrong {
    let message = format!("{} is not a duration", quote(text));
    let short = match unit.to_ascii_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" => Some("s"),
        "min" | "mins" | "minute" | "minutes" => Some("m"),
        "hr" | "hrs" | "hour" | "hours" => Some("h"),
        "day" | "days" => Some("d"),
        "msec" | "millis" | "milliseconds" => Some("ms"),
        _ => None,
    };
    match short {
        Some(short) => Wrong::new(message, format!("the unit `{unit}` is written {short}")),
        None if text.contains('.') => {
            Wrong::new(message, "write whole numbers, e.g. 1h30m for one and a half hours")
        }
        None => Wrong::new(
            message,
            "write a whole number with ms, s, m, h or d, the largest unit first, e.g. 30s, 10m or 1h30m",
        ),
    }
}

/// A duration as text, e.g. `1h30m`; whole milliseconds.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in UNITS {
        if left >= factor {
            write!(text, "{}{unit}", left / factor).expect("writing to a string cannot fail");
            left %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A ratio that is at least 1, e.g. `1.25`.
pub(super) fn ratio(text: &str) -> Result<f64, Wrong> {
    let example = "write a factor of at least 1, e.g. 1.25 for a quarter more";
    if text.ends_with('%') {
        return Err(Wrong::new(
            format!("{} is a percentage where a factor belongs", quote(text)),
            example,
        ));
    }
    match text.parse::<f64>() {
        Ok(ratio) if (1.0..=LARGEST_RATIO).contains(&ratio) => Ok(ratio),
        Ok(ratio) if ratio < 1.0 => Err(Wrong::new(
            format!(
                "{} is below 1, which asks the canary to be better than the baseline",
                quote(text)
            ),
            example,
        )),
        Ok(ratio) if ratio.is_finite() => Err(Wrong::new(
            format!("{} is above {LARGEST_RATIO}, which tolerates everything", quote(text)),
            example,
        )),
        _ => Err(Wrong::new(format!("{} is not a number", quote(text)), example)),
    }
}

/// A canary with a hundred times the errors is not tolerated by anyone.
const LARGEST_RATIO: f64 = 100.0;

/// A whole number within bounds.
pub(super) fn whole(low: u64, high: u64) -> impl Fn(&str) -> Result<u64, Wrong> {
    move |text| {
        let example = format!("write a whole number from {low} to {high}");
        match text.parse::<u64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(number),
            Ok(_) => Err(Wrong::new(format!("{} is out of range", quote(text)), example)),
            Err(_) => Err(Wrong::new(format!("{} is not a whole number", quote(text)), example)),
        }
    }
}

/// What multiplies a quantity; a byte's `B` may follow.
const FACTORS: [(&str, f64); 10] = [
    ("", 1.0),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("Ki", 1_024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("%", 0.01),
];

/// No gauge of a service is larger.
const LARGEST_QUANTITY: f64 = 1e18;

/// A value of a gauge from text such as `1.5GB`, `512Mi`, `80%` or `0.8`; not negative.
pub(super) fn quantity(text: &str) -> Result<f64, Wrong> {
    let example = "write a number, with k, M, G, Ki, Mi, Gi or % behind it where that suits, e.g. 1.5GB, 512Mi or 80%";
    let wrong = || Wrong::new(format!("{} is not a quantity", quote(text)), example);
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    if text.starts_with('-') {
        return Err(Wrong::new(format!("{} is negative", quote(text)), example));
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bare = unit.strip_suffix('B').unwrap_or(unit);
    let factor = FACTORS.iter().find(|(name, _)| *name == bare || *name == unit);
    let Some((_, factor)) = factor else {
        let letters = unit.trim_end_matches(['b', 'B']);
        let slip = FACTORS.iter().find(|(name, _)| name.eq_ignore_ascii_case(letters));
        return Err(match slip {
            Some((name, _)) => Wrong::new(
                format!("{} is not a quantity", quote(text)),
                format!("the unit `{unit}` is written {name}B"),
            ),
            None => wrong(),
        });
    };
    let value = number * factor;
    if value > LARGEST_QUANTITY {
        return Err(Wrong::new(format!("{} is out of range", quote(text)), example));
    }
    Ok(value)
}

/// Larger numbers are slips of the pen.
const LARGEST_NUMBER: f64 = 1e9;

/// A number that is not negative, e.g. `1.1`.
pub(super) fn number(text: &str) -> Result<f64, Wrong> {
    let example = "write a number, e.g. 1.1";
    match text.parse::<f64>() {
        Ok(number) if (0.0..=LARGEST_NUMBER).contains(&number) => Ok(number.abs()),
        Ok(number) if number.is_finite() => {
            Err(Wrong::new(format!("{} is out of range", quote(text)), example))
        }
        _ => Err(Wrong::new(format!("{} is not a number", quote(text)), example)),
    }
}

/// A quantile as a share, from text such as `p99` or `p99.9`.
pub(super) fn quantile(text: &str) -> Result<f64, Wrong> {
    let example = "write p and a percentage between 0 and 100, e.g. p99 or p99.9";
    let wrong = || Wrong::new(format!("{} is not a quantile", quote(text)), example);
    let percent = text.strip_prefix('p').map(|digits| Percent::parse(&format!("{digits}%")));
    match percent {
        Some(Ok(percent)) if Percent::whole(0) < percent && percent < Percent::whole(100) => {
            Ok(percent.share())
        }
        Some(_) | None => Err(wrong()),
    }
}

/// A quantile as text, e.g. `p99.9`.
pub(super) fn show_quantile(share: f64) -> String {
    format!("p{}", Percent::from_share(share).to_string().trim_end_matches('%'))
}
