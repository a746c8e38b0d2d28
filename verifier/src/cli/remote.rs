//! Commands that ask a running Serin: status, orders, wait.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use rollout::Order;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Exit, Server, complain, findings, print};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Deployments among which a revision is searched for; each costs one question, once.
const NEWEST: u32 = 20;

/// Between two looks while waiting.
const LOOK: Duration = Duration::from_millis(500);

/// Why Serin gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(
        "failed to reach Serin at {server}; is `serin run` there? Name another one with --server"
    )]
    Unreachable {
        server: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{text}")]
    Refused { status: StatusCode, text: String },
    #[error("failed to read the answer of {server}; is it Serin, and of this version?")]
    Unreadable {
        server: String,
        #[source]
        source: reqwest::Error,
    },
}

impl AskError {
    fn exit(&self) -> Exit {
        match self {
            Self::Refused { status, .. } if status.is_client_error() => Exit::WrongInput,
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Unreadable { .. } => {
                Exit::Failed
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
    hint: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    name: String,
    stable: Option<Stable>,
    live: Option<Live>,
    waiting: Option<String>,
    hold: Option<String>,
    reason: Option<Moment>,
}

#[derive(Debug, Deserialize)]
struct Stable {
    revision: String,
    subject: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Live {
    id: String,
    revision: String,
    subject: String,
    author: String,
    phase: String,
    step: Option<usize>,
    steps: usize,
    weight: f64,
    log_evidence: f64,
    log_threshold: f64,
    paused_by: Option<String>,
    verdict: Option<String>,
    unobserved: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Moment {
    at: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    id: String,
    revision: Option<String>,
    outcome: Option<String>,
    reason: Option<String>,
}

pub(super) async fn ask(
    server: &Server,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, AskError> {
    let answer = send(server, method, path, body, PATIENCE).await?;
    answer.json().await.map_err(|source| unreadable(server, source))
}

/// The answer as it is, for texts that are no JSON; within `patience` as a whole.
pub(super) async fn text(
    server: &Server,
    path: &str,
    patience: Duration,
) -> Result<String, AskError> {
    let answer = send(server, Method::GET, path, None, patience).await?;
    answer.text().await.map_err(|source| unreadable(server, source))
}

fn unreadable(server: &Server, source: reqwest::Error) -> AskError {
    AskError::Unreadable { server: server.shown(), source: source.without_url() }
}

async fn send(
    server: &Server,
    method: Method,
    path: &str,
    body: Option<Value>,
    patience: Duration,
) -> Result<reqwest::Response, AskError> {
    let address = server.shown();
    let unreachable = |source: reqwest::Error| AskError::Unreachable {
        server: address.clone(),
        source: source.without_url(),
    };
    let client = reqwest::Client::builder().timeout(patience).build().map_err(unreachable)?;
    let mut request = client.request(method, format!("{address}{path}"));
    if let Some(token) = &server.token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = match answer.json::<Refusal>().await {
        Ok(Refusal { error, hint: Some(hint) }) => format!("{error}\nhint: {hint}"),
        Ok(Refusal { error, hint: None }) => error,
        Err(_) => format!("{address} answered {status}"),
    };
    Err(AskError::Refused { status, text })
}

fn read<T: for<'de> Deserialize<'de>>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

pub(super) fn failed(error: &AskError) -> Exit {
    complain(&crate::chain(error));
    error.exit()
}

fn strange() -> Exit {
    complain(
        "the answer has another shape than this version expects; use the same version on both sides",
    );
    Exit::Failed
}

/// What every service runs, or one.
pub(super) async fn status(server: &Server, service: Option<&str>) -> Exit {
    let path = service.map_or_else(
        || "/api/v1/services".to_owned(),
        |name| format!("/api/v1/services/{}", encoded(name)),
    );
    let answer = match ask(server, Method::GET, &path, None).await {
        Ok(answer) => answer,
        Err(error) => return failed(&error),
    };
    if server.json {
        print(&answer.to_string());
        return Exit::Done;
    }
    let services: Option<Vec<Service>> = match answer {
        Value::Array(_) => read(answer),
        Value::Object(ref map) if map.contains_key("services") => read(answer["services"].clone()),
        one @ (Value::Object(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)) => read(one).map(|one| vec![one]),
    };
    let Some(services) = services else { return strange() };
    if services.is_empty() {
        print("no service yet: Serin deploys what a policy in a watched repository declares");
    }
    for service in &services {
        print(&shown(service));
    }
    Exit::Done
}

fn shown(service: &Service) -> String {
    let stable = service.stable.as_ref().map_or_else(
        || "nothing serves yet".to_owned(),
        |s| format!("{} {}", &s.revision[..7.min(s.revision.len())], s.subject),
    );
    let mut text = format!("{}: {stable}\n", service.name);
    if let Some(live) = &service.live {
        let step =
            live.step.map_or_else(String::new, |step| format!(" step {step}/{}", live.steps));
        text += &format!(
            "  {} \"{}\" by {}: {}{step} at {:.4} %\n",
            live.id,
            live.subject,
            live.author,
            live.phase,
            live.weight * 100.0
        )
        .replace(".0000 %", " %");
        text += &format!(
            "  evidence against {}: {:.1} of {:.1} needed\n",
            live.revision,
            findings::tenths(live.log_evidence),
            live.log_threshold
        );
        let lines = [
            live.verdict.clone(),
            live.paused_by.as_ref().map(|by| format!("paused by {by}")),
            live.unobserved.clone(),
        ];
        for line in lines.into_iter().flatten() {
            text += &format!("  {line}\n");
        }
    } else if let Some(Moment { at, reason }) = &service.reason {
        text += &format!("  {at}: {reason}\n");
    }
    if let Some(waiting) = &service.waiting {
        text += &format!("  waiting: {waiting}\n");
    }
    if let Some(hold) = &service.hold {
        text += &format!("  waits for a person: {hold}\n");
    }
    text
}

/// Gives an order.
pub(super) async fn order(server: &Server, service: &str, order: Order) -> Exit {
    let action = match order {
        Order::Pause => "pause",
        Order::Resume => "resume",
        Order::Promote => "promote",
        Order::Abort => "abort",
        Order::Approve => "approve",
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "who gives an order at a terminal is the terminal's user"
    )]
    let by = std::env::var("USER").ok();
    let body = serde_json::json!({ "action": action, "by": by });
    let path = format!("/api/v1/services/{}/actions", encoded(service));
    match ask(server, Method::POST, &path, Some(body)).await {
        Ok(answer) if server.json => {
            print(&answer.to_string());
            Exit::Done
        }
        Ok(answer) => {
            print(&format!("{service}: {}", answer["reason"].as_str().unwrap_or("done")));
            Exit::Done
        }
        Err(error) => failed(&error),
    }
}

/// Waits for a deployment to end.
pub(super) async fn wait(
    server: &Server,
    service: &str,
    revision: Option<&str>,
    patience: Duration,
) -> Exit {
    let began = Instant::now();
    let mut search = Search::default();
    let mut said = String::new();
    loop {
        match look(server, service, revision, &mut search).await {
            Ok(Some(Look::Ended(summary))) => return ended(server, &summary),
            Ok(Some(Look::Running(text))) if text != said && !server.json => {
                complain(&text);
                said = text;
            }
            // A restart of Serin in between is no reason to give up; a wrong token or name is.
            Err(error @ AskError::Refused { .. }) if error.exit() == Exit::WrongInput => {
                return failed(&error);
            }
            Err(error) if patience <= began.elapsed() => return failed(&error),
            Ok(_) | Err(_) => {}
        }
        if patience <= began.elapsed() {
            complain(&format!(
                "no end after {}",
                jiff::SignedDuration::try_from(patience).unwrap_or(jiff::SignedDuration::MAX)
            ));
            return Exit::TimedOut;
        }
        sleep(LOOK).await;
    }
}

enum Look {
    Running(String),
    Ended(Summary),
}

/// What a wait has learnt so far.
#[derive(Default)]
struct Search {
    /// The deployment that is waited for, once it is known.
    found: Option<String>,
    /// Deployments that do not hold the revision.
    others: HashSet<String>,
}

impl Search {
    /// Whether this deployment is the one: of the revision itself, or of a tip that brought it.
    async fn is_it(
        &mut self,
        server: &Server,
        id: &str,
        tip: &str,
        revision: &str,
    ) -> Result<bool, AskError> {
        if self.found.as_ref().is_some_and(|found| found == id) {
            return Ok(true);
        }
        if self.others.contains(id) {
            return Ok(false);
        }
        let mut is_it = revision.starts_with(tip) || tip.starts_with(revision);
        if !is_it {
            let story =
                ask(server, Method::GET, &format!("/api/v1/deployments/{}", encoded(id)), None)
                    .await?;
            let commits = story["commits"].as_array().cloned().unwrap_or_default();
            is_it = commits
                .iter()
                .any(|c| c["revision"].as_str().is_some_and(|r| r.starts_with(revision)));
        }
        if is_it {
            self.found = Some(id.to_owned());
        } else {
            self.others.insert(id.to_owned());
        }
        Ok(is_it)
    }
}

async fn look(
    server: &Server,
    service: &str,
    revision: Option<&str>,
    search: &mut Search,
) -> Result<Option<Look>, AskError> {
    let one =
        ask(server, Method::GET, &format!("/api/v1/services/{}", encoded(service)), None).await?;
    if let Some(live) = read::<Live>(one["live"].clone()) {
        let is_it = match revision {
            Some(revision) => search.is_it(server, &live.id, &live.revision, revision).await?,
            None => true,
        };
        if is_it {
            let text = format!("{} {} at {} %", live.id, live.phase, live.weight * 100.0);
            search.found = Some(live.id);
            return Ok(Some(Look::Running(text)));
        }
    }
    let path = format!("/api/v1/deployments?service={}&limit={NEWEST}", encoded(service));
    let list = ask(server, Method::GET, &path, None).await?;
    for summary in read::<Vec<Summary>>(list["deployments"].clone()).unwrap_or_default() {
        let (Some(_), Some(tip)) = (&summary.outcome, &summary.revision) else { continue };
        let is_it = match revision {
            Some(revision) => search.is_it(server, &summary.id, tip, revision).await?,
            None => search.found.as_ref() == Some(&summary.id),
        };
        if is_it {
            return Ok(Some(Look::Ended(summary)));
        }
    }
    Ok(None)
}

fn ended(server: &Server, summary: &Summary) -> Exit {
    let outcome = summary.outcome.as_deref().unwrap_or_default();
    if server.json {
        print(
            &serde_json::json!({ "id": summary.id, "outcome": outcome, "reason": summary.reason })
                .to_string(),
        );
    } else {
        print(&format!(
            "{}: {outcome}: {}",
            summary.id,
            summary.reason.as_deref().unwrap_or_default()
        ));
    }
    match outcome {
        "promoted" | "adopted" => Exit::Done,
        "inconclusive" | "notStarted" => Exit::Inconclusive,
        _ => Exit::Failed,
    }
}

/// A name as a part of a path.
pub(super) fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests;
