//! Open-loop load for the demo: requests leave at a fixed rate, however slowly they are answered.
//!
//! A closed loop, which sends the next request when the last is answered, would send fewer requests
//! to a slow version and so hide the very slowness that the demo shows. Late answers pile up here
//! instead, up to a bound, and what is over the bound is counted rather than forgotten.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::demo::service::{SERVED_BY, client};

/// Longest wait for one answer; one that is later counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests in flight at once: ten times what the demo has when all is well, and well below the 1024
/// open files that many systems allow a process.
const MOST_IN_FLIGHT: usize = 400;
/// When this task was kept from running for longer, as by a laptop that sleeps, the arrivals in
/// between are missed rather than sent in one burst.
const LONGEST_DELAY: Duration = Duration::from_millis(500);
/// How often the counts are published; the display shows four a second.
const PUBLISH: Duration = Duration::from_millis(100);
/// Versions that are told apart. The demo has some ten; an answer with any header can come in.
const MOST_REVISIONS: usize = 100;
/// Fastest rate in requests per second that is spaced out in time at all.
const FASTEST: f64 = 100_000.0;

/// What was asked and what came back, since the beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that left.
    pub sent: u64,
    /// Answers below 500.
    pub ok: u64,
    /// Answers of 500 and above, and requests without an answer within 5 s.
    pub failed: u64,
    /// Of the failed ones, those without any answer.
    pub unanswered: u64,
    /// Arrivals that did not leave, because 400 requests were in flight or the machine was away.
    pub missed: u64,
    /// Answers by the revision that the service named.
    pub by_revision: BTreeMap<String, Answers>,
}

/// Answers of one revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Below 500.
    pub ok: u64,
    /// 500 and above.
    pub failed: u64,
}

/// A running load. It ends when it is dropped.
pub struct Load {
    rate: watch::Sender<f64>,
    counts: watch::Receiver<Counts>,
    _task: JoinSet<()>,
}

impl Load {
    /// Begins to send requests for `urls` in turn, `rate` of them per second. A rate that is not
    /// above 0 is a pause.
    ///
    /// # Errors
    ///
    /// There is no URL, or no HTTP client can be made.
    pub fn start(urls: Vec<String>, rate: f64) -> io::Result<Self> {
        if urls.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no URL to send load to"));
        }
        let (set_rate, rates) = watch::channel(rate);
        let (publish, counts) = watch::channel(Counts::default());
        let sender = Sender {
            client: client(PATIENCE)?,
            urls,
            in_flight: FuturesUnordered::new(),
            counts: Counts::default(),
        };
        let mut task = JoinSet::new();
        task.spawn(sender.run(rates, publish));
        Ok(Self { rate: set_rate, counts, _task: task })
    }

    /// Changes the rate from now on, in requests per second.
    pub fn set_rate(&self, rate: f64) {
        self.rate.send_replace(rate);
    }

    /// What has come back so far, at most a tenth of a second old.
    pub fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// The counts, with a wake-up ten times a second.
    pub fn watch(&self) -> watch::Receiver<Counts> {
        self.counts.clone()
    }
}

/// What one request came to: the revision, if it was named, and whether it went well. None without
/// an answer.
type Answer = Option<(Option<String>, bool)>;

/// One task sends everything and hears every answer.
struct Sender {
    client: reqwest::Client,
    urls: Vec<String>,
    in_flight: FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    counts: Counts,
}

impl Sender {
    async fn run(mut self, mut rates: watch::Receiver<f64>, publish: watch::Sender<Counts>) {
        let mut schedule = Schedule::new(*rates.borrow_and_update(), Instant::now());
        let mut publish_at = Instant::now() + PUBLISH;
        loop {
            let due = schedule.next.map_or(publish_at, |next| next.min(publish_at));
            select! {
                Some(answer) = self.in_flight.next() => self.count(answer),
                changed = rates.changed() => match changed {
                    Ok(()) => schedule = Schedule::new(*rates.borrow(), Instant::now()),
                    Err(_) => return,
                },
                () = sleep_until(due) => {
                    let now = Instant::now();
                    let arrivals = schedule.arrivals(now);
                    self.counts.missed += arrivals.missed;
                    for _ in 0..arrivals.due {
                        self.send();
                    }
                    if publish_at <= now {
                        publish_at = now + PUBLISH;
                        publish.send_replace(self.counts.clone());
                    }
                }
            }
        }
    }

    fn send(&mut self) {
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            self.counts.missed += 1;
            return;
        }
        let turn = usize::try_from(self.counts.sent % self.urls.len() as u64)
            .expect("a remainder of a length is a length");
        self.counts.sent += 1;
        let request = self.client.get(&self.urls[turn]).send();
        self.in_flight.push(Box::pin(async move {
            let response = request.await.ok()?;
            let ok = !response.status().is_server_error();
            let revision = response.headers().get(SERVED_BY);
            let revision = revision.and_then(|value| value.to_str().ok()).map(str::to_owned);
            // An answer counts when it is whole; and only then is its connection used again.
            response.bytes().await.ok()?;
            Some((revision, ok))
        }));
    }

    fn count(&mut self, answer: Answer) {
        let Some((revision, ok)) = answer else {
            self.counts.failed += 1;
            self.counts.unanswered += 1;
            return;
        };
        self.counts.ok += u64::from(ok);
        self.counts.failed += u64::from(!ok);
        let Some(revision) = revision else { return };
        let known = &mut self.counts.by_revision;
        if known.len() < MOST_REVISIONS || known.contains_key(&revision) {
            let answers = known.entry(revision).or_default();
            answers.ok += u64::from(ok);
            answers.failed += u64::from(!ok);
        }
    }
}

/// When requests leave: at even distances, whatever happens to them.
struct Schedule {
    /// None when the rate is a pause.
    next: Option<Instant>,
    distance: Duration,
}

#[derive(Debug, PartialEq, Eq)]
struct Arrivals {
    due: u64,
    missed: u64,
}

impl Schedule {
    fn new(rate: f64, now: Instant) -> Self {
        // A distance that no Duration holds is a pause as well.
        let distance = (rate > 0.0)
            .then(|| Duration::try_from_secs_f64(1.0 / rate.min(FASTEST)).ok())
            .flatten()
            .and_then(|distance| Some((now.checked_add(distance)?, distance)));
        match distance {
            Some((next, distance)) => Self { next: Some(next), distance },
            None => Self { next: None, distance: Duration::MAX },
        }
    }

    /// The arrivals up to now.
    fn arrivals(&mut self, now: Instant) -> Arrivals {
        let mut arrivals = Arrivals { due: 0, missed: 0 };
        let Some(mut next) = self.next else {
            return arrivals;
        };
        while next <= now {
            if now - next > LONGEST_DELAY {
                arrivals.missed += 1;
            } else {
                arrivals.due += 1;
            }
            next += self.distance;
        }
        self.next = Some(next);
        arrivals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::service::{Latency, ServiceConfig, serve};

    /// Longest wait for anything here.
    const BOUND: Duration = Duration::from_secs(20);

    fn free_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port()
    }

    #[test]
    fn arrivals_are_even_and_a_long_absence_is_no_burst() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut schedule = Schedule::new(100.0, start);
        assert_eq!(schedule.arrivals(at(9)), Arrivals { due: 0, missed: 0 });
        assert_eq!(schedule.arrivals(at(10)), Arrivals { due: 1, missed: 0 });
        assert_eq!(schedule.arrivals(at(45)), Arrivals { due: 3, missed: 0 });
        assert_eq!(schedule.next, Some(at(50)));
        // From 50 ms to 10 s there are 996 arrivals; those of the last half second still leave.
        assert_eq!(schedule.arrivals(at(10_000)), Arrivals { due: 51, missed: 945 });
    }

    #[test]
    fn a_rate_that_makes_no_sense_is_a_pause() {
        let now = Instant::now();
        for rate in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY, f64::MIN_POSITIVE] {
            assert_eq!(Schedule::new(rate, now).next, None, "{rate}");
        }
        let fastest = Schedule::new(f64::INFINITY, now).next;
        assert_eq!(fastest, Some(now + Duration::from_micros(10)));
    }

    #[tokio::test]
    async fn answers_are_counted_by_revision() {
        let port = free_port();
        let mut server = JoinSet::new();
        server.spawn(serve(
            ServiceConfig {
                error_share: 0.5,
                revision: Some("4f2c1a9".to_owned()),
                ..ServiceConfig::new(
                    &["/"],
                    Latency { median_ms: 1.0, p99_ms: 1.0, slow_tail: 1.0 },
                )
            },
            port,
        ));
        let url = format!("http://127.0.0.1:{port}/");
        let load = Load::start(vec![url.clone(), format!("{url}nothing")], 400.0).expect("begun");
        let mut watch = load.watch();
        let enough = watch.wait_for(|counts| counts.ok >= 100 && counts.failed >= 20);
        let counts = tokio::time::timeout(BOUND, enough).await.expect("in time").expect("runs");
        assert_eq!(counts.by_revision.len(), 1);
        let answers = counts.by_revision["4f2c1a9"];
        assert_eq!((answers.ok, answers.failed), (counts.ok, counts.failed - counts.unanswered));
        assert!(counts.sent >= counts.ok + counts.failed);
        drop(counts);

        load.set_rate(0.0);
        let done = watch.wait_for(|counts| counts.sent == counts.ok + counts.failed);
        let counts = tokio::time::timeout(BOUND, done).await.expect("in time").expect("runs");
        assert_eq!(counts.missed, 0);
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_is_a_failure() {
        let port = free_port();
        let load = Load::start(vec![format!("http://127.0.0.1:{port}/")], 400.0).expect("begun");
        let mut watch = load.watch();
        let lost = watch.wait_for(|counts| counts.unanswered >= 10);
        let counts = tokio::time::timeout(BOUND, lost).await.expect("in time").expect("runs");
        assert_eq!((counts.failed, counts.ok), (counts.unanswered, 0));
    }

    #[tokio::test]
    async fn late_answers_neither_slow_the_load_nor_pile_up() {
        // A listener that accepts nothing: every request waits.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let load = Load::start(vec![url], 5_000.0).expect("begun");
        let mut watch = load.watch();
        let full = watch.wait_for(|counts| counts.missed >= 100);
        let counts = tokio::time::timeout(BOUND, full).await.expect("in time").expect("runs");
        assert_eq!(counts.sent - counts.failed, MOST_IN_FLIGHT as u64);
    }

    #[tokio::test]
    async fn load_without_a_url_is_refused() {
        assert!(Load::start(Vec::new(), 1.0).is_err());
    }
}
