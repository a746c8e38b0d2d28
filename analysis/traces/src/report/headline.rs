//! All of it in one line: for alerts, titles and the first line of a revert's evidence.
//!
//! A chat cuts what is long, so names are cut first: what happened, by how much and where are always whole.

use std::borrow::Cow;

use super::{cut, duration, explained, frame, number, percent, signed};
use crate::code::Matched;
use crate::decompose::Effect;
use crate::finding::{Cause, Finding, RootCause};
use crate::frames::Frame;
use crate::strata::Compared;

/// Longest headline, in characters.
const LONGEST: usize = 280;

/// Longest operation, entry operation, function and file, in characters: together with the words between them they
/// stay below [`LONGEST`].
const OPERATION: usize = 56;
const ENTRY: usize = 32;
const FUNCTION: usize = 44;
const FILE: usize = 40;

impl RootCause {
    /// The first finding in one line of at most 280 characters, without full stop:
    /// ``p99 +85.0 ms, mean +64.0 ms: 62.0 ms from 16 more `SELECT cart_items` per `GET /cart`, called from
    /// `CartRepo::load` (src/cart/repo.rs:88, changed in 4f2c1a9)``.
    ///
    /// What a finding adds is a part of the mean, so the mean stands beside the percentile that people know.
    pub fn headline(&self) -> String {
        let Some(finding) = self.findings.first() else {
            return self.nothing();
        };
        let mut text = self.added(finding).unwrap_or_else(|| self.what(finding));
        if finding.cause.blames_code() {
            let place = place(finding);
            if text.chars().count() + place.chars().count() <= LONGEST {
                text.push_str(&place);
            }
        }
        cut(&text, LONGEST)
    }

    fn nothing(&self) -> String {
        let (old, new) = (self.baseline.compared, self.canary.compared);
        if old == 0 || new == 0 {
            return format!(
                "too few traces to compare: {old} of the baseline, {new} of the canary"
            );
        }
        format!(
            "nothing differs by more than chance: mean {}, p99 {}, in {new} canary and {old} baseline traces",
            signed(self.change.adjusted),
            signed(self.canary.p99 - self.baseline.p99),
        )
    }

    /// A finding about time: what the requests lose, and how much of it is from where.
    fn added(&self, finding: &Finding) -> Option<String> {
        let effect = finding.effect?;
        let operation = finding.operation.as_ref()?;
        let mut name = code(&operation.name, OPERATION);
        if operation.service != self.service {
            name = format!("{name} of {}", cut(&operation.service, ENTRY));
        }
        let from = from(finding.cause, &effect, &name, finding, &self.entry());
        let p99 = self.canary.p99 - self.baseline.p99;
        let p99 = (p99 > 0.0).then(|| format!("p99 {}", signed(p99)));
        if finding.tail_only {
            let whole = p99
                .unwrap_or_else(|| format!("p95 {}", signed(self.canary.p95 - self.baseline.p95)));
            return Some(format!(
                "{whole}: {} in the slowest requests from {from}",
                percent(finding.share)
            ));
        }
        let mean = format!("mean {}", signed(self.change.adjusted));
        let whole = p99.map_or_else(|| mean.clone(), |p99| format!("{p99}, {mean}"));
        Some(format!("{whole}: {} from {from}", duration(explained(finding, &effect, self.change))))
    }

    /// What calls are counted by: the entry operation where there is one only.
    fn entry(&self) -> String {
        let mut compared = self.entries.iter().filter(|entry| entry.compared != Compared::Not);
        match (compared.next(), compared.next()) {
            (Some(entry), None) => code(&entry.entry, ENTRY),
            (Some(_), Some(_)) | (None, _) => "request".to_owned(),
        }
    }
}

fn from(cause: Cause, effect: &Effect, name: &str, finding: &Finding, entry: &str) -> String {
    let (old, new) = (effect.baseline, effect.canary);
    let more = || format!("{} more {name} per {entry}", times(new.calls - old.calls));
    match cause {
        Cause::NPlusOne => format!("{}, one after the other", more()),
        // Calls at the same time are waited for once: only the caller sees that they are more.
        Cause::FanOut => match (finding.repeats, &finding.caller) {
            (Some(repeats), Some(caller)) => format!(
                "{} more {name} per {} at the same time",
                times(repeats.canary - repeats.baseline),
                code(&caller.name, ENTRY),
            ),
            (Some(_) | None, _) => format!("more {name} at the same time"),
        },
        Cause::LostCache => format!("{} that a cache spared", more()),
        Cause::MoreCalls => more(),
        Cause::NewCall => format!("the new call {name}, {} per {entry}", times(new.calls)),
        Cause::Retries => {
            let [before, after] = finding.repeats.map_or([0.0; 2], |repeats| repeats.retries);
            format!("{} more retries of {name} per {entry}", times(after - before))
        }
        Cause::Slower
        | Cause::NewError
        | Cause::MoreErrors
        | Cause::SomeRequests
        | Cause::BadHost
        | Cause::TrafficMix => {
            format!("{name}, {} -> {} each", duration(old.each()), duration(new.each()))
        }
    }
}

/// Where, and which commit changed it; with the comma before it, empty if nothing is known.
fn place(finding: &Finding) -> String {
    let from = if finding.caller.is_some() { "called from" } else { "at" };
    let changed = finding.suspect.as_ref().map(|suspect| match suspect.matched {
        Matched::File | Matched::Function | Matched::Line => {
            format!("changed in {}", suspect.short())
        }
        Matched::Text => format!("suspect commit {}", suspect.short()),
    });
    if let Some(place) = finding.places.first() {
        let short = Frame {
            function: end(&place.function, FUNCTION),
            file: end(&place.file, FILE),
            line: place.line,
        };
        let at = frame(&short);
        return match (at.strip_suffix(')'), changed) {
            (Some(open), Some(changed)) => format!(", {from} {open}, {changed})"),
            (None, Some(changed)) => format!(", {from} {at} ({changed})"),
            (_, None) => format!(", {from} {at}"),
        };
    }
    let caller = finding.caller.as_ref().map(|caller| code(&caller.name, FUNCTION));
    match (caller, changed) {
        (Some(caller), Some(changed)) => format!(", called from {caller} ({changed})"),
        (Some(caller), None) => format!(", called from {caller}"),
        (None, Some(changed)) => format!(", {changed}"),
        (None, None) => String::new(),
    }
}

/// A name between backticks, which therefore may not hold any.
fn code(name: &str, most: usize) -> String {
    format!("`{}`", cut(name, most).replace('`', "'"))
}

/// The end of a path or a qualified name says most.
fn end(text: &str, most: usize) -> String {
    let length = text.chars().count();
    let text = if length <= most {
        Cow::Borrowed(text)
    } else {
        let rest = text.chars().skip(length - most.saturating_sub(3));
        Cow::Owned("...".chars().chain(rest).collect())
    };
    text.replace('`', "'")
}

/// A number of calls as people say it: `16`, `2.4`, `0.45`.
fn times(calls: f64) -> String {
    let text = if calls >= 10.0 {
        format!("{calls:.0}")
    } else if calls >= 0.95 {
        format!("{calls:.1}")
    } else {
        number(calls)
    };
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}
