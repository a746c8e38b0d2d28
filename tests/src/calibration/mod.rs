//! Calibration: error probabilities and delays of the engine and of its peers, on the same simulated traffic.
//!
//! What a false-alarm probability is worth shows only over thousands of rollouts whose truth is known. Each row
//! is one such truth; Serin and simulated peers watch the very same streams. Everything is drawn from seeds that
//! come from the row's name, so a row gives the same figures alone, in any order and on any number of cores.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a simulation whose counts and seconds are far below 2^32"
)]

mod binomial;
mod durations;
mod ends;
mod limit;
mod peers;
mod ramp;
pub mod replay;
mod rows;
mod runner;
mod serin;
mod streams;
mod summary;
mod table;
mod targets;

pub use ends::{Cell, Ends};
pub use limit::Limit;
pub use rows::{Group, Row, Tool, rows};
pub use runner::{Depth, Measured, Results, measure};
pub use summary::{between_markers, summary, with_section};
pub use table::document;
pub use targets::{Line, State, lines};
