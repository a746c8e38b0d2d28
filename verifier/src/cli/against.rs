//! `serin validate --against URL`: would the checks find there what they read?
//!
//! A Prometheus is asked for its last ten minutes as a rollout would have measured them; a metrics page is read
//! twice. What was counted shows whether both versions are there, fresh, with buckets that can tell.

mod look;
mod show;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use analysis::{Arm, Observation, Scrape};
use analysis_providers::{
    Completeness, Instance, Measured, MetricProvider, Scraper, ScraperSettings, Subject,
};
use jiff::{SignedDuration, Timestamp};
use rollout::Policy;
use rollout::policy::{Metrics, VersionText};

use self::look::{Looked, look};
use super::store::{Labels, Store};
use super::{Exit, complain, print};
use crate::chain;
use crate::clock::now;
use crate::measure::measures;

/// How far a Prometheus is looked back.
const BACK: SignedDuration = SignedDuration::from_mins(10);

/// Shortest and longest time between two moments of that, in seconds: 120 queries at most, and a version that began
/// half a minute ago shows.
const STEP: (u64, u64) = (5, 30);

/// Between the two reads of a page.
const BETWEEN: Duration = Duration::from_secs(2);

/// Versions that are looked at; a rollout has two.
const MOST_VERSIONS: usize = 16;

/// What one policy's checks were fed.
struct Fed {
    /// Counts by version; a page has one version without a name.
    seen: BTreeMap<String, Vec<Scrape>>,
    /// What is wrong with the source, each once.
    told: BTreeSet<String>,
    /// The metric of each check, or why there is none.
    chosen: BTreeMap<String, Result<String, String>>,
    /// Where it was looked, for people.
    place: String,
}

/// Looks, says what is there, and exits 1 if a check would find nothing, 2 if there is nothing to look at.
pub(super) async fn run(url: &str, policies: &[Policy], json: bool) -> Exit {
    let mut looked = Vec::new();
    for policy in policies {
        match fed(url, policy).await {
            Ok(fed) => looked.push(look(policy, fed)),
            Err(problem) => {
                complain(&problem);
                return Exit::WrongInput;
            }
        }
    }
    if json {
        let text = serde_json::to_string_pretty(&looked);
        print(&text.unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}")));
    } else {
        for looked in &looked {
            print(&show::told(looked));
        }
    }
    if looked.iter().all(Looked::is_good) { Exit::Done } else { Exit::Failed }
}

async fn fed(url: &str, policy: &Policy) -> Result<Fed, String> {
    let labels = Labels::of(policy);
    let store = Store::at(url, labels.interval)?;
    if store.is_there().await {
        prometheus(url, policy, &labels, &store).await
    } else {
        page(url, policy).await
    }
}

async fn prometheus(
    url: &str,
    policy: &Policy,
    labels: &Labels,
    store: &Store,
) -> Result<Fed, String> {
    let original = policy;
    let policy = labels.put_into(policy.clone());
    let now = now();
    let from = now.checked_sub(BACK).unwrap_or(now);
    let mut versions = store.versions(labels, from, now).await?;
    let count = versions.len();
    versions.truncate(MOST_VERSIONS);
    let mut fed = Fed {
        seen: BTreeMap::new(),
        told: BTreeSet::new(),
        chosen: BTreeMap::new(),
        place: format!(
            "{url}: {count} values of the label `{}` in the last 10 minutes",
            labels.version
        ),
    };
    if count == 0 {
        let known = labels.all.iter().map(|(name, value)| format!("{name}={value}"));
        let known = known.collect::<Vec<_>>().join(", ");
        fed.told.insert(format!(
            "no series{} has the label `{}`; write the label that tells versions apart with metrics: {{ prometheus: {{ versionLabel: ... }} }}, and see that the service exports it",
            if known.is_empty() { String::new() } else { format!(" with {known}") },
            labels.version
        ));
        return Ok(fed);
    }
    fed.told.extend(unlike_revisions(original, &versions));
    if MOST_VERSIONS < count {
        fed.told.insert(format!("only the first {MOST_VERSIONS} of them were looked at"));
    }
    let measures = measures(&policy);
    let subject = |version: &String| labels.subject(&policy.name, version, &measures);
    let subjects: Vec<Subject> = versions.iter().map(subject).collect();
    let step = Duration::from_secs(labels.interval.as_secs().clamp(STEP.0, STEP.1));
    let mut at = from;
    loop {
        let last = now <= at;
        let measured = store.prometheus.measure(&subjects, at.min(now)).await;
        fed.take(measured, last)?;
        if last {
            break;
        }
        at = at.checked_add(step).unwrap_or(Timestamp::MAX);
    }
    fed.choose(&store.prometheus, &versions);
    Ok(fed)
}

/// What a rollout would not find: it asks for a version by its revision, as the policy says the label writes it.
fn unlike_revisions(policy: &Policy, versions: &[String]) -> Option<String> {
    let Metrics::Prometheus { version_label, version, .. } = &policy.metrics else { return None };
    let (digits, other) = match version {
        VersionText::Full => (40, "version: short, if it has seven digits"),
        VersionText::Short => (7, "version: full, if it has all forty digits"),
    };
    let fits = |text: &String| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    (!versions.iter().any(fits)).then(|| {
        let shown = versions.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
        format!(
            "the label `{version_label}` says {shown}, and a rollout asks for revisions of {digits} digits; set the label from the commit, or write {other}"
        )
    })
}

async fn page(url: &str, policy: &Policy) -> Result<Fed, String> {
    let scraper = Scraper::new(ScraperSettings::default()).map_err(|error| chain(&error))?;
    let id = String::new();
    let subject = Subject {
        id: id.clone(),
        service: policy.name.clone(),
        instances: vec![Instance {
            name: "page".to_owned(),
            arm: Arm::Baseline,
            url: Some(url.to_owned()),
            labels: BTreeMap::new(),
        }],
        measures: measures(policy),
    };
    let mut fed = Fed {
        seen: BTreeMap::new(),
        told: BTreeSet::new(),
        chosen: BTreeMap::new(),
        place: format!("{url}: the metrics page of one instance, read twice"),
    };
    let failed = |problem: String| format!("failed to read {url}: {problem}");
    let subjects = [subject];
    fed.take(scraper.measure(&subjects, now()).await, false).map_err(failed)?;
    tokio::time::sleep(BETWEEN).await;
    fed.take(scraper.measure(&subjects, now()).await, true).map_err(failed)?;
    fed.choose(&scraper, &[id]);
    Ok(fed)
}

impl Fed {
    /// Takes in one moment; what the last one lacks is told.
    fn take(&mut self, measured: Vec<Measured>, last: bool) -> Result<(), String> {
        for one in measured {
            let (scrape, completeness) = one.result.map_err(|error| chain(&error))?;
            if last {
                match completeness {
                    // A version of the past has none now; whether any has is told with the checks.
                    Completeness::Full | Completeness::None(_) => {}
                    Completeness::Partial(why) | Completeness::Stale(why) => {
                        let of = if one.subject.is_empty() {
                            String::new()
                        } else {
                            format!("version {}: ", one.subject)
                        };
                        self.told.insert(format!("{of}{why}"));
                    }
                }
            }
            if !scrape.observations.is_empty() {
                self.seen.entry(one.subject).or_default().push(scrape);
            }
        }
        Ok(())
    }

    fn choose(&mut self, provider: &dyn MetricProvider, subjects: &[String]) {
        for subject in subjects {
            for choice in provider.chosen(subject) {
                let chosen = choice.chosen.map(|chosen| chosen.to_string());
                let known = self.chosen.get(&choice.check);
                if known.is_none_or(Result::is_err) {
                    self.chosen.insert(choice.check, chosen);
                }
            }
        }
    }

    /// Every observation that a check reads, with its version and time.
    fn of<'a>(
        &'a self,
        reads: &'a str,
    ) -> impl Iterator<Item = (&'a str, Timestamp, &'a Observation)> {
        self.seen.iter().flat_map(move |(version, scrapes)| {
            scrapes.iter().flat_map(move |scrape| {
                let of_check = scrape.observations.iter().filter(move |one| one.check == reads);
                of_check.map(move |one| (version.as_str(), scrape.at, one))
            })
        })
    }
}
