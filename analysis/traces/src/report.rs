//! The comparison in words: sentences, one paragraph, one table. Plain text, the same everywhere.

mod headline;

use crate::compare::Settings;
use crate::decompose::Effect;
use crate::finding::{Cause, Change, Finding, RootCause};
use crate::frames::Frame;
use crate::strata::Compared;

/// Findings that the paragraph tells.
const TOLD: usize = 3;

/// Lines of the table.
const LINES: usize = 12;

/// Widest operation in the table, in characters.
const WIDEST: usize = 48;

/// Narrowest that names are cut to: less says nothing.
const NARROWEST: usize = 16;

/// One finding, without full stop.
pub(crate) fn sentence(finding: &Finding, change: Change, service: &str) -> String {
    let mut text = what(finding, change, service);
    if let Some(only) = finding.only.as_ref().filter(|_| finding.cause != Cause::SomeRequests) {
        text.push_str(&format!(
            "; {} of the damage is where `{}`",
            percent(only.coverage),
            only.what
        ));
    }
    if finding.cause.blames_code() {
        place(finding, &mut text);
    }
    if let (Some(versions), Some(operation)) = (&finding.also_changed, &finding.operation) {
        text.push_str(&format!(
            "; {} ran versions {versions} meanwhile, which may be the cause as well",
            operation.service
        ));
    }
    text
}

fn what(finding: &Finding, change: Change, service: &str) -> String {
    if let Some(host) = &finding.host {
        return format!(
            "bad host, not bad code: {} of the damage is on `{}` ({}), one of {}, which answered {} of the canary's \
             requests; the others are as good as the baseline",
            percent(host.damage),
            host.value,
            host.attribute,
            host.of,
            percent(host.requests),
        );
    }
    if let Some(mix) = &finding.mix {
        let judge =
            if finding.score >= 3.0 { "; compare again once the split is by chance" } else { "" };
        return format!(
            "the arms were asked different requests: `{}` is {} of the canary's and {} of the baseline's ({}), which \
             adds {}{judge}",
            mix.value,
            percent(mix.canary),
            percent(mix.baseline),
            mix.attribute,
            signed(change.mix),
        );
    }
    let name = finding.operation.as_ref().map(|operation| {
        if operation.service == service {
            format!("`{operation}`")
        } else {
            format!("`{operation}` of {}", operation.service)
        }
    });
    let name = name.unwrap_or_else(|| "requests".to_owned());
    let error = finding.error.as_ref();
    match (finding.cause, finding.effect, error) {
        (Cause::NewError, _, Some(error)) => format!(
            "new error `{}` in {name}: {} canary traces and none of the baseline, at {} of the requests (p = {})",
            error.error,
            error.canary,
            percent(error.share),
            small(error.p),
        ),
        (Cause::MoreErrors, _, Some(error)) => format!(
            "`{}` in {name} happens more often: {} canary traces and {} of the baseline, at {} of the requests",
            error.error,
            error.canary,
            error.baseline,
            percent(error.share),
        ),
        (Cause::SomeRequests, ..) => {
            let only = finding.only.as_ref();
            format!(
                "{} of the damage is in requests where `{}`, {} times their share",
                percent(only.map_or(0.0, |only| only.coverage)),
                only.map_or("", |only| only.what.as_str()),
                number(only.map_or(0.0, |only| only.lift)),
            )
        }
        (cause, Some(effect), error) => latency(
            &name,
            cause,
            &effect,
            finding,
            explained(finding, &effect, change),
            error.is_some(),
        ),
        (cause, None, _) => format!("{}: {name}", cause.words()),
    }
}

/// Seconds per request that a finding explains: the operation's own, and what follows from it, as the pauses between
/// retries do.
fn explained(finding: &Finding, effect: &Effect, change: Change) -> f64 {
    if finding.share > 0.0 && change.adjusted > 0.0 && !finding.tail_only {
        finding.share * change.adjusted
    } else {
        effect.change
    }
}

fn latency(
    name: &str,
    cause: Cause,
    effect: &Effect,
    finding: &Finding,
    adds: f64,
    fails: bool,
) -> String {
    let share = if finding.share > 0.0 {
        format!(" ({} of the change)", percent(finding.share))
    } else {
        String::new()
    };
    let adds = if finding.tail_only {
        format!("which shows in the slowest requests only{share}")
    } else {
        format!("{} per request{share}", signed(adds))
    };
    let (old, new) = (effect.baseline, effect.canary);
    let calls = || format!("{} -> {} calls per request", number(old.calls), number(new.calls));
    let each = || format!("{} -> {} each", duration(old.each()), duration(new.each()));
    let per_caller = || match finding.repeats {
        Some(repeats) => format!(
            "{} -> {} calls by each caller",
            number(repeats.baseline),
            number(repeats.canary)
        ),
        None => calls(),
    };
    match cause {
        Cause::NPlusOne => format!("{name}: {}, one after the other (N+1), {adds}", per_caller()),
        Cause::FanOut => format!("{name}: {}, at the same time, {adds}", per_caller()),
        Cause::Retries => {
            let [before, after] = finding.repeats.map_or([0.0; 2], |repeats| repeats.retries);
            let fails = if fails { " and fails more often" } else { "" };
            format!(
                "{name} is tried again {} -> {} times per request{fails}, {adds}",
                number(before),
                number(after)
            )
        }
        Cause::NewCall => format!(
            "new call {name}: {} per request, {} each, {adds}",
            number(new.calls),
            duration(new.each())
        ),
        Cause::LostCache => format!("{name} is no longer spared by a cache: {}, {adds}", calls()),
        Cause::MoreCalls => format!("{name}: {}, {adds}", calls()),
        Cause::Slower
        | Cause::NewError
        | Cause::MoreErrors
        | Cause::SomeRequests
        | Cause::BadHost
        | Cause::TrafficMix => format!("{name} is slower: {}, {adds}", each()),
    }
}

impl RootCause {
    /// By how much requests are slower, and in how many traces. Without full stop.
    pub fn measured(&self) -> String {
        let Self { baseline, canary, change, .. } = self;
        if canary.compared == 0 || baseline.compared == 0 {
            return format!("{} canary and {} baseline traces", canary.traces, baseline.traces);
        }
        format!(
            "{} mean per request (95 % interval {} to {}), p95 {}, p99 {}, in {} canary and {} baseline traces",
            signed(change.adjusted),
            signed(change.interval[0]),
            signed(change.interval[1]),
            signed(canary.p95 - baseline.p95),
            signed(canary.p99 - baseline.p99),
            canary.compared,
            baseline.compared,
        )
    }

    /// What a finding of this comparison says by itself: without the kind of requests, the place in the code and the
    /// commit, for readers who get those apart. Without full stop.
    pub fn what(&self, finding: &Finding) -> String {
        what(finding, self.change, &self.service)
    }

    /// The operations as a table that is at most `width` characters wide, where names can be cut that far.
    pub fn table_within(&self, width: usize) -> String {
        let widest = self.table.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        if widest <= width {
            return self.table.clone();
        }
        let names = self.operations.iter().take(LINES).map(|row| {
            row.operation.service.chars().count() + 1 + row.operation.name.chars().count()
        });
        let name = names.max().unwrap_or(0).min(WIDEST);
        table_cut(self, name.saturating_sub(widest - width).max(NARROWEST))
    }
}

impl Finding {
    /// The place in the code that most traces name, as `` `CartRepo::load` (src/cart/repo.rs:88) ``.
    pub fn place(&self) -> Option<String> {
        self.places.first().map(frame)
    }
}

fn frame(place: &Frame) -> String {
    let line = place.line.map(|line| format!(":{line}")).unwrap_or_default();
    match (place.function.is_empty(), place.file.is_empty()) {
        (false, false) => format!("`{}` ({}{line})", place.function, place.file),
        (false, true) => format!("`{}`", place.function),
        (true, _) => format!("{}{line}", place.file),
    }
}

/// Who calls it, where in the code, and which commit changed that.
fn place(finding: &Finding, text: &mut String) {
    let caller = finding.caller.as_ref().map(|caller| format!("`{caller}`"));
    match (caller, finding.place()) {
        (Some(caller), Some(place)) => text.push_str(&format!("; called from {caller} at {place}")),
        (Some(caller), None) => text.push_str(&format!("; called from {caller}")),
        (None, Some(place)) => text.push_str(&format!("; at {place}")),
        (None, None) => {}
    }
    if let Some(suspect) = &finding.suspect {
        text.push_str(&format!(
            "; suspect commit {} of {}: {} {} ({} changed, {} of the evidence, confidence {})",
            suspect.position,
            suspect.of,
            suspect.short(),
            cut(&suspect.subject, 72),
            suspect.file,
            percent(suspect.share),
            finding.confidence,
        ));
    }
}

/// What a reader should know before believing any of it.
pub(crate) fn notes(root_cause: &RootCause, settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    let (old, new) = (&root_cause.baseline, &root_cause.canary);
    if old.compared == 0 || new.compared == 0 {
        notes.push(format!(
            "no entry operation has {} traces of each arm ({} of the baseline, {} of the canary): times were not \
             compared",
            settings.least_traces, old.traces, new.traces
        ));
    }
    let left_out: Vec<String> = root_cause
        .entries
        .iter()
        .filter(|entry| entry.compared == Compared::Not)
        .map(|entry| format!("`{}` ({} and {} traces)", entry.entry, entry.baseline, entry.canary))
        .collect();
    if !left_out.is_empty() && old.compared > 0 {
        let more = left_out.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let shown = left_out.into_iter().take(5).collect::<Vec<_>>().join(", ");
        notes.push(format!("not compared, as one arm has too few traces of them: {shown}{more}"));
    }
    for moved in root_cause.moved.iter().take(5) {
        notes.push(format!(
            "`{}` is compared with `{}`, in whose place it is called",
            moved.to, moved.from
        ));
    }
    if new.instances == 1 {
        notes.push("the canary has one instance: a bad host looks like bad code".to_owned());
    }
    if !root_cause.elsewhere.is_empty() {
        notes.push(format!(
            "no line of the range matches; also changed: {}",
            root_cause.elsewhere.join(", ")
        ));
    }
    notes
}

/// Everything in one paragraph.
pub(crate) fn paragraph(root_cause: &RootCause) -> String {
    let RootCause { service, canary, change, findings, .. } = root_cause;
    let mut text = format!("{service}: {}", root_cause.measured());
    if findings.is_empty() && canary.compared > 0 {
        text.push_str(". Nothing differs by more than chance");
    }
    for finding in findings.iter().take(TOLD) {
        text.push_str(". ");
        text.push_str(&capital(&finding.sentence));
    }
    if findings.len() > TOLD {
        text.push_str(&format!(". {} more findings", findings.len() - TOLD));
    }
    if findings.iter().any(|finding| finding.effect.is_some()) {
        text.push_str(&format!(". Not explained: {}", signed(change.unexplained)));
    }
    if let Some(first) = findings.first() {
        let traces = |name: &str, ids: &[crate::span::TraceId]| {
            ids.first().map(|id| format!("{id} ({name})"))
        };
        let examples = &first.examples;
        let shown: Vec<String> =
            [traces("baseline", &examples.baseline), traces("canary", &examples.canary)]
                .into_iter()
                .flatten()
                .collect();
        if !shown.is_empty() {
            text.push_str(&format!(". Traces: {}", shown.join(", ")));
        }
    }
    text.push('.');
    for note in &root_cause.notes {
        text.push_str(&format!(" {}.", capital(note)));
    }
    text
}

/// The operations that changed most, as text of fixed width.
pub(crate) fn table(root_cause: &RootCause) -> String {
    table_cut(root_cause, WIDEST)
}

/// The same with operations cut at `widest` characters; where that is less than usual, what the service does itself goes
/// without its name.
fn table_cut(root_cause: &RootCause, widest: usize) -> String {
    if root_cause.operations.is_empty() {
        return String::new();
    }
    let heads = ["operation", "calls", "each", "change", "by calls", "by time", "p"];
    let mut lines: Vec<[String; 7]> = vec![heads.map(str::to_owned)];
    for row in root_cause.operations.iter().take(LINES) {
        let effect = &row.effect;
        let (old, new) = (effect.baseline, effect.canary);
        let is_clear = widest < WIDEST && row.operation.service == root_cause.service;
        let name = if is_clear {
            row.operation.name.clone()
        } else {
            format!("{} {}", row.operation.service, row.operation)
        };
        lines.push([
            cut(&name, widest),
            format!("{} -> {}", number(old.calls), number(new.calls)),
            format!("{} -> {}", duration(old.each()), duration(new.each())),
            signed(effect.change),
            signed(effect.by_calls),
            signed(effect.by_time),
            small(effect.p),
        ]);
    }
    let others: f64 = root_cause.operations.iter().skip(LINES).map(|row| row.effect.change).sum();
    let empty = String::new;
    let others = signed(others + root_cause.rest);
    lines.push(["all others".to_owned(), empty(), empty(), others, empty(), empty(), empty()]);
    let whole = signed(root_cause.change.adjusted);
    lines.push(["request".to_owned(), empty(), empty(), whole, empty(), empty(), empty()]);
    let widths: [usize; 7] = std::array::from_fn(|at| {
        lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for line in lines {
        let mut shown = String::new();
        for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
            let fill = " ".repeat(width - cell.chars().count());
            if at == 0 {
                shown.push_str(&format!("{cell}{fill}"));
            } else {
                shown.push_str(&format!("  {fill}{cell}"));
            }
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(3)).chain("...".chars()).collect()
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// A share as percent, without decimals.
pub fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.01 {
        "less than 1 %".to_owned()
    } else {
        format!("{:.0} %", 100.0 * share)
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// A p-value with the digits that matter.
pub fn small(p: f64) -> String {
    if p < 1e-9 {
        "< 1e-9".to_owned()
    } else if p < 0.001 {
        format!("{p:.0e}")
    } else {
        format!("{p:.3}")
    }
}

/// Seconds in the unit that fits, with three digits: `62.0 ms`.
pub fn duration(seconds: f64) -> String {
    let size = seconds.abs();
    if size < 5e-9 {
        return "0 ms".to_owned();
    }
    let (value, unit) = if size >= 1.0 {
        (seconds, "s")
    } else if size >= 1e-3 {
        (seconds * 1e3, "ms")
    } else {
        (seconds * 1e6, "us")
    };
    let size = value.abs();
    if size >= 100.0 {
        format!("{value:.0} {unit}")
    } else if size >= 10.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.2} {unit}")
    }
}

/// A change in seconds, in the unit that fits and with its sign: `+62.0 ms`.
pub fn signed(seconds: f64) -> String {
    let sign = match seconds {
        ..=-5e-9 => "-",
        5e-9.. => "+",
        _ => "",
    };
    format!("{sign}{}", duration(seconds.abs()))
}

#[cfg(test)]
mod tests;
