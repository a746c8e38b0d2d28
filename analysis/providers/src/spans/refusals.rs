//! What was left out of a body, counted by reason, and said in words for people.
//!
//! A count that is not shown becomes a wrong conclusion, so everything that is dropped or cut is counted here.

/// What was left out or changed, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Spans beyond the limit of spans or memory.
    pub too_many: u64,
    /// Spans with a trace id, id or parent id that is missing, zero or of a wrong length.
    pub bad_ids: u64,
    /// Spans without a start or an end, or with one beyond the year 2554.
    pub no_time: u64,
    /// Spans that could not be read.
    pub malformed: u64,
    /// Documents of a file, after the first, that could not be read.
    pub broken_documents: u64,
    /// Replies of which the store itself said that they are incomplete.
    pub partial: u64,
    /// Attributes beyond the limit of one span or resource, or that could not be read.
    pub attributes: u64,
    /// Exceptions beyond the limit of one span.
    pub exceptions: u64,
    /// Texts that were cut.
    pub cut: u64,
    /// Texts that were not UTF-8; what was not is replaced.
    pub invalid_text: u64,
}

impl Refusals {
    /// Spans that were left out; what was only cut or dropped within a span does not count.
    pub const fn total(&self) -> u64 {
        self.too_many
            .saturating_add(self.bad_ids)
            .saturating_add(self.no_time)
            .saturating_add(self.malformed)
    }

    /// Adds the counts of another body.
    pub const fn add(&mut self, other: &Self) {
        self.too_many = self.too_many.saturating_add(other.too_many);
        self.bad_ids = self.bad_ids.saturating_add(other.bad_ids);
        self.no_time = self.no_time.saturating_add(other.no_time);
        self.malformed = self.malformed.saturating_add(other.malformed);
        self.broken_documents = self.broken_documents.saturating_add(other.broken_documents);
        self.partial = self.partial.saturating_add(other.partial);
        self.attributes = self.attributes.saturating_add(other.attributes);
        self.exceptions = self.exceptions.saturating_add(other.exceptions);
        self.cut = self.cut.saturating_add(other.cut);
        self.invalid_text = self.invalid_text.saturating_add(other.invalid_text);
    }

    /// One sentence part for each reason with its count, the gravest first; empty when nothing was left out.
    pub fn told(&self) -> Vec<String> {
        let all = [
            (
                self.partial,
                "reply of which the store said that it is incomplete",
                "replies of which the store said that they are incomplete",
            ),
            (self.too_many, "span beyond the limit", "spans beyond the limit"),
            (
                self.bad_ids,
                "span whose ids are missing, zero or of a wrong length",
                "spans whose ids are missing, zero or of a wrong length",
            ),
            (self.no_time, "span without a start or an end", "spans without a start or an end"),
            (self.malformed, "span that could not be read", "spans that could not be read"),
            (
                self.broken_documents,
                "further document that could not be read",
                "further documents that could not be read",
            ),
            (
                self.attributes,
                "attribute dropped: too many, or unreadable",
                "attributes dropped: too many, or unreadable",
            ),
            (
                self.exceptions,
                "exception dropped: too many in one span",
                "exceptions dropped: too many in one span",
            ),
            (self.cut, "text cut to its limit", "texts cut to their limit"),
            (
                self.invalid_text,
                "text that is not UTF-8, repaired",
                "texts that are not UTF-8, repaired",
            ),
        ];
        let some = all.into_iter().filter(|(count, ..)| *count > 0);
        some.map(|(count, one, several)| {
            format!("{count} {}", if count == 1 { one } else { several })
        })
        .collect()
    }
}
