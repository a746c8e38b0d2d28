#![doc = include_str!("../README.md")]

pub mod alert;
mod bounds;
mod limits;
pub mod render;
pub mod route;
pub mod samples;
mod text;
pub mod throttle;
mod view;

pub use alert::{
    Alert, Commit, Duty, Evidence, Git, Kind, Link, Links, Need, Severity, Timings, Unsettled,
};
pub use render::{Message, Rendered, TemplateProblem, Templates};
pub use route::{Channel, RouteProblem, Routes};
pub use throttle::{Admission, Repeat, Throttle};
