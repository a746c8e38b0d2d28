//! Every default, and why it is what it is. `serin validate --show` prints them filled in.

use std::time::Duration;

use super::units::Percent;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

// ---- The policy ----

/// `spec.target.process.health`: the customary path.
pub(super) const HEALTH: &str = "/healthz";

/// `spec.target.process.startTimeout`: services that load caches need tens of seconds.
pub(super) const START_TIMEOUT: Duration = seconds(60);

/// `spec.target.process.stopGrace`: as long as most requests may take, see the proxy's timeout.
pub(super) const STOP_GRACE: Duration = seconds(10);

/// `spec.target.process.instances`: one is enough to serve and to compare.
pub(super) const INSTANCES: u16 = 1;

/// `spec.router.proxy.listen`: loopback only, so that nothing is open to a network by accident.
pub(super) const PROXY_LISTEN: &str = "127.0.0.1:8080";

/// `spec.router.proxy.timeout`: people have left by then; a request without an answer counts as failed.
pub(super) const PROXY_TIMEOUT: Duration = seconds(10);

/// `spec.metrics.scrape.path`: the customary path.
pub(super) const SCRAPE_PATH: &str = "/metrics";

/// `spec.metrics.scrape.interval`: evidence arrives every second; a page is cheap to read.
pub(super) const SCRAPE_INTERVAL: Duration = seconds(1);

/// `spec.metrics.prometheus.versionLabel`: the label that most exporters and relabelings use.
pub(super) const VERSION_LABEL: &str = "version";

/// `spec.metrics.prometheus.interval`: the scrape interval of Prometheus' own examples.
pub(super) const PROMETHEUS_INTERVAL: Duration = seconds(15);

/// `spec.metrics.store.interval`: stores keep whole minutes.
pub(super) const STORE_INTERVAL: Duration = seconds(60);

/// `spec.steps.auto.first`: one request in a hundred; the evidence decides about more.
pub(super) const FIRST: Percent = Percent::whole(1);

/// `spec.steps[].deadline` and `spec.steps.auto.deadline`: longer than a working person waits unasked.
pub(super) const DEADLINE: Duration = minutes(30);

/// `spec.steps[].atLeast`: the evidence is the gate, not the clock.
pub(super) const AT_LEAST: Duration = Duration::ZERO;

/// `spec.checks[].lcp.tolerance.absolute` and those of other reports: a twentieth of page views are poor anywhere.
pub(super) const BROWSERS_ABSOLUTE: Percent = Percent::whole(1);

/// `spec.harm`: one request in a thousand over the whole rollout.
pub(super) const HARM: Percent = Percent::permille(1);

/// `spec.latencyHarm`: a slow request hurts less than a failed one.
pub(super) const LATENCY_HARM: Percent = Percent::whole(1);

/// `spec.bake`: slow leaks and cold caches show within half an hour.
pub(super) const BAKE: Duration = minutes(30);

/// `spec.falseAlarm`: one harmless deployment in a hundred is undone, at most.
pub(super) const FALSE_ALARM: Percent = Percent::whole(1);

/// `spec.falsePromotion`: the customary 5 %; it bounds the harm of a step, which is small by itself.
pub(super) const FALSE_PROMOTION: Percent = Percent::whole(5);

/// `errors.tolerance.ratio`: a quarter more errors than the baseline is within the noise of releases.
pub(super) const ERRORS_RATIO: f64 = 1.25;

/// `errors.tolerance.absolute`: one request in a thousand, since a ratio of almost nothing says nothing.
pub(super) const ERRORS_ABSOLUTE: Percent = Percent::permille(1);

/// `latency.tolerance.stretch`: every duration may be a tenth longer; people notice more than that.
pub(super) const LATENCY_STRETCH: Percent = Percent::whole(10);

/// `latency.tolerance.ratio`: a tenth more slow requests, beyond the stretch.
pub(super) const LATENCY_RATIO: f64 = 1.1;

/// `restarts.tolerance.ratio`: restarts come in ones; twice as many is the least that shows.
pub(super) const RESTARTS_RATIO: f64 = 2.0;

/// `gauge.for`: longer than a garbage collection or a burst.
pub(super) const GAUGE_FOR: Duration = minutes(2);

/// `latency.warmUp`: caches and compilers need some seconds; slow first requests are no regression.
pub(super) const LATENCY_WARM_UP: Duration = seconds(30);

/// `warmUp` of other checks: cold caches make no errors.
pub(super) const WARM_UP: Duration = Duration::ZERO;

/// `latency.quantile` with Kayenta's judge: the tail that people feel.
pub(super) const QUANTILE: f64 = 0.99;

/// `kayenta.outliers` with `remove`: Kayenta's own.
pub(super) const OUTLIER_FACTOR: f64 = 3.0;

/// `spec.journeys[].every`: a gate of twenty pairs takes twenty seconds, and two attempts a second are no load.
pub(super) const JOURNEY_EVERY: Duration = seconds(1);

/// `spec.journeys[].timeout`: a person has left by then.
pub(super) const JOURNEY_TIMEOUT: Duration = seconds(5);

/// `spec.journeys[].gate`: bounds the share of journeys that fail on the canary only at 14 %.
pub(super) const JOURNEY_GATE: u32 = 20;

/// `spec.journeys[].stretch`: a new version has colder caches, and few attempts show no less.
pub(super) const JOURNEY_STRETCH: Percent = Percent::whole(25);

/// `spec.onFail.limits`: a second revert within half an hour, or a fourth in a day, means that
/// something other than the commits is wrong.
pub(super) const LIMITS: [(u32, Duration); 2] = [(1, minutes(30)), (3, minutes(24 * 60))];

/// `spec.onFail.irreversible`: data and interfaces that others may already rely on.
pub(super) const IRREVERSIBLE: [&str; 4] =
    ["**/migrations/**", "**/*.sql", "**/*.proto", "**/crds/**"];

/// `spec.freezes[].zone`.
pub(super) const ZONE: &str = "UTC";

// ---- serin.yaml ----

/// `listen`: loopback only; reads and writes need no token there.
pub(super) const LISTEN: &str = "127.0.0.1:8787";

/// `folder`: mirrors, checkouts and logs, beside the file.
pub(super) const FOLDER: &str = "serin-work";

/// `journal`: in the work folder.
pub(super) const JOURNAL: &str = "journal.db";

/// `repositories[].branch`.
pub(super) const BRANCH: &str = "main";

/// `repositories[].policies`: a hidden folder beside what it protects.
pub(super) const POLICIES: &str = ".serin";

/// `repositories[].poll`: seconds after a push, and a forge does not mind six questions a minute.
pub(super) const POLL: Duration = seconds(10);

/// `repositories[].author`: who writes the revert commits.
pub(super) const AUTHOR: (&str, &str) = ("Serin", "serin@localhost");

/// `repositories[].credentials.user` with SSH.
pub(super) const SSH_USER: &str = "git";

/// `repositories[].credentials.user` with a token: what GitHub documents; others take any name.
pub(super) const TOKEN_USER: &str = "x-access-token";

/// `providers[].prometheus.timeout`: longer than a query takes, shorter than a scrape interval.
pub(super) const PROVIDER_TIMEOUT: Duration = seconds(5);

/// `providers[].prometheus.settle`: samples appear in queries a little after their time.
pub(super) const PROVIDER_SETTLE: Duration = seconds(2);
