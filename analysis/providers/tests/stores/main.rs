//! Stores of counts per interval against recorded replies and against servers that misbehave, on loopback.
//!
//! Whatever holds for every store is written once and run for each.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "the server runs beside the test, and real time is what is bounded here"
)]

mod laws;
mod limits;
mod replies;
mod requests;
mod server;
mod settings;
mod told;
mod vendors;
