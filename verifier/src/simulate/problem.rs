//! What is wrong in a script, and what to write instead.

use std::fmt;

/// One thing that is wrong in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptProblem {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong: one sentence, no full stop.
    pub what: String,
    /// What to write instead, no full stop.
    pub hint: String,
}

/// A problem whose line is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    what: String,
    hint: String,
}

impl ScriptProblem {
    pub(super) fn new(line: usize, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { line, what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for ScriptProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}\n  hint: {}", self.line, self.what, self.hint)
    }
}

impl std::error::Error for ScriptProblem {}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }

    pub(super) fn at(self, line: usize) -> ScriptProblem {
        ScriptProblem { line, what: self.what, hint: self.hint }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.hint)
    }
}
