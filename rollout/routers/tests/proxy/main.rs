//! The embedded proxy between real servers and clients on loopback.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod client_side;
mod counting;
mod passing;
mod shifting;
mod world;
