//! The whole of Serin: the real binary on real Git repositories, with real processes and real
//! requests.
//!
//! Each test has a folder, ports and a Serin of its own, and waits on values with a bound. The file
//! is not called `main.rs` because these tests belong to the package of the binary, and Cargo would
//! otherwise take them for tests of the folder's own package as well.

mod causes;
mod commits;
mod crashes;
mod disk;
mod harness;
mod https;
mod instance;
mod metrics;
mod orders;
mod receivers;
mod reverting;
mod senders;
mod shop;
mod ssh;
mod stored;
mod stores;
mod traces;
mod trying;
mod verdicts;
mod versions;
