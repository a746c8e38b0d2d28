//! The engine, told again what a bundle holds, and two verdicts held against each other.

use analysis::{Assessment, Outcome, Scrape, Verdict};
use serde_json::Value;

use super::{Header, Heard, Told};

/// The engine on its way through a bundle.
pub(super) struct Player<'a> {
    header: &'a Header,
    assessment: Assessment,
    again: Option<Assessment>,
    asks: f64,
    verdict: Option<Verdict>,
    scrapes: u64,
    /// Changes that were told already.
    told: usize,
    /// What was heard last.
    heard: Option<Answer>,
}

/// What a person would call another verdict: the answer, and the weight that it is about.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Answer {
    outcome: Outcome,
    breached: bool,
    suspicious: bool,
    asks: f64,
}

impl<'a> Player<'a> {
    pub(super) fn new(header: &'a Header) -> Self {
        Self {
            assessment: Assessment::new(&header.settings, &header.history),
            header,
            again: None,
            asks: 1.0,
            verdict: None,
            scrapes: 0,
            told: 0,
            heard: None,
        }
    }

    /// Takes in the next scrape; gives the verdict if it is another one than before.
    pub(super) fn scrape(&mut self, scrape: &Scrape) -> Option<Heard<'_>> {
        self.tell();
        self.observe(scrape);
        self.scrapes += 1;
        let asks = self.asks;
        let verdict = self.verdict.as_ref()?;
        let answer = Answer {
            outcome: verdict.outcome,
            breached: verdict.breached,
            suspicious: verdict.suspicion.is_some(),
            asks,
        };
        let is_new = self.heard.replace(answer) != Some(answer);
        is_new.then_some(Heard::Verdict { at: scrape.at, asks, verdict })
    }

    /// Scrapes taken in so far.
    pub(super) fn scrapes(&self) -> u64 {
        self.scrapes
    }

    /// The verdict in the end, and how many scrapes led to it.
    pub(super) fn finish(mut self) -> (Option<Verdict>, u64) {
        self.tell();
        (self.verdict, self.scrapes)
    }

    fn observe(&mut self, scrape: &Scrape) {
        let settings = &self.header.settings;
        let since = self.again.as_mut().map(|again| {
            again.observe(settings, scrape);
            again.verdict(settings, self.asks)
        });
        self.assessment.observe(settings, scrape);
        let overall = self.assessment.verdict(settings, self.asks);
        self.verdict = Some(match since {
            // As the machine has it: failing rests on everything, passing on what is new.
            Some(since) if overall.outcome == Outcome::Pass => since,
            Some(_) | None => overall,
        });
    }

    /// Everything that the engine was told before the next scrape.
    fn tell(&mut self) {
        while let Some(change) = self.header.changes.get(self.told) {
            if self.scrapes < change.after {
                return;
            }
            self.told += 1;
            let settings = &self.header.settings;
            match change.what {
                Told::Asks(share) => self.asks = share,
                Told::Expects(share) => self.assessment.expect(share),
                Told::EntersBake => self.assessment.enter_bake(settings),
                Told::ComparesAgain => {
                    self.assessment.leave_bake();
                    self.again = Some(Assessment::new(settings, &self.assessment.history()));
                    self.verdict = None;
                    self.heard = None;
                }
                Told::ComparedAgain => self.again = None,
            }
        }
    }
}

/// Where two verdicts first differ.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The place, e.g. `findings[0].canary.events`.
    pub at: String,
    /// What the bundle says there.
    pub recorded: String,
    /// What the replay gave.
    pub replayed: String,
}

/// Where two verdicts first differ, to the last bit of every number; nothing if they are the same.
pub fn difference(recorded: Option<&Verdict>, replayed: Option<&Verdict>) -> Option<Difference> {
    let value = |verdict: Option<&Verdict>| {
        serde_json::to_value(verdict).unwrap_or_else(|error| Value::from(error.to_string()))
    };
    differ("", &value(recorded), &value(replayed))
}

fn differ(at: &str, recorded: &Value, replayed: &Value) -> Option<Difference> {
    let here = || {
        let (recorded, replayed) = (recorded.to_string(), replayed.to_string());
        // As text, a number has exactly the digits that tell its bits.
        (recorded != replayed).then(|| Difference {
            at: if at.is_empty() { "the verdict".to_owned() } else { at.to_owned() },
            recorded,
            replayed,
        })
    };
    match (recorded, replayed) {
        (Value::Object(left), Value::Object(right)) => {
            let mut keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
            keys.find_map(|key| {
                let place = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                let of = |side: &serde_json::Map<String, Value>| {
                    side.get(key).cloned().unwrap_or_default()
                };
                differ(&place, &of(left), &of(right))
            })
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let mut pairs = left.iter().zip(right).enumerate();
            pairs.find_map(|(index, (l, r))| differ(&format!("{at}[{index}]"), l, r))
        }
        _ => here(),
    }
}
