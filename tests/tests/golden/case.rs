//! One golden case, and what became of all of them.

use std::fmt::{Debug, Display};

use analysis::{Counts, sequential::Exposure};
use serde_json::Value;

/// One case of a golden file.
pub(crate) struct Case<'a> {
    pub(crate) id: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) input: &'a Value,
    pub(crate) expect: &'a Value,
    /// Relative tolerance of every number.
    pub(crate) tolerance: f64,
}

impl<'a> Case<'a> {
    pub(crate) fn new(case: &'a Value) -> Self {
        let kind = case["kind"].as_str().unwrap();
        Self {
            id: case["id"].as_str().unwrap_or(kind),
            kind,
            input: &case["input"],
            expect: &case["expect"],
            tolerance: case["rel_tol"].as_f64().unwrap_or(1e-9),
        }
    }

    /// A number of the input.
    pub(crate) fn number(&self, name: &str) -> f64 {
        self.input[name].as_f64().unwrap_or_else(|| panic!("{}: no number {name}", self.id))
    }

    /// A number of the input that the reference gives a default.
    pub(crate) fn number_or(&self, name: &str, default: f64) -> f64 {
        self.input[name].as_f64().unwrap_or(default)
    }

    /// An array of numbers of the input.
    pub(crate) fn numbers(&self, name: &str) -> Vec<f64> {
        numbers(&self.input[name])
    }

    /// Whether the reference's boundary is one-sided, which is its default.
    pub(crate) fn one_sided(&self) -> bool {
        let flag = &self.input["is_one_sided"];
        flag.as_bool().or_else(|| flag.as_f64().map(|flag| flag > 0.5)).unwrap_or(true)
    }

    /// The scrapes of both arms, events and requests times `kappa`: tempering a likelihood ratio scales its counts.
    pub(crate) fn scrapes(&self) -> Vec<Exposure> {
        let kappa = self.number_or("kappa", 1.0);
        let scrapes = self.input["scrapes_xc_xb_nc_nb"].as_array().unwrap().iter();
        scrapes
            .map(numbers)
            .map(|scrape| Exposure {
                canary_events: kappa * scrape[0],
                baseline_events: kappa * scrape[1],
                canary: kappa * scrape[2],
                baseline: kappa * scrape[3],
            })
            .collect()
    }
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// Whole counts, an array of events and requests.
pub(crate) fn counts(pair: &Value) -> Counts {
    Counts { events: pair[0].as_u64().unwrap(), of: pair[1].as_u64().unwrap() }
}

/// What was checked, and what was wrong.
#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) numbers: usize,
    pub(crate) wrong: Vec<String>,
}

impl Checked {
    /// A number within the case's relative tolerance.
    pub(crate) fn close(&mut self, case: &Case, got: f64, expected: f64) {
        self.within(case, got, expected, case.tolerance * expected.abs().max(1e-300));
    }

    /// A number within an absolute tolerance.
    pub(crate) fn within(&mut self, case: &Case, got: f64, expected: f64, tolerance: f64) {
        self.numbers += 1;
        let miss = (got - expected).abs();
        if !(miss <= tolerance || miss == 0.0) {
            self.wrong.push(format!("{}: got {got}, expected {expected}", case.id));
        }
    }

    /// An end of an interval, `null` where it is unbounded.
    pub(crate) fn end(&mut self, case: &Case, got: Option<f64>, expected: &Value) {
        match (got, expected.as_f64()) {
            (Some(got), Some(expected)) => self.close(case, got, expected),
            (got, expected) => self.equal(case, &got, &expected),
        }
    }

    /// Anything that must be exactly so.
    pub(crate) fn equal<T: PartialEq + Debug>(&mut self, case: &Case, got: &T, expected: &T) {
        self.numbers += 1;
        if got != expected {
            self.wrong.push(format!("{}: got {got:?}, expected {expected:?}", case.id));
        }
    }

    /// Anything that must hold.
    pub(crate) fn holds(&mut self, case: &Case, holds: bool, what: impl Display) {
        self.numbers += 1;
        if !holds {
            self.wrong.push(format!("{}: {what}", case.id));
        }
    }
}
