//! `spec.onFail`: what a failed deployment does to Git.

use rollout::policy::{Limit, OnFail, Revert};

use super::{AtLeastOne, globs};
use crate::config::defaults;
use crate::config::problem::quote;
use crate::config::reader::{At, Wrong};
use crate::config::units;

/// When nothing is written.
pub(super) fn default() -> OnFail {
    OnFail {
        revert: Revert::Push,
        limits: defaults::LIMITS
            .iter()
            .map(|(count, per)| Limit { count: *count, per: *per })
            .collect(),
        irreversible: defaults::IRREVERSIBLE.iter().map(|glob| (*glob).to_owned()).collect(),
    }
}

/// What is written, the rest by default.
pub(super) fn read(at: &At<'_>) -> Option<OnFail> {
    let OnFail { revert, limits, irreversible } = default();
    let words =
        [("push", Revert::Push), ("pullRequest", Revert::PullRequest), ("none", Revert::None)];
    at.map("a map, e.g. { revert: push }", |fields| OnFail {
        revert: fields.or("revert", revert, |at| at.word(&words)),
        limits: fields.or("limits", limits, |at| {
            let items = at.list("a list of limits, e.g. [1 per 30m, 3 per 24h]")?;
            Some(
                items
                    .iter()
                    .filter_map(|item| item.parse("a limit, e.g. 3 per 24h", limit))
                    .collect(),
            )
        }),
        irreversible: fields.or("irreversible", irreversible, |at| globs(at, AtLeastOne::No)),
    })
}

/// `3 per 24h`.
fn limit(text: &str) -> Result<Limit, Wrong> {
    let example = "write how many reverts within which time, e.g. 3 per 24h";
    let (count, per) = text
        .split_once(" per ")
        .ok_or_else(|| Wrong::new(format!("{} is not a limit", quote(text)), example))?;
    let per = units::duration(per.trim())?;
    let count = units::whole(1, 1_000)(count.trim())?;
    if per.is_zero() {
        return Err(Wrong::new("a limit within no time limits nothing", example));
    }
    let count = u32::try_from(count).expect("at most 1000");
    Ok(Limit { count, per })
}
