//! Free ports on the loopback address.
//!
//! The kernel is asked for one by binding port 0. Between that and the bind of the process another
//! program may take it; whoever starts a process looks afterwards and tries again with another.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Attempts to get a port that no other instance was given; each gets another from the kernel.
const ATTEMPTS: usize = 16;

/// A port that is free now and not among `taken`.
pub(super) fn free(taken: &BTreeSet<u16>) -> io::Result<u16> {
    for _ in 0..ATTEMPTS {
        let port = TcpListener::bind(address(0))?.local_addr()?.port();
        if !taken.contains(&port) {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "every port offered is promised to an instance"))
}

/// Whether a process could listen on this port now.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind(address(port)).is_ok()
}

/// Where an instance with this port is reached.
pub(super) fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_free() {
        let listener = TcpListener::bind(address(0)).expect("bound");
        let port = listener.local_addr().expect("bound").port();
        assert!(!is_free(port));
        assert_ne!(free(&BTreeSet::new()).expect("one is free"), port);
        drop(listener);
        assert!(is_free(port));
    }

    #[test]
    fn a_promised_port_is_not_given_twice() {
        let all: BTreeSet<u16> = (1..=u16::MAX).collect();
        assert_eq!(free(&all).expect_err("none is left").kind(), io::ErrorKind::AddrInUse);
    }
}
