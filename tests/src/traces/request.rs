//! The model of a request: a shop's checkout service with a cache, a database, and two services below it.
//!
//! Durations are lognormal with sigma 0.6, as self times of real operations are; failures, cache misses and sizes are
//! drawn per request. Arms have several pods, and requests come over ten minutes.

use std::sync::Arc;

use analysis_traces::{
    Attributes, Exception, Kind, Resource, Span, SpanId, Status, Trace, TraceId, Value,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, LogNormal, Uniform};

use super::plant::Plant;

/// Spread of durations: standard deviation of their logarithm.
const SIGMA: f64 = 0.6;

/// Ten minutes in milliseconds.
const WINDOW: f64 = 600_000.0;

/// Traces of each arm.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Of the baseline.
    pub baseline: u32,
    /// Of the canary.
    pub canary: u32,
}

/// Traces of both arms.
#[derive(Debug, Clone)]
pub struct Population {
    /// The baseline's.
    pub baseline: Vec<Trace>,
    /// The canary's.
    pub canary: Vec<Trace>,
}

/// Draws both arms; the same for the same seed.
pub fn population(plant: Plant, sizes: Sizes, seed: u64) -> Population {
    let mut rng = StdRng::seed_from_u64(seed);
    // The tenant that the plant concerns: none of the largest, none of the smallest.
    let tenant = 2 + between(&mut rng, 3);
    let mut arm = |canary: bool, traces: u32, pods: u32| {
        let mut world =
            World::new(plant, canary, pods, tenant, StdRng::seed_from_u64(rng_seed(&mut rng)));
        (0..traces).map(|number| world.request(number)).collect()
    };
    let baseline = arm(false, sizes.baseline, 6);
    let canary = arm(true, sizes.canary, 3);
    Population { baseline, canary }
}

fn uniform(rng: &mut StdRng) -> f64 {
    Uniform::new(0.0, 1.0).expect("not empty").sample(rng)
}

fn between(rng: &mut StdRng, high: u32) -> u32 {
    Uniform::new(0, high.max(1)).expect("not empty").sample(rng)
}

fn rng_seed(rng: &mut StdRng) -> u64 {
    Uniform::new(0, u64::MAX).expect("not empty").sample(rng)
}

/// One arm.
struct World {
    plant: Plant,
    canary: bool,
    tenant: u32,
    rng: StdRng,
    pods: Vec<Arc<Resource>>,
    auth: Arc<Resource>,
    payments: Arc<Resource>,
    spans: Vec<Span>,
    trace: u128,
    next: u64,
    /// Factor on all durations, by pod.
    paces: Vec<f64>,
    /// Factor on all durations of this request.
    pace: f64,
    /// Milliseconds since the window began.
    now: f64,
}

/// What differs from request to request.
struct Details {
    tenant: u32,
    items: u32,
    route: &'static str,
    method: &'static str,
}

const TENANTS: [(&str, f64); 7] = [
    ("acme", 0.30),
    ("globex", 0.22),
    ("initech", 0.16),
    ("hooli", 0.13),
    ("umbrella", 0.11),
    ("stark", 0.05),
    ("wayne", 0.03),
];

impl World {
    fn new(plant: Plant, canary: bool, pods: u32, tenant: u32, mut rng: StdRng) -> Self {
        let (name, version) = if canary { ("c", "1.1.0") } else { ("b", "1.0.0") };
        let resource = |service: &str, version: &str, pod: String| {
            let attributes: Attributes = [
                ("service.version", version.into()),
                ("service.instance.id", pod.as_str().into()),
                ("telemetry.sdk.language", "rust".into()),
                ("cloud.region", "eu-1".into()),
            ]
            .into_iter()
            .collect();
            Arc::new(Resource { service: service.into(), attributes })
        };
        let differ = if plant == Plant::PodsDiffer { 0.05 } else { 0.0 };
        let pace = LogNormal::new(0.0, differ).expect("finite");
        let paces = (0..pods).map(|_| pace.sample(&mut rng)).collect();
        let pods =
            (0..pods).map(|pod| resource("checkout", version, format!("{name}-{pod}"))).collect();
        let trace = u128::from(rng_seed(&mut rng)) << 32;
        Self {
            plant,
            canary,
            tenant,
            pods,
            auth: resource("auth", "7", "auth-0".to_owned()),
            payments: resource("payments", "3", "payments-0".to_owned()),
            spans: Vec::new(),
            trace,
            paces,
            next: 1,
            pace: 1.0,
            now: 0.0,
            rng,
        }
    }

    /// Whether the arm has this plant.
    fn has(&self, plant: Plant) -> bool {
        self.canary && self.plant == plant
    }

    fn chance(&mut self, probability: f64) -> bool {
        uniform(&mut self.rng) < probability
    }

    /// Milliseconds around a median.
    fn draw(&mut self, median: f64) -> f64 {
        let duration = LogNormal::new(median.ln(), SIGMA).expect("finite").sample(&mut self.rng);
        duration * self.pace
    }

    fn request(&mut self, number: u32) -> Trace {
        self.trace += 1;
        let trace = TraceId(self.trace);
        self.now = uniform(&mut self.rng) * WINDOW;
        let details = self.details();
        let pods = u32::try_from(self.pods.len()).unwrap_or(1);
        let pod = usize::try_from(between(&mut self.rng, pods)).unwrap_or(0);
        let is_bad_host = self.has(Plant::BadHost) && pod == 1;
        let is_incident =
            self.plant == Plant::SharedIncident && (200_000.0..230_000.0).contains(&self.now);
        let pace = if is_bad_host {
            1.6
        } else if is_incident {
            3.0
        } else {
            1.0
        };
        self.pace = pace * self.paces[pod];
        let resource = self.pods[pod].clone();
        let root = self.open(&resource, Kind::Server, details.method, None);
        self.label(root, &details, number);
        let failed = self.handle(&resource, root, &details);
        self.close(root);
        if failed {
            self.fail(root, None);
        }
        // Work after the answer: nobody waits for it.
        let sent = self.now - 1.0;
        self.now = sent;
        let publish = self.open(&resource, Kind::Producer, "publish orders", Some(root));
        self.now += 0.5;
        self.close(publish);
        let consume = self.open(&self.auth.clone(), Kind::Consumer, "work orders", Some(publish));
        self.now += self.draw(200.0);
        self.close(consume);
        Trace {
            id: trace,
            kept: analysis_traces::Kept::Uniform,
            spans: std::mem::take(&mut self.spans),
        }
    }

    fn details(&mut self) -> Details {
        let mut left = uniform(&mut self.rng);
        let tenant = (0..).zip(TENANTS).find_map(|(at, (_, share))| {
            left -= share;
            (left < 0.0).then_some(at)
        });
        let share = if self.has(Plant::TrafficMix) { 0.55 } else { 0.25 };
        let is_post = self.chance(share);
        let (method, route) = if is_post {
            ("POST", "/checkout")
        } else if self.chance(0.6) {
            ("GET", "/cart")
        } else {
            ("GET", "/cart/{id}")
        };
        let items = 1 + between(&mut self.rng, 24);
        Details { tenant: tenant.unwrap_or(0), items, route, method }
    }

    fn label(&mut self, root: usize, details: &Details, number: u32) {
        let user = between(&mut self.rng, 1_000_000);
        let tenant = usize::try_from(details.tenant).ok().and_then(|at| TENANTS.get(at));
        let device = if self.chance(0.6) { "mobile" } else { "desktop" };
        self.spans[root].attributes = [
            ("http.route", details.route.into()),
            ("http.request.method", details.method.into()),
            ("tenant", tenant.map_or("none", |(name, _)| name).into()),
            ("cart.items", Value::Integer(i64::from(details.items))),
            ("enduser.id", format!("user-{user}").as_str().into()),
            ("request.number", Value::Integer(i64::from(number))),
            ("device", device.into()),
        ]
        .into_iter()
        .collect();
    }

    /// What the service does; whether the request failed.
    fn handle(&mut self, resource: &Arc<Resource>, root: usize, details: &Details) -> bool {
        self.now += self.draw(1.0);
        let check = self.open(resource, Kind::Client, "Auth/Check", Some(root));
        self.rpc(check, "Auth", "Check");
        self.now += 0.4;
        let inside = self.open(&self.auth.clone(), Kind::Server, "Auth/Check", Some(check));
        self.rpc(inside, "Auth", "Check");
        let slow = if self.has(Plant::SlowCallee) { 1.5 } else { 1.0 };
        self.now += self.draw(12.0) * slow;
        self.close(inside);
        self.now += 0.4;
        self.close(check);

        self.load_cart(resource, root, details);
        if self.has(Plant::NewException) && self.chance(0.03) {
            self.fail(
                root,
                Some((
                    "checkout::PriceMissing",
                    "no price for item 4711",
                    "   0: checkout::render::total\n             at ./src/render.rs:24:9\n",
                )),
            );
            return true;
        }
        let render = self.open(resource, Kind::Internal, "render", Some(root));
        self.code(render, "checkout::render::page", "src/render.rs", 20);
        let slow = if self.has(Plant::SlowCode) { 1.5 } else { 1.0 };
        self.now += self.draw(10.0) * slow;
        self.close(render);
        if details.method == "POST" { self.pay(resource, root) } else { false }
    }

    fn load_cart(&mut self, resource: &Arc<Resource>, root: usize, details: &Details) {
        let is_renamed = self.has(Plant::Renamed);
        let name = if is_renamed { "CartStore.fetch" } else { "CartRepo.load" };
        let load = self.open(resource, Kind::Internal, name, Some(root));
        self.code(load, "checkout::cart::load", "src/cart/repo.rs", 88);
        self.now += self.draw(1.0);
        let cache = self.open(resource, Kind::Client, "GET cart", Some(load));
        self.query(cache, "redis", "GET", "cart");
        self.now += self.draw(1.0);
        self.close(cache);
        let miss = if self.has(Plant::LostCache) { 0.65 } else { 0.2 };
        if self.chance(miss) {
            self.select(resource, load, "cart_items", 14.0);
        }
        if self.has(Plant::NewCall) {
            self.select(resource, load, "discounts", 6.0);
        }
        let is_tenant = details.tenant == self.tenant
            && (self.has(Plant::SlowTenant) || self.plant == Plant::SlowTenantInBoth);
        let slow = if is_tenant {
            3.0
        } else if self.has(Plant::SlowQuery) {
            1.5
        } else {
            1.0
        };
        let table = if is_renamed { "price_list" } else { "prices" };
        if self.has(Plant::NPlusOne) {
            for _ in 0..details.items {
                self.select(resource, load, table, 3.0);
            }
        } else if self.has(Plant::FanOut) {
            let from = self.now;
            let mut until = from;
            for _ in 0..details.items.max(2) {
                self.now = from;
                self.select(resource, load, table, 12.0);
                until = until.max(self.now);
            }
            self.now = until;
        } else {
            self.select(resource, load, table, 12.0 * slow);
        }
        self.close(load);
    }

    fn select(&mut self, resource: &Arc<Resource>, parent: usize, table: &str, median: f64) {
        let span = self.open(resource, Kind::Client, "SELECT", Some(parent));
        self.query(span, "postgresql", "SELECT", table);
        self.now += self.draw(median);
        self.close(span);
    }

    /// Charges, at most three times; whether it failed.
    fn pay(&mut self, resource: &Arc<Resource>, root: usize) -> bool {
        let pay = self.open(resource, Kind::Internal, "pay", Some(root));
        self.code(pay, "checkout::pay::charge", "src/pay.rs", 60);
        let fails = if self.has(Plant::RetryStorm) {
            0.3
        } else if self.has(Plant::MoreErrors) {
            0.2
        } else {
            0.02
        };
        let mut failed = false;
        let tries = if self.plant == Plant::MoreErrors { 1 } else { 3 };
        for attempt in 0..tries {
            self.now += if attempt > 0 { self.draw(20.0) } else { 0.2 };
            let call = self.open(resource, Kind::Client, "POST", Some(pay));
            self.http(call, "/charge");
            self.now += 0.5;
            let server = self.open(&self.payments.clone(), Kind::Server, "POST", Some(call));
            self.http(server, "/charge");
            self.now += self.draw(15.0);
            failed = self.chance(fails);
            self.close(server);
            self.now += 0.5;
            self.close(call);
            if failed {
                self.fail(
                    server,
                    Some(("payments::Timeout", "bank did not answer in 3000 ms", "")),
                );
                self.fail(call, None);
            } else {
                break;
            }
        }
        self.close(pay);
        if failed {
            self.fail(pay, None);
        }
        failed
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within a day")]
    fn nanoseconds(&self) -> u64 {
        1_764_000_000_000_000_000 + (self.now * 1e6) as u64
    }

    fn open(&mut self, by: &Arc<Resource>, kind: Kind, name: &str, parent: Option<usize>) -> usize {
        let start = self.nanoseconds();
        let id = SpanId(self.next);
        self.next += 1;
        self.spans.push(Span {
            trace: TraceId(self.trace),
            id,
            // The gateway above is not part of what was fetched.
            parent: Some(parent.map_or(SpanId(u64::MAX), |at| self.spans[at].id)),
            resource: by.clone(),
            kind,
            name: name.into(),
            start,
            end: start,
            status: Status::Unset,
            message: None,
            attributes: Attributes::default(),
            exceptions: Vec::new(),
            weight: 1.0,
        });
        self.spans.len() - 1
    }

    fn close(&mut self, span: usize) {
        self.spans[span].end = self.nanoseconds();
    }

    fn fail(&mut self, span: usize, exception: Option<(&str, &str, &str)>) {
        self.spans[span].status = Status::Error;
        if let Some((kind, message, stack)) = exception {
            let stack = (!stack.is_empty()).then(|| stack.into());
            let exception = Exception { kind: kind.into(), message: message.into(), stack };
            self.spans[span].exceptions.push(exception);
        }
    }

    fn code(&mut self, span: usize, function: &str, file: &str, line: i64) {
        self.add(
            span,
            &[
                ("code.function.name", function.into()),
                ("code.file.path", file.into()),
                ("code.line.number", Value::Integer(line)),
            ],
        );
    }

    fn query(&mut self, span: usize, system: &str, operation: &str, collection: &str) {
        self.add(
            span,
            &[
                ("db.system.name", system.into()),
                ("db.operation.name", operation.into()),
                ("db.collection.name", collection.into()),
            ],
        );
    }

    fn rpc(&mut self, span: usize, service: &str, method: &str) {
        self.add(span, &[("rpc.service", service.into()), ("rpc.method", method.into())]);
    }

    fn http(&mut self, span: usize, route: &str) {
        self.add(span, &[("http.request.method", "POST".into()), ("http.route", route.into())]);
    }

    fn add(&mut self, span: usize, attributes: &[(&str, Value)]) {
        let named = attributes.iter().map(|(name, value)| ((*name).into(), value.clone()));
        self.spans[span].attributes.0.extend(named);
    }
}
