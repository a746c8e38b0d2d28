//! What people ask for: pause, resume, promote, abort, approve.
//!
//! An order is for a service, since that is what acts; one that was given on a deployment's page is
//! taken only while that very deployment is under way, so that no button of an old page promotes a
//! newer commit.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FormRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::{Form, Json};
use rollout::Order;
use serde::{Deserialize, Serialize};

use super::App;
use super::problem::Problem;

/// Longest wait for the driver, which answers within milliseconds unless the journal refuses.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest name of a person, in characters; it ends up in reasons and alerts.
const LONGEST_NAME: usize = 80;

/// An order as it is sent.
#[derive(Debug, Deserialize)]
pub(super) struct Ask {
    action: String,
    by: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    reason: String,
}

/// `POST /api/v1/services/{name}/actions`.
pub(super) async fn to_service(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Answer>, Problem> {
    let (order, by) = read(&body?, "the API")?;
    Ok(Json(Answer { reason: give(&app, &name, order, &by).await? }))
}

/// `POST /api/v1/deployments/{id}/actions`.
pub(super) async fn to_deployment(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Answer>, Problem> {
    let (order, by) = read(&body?, "the API")?;
    let service = live_service(&app, &id).await?;
    Ok(Json(Answer { reason: give(&app, &service, order, &by).await? }))
}

/// A button of a service's page, without JavaScript.
pub(super) async fn from_service_page(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    form: Result<Form<Ask>, FormRejection>,
) -> Result<Redirect, Problem> {
    give(&app, &name, pressed(form)?, "the page").await?;
    Ok(Redirect::to(&format!("/services/{name}")))
}

/// A button of a deployment's page, without JavaScript.
pub(super) async fn from_deployment_page(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    form: Result<Form<Ask>, FormRejection>,
) -> Result<Redirect, Problem> {
    let order = pressed(form)?;
    let service = live_service(&app, &id).await?;
    give(&app, &service, order, "the page").await?;
    Ok(Redirect::to(&format!("/deployments/{id}")))
}

fn read(body: &[u8], otherwise: &str) -> Result<(Order, String), Problem> {
    let ask: Ask = serde_json::from_slice(body).map_err(|error| {
        Problem::bad_request(
            format!("the body is no order: {error}"),
            r#"send JSON such as {"action": "pause", "by": "Ada"}"#,
        )
    })?;
    let by: String = ask
        .by
        .iter()
        .flat_map(|by| by.chars())
        .filter(|c| !c.is_control())
        .take(LONGEST_NAME)
        .collect();
    let by = if by.trim().is_empty() { otherwise.to_owned() } else { by.trim().to_owned() };
    Ok((order(&ask.action)?, by))
}

fn pressed(form: Result<Form<Ask>, FormRejection>) -> Result<Order, Problem> {
    let Form(ask) = form.map_err(|_| {
        Problem::bad_request("this is not a form of Serin's page", "use the buttons of the page")
    })?;
    order(&ask.action)
}

fn order(action: &str) -> Result<Order, Problem> {
    Ok(match action {
        "pause" => Order::Pause,
        "resume" => Order::Resume,
        "promote" => Order::Promote,
        "abort" => Order::Abort,
        "approve" => Order::Approve,
        other => {
            let other: String = other.chars().take(LONGEST_NAME).collect();
            return Err(Problem::bad_request(
                format!("{other:?} is no action"),
                "the actions are pause, resume, promote, abort and approve",
            ));
        }
    })
}

/// The service whose deployment under way is `id`.
async fn live_service(app: &App, id: &str) -> Result<String, Problem> {
    let live =
        |glance: &Arc<crate::board::Glance>| glance.live.as_ref().is_some_and(|live| live.id == id);
    if let Some(glance) = app.board.services().into_iter().find(live) {
        return Ok(glance.service.clone());
    }
    let told = app.stories.tell(id).await?;
    let service = &told.entry.service;
    let error = format!("deployment {id} is over");
    Err(Problem::new(
        StatusCode::CONFLICT,
        error,
        format!("see /services/{service} for what is under way there"),
    ))
}

async fn give(app: &App, service: &str, order: Order, by: &str) -> Result<String, Problem> {
    if app.board.service(service).is_none() {
        return Err(Problem::no_service(service));
    }
    let given = tokio::time::timeout(PATIENCE, app.inbox.order(service, by, order)).await;
    let reason = given.map_err(|_| Problem::slow())??;
    tracing::info!(service, by, order = order.words(), reason, "an order was given over HTTP");
    Ok(reason)
}
