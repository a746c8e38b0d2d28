//! How fast the whole driver is: from a verdict to weight 0 in the proxy, and a restart with a
//! thousand finished and a hundred live deployments in the journal.
//!
//! The journal, the machine and the proxy are the real ones; versions are only named, not run.
//! Prints figures; asserts nothing about time.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures time and prints what it measured"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use analysis::{Arm, Observation, Sample, Scrape};
use jiff::Timestamp;
use rollout::{Candidate, Commit, DeploymentId, GitOutcome, Happened, Order, Policy, Revision};
use rollout_routers::Backend;
use verifier::config;
use verifier::run::{Handle, Serin};

/// Rollbacks that are timed.
const ROLLBACKS: u32 = 300;

/// Services of the restart, with ten finished deployments and a live one each.
const SERVICES: u32 = 100;

/// Finished deployments of each service.
const FINISHED: u32 = 10;

/// Scrapes of each deployment: half a minute at one a second.
const SCRAPES: u32 = 30;

const POLICY: &str = "
apiVersion: serin.dev/v1
kind: CanaryPolicy
metadata: { name: NAME }
spec:
  paths: [src/**]
  target: { process: { command: none } }
  steps: [{ weight: 10%, deadline: 1h }]
  warmUp: 0s
  checks: [errors, latency]
  onFail: { revert: none }
";

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    runtime.block_on(rollbacks());
    runtime.block_on(restart());
}

async fn rollbacks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (handle, _running) = start(folder.path()).await;
    let policy = policy("shop");
    adopt(&handle, "shop", &policy).await;
    let mut times = Vec::new();
    for number in 1..=ROLLBACKS {
        let id = begin(&handle, "shop", &policy, number).await;
        until(|| handle.proxy.weight("shop").is_some_and(|w| 0 < w.basis_points())).await;
        let began = Instant::now();
        send(&handle, "shop", observed(&id, number, 300)).await;
        while handle.proxy.weight("shop").is_none_or(|w| 0 < w.basis_points()) {
            std::hint::spin_loop();
        }
        times.push(began.elapsed());
        end(&handle, "shop", &id).await;
    }
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!(
        "from the scrape that decides to weight 0 in the proxy, {ROLLBACKS} rollbacks: median {:?}, p99 {:?}, longest {:?}",
        at(50),
        at(99),
        at(100)
    );
}

async fn restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (handle, running) = start(folder.path()).await;
    for service in 0..SERVICES {
        let name = format!("service-{service}");
        let policy = policy(&name);
        adopt(&handle, &name, &policy).await;
        for number in 1..=FINISHED {
            let id = begin(&handle, &name, &policy, number).await;
            for second in 0..SCRAPES {
                send(&handle, &name, observed(&id, second, 0)).await;
            }
            send(
                &handle,
                &name,
                Happened::Operated { by: "bench".to_owned(), order: Order::Abort },
            )
            .await;
            send(&handle, &name, Happened::Removed { deployment: id }).await;
        }
        let id = begin(&handle, &name, &policy, FINISHED + 1).await;
        for second in 0..SCRAPES * 10 {
            send(&handle, &name, observed(&id, second, 0)).await;
        }
    }
    let last = format!("service-{}", SERVICES - 1);
    // An order is answered when everything before it has been taken in.
    handle.inbox.order(&last, "bench", Order::Approve).await.expect("the driver runs");
    let events = handle.board.events();
    drop(running);
    drop(handle);
    let journal = folder.path().join("journal.db");
    let began = Instant::now();
    let journal = loop {
        // The lock goes with the last handle of the driver that is being dropped.
        if let Ok(journal) = verifier::journal::Journal::open(&journal).await {
            break journal;
        }
        tokio::task::yield_now().await;
    };
    let states = journal.replay().await.expect("the journal can be read");
    let took = began.elapsed();
    let live = states.iter().filter(|state| state.live.is_some()).count();
    println!(
        "restart: {} finished and {live} live deployments, {events} events: {took:?} until every state is known",
        SERVICES * FINISHED
    );
}

async fn start(folder: &Path) -> (Handle, tokio::task::JoinSet<()>) {
    git2::Repository::init_bare(folder.join("shop.git")).expect("a repository can be made");
    let settings = format!(
        "listen: 127.0.0.1:0\nfolder: work\njournal: journal.db\nrepositories: [{{ name: shop, url: {}, poll: 1d }}]\n",
        folder.join("shop.git").display()
    );
    let instance = config::instance("serin.yaml", settings.as_bytes(), folder, &|_| None)
        .expect("good settings");
    let serin = Serin::new(&instance).await.expect("Serin can be set up");
    let handle = serin.handle.clone();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move {
        serin.run(std::future::pending()).await.expect("Serin runs until it is dropped");
    });
    (handle, running)
}

fn policy(name: &str) -> Arc<Policy> {
    let policies =
        config::policies("policy", POLICY.replace("NAME", name).as_bytes()).expect("a good policy");
    Arc::new(policies.into_iter().next().expect("one policy"))
}

async fn send(handle: &Handle, service: &str, what: Happened) {
    handle.inbox.send(service, what).await.expect("the driver runs");
}

async fn until(done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "the driver does not get there");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn revision(number: u32) -> Revision {
    Revision::new(&format!("{number:040x}")).expect("forty digits")
}

fn candidate(policy: &Arc<Policy>, number: u32) -> Box<Candidate> {
    let commit = Commit {
        revision: revision(number),
        subject: format!("Change {number}"),
        author: "Ada".to_owned(),
        email: "ada@example.com".to_owned(),
        committed: Timestamp::UNIX_EPOCH,
    };
    Box::new(Candidate {
        repository: "shop".to_owned(),
        commits: vec![commit.clone()],
        commit,
        more_commits: 0,
        files: Vec::new(),
        content: format!("sha256:{number}"),
        policy: policy.clone(),
        policy_problem: None,
        irreversible: Vec::new(),
        security: false,
        rewritten: false,
        revert_generation: 0,
        quarantined: None,
    })
}

async fn adopt(handle: &Handle, service: &str, policy: &Arc<Policy>) {
    let number = 0xabc_0000;
    send(handle, service, Happened::TipMoved { candidate: candidate(policy, number) }).await;
    let deployment = DeploymentId::new(service, &revision(number), 1);
    send(handle, service, Happened::Started { deployment }).await;
    for (arm, port) in [(Arm::Baseline, 1), (Arm::Canary, 2)] {
        let address = ([127, 0, 0, 1], port).into();
        handle.proxy.set_backends(
            service,
            arm,
            vec![Backend { instance: format!("{arm:?}"), address }],
        );
    }
}

async fn begin(handle: &Handle, service: &str, policy: &Arc<Policy>, number: u32) -> DeploymentId {
    send(handle, service, Happened::TipMoved { candidate: candidate(policy, number) }).await;
    let deployment = DeploymentId::new(service, &revision(number), number + 1);
    let address = ([127, 0, 0, 1], 2).into();
    handle.proxy.set_backends(
        service,
        Arm::Canary,
        vec![Backend { instance: "canary".to_owned(), address }],
    );
    send(handle, service, Happened::Started { deployment: deployment.clone() }).await;
    deployment
}

async fn end(handle: &Handle, service: &str, id: &DeploymentId) {
    let outcome = GitOutcome::AlreadyDone { revision: None };
    send(handle, service, Happened::GitAnswered { deployment: id.clone(), outcome }).await;
    send(handle, service, Happened::Removed { deployment: id.clone() }).await;
    handle.inbox.order(service, "bench", Order::Resume).await.expect("the driver runs");
}

fn observed(id: &DeploymentId, second: u32, failures: u64) -> Happened {
    let arm = |arm, requests: u64, failed: u64| {
        let errors = Sample::Events { events: failed, of: requests };
        let mut counts = vec![requests / 12; 12];
        counts[0] += requests % 12;
        let le = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let one = move |check: &str, sample| Observation {
            arm,
            instance: format!("{arm:?}"),
            check: check.to_owned(),
            stratum: None,
            sample,
        };
        [one("errors", errors), one("latency", Sample::Histogram { le, counts })]
    };
    let observations =
        arm(Arm::Canary, 1_000, failures).into_iter().chain(arm(Arm::Baseline, 9_000, 9)).collect();
    let at = Timestamp::from_second(1_764_000_000 + i64::from(second)).expect("in range");
    Happened::Observed { deployment: id.clone(), scrape: Scrape { at, observations } }
}
