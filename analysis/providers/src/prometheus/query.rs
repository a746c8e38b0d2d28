//! The PromQL that is asked, for as many subjects at once as share its shape.
//!
//! Few subjects are named one by one (`version=~"4f2c1a9|9b1d0c3"`). Many are asked for with the label alone
//! (`version=~".+"`) and told apart here, so that one query serves them all, however many there are. Where that
//! answer is too large, because the store holds much that nobody asked about, they are named again, some at a
//! time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use crate::families;
use crate::page::STARTED;
use crate::reads::Reads;
use crate::selector::{Series, escaped, quoted};
use crate::subject::{Instance, Subject};

/// Most subjects that are named one by one in a query: keeps it within some kilobytes, below the 16 KiB that
/// `VictoriaMetrics` takes, and its answer within some megabytes.
const TOGETHER: usize = 50;

/// One query, before it is written.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    shape: Shape,
    /// With their index among all subjects.
    subjects: Vec<(usize, &'a Subject)>,
    /// Whether subjects are not named one by one.
    open: bool,
}

/// What subjects must share to be asked together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    what: What,
    /// Matchers that a check adds.
    matchers: Vec<String>,
    /// The labels that tell the arms.
    keys: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Which families there are.
    Search,
    /// Raw samples of these metrics over the time given in milliseconds.
    Samples { names: BTreeSet<String>, millis: u128 },
}

/// The queries that find the metrics of subjects.
pub(super) fn searches<'a>(
    subjects: &'a [Subject],
    due: &[usize],
    may_open: impl Fn(&Shape) -> bool,
) -> Vec<Ask<'a>> {
    let shapes = due.iter().flat_map(|index| {
        key_sets(&subjects[*index])
            .into_iter()
            .map(move |keys| (*index, Shape { what: What::Search, matchers: Vec::new(), keys }))
    });
    together(subjects, shapes, may_open)
}

/// The queries that get the samples of subjects.
pub(super) fn asks<'a>(
    subjects: &'a [Subject],
    reads: &[Vec<Reads>],
    lookback: Duration,
    may_open: impl Fn(&Shape) -> bool,
) -> Vec<Ask<'a>> {
    let mut shapes = Vec::new();
    for (index, reads) in reads.iter().enumerate() {
        let mut names: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
        for reads in reads {
            if reads.counts_restarts() {
                names.entry(Vec::new()).or_default().insert(STARTED.to_owned());
            }
            for selector in reads.selectors() {
                names.entry(selector.matchers()).or_default().insert(selector.name.clone());
            }
        }
        for (matchers, mut names) in names {
            if matchers.is_empty() {
                names.insert(STARTED.to_owned());
            }
            for keys in key_sets(&subjects[index]) {
                let what = What::Samples { names: names.clone(), millis: lookback.as_millis() };
                shapes.push((index, Shape { what, matchers: matchers.clone(), keys }));
            }
        }
    }
    together(subjects, shapes, may_open)
}

/// The sets of labels that tell the arms of a subject; usually one.
fn key_sets(subject: &Subject) -> BTreeSet<BTreeSet<String>> {
    subject.instances.iter().map(|instance| instance.labels.keys().cloned().collect()).collect()
}

fn together(
    subjects: &[Subject],
    shapes: impl IntoIterator<Item = (usize, Shape)>,
    may_open: impl Fn(&Shape) -> bool,
) -> Vec<Ask<'_>> {
    let mut groups: BTreeMap<Shape, BTreeSet<usize>> = BTreeMap::new();
    for (index, shape) in shapes {
        groups.entry(shape).or_default().insert(index);
    }
    let mut asks = Vec::new();
    for (shape, indices) in groups {
        let subjects: Vec<_> = indices.into_iter().map(|index| (index, &subjects[index])).collect();
        // Without a label that tells the arms there is nothing to be open about.
        let open = subjects.len() > TOGETHER && !shape.keys.is_empty() && may_open(&shape);
        let ask = Ask { shape, subjects, open };
        if open || ask.subjects.len() <= TOGETHER {
            asks.push(ask);
        } else {
            asks.extend(ask.named());
        }
    }
    asks
}

impl<'a> Ask<'a> {
    /// The indices of the subjects that it is for.
    pub(super) fn subjects(&self) -> Vec<usize> {
        self.subjects.iter().map(|(index, _)| *index).collect()
    }

    /// Whether a policy wrote a part of it.
    pub(super) fn is_own(&self) -> bool {
        !self.shape.matchers.is_empty()
    }

    /// Its shape, where it asks for more than its subjects.
    pub(super) fn opened(&self) -> Option<&Shape> {
        self.open.then_some(&self.shape)
    }

    /// The same in parts, when the whole is too much; empty for a single subject.
    pub(super) fn parts(&self) -> Vec<Self> {
        if self.open {
            return self.named();
        }
        if self.subjects.len() < 2 {
            return Vec::new();
        }
        let (first, second) = self.subjects.split_at(self.subjects.len() / 2);
        vec![self.of(first), self.of(second)]
    }

    /// The same with subjects named one by one.
    fn named(&self) -> Vec<Self> {
        self.subjects.chunks(TOGETHER).map(|chunk| self.of(chunk)).collect()
    }

    fn of(&self, subjects: &[(usize, &'a Subject)]) -> Self {
        Self { shape: self.shape.clone(), subjects: subjects.to_vec(), open: false }
    }

    /// The PromQL.
    pub(super) fn text(&self) -> String {
        let names: Vec<String> = match &self.shape.what {
            What::Search => vec![families::names()],
            What::Samples { names, .. } => names.iter().map(|name| escaped(name)).collect(),
        };
        let mut matchers = vec![format!("__name__=~{}", quoted(&names.join("|")))];
        for key in &self.shape.keys {
            let instances = self.subjects.iter().flat_map(|(_, subject)| &subject.instances);
            let values: BTreeSet<&str> = instances
                .filter(|instance| fits(&self.shape.keys, instance))
                .filter_map(|instance| instance.labels.get(key).map(String::as_str))
                .collect();
            let single = values.first().filter(|_| values.len() == 1);
            matchers.push(if let Some(value) = single {
                format!("{key}={}", quoted(value))
            } else if self.open && values.len() > 2 * TOGETHER {
                format!("{key}=~\".+\"")
            } else {
                let values: Vec<String> = values.iter().map(|v| escaped(v)).collect();
                format!("{key}=~{}", quoted(&values.join("|")))
            });
        }
        matchers.extend(self.shape.matchers.iter().cloned());
        let selector = format!("{{{}}}", matchers.join(","));
        match &self.shape.what {
            What::Samples { millis, .. } => format!("{selector}[{millis}ms]"),
            What::Search => {
                let mut by = String::from("__name__");
                let labels = families::labels();
                let keys = self.shape.keys.iter().map(String::as_str);
                for label in labels.iter().copied().chain(keys) {
                    // Writing to a text cannot fail.
                    let _ = write!(by, ",{label}");
                }
                format!("group by ({by}) ({selector})")
            }
        }
    }
}

fn fits(keys: &BTreeSet<String>, instance: &Instance) -> bool {
    instance.labels.len() == keys.len() && instance.labels.keys().all(|key| keys.contains(key))
}

/// Whether a series belongs to an arm's selector.
pub(super) fn selects(instance: &Instance, series: &Series) -> bool {
    instance.labels.iter().all(|(name, value)| series.label(name) == value)
}
