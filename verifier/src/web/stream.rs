//! Changes as they happen, as server-sent events.
//!
//! A reader that falls too far behind is told to read everything afresh (`resync`) instead of being
//! fed from a growing queue. Streams end when Serin stops, so that a stop is not held up by readers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

use super::App;
use super::problem::Problem;
use crate::board::Update;

/// Streams at once: each costs a socket and a little memory, and more readers than this are no people.
pub(super) const MOST_STREAMS: usize = 512;

/// Between two comments on a quiet stream: below the idle limit of common proxies, which is a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After this the browser tries again when the connection is lost.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
pub(super) struct Of {
    service: Option<String>,
}

/// `GET /api/v1/stream`.
pub(super) async fn updates(
    State(app): State<Arc<App>>,
    query: Result<Query<Of>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(of) = query?;
    let permit = app.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{MOST_STREAMS} streams are open already"),
            "close some, or ask for /api/v1/services from time to time",
        )
    })?;
    let reader = Reader {
        updates: app.board.updates(),
        stopped: app.stopping.subscribe(),
        service: of.service,
        greeted: false,
        _permit: permit,
    };
    let events = Sse::new(events(reader)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Asks nginx in front not to hold events back.
    Ok(([(HeaderName::from_static("x-accel-buffering"), "no")], events).into_response())
}

struct Reader {
    updates: broadcast::Receiver<Arc<Update>>,
    stopped: watch::Receiver<bool>,
    service: Option<String>,
    greeted: bool,
    _permit: OwnedSemaphorePermit,
}

fn events(reader: Reader) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(reader, |mut reader| async move {
        if !reader.greeted {
            reader.greeted = true;
            return Some((
                Ok(Event::default().retry(RETRY).comment("changes from now on")),
                reader,
            ));
        }
        let event = reader.next().await?;
        Some((Ok(event), reader))
    })
}

impl Reader {
    /// The next event; `None` when Serin stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let update = tokio::select! {
                _ = self.stopped.wait_for(|stopped| *stopped) => return None,
                update = self.updates.recv() => update,
            };
            match update {
                Ok(update)
                    if self.service.as_ref().is_none_or(|service| *service == update.service) =>
                {
                    return Some(match Event::default().event("update").json_data(&*update) {
                        Ok(event) => event,
                        Err(error) => {
                            tracing::error!(
                                error = crate::chain(&error),
                                "a change could not be written as JSON; please report it"
                            );
                            resync()
                        }
                    });
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Some(resync()),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn resync() -> Event {
    Event::default().event("resync").data("{}")
}
