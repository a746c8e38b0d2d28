//! The embedded proxy: Serin's own data plane, for when nothing else routes.
//!
//! A [`Proxy`] is a cheap handle on the routes of all services. Each service listens on a port of
//! its own, has two arms of instances and a weight between them.

mod body;
mod counts;
mod forward;
mod headers;
mod instance;
mod metrics;
mod options;
mod random;
mod route;
mod serve;
mod split;
mod trace;
mod upgrade;
mod upstream;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use analysis::Arm;
use futures_util::future::BoxFuture;
use rollout::Weight;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use counts::{InstanceCounts, LE};
pub use instance::Backend;
pub use options::{HeaderMatch, RouteOptions, Sticky};

use crate::{Confirmed, RouteError, TrafficRouter};
use metrics::{InstanceMetrics, ServiceMetrics};
use options::Checked;
use random::Random;
use route::Route;
use serve::{Phase, Served};

/// A handle on the embedded proxy; clones share it. When the last one is dropped, all listeners
/// and connections end at once.
#[derive(Debug, Clone)]
pub struct Proxy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    random: Arc<Random>,
    services: Mutex<BTreeMap<String, Service>>,
}

#[derive(Debug)]
struct Service {
    route: Arc<Route>,
    listener: Option<Listener>,
}

#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    /// The accepting task; dropping the set ends it and, with it, all connections.
    task: JoinSet<()>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self::new()
    }
}

impl Proxy {
    /// A proxy that serves nothing yet.
    pub fn new() -> Self {
        Self(Arc::new(Inner { random: Arc::new(Random::seeded()), services: Mutex::default() }))
    }

    /// Listens on `listen` and serves `service` there until [`Proxy::close`]; port 0 picks a free
    /// one. Returns the address that it listens on. Dropping the future half-way is safe.
    ///
    /// # Errors
    /// The address is in use or not allowed, the service is open already, or an option is unusable;
    /// the message says what to do.
    pub async fn open(
        &self,
        service: &str,
        listen: SocketAddr,
        options: RouteOptions,
    ) -> Result<SocketAddr, RouteError> {
        let options = Checked::new(service, options)?;
        let already = |address| RouteError::AlreadyOpen { service: service.to_owned(), address };
        if let Some(address) = self.listening(service) {
            return Err(already(address));
        }
        let refused = |source: io::Error| {
            let service = service.to_owned();
            if source.kind() == io::ErrorKind::AddrInUse {
                RouteError::AddressInUse { service, address: listen, source }
            } else {
                RouteError::Listen { service, address: listen, source }
            }
        };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let route = self.route_or_new(service);
        let mut services = self.services();
        // Another caller may have been faster, or have closed the service in between.
        let entry = services.entry(service.to_owned()).or_insert(Service { route, listener: None });
        if let Some(other) = &entry.listener {
            return Err(already(other.address));
        }
        let (phase, watched) = watch::channel(Phase::Open);
        let served = Arc::new(Served {
            route: Arc::clone(&entry.route),
            options,
            random: Arc::clone(&self.0.random),
            phase: watched,
        });
        let mut task = JoinSet::new();
        task.spawn(serve::accept(listener, served));
        entry.listener = Some(Listener { address, phase, task });
        tracing::info!(service, %address, "the proxy listens");
        Ok(address)
    }

    /// Makes `backends` the instances of one arm; requests go to them in turn. Idempotent.
    ///
    /// Of two backends with one name the first counts. An instance that stays, by name and address,
    /// keeps its counters and connections. Requests in flight on one that leaves run to their end.
    /// A canary without instances has weight 0, and the next one starts there. The service need not
    /// be open yet.
    pub fn set_backends(&self, service: &str, arm: Arm, backends: Vec<Backend>) {
        self.route_or_new(service).set_backends(arm, backends);
    }

    /// Gives the canary the share `weight`, for every request from now on, and returns what is
    /// served. Weight 0 is never refused once the service is known.
    ///
    /// # Errors
    /// The service is unknown, or an arm that would get traffic has no instance.
    pub fn shift_now(&self, service: &str, weight: Weight) -> Result<Confirmed, RouteError> {
        let route =
            self.route(service).ok_or_else(|| RouteError::UnknownService(service.to_owned()))?;
        Ok(Confirmed { weight: route.shift(weight)? })
    }

    /// The canary's share that is served; `None` for an unknown service.
    pub fn weight(&self, service: &str) -> Option<Weight> {
        self.route(service).map(|route| route.weight())
    }

    /// Makes the canary's instances the baseline's and sets the weight to 0, in one swap that no
    /// request can see half of. Counts follow their instances. Does nothing without a canary, so
    /// promoting twice is promoting once.
    pub fn promote(&self, service: &str) {
        if !self.route(service).is_some_and(|route| route.promote()) {
            tracing::debug!(service, "there was no canary to promote");
        }
    }

    /// Waits until no request is in flight on `instance`, at most `deadline`; returns how many are
    /// left. Remove the instance from its arm before, or new requests keep coming. Dropping the
    /// future is safe.
    pub async fn drain(&self, service: &str, instance: &str, deadline: Duration) -> usize {
        match self.route(service) {
            Some(route) => route.drain(instance, deadline).await,
            None => 0,
        }
    }

    /// The counters of all instances of a service; cheap enough to be read many times a second.
    /// An instance that was removed is there until its last request has ended.
    pub fn counts(&self, service: &str) -> Vec<InstanceCounts> {
        self.route(service).map(|route| route.counts()).unwrap_or_default()
    }

    /// All services' numbers in the Prometheus text format.
    pub fn metrics(&self) -> String {
        let routes: Vec<(String, Arc<Route>)> = self
            .services()
            .iter()
            .map(|(service, found)| (service.clone(), Arc::clone(&found.route)))
            .collect();
        let services: Vec<ServiceMetrics> = routes
            .into_iter()
            .map(|(service, route)| ServiceMetrics {
                service,
                weight: route.weight(),
                unrouted: route.unrouted(),
                instances: route
                    .listed()
                    .iter()
                    .map(|(arm, instance)| InstanceMetrics {
                        counts: instance.counts.read(*arm, &instance.backend.instance),
                        classes: instance.counts.classes(),
                        seconds: instance.counts.duration_sum().as_secs_f64(),
                    })
                    .collect(),
            })
            .collect();
        metrics::render(&services)
    }

    /// Stops listening for `service`, lets what is in flight end for at most `grace`, then ends it
    /// and forgets the service. Does nothing for an unknown service. Dropping the future ends
    /// everything of the service at once.
    pub async fn close(&self, service: &str, grace: Duration) {
        let Some(Service { route, listener }) = self.services().remove(service) else { return };
        let Some(Listener { address, phase, mut task }) = listener else { return };
        phase.send_replace(Phase::Closing);
        let ended = timeout(grace, async {
            while task.join_next().await.is_some() {}
            route.idle().await;
        })
        .await;
        phase.send_replace(Phase::Closed);
        task.shutdown().await;
        let left = ended.is_err();
        tracing::info!(service, %address, left, "the proxy no longer listens");
    }

    fn listening(&self, service: &str) -> Option<SocketAddr> {
        self.services().get(service)?.listener.as_ref().map(|listener| listener.address)
    }

    fn route(&self, service: &str) -> Option<Arc<Route>> {
        self.services().get(service).map(|found| Arc::clone(&found.route))
    }

    fn route_or_new(&self, service: &str) -> Arc<Route> {
        let mut services = self.services();
        if let Some(found) = services.get(service) {
            return Arc::clone(&found.route);
        }
        let route = Route::new(service, &self.0.random);
        let new = Service { route: Arc::clone(&route), listener: None };
        services.insert(service.to_owned(), new);
        route
    }

    // Nothing panics while it holds the lock. No request takes it.
    fn services(&self) -> MutexGuard<'_, BTreeMap<String, Service>> {
        self.0.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrafficRouter for Proxy {
    fn shift<'a>(
        &'a self,
        service: &'a str,
        weight: Weight,
    ) -> BoxFuture<'a, Result<Confirmed, RouteError>> {
        Box::pin(async move { self.shift_now(service, weight) })
    }
}
