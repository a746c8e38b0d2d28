//! Walks the tree of a file by key, and notes everything that is wrong on the way.
//!
//! Reading never stops: whatever is missing or wrong is noted and replaced by a default, so that the
//! rest is read as well; the result counts only if nothing was noted. The keys that a map may have
//! are those that were asked for, so a known key and its reading cannot drift apart.

use std::cell::{Cell, RefCell};

use super::node::{Entry, Kind, Node};
use super::problem::quote;
use super::secret;
use super::source::{Source, Span};

/// What is wrong with a value: a message, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// One sentence, no full stop.
    message: String,
    /// What to write.
    hint: String,
    quoting: Quoting,
}

/// Whether a message or its hint may hold the value, which must not be told if it is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Value,
    Nothing,
}

impl Wrong {
    /// Message and hint, which may quote the value.
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), quoting: Quoting::Value }
    }

    /// Message and hint that hold nothing of the value.
    pub(super) fn fixed(message: &'static str, hint: &'static str) -> Self {
        Self { message: message.to_owned(), hint: hint.to_owned(), quoting: Quoting::Nothing }
    }
}

/// A value with its place and key.
#[derive(Clone)]
pub(super) struct At<'a> {
    source: &'a Source<'a>,
    node: &'a Node,
    key: String,
}

/// A list by hand is far shorter; items are compared with each other, which costs their square.
const MOST_ITEMS: usize = 1_000;

impl<'a> At<'a> {
    /// The root of a document.
    pub(super) fn root(source: &'a Source<'a>, node: &'a Node) -> Self {
        Self { source, node, key: String::new() }
    }

    /// Where it is.
    pub(super) fn span(&self) -> Span {
        self.node.span
    }

    /// The dotted key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The file that it is in.
    pub(super) fn source(&self) -> &'a Source<'a> {
        self.source
    }

    /// Notes what is wrong with this value.
    pub(super) fn wrong(&self, wrong: Wrong) {
        // A message quotes the value, which must not be told if it may be a secret.
        let Wrong { message, hint, .. } = match &self.node.kind {
            Kind::Text(_)
                if wrong.quoting == Quoting::Value && self.source.hides(self.node.span) =>
            {
                Wrong::fixed(
                    "the value is not what belongs here (it is hidden, since it may be a secret)",
                    "no secret belongs here; in serin.yaml secrets are given by reference, { env: NAME } or { file: path }",
                )
            }
            Kind::Null | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => wrong,
        };
        self.source.problem(self.node.span, &self.key, message, Some(hint));
    }

    /// Whether it is a text, not a list or map.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.node.kind, Kind::Text(_))
    }

    /// Whether it is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::List(_))
    }

    /// Whether nothing is written.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.node.kind, Kind::Null)
    }

    /// The text; anything else is noted. `expected` completes "write ...".
    pub(super) fn text(&self, expected: &str) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Text(text) => Some(text),
            Kind::Null | Kind::List(_) | Kind::Map(_) => self.unexpected(expected),
        }
    }

    /// The text as `parse` understands it; `None` if that is noted as wrong.
    pub(super) fn parse<T>(
        &self,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        parse(self.text(expected)?).map_err(|wrong| self.wrong(wrong)).ok()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let all = names.join(", ");
        let text = self.text(&format!("one of {all}"))?;
        let found = words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let hint = match near(text, &names) {
                Some(name) => format!("did you mean `{name}`? Possible are {all}"),
                None => format!("possible are {all}"),
            };
            self.wrong(Wrong::new(format!("{} is not possible here", quote(text)), hint));
        }
        found
    }

    /// The items of a list; anything else is noted.
    pub(super) fn list(&self, expected: &str) -> Option<Vec<Self>> {
        match &self.node.kind {
            Kind::List(items) if items.len() > MOST_ITEMS => {
                let hint = "one list needs no more; split it over several documents";
                self.wrong(Wrong::new(
                    format!("the list holds more than {MOST_ITEMS} items"),
                    hint,
                ));
                None
            }
            Kind::List(items) => {
                Some(items.iter().enumerate().map(|(index, node)| self.item(index, node)).collect())
            }
            Kind::Null | Kind::Text(_) | Kind::Map(_) => self.unexpected(expected),
        }
    }

    fn item(&self, index: usize, node: &'a Node) -> Self {
        Self { source: self.source, node, key: format!("{}[{index}]", self.key) }
    }

    /// Reads a map; keys that `read` does not ask for are noted. `expected` completes "write ...".
    pub(super) fn map<T>(&self, expected: &str, read: impl FnOnce(&Fields<'a>) -> T) -> Option<T> {
        match &self.node.kind {
            Kind::Map(entries) => {
                let fields = Fields {
                    at: self.clone(),
                    entries,
                    known: RefCell::default(),
                    missing: RefCell::default(),
                    lenient: Cell::new(false),
                };
                let value = read(&fields);
                fields.finish();
                Some(value)
            }
            Kind::Null | Kind::Text(_) | Kind::List(_) => self.unexpected(expected),
        }
    }

    /// Every entry of a map whose keys the user chooses: place of the key, key, value.
    pub(super) fn entries(&self, expected: &str) -> Option<Vec<(Span, &'a str, Self)>> {
        match &self.node.kind {
            Kind::Map(entries) => {
                Some(entries.iter().map(|e| (e.span, &*e.key, self.below(e))).collect())
            }
            Kind::Null | Kind::Text(_) | Kind::List(_) => self.unexpected(expected),
        }
    }

    /// The one entry of a map that chooses between `names`; the value may be nothing. What is
    /// chosen of `later` is noted as not supported yet. `expected` completes "write ...".
    pub(super) fn choice(
        &self,
        expected: &str,
        names: &[&'static str],
        later: &[&'static str],
    ) -> Option<(&'static str, Self)> {
        self.map(expected, |fields| {
            let mut found = names.iter().filter_map(|name| Some((*name, fields.raw(name)?)));
            let mut planned = later.iter().filter_map(|name| Some((*name, fields.raw(name)?)));
            match (found.next(), found.next().or_else(|| planned.next())) {
                (Some(one), None) => return Some(one),
                (Some((one, _)), Some((other, _))) => {
                    let message = format!("`{one}` and `{other}` cannot both be chosen");
                    self.wrong(Wrong::new(message, "keep one of them"));
                }
                (None, Some((name, _))) => {
                    let message = format!("`{name}` is not supported by this version of Serin yet");
                    self.wrong(Wrong::new(message, format!("write {expected}")));
                }
                (None, None) if !fields.has_strangers() => {
                    self.wrong(Wrong::new("nothing is chosen", format!("write {expected}")));
                }
                (None, None) => {}
            }
            None
        })?
    }

    fn below(&self, entry: &'a Entry) -> Self {
        let dot = if self.key.is_empty() { "" } else { "." };
        Self {
            source: self.source,
            node: &entry.value,
            key: format!("{}{dot}{}", self.key, entry.key),
        }
    }

    fn unexpected<T>(&self, expected: &str) -> Option<T> {
        let found = match &self.node.kind {
            Kind::Null => "nothing",
            Kind::Text(_) => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        };
        self.wrong(Wrong::new(
            format!("{found} does not belong here"),
            format!("write {expected}"),
        ));
        None
    }
}

/// The keys of a map.
pub(super) struct Fields<'a> {
    at: At<'a>,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
    missing: RefCell<Vec<(&'static str, String)>>,
    lenient: Cell<bool>,
}

impl<'a> Fields<'a> {
    /// The map itself.
    pub(super) fn at(&self) -> &At<'a> {
        &self.at
    }

    /// Every key of this map is fine.
    pub(super) fn ignore(&self) {
        self.lenient.set(true);
    }

    /// Whether there is a key that was not asked for so far; it is noted when the map ends.
    pub(super) fn has_strangers(&self) -> bool {
        self.strangers().next().is_some()
    }

    fn strangers(&self) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(|entry| !self.known.borrow().contains(&&*entry.key))
    }

    /// The value of `name`, also when nothing is written after it.
    pub(super) fn raw(&self, name: &'static str) -> Option<At<'a>> {
        if !self.known.borrow().contains(&name) {
            self.known.borrow_mut().push(name);
        }
        self.entries.iter().find(|entry| entry.key == name).map(|entry| self.at.below(entry))
    }

    /// The value of `name`; a key without a value is noted.
    pub(super) fn get(&self, name: &'static str) -> Option<At<'a>> {
        let at = self.raw(name)?;
        if at.is_null() {
            let hint = "write a value, or leave the key out for its default";
            at.wrong(Wrong::new(format!("`{name}` has no value"), hint));
            return None;
        }
        Some(at)
    }

    /// The value of `name`; its absence is noted. `example` is what to write.
    pub(super) fn required(&self, name: &'static str, example: &str) -> Option<At<'a>> {
        if self.raw(name).is_none() {
            self.missing.borrow_mut().push((name, example.to_owned()));
            return None;
        }
        self.get(name)
    }

    /// The value of `name` as `read` understands it; else the default.
    pub(super) fn or<T>(
        &self,
        name: &'static str,
        default: T,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> T {
        self.get(name).and_then(|at| read(&at)).unwrap_or(default)
    }

    /// Where the map begins, which is where a missing key is told.
    fn head(&self) -> Span {
        self.entries.first().map_or(self.at.span(), |entry| entry.span)
    }

    fn dotted(&self, name: &str) -> String {
        if self.at.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at.key) }
    }

    /// Notes unknown and missing keys. A slip of the pen in a key that is needed is one problem.
    fn finish(&self) {
        if self.lenient.get() {
            return;
        }
        let known = self.known.borrow();
        let mut missing = self.missing.borrow_mut();
        for entry in self.strangers() {
            let stems: Vec<&str> =
                known.iter().filter_map(|name| name.strip_suffix("From")).collect();
            let stem = near(&entry.key, &stems);
            let from = known
                .iter()
                .find(|name| stem.is_some() && name.strip_suffix("From") == stem)
                .copied();
            let meant = from.or_else(|| near(&entry.key, &known));
            if meant.is_some_and(|name| name.ends_with("From")) {
                secret::hide_all(self.at.source, &entry.value);
            }
            missing.retain(|(name, _)| meant != Some(*name));
            let hint = match (from, meant) {
                (Some(name), _) => format!(
                    "secrets are given by reference: {name}: {{ env: NAME }} or {name}: {{ file: path }}"
                ),
                (None, Some(name)) => format!("did you mean `{name}`?"),
                (None, None) if known.is_empty() => "leave it out".to_owned(),
                (None, None) if secret::names_secret(&entry.key) => {
                    format!("no secret belongs here; known are {}", known.join(", "))
                }
                (None, None) => format!("known are {}", known.join(", ")),
            };
            let message = format!("there is no key {} here", quote(&entry.key));
            self.at.source.problem(entry.span, &self.dotted(&entry.key), message, Some(hint));
        }
        for (name, example) in missing.iter() {
            let (key, message) = (self.dotted(name), format!("`{name}` is missing"));
            self.at.source.problem(self.head(), &key, message, Some(format!("write {example}")));
        }
    }
}

/// What people who come from other tools write, and our word for it.
const FROM_OTHER_TOOLS: [(&str, &str); 14] = [
    ("setWeight", "weight"),
    ("pause", "atLeast"),
    ("duration", "atLeast"),
    ("wait", "atLeast"),
    ("timeout", "deadline"),
    ("bakeTime", "bake"),
    ("alpha", "falseAlarm"),
    ("maxHarm", "harm"),
    ("cmd", "command"),
    ("run", "command"),
    ("env", "environment"),
    ("healthCheck", "health"),
    ("replicas", "instances"),
    ("rollback", "onFail"),
];

/// Longer keys are no slips of the pen, and comparing them would cost time.
const LONGEST_SLIP: usize = 40;

/// The name that was probably meant.
pub(super) fn near<'n>(written: &str, names: &[&'n str]) -> Option<&'n str> {
    if written.len() > LONGEST_SLIP {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let meant = |name: &&str| FROM_OTHER_TOOLS.contains(&(written, *name));
    let distance = |name: &str| strsim::damerau_levenshtein(&plain(written), &plain(name));
    // A third of the letters may be wrong, as in `dedline`; with more of them any word is near.
    // Of a single letter nothing would be left.
    let close = |name: &&str| 1 < name.len() && distance(name) <= (name.len() / 3).max(1);
    let by_distance = names.iter().copied().filter(close).min_by_key(|name| distance(name));
    names.iter().copied().find(meant).or(by_distance)
}
