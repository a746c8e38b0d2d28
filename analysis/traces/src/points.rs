//! Requests as points with an outcome, and their attributes as columns: what contrasts, hosts and mix look at.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::rows::{Row, Rows};
use crate::span::{Attributes, Kind, Value};
use crate::statistics::{Moments, quantile};
use crate::strata::{Strata, uniform};
use crate::tree::EntrySubtree;

/// Most attributes that are looked at.
const MOST_COLUMNS: usize = 256;

/// Most values of one attribute; one with more identifies requests rather than kinds of them.
const MOST_VALUES: usize = 4_096;

/// Longest value that is looked at, in bytes.
const LONGEST: usize = 128;

/// A number with more values than this is cut at the baseline's deciles.
const FEW_NUMBERS: usize = 10;

/// No value.
pub(crate) const ABSENT: u32 = 0;

/// One request, kept by chance, in a stratum that is compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// 0 baseline, 1 canary.
    pub(crate) arm: usize,
    /// Index of its subtree in its arm.
    pub(crate) row: usize,
    /// Seconds above the baseline's mean of its stratum, outliers limited.
    pub(crate) excess: f64,
    /// Failed, or slower than 95 % of the baseline's requests of its stratum.
    pub(crate) bad: bool,
    pub(crate) failed: bool,
    /// The first of its trace in this arm.
    pub(crate) first: bool,
}

/// One attribute over all points.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Of the entry, or of its process: known before any code of the service ran.
    pub(crate) of_entry: bool,
    /// Per point the value's number, or `ABSENT`.
    pub(crate) values: Vec<u32>,
    /// Texts by number, less one.
    pub(crate) texts: Vec<String>,
    /// Per point, if all values are numbers and there are many.
    pub(crate) numbers: Option<Vec<f64>>,
}

/// Requests of both arms with an outcome: a group of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Group {
    /// Excess seconds, by arm.
    pub(crate) excess: [Moments; 2],
    /// Bad ones, by arm.
    pub(crate) bad: [f64; 2],
}

impl Group {
    pub(crate) fn add(&mut self, point: &Point) {
        self.excess[point.arm].add(point.excess);
        self.bad[point.arm] += f64::from(u8::from(point.bad));
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            excess: [0, 1].map(|arm| self.excess[arm].plus(other.excess[arm])),
            bad: [0, 1].map(|arm| self.bad[arm] + other.bad[arm]),
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            excess: [0, 1].map(|arm| self.excess[arm].minus(other.excess[arm])),
            bad: [0, 1].map(|arm| self.bad[arm] - other.bad[arm]),
        }
    }

    /// Requests of the baseline, of the canary.
    pub(crate) fn n(&self) -> [f64; 2] {
        [self.excess[0].n, self.excess[1].n]
    }
}

/// The requests that are compared, as points.
pub(crate) fn points(rows: &Rows, strata: &Strata) -> Vec<Point> {
    let mut means = vec![Moments::default(); strata.share.len()];
    for (row, stratum) in uniform(&rows.baseline) {
        means[stratum].add(row.seconds);
    }
    let mut points = Vec::new();
    for (arm, rows) in [&rows.baseline, &rows.canary].into_iter().enumerate() {
        let mut traces: HashSet<u128> = HashSet::new();
        for (row, stratum) in uniform(rows) {
            points.push(point(arm, row, stratum, &means, strata));
            if let Some(point) = points.last_mut() {
                point.first = traces.insert(row.trace.0);
            }
        }
    }
    let mut all: Vec<f64> = points.iter().map(|point| point.excess).collect();
    let most = quantile(&mut all, 0.995);
    for point in &mut points {
        point.excess = point.excess.min(most);
    }
    points
}

fn point(arm: usize, row: &Row, stratum: usize, means: &[Moments], strata: &Strata) -> Point {
    Point {
        arm,
        row: row.index,
        excess: row.seconds - means[stratum].mean(),
        bad: row.failed || row.seconds > strata.slow[stratum],
        failed: row.failed,
        first: true,
    }
}

/// The attributes of the entries, of their processes and of the service's own spans below them that `keep` names.
pub(crate) fn columns(
    points: &[Point],
    arms: [&[EntrySubtree]; 2],
    keep: impl Fn(&str) -> bool,
    below: bool,
) -> Vec<Column> {
    let mut places: HashMap<String, Option<usize>> = HashMap::new();
    let mut building: Vec<Building> = Vec::new();
    for (at, point) in points.iter().enumerate() {
        let Some(subtree) = arms[point.arm].get(point.row) else { continue };
        let entry = subtree.entry();
        let mut take = |attributes: &Attributes, of_entry: bool| {
            for (name, value) in &attributes.0 {
                let known = places.get(&**name).copied();
                let place = known.unwrap_or_else(|| {
                    let is_kept =
                        building.len() < MOST_COLUMNS && name.len() <= LONGEST && keep(name);
                    let place = is_kept.then(|| {
                        building.push(Building::new(name, of_entry));
                        building.len() - 1
                    });
                    if places.len() < 16 * MOST_COLUMNS {
                        places.insert(name.to_string(), place);
                    }
                    place
                });
                if let Some(place) = place {
                    building[place].set(at, value);
                }
            }
        };
        take(&entry.attributes, true);
        take(&entry.resource.attributes, true);
        if below {
            let own = subtree.spans()[1..].iter().filter(|span| {
                span.kind == Kind::Internal && span.resource.service == entry.resource.service
            });
            for span in own {
                take(&span.attributes, false);
            }
        }
    }
    let mut columns: Vec<Column> =
        building.into_iter().filter_map(|building| building.finish(points.len())).collect();
    columns.sort_by(|a, b| a.name.len().cmp(&b.name.len()).then(a.name.cmp(&b.name)));
    columns
}

struct Building {
    name: String,
    of_entry: bool,
    values: Vec<u32>,
    texts: BTreeMap<String, u32>,
    numbers: Option<Vec<f64>>,
    overflows: bool,
}

impl Building {
    fn new(name: &str, of_entry: bool) -> Self {
        Self {
            name: name.to_owned(),
            of_entry,
            values: Vec::new(),
            texts: BTreeMap::new(),
            numbers: Some(Vec::new()),
            overflows: false,
        }
    }

    /// The first value of a request counts.
    fn set(&mut self, at: usize, value: &Value) {
        if self.overflows || self.values.len() > at {
            return;
        }
        let text = match value {
            Value::Text(text) if text.len() > LONGEST => return,
            Value::Text(_) | Value::Integer(_) | Value::Number(_) | Value::Flag(_) => {
                value.to_string()
            }
        };
        self.values.resize(at, ABSENT);
        let next = u32::try_from(self.texts.len() + 1).unwrap_or(ABSENT);
        self.values.push(*self.texts.entry(text).or_insert(next));
        self.overflows = self.texts.len() > MOST_VALUES;
        match (value.number(), &mut self.numbers) {
            (Some(number), Some(numbers)) => {
                numbers.resize(at, f64::NAN);
                numbers.push(number);
            }
            (_, numbers) => *numbers = None,
        }
    }

    fn finish(mut self, points: usize) -> Option<Column> {
        if self.overflows {
            return None;
        }
        self.values.resize(points, ABSENT);
        let distinct = self.texts.len();
        let numbers = self.numbers.filter(|_| distinct > FEW_NUMBERS).map(|mut numbers| {
            numbers.resize(points, f64::NAN);
            numbers
        });
        // More values than half the requests: it names requests, not kinds of them.
        if numbers.is_none() && 2 * distinct > points {
            return None;
        }
        let mut texts = vec![String::new(); distinct];
        for (text, number) in self.texts {
            if let Some(place) = usize::try_from(number).ok().and_then(|at| texts.get_mut(at - 1)) {
                *place = text;
            }
        }
        Some(Column {
            name: self.name,
            of_entry: self.of_entry,
            values: self.values,
            texts,
            numbers,
        })
    }
}
