//! One provider's trouble is its own deployments' alone, and what ended is forgotten.

use std::sync::atomic::{AtomicUsize, Ordering};

use analysis::Sample;
use analysis_providers::intake::IntakeSettings;
use analysis_providers::{Choice, RumSettings};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::*;

/// What a provider does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Answers,
    Hangs,
    Breaks,
}

struct Fake {
    does: Does,
    asked: AtomicUsize,
    forgotten: Mutex<Vec<String>>,
}

impl Fake {
    fn new(does: Does) -> Arc<Self> {
        Arc::new(Self { does, asked: AtomicUsize::new(0), forgotten: Mutex::default() })
    }
}

impl MetricProvider for Fake {
    fn measure<'a>(
        &'a self,
        subjects: &'a [Subject],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Measured>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let observation = |arm| Observation {
            arm,
            instance: "one".to_owned(),
            check: "errors".to_owned(),
            stratum: None,
            sample: Sample::Events { events: 0, of: 9 },
        };
        let measured = move |subject: &Subject| {
            let scrape = Scrape {
                at,
                observations: vec![observation(Arm::Canary), observation(Arm::Baseline)],
            };
            Measured { subject: subject.id.clone(), result: Ok((scrape, Completeness::Full)) }
        };
        Box::pin(async move {
            match self.does {
                Does::Answers => subjects.iter().map(measured).collect(),
                Does::Hangs => std::future::pending().await,
                Does::Breaks => panic!("a provider of this test breaks"),
            }
        })
    }

    fn chosen(&self, _subject: &str) -> Vec<Choice> {
        Vec::new()
    }

    fn forget(&self, subject: &str) {
        self.forgotten.lock().unwrap().push(subject.to_owned());
    }
}

struct Rig {
    meters: Meters,
    sources: Sources,
    attempts: Attempts,
    board: Board,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new(stores: &[(&str, Arc<Fake>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (exits, _) = mpsc::channel(1);
        let sources = Sources {
            proxy: Proxy::new(),
            processes: Processes::new(folder.path().join("processes"), exits),
            scraper: Fake::new(Does::Answers),
            otlp: Fake::new(Does::Answers),
            spans: Arc::new(Intake::new(IntakeSettings::default())),
            browsers: Arc::new(Rum::new(RumSettings::default())),
            client: crate::journey::client(false).unwrap(),
            stores: stores
                .iter()
                .map(|(name, fake)| ((*name).to_owned(), fake.clone() as Arc<dyn MetricProvider>))
                .collect(),
        };
        let (meters, attempts, board) = <(Meters, Attempts, Board)>::default();
        Self { meters, sources, attempts, board, _folder: folder }
    }

    fn add(&self, service: &str, provider: &str) -> DeploymentId {
        let text = format!(
            "metadata: {{ name: {service} }}\nspec:\n  paths: [a/**]\n  target: {{ process: {{ command: ./a }} }}\n  metrics: {{ store: {{ provider: {provider} }} }}\n"
        );
        let policy = crate::config::policies("p.yaml", text.as_bytes()).unwrap().remove(0);
        let id = DeploymentId::from_text(service);
        let meter = Meter {
            service: service.to_owned(),
            canary: "aaa".to_owned(),
            stable: "bbb".to_owned(),
            policy: Arc::new(policy),
            differ: TotalsDiffer::default(),
            known: HashSet::new(),
            uptimes: Uptimes::default(),
            due: Timestamp::UNIX_EPOCH,
            asked: false,
            trouble: None,
            beside: Beside::default(),
            walks: Vec::new(),
        };
        self.meters.lock().insert(id.clone(), meter);
        id
    }

    /// Asks for everything that is due and returns what that alone tells.
    fn ask(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        self.meters.ask(&self.sources, &mut self.attempts, &mut events);
        told(events)
    }

    /// Takes the next attempt in that ends.
    async fn answer(&mut self) -> Vec<String> {
        let bound = Duration::from_secs(20);
        let answer = tokio::time::timeout(bound, self.attempts.tasks.join_next_with_id());
        let answer = answer.await.expect("an attempt ends").expect("one is under way");
        let measured = self.meters.finished(&mut self.attempts, answer);
        let mut events = Vec::new();
        self.meters.answered(measured, &self.board, &mut events);
        told(events)
    }

    fn is_asked(&self, id: &DeploymentId) -> bool {
        self.meters.lock()[id].asked
    }

    fn is_due(&self, id: &DeploymentId) {
        self.meters.lock().get_mut(id).unwrap().due = Timestamp::UNIX_EPOCH;
    }
}

fn told(events: Vec<(String, Happened)>) -> Vec<String> {
    let told = |(service, what)| {
        if let Happened::Unobserved { why, .. } = what {
            return format!("{service}: {why}");
        }
        assert!(matches!(what, Happened::Observed { .. }), "{what:?}");
        format!("{service} observed")
    };
    let mut all: Vec<String> = events.into_iter().map(told).collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_store_is_asked_once_for_all_and_one_that_hangs_holds_up_nobody_else() {
    let (good, slow) = (Fake::new(Does::Answers), Fake::new(Does::Hangs));
    let mut rig = Rig::new(&[("good", good.clone()), ("slow", slow.clone())]);
    let ids = ["a", "b", "c"].map(|service| rig.add(service, "good"));
    let held = rig.add("z", "slow");
    assert!(rig.ask().is_empty());
    assert_eq!(rig.answer().await, ["a observed", "b observed", "c observed"]);
    for _ in 0..3 {
        ids.iter().chain([&held]).for_each(|id| rig.is_due(id));
        rig.ask();
        assert_eq!(rig.answer().await.len(), 3);
    }
    assert_eq!(good.asked.load(Ordering::Relaxed), 4);
    assert_eq!(slow.asked.load(Ordering::Relaxed), 1, "its attempts do not pile up");
    assert!(rig.is_asked(&held));
}

#[tokio::test]
async fn a_provider_that_breaks_is_asked_again() {
    let mut rig = Rig::new(&[("bad", Fake::new(Does::Breaks))]);
    let id = rig.add("a", "bad");
    for _ in 0..2 {
        rig.is_due(&id);
        rig.ask();
        assert!(rig.is_asked(&id));
        assert!(rig.answer().await.is_empty());
        assert!(!rig.is_asked(&id));
        assert!(rig.attempts.deployments.is_empty());
    }
}

#[tokio::test]
async fn a_provider_that_is_not_set_up_is_told_once() {
    let mut rig = Rig::new(&[]);
    rig.add("a", "gone");
    assert_eq!(rig.ask(), ["a: serin.yaml has no provider named gone"]);
    assert!(rig.ask().is_empty());
}

#[tokio::test]
async fn what_ended_is_forgotten_also_if_it_was_being_measured() {
    let store = Fake::new(Does::Answers);
    let mut rig = Rig::new(&[("main", store.clone())]);
    let id = rig.add("a", "main");
    rig.ask();
    rig.meters.stop(&id);
    rig.meters.forget(&rig.sources);
    assert_eq!(store.forgotten.lock().unwrap().len(), 1);
    assert!(rig.answer().await.is_empty(), "nobody wants it any more");
    rig.meters.forget(&rig.sources);
    assert_eq!(*store.forgotten.lock().unwrap(), ["a", "a"]);
    rig.meters.stop(&id);
    rig.meters.forget(&rig.sources);
    assert_eq!(store.forgotten.lock().unwrap().len(), 2);
}

#[test]
fn intervals_begin_together() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let next = |text, seconds| together(at(text), Duration::from_secs(seconds)).to_string();
    assert_eq!(next("2026-03-01T12:00:00Z", 15), "2026-03-01T12:00:15Z");
    assert_eq!(next("2026-03-01T12:00:14.999Z", 15), "2026-03-01T12:00:15Z");
    assert_eq!(next("2026-03-01T12:00:01Z", 60), "2026-03-01T12:01:00Z");
    assert_eq!(together(Timestamp::MAX, Duration::from_secs(60)), Timestamp::MAX);
    assert!(Timestamp::UNIX_EPOCH < together(Timestamp::UNIX_EPOCH, Duration::ZERO));
}
