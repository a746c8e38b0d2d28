//! All services: what needs a person, what moves, and what each serves.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use rollout::Finished;
use serde::Serialize;

use super::Shell;
use super::parts::{Ending, Live, Pill, Trouble, troubles};
use crate::board::Glance;
use crate::clock::now;
use crate::web::App;
use crate::web::problem::Problem;

#[derive(Serialize)]
struct View {
    troubles: Vec<Trouble>,
    holds: Vec<Hold>,
    moving: Vec<Live>,
    services: Vec<Row>,
}

#[derive(Serialize)]
struct Hold {
    service: String,
    why: String,
}

#[derive(Serialize)]
struct Row {
    service: String,
    stable: Option<Stable>,
    now: Pill,
    live: Option<String>,
    last: Option<Ending>,
}

#[derive(Serialize)]
struct Stable {
    revision: String,
    subject: String,
}

/// `GET /`.
pub(in crate::web) async fn overview(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let services = app.board.services();
    let endings = app.endings.of(&services).await?;
    let at = now();
    let hold = |glance: &Arc<Glance>| {
        let why = glance.hold.clone()?;
        Some(Hold { service: glance.service.clone(), why })
    };
    let moving = |glance: &Arc<Glance>| {
        glance.live.as_ref().map(|live| Live::new(&glance.service, live, at))
    };
    let view = View {
        troubles: troubles(&app.board, at),
        holds: services.iter().filter_map(hold).collect(),
        moving: services.iter().filter_map(moving).collect(),
        services: services
            .iter()
            .zip(&endings)
            .map(|(glance, last)| row(glance, last.as_deref(), at))
            .collect(),
    };
    let shell = Shell {
        title: "Services".to_owned(),
        signed_in: app.access.has_token(),
        live: true,
        service: None,
    };
    app.pages.page("overview.html", shell, &view, &headers)
}

fn row(glance: &Glance, last: Option<&Finished>, at: Timestamp) -> Row {
    let now = if glance.hold.is_some() {
        Pill::new("waits for you", "warn")
    } else if let Some(live) = &glance.live {
        Pill::of_live(live)
    } else if glance.stable.is_none() {
        Pill::new("nothing serves", "calm")
    } else {
        Pill::new("steady", "calm")
    };
    Row {
        service: glance.service.clone(),
        stable: glance.stable.as_ref().map(|stable| Stable {
            revision: stable.revision.short().to_owned(),
            subject: stable.subject.clone(),
        }),
        now,
        live: glance.live.as_ref().map(|live| live.id.clone()),
        last: last.map(|finished| Ending::new(finished, at)),
    }
}
