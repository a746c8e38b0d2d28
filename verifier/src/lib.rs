#![doc = include_str!("../README.md")]

pub mod config;
pub mod git;

/// An error with all its causes, for people: `failed to push: connection refused`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
