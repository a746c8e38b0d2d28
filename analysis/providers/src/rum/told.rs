//! What people are told about real users' reports: how complete they are, and how pages say their version.

use analysis::Arm;

use super::arms;
use super::vital::Vital;
use super::watch::Check;
use crate::Completeness;
use crate::error::bounded;
use crate::families::Chosen;
use crate::ledger::named;
use crate::reads::Reads;
use crate::subject::{MeasureKind, Subject};

const SECOND: i64 = 1_000_000_000;

/// What a message is made of.
pub(super) struct Told<'a> {
    pub(super) subject: &'a Subject,
    /// Apps that belong to the service.
    pub(super) apps: &'a [&'a str],
    /// What pages of no arm call their version.
    pub(super) strangers: &'a [(&'a str, u64)],
}

impl Told<'_> {
    /// How complete the counts are.
    pub(super) fn completeness(
        &self,
        checks: &[Check],
        declared: &[Arm],
        now: i64,
        stale_after: i64,
    ) -> Completeness {
        let (mut fresh, mut missing, mut stale) = (false, Vec::new(), Vec::new());
        let mut without = Vec::new();
        for check in checks {
            let name = &check.measure.check;
            if !check.is_told_by_browsers() {
                missing.push(format!("{name}: browsers do not tell it; name a metric for it"));
                continue;
            }
            for arm in declared {
                let of = format!("{name} of the {}", named(*arm));
                match check.side(*arm).counted {
                    None => {
                        missing.push(format!("{of}: no page view was counted yet"));
                        if !without.contains(arm) {
                            without.push(*arm);
                        }
                    }
                    Some(at) if now.saturating_sub(at) > stale_after => {
                        let seconds = now.saturating_sub(at) / SECOND;
                        stale.push(format!("{of}: no page view for {seconds} s"));
                    }
                    Some(_) => fresh = true,
                }
            }
        }
        if missing.is_empty() && stale.is_empty() {
            return if fresh {
                Completeness::Full
            } else {
                Completeness::None(format!("{}: nothing is measured", self.subject.service))
            };
        }
        let only_stale = missing.is_empty();
        let mut all = missing;
        all.append(&mut stale);
        if !without.is_empty() {
            all.push(self.how(&without));
        }
        let text = bounded(format!("{}: {}", self.subject.service, all.join("; ")));
        match (fresh, only_stale) {
            (true, _) => Completeness::Partial(text),
            (false, true) => Completeness::Stale(text),
            (false, false) => Completeness::None(text),
        }
    }

    /// How pages tell which version they are.
    fn how(&self, without: &[Arm]) -> String {
        let version = |arm: &Arm| {
            let instance = self.subject.instances.iter().find(|instance| instance.arm == *arm);
            let version = instance.map_or("", arms::version);
            format!("{version} in pages of the {}", named(*arm))
        };
        let versions: Vec<String> = without.iter().map(version).collect();
        let said = match self.strangers {
            [] => String::new(),
            some => {
                let said: Vec<String> =
                    some.iter().map(|(said, count)| format!("{said} {count} times")).collect();
                format!(" (others said {})", said.join(", "))
            }
        };
        let apps = if self.apps.is_empty() {
            "no app of `rum.apps` belongs to this service".to_owned()
        } else {
            format!("pages report as app {}", self.apps.join(" or "))
        };
        format!(
            "{apps}; set `data-version` of the script, or `app.gitHash` of Faro, to {}{said}",
            versions.join(", ")
        )
    }
}

/// What a check reads, for people.
pub(super) fn chosen(kind: MeasureKind, apps: &[&str]) -> Result<Chosen, String> {
    let (metric, reading) = match kind {
        MeasureKind::Vital(vital) => (vital.name().to_owned(), reading(vital)),
        MeasureKind::ScriptErrors => (
            "script errors".to_owned(),
            "sessions on a page with a script error, of all sessions".to_owned(),
        ),
        MeasureKind::Errors
        | MeasureKind::NewErrors
        | MeasureKind::Latency
        | MeasureKind::Restarts
        | MeasureKind::Gauge => {
            return Err("browsers do not tell it; name a metric for it".to_owned());
        }
    };
    let why = format!("reported by browsers of {}", apps.join(", "));
    Ok(Chosen { reads: Reads::Value(metric.clone()), metric, reading, why })
}

fn reading(vital: Vital) -> String {
    format!("page views whose {} is above {}, of all with one", vital.name(), vital.threshold())
}
