//! `spec.steps`: by evidence, or by hand.

use std::time::Duration;

use rollout::Weight;
use rollout::policy::{StepPolicy, Steps};

use super::duration;
use crate::config::defaults;
use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::units::{self, show_duration};

const EXPECTED: &str =
    "auto, or a list of steps, e.g. [{ weight: 1% }, { weight: 10%, atLeast: 2m }]";

/// The steps; the ramp by evidence if nothing is written.
pub(super) fn read(at: Option<&At<'_>>) -> Steps {
    at.and_then(|at| {
        if at.is_list() {
            by_hand(at)
        } else if at.is_text() {
            at.parse(EXPECTED, word)
        } else {
            let (_, value) = at.choice(EXPECTED, &["auto"], &[])?;
            if value.is_null() {
                Some(auto(None))
            } else {
                value.map(EXPECTED, |fields| auto(Some(fields)))
            }
        }
    })
    .unwrap_or_else(|| auto(None))
}

fn word(text: &str) -> Result<Steps, Wrong> {
    match text {
        "auto" => Ok(auto(None)),
        _ => Err(Wrong::new(
            format!("{} is not possible here", quote(text)),
            format!("write {EXPECTED}"),
        )),
    }
}

fn auto(fields: Option<&Fields<'_>>) -> Steps {
    let default = defaults::FIRST.weight().expect("the default first weight is a whole percent");
    Steps::Auto {
        first: fields.map_or(default, |f| f.or("first", default, |at| weight(at, Weight::FULL))),
        deadline: fields
            .map_or(defaults::DEADLINE, |f| f.or("deadline", defaults::DEADLINE, above_zero)),
    }
}

/// A weight above 0 % and below `limit`.
fn weight(at: &At<'_>, limit: Weight) -> Option<Weight> {
    at.parse("a weight, e.g. 1%", |text| match units::weight(text)? {
        Weight::ZERO => Err(Wrong::new(
            "a step without traffic shows nothing",
            "write a weight above 0%, e.g. 1%",
        )),
        weight if limit <= weight => Err(Wrong::new(
            "the first step already sends everything to the canary",
            "write a weight below 100%, e.g. 1%",
        )),
        weight => Ok(weight),
    })
}

fn above_zero(at: &At<'_>) -> Option<Duration> {
    let duration = duration(at)?;
    if duration.is_zero() {
        at.wrong(Wrong::new("a deadline of nothing leaves no time for evidence", "write e.g. 30m"));
        return None;
    }
    Some(duration)
}

fn by_hand(at: &At<'_>) -> Option<Steps> {
    let noted = at.source().count();
    let items = at.list(EXPECTED)?;
    let (mut steps, mut before) = (vec![], None::<Weight>);
    let last = items.len().saturating_sub(1);
    for (index, item) in items.iter().enumerate() {
        let Some(step) = item.map("a map, e.g. { weight: 10%, atLeast: 2m }", |fields| {
            step(fields, before, if index == last { Place::Last } else { Place::Between })
        }) else {
            continue;
        };
        // A step that is wrong by itself is no measure for the next one.
        if let Some(step) = step {
            before = Some(step.weight);
            steps.push(step);
        }
    }
    // 100 % is the promotion, which is not a step.
    if steps.last().is_some_and(|step| step.weight == Weight::FULL) {
        steps.pop();
    }
    if steps.is_empty() && at.source().count() == noted {
        let hint = "write e.g. [{ weight: 1% }, { weight: 10% }], or auto";
        at.wrong(Wrong::new("there is no step below 100%, so nothing is ever compared", hint));
    }
    Some(Steps::ByHand(steps))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    Last,
}

fn step(fields: &Fields<'_>, before: Option<Weight>, place: Place) -> Option<StepPolicy> {
    let (stay_at, deadline_at) = (fields.get("atLeast"), fields.get("deadline"));
    let at_least = stay_at.as_ref().and_then(duration).unwrap_or(defaults::AT_LEAST);
    let deadline = deadline_at.as_ref().and_then(above_zero);
    let at = fields.required("weight", "weight: 10%, the canary's share of traffic")?;
    let weight = at.parse("a weight, e.g. 10%", |text| {
        let weight = units::weight(text)?;
        match before {
            _ if weight == Weight::ZERO => {
                Err(Wrong::new("a step without traffic shows nothing", "write a weight above 0%, e.g. 1%"))
            }
            _ if weight == Weight::FULL && place == Place::Between => Err(Wrong::new(
                "100% is the promotion, which comes after all other steps",
                "move it to the end, or leave it out",
            )),
            Some(before) if weight <= before => Err(Wrong::new(
                format!("weights must rise, and this one is not above the {before} of the step before it"),
                "put the steps in order, each with a larger weight",
            )),
            _ => Ok(weight),
        }
    })?;
    if weight == Weight::FULL {
        for at in [&stay_at, &deadline_at].into_iter().flatten() {
            let hint = "leave it out; `bake` says how long to go on watching at 100%";
            at.wrong(Wrong::new("the promotion has no stay and no deadline of its own", hint));
        }
        return Some(StepPolicy { weight, at_least, deadline: defaults::DEADLINE });
    }
    let deadline = deadline.unwrap_or(defaults::DEADLINE);
    if deadline <= at_least {
        let (shown, other) = (show_duration(deadline), show_duration(at_least));
        let (message, hint) = if deadline_at.is_some() {
            (
                "the deadline leaves no time after the shortest stay (`atLeast`)",
                format!("write more than {other}"),
            )
        } else {
            (
                "the shortest stay leaves no time before the deadline",
                format!("write a deadline too; the default is {shown}"),
            )
        };
        if let Some(at) = deadline_at.as_ref().or(stay_at.as_ref()) {
            at.wrong(Wrong::new(message, hint));
        }
    }
    Some(StepPolicy { weight, at_least, deadline })
}
