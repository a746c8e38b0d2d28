#![doc = include_str!("../README.md")]

pub mod exposition;
pub mod metrics;

pub use exposition::{Exposition, Format};
pub use metrics::{Counter, Gauge, Histogram, Metric, TABLE, Type, Unit};
