//! `spec.freezes`: times in which no step advances.

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use rollout::freeze::{Freeze, Window};

use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::{defaults, values};

const EXPECTED: &str = "a map, e.g. { reason: weekend, days: [fri, sat], from: \"16:00\", to: \"08:00\", zone: Europe/Berlin }";

/// The freezes of a list.
pub(super) fn read(at: &At<'_>) -> Option<Vec<Freeze>> {
    let items = at.list("a list of freezes")?;
    Some(items.iter().filter_map(|item| item.map(EXPECTED, freeze)?).collect())
}

fn freeze(fields: &Fields<'_>) -> Option<Freeze> {
    let reason = fields
        .required("reason", "reason: a few words for whoever waits")
        .and_then(|at| at.parse("a few words", values::line));
    let from = fields.required("from", "from: when it begins");
    let to = fields.required("to", "to: when it ends");
    let (days, zone) = (fields.get("days"), fields.get("zone"));
    let window = if let Some(days) = &days {
        weekly(days, from.as_ref(), to.as_ref(), zone.as_ref())
    } else {
        if let Some(zone) = zone {
            let hint = "add `days` for a freeze of every week; a moment carries its own offset";
            zone.wrong(Wrong::new("a time zone belongs to a freeze with `days`", hint));
        }
        span(from.as_ref(), to.as_ref())
    };
    Some(Freeze { reason: reason?, window: window? })
}

fn span(from: Option<&At<'_>>, to: Option<&At<'_>>) -> Option<Window> {
    let start = from.and_then(|at| at.parse("a moment, e.g. 2026-12-24T00:00:00+01:00", moment));
    let end = to.and_then(|at| {
        let end = at.parse("a moment, e.g. 2026-12-27T00:00:00+01:00", moment)?;
        if start.is_some_and(|start| end <= start) {
            at.wrong(Wrong::new("the freeze ends before it begins", "write a moment after `from`"));
        }
        Some(end)
    });
    Some(Window::Span { from: start?, to: end? })
}

fn weekly(
    days: &At<'_>,
    from: Option<&At<'_>>,
    to: Option<&At<'_>>,
    zone: Option<&At<'_>>,
) -> Option<Window> {
    let from = from.and_then(|at| at.parse("a time of day, e.g. \"16:00\"", time));
    let to = to.and_then(|at| at.parse("a time of day, e.g. \"08:00\"", time));
    let zone = match zone {
        Some(at) => at.parse("a time zone, e.g. Europe/Berlin", time_zone),
        None => Some(defaults::ZONE.to_owned()),
    };
    let items = days.list("a list of days, e.g. [fri, sat]")?;
    if items.is_empty() {
        days.wrong(Wrong::new("a freeze on no day never holds", "write e.g. [fri, sat]"));
    }
    let mut days: Vec<i8> =
        items.iter().filter_map(|item| item.parse("a day, e.g. fri", day)).collect();
    days.sort_unstable();
    days.dedup();
    Some(Window::Weekly { days, from: from?, to: to?, zone: zone? })
}

/// Days as they are written, Monday first.
pub(in crate::config) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Their whole names are understood as well.
const LONG_DAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

fn day(text: &str) -> Result<i8, Wrong> {
    let lower = text.to_ascii_lowercase();
    (1..)
        .zip(DAYS.iter().zip(LONG_DAYS))
        .find(|(_, (short, long))| **short == lower || *long == lower)
        .map(|(number, _)| number)
        .ok_or_else(|| {
            Wrong::new(
                format!("{} is not a day", quote(text)),
                format!("days are {}", DAYS.join(", ")),
            )
        })
}

fn moment(text: &str) -> Result<Timestamp, Wrong> {
    text.parse().map_err(|_| {
        Wrong::new(
            format!("{} is not a moment with its offset from UTC", quote(text)),
            "write date, time and offset, e.g. 2026-12-24T00:00:00+01:00; for a time of day add `days`",
        )
    })
}

fn time(text: &str) -> Result<Time, Wrong> {
    let wrong = || {
        let hint = "write hours and minutes, e.g. \"16:00\"; for one span of days leave `days` out and write moments";
        Wrong::new(format!("{} is not a time of day", quote(text)), hint)
    };
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |part: &str| match part.len() {
        1 | 2 if part.bytes().all(|b| b.is_ascii_digit()) => part.parse::<i8>().ok(),
        _ => None,
    };
    let (hour, minute) = number(hour).zip(number(minute)).ok_or_else(wrong)?;
    Time::new(hour, minute, 0, 0).map_err(|_| wrong())
}

fn time_zone(text: &str) -> Result<String, Wrong> {
    match TimeZone::get(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Wrong::new(
            format!("{} is not a time zone", quote(text)),
            "write a name of the IANA database, e.g. Europe/Berlin or UTC",
        )),
    }
}
