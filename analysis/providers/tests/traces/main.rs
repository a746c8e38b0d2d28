//! Stores of traces against recorded replies and against servers that misbehave, on loopback.
//!
//! Whatever holds for every store is written once and run for each.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "the server runs beside the test, and real time is what is bounded here"
)]

mod good;
mod limits;
mod links;
#[path = "../stores/server.rs"]
mod server;
mod settings;
mod stores;
mod told;
mod wrong;
