//! A journal in which things have happened, and the page over it on a loopback port.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use alerts::{Routes, Templates};
use analysis::{Arm, Observation, Sample, Scrape};
use analysis_providers::intake::{Intake, IntakeSettings};
use analysis_providers::otlp::Otlp;
use jiff::{SignedDuration, Timestamp};
use rollout::commit::ChangedFile;
use rollout::{
    Candidate, Commit, DeploymentId, Event, Explained, GitOutcome, Happened, Order, Phase, Policy,
    Revision, State, transition,
};
use rollout_routers::Proxy;
use rollout_targets::process::Processes;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::board::Board;
use crate::clock::now;
use crate::config::{Instance, Secret};
use crate::driver::{Inbox, Message, inbox};
use crate::journal::{Batch, Begun, Journal};
use crate::measure::Meters;
use crate::perform::Performer;
use crate::run::Handle;
use crate::tell::Teller;
use crate::web::serve::serve_with;
use crate::web::{App, serve};

/// What nobody should ever run: the first line of a commit by someone with bad intentions.
pub(super) const HOSTILE: &str =
    "<script>alert(1)</script> \"'><img src=x onerror=alert(2)> {{ 7*7 }}";

pub(super) fn revision(number: u8) -> Revision {
    Revision::new(&format!("{number:02x}4f2c1a9b").repeat(4)).unwrap()
}

pub(super) fn policy(service: &str) -> Arc<Policy> {
    let text = format!(
        "apiVersion: serin.dev/v1\nkind: CanaryPolicy\nmetadata: {{ name: {service} }}\nspec:\n  paths: [deploy/{service}/**]\n  target: {{ process: {{ command: [./serve] }} }}\n  bake: 2m\n"
    );
    let policies = crate::config::policies("policy.yaml", text.as_bytes());
    Arc::new(
        policies
            .unwrap_or_else(|p| {
                panic!("{}", crate::config::render_problems(&p, crate::config::Colour::Never))
            })
            .remove(0),
    )
}

/// Tells a journal and a board what happens, at a time of its own.
pub(super) struct Recorder {
    pub(super) journal: Journal,
    pub(super) board: Arc<Board>,
    pub(super) states: HashMap<String, State>,
    pub(super) at: Timestamp,
    dice: u64,
}

impl Recorder {
    pub(super) async fn new(folder: &Path) -> Self {
        Self {
            journal: Journal::open(&folder.join("journal.db")).await.unwrap(),
            board: Arc::default(),
            states: HashMap::new(),
            at: now() - SignedDuration::from_mins(40),
            dice: 7,
        }
    }

    pub(super) async fn happen(&mut self, service: &str, what: Happened) {
        let event = Event { at: self.at, what };
        let before = self.states.get(service).cloned().unwrap_or_else(|| State::new(service));
        let was = before.live_id().cloned();
        let next = transition(before.clone(), &event);
        let seq = self.journal.last() + 1;
        let mut batch = Batch { events: vec![(service.to_owned(), event)], ..Batch::default() };
        batch.ended.extend(next.finished.clone().map(|finished| (seq, finished)));
        if let Some(id) = next.state.live_id().filter(|id| was.as_ref() != Some(id)) {
            batch.begun.push(Begun { id: id.clone(), seq, at: self.at, before });
        }
        self.journal.append(&batch).await.unwrap();
        self.board.publish(&next.state, next.reason.as_deref());
        self.states.insert(service.to_owned(), next.state);
    }

    pub(super) fn id(&self, service: &str) -> DeploymentId {
        self.states[service].live_id().unwrap().clone()
    }

    fn wait(&mut self, seconds: i64) {
        self.at += SignedDuration::from_secs(seconds);
    }

    pub(super) async fn tip(&mut self, service: &str, number: u8, subject: &str, author: &str) {
        let commit = |number, subject: &str| Commit {
            revision: revision(number),
            subject: subject.to_owned(),
            author: author.to_owned(),
            email: "someone@example.org".to_owned(),
            committed: self.at - SignedDuration::from_mins(3),
        };
        let file =
            |path: &str, added, removed| ChangedFile { path: path.to_owned(), added, removed };
        let candidate = Candidate {
            repository: "shop".to_owned(),
            commit: commit(number, subject),
            commits: vec![commit(number + 100, "Prepare the ledger"), commit(number, subject)],
            more_commits: 0,
            files: vec![
                file("deploy/checkout/app.py", 42, 7),
                file("deploy/checkout/<b>ledger</b>.py", 118, 0),
            ],
            content: format!("content {number}"),
            policy: policy(service),
            policy_problem: None,
            irreversible: Vec::new(),
            security: false,
            rewritten: false,
            revert_generation: 0,
            quarantined: None,
        };
        self.happen(service, Happened::TipMoved { candidate: Box::new(candidate) }).await;
    }

    pub(super) async fn started(&mut self, service: &str) {
        self.wait(2);
        let deployment = self.id(service);
        self.happen(service, Happened::Started { deployment }).await;
    }

    pub(super) async fn adopt(&mut self, service: &str, subject: &str) {
        self.tip(service, 1, subject, "Ada Lovelace").await;
        self.started(service).await;
    }

    /// The data plane confirms whatever was asked for last.
    pub(super) async fn confirm(&mut self, service: &str) {
        let live = self.states[service].live.as_ref().unwrap();
        if live.shift.confirmed.is_none() {
            let (deployment, serial, weight) =
                (live.deployment.id.clone(), live.shift.serial, live.shift.weight);
            self.at += SignedDuration::from_millis(3);
            self.happen(service, Happened::Shifted { deployment, serial, weight }).await;
        }
    }

    /// Somewhere around `mean`, always the same in the same order.
    fn about(&mut self, mean: f64) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let share = f64::from(u32::try_from(self.dice >> 33).unwrap()) / f64::from(1_u32 << 31);
        format!("{:.0}", mean * (0.5 + share)).parse().unwrap()
    }

    /// A second of traffic in which the canary fails with `share`.
    pub(super) async fn traffic(&mut self, service: &str, requests: f64, share: f64) {
        self.wait(1);
        let live = self.states[service].live.as_ref().unwrap();
        let (deployment, weight) = (live.deployment.id.clone(), live.shift.weight.share());
        let (canary, baseline) =
            (self.about(requests * weight), self.about(requests * (1.0 - weight)));
        let failed = self.about(requests * weight * share).min(canary);
        let usual = self.about(requests * (1.0 - weight) * 0.002).min(baseline);
        let mut observations = Vec::new();
        for (arm, of, events) in [(Arm::Canary, canary, failed), (Arm::Baseline, baseline, usual)] {
            let instance = "one".to_owned();
            let slow = of / 50;
            let counts = vec![of - of / 5, of / 5 - slow, slow, 0];
            let histogram = Sample::Histogram { le: vec![0.1, 0.25, 0.5], counts };
            for (check, sample) in
                [("errors", Sample::Events { events, of }), ("latency", histogram)]
            {
                observations.push(Observation {
                    arm,
                    instance: instance.clone(),
                    check: check.to_owned(),
                    stratum: None,
                    sample,
                });
            }
        }
        let scrape = Scrape { at: self.at, observations };
        self.happen(service, Happened::Observed { deployment, scrape }).await;
    }

    pub(super) fn phase(&self, service: &str) -> Option<&Phase> {
        self.states[service].live.as_ref().map(|live| &live.phase)
    }

    /// Traffic until the canary is being undone, then whatever becomes of Git.
    pub(super) async fn fails(&mut self, service: &str, share: f64, git: GitOutcome) {
        for second in 0.. {
            assert!(second < 600, "{service} did not fail");
            self.confirm(service).await;
            if matches!(self.phase(service), Some(Phase::RollingBack(_))) {
                break;
            }
            self.traffic(service, 400.0, share).await;
        }
        self.confirm(service).await;
        self.wait(2);
        let deployment = self.id(service);
        let cause = Explained::Nothing { why: "no traces are told here".to_owned() };
        self.happen(service, Happened::Explained { deployment, cause, document: None }).await;
        let deployment = self.id(service);
        self.happen(service, Happened::GitAnswered { deployment, outcome: git }).await;
        self.wait(1);
        let deployment = self.id(service);
        self.happen(service, Happened::Removed { deployment }).await;
    }

    /// Good traffic until it is promoted.
    pub(super) async fn passes(&mut self, service: &str) {
        for second in 0.. {
            assert!(second < 1_200, "{service} was not promoted");
            self.confirm(service).await;
            if matches!(self.phase(service), Some(Phase::Promoting { .. })) {
                break;
            }
            self.traffic(service, 900.0, 0.002).await;
            self.happen(service, Happened::Woke).await;
        }
        let deployment = self.id(service);
        self.happen(service, Happened::PromotionDone { deployment }).await;
    }
}

/// What the tests look at: one service of each kind.
pub(super) async fn shop(folder: &Path) -> Recorder {
    let mut recorder = Recorder::new(folder).await;
    recorder.adopt("search", "Rank by freshness").await;
    recorder.tip("search", 2, "Cache the suggestions", "Grace Hopper").await;
    recorder.started("search").await;
    recorder.passes("search").await;

    recorder.adopt("payments", "Take cards").await;
    recorder.tip("payments", 3, "Take gift cards", "Ada Lovelace").await;
    recorder.started("payments").await;
    let files = vec!["deploy/payments/ledger.py".to_owned()];
    recorder.fails("payments", 0.05, GitOutcome::Conflict { files }).await;

    recorder.adopt("checkout", "Show the basket").await;
    recorder.tip("checkout", 4, "Add gift cards to the basket", "Linus Example").await;
    recorder.started("checkout").await;
    let pushed = GitOutcome::Pushed {
        revision: revision(0xee),
        subject: "Revert \"Add gift cards to the basket\"".to_owned(),
    };
    recorder.fails("checkout", 0.03, pushed).await;
    recorder.at = now() - SignedDuration::from_secs(70);
    recorder.tip("checkout", 5, HOSTILE, "Mallory <b>\"&'").await;
    recorder.started("checkout").await;
    recorder.confirm("checkout").await;
    for _ in 0..60 {
        recorder.traffic("checkout", 300.0, 0.004).await;
        recorder.confirm("checkout").await;
    }
    recorder
}

/// The page, served.
pub(super) struct Site {
    pub(super) address: SocketAddr,
    pub(super) client: reqwest::Client,
    pub(super) board: Arc<Board>,
    pub(super) inbox: Inbox,
    pub(super) nudge: Arc<Notify>,
    pub(super) recorder: Arc<tokio::sync::Mutex<Recorder>>,
    pub(super) orders: Arc<Mutex<Vec<(String, String, Order)>>>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) tasks: JoinSet<()>,
}

/// How the instance is set up.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) token: Option<&'static str>,
    pub(super) hooks_secret: Option<&'static str>,
    pub(super) listen: Option<&'static str>,
    /// Longest wait for a request's head.
    pub(super) head: Option<std::time::Duration>,
    /// Where pushed metrics go.
    pub(super) otlp: Option<Arc<Otlp>>,
    /// Where pushed spans go.
    pub(super) traces: Option<Arc<Intake>>,
    /// Whether pages may report what browsers measure.
    pub(super) rum: bool,
}

impl Site {
    pub(super) async fn over(recorder: Recorder, folder: &Path, setup: Setup) -> Self {
        let instance = Instance {
            listen: setup.listen.unwrap_or("127.0.0.1:0").parse().unwrap(),
            public_url: None,
            folder: folder.to_owned(),
            journal: folder.join("journal.db"),
            repositories: Vec::new(),
            providers: Vec::new(),
            notifiers: Vec::new(),
            hooks_secret: setup.hooks_secret.map(Secret::new),
            api_token: setup.token.map(Secret::new),
            otlp: None,
            grpc: None,
            rum: setup.rum.then(super::rum::settings),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (inbox, messages) = inbox();
        let (exits, _) = mpsc::channel(1);
        let (board, nudge, proxy) = (recorder.board.clone(), Arc::new(Notify::new()), Proxy::new());
        let reader = recorder.journal.reader();
        let routes = Routes::new(&BTreeSet::new(), BTreeMap::new(), None).unwrap();
        let performer = Arc::new(Performer {
            proxy: proxy.clone(),
            processes: Processes::new(folder.join("processes"), exits),
            repositories: BTreeMap::new(),
            folder: folder.to_owned(),
            meters: Arc::new(Meters::default()),
            finder: crate::cause::Finder {
                spans: Arc::new(Intake::new(IntakeSettings::default())),
                stores: std::collections::BTreeMap::new(),
            },
            teller: Teller::new(
                BTreeMap::new(),
                routes,
                Templates::builtin(),
                String::new(),
                board.clone(),
            ),
            board: board.clone(),
            inbox: inbox.clone(),
            journal: reader.clone(),
            nudge: nudge.clone(),
            public_url: String::new(),
        });
        let handle = Handle {
            board: board.clone(),
            inbox: inbox.clone(),
            reader,
            nudge: nudge.clone(),
            proxy,
            address,
        };
        let app = App::new(&instance, handle, performer, format!("http://{address}"));
        let app = match setup.otlp {
            Some(otlp) => app.with_otlp(otlp),
            None => app,
        };
        let app = Arc::new(match setup.traces {
            Some(intake) => app.with_traces(intake),
            None => app,
        });
        let (stop, mut stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let stopping = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        tasks.spawn(async move {
            match setup.head {
                None => serve(listener, app, stopping).await,
                Some(head) => serve_with(listener, app, stopping, head).await,
            }
        });
        let (recorder, orders) =
            (Arc::new(tokio::sync::Mutex::new(recorder)), Arc::new(Mutex::new(Vec::new())));
        tasks.spawn(drive(messages, recorder.clone(), orders.clone()));
        let client =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { address, client, board, inbox, nudge, recorder, orders, stop, tasks }
    }

    pub(super) async fn open(folder: &Path) -> Self {
        Self::over(shop(folder).await, folder, Setup::default()).await
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    pub(super) async fn text(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    pub(super) async fn json(&self, path: &str) -> serde_json::Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    pub(super) async fn order(&self, path: &str, body: &str) -> (u16, serde_json::Value) {
        let request = self
            .client
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body.to_owned());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

/// Takes orders as the driver does, without performing anything.
async fn drive(
    mut messages: mpsc::Receiver<Message>,
    recorder: Arc<tokio::sync::Mutex<Recorder>>,
    orders: Arc<Mutex<Vec<(String, String, Order)>>>,
) {
    while let Some(message) = messages.recv().await {
        let mut recorder = recorder.lock().await;
        match message {
            Message::State { service, reply } => {
                let _ = reply.send(recorder.states.get(&service).cloned());
            }
            Message::Event { service, what, reply } => {
                if let Happened::Operated { by, order } = &what {
                    orders.lock().unwrap().push((service.clone(), by.clone(), *order));
                }
                recorder.at = now();
                recorder.happen(&service, what).await;
                let reason =
                    recorder.board.service(&service).and_then(|glance| glance.reason.clone());
                if let Some(reply) = reply {
                    let _ = reply.send(reason.map(|(_, reason)| reason));
                }
            }
        }
    }
}
