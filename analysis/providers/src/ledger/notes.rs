//! What is to be told about a round of readings, by how bad it is.

use crate::Completeness;
use crate::error::bounded;

/// What is to be told about a round, by how bad it is.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Something answered with fresh counters.
    pub(super) fresh: bool,
    pub(super) partial: Vec<String>,
    pub(super) missing: Vec<String>,
    pub(super) stale: Vec<String>,
    pub(super) undecided: Vec<String>,
}

impl Notes {
    pub(super) fn completeness(mut self, service: &str) -> Completeness {
        let only_stale = self.missing.is_empty() && !self.stale.is_empty();
        let mut all = std::mem::take(&mut self.partial);
        all.append(&mut self.missing);
        all.append(&mut self.stale);
        // One broken instance says the same for every check.
        all.sort();
        all.dedup();
        if self.fresh && all.is_empty() {
            return Completeness::Full;
        }
        if all.is_empty() {
            all = self.undecided;
        }
        if all.is_empty() {
            all.push("nothing is measured".to_owned());
        }
        let text = bounded(format!("{service}: {}", all.join("; ")));
        match (self.fresh, only_stale) {
            (true, _) => Completeness::Partial(text),
            (false, true) => Completeness::Stale(text),
            (false, false) => Completeness::None(text),
        }
    }
}
