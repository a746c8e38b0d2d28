//! The pages that people see. Each handler gathers a view, plain text and numbers only, and a
//! template lays it out; everything that others wrote is escaped there.
//!
//! A request with the header `X-Fragment: main` gets only what changes, for live updates.

mod cause;
mod deployment;
mod overview;
mod parts;
mod service;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use tera::{Context, Tera};

pub(super) use self::deployment::deployment;
pub(super) use self::overview::overview;
pub(super) use self::service::service;
use super::problem::Problem;
use super::{App, assets};

/// The header by which the page's script asks for the changing part only.
pub(super) const FRAGMENT: &str = "x-fragment";

/// What stands around every page.
#[derive(Debug, Default, Serialize)]
pub(super) struct Shell {
    pub(super) title: String,
    /// Shows the button to sign out.
    pub(super) signed_in: bool,
    /// Whether it changes by itself: then it listens, or without JavaScript is loaded anew.
    pub(super) live: bool,
    /// Whose changes matter; `None` listens to all.
    pub(super) service: Option<String>,
}

/// The templates.
pub(super) struct Pages(Tera);

impl Pages {
    pub(super) fn new() -> Self {
        let mut engine = Tera::default();
        engine
            .add_raw_templates([
                ("base.html", include_str!("../templates/base.html")),
                ("actions.html", include_str!("../templates/actions.html")),
                ("live.html", include_str!("../templates/live.html")),
                ("charts.html", include_str!("../templates/charts.html")),
                ("cause.html", include_str!("../templates/cause.html")),
                ("overview.html", include_str!("../templates/overview.html")),
                ("service.html", include_str!("../templates/service.html")),
                ("deployment.html", include_str!("../templates/deployment.html")),
                ("login.html", include_str!("../templates/login.html")),
                ("problem.html", include_str!("../templates/problem.html")),
            ])
            .expect("the built-in templates are parsed by the tests");
        Self(engine)
    }

    /// A whole page.
    pub(super) fn whole(
        &self,
        template: &str,
        shell: Shell,
        view: &impl Serialize,
    ) -> Result<Response, Problem> {
        self.rendered(template, shell, view, false)
    }

    /// A whole page, or its changing part where only that was asked for.
    fn page(
        &self,
        template: &str,
        shell: Shell,
        view: &impl Serialize,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        self.rendered(template, shell, view, headers.contains_key(FRAGMENT))
    }

    #[expect(clippy::needless_pass_by_value, reason = "a shell is made for one page")]
    fn rendered(
        &self,
        template: &str,
        shell: Shell,
        view: &impl Serialize,
        fragment: bool,
    ) -> Result<Response, Problem> {
        let text = Context::from_serialize(view).and_then(|mut context| {
            context.insert("shell", &shell);
            context.insert("hash", &*assets::HASH);
            context.insert("version", env!("CARGO_PKG_VERSION"));
            if fragment {
                self.0.render_block(template, "main", &context)
            } else {
                self.0.render(template, &context)
            }
        });
        let text = text.map_err(|error| {
            let error = crate::chain(&error);
            tracing::error!(template, error, "a page could not be laid out; please report it");
            let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
            Problem::new(
                status,
                "the page could not be laid out",
                "please report it; the API has the same content",
            )
        })?;
        let mut response = Html(text).into_response();
        response.headers_mut().insert(header::VARY, HeaderValue::from_static(FRAGMENT));
        Ok(response)
    }

    /// The page of an error.
    pub(super) fn problem(&self, app: &App, problem: Problem) -> Response {
        #[derive(Serialize)]
        struct View {
            status: u16,
            error: String,
            hint: String,
            services: Vec<String>,
        }
        // Names are for those who may see them.
        let known = problem.status == axum::http::StatusCode::NOT_FOUND && !app.access.has_token();
        let services = if known {
            app.board.services().iter().map(|g| g.service.clone()).take(50).collect()
        } else {
            vec![]
        };
        let mut error = problem.error.clone();
        if let Some(first) = error.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let view =
            View { status: problem.status.as_u16(), error, hint: problem.hint.clone(), services };
        let shell = Shell { title: "Not here".to_owned(), ..Shell::default() };
        match self.whole("problem.html", shell, &view) {
            Ok(mut response) => {
                *response.status_mut() = problem.status;
                response
            }
            Err(_) => problem.into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_parsed() {
        let _ = Pages::new();
    }
}
