#![doc = include_str!("../README.md")]

pub mod embedded;
mod error;

use futures_util::future::BoxFuture;
use rollout::Weight;

pub use analysis::Arm;
pub use embedded::{Backend, HeaderMatch, InstanceCounts, LE, Proxy, RouteOptions, Sticky};
pub use error::RouteError;

/// Sets how traffic is split and confirms it from what the data plane serves.
pub trait TrafficRouter: Send + Sync {
    /// Gives the canary of `service` the share `weight` and resolves when the data plane serves so.
    ///
    /// Absolute and idempotent: asking twice is asking once. Makes one attempt. Dropping the
    /// future half-way is safe: ask again.
    ///
    /// # Errors
    /// [`RouteError`] says by [`RouteError::is_transient`] whether asking again can help.
    fn shift<'a>(
        &'a self,
        service: &'a str,
        weight: Weight,
    ) -> BoxFuture<'a, Result<Confirmed, RouteError>>;
}

/// The answer to a shift, read back from the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// The canary's share that the data plane serves now.
    pub weight: Weight,
}
