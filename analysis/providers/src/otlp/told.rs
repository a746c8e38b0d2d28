//! What people are told about pushed metrics: how complete they are, and how to label them.

use analysis::Arm;

use super::arms;
use super::check::Check;
use crate::Completeness;
use crate::error::bounded;
use crate::ledger::named;
use crate::subject::Subject;

/// Names that a message lists.
const MOST_NAMES: usize = 5;

/// What is to be told about a deployment's metrics, by how bad it is.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Something was pushed lately.
    fresh: bool,
    pub(super) partial: Vec<String>,
    missing: Vec<String>,
    stale: Vec<String>,
    pub(super) undecided: Vec<String>,
}

impl Notes {
    /// Notes how the arms of a check stand, and says whether all have something new.
    pub(super) fn check(
        &mut self,
        check: &Check,
        declared: &[Arm],
        now: u64,
        stale_after: u64,
    ) -> bool {
        let (name, mut ready) = (&check.measure.check, true);
        let metric = check.chosen.as_ref().and_then(|c| Some(&c.as_ref().ok()?.metric));
        for arm in declared {
            let side = check.side(*arm);
            ready &= side.is_fresh;
            let of = format!("{name} of the {}", named(*arm));
            match side.arrived {
                None => {
                    let metric = metric.map_or("", String::as_str);
                    self.missing.push(format!("{of}: no points of `{metric}` yet"));
                }
                Some(arrived) if now.saturating_sub(arrived) > stale_after => {
                    let seconds = now.saturating_sub(arrived) / 1_000_000_000;
                    self.stale.push(format!("{of}: nothing was pushed for {seconds} s"));
                    ready = false;
                }
                Some(_) => self.fresh = true,
            }
        }
        ready
    }

    /// The whole, in one word and one text.
    pub(super) fn completeness(mut self, service: &str) -> Completeness {
        let only_stale = self.missing.is_empty() && !self.stale.is_empty();
        let mut all = self.partial;
        all.append(&mut self.missing);
        all.append(&mut self.stale);
        if self.fresh && all.is_empty() {
            return Completeness::Full;
        }
        if all.is_empty() {
            all = self.undecided;
        }
        if all.is_empty() {
            all.push("nothing is measured".to_owned());
        }
        let text = bounded(format!("{service}: {}", all.join("; ")));
        match (self.fresh, only_stale) {
            (true, _) => Completeness::Partial(text),
            (false, true) => Completeness::Stale(text),
            (false, false) => Completeness::None(text),
        }
    }
}

/// A check for which nothing was pushed that it could read.
pub(super) fn undecided(check: &str) -> String {
    format!(
        "{check}: no metric with a usual name was pushed yet; it may come with the first request, \
         else name the metric in the policy"
    )
}

/// Why nothing belongs to an arm, and what to set.
pub(super) fn unlabelled(
    subject: &Subject,
    service: &str,
    without: &[Arm],
    any: bool,
    strangers: &[(&String, usize)],
    seen: &[String],
) -> String {
    let name = &subject.service;
    let example = |arm: Arm| {
        let instance = subject.instances.iter().find(|instance| instance.arm == arm);
        instance.map_or_else(String::new, arms::labels)
    };
    let labels: Vec<String> = without
        .iter()
        .map(|arm| format!("OTEL_RESOURCE_ATTRIBUTES={} for the {}", example(*arm), named(*arm)))
        .collect();
    if !any {
        let others = list(seen.iter().filter(|other| *other != service).cloned());
        let others =
            if others.is_empty() { String::new() } else { format!(" (others do: {others})") };
        return bounded(format!(
            "{name}: no metrics of service.name={service} were pushed to /v1/metrics yet{others}; label your \
             telemetry so: OTEL_SERVICE_NAME={service}, {}",
            labels.join(", ")
        ));
    }
    let arms: Vec<&str> = without.iter().map(|arm| named(*arm)).collect();
    let found = if strangers.is_empty() {
        String::new()
    } else {
        format!(" (pushed: {})", list(strangers.iter().map(|(said, n)| format!("{said} from {n}"))))
    };
    bounded(format!(
        "{name}: no pushed metrics belong to the {}{found}; label your telemetry so: {}",
        arms.join(" or the "),
        labels.join(", ")
    ))
}

fn list(names: impl Iterator<Item = String>) -> String {
    names.take(MOST_NAMES).collect::<Vec<_>>().join(", ")
}
