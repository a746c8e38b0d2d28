//! Populations of traces of a small shop, with a planted cause and the answer that a person would give.
//!
//! Both arms are drawn from one model of a request; the canary's differs in one thing only, the [`Plant`]. The score
//! table of `tests/traces.rs` counts how often the comparison names that thing, first or among the first three.

mod answer;
mod plant;
mod request;

pub use answer::{Answer, answer, diff};
pub use plant::Plant;
pub use request::{Population, Sizes, population};
