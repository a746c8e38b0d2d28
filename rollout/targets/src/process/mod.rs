//! Runs each version as local processes: the target that needs nothing installed.
//!
//! One task owns every process of a folder, so that a hundred services cost one task, and so that
//! start, exit, restart and stop of an instance can never interleave. Everything that must outlive
//! Serin is in the kernel or on disk: the processes are in groups of their own and write straight
//! to their log files, and a record per instance lets the next Serin find them.

mod error;
mod handle;
mod kernel;
mod log;
mod port;
mod probe;
mod record;
mod spawn;
mod spec;
mod supervisor;
mod telemetry;

pub use error::{StartError, StopError};
pub use handle::{Processes, Snapshot};
pub use spec::{Exit, Launch, ProcessSpec, Running};
