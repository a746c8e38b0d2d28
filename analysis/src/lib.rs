#![doc = include_str!("../README.md")]

pub mod assessment;
mod calm;
pub mod check;
mod comparison;
mod evidence;
mod exponential;
mod gauge;
pub mod history;
mod judgement;
pub mod kayenta;
pub mod latency;
pub mod observation;
mod pods;
mod sentence;
pub mod sequential;
mod tail;
pub mod text;
pub mod verdict;

pub use assessment::{Assessment, Refused};
pub use check::{Check, NEW_ERRORS, OnBreach, RESTARTS, Settings, Test};
pub use exponential::Exponential;
pub use history::{History, Reference, Spread};
pub use latency::{EffectiveTolerance, LatencyProfile, effective_tolerance};
pub use observation::{Arm, Observation, Refusal, Sample, Scrape};
pub use verdict::{Counts, Finding, Interval, Outcome, Quantile, Status, Verdict};
