//! Tunnels: what a connection becomes after `101 Switching Protocols`, WebSocket above all.
//!
//! A tunnel is one request in flight until either side closes it. It was counted as completed when
//! the instance agreed to it; what happens inside is between the two ends.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::watch;

use super::instance::Flight;
use super::serve::Phase;

/// Copies both ways until one side ends or the service is closed.
pub(super) async fn tunnel(
    client: OnUpgrade,
    instance: OnUpgrade,
    flight: Flight,
    mut phase: watch::Receiver<Phase>,
) {
    let copy = async {
        let (client, instance) = tokio::try_join!(client, instance)?;
        let copied =
            copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(instance)).await;
        Ok::<_, hyper::Error>(copied)
    };
    tokio::select! {
        copied = copy => match copied {
            Ok(Ok((from_client, from_instance))) => {
                tracing::debug!(from_client, from_instance, "a tunnel ended");
            }
            Ok(Err(error)) => tracing::debug!(%error, "a tunnel broke"),
            Err(error) => tracing::debug!(%error, "a tunnel was not opened"),
        },
        // Also when the proxy itself is gone.
        _ = phase.wait_for(|phase| *phase == Phase::Closed) => {}
    }
    drop(flight);
}
