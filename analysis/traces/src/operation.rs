//! What a span did, without who asked for it: the key by which both arms are compared.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::mask::{self, Clusters};
use crate::span::{Kind, Span};
use crate::tree::EntrySubtree;

/// More names than this in one service are no operations but identifiers that were not recognised.
const MOST_NAMES: usize = 500;

/// Most operations that are told apart, over all services; hostile traces alone have more.
const MOST_OPERATIONS: usize = 4_096;

/// An operation: service, side of the call, and name without identifiers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Operation {
    /// `service.name` of the sender.
    pub service: String,
    /// Which side of a call.
    pub kind: Kind,
    /// Route, method, statement or span name, identifiers masked.
    pub name: String,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The name of what a span did: route, else remote method, else statement, else the span's own name.
pub fn name_of(span: &Span) -> String {
    let attributes = &span.attributes;
    if let Some(route) = attributes.text(&["http.route", "url.template"]) {
        return match attributes.text(&["http.request.method", "http.method"]) {
            Some(method) => {
                mask::name(&format!("{} {}", mask::cut(method, 32), mask::cut(route, 512)))
            }
            None => mask::name(route),
        };
    }
    if let Some(method) = attributes.text(&["rpc.method"]) {
        return match attributes.text(&["rpc.service"]).filter(|_| !method.contains('/')) {
            Some(service) => {
                mask::name(&format!("{}/{}", mask::cut(service, 256), mask::cut(method, 256)))
            }
            None => mask::name(method),
        };
    }
    if let Some(system) = attributes.text(&["db.system.name", "db.system"]) {
        if let Some(summary) = attributes.text(&["db.query.summary"]) {
            return mask::name(summary);
        }
        let operation = attributes.text(&["db.operation.name", "db.operation"]);
        let collection =
            attributes.text(&["db.collection.name", "db.sql.table", "db.mongodb.collection"]);
        if let (Some(operation), Some(collection)) = (operation, collection) {
            return mask::name(&format!(
                "{} {}",
                mask::cut(operation, 256),
                mask::cut(collection, 256)
            ));
        }
        if let Some(text) = attributes.text(&["db.query.text", "db.statement"]) {
            return mask::statement(mask::cut(text, 4_096));
        }
        if let Some(operation) = operation {
            return mask::name(&format!("{} {}", mask::cut(system, 64), mask::cut(operation, 256)));
        }
    }
    mask::name(&span.name)
}

/// Whether a span asks a cache.
fn is_cache(span: &Span) -> bool {
    let system = span.attributes.text(&["db.system.name", "db.system"]).unwrap_or_default();
    matches!(system, "redis" | "memcached" | "valkey" | "hazelcast" | "infinispan")
        || span.name.to_ascii_lowercase().contains("cache")
}

/// Numbers for operations, the same for both arms.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    all: Vec<Operation>,
    caches: Vec<bool>,
    numbers: HashMap<Operation, u32>,
    seen: HashMap<Source, u32>,
    clusters: HashMap<Arc<str>, Clusters>,
}

/// What an operation's number follows from; a name is masked once, not once per span.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Source {
    service: Arc<str>,
    kind: Kind,
    name: Arc<str>,
    details: [Option<Arc<str>>; 3],
}

impl Operations {
    /// Knows which services have more names than operations.
    pub(crate) fn new<'a>(subtrees: impl Iterator<Item = &'a EntrySubtree>) -> Self {
        let mut names: HashMap<Arc<str>, HashSet<Arc<str>>> = HashMap::new();
        for span in subtrees.flat_map(EntrySubtree::spans) {
            let service = &span.resource.service;
            if !names.contains_key(service) {
                names.insert(service.clone(), HashSet::new());
            }
            if let Some(names) = names.get_mut(service)
                && names.len() <= 4 * MOST_NAMES
                && !names.contains(&span.name)
            {
                names.insert(span.name.clone());
            }
        }
        let clusters = names
            .into_iter()
            .filter(|(_, names)| names.len() > MOST_NAMES)
            .filter(|(_, names)| {
                names.iter().map(|name| mask::name(name)).collect::<HashSet<_>>().len() > MOST_NAMES
            })
            .map(|(service, _)| (service, Clusters::default()))
            .collect();
        Self { clusters, ..Self::default() }
    }

    /// The number of a span's operation.
    pub(crate) fn number(&mut self, span: &Span) -> u32 {
        let source = source(span);
        if let Some(number) = self.seen.get(&source) {
            return *number;
        }
        if self.all.len() > MOST_OPERATIONS {
            return u32::try_from(MOST_OPERATIONS).unwrap_or(u32::MAX);
        }
        if self.all.len() == MOST_OPERATIONS {
            let name = "(others)".to_owned();
            self.all.push(Operation { service: name.clone(), kind: Kind::Internal, name });
            self.caches.push(false);
            return self.number(span);
        }
        let mut name = name_of(span);
        if let Some(clusters) = self.clusters.get_mut(&span.resource.service) {
            // Named after its number until all names are known.
            name = format!("\0{}", clusters.add(&name));
        }
        let service = mask::cut(&span.resource.service, 256).to_owned();
        let operation = Operation { service, kind: span.kind, name };
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(operation.clone()).or_insert(next);
        if number == next {
            self.all.push(operation);
            self.caches.push(is_cache(span));
        }
        self.seen.insert(source, number);
        number
    }

    /// Gives groups of names the name that they share, once all spans have their numbers.
    pub(crate) fn name_clusters(&mut self) {
        for operation in &mut self.all {
            let number = operation.name.strip_prefix('\0').and_then(|number| number.parse().ok());
            if let (Some(number), Some(clusters)) =
                (number, self.clusters.get(operation.service.as_str()))
            {
                operation.name = clusters.name(number);
            }
        }
        self.seen.clear();
    }

    /// Whether the operation asks a cache.
    pub(crate) fn is_cache(&self, number: u32) -> bool {
        usize::try_from(number).ok().and_then(|at| self.caches.get(at)).is_some_and(|cache| *cache)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The operation of this number.
    pub(crate) fn get(&self, number: u32) -> Option<&Operation> {
        self.all.get(usize::try_from(number).ok()?)
    }
}

/// Names that decide the operation, in the order of [`name_of`]; only the first group that is there matters.
fn source(span: &Span) -> Source {
    let text = |names: &[&str]| {
        names.iter().find_map(|name| match span.attributes.get(name)? {
            crate::span::Value::Text(text) => Some(text.clone()),
            crate::span::Value::Integer(_)
            | crate::span::Value::Number(_)
            | crate::span::Value::Flag(_) => None,
        })
    };
    let mut details = [None, None, None];
    if let Some(route) = text(&["http.route", "url.template"]) {
        details = [Some(route), text(&["http.request.method", "http.method"]), None];
    } else if let Some(method) = text(&["rpc.method"]) {
        details = [Some(method), text(&["rpc.service"]), None];
    } else if text(&["db.system.name", "db.system"]).is_some() {
        details = [
            text(&["db.query.summary"]),
            text(&["db.operation.name", "db.operation"]),
            text(&[
                "db.collection.name",
                "db.sql.table",
                "db.mongodb.collection",
                "db.query.text",
                "db.statement",
            ]),
        ];
    }
    Source {
        service: span.resource.service.clone(),
        kind: span.kind,
        name: span.name.clone(),
        details,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::span;

    #[test]
    fn names_follow_the_conventions() {
        let name = |attributes: &[(&'static str, &'static str)]| {
            let mut span = span("s", "name 17");
            span.attributes =
                attributes.iter().map(|(name, value)| (*name, (*value).into())).collect();
            name_of(&span)
        };
        assert_eq!(name(&[]), "name *");
        assert_eq!(
            name(&[("http.route", "/cart/{id}"), ("http.request.method", "GET")]),
            "GET /cart/{id}"
        );
        assert_eq!(name(&[("rpc.service", "Cart"), ("rpc.method", "Load")]), "Cart/Load");
        assert_eq!(
            name(&[
                ("db.system", "postgresql"),
                ("db.operation.name", "SELECT"),
                ("db.collection.name", "prices"),
            ]),
            "SELECT prices"
        );
        assert_eq!(
            name(&[("db.system", "mysql"), ("db.statement", "SELECT x FROM y WHERE z = 'a'")]),
            "SELECT x FROM y WHERE z = *"
        );
    }

    #[test]
    fn one_operation_has_one_number() {
        let mut operations = Operations::default();
        let first = operations.number(&span("s", "load 1"));
        assert_eq!(operations.number(&span("s", "load 2")), first);
        assert_ne!(operations.number(&span("t", "load 1")), first);
        assert_eq!(operations.len(), 2);
    }
}
