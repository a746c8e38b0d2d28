//! One deployment: what it is, where it stands, the evidence, every decision, and what became of Git.

use std::sync::Arc;

use analysis::{Counts, Finding, Interval, Quantile, Status, Verdict};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use rollout::replay::Moment;
use rollout::{Commit, Finished, GitOutcome, Weight};
use serde::Serialize;

use super::parts::{Button, Live, Pill, When, buttons};
use super::{Shell, cause};
use crate::board::{Glance, LiveGlance};
use crate::clock::now;
use crate::web::chart::{self, Charts};
use crate::web::past::Told;
use crate::web::problem::Problem;
use crate::web::{App, shapes, show};

/// Decisions that are shown; a rollout has some twenty, and one that flaps says little after this.
const MOMENTS: usize = 200;

#[derive(Serialize)]
struct View {
    id: String,
    service: String,
    pill: Pill,
    revision: String,
    full: String,
    subject: String,
    author: String,
    committed: Option<When>,
    began: When,
    stable: Option<Stable>,
    live: Option<Live>,
    buttons: Vec<Button>,
    post: String,
    reason: Option<String>,
    facts: Vec<Fact>,
    steps: Vec<Step>,
    verdict: Option<String>,
    findings: Vec<Row>,
    notes: Vec<String>,
    cause: Option<cause::Section>,
    no_cause: Option<String>,
    charts: Option<Charts>,
    moments: Vec<Decision>,
    more_moments: usize,
    commits: Vec<Line>,
    more_commits: usize,
    files: Vec<File>,
    policy_problem: Option<String>,
    git: Option<Git>,
}

#[derive(Serialize)]
struct Stable {
    revision: String,
    subject: String,
}

#[derive(Serialize)]
struct Fact {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Step {
    label: String,
    /// `done`, `now` or `next`.
    state: &'static str,
}

#[derive(Serialize)]
struct Row {
    check: String,
    pill: Pill,
    canary: String,
    canary_of: String,
    baseline: String,
    baseline_of: String,
    ratio: Option<String>,
    interval: Option<String>,
    evidence: String,
    odds: String,
    evidence_x: f64,
    needed: String,
    sentence: String,
    quantiles: Vec<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Decision {
    at: When,
    reason: String,
}

#[derive(Serialize)]
struct Line {
    revision: String,
    subject: String,
    author: String,
}

#[derive(Serialize)]
struct File {
    path: String,
    added: usize,
    removed: usize,
}

#[derive(Serialize)]
struct Git {
    tone: &'static str,
    sentence: String,
    revision: Option<String>,
    subject: Option<String>,
    branch: Option<String>,
    conflicts: Vec<String>,
    patch: Option<String>,
}

/// `GET /deployments/{id}`.
pub(in crate::web) async fn deployment(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let told = app.stories.tell(&id).await?;
    let service = told.entry.service.clone();
    let glance = app.board.service(&service);
    let view = view(&told, glance.as_deref(), now());
    let shell = Shell {
        title: format!("{} of {service}", view.revision),
        signed_in: app.access.has_token(),
        live: view.live.is_some(),
        service: Some(service),
    };
    app.pages.page("deployment.html", shell, &view, &headers)
}

/// Whether the deployment under way waits for a person: its newest decision says so.
pub(super) fn holding(glance: &Glance) -> bool {
    glance.reason.as_ref().is_some_and(|(_, reason)| reason.starts_with("holding"))
}

fn view(told: &Told, glance: Option<&Glance>, at: Timestamp) -> View {
    let finished = told.finished();
    let id = told.entry.id.as_str();
    let live =
        glance.and_then(|g| g.live.as_ref()).filter(|live| live.id == id && finished.is_none());
    let deployment = told.deployment.as_ref();
    let canary = deployment.map(|d| &d.canary);
    let commit = canary.map(|canary| &canary.commit).or(finished.map(|f| &f.commit));
    let stable = deployment.map(|d| &d.stable).or(finished.and_then(|f| f.stable.as_ref()));
    let adopted = deployment.is_some_and(|d| d.canary.revision() == &d.stable.revision);
    let verdict = shapes::verdict(told);
    let commits =
        canary.map(|canary| &*canary.commits).or(finished.map(|f| &*f.commits)).unwrap_or_default();
    View {
        id: id.to_owned(),
        service: told.entry.service.clone(),
        pill: finished
            .map(|f| Pill::of_outcome(f.outcome))
            .or(live.map(Pill::of_live))
            .unwrap_or(Pill::new("under way", "busy")),
        revision: commit.map_or_else(|| id.to_owned(), |commit| commit.revision.short().to_owned()),
        full: commit.map(|commit| commit.revision.to_string()).unwrap_or_default(),
        subject: commit.map(|commit| commit.subject.clone()).unwrap_or_default(),
        author: commit.map(|commit| commit.author.clone()).unwrap_or_default(),
        committed: commit.map(|commit| When::new(commit.committed, at)),
        began: When::new(told.entry.began, at),
        stable: stable.filter(|_| !adopted).map(|stable| Stable {
            revision: stable.revision.short().to_owned(),
            subject: stable.subject.clone(),
        }),
        live: live.map(|live| Live::new(&told.entry.service, live, at)),
        buttons: live
            .zip(glance)
            .map(|(live, glance)| buttons(live, holding(glance)))
            .unwrap_or_default(),
        post: format!("/deployments/{id}"),
        reason: finished.map(|f| f.reason.clone()),
        facts: finished.map(facts).unwrap_or_default(),
        steps: steps(told, live),
        verdict: verdict.map(|verdict| verdict.reason.clone()),
        findings: verdict.map(findings).unwrap_or_default(),
        notes: verdict.map(|verdict| verdict.notes.clone()).unwrap_or_default(),
        cause: told.cause.as_ref().map(cause::section),
        no_cause: finished
            .and_then(|f| f.cause.as_ref())
            .filter(|explained| told.cause.is_none() && explained.found().is_none())
            .map(|explained| explained.sentence().to_owned()),
        charts: chart::charts(told, canary.map(|canary| &*canary.policy)),
        moments: decisions(&told.story.moments, at),
        more_moments: told.story.moments.len().saturating_sub(MOMENTS),
        commits: commits.iter().rev().map(line).collect(),
        more_commits: canary.map_or(0, |canary| canary.more_commits),
        files: canary.iter().flat_map(|canary| &canary.files).map(file).collect(),
        policy_problem: canary.and_then(|canary| canary.policy_problem.clone()),
        git: finished.and_then(|f| f.git.as_ref()).map(git),
    }
}

fn line(commit: &Commit) -> Line {
    Line {
        revision: commit.revision.short().to_owned(),
        subject: commit.subject.clone(),
        author: commit.author.clone(),
    }
}

fn file(file: &rollout::commit::ChangedFile) -> File {
    File { path: file.path.clone(), added: file.added, removed: file.removed }
}

fn decisions(moments: &[Moment], at: Timestamp) -> Vec<Decision> {
    let decision =
        |moment: &Moment| Decision { at: When::new(moment.at, at), reason: moment.reason.clone() };
    moments.iter().rev().take(MOMENTS).map(decision).collect()
}

/// The measured times of a deployment that is over.
fn facts(finished: &Finished) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut fact = |name, value| facts.push(Fact { name, value });
    if let Some(exposed) = finished.exposed {
        fact(
            "Decided after",
            format!("{} of canary traffic", show::span(finished.decided.duration_since(exposed))),
        );
        fact("Weight then", show::percent(finished.weight.share()));
        fact("Requests that it failed", show::count(finished.canary_failures));
    }
    if let Some(back) = finished.traffic_back {
        fact(
            "Traffic back",
            format!("{} after the decision", show::span(back.duration_since(finished.decided))),
        );
    }
    fact("Took", show::span(finished.ended.duration_since(finished.began)));
    facts
}

/// The plan with full traffic and bake as its last steps, and how far it came.
fn steps(told: &Told, live: Option<&LiveGlance>) -> Vec<Step> {
    let Some(deployment) = &told.deployment else { return Vec::new() };
    let exposed = told.story.points.iter().any(|point| Weight::ZERO < point.weight);
    if deployment.canary.revision() == &deployment.stable.revision && !exposed {
        return Vec::new();
    }
    let weights: Vec<Weight> =
        deployment.plan.steps().iter().map(|step| step.weight).chain([Weight::FULL]).collect();
    let reached = told.story.points.iter().map(|point| point.weight).max();
    let reached = reached.max(told.finished().map(|f| f.weight)).unwrap_or(Weight::ZERO);
    let promoted = told.finished().is_some_and(|f| f.outcome == rollout::Outcome::Promoted);
    let (current, over) = match live {
        Some(LiveGlance { step: Some(step), .. }) => (Some(step - 1), false),
        Some(LiveGlance { phase: "baking" | "comparing again", .. }) => {
            (Some(weights.len() - 1), false)
        }
        Some(LiveGlance { phase: "promoting", .. }) => (None, true),
        Some(_) | None => (None, promoted),
    };
    let step = |(index, weight): (usize, &Weight)| {
        let state = match current {
            Some(current) if index < current => "done",
            Some(current) if index == current => "now",
            None if over || *weight <= reached => "done",
            Some(_) | None => "next",
        };
        let bakes = index + 1 == weights.len() && !deployment.canary.policy.bake.is_zero();
        let label = if bakes {
            format!("100 %, bake {}", show::duration(deployment.canary.policy.bake))
        } else {
            weight.to_string()
        };
        Step { label, state }
    };
    weights.iter().enumerate().map(step).collect()
}

fn findings(verdict: &Verdict) -> Vec<Row> {
    verdict.findings.iter().map(|finding| row(finding, verdict.log_threshold)).collect()
}

fn row(finding: &Finding, threshold: f64) -> Row {
    let share = |counts: Counts| {
        if counts.of == 0 { "–".to_owned() } else { show::percent(counts.share()) }
    };
    let of =
        |counts: Counts| format!("{} of {}", show::count(counts.events), show::count(counts.of));
    let pill = match finding.status {
        Status::NoData => Pill::new("no data", "warn"),
        Status::Undecided => Pill::new("undecided", "busy"),
        Status::Pass => Pill::new("pass", "good"),
        Status::Fail => Pill::new("fail", "bad"),
        Status::Breached => Pill::new("breached", "warn"),
    };
    let bound = |bound: Option<f64>, otherwise: &str| {
        bound.map_or_else(|| otherwise.to_owned(), show::ratio)
    };
    Row {
        check: finding.threshold.map_or_else(
            || finding.check.clone(),
            |seconds| {
                format!(
                    "{}, slower than {}",
                    finding.check,
                    show::duration(std::time::Duration::from_secs_f64(seconds.clamp(0.0, 1e6)))
                )
            },
        ),
        pill,
        canary: share(finding.canary),
        canary_of: of(finding.canary),
        baseline: share(finding.baseline),
        baseline_of: of(finding.baseline),
        ratio: finding.ratio.map(|ratio| format!("× {}", show::ratio(ratio.estimate))),
        interval: finding
            .ratio
            .map(|ratio| format!("{} to {}", bound(ratio.lower, "0"), bound(ratio.upper, "∞"))),
        evidence: show::evidence(finding.log_evidence),
        odds: show::odds(finding.log_evidence),
        evidence_x: (finding.log_evidence / threshold.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
            * 100.0,
        needed: show::evidence(threshold),
        sentence: finding.sentence.clone(),
        quantiles: finding.quantiles.iter().map(quantile).collect(),
        notes: finding.notes.clone(),
    }
}

/// `p99 210 ms (200 ms to 260 ms) against 180 ms (170 ms to 190 ms)`.
fn quantile(of: &Quantile) -> String {
    let seconds = |value: f64| match value {
        0.0..0.01 => format!("{:.1} ms", value * 1e3),
        _ => show::duration(std::time::Duration::from_secs_f64(value.clamp(0.0, 1e6))),
    };
    let range = |interval: &Interval| match (interval.lower, interval.upper) {
        (Some(lower), Some(upper)) => format!("{} to {}", seconds(lower), seconds(upper)),
        (None, Some(upper)) => format!("at most {}", seconds(upper)),
        (Some(lower), None) => format!("at least {}", seconds(lower)),
        (None, None) => "not bounded".to_owned(),
    };
    let arm = |interval: &Interval| format!("{} ({})", seconds(interval.estimate), range(interval));
    // 0.999 is p99.9.
    let name = (of.quantile * 1e4).round() / 1e2;
    format!("p{name} {} against {}", arm(&of.canary), arm(&of.baseline))
}

fn git(outcome: &GitOutcome) -> Git {
    let mut git = Git {
        tone: if outcome.undone() { "good" } else { "warn" },
        sentence: outcome.sentence(),
        revision: None,
        subject: None,
        branch: None,
        conflicts: Vec::new(),
        patch: None,
    };
    match outcome {
        GitOutcome::Pushed { revision, subject } => {
            (git.revision, git.subject) = (Some(revision.to_string()), Some(subject.clone()));
        }
        GitOutcome::Branch { name, revision } => {
            (git.branch, git.revision) = (Some(name.clone()), Some(revision.to_string()));
        }
        GitOutcome::AlreadyDone { revision } => {
            git.revision = revision.as_ref().map(ToString::to_string);
        }
        GitOutcome::Conflict { files } => git.conflicts.clone_from(files),
        GitOutcome::NotWritten { patch, .. } => git.patch.clone_from(patch),
    }
    git
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(lower: Option<f64>, estimate: f64, upper: Option<f64>) -> Interval {
        Interval { lower, estimate, upper }
    }

    #[test]
    fn quantiles_are_shown_with_what_bounds_them() {
        let canary = interval(Some(0.2), 0.21, Some(0.26));
        let baseline = interval(None, 0.0042, None);
        let p99 = Quantile { quantile: 0.99, canary, baseline };
        assert_eq!(quantile(&p99), "p99 210 ms (200 ms to 260 ms) against 4.2 ms (not bounded)");
        let canary = interval(None, 1.5, Some(2.0));
        let baseline = interval(Some(1.0), 1.0, None);
        let p999 = Quantile { quantile: 0.999, canary, baseline };
        assert_eq!(quantile(&p999), "p99.9 1.5 s (at most 2 s) against 1 s (at least 1 s)");
    }

    #[test]
    fn notes_and_quantiles_of_a_finding_reach_the_page_escaped() {
        let canary = interval(Some(0.2), 0.21, Some(0.26));
        let finding = Finding {
            check: "latency".to_owned(),
            status: Status::Fail,
            log_evidence: 5.0,
            allowed: 0.0,
            canary: Counts { events: 40, of: 400 },
            baseline: Counts { events: 90, of: 9_000 },
            threshold: Some(0.25),
            ratio: None,
            needs: None,
            quantiles: vec![Quantile { quantile: 0.99, canary, baseline: canary }],
            notes: vec!["only because of <b>pod-1</b>".to_owned()],
            sentence: "10 % took longer".to_owned(),
        };
        let mut engine = tera::Tera::default();
        let page = include_str!("../templates/deployment.html");
        let (_, table) = page.split_once("<tbody>").unwrap();
        let (table, _) = table.split_once("</tbody>").unwrap();
        engine.add_raw_template("row.html", table).unwrap();
        let mut context = tera::Context::new();
        context.insert("findings", &[row(&finding, 4.6)]);
        let html = engine.render("row.html", &context).unwrap();
        assert!(
            html.contains("<span class=\"muted\">p99 210 ms (200 ms to 260 ms) against "),
            "{html}"
        );
        assert!(
            html.contains("only because of &lt;b&gt;pod-1&lt;&#x2F;b&gt;")
                || html.contains("only because of &lt;b&gt;pod-1&lt;/b&gt;"),
            "{html}"
        );
    }
}
