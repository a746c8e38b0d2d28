//! One world: a folder, a repository, a load, and a Serin that can be killed.
//!
//! Nothing outlives a world, also when a test panics: Serin first, then every process group that it
//! has written down.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};
use verifier::demo::load::{Answers, Load};

use crate::shop::{BINARY, Forge, Policy, good};

/// Longest wait for anything here; most takes a part of it even on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// Between two looks at a value.
const LOOK: Duration = Duration::from_millis(20);

/// Requests per second.
const RATE: f64 = 250.0;

/// Worlds at once: each costs about a third of a core.
static TURNS: Semaphore = Semaphore::const_new(4);

/// Below the range that systems take for outgoing connections, so that nobody else takes one.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

pub(crate) fn free_port() -> u16 {
    let start = 20_000 + u16::try_from(std::process::id() % 100).expect("below 100") * 100;
    loop {
        let port = start + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) struct World {
    folder: TempDir,
    pub(crate) forge: Forge,
    pub(crate) page: u16,
    pub(crate) proxy: u16,
    /// More lines of `serin.yaml`.
    pub(crate) settings: String,
    /// The list of repositories in `serin.yaml`, one flow map each.
    pub(crate) repositories: Vec<String>,
    /// Variables of Serin's environment.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) load: Load,
    client: reqwest::Client,
    serin: Option<Child>,
    _turn: SemaphorePermit<'static>,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    /// An empty repository and no Serin yet.
    pub(crate) async fn new() -> Self {
        let turn = TURNS.acquire().await.expect("never closed");
        let folder = tempfile::tempdir().expect("a folder");
        let forge = Forge::create(&folder.path().join("shop.git"));
        let (page, proxy) = (free_port(), free_port());
        let urls = ["", "checkout"].map(|path| format!("http://127.0.0.1:{proxy}/{path}"));
        let url = Value::from(forge.path.to_str().expect("UTF-8"));
        Self {
            folder,
            page,
            proxy,
            settings: String::new(),
            repositories: vec![format!("{{ name: shop, url: {url}, poll: 1s }}")],
            environment: Vec::new(),
            load: Load::start(urls.to_vec(), 0.0).expect("a load"),
            client: client(),
            serin: None,
            forge,
            _turn: turn,
        }
    }

    /// A running Serin with a first version that serves.
    pub(crate) async fn serving() -> Self {
        let mut world = Self::new().await;
        let policy = world.policy();
        world.open_shop(&policy).await;
        world
    }

    /// The usual policy of the usual service.
    pub(crate) fn policy(&self) -> Policy {
        Policy::new("shop", self.proxy)
    }

    /// Pushes the first version, starts Serin, and waits until it serves.
    pub(crate) async fn open_shop(&mut self, policy: &Policy) -> String {
        let files = [
            (&*policy.path(), Some(&*policy.text())),
            ("shop/service.yaml", Some(&*good("Welcome"))),
            ("README.md", Some("A shop.\n")),
        ];
        let first = self.forge.push("Open the shop", &files);
        self.start().await;
        self.serves(&first).await;
        self.load.set_rate(RATE);
        first
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes `serin.yaml` and returns where it is.
    pub(crate) fn write_settings(&self) -> PathBuf {
        let path = self.path().join("serin.yaml");
        let repositories = self.repositories.join("\n  - ");
        let (page, more) = (self.page, &self.settings);
        let text = format!(
            "listen: 127.0.0.1:{page}\nfolder: serin\nrepositories:\n  - {repositories}\n{more}"
        );
        std::fs::write(&path, text).expect("written");
        path
    }

    /// A Serin of this world, not yet started.
    pub(crate) fn command(&self) -> Command {
        let log = File::options().create(true).append(true).open(self.path().join("serin.log"));
        let mut command = Command::new(BINARY);
        command.arg("run").arg("--config").arg(self.write_settings());
        command.envs(self.environment.clone()).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
        command
    }

    /// Starts Serin and waits until it answers.
    pub(crate) async fn start(&mut self) {
        assert!(self.serin.is_none(), "it runs already");
        self.serin = Some(self.command().spawn().expect("started"));
        self.until("Serin answers", async || self.ask("/readyz").await).await;
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut serin = self.serin.take().expect("it runs");
        serin.kill().expect("killed");
        serin.wait().expect("it has ended");
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let mut serin = self.serin.take().expect("it runs");
        signal(serin.id(), Signal::TERM);
        let began = Instant::now();
        loop {
            if let Some(status) = serin.try_wait().expect("a child") {
                return status;
            }
            if BOUND < began.elapsed() {
                self.serin = Some(serin);
                panic!("SIGTERM does not end it\n{}", self.log());
            }
            sleep(LOOK).await;
        }
    }

    /// Serin's log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("serin.log")).unwrap_or_default()
    }

    /// Waits until `look` finds something.
    pub(crate) async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            if BOUND < began.elapsed() {
                let now = self.ask("/api/v1/services").await.unwrap_or_default();
                panic!("not in time: {what}\nnow: {now:#}\nlog:\n{}", tail(&self.log()));
            }
            sleep(LOOK).await;
        }
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}{path}", self.page);
        let answer = self.client.get(url).send().await.ok()?;
        let good = answer.status().is_success();
        let text = answer.text().await.ok()?;
        good.then(|| serde_json::from_str(&text).unwrap_or(Value::from(text)))
    }

    /// What the API says; null while it does not answer.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ask(path).await.unwrap_or_default()
    }

    pub(crate) async fn service(&self, name: &str) -> Value {
        self.get(&format!("/api/v1/services/{name}")).await
    }

    /// What Serin says is wrong, all in one text.
    pub(crate) async fn troubles(&self) -> String {
        let all = self.get("/api/v1/services").await["troubles"].clone();
        let all = all.as_array().cloned().unwrap_or_default();
        let line = |t: &Value| format!("{}: {}\n", text(&t["part"]), text(&t["what"]));
        all.iter().map(line).collect()
    }

    /// Waits until a trouble holds these words.
    pub(crate) async fn trouble(&self, words: &str) -> String {
        let look = async || Some(self.troubles().await).filter(|said| said.contains(words));
        self.until(&format!("a trouble says {words:?}"), look).await
    }

    /// Waits until this revision is what serves and nothing is on trial.
    pub(crate) async fn serves(&self, revision: &str) {
        self.until(&format!("{revision} serves"), async || {
            let shop = self.service("shop").await;
            (shop["stable"]["revision"] == revision && shop["live"].is_null()).then_some(())
        })
        .await;
    }

    /// Waits until the usual service has a live deployment for which `holds`.
    pub(crate) async fn live(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.until(what, async || {
            let live = self.service("shop").await["live"].clone();
            (live.is_object() && holds(&live)).then_some(live)
        })
        .await
    }

    /// Waits until this revision is on trial with traffic.
    pub(crate) async fn on_trial(&self, revision: &str) -> Value {
        self.live("it is on trial", |live| {
            revision.starts_with(text(&live["revision"]))
                && live["weight"].as_f64() > Some(0.0)
                && live["confirmed"] == true
        })
        .await
    }

    pub(crate) async fn deployments(&self) -> Vec<Value> {
        let all = self.get("/api/v1/deployments?limit=500").await;
        all["deployments"].as_array().cloned().unwrap_or_default()
    }

    /// Waits for the end of this revision's deployment, and returns its record.
    pub(crate) async fn ended(&self, revision: &str) -> Value {
        self.until(&format!("the deployment of {revision} ends"), async || {
            self.deployments().await.into_iter().find(|d| d["revision"] == revision)
        })
        .await
    }

    /// Waits for its end and that it was this.
    pub(crate) async fn ends(&self, revision: &str, outcome: &str) -> Value {
        let ended = self.ended(revision).await;
        assert_eq!(ended["outcome"], outcome, "{ended:#}\n{}", tail(&self.log()));
        ended
    }

    /// Runs a command against this Serin.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> Said {
        let mut command = tokio::process::Command::new(BINARY);
        command.args(arguments).env("SERIN_URL", format!("http://127.0.0.1:{}", self.page));
        said(command.env("USER", "ada").kill_on_drop(true)).await
    }

    /// Posts to the page; returns status and body.
    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, String)],
        body: Vec<u8>,
    ) -> (u16, String) {
        let mut request = self.client.post(format!("http://127.0.0.1:{}{path}", self.page));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.body(body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.unwrap_or_default())
    }

    /// What the senders of requests saw of a revision.
    pub(crate) fn answers(&self, revision: &str) -> Answers {
        self.load.counts().by_revision.get(revision).copied().unwrap_or_default()
    }

    /// Waits until requests through the proxy go well again.
    pub(crate) async fn requests_work(&self) {
        let before = self.load.counts().ok;
        let look = async || (before + 50 <= self.load.counts().ok).then_some(());
        self.until("requests are answered", look).await;
    }

    /// Waits until so many more requests were answered, which is how time passes here.
    pub(crate) async fn more_requests(&self, count: u64) {
        let before = self.load.counts().ok;
        let look = async || (before + count <= self.load.counts().ok).then_some(());
        self.until("more requests are answered", look).await;
    }

    /// The processes that Serin has written down: service, revision, process id.
    pub(crate) fn processes(&self) -> Vec<(String, String, u32)> {
        let Ok(records) = std::fs::read_dir(self.path().join("serin/processes/instances")) else {
            return Vec::new();
        };
        let read = |path: PathBuf| {
            let record: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
            let pid = u32::try_from(record["process"]["pid"].as_u64()?).ok()?;
            Some((text(&record["service"]).to_owned(), text(&record["revision"]).to_owned(), pid))
        };
        records.flatten().filter_map(|entry| read(entry.path())).collect()
    }

    /// The process of a revision.
    pub(crate) fn pid(&self, revision: &str) -> Option<u32> {
        self.processes().into_iter().find(|(_, r, _)| r == revision).map(|(_, _, pid)| pid)
    }
}

impl Drop for World {
    #[expect(clippy::print_stdout, reason = "a test that fails shows what Serin said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- Serin's log\n{}", tail(&self.log()));
        }
        if let Some(mut serin) = self.serin.take() {
            // It may have ended by itself; either way it is gone afterwards.
            let _ = serin.kill();
            let _ = serin.wait();
        }
        for (_, _, pid) in self.processes() {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // It may have ended by itself.
            let _ = pid.map(|pid| kill_process_group(pid, Signal::KILL));
        }
    }
}

pub(crate) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10));
    builder.build().expect("a client")
}

pub(crate) async fn said(command: &mut tokio::process::Command) -> Said {
    let output = tokio::time::timeout(BOUND, command.output()).await;
    let output = output.expect("it ends in time").expect("it starts");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("signalled");
}

/// There is no such process, not even as a zombie.
pub(crate) fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Asserts that a text says all of this.
#[track_caller]
pub(crate) fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
}

/// An order over HTTP, as a page's button or another program sends it.
pub(crate) fn order(action: &str) -> Vec<u8> {
    json!({ "action": action, "by": "Ada" }).to_string().into_bytes()
}
