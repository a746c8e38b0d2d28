//! What of the traces could not be compared, with what to do about it.

use std::fmt;

use analysis_providers::spans::Refusals;
use analysis_traces::{MOST_SPANS, Refused};
use serde::Serialize;

/// One reason, with its count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Reason {
    /// What was left out, and why.
    what: String,
    /// What to do.
    hint: &'static str,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, hint } = self;
        write!(f, "{what}: {hint}")
    }
}

/// Every reason that occurred: those of files first, then those of traces.
pub(super) fn reasons(files: &Refusals, trees: Refused) -> Vec<Reason> {
    of_files(files).into_iter().chain(of_trees(trees)).collect()
}

fn of_files(refused: &Refusals) -> Vec<Reason> {
    let none = Refusals::default();
    let one_by_one = [
        (Refusals { partial: refused.partial, ..none }, "ask the store again, for a shorter time"),
        (
            Refusals { too_many: refused.too_many, ..none },
            "export fewer traces; some hundred of each version are enough",
        ),
        (
            Refusals { bad_ids: refused.bad_ids, ..none },
            "look for what rewrites them between the sender and the file",
        ),
        (Refusals { no_time: refused.no_time, ..none }, "export spans when they have ended"),
        (Refusals { malformed: refused.malformed, ..none }, "export the file again"),
        (
            Refusals { broken_documents: refused.broken_documents, ..none },
            "the file may have been cut short; export it again",
        ),
        (
            Refusals { attributes: refused.attributes, ..none },
            "the other attributes of these spans are compared",
        ),
        (Refusals { exceptions: refused.exceptions, ..none }, "the first ones are compared"),
        (Refusals { cut: refused.cut, ..none }, "their beginnings are compared"),
        (
            Refusals { invalid_text: refused.invalid_text, ..none },
            "look for what cuts texts between the sender and the file",
        ),
    ];
    one_by_one
        .into_iter()
        .flat_map(|(one, hint)| one.told().into_iter().map(move |what| Reason { what, hint }))
        .collect()
}

fn of_trees(refused: Refused) -> Vec<Reason> {
    let whole = "export whole traces, a while after they have ended";
    [
        (
            refused.duplicates,
            ["span that came more than once", "spans that came more than once"],
            "export each trace once",
        ),
        (
            refused.backwards,
            ["span that ended before it began", "spans that ended before they began"],
            "they count as instants; look at the sender's clock",
        ),
        (
            refused.cycles,
            ["span that is its own ancestor", "spans that are their own ancestors"],
            "look for what rewrites ids between the sender and the file",
        ),
        (
            refused.orphans,
            ["span whose parent is missing", "spans whose parents are missing"],
            whole,
        ),
        (refused.incomplete, ["request with missing spans", "requests with missing spans"], whole),
        (
            refused.skewed,
            [
                "request across hosts whose clocks differ",
                "requests across hosts whose clocks differ",
            ],
            "synchronise the clocks of these hosts",
        ),
        (
            refused.oversized,
            ["request of more than 5,000 spans", "requests of more than 5,000 spans"],
            "they are loops rather than requests; look at one",
        ),
        (
            refused.synthetic,
            ["request of a synthetic check", "requests of synthetic checks"],
            "compare real requests; checks are not like them",
        ),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, [one, several], hint)| {
        let what = format!("{count} {}", if count == 1 { one } else { several });
        Reason { what, hint }
    })
    .collect()
}

/// What the texts say of it.
const _: () = assert!(MOST_SPANS == 5_000);
