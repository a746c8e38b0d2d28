//! Pushed spans from bodies to counts, observations and traces.

mod bounded;
mod counts;
mod errors;
mod messages;
pub(super) mod samples;
mod traces;
