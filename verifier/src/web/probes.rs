//! For machines that watch: probes, Serin's own metrics, and targets for a Prometheus server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use dashboards::exposition::Format;
use serde::Serialize;

use super::App;
use super::problem::Problem;
use crate::board::Glance;

/// Longest wait for the driver's sign of life; it takes in messages within milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// `GET /healthz`: this process answers.
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: the driver answers and the journal can be written.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    let not =
        |error: String, hint: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error, hint);
    if let Some((_, since, what)) =
        app.board.troubles().into_iter().find(|(part, _, _)| part == "journal")
    {
        return Err(not(
            format!("the journal cannot be written since {since}: {what}"),
            "free disk space or mend its permissions; Serin goes on by itself",
        ));
    }
    match tokio::time::timeout(PATIENCE, app.inbox.state("")).await {
        Ok(Ok(_)) => Ok("ready\n"),
        Ok(Err(stopped)) => Err(stopped.into()),
        Err(_) => Err(not(
            "the driver does not answer".to_owned(),
            "see Serin's log for what holds it up",
        )),
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let own = app.board.metrics.render(&app.board);
    let text = format!("{own}{}", app.proxy.metrics());
    ([(header::CONTENT_TYPE, Format::Prometheus.content_type())], text)
}

/// One group of targets in the form of Prometheus's `http_sd_config`
/// (<https://prometheus.io/docs/prometheus/latest/http_sd/>).
#[derive(Debug, Serialize)]
pub(super) struct Group {
    targets: Vec<String>,
    labels: BTreeMap<&'static str, String>,
}

/// `GET /api/v1/prometheus-targets`.
pub(super) async fn targets(State(app): State<Arc<App>>) -> Json<Vec<Group>> {
    let running = app.performer.processes.watch().borrow().clone();
    let groups = running.iter().flat_map(|((service, revision), instances)| {
        let arm = app.board.service(service).and_then(|glance| arm(&glance, revision));
        instances.iter().map(move |instance| {
            let mut labels = BTreeMap::from([
                ("service", service.clone()),
                ("version", revision.clone()),
                ("instance", instance.instance.clone()),
            ]);
            labels.extend(arm.map(|arm| ("arm", arm.to_owned())));
            Group { targets: vec![instance.address.to_string()], labels }
        })
    });
    Json(groups.collect())
}

/// Which side of the comparison a running revision is on, if on any.
fn arm(glance: &Glance, revision: &str) -> Option<&'static str> {
    if glance.stable.as_ref().is_some_and(|stable| stable.revision.as_str() == revision) {
        Some("baseline")
    } else if glance.live.as_ref().is_some_and(|live| revision.starts_with(&live.revision)) {
        Some("canary")
    } else {
        None
    }
}
