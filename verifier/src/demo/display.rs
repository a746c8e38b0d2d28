//! The live display: one bar for evidence, one for the split, a line for what is decided. Where
//! standard error is no terminal, decisions are plain lines.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::load::Counts;
use super::scenario::{Played, Scenario};
use super::{RATE, summary};
use crate::board::Update;
use crate::cli::complain;
use crate::run::Handle;

/// Resolution of the bars.
const PARTS: u64 = 1_000;

/// What the terminal shows.
pub(super) struct Display {
    all: MultiProgress,
    status: ProgressBar,
    split: ProgressBar,
    evidence: ProgressBar,
    load: ProgressBar,
    live: bool,
    last_reason: Mutex<String>,
    page: String,
}

impl Display {
    pub(super) fn new(folder: &Path, handle: &Handle, shop: SocketAddr) -> Self {
        let live = std::io::stderr().is_terminal();
        let all = MultiProgress::with_draw_target(if live {
            ProgressDrawTarget::stderr_with_hz(8)
        } else {
            ProgressDrawTarget::hidden()
        });
        let bar = |template: &str| {
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("━╸─");
            all.add(ProgressBar::new(PARTS).with_style(style))
        };
        let status = bar("{spinner:.yellow} {wide_msg}");
        let split = bar("  canary   {bar:40.cyan/dim} {msg}");
        let evidence = bar("  evidence {bar:40.red/dim} {msg}");
        let load = bar("  traffic  {wide_msg}");
        status.enable_steady_tick(Duration::from_millis(120));
        let page = format!("http://{}", handle.address);
        let display =
            Self { all, status, split, evidence, load, live, last_reason: Mutex::default(), page };
        display.line(&format!("Serin demo: a shop at http://{shop} with {RATE} requests per second, deployed from a Git repository."));
        display.line(&format!("  folder      {}", folder.display()));
        display.line(&format!("  page        {}", display.page));
        display.line("  policy      first weight 10 %, harm 0.5 % of all requests, false alarms 0.1 %, bake 3 s");
        display.status.set_message("starting the first version");
        display
    }

    pub(super) fn begin(&self, scenario: Scenario, subject: &str, revision: &str) {
        self.line(&format!(
            "\n{} \"{subject}\": {}; must be {}",
            revision,
            scenario.title(),
            scenario.must()
        ));
        self.status.set_message(format!("{revision} was pushed"));
        self.bars(0.0, 0.0, 0.0);
    }

    pub(super) fn update(&self, update: &Update) {
        if let Some(live) = &update.live {
            let share = if 0.0 < live.log_threshold {
                (live.log_evidence / live.log_threshold).clamp(0.0, 1.0)
            } else {
                0.0
            };
            self.bars(live.weight, share, live.log_threshold);
            self.evidence.set_message(format!(
                "{:.1} of {:.1} needed to roll back",
                live.log_evidence.max(0.0),
                live.log_threshold
            ));
            let step = live.step.map_or_else(String::new, |step| format!(" {step}/{}", live.steps));
            let allowed = format!(
                "{:.1} % of traffic, {:.1} % allowed",
                live.weight * 100.0,
                live.allowed * 100.0
            );
            self.split.set_message(allowed);
            self.status.set_message(format!(
                "{}{step}: {}",
                live.phase,
                live.verdict.clone().unwrap_or_default()
            ));
        }
        if let Some(reason) = &update.reason {
            let mut last = self.last_reason.lock().unwrap_or_else(PoisonError::into_inner);
            if *last != *reason {
                last.clone_from(reason);
                self.line(&format!("  {reason}"));
            }
        }
    }

    pub(super) fn load(&self, counts: &Counts) {
        self.load.set_message(format!(
            "{} requests answered, {} failed",
            counts.ok + counts.failed,
            counts.failed
        ));
    }

    pub(super) fn note(&self, text: &str) {
        self.line(&format!("  * {text}"));
    }

    pub(super) fn ended(&self, played: &Played) {
        let mark = if played.as_it_must() { "as it must" } else { "NOT as it must" };
        self.line(&format!(
            "  = {} after {}, {mark}",
            played.finished.outcome.words(),
            summary::seconds(played.took)
        ));
        self.bars(0.0, 0.0, 0.0);
    }

    pub(super) fn stays_up(&self) {
        self.clear();
        complain(&format!("\nThe shop and the page stay up: {}  (ctrl-C ends them)", self.page));
    }

    pub(super) fn end(&self) {
        self.clear();
    }

    fn clear(&self) {
        for bar in [&self.status, &self.split, &self.evidence, &self.load] {
            bar.finish_and_clear();
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shares in [0, 1] of a thousand parts"
    )]
    fn bars(&self, weight: f64, evidence: f64, threshold: f64) {
        let parts = |share: f64| (share.clamp(0.0, 1.0) * 1_000.0) as u64;
        self.split.set_position(parts(weight));
        self.evidence.set_position(parts(evidence));
        if threshold == 0.0 {
            self.split.set_message("");
            self.evidence.set_message("");
        }
    }

    fn line(&self, text: &str) {
        if self.live {
            // A terminal that is gone shows nothing.
            let _ = self.all.println(text);
        } else {
            complain(text);
        }
    }
}
