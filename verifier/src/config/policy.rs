//! The policy document: `.serin/*.yaml` to [`Policy`].
//!
//! One file per part below this one; each reads its part of the tree and checks it by itself, and
//! what concerns several parts is checked at the end.

mod checks;
mod freezes;
mod journeys;
mod metrics;
mod on_fail;
mod serving;
mod steps;
mod traces;

pub(super) use self::checks::{DIRECTIONS, MEASURES, Measure, NAN_STRATEGIES, UNITS};
pub(super) use self::freezes::DAYS;
pub(super) use self::metrics::Named as Provided;
pub(super) use self::serving::boolean;

use std::time::Duration;

use analysis::Settings;
use rollout::policy::{OnInconclusive, Policy};

use self::checks::Checks;
use super::node::Node;
use super::problem::quote;
use super::reader::{At, Fields, Wrong};
use super::source::{Source, Span};
use super::units::{self, Percent};
use super::{defaults, secret, values};

/// A policy, with the places that later checks speak of.
pub(super) struct Read {
    /// The policy; it counts only if no problem was noted.
    pub(super) policy: Policy,
    /// Where its name is.
    pub(super) name: Span,
    /// Where its proxy listens, if that is written.
    pub(super) listen: Option<Span>,
    /// Each name in `notify`.
    pub(super) notify: Vec<(Span, String)>,
    /// The provider that `metrics` names.
    pub(super) provider: Option<Provided>,
    /// The store of traces that `traces` names.
    pub(super) traces: Option<(Span, String)>,
    /// What checks look for among the usual metrics, and where that is written.
    pub(super) usual: Vec<(Option<Span>, Measure)>,
}

/// The only version of the document so far.
const API_VERSION: &str = "serin.dev/v1";

/// The only kind of document so far.
const KIND: &str = "CanaryPolicy";

/// Reads one document.
pub(super) fn read<'a>(source: &'a Source<'a>, node: &'a Node) -> Option<Read> {
    secret::hide(source, node);
    let at = At::root(source, node);
    at.map("a policy: the keys apiVersion, kind, metadata and spec", |fields| {
        if !is_policy(fields) {
            // A document of another kind has other keys; telling each of them would help nobody.
            fields.ignore();
            return None;
        }
        let metadata = fields.required("metadata", "metadata: { name: checkout }");
        let name = metadata.and_then(|metadata| {
            metadata.map("a map with the service's name, e.g. { name: checkout }", |fields| {
                let at = fields.required("name", "name: checkout, the service's name")?;
                Some((at.span(), at.parse("a name", values::name).unwrap_or_default()))
            })?
        });
        let (name, text) = name.unwrap_or_default();
        let example = "spec: with the keys paths and target below it";
        let spec = fields.required("spec", example)?;
        spec.map("a map with at least paths and target", |fields| read_spec(fields, name, text))
    })??
}

/// Whether it is a policy, or does not say.
fn is_policy(fields: &Fields<'_>) -> bool {
    let version = fields.get("apiVersion").map(|at| {
        at.parse(API_VERSION, |text| match text {
            API_VERSION => Ok(()),
            _ => Err(Wrong::new(
                format!("this version of Serin does not know the apiVersion {}", quote(text)),
                format!("write {API_VERSION}, or move the document out of this folder"),
            )),
        })
    });
    let kind = fields.get("kind").map(|at| {
        at.parse(KIND, |text| match text {
            KIND => Ok(()),
            _ => Err(Wrong::new(
                format!("the folder of policies holds policies only, not {}", quote(text)),
                format!("write {KIND}, or move the document out of this folder"),
            )),
        })
    });
    version != Some(None) && kind != Some(None)
}

fn read_spec(fields: &Fields<'_>, name: Span, text: String) -> Option<Read> {
    let paths =
        fields.required("paths", "paths: [deploy/checkout/**], what this service is deployed from");
    let paths = paths.and_then(|at| globs(&at, AtLeastOne::Yes));
    let target = fields.required("target", "target: { process: { command: [./service] } }");
    let target = target.and_then(|at| serving::target(&at));
    let (router, listen) = serving::router(fields.get("router").as_ref());
    let (metrics, provider) = metrics::read(fields.get("metrics").as_ref(), &text);
    let (traces, traces_provider) = traces::read(fields.get("traces").as_ref());
    let warm_up = fields.get("warmUp").and_then(|at| checks::warm_up(&at));
    let Checks { all: mut checks, sources, usual } =
        checks::read(fields.get("checks").as_ref(), &metrics, warm_up);
    let journeys = fields.or("journeys", vec![], |at| journeys::read(at, &checks));
    checks.extend(journeys.iter().map(journeys::check));
    let (steps_at, harm_at) = (fields.get("steps"), fields.get("harm"));
    let steps = steps::read(steps_at.as_ref());
    let harm = harm_at.as_ref().and_then(harm).unwrap_or(defaults::HARM);
    let budget = |name, default, what| fields.or(name, default, |at| probability(at, what));
    let analysis = Settings {
        harm: harm.share(),
        latency_harm: fields.or("latencyHarm", defaults::LATENCY_HARM, self::harm).share(),
        false_alarm: budget(
            "falseAlarm",
            defaults::FALSE_ALARM,
            "harmless deployments that may be undone",
        )
        .share(),
        false_promotion: budget(
            "falsePromotion",
            defaults::FALSE_PROMOTION,
            "harmful steps that may be taken",
        )
        .share(),
        checks,
    };
    let bake = fields.or("bake", defaults::BAKE, duration);
    let on_fail = fields.or("onFail", on_fail::default(), on_fail::read);
    let words = [
        ("hold", OnInconclusive::Hold),
        ("rollBack", OnInconclusive::RollBack),
        ("promote", OnInconclusive::Promote),
    ];
    let on_inconclusive = fields.or("onInconclusive", OnInconclusive::Hold, |at| at.word(&words));
    let freezes = fields.or("freezes", vec![], freezes::read);
    let notify = fields.or("notify", vec![], names);
    let policy = Policy {
        name: text,
        paths: paths?,
        target: target?,
        router,
        metrics,
        sources,
        journeys,
        traces,
        steps,
        bake,
        analysis,
        on_fail,
        on_inconclusive,
        freezes,
        notify: notify.iter().map(|(_, name)| name.clone()).collect(),
    };
    Some(Read { policy, name, listen, notify, provider, traces: traces_provider, usual })
}

/// A duration.
pub(super) fn duration(at: &At<'_>) -> Option<Duration> {
    at.parse("a duration, e.g. 30s", units::duration)
}

/// A duration within bounds.
pub(super) fn duration_within(at: &At<'_>, low: Duration, high: Duration) -> Option<Duration> {
    at.parse("a duration, e.g. 30s", |text| {
        let duration = units::duration(text)?;
        let (low_text, high_text) = (units::show_duration(low), units::show_duration(high));
        if duration < low || high < duration {
            let message = format!("{} is out of range", quote(text));
            return Err(Wrong::new(
                message,
                format!("write a duration from {low_text} to {high_text}"),
            ));
        }
        Ok(duration)
    })
}

/// A share of requests that may come to harm: above 0 % and below 100 %.
fn harm(at: &At<'_>) -> Option<Percent> {
    at.parse("a percentage, e.g. 0.1%", |text| {
        let zero =
            text.trim_end_matches('%').trim().parse::<f64>().is_ok_and(|number| number == 0.0);
        if zero {
            return Err(Wrong::new(
                "a rollout that may harm no request at all can send none to the canary",
                "write how much is acceptable, e.g. 0.1% for one request in a thousand",
            ));
        }
        let percent = Percent::parse(text)?;
        if percent >= Percent::whole(100) {
            let message = format!(
                "{} of all requests may come to harm, so nothing is protected",
                quote(text)
            );
            return Err(Wrong::new(message, "write a small share, e.g. 0.1%"));
        }
        Ok(percent)
    })
}

/// A probability in (0 %, 50 %].
fn probability(at: &At<'_>, what: &str) -> Option<Percent> {
    at.parse("a percentage, e.g. 1%", |text| {
        let percent = Percent::parse(text)?;
        if percent == Percent::whole(0) || percent > Percent::whole(50) {
            let message = format!("{} is out of range", quote(text));
            let hint = format!("it is the share of {what}: above 0% and at most 50%, e.g. 1%");
            return Err(Wrong::new(message, hint));
        }
        Ok(percent)
    })
}

/// Whether an empty list makes sense.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtLeastOne {
    Yes,
    No,
}

/// A list of globs.
fn globs(at: &At<'_>, least: AtLeastOne) -> Option<Vec<String>> {
    let items = at.list("a list of globs in brackets, e.g. [deploy/**]")?;
    if items.is_empty() && least == AtLeastOne::Yes {
        let hint = "write at least one glob, e.g. [deploy/checkout/**]";
        at.wrong(Wrong::new("no path means that no commit ever deploys this service", hint));
        return None;
    }
    // Every item is read, so that all problems are noted; one that is wrong makes the list void.
    let globs: Vec<_> =
        items.iter().map(|item| item.parse("a glob, e.g. deploy/**", values::glob)).collect();
    globs.into_iter().collect()
}

/// A list of names, each once.
fn names(at: &At<'_>) -> Option<Vec<(Span, String)>> {
    let mut names: Vec<(Span, String)> = vec![];
    for item in at.list("a list of names, e.g. [deploys]")? {
        let Some(name) = item.parse("a name", values::name) else {
            continue;
        };
        if names.iter().any(|(_, other)| *other == name) {
            item.wrong(Wrong::new(format!("`{name}` is named twice"), "keep one of them"));
        } else {
            names.push((item.span(), name));
        }
    }
    Some(names)
}
