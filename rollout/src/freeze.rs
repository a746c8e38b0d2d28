//! Times in which no step may advance: fixed spans and weekly windows. Rolling back is never frozen.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// One freeze of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Freeze {
    /// Why, for people.
    pub reason: String,
    /// When.
    pub window: Window,
}

/// When a freeze holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Window {
    /// Once, `[from, to)`.
    Span {
        /// First moment.
        from: Timestamp,
        /// First moment after it.
        to: Timestamp,
    },
    /// Every week, from `from` to `to` of the same day; `to` before or at `from` means the next day.
    Weekly {
        /// Days on which it begins, 1 = Monday to 7 = Sunday.
        days: Vec<i8>,
        /// Local time of its start.
        from: Time,
        /// Local time of its end.
        to: Time,
        /// IANA time zone, e.g. `Europe/Berlin`.
        zone: String,
    },
}

impl Freeze {
    /// If it holds at `now`: when it ends.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.window {
            Window::Span { from, to } => (*from <= now && now < *to).then_some(*to),
            Window::Weekly { days, from, to, zone } => {
                let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
                let today = now.to_zoned(zone.clone()).date();
                // A window that passes midnight began yesterday.
                [today.yesterday().ok(), Some(today)].into_iter().flatten().find_map(|day| {
                    let begins =
                        Weekday::from_monday_one_offset(day.weekday().to_monday_one_offset())
                            .ok()?;
                    days.contains(&begins.to_monday_one_offset()).then_some(())?;
                    let last =
                        if to <= from { day.checked_add(Span::new().days(1)).ok()? } else { day };
                    let start = day.to_datetime(*from).to_zoned(zone.clone()).ok()?.timestamp();
                    let end = last.to_datetime(*to).to_zoned(zone.clone()).ok()?.timestamp();
                    (start <= now && now < end).then_some(end)
                })
            }
        }
    }
}

/// The freeze that holds at `now` and ends last, if any.
pub fn frozen(freezes: &[Freeze], now: Timestamp) -> Option<(&Freeze, Timestamp)> {
    freezes.iter().filter_map(|f| Some((f, f.until(now)?))).max_by_key(|(_, end)| *end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_weekly_window_that_passes_midnight_holds_on_both_days() {
        let window = Window::Weekly {
            days: vec![5],
            from: Time::constant(16, 0, 0, 0),
            to: Time::constant(8, 0, 0, 0),
            zone: "Europe/Berlin".to_owned(),
        };
        let freeze = Freeze { reason: "weekend".to_owned(), window };
        // 2026-11-27 is a Friday; Berlin is UTC+1.
        assert_eq!(freeze.until(at("2026-11-27T14:59:00Z")), None);
        let end = Some(at("2026-11-28T07:00:00Z"));
        assert_eq!(freeze.until(at("2026-11-27T15:00:00Z")), end);
        assert_eq!(freeze.until(at("2026-11-28T06:59:00Z")), end);
        assert_eq!(freeze.until(at("2026-11-28T07:00:00Z")), None);
    }

    #[test]
    fn the_freeze_that_ends_last_counts() {
        let span = |to| Freeze {
            reason: String::new(),
            window: Window::Span { from: at("2026-12-24T00:00:00Z"), to: at(to) },
        };
        let freezes = [span("2026-12-27T00:00:00Z"), span("2026-12-26T00:00:00Z")];
        let (_, end) = frozen(&freezes, at("2026-12-25T00:00:00Z")).unwrap();
        assert_eq!(end, at("2026-12-27T00:00:00Z"));
        assert!(frozen(&freezes, at("2026-12-28T00:00:00Z")).is_none());
    }
}
