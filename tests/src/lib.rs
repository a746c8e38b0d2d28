//! What whole-system tests share: the seeded simulator of a service's world, and the calibration of its engine.
//!
//! They live beside the tests rather than in them, so that one simulator serves the quick run of
//! every build, a long run of many seeds, and whoever wants to look at one seed's story.

pub mod calibration;
pub mod simulator;
pub mod traces;
