//! The one place that reads the wall clock.

use jiff::Timestamp;

/// The time now.
#[expect(
    clippy::disallowed_methods,
    reason = "the shell stamps events here; the core takes time as an argument"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}
