//! Serin's own metrics, by the table in `dashboards`.
//!
//! What happens is counted as it happens; what is, such as weights and evidence, is read from the
//! board at each scrape. One lock for both, held for microseconds, so that counting costs nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashboards::exposition::{Exposition, Format};
use dashboards::metrics::{
    ACTION_RETRIES, BUILD, DEPLOYMENTS, EVENTS, EVIDENCE, JOURNAL_APPEND, LIVE_DEPLOYMENTS,
    NOTIFICATIONS, PROCESS_CPU, PROCESS_MEMORY, PROCESS_MOST_FILES, PROCESS_OPEN_FILES,
    PROCESS_START, REVERT_TIME, SCRAPES, VERDICT_TO_TRAFFIC, WEIGHT,
};
use rollout::{Finished, GitOutcome, Happened, Outcome};

use super::process;
use crate::board::Board;

/// The values, shared by all that count.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Exposition>);

impl Metrics {
    fn values(&self) -> MutexGuard<'_, Exposition> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a deployment that ended, with the times that its record holds.
    pub fn ended(&self, finished: &Finished) {
        let mut values = self.values();
        values.add(&DEPLOYMENTS, [&finished.service, outcome(finished.outcome)], 1);
        if let Some(back) = finished.traffic_back {
            let seconds = back.duration_since(finished.decided).as_secs_f64();
            values.observe(&VERDICT_TO_TRAFFIC, ["proxy"], seconds.max(0.0));
        }
        if let Some(git) = &finished.git {
            let seconds = finished.ended.duration_since(finished.decided).as_secs_f64();
            values.observe(&REVERT_TIME, [git_result(git)], seconds.max(0.0));
        }
    }

    /// Counts events that were appended to the journal in one transaction, and how long it took.
    pub fn appended<'a>(&self, events: impl IntoIterator<Item = &'a Happened>, took: Duration) {
        let mut values = self.values();
        for event in events {
            values.add(&EVENTS, [kind(event)], 1);
        }
        values.observe(&JOURNAL_APPEND, [], took.as_secs_f64());
    }

    /// Counts one answer of a metric provider: `complete`, `partial`, `missing` or `failed`.
    pub fn scraped(&self, provider: &str, completeness: &str) {
        self.values().add(&SCRAPES, [provider, completeness], 1);
    }

    /// Counts one attempt to deliver an alert: `delivered`, `transient`, `permanent` or `hushed`.
    pub fn notified(&self, notifier: &str, result: &str) {
        self.values().add(&NOTIFICATIONS, [notifier, result], 1);
    }

    /// Counts an action that failed and is tried again, e.g. `revert`.
    pub fn retried(&self, action: &str) {
        self.values().add(&ACTION_RETRIES, [action], 1);
    }

    /// All values as Prometheus text, what is read from `board` among them.
    pub fn render(&self, board: &Board) -> String {
        let mut values = self.values();
        from_board(&mut values, board);
        from_process(&mut values);
        values.set(
            &BUILD,
            [env!("CARGO_PKG_VERSION"), option_env!("SERIN_REVISION").unwrap_or("unknown")],
            1.0,
        );
        values.text(Format::Prometheus)
    }
}

fn from_board(values: &mut Exposition, board: &Board) {
    values.clear(&LIVE_DEPLOYMENTS);
    values.clear(&WEIGHT);
    values.clear(&EVIDENCE);
    let mut phases: BTreeMap<&'static str, f64> = BTreeMap::new();
    for glance in board.services() {
        let weight = glance.live.as_ref().map_or(0.0, |live| live.weight);
        values.set(&WEIGHT, [&glance.service], weight);
        let Some(live) = &glance.live else { continue };
        *phases.entry(live.phase).or_default() += 1.0;
        if 0.0 < live.log_threshold {
            let share = live.log_evidence / live.log_threshold;
            values.set(&EVIDENCE, [&glance.service, "all", "fail"], share);
        }
    }
    for (phase, count) in phases {
        values.set(&LIVE_DEPLOYMENTS, [phase], count);
    }
}

fn from_process(values: &mut Exposition) {
    let process = process::read();
    if let Some(seconds) = process.cpu_seconds {
        values.total(&PROCESS_CPU, [], seconds);
    }
    let gauges = [
        (&PROCESS_MEMORY, process.resident_bytes),
        (&PROCESS_START, process.start_seconds),
        (&PROCESS_OPEN_FILES, process.open_files),
        (&PROCESS_MOST_FILES, process.most_files),
    ];
    for (gauge, value) in gauges {
        if let Some(value) = value {
            values.set(gauge, [], value);
        }
    }
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Adopted => "adopted",
        Outcome::Promoted => "promoted",
        Outcome::RolledBack => "rolled_back",
        Outcome::Inconclusive => "inconclusive",
        Outcome::Aborted => "aborted",
        Outcome::RevertedByPerson => "reverted_by_person",
        Outcome::Superseded => "superseded",
        Outcome::NotStarted => "not_started",
    }
}

const fn git_result(outcome: &GitOutcome) -> &'static str {
    match outcome {
        GitOutcome::Pushed { .. } => "pushed",
        GitOutcome::Branch { .. } => "branch",
        GitOutcome::AlreadyDone { .. } => "already_done",
        GitOutcome::Conflict { .. } => "conflict",
        GitOutcome::NotWritten { .. } => "not_written",
    }
}

const fn kind(event: &Happened) -> &'static str {
    match event {
        Happened::TipMoved { .. } => "tip_moved",
        Happened::Started { .. } => "started",
        Happened::StartFailed { .. } => "start_failed",
        Happened::Exited { .. } => "exited",
        Happened::Shifted { .. } => "shifted",
        Happened::Observed { .. } => "observed",
        Happened::Unobserved { .. } => "unobserved",
        Happened::PromotionDone { .. } => "promotion_done",
        Happened::GitAnswered { .. } => "git_answered",
        Happened::Explained { .. } => "explained",
        Happened::Removed { .. } => "removed",
        Happened::Notified { .. } => "notified",
        Happened::Stumbled { .. } => "stumbled",
        Happened::Operated { .. } => "operated",
        Happened::Woke => "woke",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.appended([&Happened::Woke, &Happened::Woke], Duration::from_micros(300));
        metrics.scraped("proxy", "complete");
        metrics.notified("deploys", "delivered");
        metrics.retried("revert");
        let text = metrics.render(&Board::default());
        for line in [
            "serin_journal_events_total{kind=\"woke\"} 2",
            "serin_journal_append_seconds_bucket{le=\"0.0005\"} 1",
            "serin_provider_scrapes_total{provider=\"proxy\",completeness=\"complete\"} 1",
            "serin_notifications_total{notifier=\"deploys\",result=\"delivered\"} 1",
            "serin_action_retries_total{action=\"revert\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing from {text}");
        }
    }
}
