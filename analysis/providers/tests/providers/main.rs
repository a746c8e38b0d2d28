//! The providers against replies from files and against servers that misbehave, on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "the server runs beside the test, and real time is what is bounded here"
)]

mod dialects;
mod kinds;
mod laws;
mod prometheus;
mod scrape;
mod server;
mod told;
