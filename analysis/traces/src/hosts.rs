//! Bad host, not bad code: damage that one instance of the canary holds alone.
//!
//! A commit that is bad is bad on every instance. Where one of several instances is slow or failing and the others
//! are as good as the baseline, nothing of the code is blamed: the finding is a veto.

use serde::{Deserialize, Serialize};

use crate::points::{ABSENT, Column, Group, Point};
use crate::statistics::{Moments, len_f64, two_sided};

/// What a place is called, the narrowest first.
const NAMES: [&str; 6] = [
    "service.instance.id",
    "k8s.pod.name",
    "host.name",
    "hostname",
    "k8s.node.name",
    "cloud.availability_zone",
];

/// Share of the damage that the place must hold.
const LEAST_SHARE: f64 = 0.8;

/// Largest share of the canary's requests that the place may answer.
const MOST_REQUESTS: f64 = 0.67;

/// Smallest number of requests of the place.
const LEAST_REQUESTS: f64 = 10.0;

/// The others may be worse than the baseline by this share of what the place is.
const OTHERS: f64 = 0.25;

/// Chance of a wrong veto, over all places.
const FALSE_VETO: f64 = 0.001;

/// The place that holds the damage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BadHost {
    /// Attribute that names it.
    pub attribute: String,
    /// Its value.
    pub value: String,
    /// Share of the canary's requests that it answers, in (0, 1).
    pub requests: f64,
    /// Share of the damage that it holds, in [0.8, 1].
    pub damage: f64,
    /// The canary's places of this kind.
    pub of: usize,
}

/// Whether an attribute names a place.
pub(crate) fn is_place(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The one place that holds the damage, if there is one.
pub(crate) fn bad_host(points: &[Point], columns: &[Column]) -> Option<BadHost> {
    let failures: Vec<Point> = points
        .iter()
        .map(|point| Point { excess: f64::from(u8::from(point.failed)), ..*point })
        .collect();
    NAMES
        .iter()
        .filter_map(|name| columns.iter().find(|column| column.name == *name))
        .find_map(|column| in_column(points, column).or_else(|| in_column(&failures, column)))
}

fn in_column(points: &[Point], column: &Column) -> Option<BadHost> {
    let mut groups = vec![Group::default(); column.texts.len() + 1];
    for (point, value) in points.iter().zip(&column.values) {
        if let Some(group) = usize::try_from(*value).ok().and_then(|at| groups.get_mut(at)) {
            group.add(point);
        }
    }
    groups[usize::try_from(ABSENT).unwrap_or(0)] = Group::default();
    let all = groups.iter().copied().fold(Group::default(), Group::plus);
    let places = groups.iter().filter(|group| group.n()[1] > 0.0).count();
    if places < 2 {
        return None;
    }
    let usual = all.excess[0].mean();
    let (at, worst) = groups
        .iter()
        .enumerate()
        .filter(|(_, group)| group.n()[1] >= LEAST_REQUESTS)
        .max_by(|a, b| damage(*a.1, usual).total_cmp(&damage(*b.1, usual)))?;
    let rest = all.minus(*worst);
    let (mine, others) = (damage(*worst, usual), damage(rest, usual));
    let requests = worst.n()[1] / all.n()[1];
    let share = mine / (mine + others.max(0.0));
    let (here, there) = (mine / worst.n()[1], others / rest.n()[1].max(1.0));
    let holds = mine > 0.0
        && requests <= MOST_REQUESTS
        && share >= LEAST_SHARE
        && there <= OTHERS * here
        && p(worst.excess[1], rest.excess[1]) * len_f64(places) < FALSE_VETO
        && p(worst.excess[1], all.excess[0]) * len_f64(places) < FALSE_VETO;
    holds.then(|| BadHost {
        attribute: column.name.clone(),
        value: column.texts.get(at.saturating_sub(1)).cloned().unwrap_or_default(),
        requests,
        damage: share,
        of: places,
    })
}

/// What the canary's requests here cost more than the baseline's; those of the same place where it has enough.
fn damage(group: Group, usual: f64) -> f64 {
    let [n_b, n_c] = group.n();
    let usual = if n_b >= 2.0 * LEAST_REQUESTS { group.excess[0].mean() } else { usual };
    n_c * (group.excess[1].mean() - usual)
}

/// One-sided Welch test of a larger mean.
fn p(one: Moments, other: Moments) -> f64 {
    let difference = one.mean() - other.mean();
    let statistic = difference / (one.of_mean() + other.of_mean()).sqrt();
    if difference <= 0.0 { 1.0 } else { two_sided(statistic, one.n - 1.0) / 2.0 }
}
