#![doc = include_str!("../README.md")]

pub mod backtest;
pub mod board;
pub mod bundle;
pub mod cause;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod driver;
pub mod git;
mod grpc;
pub mod journal;
pub mod journey;
pub mod measure;
pub mod perform;
pub mod run;
pub mod simulate;
pub mod telemetry;
pub mod tell;
pub mod watch;
pub mod web;

/// An error with all its causes, for people: `failed to push: connection refused`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
