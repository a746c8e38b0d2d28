//! The embedded proxy alone, in front of given backends: for measurements and for trying it out.
//!
//! `proxy LISTEN BASELINE[,BASELINE] [CANARY[,CANARY] BASIS_POINTS]`, for example
//! `proxy 127.0.0.1:8080 127.0.0.1:9001 127.0.0.1:9002 100`. Ends with its standard input.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;

use rollout::Weight;
use rollout_routers::{Arm, Backend, Proxy, RouteOptions};
use tokio::io::AsyncReadExt;

const USAGE: &str = "usage: proxy LISTEN BASELINE[,BASELINE] [CANARY[,CANARY] BASIS_POINTS]";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen: SocketAddr = arguments.next().ok_or(USAGE)?.parse()?;
    let baseline = backends('b', &arguments.next().ok_or(USAGE)?)?;
    let proxy = Proxy::new();
    proxy.set_backends("example", Arm::Baseline, baseline);
    if let Some(canary) = arguments.next() {
        let points = arguments.next().ok_or(USAGE)?.parse()?;
        proxy.set_backends("example", Arm::Canary, backends('c', &canary)?);
        proxy.shift_now("example", Weight::from_basis_points(points)?)?;
    }
    let address = proxy.open("example", listen, RouteOptions::default()).await?;
    writeln!(std::io::stdout(), "listening on {address}")?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    write!(std::io::stdout(), "{}", proxy.metrics())?;
    Ok(())
}

/// Backends named `b1`, `b2` and so on from a list of addresses.
fn backends(letter: char, list: &str) -> Result<Vec<Backend>, std::net::AddrParseError> {
    list.split(',')
        .zip(1..)
        .map(|(address, number)| {
            Ok(Backend { instance: format!("{letter}{number}"), address: address.parse()? })
        })
        .collect()
}
