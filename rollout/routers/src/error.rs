//! Why traffic could not be moved.
//!
//! One small enum for all routers, because the driver treats them alike: it retries what is
//! transient and reports the rest.

use std::io;
use std::net::SocketAddr;

use analysis::Arm;

/// Why a router could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// Another socket has the address.
    #[error(
        "open the proxy of service {service}: {address} is in use by another program; \
         hint: find it with `ss -ltnp 'sport = :{port}'` and stop it, or give the service another \
         listen address", port = address.port()
    )]
    AddressInUse {
        /// The service whose proxy was to listen.
        service: String,
        /// The address that is taken.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The operating system refused to listen.
    #[error(
        "open the proxy of service {service} on {address}; hint: use an address of this host, and \
         a port from 1024 up unless the program may bind lower ones"
    )]
    Listen {
        /// The service whose proxy was to listen.
        service: String,
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The proxy already listens for this service.
    #[error("open the proxy of service {service}: it already listens on {address}")]
    AlreadyOpen {
        /// The service.
        service: String,
        /// Where it listens.
        address: SocketAddr,
    },
    /// An option cannot be used.
    #[error("open the proxy of service {service}: {option} `{value}` is not allowed; hint: {hint}")]
    Option {
        /// The service.
        service: String,
        /// Which option.
        option: &'static str,
        /// What it was set to.
        value: String,
        /// What would be allowed.
        hint: &'static str,
    },
    /// Nothing is known of this service.
    #[error("no route for service {0}; hint: open it first")]
    UnknownService(String),
    /// An arm that would get traffic has nothing to serve it.
    #[error(
        "the {} of service {service} has no instance to serve its share; hint: add one before \
         shifting", arm_name(*arm)
    )]
    NoBackends {
        /// The service.
        service: String,
        /// The arm without an instance.
        arm: Arm,
    },
}

impl RouteError {
    /// Whether the same request may succeed later without anyone changing a setting.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoBackends { .. } | Self::AddressInUse { .. } => true,
            Self::Listen { .. }
            | Self::AlreadyOpen { .. }
            | Self::Option { .. }
            | Self::UnknownService(_) => false,
        }
    }
}

/// The arm as metrics and messages write it.
pub(crate) fn arm_name(arm: Arm) -> &'static str {
    match arm {
        Arm::Baseline => "baseline",
        Arm::Canary => "canary",
    }
}
