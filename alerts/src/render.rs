//! Alerts to texts: a Slack message, a signed webhook's body, and plain text.
//!
//! Rendering cannot fail. An alert that is lost because of a template would be lost just when it is
//! needed, so a user's own template is tried on every kind of alert when it is loaded, and should
//! it break on a later one all the same, the built-in template takes its place and the problem is
//! reported beside the message. Each format has its own engine because the escape function belongs
//! to the engine; the `safe` filter does nothing here, so no text from outside escapes escaping.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tera::{Context, ErrorKind, EscapeFn, Kwargs, State, Tera, Value};

use crate::{
    alert::Alert,
    bounds,
    limits::{LIMITS, bounded},
    samples, text,
    view::View,
};

/// Largest body of a signed webhook in bytes: Standard Webhooks advises to stay below 20 kB.
pub const MOST_WEBHOOK_BYTES: usize = 20_000;
/// Largest template that is loaded, in bytes: ten times what the longest built-in one takes.
const MOST_TEMPLATE_BYTES: usize = 32 * 1024;
/// Where a template's output is broken off, in bytes: far above what any receiver takes.
const MOST_OUTPUT_BYTES: usize = 256 * 1024;

/// An alert as the texts that notifiers send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The deduplication key: see [`Alert::key`].
    pub key: String,
    /// When it happened.
    pub at: Timestamp,
    /// A Slack message: JSON with `text` and `blocks`, within Slack's limits.
    pub slack: String,
    /// A `CloudEvents` event in structured JSON, at most [`MOST_WEBHOOK_BYTES`] long.
    pub webhook: String,
    /// Lines of text for a terminal, a log or a mail.
    pub plain: String,
}

/// A message, and what was wrong with the user's templates while it was rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "problems are to be logged"]
pub struct Rendered {
    /// What to send; always complete.
    pub message: Message,
    /// Why built-in templates took the place of the user's; normally empty.
    pub problems: Vec<TemplateProblem>,
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template `{template}`{}: {what}", .line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct TemplateProblem {
    /// The template's name: `slack`, `webhook` or `plain`.
    pub template: String,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub what: String,
}

/// The templates of all formats, the user's own where there are any.
#[derive(Clone)]
pub struct Templates {
    slack: Format,
    webhook: Format,
    plain: Format,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let own: Vec<_> = [&self.slack, &self.webhook, &self.plain]
            .into_iter()
            .filter(|format| format.own)
            .map(|format| format.name)
            .collect();
        f.debug_struct("Templates").field("own", &own).finish_non_exhaustive()
    }
}

impl Templates {
    /// The names under which templates can be overridden.
    pub const NAMES: [&'static str; 3] = ["slack", "webhook", "plain"];

    /// The templates that Serin comes with.
    pub fn builtin() -> Self {
        Self {
            slack: Format::new(
                "slack",
                include_str!("templates/slack.json.tera"),
                text::escape_slack,
            ),
            webhook: Format::new(
                "webhook",
                include_str!("templates/webhook.json.tera"),
                text::escape_json,
            ),
            plain: Format::new("plain", include_str!("templates/plain.txt.tera"), unescaped),
        }
    }

    /// The built-in templates with some replaced: `overrides` maps a name to a template's text.
    ///
    /// Each is rendered once for every kind of alert, full, empty and hostile.
    ///
    /// # Errors
    /// All problems of all overrides; tell them to whoever wrote the configuration.
    pub fn with(overrides: &BTreeMap<String, String>) -> Result<Self, Vec<TemplateProblem>> {
        let mut templates = Self::builtin();
        let mut problems = Vec::new();
        for (name, text) in overrides {
            let format = match name.as_str() {
                "slack" => &mut templates.slack,
                "webhook" => &mut templates.webhook,
                "plain" => &mut templates.plain,
                _ => {
                    problems.push(TemplateProblem {
                        template: text::clean(name, 60),
                        line: None,
                        what: "there is no such template; the names are slack, webhook and plain"
                            .to_owned(),
                    });
                    continue;
                }
            };
            if let Err(problem) = format.replace(text) {
                problems.push(problem);
            }
        }
        if problems.is_empty() {
            for alert in samples::all() {
                problems.extend(templates.render(&alert).problems);
            }
            problems.sort_by(|a, b| {
                (&a.template, a.line, &a.what).cmp(&(&b.template, b.line, &b.what))
            });
            problems.dedup();
        }
        if problems.is_empty() { Ok(templates) } else { Err(problems) }
    }

    /// Renders an alert in all formats. Same alert, same bytes.
    pub fn render(&self, alert: &Alert) -> Rendered {
        let mut problems = Vec::new();
        let key = alert.key();
        let (kept, _) = bounded(alert, &LIMITS[0]);
        let view = View::of(&kept, key.clone());
        let context = context(&view);
        let message = Message {
            slack: self.slack(&context, &view, &mut problems),
            webhook: self.webhook(alert, &key, &mut problems),
            plain: self
                .plain
                .render(&context, &mut problems, Ok)
                .unwrap_or_else(|| format!("{}\n{}\n", view.headline(), kept.reason)),
            key,
            at: alert.at,
        };
        Rendered { message, problems }
    }

    fn slack(&self, context: &Context, view: &View, problems: &mut Vec<TemplateProblem>) -> String {
        let finish = |rendered: String| {
            let mut message: Json = parse(&rendered)?;
            bounds::slack(&mut message).map_err(|what| (None, what.to_owned()))?;
            Ok(message.to_string())
        };
        self.slack.render(context, problems, finish).unwrap_or_else(|| {
            let mut escaped = Vec::new();
            // Writing to memory does not fail; an empty text would still be better than none.
            let _infallible = text::escape_slack(view.headline(), &mut escaped);
            format!("{{\"text\":\"{}\"}}", String::from_utf8_lossy(&escaped))
        })
    }

    /// Tries ever smaller limits until the event fits.
    fn webhook(&self, alert: &Alert, key: &str, problems: &mut Vec<TemplateProblem>) -> String {
        let mut last = Vec::new();
        for (shortened, limits) in LIMITS.iter().enumerate() {
            let (kept, cut) = bounded(alert, limits);
            let view = View::of(&kept, key.to_owned());
            let mut context = context(&view);
            let alert_json = json!({
                "key": key,
                "headline": view.headline(),
                "severity": kept.severity(),
                "truncated": cut || shortened > 0,
                "alert": kept,
            });
            context.insert_value("alert_json", Value::safe_string(&alert_json.to_string()));
            last.clear();
            let body = self.webhook.render(&context, &mut last, |rendered| {
                let event: Json = parse(&rendered)?;
                if event.is_object() {
                    Ok(event.to_string())
                } else {
                    Err((None, "must be a JSON object".to_owned()))
                }
            });
            if let Some(body) = body.filter(|body| body.len() <= MOST_WEBHOOK_BYTES) {
                problems.append(&mut last);
                return body;
            }
        }
        problems.append(&mut last);
        problems.push(TemplateProblem {
            template: "webhook".to_owned(),
            line: None,
            what: format!("makes more than {MOST_WEBHOOK_BYTES} bytes even of a shortened alert"),
        });
        json!({"specversion": "1.0", "id": key, "source": "/serin", "time": alert.at,
            "type": format!("dev.serin.{}", alert.kind.name())})
        .to_string()
    }
}

/// Where in the template, and what is wrong.
type Fault = (Option<usize>, String);

/// One format's engine with the built-in template and perhaps the user's.
#[derive(Clone)]
struct Format {
    name: &'static str,
    engine: Tera,
    own: bool,
}

impl Format {
    const BUILTIN: &'static str = "builtin";
    const OWN: &'static str = "own";

    fn new(name: &'static str, template: &str, escape: EscapeFn) -> Self {
        let mut engine = Tera::default();
        engine.set_escape_fn(escape);
        engine.autoescape_on([""]);
        engine.register_filter("safe", |value: Value, _: Kwargs, _: &State| match value.as_str() {
            Some(text) if !value.is_safe() => Value::normal_string(text),
            Some(_) | None => value,
        });
        engine
            .add_raw_template(Self::BUILTIN, template)
            .expect("the built-in templates are parsed by a test");
        Self { name, engine, own: false }
    }

    fn replace(&mut self, template: &str) -> Result<(), TemplateProblem> {
        let problem = |line, what| TemplateProblem { template: self.name.to_owned(), line, what };
        if template.len() > MOST_TEMPLATE_BYTES {
            let what =
                format!("is {} bytes long, at most {MOST_TEMPLATE_BYTES} are read", template.len());
            return Err(problem(None, what));
        }
        if let Err(error) = self.engine.add_raw_template(Self::OWN, template) {
            let (line, what) = fault(&error);
            return Err(problem(line, what));
        }
        // A component may call itself without end, which no limit here would stop.
        if self.engine.get_component_names().next().is_some() {
            return Err(problem(None, "defines a component; write it out instead".to_owned()));
        }
        self.own = true;
        Ok(())
    }

    /// Renders the user's template, or else the built-in one; nothing if both fail.
    fn render(
        &self,
        context: &Context,
        problems: &mut Vec<TemplateProblem>,
        finish: impl Fn(String) -> Result<String, Fault>,
    ) -> Option<String> {
        let names = if self.own { &[Self::OWN, Self::BUILTIN][..] } else { &[Self::BUILTIN] };
        for name in names {
            let mut out = Bounded(Vec::new());
            let rendered = self
                .engine
                .render_to(name, context, &mut out)
                .map_err(|error| fault(&error))
                .and_then(|()| {
                    String::from_utf8(out.0).map_err(|_| (None, "is no UTF-8".to_owned()))
                })
                .and_then(&finish);
            match rendered {
                Ok(text) => return Some(text),
                Err((line, what)) => {
                    problems.push(TemplateProblem { template: self.name.to_owned(), line, what });
                }
            }
        }
        None
    }
}

fn context(view: &View) -> Context {
    Context::from_serialize(view).expect("a view is a struct of strings and lists")
}

fn parse(rendered: &str) -> Result<Json, Fault> {
    serde_json::from_str(rendered).map_err(|error| {
        (None, format!("does not make valid JSON: {error}; its output has a mistake there"))
    })
}

/// What the engine says, in one line, and where.
fn fault(error: &tera::Error) -> Fault {
    let kind = error.kind();
    if let ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) = kind {
        return (Some(report.span().start_line), text::clean(report.message(), 300));
    }
    if let ErrorKind::Io(_) = kind {
        return (None, format!("makes more than {MOST_OUTPUT_BYTES} bytes"));
    }
    (None, text::clean(&kind.to_string(), 300))
}

fn unescaped(text: &str, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(text.as_bytes())
}

/// Memory that takes only so much, so that a template with a runaway loop ends.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_OUTPUT_BYTES {
            return Err(io::Error::other("the output is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
