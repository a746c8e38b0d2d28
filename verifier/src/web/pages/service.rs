//! One service: what it serves, what it waits for, its deployments and its policy.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Shell;
use super::parts::{Button, Ending, Live, When, buttons};
use crate::board::Glance;
use crate::clock::now;
use crate::journal::Entry;
use crate::web::App;
use crate::web::problem::Problem;

/// Deployments on one page.
const ROWS: u32 = 25;

#[derive(Deserialize)]
pub(in crate::web) struct Range {
    before: Option<Timestamp>,
}

#[derive(Serialize)]
struct View {
    service: String,
    repository: Option<String>,
    stable: Option<Stable>,
    live: Option<Live>,
    waiting: Option<String>,
    hold: Option<String>,
    buttons: Vec<Button>,
    post: String,
    reason: Option<String>,
    reason_at: Option<When>,
    deployments: Vec<Row>,
    older: Option<String>,
    paged: bool,
    policy: Option<String>,
}

#[derive(Serialize)]
struct Stable {
    revision: String,
    full: String,
    subject: String,
}

#[derive(Serialize)]
struct Row {
    id: String,
    began: When,
    ending: Option<Ending>,
}

/// `GET /services/{name}`.
pub(in crate::web) async fn service(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    range: Result<Query<Range>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(range) = range?;
    let glance = app.board.service(&name).ok_or_else(|| Problem::no_service(&name))?;
    let entries = app.reader.deployments(Some(&name), range.before, ROWS + 1).await?;
    let view = view(&glance, &entries, range.before.is_some(), now());
    let shell = Shell {
        title: name.clone(),
        signed_in: app.access.has_token(),
        live: true,
        service: Some(name),
    };
    app.pages.page("service.html", shell, &view, &headers)
}

fn view(glance: &Glance, entries: &[Entry], paged: bool, at: Timestamp) -> View {
    let shown = entries.len().min(ROWS as usize);
    let older = (shown < entries.len()).then(|| entries[shown - 1].began.to_string());
    let row = |entry: &Entry| Row {
        id: entry.id.to_string(),
        began: When::new(entry.began, at),
        ending: entry.finished.as_ref().map(|finished| Ending::new(finished, at)),
    };
    View {
        service: glance.service.clone(),
        repository: glance.repository.clone(),
        stable: glance.stable.as_ref().map(|stable| Stable {
            revision: stable.revision.short().to_owned(),
            full: stable.revision.to_string(),
            subject: stable.subject.clone(),
        }),
        live: glance.live.as_ref().map(|live| Live::new(&glance.service, live, at)),
        waiting: glance.waiting.clone(),
        hold: glance.hold.clone(),
        buttons: choices(glance),
        post: format!("/services/{}", glance.service),
        reason: glance.reason.as_ref().map(|(_, reason)| reason.clone()),
        reason_at: glance.reason.as_ref().map(|(reason_at, _)| When::new(*reason_at, at)),
        deployments: entries[..shown].iter().map(row).collect(),
        older,
        paged,
        policy: glance.policy.as_deref().map(crate::config::show_policy),
    }
}

/// What a person can decide here: about the hold if there is one, else about what is under way.
fn choices(glance: &Glance) -> Vec<Button> {
    if glance.hold.is_none() {
        return glance
            .live
            .as_ref()
            .map(|live| buttons(live, super::deployment::holding(glance)))
            .unwrap_or_default();
    }
    let mut choices = Vec::new();
    if glance.approvable {
        choices.push(Button {
            action: "approve",
            label: "Approve the revert",
            tone: "plain",
            confirm: Some(
                "The revert is written to the branch, as Serin had prepared it.".to_owned(),
            ),
        });
    }
    if glance.live.is_none() {
        choices.push(Button {
            action: "resume",
            label: "Release",
            tone: "plain",
            confirm: Some("The tip of the branch is looked at again and deployed if it is new, also when it still holds what failed.".to_owned()),
        });
    }
    choices
}
