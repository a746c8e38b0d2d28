//! `serin demo`: a real repository, real processes and real requests, on a machine with nothing else.
//!
//! Four commits land in turn: a harmless one, one that fails some requests, one that asks its database for each line
//! of a cart instead of once, and a harmless one while a shared dependency fails for both versions alike. The service
//! sends its spans to Serin, which can say why the bad ones failed: which operation, which line, which commit.

mod display;
pub mod load;
mod repository;
mod scenario;
pub mod service;
mod summary;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use self::display::Display;
use self::load::Load;
use self::repository::Shop;
use self::scenario::{Commit, Scenario, World};
use self::service::Dependency;
use crate::cli::{Exit, complain};
use crate::config;
use crate::run::{RunError, Serin};
use crate::telemetry::{self, Logs};

/// Requests per second: enough evidence in seconds, on a fraction of one core.
pub(crate) const RATE: f64 = 500.0;

/// How long one scenario may take before the demo gives up on it.
const PATIENCE: Duration = Duration::from_secs(75);

/// How long the first version may take to serve.
const START: Duration = Duration::from_secs(20);

/// What the demo may be told.
#[derive(Debug, Args)]
pub struct Options {
    /// Keep everything in this folder instead of a temporary one
    #[arg(long)]
    dir: Option<PathBuf>,
    /// End by itself: 0 if all four commits ended as they must
    #[arg(long)]
    once: bool,
    /// Address of the page
    #[arg(long, default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
}

/// Why the demo cannot go on.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("failed to use the folder {path}; name an empty one with --dir")]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the folder {0} is not empty; name an empty one with --dir, or `serin run --config {0}/serin.yaml` to go on there"
    )]
    NotEmpty(String),
    #[error("failed to write the demo's repository")]
    Git(#[from] git2::Error),
    #[error("failed to prepare the demo")]
    Io(#[from] io::Error),
    #[error("the demo's own settings are wrong; please report it:\n{0}")]
    Settings(String),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{0}")]
    Late(String),
}

/// Runs the demo.
pub async fn run(options: Options) -> Exit {
    match play(&options).await {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Failed,
        Err(error) => {
            complain(&format!("serin demo: {}", crate::chain(&error)));
            Exit::Failed
        }
    }
}

async fn play(options: &Options) -> Result<bool, DemoError> {
    let folder = Folder::open(options.dir.as_deref())?;
    let telemetry = telemetry::start(None, Logs::File(folder.path.join("serin.log")));
    let dependency = Dependency::start().await?;
    let shop_address = free_address()?;
    let shop = Shop::create(&folder.path, shop_address, dependency.url())?;
    let listen =
        if TcpListener::bind(options.listen).is_ok() { options.listen } else { free_address()? };
    let settings = shop.settings(listen);
    std::fs::write(folder.path.join("serin.yaml"), &settings)?;
    let instance = config::instance("serin.yaml", settings.as_bytes(), &folder.path, &|_| None)
        .map_err(|problems| {
            DemoError::Settings(config::render_problems(&problems, config::Colour::Never))
        })?;

    let serin = Serin::new(&instance).await?;
    let handle = serin.handle.clone();
    let display = Display::new(&folder.path, &handle, shop_address);
    let (stop, stopped) = watch::channel(false);
    let mut running = tokio::task::JoinSet::new();
    running.spawn(serin.run(async move {
        let mut stopped = stopped;
        // A sender that is gone is a stop as well.
        let _ = stopped.wait_for(|stop| *stop).await;
    }));

    let story = async {
        let load = Load::start(
            vec![format!("http://{shop_address}/"), format!("http://{shop_address}/checkout")],
            0.0,
        )?;
        let world = World {
            shop: &shop,
            handle: &handle,
            load: &load,
            dependency: &dependency,
            display: &display,
        };
        world.first_version(START).await?;
        load.set_rate(RATE);
        let mut results = Vec::new();
        for scenario in Scenario::ALL {
            let commit = Commit::of(scenario);
            results.push(world.play(&commit, PATIENCE).await?);
        }
        let good = results.iter().all(scenario::Played::as_it_must);
        let look = if options.once && folder.temporary {
            summary::Look::Nowhere
        } else {
            summary::Look::Here(&folder.path, &handle)
        };
        display.end();
        summary::print(&results, &look);
        if !options.once {
            display.stays_up();
            crate::cli::stop().await;
        }
        Ok::<bool, DemoError>(good)
    };
    let ended = tokio::select! {
        // A stop while the page stays up is the story's own, good end.
        biased;
        ended = story => ended,
        () = crate::cli::stop() => Err(DemoError::Late("stopped before the end".to_owned())),
        Some(result) = running.join_next() => match result {
            Ok(Ok(())) => Err(DemoError::Late("Serin stopped by itself".to_owned())),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(DemoError::Late(format!("Serin ended in a defect: {error}"))),
        },
    };
    display.end();
    stop.send_replace(true);
    while running.join_next().await.is_some() {}
    telemetry.end();
    folder.close(&ended);
    ended
}

/// A port that was free a moment ago.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Where everything lies; a temporary one is deleted at the end unless something went wrong.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn open(dir: Option<&Path>) -> Result<Self, DemoError> {
        let failed = |path: &Path, source| DemoError::Folder { path: path.to_owned(), source };
        let (path, temporary) = match dir {
            Some(dir) => (std::path::absolute(dir).map_err(|e| failed(dir, e))?, false),
            None => (std::env::temp_dir().join(format!("serin-demo-{}", std::process::id())), true),
        };
        std::fs::create_dir_all(&path).map_err(|e| failed(&path, e))?;
        if std::fs::read_dir(&path).map_err(|e| failed(&path, e))?.next().is_some() {
            return Err(DemoError::NotEmpty(path.display().to_string()));
        }
        Ok(Self { path, temporary })
    }

    fn close(&self, ended: &Result<bool, DemoError>) {
        if !self.temporary {
            return;
        }
        if matches!(ended, Ok(true)) {
            if let Err(error) = std::fs::remove_dir_all(&self.path) {
                complain(&format!("{} stays behind: {error}", self.path.display()));
            }
        } else {
            complain(&format!("everything is left for a look in {}", self.path.display()));
        }
    }
}
