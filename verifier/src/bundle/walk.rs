//! From a deployment's recording in the journal to its bundle.
//!
//! The machine is replayed event by event, and what it tells the engine is written down as it shows in its state.

use std::fmt::Write as _;

use analysis::{History, Scrape, Verdict, text};
use jiff::Timestamp;
use rollout::policy::Router;
use rollout::{Deployment, DeploymentId, Event, Happened, Live, Phase, State, Weight, transition};
use sha2::{Digest as _, Sha256};

use super::{Change, FORMAT, Header, Told};
use crate::journal::Recording;

/// Writes a deployment's bundle; nothing for a recording whose beginning is unreadable.
pub fn write(recording: &Recording) -> Option<String> {
    let id = &recording.entry.id;
    let mut state = recording.before.clone();
    let mut writer = Writer::default();
    let mut began: Option<(Deployment, History)> = None;
    for event in &recording.events {
        let before = state.live.as_deref().filter(|live| live.deployment.id == *id);
        let compared = before.is_some_and(is_comparing);
        if let Some(live) = before {
            writer.tell(live, event);
        }
        let scraped = before.and_then(asks).is_some() && of_scrape(event, id).is_some();
        state = transition(state, event).state;
        let Some(live) = live_of(&state, id) else { continue };
        if began.is_none() {
            began = Some((live.deployment.clone(), state.history.clone()));
        }
        if scraped {
            writer.verdict.clone_from(&live.verdict);
        }
        match (compared, is_comparing(live)) {
            (false, true) => {
                writer.change(Told::ComparesAgain);
                writer.verdict = None;
            }
            (true, false) => writer.change(Told::ComparedAgain),
            (true, true) | (false, false) => {}
        }
    }
    let (deployment, history) = began?;
    let finished = recording.entry.finished.as_ref();
    if let Some(finished) = finished {
        // The one that was acted on, whatever this program would say of the same evidence.
        writer.verdict.clone_from(&finished.verdict);
    }
    Some(writer.finish(Header {
        serin_bundle: FORMAT,
        deployment: id.to_string(),
        service: recording.entry.service.clone(),
        canary: deployment.canary.revision().to_string(),
        subject: deployment.canary.commit.subject.clone(),
        stable: deployment.stable.revision.to_string(),
        began: deployment.began,
        outcome: finished.map(|finished| finished.outcome.words().to_owned()),
        reason: finished.map(|finished| finished.reason.clone()),
        settings: deployment.canary.policy.analysis.clone(),
        history,
        changes: Vec::new(),
        scrapes: 0,
        left_out: 0,
        sha256: String::new(),
        verdict: None,
    }))
}

fn live_of<'a>(state: &'a State, id: &DeploymentId) -> Option<&'a Live> {
    state.live.as_deref().filter(|live| live.deployment.id == *id)
}

fn is_comparing(live: &Live) -> bool {
    matches!(live.phase, Phase::Comparing { .. })
}

/// The scrape of an event of this deployment.
fn of_scrape<'a>(event: &'a Event, id: &DeploymentId) -> Option<&'a Scrape> {
    let Happened::Observed { deployment, scrape } = &event.what else { return None };
    (deployment == id).then_some(scrape)
}

/// The weight that asks for permission, while evidence is taken in.
fn asks(live: &Live) -> Option<Weight> {
    match &live.phase {
        Phase::Starting => Some(live.deployment.plan.step(0).weight),
        Phase::Progressing { step, .. } => Some(live.deployment.plan.after(*step)),
        Phase::Baking { .. } | Phase::Comparing { .. } => Some(Weight::FULL),
        Phase::Adopting | Phase::Promoting { .. } | Phase::RollingBack(_) => None,
    }
}

/// The canary's share of a scrape at this time, where the router leaves it to chance.
fn expects(live: &Live, at: Timestamp) -> Option<f64> {
    let Router::Proxy(route) = &live.deployment.canary.policy.router;
    let confirmed = live.shift.confirmed.is_some_and(|confirmed| confirmed < at);
    let share = live.shift.weight.share();
    let left_to_chance = route.sticky_cookie.is_none() && 0.0 < share && share < 1.0;
    (confirmed && left_to_chance).then_some(share)
}

/// Whether an event confirms that the canary now serves everything.
fn enters_bake(live: &Live, event: &Event) -> bool {
    let Happened::Shifted { deployment, serial, weight } = &event.what else { return false };
    matches!(live.phase, Phase::Baking { .. })
        && live.shift.confirmed.is_none()
        && *deployment == live.deployment.id
        && (*serial, *weight) == (live.shift.serial, live.shift.weight)
}

/// A bundle being written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) verdict: Option<Verdict>,
    body: String,
    changes: Vec<Change>,
    scrapes: u64,
    left_out: u64,
    asked: Option<f64>,
    expected: Option<f64>,
}

impl Writer {
    /// What an event tells the engine of a live deployment.
    fn tell(&mut self, live: &Live, event: &Event) {
        if enters_bake(live, event) {
            self.change(Told::EntersBake);
        }
        let (Some(scrape), Some(weight)) = (of_scrape(event, &live.deployment.id), asks(live))
        else {
            return;
        };
        self.scrape(scrape, weight.share(), expects(live, scrape.at));
    }

    pub(super) fn change(&mut self, what: Told) {
        self.changes.push(Change { after: self.scrapes, what });
    }

    pub(super) fn scrape(&mut self, scrape: &Scrape, asks: f64, expects: Option<f64>) {
        if self.asked != Some(asks) {
            self.asked = Some(asks);
            self.change(Told::Asks(asks));
        }
        if self.expected != expects {
            self.expected = expects;
            self.change(Told::Expects(expects));
        }
        let all = scrape.observations.iter();
        let good: Vec<_> = all.filter(|one| one.validate().is_ok()).cloned().collect();
        let left_out = scrape.observations.len() - good.len();
        self.left_out += u64::try_from(left_out).unwrap_or(u64::MAX);
        if good.is_empty() || scrape.at.subsec_nanosecond() % 1_000 != 0 {
            self.body += &exact(scrape.at);
        }
        self.body += &text::write(&Scrape { at: scrape.at, observations: good });
        self.body.push('\n');
        self.scrapes += 1;
    }

    pub(super) fn finish(self, header: Header) -> String {
        let header = Header {
            changes: self.changes,
            scrapes: self.scrapes,
            left_out: self.left_out,
            sha256: hex(&Sha256::digest(self.body.as_bytes())),
            verdict: self.verdict,
            ..header
        };
        let header = serde_json::to_string(&header).expect("its maps have keys of text");
        format!("{header}\n{}", self.body)
    }
}

/// The time of a scrape to the nanosecond, as a line.
fn exact(at: Timestamp) -> String {
    format!("{{\"at\": \"{at}\"}}\n")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}
