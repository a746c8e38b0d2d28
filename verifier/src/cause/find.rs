//! Looks for what made a canary worse: traces of both versions, the deployed range, and the comparison of the two.
//!
//! Runs once, after the traffic is back and before Git is written, within a bound: an explanation is worth some
//! seconds, not more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use analysis_providers::intake::{Intake, NoTraces};
use analysis_providers::traces::{Fetched, TraceQuery, TraceStore};
use analysis_traces::{Arms, Diff, EntrySubtree, Finding, Settings, TraceId, compare, example};
use jiff::Timestamp;
use rollout::{CauseLink, Explained, Explanation, SuspectCommit};
use tokio::time::{Instant, sleep};

use super::{Cause, Link, headline, lines, table};
use crate::clock::now;

/// Longest wait for pushed traces. Exporters send what they hold every five seconds by default
/// (`OTEL_BSP_SCHEDULE_DELAY`), and a trace is whole two seconds after its last span at the earliest.
const LONGEST_WAIT: Duration = Duration::from_secs(12);

/// With enough traces at hand, no more of them for this long ends the wait.
const QUIET: Duration = Duration::from_secs(2);

/// Longest reading of a store, with the time that it takes to settle.
const LONGEST_READING: Duration = Duration::from_secs(90);

/// Between two readings of a store that had not settled.
const AGAIN: Duration = Duration::from_secs(5);

/// With fewer traces of the canary's own traffic than this, those of journeys are compared.
const LEAST: usize = 20;

/// Traces of journeys that each version needs.
const LEAST_WALKED: usize = 5;

/// Links that go into alerts and commits.
const MOST_LINKS: usize = 4;

/// The largest document that is kept with a deployment.
const LARGEST: usize = 1024 * 1024;

/// Where traces are.
pub struct Finder {
    /// What services push.
    pub spans: Arc<Intake>,
    /// Stores of `serin.yaml`, by name.
    pub stores: BTreeMap<String, Arc<dyn TraceStore>>,
}

/// Whose traces are looked for.
#[derive(Debug, Clone)]
pub struct Question {
    /// The deployment.
    pub deployment: String,
    /// The service's name in traces.
    pub service: String,
    /// How its versions are told apart.
    pub arms: Arms,
    /// The store that the policy names.
    pub provider: Option<String>,
    /// When the canary first got traffic, or the deployment began.
    pub from: Timestamp,
    /// When it was decided.
    pub to: Timestamp,
    /// Synthetic journeys were walked on both versions.
    pub walked: bool,
}

/// Traces of both versions.
struct Gathered {
    baseline: Vec<EntrySubtree>,
    canary: Vec<EntrySubtree>,
    settings: Settings,
    notes: Vec<String>,
}

impl Finder {
    /// Finds the root cause, with `diff` as what was deployed; or says why there is none.
    ///
    /// # Errors
    /// In one sentence: no traces, or traces that do not tell the versions apart, with what to do.
    pub async fn find(&self, ask: &Question, diff: Option<Diff>) -> Result<Cause, String> {
        let store = match &ask.provider {
            Some(name) => Some(
                self.stores
                    .get(name)
                    .ok_or(format!("serin.yaml has no store of traces named {name}"))?,
            ),
            None => None,
        };
        let gathered = match store {
            Some(store) => Self::read(&**store, ask).await?,
            None => match self.pushed(ask).await {
                Ok(pushed) if LEAST <= pushed.canary.len() => pushed,
                // Before it has traffic of its own, the canary is known by its journeys.
                pushed => match self.walked(ask) {
                    Some(walked) => walked,
                    None => pushed.map_err(|error| error.to_string())?,
                },
            },
        };
        let compared = tokio::task::spawn_blocking(move || compared(&gathered, diff.as_ref()));
        let mut cause = compared.await.map_err(|_| {
            "the comparison of traces ended in a defect; please report it".to_owned()
        })?;
        if let Some(store) = store {
            cause.links = links(&**store, ask, &cause);
        }
        Ok(cause)
    }

    /// What was pushed, once no more comes.
    async fn pushed(&self, ask: &Question) -> Result<Gathered, NoTraces> {
        let began = Instant::now();
        let mut last = (Arrived::default(), began);
        let (split, requests) = loop {
            let got = self.spans.subtrees(&ask.deployment, now());
            let arrived = Arrived {
                canary: got.as_ref().map_or(0, |(split, ..)| split.canary.len()),
                walked: if ask.walked {
                    self.pairs(ask).map_or(0, |pairs| pairs[1].len())
                } else {
                    0
                },
            };
            if arrived != last.0 {
                last = (arrived, Instant::now());
            }
            let nobody = matches!(
                got,
                Err(NoTraces::NoSpans { .. }
                    | NoTraces::NotWatched(_)
                    | NoTraces::Unlabelled { .. })
            );
            if nobody || arrived.is_all(last.1.elapsed(), began.elapsed()) {
                let (split, _, requests) = got?;
                break (split, requests);
            }
            sleep(Duration::from_millis(500)).await;
        };
        let settings = Settings {
            requests: Some(requests),
            known_errors: self.spans.known_errors(&ask.deployment),
            ..Settings::default()
        };
        let (baseline, canary) = (split.baseline, split.canary);
        Ok(Gathered { baseline, canary, settings, notes: Vec::new() })
    }

    /// What synthetic journeys asked both versions for, if they were walked.
    fn walked(&self, ask: &Question) -> Option<Gathered> {
        let [baseline, canary] = self.pairs(ask).filter(|_| ask.walked)?;
        Some(Gathered {
            baseline,
            canary,
            settings: Settings { least_traces: LEAST_WALKED as u64, ..Settings::default() },
            notes: vec!["the traces are those of synthetic journeys".to_owned()],
        })
    }

    /// The traces of journeys, where each version has enough of them.
    fn pairs(&self, ask: &Question) -> Option<[Vec<EntrySubtree>; 2]> {
        let pairs = self.spans.synthetic(&ask.deployment, now());
        pairs.iter().all(|of_arm| LEAST_WALKED <= of_arm.len()).then_some(pairs)
    }

    /// What a store has of the time, when it has settled.
    async fn read(store: &dyn TraceStore, ask: &Question) -> Result<Gathered, String> {
        let until = Instant::now() + LONGEST_READING;
        let query = TraceQuery {
            service: ask.service.clone(),
            arms: ask.arms.clone(),
            from: ask.from,
            to: ask.to.max(ask.from.checked_add(Duration::from_secs(1)).unwrap_or(ask.from)),
            most: TraceQuery::MOST,
        };
        sleep(store.settle().min(LONGEST_READING / 2)).await;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let why = match tokio::time::timeout(left, store.fetch(&query)).await {
                Ok(Ok(fetched)) => return Ok(fetched.into()),
                Ok(Err(error))
                    if error.persistence == analysis_providers::Persistence::Transient =>
                {
                    crate::chain(&error)
                }
                Ok(Err(error)) => return Err(crate::chain(&error)),
                Err(_) => "the store of traces did not answer in time".to_owned(),
            };
            if until.saturating_duration_since(Instant::now()) <= AGAIN {
                return Err(why);
            }
            sleep(AGAIN).await;
        }
    }
}

/// Traces of the canary that are here: of its own traffic, and of journeys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Arrived {
    canary: usize,
    walked: usize,
}

impl Arrived {
    /// Whether no more is waited for, after so long without a new one and so long altogether. Silence alone means
    /// nothing: the first export of a canary may be still to come.
    fn is_all(self, quiet: Duration, waited: Duration) -> bool {
        let enough = LEAST <= self.canary || (self.canary == 0 && 0 < self.walked);
        LONGEST_WAIT <= waited || (enough && QUIET <= quiet)
    }
}

impl From<Fetched> for Gathered {
    fn from(fetched: Fetched) -> Self {
        let Fetched { baseline, canary, requests, notes, .. } = fetched;
        let settings = Settings { requests, known_errors: BTreeSet::new(), ..Settings::default() };
        Self { baseline, canary, settings, notes }
    }
}

fn compared(gathered: &Gathered, diff: Option<&Diff>) -> Cause {
    let Gathered { baseline, canary, settings, notes } = gathered;
    let mut root = compare(baseline, canary, settings, diff);
    root.notes.extend(notes.iter().cloned());
    let shown = |arm: &[EntrySubtree], of: fn(&Finding) -> &[TraceId]| {
        let mut named = root.findings.iter().flat_map(of);
        let of_trace = |id: &TraceId| arm.iter().find(|subtree| subtree.trace() == *id);
        named.find_map(of_trace).map(example)
    };
    let (baseline, canary) = (
        shown(baseline, |finding| &finding.examples.baseline),
        shown(canary, |finding| &finding.examples.canary),
    );
    Cause { root, baseline, canary, links: Vec::new() }
}

/// The store's own pages, most useful first.
fn links(store: &dyn TraceStore, ask: &Question, cause: &Cause) -> Vec<Link> {
    let at = Some((ask.from, ask.to));
    let ids = [&cause.baseline, &cause.canary].map(|shown| shown.as_ref().map(|shown| shown.trace));
    let name = ask.provider.as_deref().unwrap_or("the store");
    let query = TraceQuery {
        service: ask.service.clone(),
        arms: ask.arms.clone(),
        from: ask.from,
        to: ask.to,
        most: TraceQuery::MOST,
    };
    let pair = ids[0].zip(ids[1]).and_then(|(baseline, canary)| store.pair(baseline, canary));
    let one = |id: Option<TraceId>| store.link(id?, at);
    [
        (format!("both example traces in {name}"), pair),
        (format!("the canary's example trace in {name}"), one(ids[1])),
        (format!("the baseline's example trace in {name}"), one(ids[0])),
        (format!("traces of both versions in {name}"), store.explore(&query)),
    ]
    .into_iter()
    .filter_map(|(text, url)| Some(Link { text, url: url? }))
    .collect()
}

/// A cause as the deployment's record carries it, and as the page reads it back.
pub fn explained(found: Result<Cause, String>) -> (Explained, Option<String>) {
    let cause = match found {
        Ok(cause) => cause,
        Err(why) => return (Explained::Nothing { why }, None),
    };
    let document = serde_json::to_string(&cause).ok().filter(|text| text.len() <= LARGEST);
    if cause.root.findings.is_empty() {
        let why = format!(
            "nothing differs by more than chance in {} traces of the canary and {} of the baseline",
            cause.root.canary.traces, cause.root.baseline.traces
        );
        return (Explained::Nothing { why }, document);
    }
    let suspects = cause.root.findings.iter().filter_map(|finding| {
        let suspect = finding.suspect.as_ref()?;
        Some(SuspectCommit {
            revision: suspect.commit.clone(),
            subject: suspect.subject.clone(),
            position: suspect.position,
            of: suspect.of,
            confidence: finding.confidence.to_string(),
        })
    });
    let explanation = Explanation {
        headline: headline(&cause),
        lines: lines(&cause),
        table: table(&cause),
        links: cause
            .links
            .iter()
            .take(MOST_LINKS)
            .map(|link| CauseLink { text: link.text.clone(), url: link.url.clone() })
            .collect(),
        suspect: suspects.into_iter().next(),
    };
    (Explained::Found(Box::new(explanation)), document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_before_the_first_export_is_waited_out() {
        let seconds = Duration::from_secs;
        let all = |canary, walked, quiet, waited| {
            Arrived { canary, walked }.is_all(seconds(quiet), seconds(waited))
        };
        assert!(!all(0, 0, 6, 6), "an SDK sends every five seconds");
        assert!(!all(19, 0, 6, 6), "the rest may come with the next export");
        assert!(all(20, 0, 2, 3));
        assert!(!all(20, 0, 1, 3), "they are still coming");
        assert!(all(0, 5, 2, 3), "before it has traffic there are its journeys only");
        assert!(!all(1, 5, 2, 3), "it has traffic of its own");
        assert!(all(0, 0, 12, 12) && all(100, 0, 0, 12), "never for ever");
    }
}
