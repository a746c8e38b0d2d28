//! The composition root: every part built from the instance's settings, and all of them run
//! together. When one ends, all end, with its reason.

pub(crate) mod stores;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alerts::{Routes, Templates};
use alerts_notifiers::{Notifier, slack, webhook};
use analysis_providers::intake::{Intake, IntakeSettings};
use analysis_providers::otlp::{Otlp, OtlpSettings};
use analysis_providers::{MetricProvider, Rum, Scraper, ScraperSettings};
use rollout_routers::Proxy;
use rollout_targets::process::Processes;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::board::Board;
use crate::cause::Finder;
use crate::config::{self, Instance, NotifierKind, Pushing};
use crate::driver::{Driver, Inbox, inbox};
use crate::git::{Author, Credentials, GitError, Mirror, Remote};
use crate::grpc;
use crate::journal::{Journal, JournalError, Reader};
use crate::measure::{Meters, Sources};
use crate::perform::{self, Performer};
use crate::tell::Teller;
use crate::watch::{Repository, Watcher};
use crate::web::{self, App};

/// Ends of processes that wait to be taken in.
const EXITS: usize = 256;

/// How long requests and processes get to end when Serin is asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Why Serin cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A folder of its own.
    #[error(
        "failed to make the folder {path}; set `folder` in serin.yaml to one that Serin may write"
    )]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A mirror.
    #[error("failed to open the mirror of repository {name}")]
    Mirror {
        /// Whose.
        name: String,
        /// Why.
        #[source]
        source: GitError,
    },
    /// A provider.
    #[error("failed to set provider {name} up: {why}")]
    Provider {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// A notifier.
    #[error("failed to set notifier {name} up: {why}")]
    Notifier {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// The address of the page.
    #[error(
        "failed to listen on {address}; another program, or another Serin, may use it: set `{key}` in serin.yaml to a free one"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The key that sets it.
        key: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A part ended that runs for ever.
    #[error("{0} ended unexpectedly; please report it")]
    Ended(&'static str),
}

/// Serin, set up and ready to run.
pub struct Serin {
    driver: Driver,
    watcher: Watcher,
    sources: Arc<Sources>,
    performer: Arc<Performer>,
    app: Arc<App>,
    listener: TcpListener,
    /// Where services push by gRPC, and the token that they need.
    pushes: Option<(TcpListener, Option<config::Secret>)>,
    /// For those who run Serin inside of another program, as the demo does.
    pub handle: Handle,
}

/// What an embedding program may use.
#[derive(Clone)]
pub struct Handle {
    /// What is visible of the services.
    pub board: Arc<Board>,
    /// Takes orders.
    pub inbox: Inbox,
    /// The past.
    pub reader: Reader,
    /// Makes the watcher look at once.
    pub nudge: Arc<Notify>,
    /// The embedded proxy.
    pub proxy: Proxy,
    /// Where the page is served.
    pub address: SocketAddr,
}

impl Serin {
    /// Builds every part; nothing is performed yet.
    ///
    /// # Errors
    /// The first part that cannot be set up, with what to do.
    pub async fn new(instance: &Instance) -> Result<Self, RunError> {
        let made = |path: PathBuf| async move {
            tokio::fs::create_dir_all(&path)
                .await
                .map_err(|source| RunError::Folder { path, source })
        };
        made(instance.folder.clone()).await?;
        let journal = Journal::open(&instance.journal).await?;
        let bind = |address: SocketAddr, key: &'static str| async move {
            let bound = TcpListener::bind(address).await;
            bound.map_err(|source| RunError::Listen { address, key, source })
        };
        let listener = bind(instance.listen, "listen").await?;
        let pushes = match instance.grpc {
            Some(address) => Some((bind(address, "otlp.grpc").await?, instance.api_token.clone())),
            None => None,
        };
        let address = listener.local_addr().unwrap_or(instance.listen);
        let public_url = instance.public_url.clone().unwrap_or_else(|| format!("http://{address}"));

        let (inbox, messages) = inbox();
        let (exit_sender, exits) = mpsc::channel(EXITS);
        let board = Arc::new(Board::default());
        let nudge = Arc::new(Notify::new());
        let proxy = Proxy::new();
        let mut processes = Processes::new(instance.folder.join("processes"), exit_sender);
        // With a token there is nothing that services could be told without telling it to them as well.
        if instance.api_token.is_none() {
            processes = processes.exporting_to(&format!("http://{address}"));
        }
        let meters = Arc::new(Meters::default());
        let repositories = repositories(instance)?;
        let spans = Arc::new(Intake::new(IntakeSettings::default()));
        let finder = Finder { spans: spans.clone(), stores: stores::trace_stores(instance)? };
        let performer = Arc::new(Performer {
            proxy: proxy.clone(),
            processes: processes.clone(),
            repositories: repositories
                .iter()
                .map(|(r, p)| (r.name.clone(), performed(r, p)))
                .collect(),
            folder: instance.folder.clone(),
            meters,
            finder,
            teller: teller(instance, &public_url, board.clone())?,
            board: board.clone(),
            inbox: inbox.clone(),
            journal: journal.reader(),
            nudge: nudge.clone(),
            public_url: public_url.clone(),
        });
        let otlp = Arc::new(Otlp::new(OtlpSettings::default()));
        let browsers = Arc::new(Rum::new(instance.rum.clone().unwrap_or_default()));
        let sources = Arc::new(Sources {
            proxy: proxy.clone(),
            processes,
            scraper: scraper()?,
            otlp: otlp.clone(),
            spans: spans.clone(),
            browsers: browsers.clone(),
            client: journeys()?,
            stores: stores::stores(instance)?,
        });
        let reader = journal.reader();
        let handle = Handle {
            board: board.clone(),
            inbox: inbox.clone(),
            reader: reader.clone(),
            nudge: nudge.clone(),
            proxy,
            address,
        };
        let watched = repositories.into_iter().map(|(r, _)| Arc::new(r)).collect();
        let watcher = Watcher::new(watched, inbox.clone(), board.clone(), nudge);
        let app = App::new(instance, handle.clone(), performer.clone(), public_url);
        let rum = instance.rum.is_some().then_some(browsers);
        let app = Arc::new(app.with_otlp(otlp).with_traces(spans).with_rum(rum));
        let driver = Driver::new(journal, performer.clone(), board, messages, exits).await?;
        Ok(Self { driver, watcher, sources, performer, app, listener, pushes, handle })
    }

    /// Runs until `stop` resolves, then ends requests and processes in order.
    ///
    /// # Errors
    /// When a part ends by itself, which is a defect.
    pub async fn run(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), RunError> {
        let Self { driver, watcher, sources, performer, app, listener, pushes, handle } = self;
        let (stopping, stopped) = watch::channel(false);
        let wait = |mut stopped: watch::Receiver<bool>| async move {
            // An error means that the sender is gone, which is a stop as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let mut parts: JoinSet<&'static str> = JoinSet::new();
        let meters = performer.meters.clone();
        let (inbox, board) = (handle.inbox.clone(), handle.board.clone());
        let driving = wait(stopped.clone());
        parts.spawn(async move {
            driver.run(driving).await;
            "the driver"
        });
        parts.spawn(async move {
            watcher.run().await;
            "the watcher"
        });
        parts.spawn(async move {
            meters.run(sources, inbox, board).await;
            "the metrics loop"
        });
        if let Some((listener, token)) = pushes {
            let (receiver, serving) = (app.pushed(), wait(stopped.clone()));
            parts.spawn(async move {
                grpc::serve(listener, receiver, token, serving).await;
                "the door for gRPC"
            });
        }
        let serving = wait(stopped);
        parts.spawn(async move {
            web::serve(listener, app, serving).await;
            "the page"
        });
        tokio::pin!(stop);
        let ended = tokio::select! {
            () = &mut stop => None,
            Some(part) = parts.join_next() => Some(part.unwrap_or("a part")),
        };
        stopping.send_replace(true);
        performer.stop_all(&handle.board, GRACE).await;
        // The driver may still be finishing a write.
        let _ = tokio::time::timeout(GRACE, parts.join_next()).await;
        parts.shutdown().await;
        ended.map_or(Ok(()), |part| Err(RunError::Ended(part)))
    }
}

fn performed(repository: &Repository, settings: &config::Repository) -> perform::Repository {
    perform::Repository {
        mirror: repository.mirror.clone(),
        policies: repository.policies.clone(),
        author: Author { name: settings.author.name.clone(), email: settings.author.email.clone() },
        dry_run: match settings.pushing {
            Pushing::AsPolicy => false,
            Pushing::DryRun => true,
        },
    }
}

fn repositories(instance: &Instance) -> Result<Vec<(Repository, config::Repository)>, RunError> {
    let open = |settings: &config::Repository| {
        let remote = Remote {
            url: settings.url.clone(),
            branch: settings.branch.clone(),
            credentials: match &settings.credentials {
                config::Credentials::None => Credentials::None,
                config::Credentials::SshKey { user, path } => {
                    Credentials::SshKey { user: user.clone(), path: path.clone(), passphrase: None }
                }
                config::Credentials::SshAgent { user } => {
                    Credentials::SshAgent { user: user.clone() }
                }
                config::Credentials::Token { user, token } => {
                    Credentials::Token { user: user.clone(), token: token.expose().to_owned() }
                }
            },
        };
        let mirror = Mirror::open(&instance.folder.join("mirrors").join(&settings.name), remote)
            .map_err(|source| RunError::Mirror { name: settings.name.clone(), source })?;
        let repository = Repository {
            name: settings.name.clone(),
            mirror: Arc::new(mirror),
            policies: settings.policies.clone(),
            poll: settings.poll,
        };
        Ok((repository, settings.clone()))
    };
    instance.repositories.iter().map(open).collect()
}

fn scraper() -> Result<Arc<dyn MetricProvider>, RunError> {
    let scraper = Scraper::new(ScraperSettings::default()).map_err(|error| RunError::Provider {
        name: "scrape".to_owned(),
        why: crate::chain(&error),
    })?;
    Ok(Arc::new(scraper))
}

/// What makes the requests of journeys.
fn journeys() -> Result<reqwest::Client, RunError> {
    crate::journey::client(false).map_err(|error| RunError::Provider {
        name: "journeys".to_owned(),
        why: crate::chain(&error),
    })
}

fn teller(instance: &Instance, public_url: &str, board: Arc<Board>) -> Result<Teller, RunError> {
    let build = |notifier: &config::Notifier| {
        let config = match &notifier.kind {
            NotifierKind::Slack { webhook } => alerts_notifiers::Config::Slack(slack::Config {
                url: alerts_notifiers::Secret::new(webhook.expose()),
                timeout: alerts_notifiers::TIMEOUT,
            }),
            NotifierKind::Webhook { url, secret } => {
                alerts_notifiers::Config::Webhook(webhook::Config {
                    url: alerts_notifiers::Secret::new(url),
                    secrets: vec![alerts_notifiers::Secret::new(secret.expose())],
                    timeout: alerts_notifiers::TIMEOUT,
                })
            }
        };
        let built = alerts_notifiers::build(config).map_err(|error| RunError::Notifier {
            name: notifier.name.clone(),
            why: crate::chain(&error),
        })?;
        Ok((notifier.name.clone(), built))
    };
    let notifiers: BTreeMap<String, Arc<dyn Notifier>> =
        instance.notifiers.iter().map(build).collect::<Result<_, RunError>>()?;
    let names: BTreeSet<String> = notifiers.keys().cloned().collect();
    let routes =
        Routes::new(&names, BTreeMap::new(), None).map_err(|problems| RunError::Notifier {
            name: "routes".to_owned(),
            why: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        })?;
    Ok(Teller::new(notifiers, routes, Templates::builtin(), public_url.to_owned(), board))
}
