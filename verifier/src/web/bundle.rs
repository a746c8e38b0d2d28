//! A deployment's evidence as one file, for `serin replay` and for anyone who doubts a verdict.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use rollout::DeploymentId;
use tokio::sync::Semaphore;

use super::App;
use super::problem::Problem;
use crate::bundle;

/// Bundles that are written at once: each holds a whole recording in memory.
static WRITING: Semaphore = Semaphore::const_new(1);

/// `GET /api/v1/deployments/{id}/bundle`.
pub(super) async fn of_deployment(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let _turn = WRITING.acquire().await.map_err(|_| Problem::stopping())?;
    let recording = app.reader.recording(&DeploymentId::from_text(&id)).await?;
    let recording = recording.ok_or_else(|| Problem::no_deployment(&id))?;
    let written = tokio::task::spawn_blocking(move || bundle::write(&recording)).await;
    let written = written.unwrap_or_else(|error| {
        let error = crate::chain(&error);
        tracing::error!(error, "a replay ended in a defect; please report it");
        None
    });
    let text = written.ok_or_else(|| {
        let hint = "see the deployment's page for what is left of it";
        let error = "the deployment's recording cannot be replayed";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error, hint)
    })?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
}
