//! What several pages show alike.

use jiff::Timestamp;
use rollout::{Finished, Outcome};
use serde::Serialize;

use super::super::show;
use crate::board::{Board, LiveGlance};

/// A word in a colour.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Pill {
    pub(super) words: String,
    /// `good`, `bad`, `warn`, `busy` or `calm`: a class of the style sheet.
    pub(super) tone: &'static str,
}

impl Pill {
    pub(super) fn new(words: &str, tone: &'static str) -> Self {
        Self { words: words.to_owned(), tone }
    }

    pub(super) fn of_outcome(outcome: Outcome) -> Self {
        let tone = match outcome {
            Outcome::Adopted | Outcome::Promoted => "good",
            Outcome::RolledBack => "bad",
            Outcome::Inconclusive | Outcome::NotStarted => "warn",
            Outcome::Aborted | Outcome::RevertedByPerson | Outcome::Superseded => "calm",
        };
        Self::new(outcome.words(), tone)
    }

    pub(super) fn of_live(live: &LiveGlance) -> Self {
        match (&live.paused_by, live.phase) {
            (Some(_), _) => Self::new("paused", "warn"),
            (None, "rolling back") => Self::new("rolling back", "bad"),
            (None, "promoting") => Self::new("promoting", "good"),
            (None, "comparing again") => Self::new("comparing again", "warn"),
            (None, phase) => Self::new(phase, "busy"),
        }
    }
}

/// A moment in time, for machines and for people.
#[derive(Debug, Clone, Serialize)]
pub(super) struct When {
    /// RFC 3339.
    pub(super) machine: String,
    /// `2026-03-01 12:00:07 UTC`.
    pub(super) date: String,
    /// `12:00:07`.
    pub(super) clock: String,
    /// `12 s ago`.
    pub(super) ago: String,
}

impl When {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self {
            machine: at.to_string(),
            date: show::date(at),
            clock: show::clock(at),
            ago: show::ago(at, now),
        }
    }
}

/// A deployment under way.
#[derive(Debug, Serialize)]
pub(super) struct Live {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) revision: String,
    pub(super) subject: String,
    pub(super) author: String,
    pub(super) pill: Pill,
    /// `step 3 of 7`.
    pub(super) step: Option<String>,
    pub(super) weight: String,
    pub(super) rest: String,
    /// The canary's part of a bar of 100.
    pub(super) weight_x: f64,
    pub(super) confirmed: bool,
    pub(super) allowed: String,
    pub(super) allowed_x: f64,
    pub(super) evidence: String,
    pub(super) odds: String,
    pub(super) needed: String,
    /// The evidence's part of a bar of 100 that ends where the canary fails.
    pub(super) evidence_x: f64,
    /// `good`, `warn` or `bad`.
    pub(super) evidence_tone: &'static str,
    pub(super) judged: bool,
    pub(super) began: When,
    pub(super) paused_by: Option<String>,
    pub(super) verdict: Option<String>,
    pub(super) unobserved: Option<String>,
}

impl Live {
    pub(super) fn new(service: &str, live: &LiveGlance, now: Timestamp) -> Self {
        let share =
            if live.log_threshold > 0.0 { live.log_evidence / live.log_threshold } else { 0.0 };
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 1.0 };
        Self {
            id: live.id.clone(),
            service: service.to_owned(),
            revision: live.revision.clone(),
            subject: live.subject.clone(),
            author: live.author.clone(),
            pill: Pill::of_live(live),
            step: live.step.map(|step| format!("step {step} of {}", live.steps)),
            weight: show::percent(live.weight),
            rest: show::percent(1.0 - live.weight),
            weight_x: bar(live.weight),
            confirmed: live.confirmed,
            allowed: show::percent(live.allowed),
            allowed_x: bar(live.allowed),
            evidence: show::evidence(live.log_evidence),
            odds: show::odds(live.log_evidence),
            needed: show::evidence(live.log_threshold),
            evidence_x: share * 100.0,
            evidence_tone: if share >= 1.0 {
                "bad"
            } else if share >= 0.5 {
                "warn"
            } else {
                "good"
            },
            judged: live.log_threshold > 0.0,
            began: When::new(live.began, now),
            paused_by: live.paused_by.clone(),
            verdict: live.verdict.clone(),
            unobserved: live.unobserved.clone(),
        }
    }
}

/// A share as a part of 100, never so thin that it cannot be seen.
fn bar(share: f64) -> f64 {
    if share > 0.0 { (share * 100.0).clamp(0.8, 100.0) } else { 0.0 }
}

/// How a deployment ended, in a list.
#[derive(Debug, Serialize)]
pub(super) struct Ending {
    pub(super) id: String,
    pub(super) pill: Pill,
    pub(super) revision: String,
    pub(super) subject: String,
    pub(super) author: String,
    pub(super) reason: String,
    pub(super) ended: When,
    pub(super) took: String,
}

impl Ending {
    pub(super) fn new(finished: &Finished, now: Timestamp) -> Self {
        Self {
            id: finished.id.to_string(),
            pill: Pill::of_outcome(finished.outcome),
            revision: finished.commit.revision.short().to_owned(),
            subject: finished.commit.subject.clone(),
            author: finished.commit.author.clone(),
            reason: finished.reason.clone(),
            ended: When::new(finished.ended, now),
            took: show::span(finished.ended.duration_since(finished.began)),
        }
    }
}

/// Something that a person can press.
#[derive(Debug, Serialize)]
pub(super) struct Button {
    pub(super) action: &'static str,
    pub(super) label: &'static str,
    /// `plain` or `danger`.
    pub(super) tone: &'static str,
    /// What it will do, where it deserves a second press.
    pub(super) confirm: Option<String>,
}

/// The orders that make sense for a deployment under way; `holding` when it waits for a person.
pub(super) fn buttons(live: &LiveGlance, holding: bool) -> Vec<Button> {
    let plain = |action, label| Button { action, label, tone: "plain", confirm: None };
    let on_trial =
        matches!(live.phase, "starting the canary" | "progressing" | "baking" | "comparing again");
    if !on_trial {
        return Vec::new();
    }
    let mut buttons = Vec::new();
    if live.paused_by.is_none() {
        buttons.push(plain("pause", "Pause"));
    }
    if live.paused_by.is_some() || holding {
        buttons.push(plain("resume", "Resume"));
    }
    let revision = &live.revision;
    let promotes = match live.phase {
        "progressing" => Some(format!(
            "All traffic goes to {revision} at once, without the evidence of the remaining steps. The old version stays warm during the bake."
        )),
        "comparing again" => Some(format!(
            "All traffic goes to {revision} again, without waiting for the comparison."
        )),
        "baking" => Some(format!(
            "{revision} becomes stable now and the old version is stopped; it is no longer watched."
        )),
        _ => None,
    };
    if let Some(confirm) = promotes {
        buttons.push(Button {
            action: "promote",
            label: "Promote",
            tone: "plain",
            confirm: Some(confirm),
        });
    }
    let confirm = format!(
        "All traffic goes back to the stable version and {revision} is stopped. Git stays as it is."
    );
    buttons.push(Button {
        action: "abort",
        label: "Abort",
        tone: "danger",
        confirm: Some(confirm),
    });
    buttons
}

/// Something that is wrong with Serin or around it.
#[derive(Debug, Serialize)]
pub(super) struct Trouble {
    part: String,
    what: String,
    since: When,
}

pub(super) fn troubles(board: &Board, now: Timestamp) -> Vec<Trouble> {
    let trouble = |(part, since, what)| Trouble { part, what, since: When::new(since, now) };
    board.troubles().into_iter().map(trouble).collect()
}

#[cfg(test)]
mod tests {
    use rollout::Phase;

    use super::*;

    fn live(phase: &'static str, paused_by: Option<&str>) -> LiveGlance {
        LiveGlance {
            id: "checkout-4f2c1a9-3".to_owned(),
            revision: "4f2c1a9".to_owned(),
            subject: String::new(),
            author: String::new(),
            phase,
            step: None,
            steps: 3,
            weight: 0.1,
            confirmed: true,
            log_evidence: f64::INFINITY,
            log_threshold: 4.6,
            allowed: 0.2,
            paused_by: paused_by.map(str::to_owned),
            began: Timestamp::UNIX_EPOCH,
            verdict: None,
            unobserved: None,
        }
    }

    #[test]
    fn every_phase_offers_what_the_machine_would_take() {
        let offered = |phase: &Phase, paused_by, holding| {
            let buttons = buttons(&live(phase.words(), paused_by), holding);
            buttons.iter().map(|button| button.action).collect::<Vec<_>>()
        };
        let (progressing, baking) = (
            Phase::Progressing { step: 0, overdue: false },
            Phase::Baking { since: None, overdue: false },
        );
        assert_eq!(offered(&Phase::Adopting, None, false), Vec::<&str>::new());
        assert_eq!(offered(&Phase::Starting, None, false), ["pause", "abort"]);
        assert_eq!(offered(&progressing, None, false), ["pause", "promote", "abort"]);
        assert_eq!(offered(&progressing, Some("Ada"), false), ["resume", "promote", "abort"]);
        assert_eq!(offered(&baking, None, true), ["pause", "resume", "promote", "abort"]);
        let promoting = Phase::Promoting { decided: Timestamp::UNIX_EPOCH, reason: String::new() };
        assert_eq!(offered(&promoting, None, false), Vec::<&str>::new());
    }

    #[test]
    fn evidence_beyond_all_bounds_fills_its_bar() {
        let shown = Live::new("checkout", &live("progressing", None), Timestamp::UNIX_EPOCH);
        assert_eq!((shown.evidence_x.to_string(), shown.evidence_tone), ("100".to_owned(), "bad"));
        assert_eq!(shown.evidence, "beyond all bounds");
    }
}
