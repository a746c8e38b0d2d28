#![doc = include_str!("../README.md")]

pub mod assessment;
mod calm;
pub mod check;
mod comparison;
mod evidence;
pub mod history;
mod judgement;
pub mod latency;
pub mod observation;
mod sentence;
pub mod sequential;
pub mod text;
pub mod verdict;

pub use assessment::{Assessment, Refused};
pub use check::{Check, OnBreach, Settings, Test};
pub use history::{History, Reference};
pub use latency::{EffectiveTolerance, LatencyProfile, effective_tolerance};
pub use observation::{Arm, Observation, Refusal, Sample, Scrape};
pub use verdict::{Counts, Finding, Interval, Outcome, Status, Verdict};
