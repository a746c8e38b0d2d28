//! The stores as programs of their own, and a wire to one that may be slow.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Prometheus,
    VictoriaMetrics,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::VictoriaMetrics => "victoria-metrics",
        }
    }

    fn path(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        let mut files = std::env::split_paths(&path).map(|folder| folder.join(self.name()));
        files.find(|file| file.is_file())
    }
}

/// The running program; ended when the test ends in any way.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A store with its data.
#[derive(Debug)]
pub(crate) struct Store {
    program: Program,
    path: PathBuf,
    folder: TempDir,
    port: u16,
    running: Option<Running>,
}

impl Store {
    /// Starts one that scrapes; `None`, with a line that says so, where the program is not installed.
    #[expect(clippy::print_stderr, reason = "says what was left out where the program is missing")]
    pub(crate) fn start(program: Program, configuration: &str) -> Option<Self> {
        let Some(path) = program.path() else {
            eprintln!(
                "left out: the test against a real {program:?}, as no program `{}` is on the path",
                program.name()
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("scrape.yml"), configuration).unwrap();
        // The port is free a moment before the program takes it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut store = Self { program, path, folder, port, running: None };
        store.resume();
        Some(store)
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends the program; its data stay.
    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    /// Starts it on the same data and port.
    pub(crate) fn resume(&mut self) {
        let file = self.folder.path().join("scrape.yml");
        let (file, data) = (file.display(), self.folder.path().join("data"));
        let data = data.display();
        let port = self.port;
        let arguments = match self.program {
            Program::Prometheus => vec![
                format!("--config.file={file}"),
                format!("--storage.tsdb.path={data}"),
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--enable-feature=native-histograms".to_owned(),
                "--log.level=error".to_owned(),
            ],
            Program::VictoriaMetrics => vec![
                format!("-promscrape.config={file}"),
                format!("-storageDataPath={data}"),
                format!("-httpListenAddr=127.0.0.1:{port}"),
                "-search.latencyOffset=0s".to_owned(),
                "-loggerLevel=ERROR".to_owned(),
            ],
        };
        let child = Command::new(&self.path)
            .args(arguments)
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running = Some(Running(child.unwrap()));
    }
}

/// A wire to a store whose answers come as late as is set.
#[derive(Debug, Clone)]
pub(crate) struct SlowWire {
    pub(crate) url: String,
    millis: Arc<AtomicU64>,
}

impl SlowWire {
    pub(crate) async fn to(store: &Store) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let wire = Self { url, millis: Arc::default() };
        let (port, millis) = (store.port, Arc::clone(&wire.millis));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, port, Arc::clone(&millis)));
            }
        });
        wire
    }

    pub(crate) fn delay(&self, by: Duration) {
        self.millis.store(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// Carries one connection; it ends with either side.
async fn carry(near: TcpStream, port: u16, millis: Arc<AtomicU64>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut near_read, mut near_write) = near.into_split();
    let (far_read, mut far_write) = far.into_split();
    let back = async move {
        let mut buffer = vec![0; 64 * 1_024];
        loop {
            let _ = far_read.readable().await;
            match far_read.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    let late = Duration::from_millis(millis.load(Ordering::SeqCst));
                    tokio::time::sleep(late).await;
                    if near_write.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let forth = async move {
        let _ = tokio::io::copy(&mut near_read, &mut far_write).await;
    };
    tokio::select! {
        () = back => {}
        () = forth => {}
    }
}
