//! What is told of a reading: each thing once, with how often it happened, and not too much.

use crate::error::bounded;

/// Different notes that are kept; a store that fails in more ways than that fails in one.
const MOST: usize = 24;

/// Notes in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Notes {
    notes: Vec<(String, u64)>,
    more: u64,
}

impl Notes {
    /// Adds a note, or counts it if it is there.
    pub(super) fn add(&mut self, text: impl Into<String>) {
        let text = bounded(text.into());
        if let Some((_, times)) = self.notes.iter_mut().find(|(known, _)| *known == text) {
            *times += 1;
        } else if self.notes.len() < MOST {
            self.notes.push((text, 1));
        } else {
            self.more += 1;
        }
    }

    /// All of them, in words.
    pub(super) fn told(self) -> Vec<String> {
        let one = |(text, times): (String, u64)| match times {
            1 => text,
            times => format!("{text} ({times} times)"),
        };
        let more = (self.more > 0).then(|| format!("{} notes more are left out", self.more));
        self.notes.into_iter().map(one).chain(more).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_counted_and_bounded() {
        let mut notes = Notes::default();
        notes.add("a");
        notes.add("b".repeat(9_000));
        notes.add("a");
        for other in 0..100 {
            notes.add(other.to_string());
        }
        let told = notes.told();
        assert_eq!(told[0], "a (2 times)");
        assert!(told[1].len() < 1_100);
        assert_eq!((told.len(), told[MOST].as_str()), (MOST + 1, "78 notes more are left out"));
    }
}
