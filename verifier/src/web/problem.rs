//! What went wrong with a request, for programs and for people.
//!
//! A handler returns a [`Problem`]; it is answered as JSON, and a layer turns it into a page where a
//! person asked. So no handler needs to know who asks, and no error escapes without a hint.

use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::driver::Stopped;
use crate::journal::JournalError;

/// An answer that is not what was asked for.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Problem {
    #[serde(skip)]
    pub(super) status: StatusCode,
    /// What is wrong, one sentence without full stop.
    pub(super) error: String,
    /// What to do about it.
    pub(super) hint: String,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        error: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { status, error: error.into(), hint: hint.into() }
    }

    pub(super) fn bad_request(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, hint)
    }

    pub(super) fn no_service(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is no service {}", shortened(name)),
            "see the list of services; a service appears once a policy of it was read and a version of it seen",
        )
    }

    pub(super) fn no_deployment(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is no deployment {}", shortened(id)),
            "an id looks like checkout-4f2c1a9-3; see the page of its service for those that there are",
        )
    }

    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Serin is stopping", "try again once it runs")
    }

    pub(super) fn slow() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "there was no answer in time",
            "see /readyz for what holds Serin up; an order that was taken in shows in the timeline",
        )
    }

    /// For an answer of the framework's own that has no text of ours.
    pub(super) fn of_status(status: StatusCode, path: &str) -> Self {
        let path = shortened(path);
        match status {
            StatusCode::NOT_FOUND => Self::new(
                status,
                format!("there is nothing at {path}"),
                "start at the list of services, /, or see /api/v1/openapi.json",
            ),
            StatusCode::METHOD_NOT_ALLOWED => Self::new(
                status,
                format!("{path} does not take this method"),
                "see /api/v1/openapi.json for what it takes",
            ),
            other => {
                let reason = other.canonical_reason().unwrap_or("the request was refused");
                Self::new(
                    other,
                    reason.to_lowercase(),
                    "see /api/v1/openapi.json for what can be asked",
                )
            }
        }
    }
}

/// What someone wrote, no longer than people want to read it again.
fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    let shown: String = text.chars().take(MOST).filter(|c| !c.is_control()).collect();
    if text.chars().count() > MOST { format!("{shown}…") } else { shown }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(&self)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Stopped> for Problem {
    fn from(_: Stopped) -> Self {
        Self::stopping()
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        let text = crate::chain(&error);
        tracing::error!(error = text, "a page or the API could not read the journal");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the journal could not be read", text)
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(
            rejection.body_text().to_lowercase(),
            "see /api/v1/openapi.json for the parameters and their form",
        )
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is too large",
                "orders take 64 KiB and webhooks 1 MiB at most; send less",
            )
        } else {
            Self::bad_request("the body could not be read", "send it again")
        }
    }
}
