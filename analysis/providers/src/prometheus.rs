//! Prometheus, and the stores that speak its query API: Mimir, Thanos, `VictoriaMetrics`, Amazon's, Google's.
//!
//! Asks for the raw samples of counters and native histograms (`metric{...}[75s]`), never for `rate()`: every
//! sample keeps the moment at which Prometheus scraped it, so that one scrape makes one update, is never counted
//! twice, and is differenced exactly. Subjects whose counters have the same names and whose arms are told
//! apart by the same labels share a query; its answer is split by these labels.
//!
//! API: <https://prometheus.io/docs/prometheus/latest/querying/api/>, tried on Prometheus 2.42 and
//! `VictoriaMetrics` 1.79. `prometheus-http-query` makes the requests; what they answer is read here, see
//! `reply.rs`. A warning of the store (Thanos: a store is down; Mimir: a block is missing; a limit cut the series
//! off) or `isPartial` of `VictoriaMetrics` holds all counters until the next complete answer.

mod query;
mod reply;
mod settings;
mod tracks;
mod wire;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use analysis::{Arm, Scrape};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use jiff::{SignedDuration, Timestamp};

use self::query::{Ask, Shape};
use self::reply::{Answer, Failure};
use self::tracks::Track;
use self::wire::{Query, Wire};
use crate::error::FetchError;
use crate::ledger::{Ledger, Round, Wrong};
use crate::reads::Reads;
use crate::selector::Series;
use crate::subject::{Measure, Source, Subject};
use crate::{Choice, Completeness, Measured, MetricProvider};

pub use self::settings::{Login, PrometheusSettings};

/// For how long a question that was too large for all is asked in parts.
const IN_PARTS: SignedDuration = SignedDuration::from_secs(600);

/// A Prometheus as a source of observations.
pub struct Prometheus {
    wire: Wire,
    settings: PrometheusSettings,
    ledger: Ledger,
    /// When the metrics of a subject were last searched for.
    searched: Mutex<HashMap<String, Timestamp>>,
    /// What was too large to be asked for all at once, and until when it is not.
    closed: Mutex<BTreeMap<Shape, Timestamp>>,
}

impl std::fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prometheus").field("url", &self.wire.shown).finish_non_exhaustive()
    }
}

/// What one query told, and for which subjects it was asked.
struct Told {
    subjects: Vec<usize>,
    answer: Result<Answer, FetchError>,
}

/// What is decided for one check of a subject, and the native histogram that may be there instead.
struct Decided {
    check: String,
    reads: Reads,
    twin: Option<Reads>,
}

/// The moments of one attempt.
#[derive(Clone, Copy)]
struct Moment {
    now: Timestamp,
    /// Now without what is not settled yet.
    seen: Timestamp,
}

/// What one attempt brought for each subject.
struct Brought {
    tracks: Vec<Vec<Track>>,
    values: Vec<BTreeMap<String, Vec<Track>>>,
    warnings: HashMap<usize, String>,
    answered: HashSet<usize>,
    errors: HashMap<usize, FetchError>,
}

impl Prometheus {
    /// A Prometheus without counters yet; it is not contacted.
    ///
    /// # Errors
    /// When the address or the access headers are not valid; permanent.
    pub fn new(mut settings: PrometheusSettings) -> Result<Self, FetchError> {
        Ok(Self {
            wire: Wire::new(&mut settings)?,
            ledger: Ledger::that_evaluates(),
            searched: Mutex::default(),
            closed: Mutex::default(),
            settings,
        })
    }

    /// Runs an ask; when Prometheus refuses it for several subjects, each part by itself, so that one
    /// subject with too many series does not take the data of the others.
    fn run<'a>(&'a self, ask: Ask<'a>, moment: Moment) -> BoxFuture<'a, Vec<Told>> {
        async move {
            let (text, own) = (ask.text(), ask.is_own());
            let query = Query { text: &text, seen: moment.seen, now: moment.now, own };
            let answer = self.wire.ask(query).await;
            if let (Some(shape), Err(Failure::Excessive(_) | Failure::Slow(_))) =
                (ask.opened(), &answer)
            {
                let until = moment.now.checked_add(IN_PARTS).unwrap_or(Timestamp::MAX);
                self.closed().insert(shape.clone(), until);
            }
            if let Err(Failure::Excessive(_)) = &answer {
                let parts = ask.parts();
                if !parts.is_empty() {
                    let told = join_all(parts.into_iter().map(|part| self.run(part, moment))).await;
                    return told.into_iter().flatten().collect();
                }
            }
            vec![Told { subjects: ask.subjects(), answer: answer.map_err(Failure::into_error) }]
        }
        .boxed()
    }

    fn closed(&self) -> MutexGuard<'_, BTreeMap<Shape, Timestamp>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn searched(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.searched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Searches the metrics of the measures that need it; returns errors by subject.
    async fn search(
        &self,
        subjects: &[Subject],
        open: &BTreeMap<usize, Vec<Measure>>,
        moment: Moment,
    ) -> HashMap<usize, FetchError> {
        let at = moment.seen;
        let interval =
            SignedDuration::try_from(self.settings.interval).unwrap_or(SignedDuration::MAX);
        let due: Vec<usize> = {
            let mut searched = self.searched();
            let is_due = |index: &&usize| {
                let last = searched.get(&subjects[**index].id);
                last.is_none_or(|last| at.duration_since(*last) >= interval)
            };
            let due: Vec<usize> = open.keys().filter(is_due).copied().collect();
            searched.extend(due.iter().map(|index| (subjects[*index].id.clone(), at)));
            due
        };
        let asks = query::searches(subjects, &due, |shape| self.may_open(shape));
        let told = join_all(asks.into_iter().map(|ask| self.run(ask, moment))).await;
        let mut errors = HashMap::new();
        let mut tracks: Vec<Vec<Track>> = subjects.iter().map(|_| Vec::new()).collect();
        for Told { subjects: asked, answer } in told.into_iter().flatten() {
            match answer {
                Ok(answer) => tracks::split(answer.series, subjects, &asked, &mut tracks),
                Err(error) => {
                    let mut searched = self.searched();
                    for index in asked {
                        searched.remove(&subjects[index].id);
                        errors.insert(index, error.clone());
                    }
                }
            }
        }
        for index in due.into_iter().filter(|index| !errors.contains_key(index)) {
            let subject = &subjects[index];
            let arms: Vec<Vec<Series>> = [Arm::Baseline, Arm::Canary]
                .into_iter()
                .filter(|arm| subject.instances.iter().any(|i| i.arm == *arm))
                .map(|arm| {
                    let of_arm = tracks[index].iter().filter(|track| track.arm == arm);
                    of_arm.map(|track| track.series.clone()).collect()
                })
                .collect();
            for measure in open.get(&index).into_iter().flatten() {
                self.ledger.choose_from(&subject.id, measure, &arms);
            }
        }
        errors
    }

    fn may_open(&self, shape: &Shape) -> bool {
        !self.closed().contains_key(shape)
    }

    /// What is decided for a subject's checks.
    fn decided(&self, subject: &Subject) -> Vec<Decided> {
        let reads = self.ledger.reads(subject);
        let decided = reads.into_iter().map(|(check, reads)| {
            let measure = subject.measures.iter().find(|m| m.check == check);
            // A family that was searched for is known in its form; a named one may be either.
            let named = measure.is_some_and(|m| matches!(m.source, Source::Named(_)));
            let twin = reads.twin().filter(|_| named);
            Decided { check, reads, twin }
        });
        decided.collect()
    }

    /// Asks for the samples of all subjects, and for the values of the queries that policies write.
    async fn bring(
        &self,
        subjects: &[Subject],
        decided: &[Vec<Decided>],
        moment: Moment,
    ) -> Brought {
        let read: Vec<Vec<Reads>> = decided
            .iter()
            .map(|all| {
                let both = all.iter().flat_map(|d| [Some(&d.reads), d.twin.as_ref()]);
                both.flatten().cloned().collect()
            })
            .collect();
        let lookback = self.settings.stale_after + self.settings.interval;
        let asks = query::asks(subjects, &read, lookback, |shape| self.may_open(shape));
        let (told, values) = futures_util::future::join(
            join_all(asks.into_iter().map(|ask| self.run(ask, moment))),
            self.evaluate(&read, moment),
        )
        .await;
        let mut brought = Brought {
            tracks: subjects.iter().map(|_| Vec::new()).collect(),
            values: subjects.iter().map(|_| BTreeMap::new()).collect(),
            warnings: HashMap::new(),
            answered: HashSet::new(),
            errors: HashMap::new(),
        };
        for Told { subjects: asked, answer } in told.into_iter().flatten() {
            if let Some(answer) = brought.take(&self.wire.shown, &asked, answer) {
                tracks::split(answer.series, subjects, &asked, &mut brought.tracks);
            }
        }
        for (text, Told { subjects: asked, answer }) in values {
            if let Some(answer) = brought.take(&self.wire.shown, &asked, answer) {
                let mut tracks: Vec<Vec<Track>> = subjects.iter().map(|_| Vec::new()).collect();
                tracks::split(answer.series, subjects, &asked, &mut tracks);
                for index in asked {
                    let tracks = std::mem::take(&mut tracks[index]);
                    brought.values[index].insert(text.clone(), tracks);
                }
            }
        }
        brought
    }

    /// Evaluates each query that policies write for a gauge, once for all subjects that have it.
    async fn evaluate(&self, read: &[Vec<Reads>], moment: Moment) -> Vec<(String, Told)> {
        let mut texts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, reads) in read.iter().enumerate() {
            for reads in reads {
                if let Reads::Value(text) = reads {
                    texts.entry(text).or_default().push(index);
                }
            }
        }
        let asked = texts.into_iter().map(|(text, subjects)| async move {
            let query = Query { text, seen: moment.seen, now: moment.now, own: true };
            let answer = self.wire.ask(query).await.map_err(Failure::into_error);
            (text.to_owned(), Told { subjects, answer })
        });
        join_all(asked).await
    }

    async fn all(&self, subjects: &[Subject], now: Timestamp) -> Vec<Measured> {
        let settle = SignedDuration::try_from(self.settings.settle).unwrap_or_default();
        let moment = Moment { now, seen: now.checked_sub(settle).unwrap_or(now) };
        self.closed().retain(|_, until| *until > now);
        let open: BTreeMap<usize, Vec<Measure>> = subjects
            .iter()
            .enumerate()
            .map(|(index, subject)| (index, self.ledger.decide(subject)))
            .filter(|(_, open)| !open.is_empty())
            .collect();
        let searched = self.search(subjects, &open, moment).await;
        let decided: Vec<Vec<Decided>> =
            subjects.iter().map(|subject| self.decided(subject)).collect();
        let mut brought = self.bring(subjects, &decided, moment).await;
        for (index, error) in searched {
            brought.errors.entry(index).or_insert(error);
        }
        let mut measured = Vec::with_capacity(subjects.len());
        for ((index, subject), decided) in subjects.iter().enumerate().zip(decided) {
            let failed = brought.errors.remove(&index);
            let result = match failed {
                Some(error) if !brought.answered.contains(&index) => Err(error),
                failed => {
                    let wrong = Wrong {
                        hold: brought.warnings.remove(&index),
                        note: failed.map(|error| error.text),
                    };
                    Ok(self.one(subject, now, decided, &brought, index, wrong))
                }
            };
            measured.push(Measured { subject: subject.id.clone(), result });
        }
        measured
    }

    fn one(
        &self,
        subject: &Subject,
        at: Timestamp,
        decided: Vec<Decided>,
        brought: &Brought,
        index: usize,
        wrong: Wrong,
    ) -> (Scrape, Completeness) {
        let tracks = &brought.tracks[index];
        let decided: Vec<(String, Reads)> = decided
            .into_iter()
            .map(|Decided { check, reads, twin }| {
                let measure = subject.measures.iter().find(|m| m.check == check);
                match (twin, measure) {
                    (Some(twin), Some(measure)) if both_have(subject, tracks, &twin) => {
                        self.ledger.read_native(&subject.id, measure, twin.clone());
                        (check, twin)
                    }
                    (Some(_) | None, Some(_) | None) => (check, reads),
                }
            })
            .collect();
        let rounds: Vec<Round<'_>> = decided
            .iter()
            .map(|(check, reads)| {
                let found = if let Reads::Value(text) = reads {
                    brought.values[index].get(text).map(|tracks| tracks::gauges(tracks))
                } else {
                    Some(tracks::found(tracks, reads))
                };
                Round { check, reads, found: found.unwrap_or_default() }
            })
            .collect();
        let stale_after = self.settings.stale_after + self.settings.settle;
        self.ledger.settle(subject, at, &rounds, stale_after, wrong)
    }
}

impl Brought {
    /// Notes what an answer means for the subjects that it is for; returns it if it is one.
    fn take(
        &mut self,
        shown: &str,
        asked: &[usize],
        answer: Result<Answer, FetchError>,
    ) -> Option<Answer> {
        match answer {
            Err(error) => {
                self.errors.extend(asked.iter().map(|index| (*index, error.clone())));
                None
            }
            Ok(answer) => {
                self.answered.extend(asked);
                if !answer.warnings.is_empty() {
                    let text = format!("{shown} warns: {}", answer.warnings.join("; "));
                    self.warnings.extend(asked.iter().map(|index| (*index, text.clone())));
                }
                Some(answer)
            }
        }
    }
}

/// Whether every declared arm shows the native histogram.
fn both_have(subject: &Subject, tracks: &[Track], twin: &Reads) -> bool {
    subject.instances.iter().all(|instance| {
        let mut of_arm = tracks.iter().filter(|track| track.arm == instance.arm);
        of_arm.any(|track| twin.wants(&track.series.name) && !track.histograms.is_empty())
    })
}

impl MetricProvider for Prometheus {
    fn measure<'a>(
        &'a self,
        subjects: &'a [Subject],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Measured>> {
        self.all(subjects, at).boxed()
    }

    fn chosen(&self, subject: &str) -> Vec<Choice> {
        self.ledger.choices(subject)
    }

    fn forget(&self, subject: &str) {
        self.ledger.forget(subject);
        self.searched().remove(subject);
    }
}
