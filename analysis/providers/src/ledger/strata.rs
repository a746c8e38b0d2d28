//! Which part of the traffic a series belongs to: one route, zone or method, compared only with itself.
//!
//! A canary with another mix of routes would look better or worse than it is; within a route the mix is the
//! same. Labels that nobody named are used only where they have few values, and never `path` or `url`, which
//! hold what clients ask for. A name once given stays: the tests keep counts by it.

use std::collections::BTreeSet;

use crate::reads::Key;

/// Labels that name a route, not what was asked for. `endpoint` comes last, as operators of Prometheus write a
/// port's name there.
const ROUTES: [&str; 5] = ["http_route", "route", "handler", "uri", "endpoint"];

/// Most values of a label that nobody named; with more, one less and the rest together.
const MOST_FOUND: usize = 16;

/// Most values of a named label, with the rest the 64 that the tests keep.
const MOST_NAMED: usize = 63;

/// Longest name of a stratum, as `analysis` takes it.
const LONGEST: usize = analysis::observation::LONGEST_NAME;

/// All values that have no stratum of their own.
const OTHER: &str = "(other)";

/// The strata of one check, the same for both arms.
#[derive(Debug, Default)]
pub(super) struct Strata {
    names: BTreeSet<String>,
    begun: bool,
}

/// Which labels split a check, and whether the policy names them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split<'a> {
    labels: &'a [String],
}

impl<'a> Split<'a> {
    /// By the labels of a policy; none for the usual ones.
    pub(super) fn by(labels: &'a [String]) -> Self {
        Self { labels }
    }

    /// Whether a policy names the labels.
    pub(super) fn is_named(self) -> bool {
        !self.labels.is_empty()
    }

    fn most(self) -> usize {
        if self.is_named() { MOST_NAMED } else { MOST_FOUND }
    }

    /// The value of the first of its labels that a series has.
    pub(super) fn value(self, key: &Key) -> Option<&str> {
        let value = |label: &str| key.label(label).filter(|value| !value.is_empty());
        if self.is_named() {
            self.labels.iter().find_map(|label| value(label))
        } else {
            ROUTES.iter().find_map(|label| value(label))
        }
    }
}

impl Strata {
    /// Takes in the values that both arms show; the first such look decides which get a name.
    pub(super) fn learn<'a>(&mut self, split: Split<'_>, keys: impl Iterator<Item = &'a Key>) {
        if self.begun && self.names.len() >= split.most() - 1 {
            return;
        }
        let values: BTreeSet<&str> = keys
            .filter_map(|key| split.value(key))
            .filter(|value| value.len() <= LONGEST && !self.names.contains(*value))
            .collect();
        if values.is_empty() {
            return;
        }
        let fits = !self.begun && values.len() <= split.most();
        let most = if fits { split.most() } else { split.most() - 1 };
        let free = most.saturating_sub(self.names.len());
        self.names.extend(values.into_iter().take(free).map(str::to_owned));
        self.begun = true;
    }

    /// The stratum of a series; `None` where it has none of the labels.
    pub(super) fn of(&self, split: Split<'_>, key: &Key) -> Option<&str> {
        let value = split.value(key)?;
        Some(self.names.get(value).map_or(OTHER, String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reads::{Reads, Values};
    use crate::selector::Series;
    use crate::subject::{Measure, MeasureKind, Named, Source};

    fn keys(label: &str, values: impl IntoIterator<Item = String>) -> Vec<Key> {
        let named = Named {
            metric: "m".into(),
            labels: std::collections::BTreeMap::default(),
            status: None,
            per_second: None,
        };
        let measure = Measure {
            check: "c".into(),
            kind: MeasureKind::Gauge,
            source: Source::Named(named),
            strata: Vec::new(),
        };
        let reads = Reads::given(&measure).unwrap().unwrap();
        let mut all = Values::new();
        for value in values {
            let series = Series::new("m", vec![(label.to_owned(), value)]);
            reads.put(&mut all, &series, 1.0.into()).unwrap();
        }
        all.into_keys().collect()
    }

    fn names(labels: &[String], keys: &[Key]) -> BTreeSet<String> {
        let split = Split::by(labels);
        let mut strata = Strata::default();
        strata.learn(split, keys.iter());
        keys.iter().filter_map(|key| strata.of(split, key)).map(str::to_owned).collect()
    }

    #[test]
    fn few_routes_have_a_stratum_each_and_many_share_the_last() {
        let routes = |n: usize| keys("route", (0..n).map(|i| format!("/r{i:03}")));
        assert_eq!(names(&[], &routes(16)).len(), 16);
        let many = names(&[], &routes(17));
        assert_eq!(many.len(), 16);
        assert!(many.contains("(other)") && many.contains("/r014") && !many.contains("/r015"));
        assert_eq!(names(&["route".into()], &routes(100)).len(), 63);
        assert!(names(&[], &keys("path", ["/x".into()])).is_empty(), "never what clients ask for");
        assert_eq!(names(&["path".into()], &keys("path", ["/x".into()])).len(), 1);
        assert!(names(&["zone".into()], &routes(3)).is_empty());
        assert!(names(&[], &keys("route", ["x".repeat(300)])).contains("(other)"));
    }

    #[test]
    fn a_name_once_given_stays() {
        let split = Split::by(&[]);
        let mut strata = Strata::default();
        let first = keys("route", (5..20).map(|i| format!("/r{i:02}")));
        strata.learn(split, first.iter());
        let later = keys("route", (0..30).map(|i| format!("/r{i:02}")));
        strata.learn(split, later.iter());
        assert_eq!(strata.of(split, &first[0]), Some("/r05"));
        assert_eq!(strata.of(split, &later[0]), Some("(other)"));
    }
}
