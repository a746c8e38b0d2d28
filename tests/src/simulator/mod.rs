//! A seeded simulator of a service's whole world around the real machine.
//!
//! A seed draws a scenario: traffic, versions that are good, bad, slow or cannot start, newer
//! commits, people, outages, shared incidents. The world then answers the machine's actions, late,
//! twice or never, and Serin may be killed after any event. After each event the promises of the
//! design are checked. Everything is drawn by purpose and virtual time, never in sequence: a crash
//! changes no draw, so the same seed can be compared with and without crashes.

mod branch;
mod dice;
mod play;
mod promises;
mod scenario;
mod traffic;
mod world;

pub use play::{Report, Violation, run};
pub use promises::{Ending, Nature};
pub use scenario::Scenario;

/// How often Serin dies, and what is lost with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crashes {
    /// Never.
    None,
    /// After random events, for no time; work that was under way is joined again.
    Instant,
    /// After random events, for a while; answers are lost although the work may have been done.
    Lossy,
}
