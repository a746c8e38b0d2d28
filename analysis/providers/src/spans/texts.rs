//! Texts that a body repeats, kept once; and lists and maps as short text.
//!
//! Spans repeat the same few hundred names and values. A small table of fixed size finds them again without an
//! allocation and without checking them anew, and no sender can make it grow or slow: a text that is pushed out is
//! only kept twice.

use std::sync::Arc;

/// Places of the table; a power of two. Some thousand different texts are usual, and 64 KiB fit a cache.
const PLACES: usize = 4_096;

/// Deeper lists and maps are not looked into: nobody reads them, and hostile ones have no bottom.
const DEEPEST: u8 = 6;

/// The texts that were seen lately.
#[derive(Debug)]
pub(super) struct Texts(Vec<Option<Arc<str>>>);

impl Texts {
    pub(super) fn new() -> Self {
        Self(vec![None; PLACES])
    }

    /// The text of these bytes, if it was seen lately.
    pub(super) fn known(&mut self, bytes: &[u8]) -> Option<Arc<str>> {
        let at = place(bytes);
        let is_it = |text: &Arc<str>| text.as_bytes() == bytes;
        if let Some(text) = self.0[at].as_ref().filter(|text| is_it(text)) {
            return Some(Arc::clone(text));
        }
        let text = self.0[at + 1].clone().filter(is_it)?;
        self.0.swap(at, at + 1);
        Some(text)
    }

    /// Remembers a text, in place of the one that was not asked for the longest of the two that share its place.
    pub(super) fn remember(&mut self, text: &Arc<str>) {
        let at = place(text.as_bytes());
        self.0[at + 1] = self.0[at].replace(Arc::clone(text));
    }
}

/// The first of the two places of a text, by the hash function of the Rust compiler ("`FxHash`").
fn place(bytes: &[u8]) -> usize {
    const SEED: u64 = 0x517c_c1b7_2722_0a95;
    let mut hash = u64::try_from(bytes.len()).unwrap_or(0);
    let mut add = |word: u64| hash = (hash.rotate_left(5) ^ word).wrapping_mul(SEED);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        add(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    add(u64::from_le_bytes(last));
    // The upper bits are the well mixed ones.
    usize::try_from(hash >> 40).unwrap_or(0) & (PLACES - 1) & !1
}

/// A list or map as short text, written until it is full.
#[derive(Debug)]
pub(super) struct Short {
    text: String,
    most: usize,
    depth: u8,
}

impl Short {
    /// Empty, for up to `most` bytes and one more element.
    pub(super) const fn new(most: usize) -> Self {
        Self { text: String::new(), most, depth: 0 }
    }

    /// Whether more would be cut.
    pub(super) const fn is_full(&self) -> bool {
        self.text.len() > self.most
    }

    /// Most bytes of it.
    pub(super) const fn room(&self) -> usize {
        self.most
    }

    /// A text within quotation marks.
    pub(super) fn quoted(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(super::builder::cut(text, self.most));
        self.text.push('"');
        for character in text.chars() {
            if matches!(character, '"' | '\\') {
                self.text.push('\\');
            }
            self.text.push(character);
        }
        self.text.push('"');
    }

    /// Anything else.
    pub(super) fn plain(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A list or map, its elements written by `write`, which calls [`Self::next`] before each.
    pub(super) fn nested(&mut self, marks: [char; 2], write: impl FnOnce(&mut Self)) {
        if self.depth == DEEPEST {
            return self.plain("...");
        }
        self.text.push(marks[0]);
        self.depth += 1;
        write(self);
        self.depth -= 1;
        self.text.push(marks[1]);
    }

    /// Begins another element; says whether there is room for it.
    pub(super) fn next(&mut self) -> bool {
        if self.is_full() {
            return false;
        }
        if !self.text.ends_with(['[', '{']) {
            self.text.push(',');
        }
        true
    }

    /// What was written.
    pub(super) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_again_and_pushes_out_only_what_shares_its_place() {
        let mut texts = Texts::new();
        for number in 0..3_u32 {
            let text: Arc<str> = format!("attribute.{number}").into();
            assert!(texts.known(text.as_bytes()).is_none());
            texts.remember(&text);
            assert!(Arc::ptr_eq(&texts.known(text.as_bytes()).unwrap(), &text));
        }
        let found = |texts: &mut Texts| {
            (0..20_000_u32)
                .filter(|number| {
                    let text: Arc<str> = format!("value-{number:05}").into();
                    let found = texts.known(text.as_bytes()).is_some();
                    texts.remember(&text);
                    found
                })
                .count()
        };
        assert_eq!(found(&mut texts), 0);
        assert_eq!(texts.0.len(), PLACES);
        // Some hundred names that come again and again are nearly all kept.
        let mut texts = Texts::new();
        let mut round = || {
            (0..500_u32)
                .filter(|number| {
                    let text: Arc<str> = format!("service.attribute.{number}").into();
                    let found = texts.known(text.as_bytes()).is_some();
                    if !found {
                        texts.remember(&text);
                    }
                    found
                })
                .count()
        };
        round();
        assert!(round() > 450);
    }

    #[test]
    fn nested_text_is_bounded() {
        fn deeper(short: &mut Short, left: u32) {
            short.nested(['[', ']'], |short| {
                if left > 0 && short.next() {
                    deeper(short, left - 1);
                }
            });
        }
        let mut short = Short::new(100);
        deeper(&mut short, 50);
        assert_eq!(short.bytes(), b"[[[[[[...]]]]]]");
        let mut short = Short::new(10);
        short.nested(['[', ']'], |short| {
            while short.next() {
                short.quoted(b"say \"x\"");
            }
        });
        assert_eq!(short.bytes(), br#"["say \"x\""]"#);
    }
}
