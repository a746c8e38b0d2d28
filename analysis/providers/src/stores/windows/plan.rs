//! What a check asks of a store: its queries for each arm, with everything filled in that differs.

use std::time::Duration;

use analysis::Arm;

use crate::stores::Store;
use crate::subject::{BROWSERS_TELL, Instance, Measure, MeasureKind, SPANS_TELL, Source, Subject};

/// Most thresholds of one latency: each costs a query for each arm.
const MOST_THRESHOLDS: usize = 32;

/// What the answers of a check become.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// The total, then the bad ones.
    Events {
        /// The total is a time, which need not be whole.
        seconds: bool,
    },
    /// The total, then those slower than each bound, in seconds.
    Histogram(Vec<f64>),
    /// The value.
    Gauge,
}

/// The queries of one check.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    /// Every arm that has an instance, each different set of queries once.
    pub(crate) arms: Vec<(Arm, Vec<Asked>)>,
}

/// The queries of one instance of a subject, or of several that have the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// The instance's name, for a store that names none.
    pub(crate) instance: String,
    /// The total or the value first.
    pub(crate) queries: Vec<String>,
}

/// What is read, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) metric: String,
    pub(crate) reading: String,
    pub(crate) why: String,
}

/// The templates of a check: the total or the value first.
struct Templates {
    shape: Shape,
    texts: Vec<String>,
}

/// Plans a check.
///
/// # Errors
/// What is wrong with its queries and what to write.
pub(crate) fn plan(
    store: &dyn Store,
    subject: &Subject,
    measure: &Measure,
) -> Result<(Plan, Described), String> {
    let source = if measure.source == Source::Auto {
        store.usual(measure.kind)?
    } else {
        measure.source.clone()
    };
    let given = Measure { source, ..measure.clone() };
    let Templates { shape, texts } = templates(&given)?;
    store.check(&given)?;
    let step = store.pace().step;
    let mut arms = Vec::new();
    for arm in [Arm::Baseline, Arm::Canary] {
        let mut asked: Vec<Asked> = Vec::new();
        for instance in subject.instances.iter().filter(|instance| instance.arm == arm) {
            let fill = |text: &String| fill(store, text, subject, instance, step);
            let queries = texts.iter().map(fill).collect::<Result<Vec<_>, _>>()?;
            if asked.iter().all(|other| other.queries != queries) {
                asked.push(Asked { instance: instance.name.clone(), queries });
            }
        }
        if !asked.is_empty() {
            arms.push((arm, asked));
        }
    }
    if let [(_, baseline), (_, canary)] = arms.as_slice()
        && let Some(same) =
            baseline.iter().find(|b| canary.iter().any(|c| c.queries[0] == b.queries[0]))
    {
        return Err(format!(
            "`{}` reads the same for both arms: write `${{version}}` or another label of the arms where the \
             query selects a version",
            same.queries[0]
        ));
    }
    let metric = texts[0].clone();
    let reading = match &shape {
        Shape::Events { .. } => format!("`{}` out of `{metric}`", texts[1]),
        Shape::Histogram(_) => format!("`{}` and others out of `{metric}`", texts[1]),
        Shape::Gauge => format!("`{metric}`"),
    };
    let why = if measure.source == Source::Auto {
        "the usual place of this store"
    } else {
        "written in the policy"
    };
    Ok((Plan { shape, arms }, Described { metric, reading, why: why.to_owned() }))
}

fn templates(measure: &Measure) -> Result<Templates, String> {
    let (shape, texts) = match (&measure.source, measure.kind) {
        (Source::Query { bad, total }, MeasureKind::Errors | MeasureKind::Restarts) => {
            let shape = Shape::Events { seconds: measure.kind == MeasureKind::Restarts };
            (shape, vec![total.clone(), bad.clone()])
        }
        (Source::Slower { total, slower }, MeasureKind::Latency) => {
            let bounds = slower.iter().map(|(bound, _)| *bound).collect::<Vec<_>>();
            check_bounds(&bounds)?;
            let queries = slower.iter().map(|(_, query)| query.clone());
            let shape = Shape::Histogram(bounds.iter().map(Duration::as_secs_f64).collect());
            (shape, std::iter::once(total.clone()).chain(queries).collect())
        }
        (Source::Value(query), MeasureKind::Gauge) => (Shape::Gauge, vec![query.clone()]),
        (Source::Named(named), _) => {
            return Err(format!(
                "this store has no counters to be read by a name like `{}`; {}",
                named.metric,
                wanted(measure.kind)
            ));
        }
        (_, kind) => return Err(wanted(kind).to_owned()),
    };
    if let Some(empty) = texts.iter().position(|text| text.trim().is_empty()) {
        return Err(format!("query {} is empty; {}", empty + 1, wanted(measure.kind)));
    }
    Ok(Templates { shape, texts })
}

/// What to write for a kind of measure.
fn wanted(kind: MeasureKind) -> &'static str {
    match kind {
        MeasureKind::Errors => {
            "write `bad` and `total`, two queries that count requests in each interval"
        }
        MeasureKind::Latency => {
            "write `total` and for each threshold of `slower` a query that counts the requests slower than it"
        }
        MeasureKind::Restarts => {
            "write `bad`, a query that counts restarts, and `total`, one that counts seconds of running"
        }
        MeasureKind::NewErrors => SPANS_TELL,
        MeasureKind::Vital(_) | MeasureKind::ScriptErrors => BROWSERS_TELL,
        MeasureKind::Gauge => "write `value`, one query whose value is the gauge",
    }
}

fn check_bounds(bounds: &[Duration]) -> Result<(), String> {
    if bounds.is_empty() || bounds.len() > MOST_THRESHOLDS {
        return Err(format!("write 1 to {MOST_THRESHOLDS} thresholds of `slower`"));
    }
    let rising = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising || bounds[0].is_zero() {
        return Err("the thresholds of `slower` must rise and be above zero".to_owned());
    }
    Ok(())
}

/// Replaces `${version}` and its kin; `${from}` and `${to}` are left to the store.
fn fill(
    store: &dyn Store,
    template: &str,
    subject: &Subject,
    instance: &Instance,
    step: Duration,
) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        filled.push_str(before);
        let end = from.find('}').ok_or_else(|| {
            format!("`{from}` begins a placeholder that does not end; write `${{version}}`")
        })?;
        let name = &from[2..end];
        match name {
            "from" | "to" => filled.push_str(&from[..=end]),
            "step" => filled.push_str(&step.as_secs().to_string()),
            "service" => filled.push_str(&store.quote(&subject.service)?),
            "version" => filled.push_str(&store.quote(version(instance))?),
            name => {
                let value = instance.labels.get(name).ok_or_else(|| unknown(name, instance))?;
                filled.push_str(&store.quote(value)?);
            }
        }
        rest = &from[end + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The label `version`, else the only label, else the name.
fn version(instance: &Instance) -> &str {
    let mut values = instance.labels.values();
    match (instance.labels.get("version"), values.next(), values.next()) {
        (Some(version), _, _) | (None, Some(version), None) => version,
        (None, _, _) => &instance.name,
    }
}

fn unknown(name: &str, instance: &Instance) -> String {
    let known = ["version", "service", "step"].into_iter();
    let labels = instance.labels.keys().map(String::as_str).filter(|label| *label != "version");
    let known: Vec<String> = known.chain(labels).map(|name| format!("`${{{name}}}`")).collect();
    format!("`${{{name}}}` is no placeholder; known are {}", known.join(", "))
}
