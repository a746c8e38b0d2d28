//! What the API tells.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::App;
use super::problem::Problem;
use super::shapes::{Service, Story, Summary};

/// Deployments in one answer unless fewer are asked for.
const USUAL: u32 = 50;

/// Most deployments in one answer; a record has some kilobytes.
const MOST: u32 = 500;

/// The description of this API.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

#[derive(Serialize)]
pub(super) struct Services {
    services: Vec<Service>,
    troubles: Vec<Trouble>,
}

#[derive(Serialize)]
struct Trouble {
    part: String,
    since: Timestamp,
    what: String,
}

/// `GET /api/v1/services`.
pub(super) async fn services(State(app): State<Arc<App>>) -> Json<Services> {
    let services = app.board.services().iter().map(|glance| Service::new(glance)).collect();
    let trouble = |(part, since, what)| Trouble { part, since, what };
    Json(Services { services, troubles: app.board.troubles().into_iter().map(trouble).collect() })
}

/// `GET /api/v1/services/{name}`.
pub(super) async fn service(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Service>, Problem> {
    let glance = app.board.service(&name).ok_or_else(|| Problem::no_service(&name))?;
    Ok(Json(Service::new(&glance).with_policy(&glance)))
}

#[derive(Deserialize)]
pub(super) struct Range {
    service: Option<String>,
    before: Option<Timestamp>,
    limit: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct Deployments {
    deployments: Vec<Summary>,
}

/// `GET /api/v1/deployments`.
pub(super) async fn deployments(
    State(app): State<Arc<App>>,
    range: Result<Query<Range>, QueryRejection>,
) -> Result<Json<Deployments>, Problem> {
    let Query(range) = range?;
    let limit = range.limit.unwrap_or(USUAL);
    if limit == 0 || MOST < limit {
        let hint = format!("ask for 1 to {MOST} at once, and for older ones with before=");
        return Err(Problem::bad_request(format!("limit is {limit}"), hint));
    }
    let entries = app.reader.deployments(range.service.as_deref(), range.before, limit).await?;
    Ok(Json(Deployments { deployments: entries.iter().map(Summary::new).collect() }))
}

/// `GET /api/v1/deployments/{id}`.
pub(super) async fn deployment(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let told = app.stories.tell(&id).await?;
    let glance = app.board.service(&told.entry.service);
    let live = glance.as_ref().and_then(|glance| glance.live.as_ref()).filter(|live| live.id == id);
    Ok(Json(Story::new(&told, live)).into_response())
}

/// `GET /api/v1/openapi.json`.
pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}
