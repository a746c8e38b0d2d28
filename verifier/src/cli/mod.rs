//! The command line: what each command takes, and its exit code.
//!
//! 0 is success, 1 a failure (and `wait`: rolled back), 2 a wrong input, 3 inconclusive, 4 timed out.

mod against;
mod backtest;
mod explain;
mod findings;
mod judge;
mod remote;
mod replay;
mod run;
mod simulate;
mod store;
mod table;
mod traces;
mod validate;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rollout::Order;

use crate::demo;

pub(crate) use self::run::stop;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As wanted.
    Done,
    /// It failed, or the deployment was rolled back.
    Failed,
    /// The input is wrong.
    WrongInput,
    /// Nothing was proven.
    Inconclusive,
    /// The time was up.
    TimedOut,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0_u8,
            Exit::Failed => 1,
            Exit::WrongInput => 2,
            Exit::Inconclusive => 3,
            Exit::TimedOut => 4,
        })
    }
}

/// Every Git deploy is proven on a slice of real traffic, or undone, in production and in Git.
#[derive(Debug, Parser)]
#[command(name = "serin", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch Serin promote a good commit and catch, roll back and revert bad ones; needs nothing else
    Demo(demo::Options),
    /// Watch repositories and verify every deployment
    Run {
        /// The instance's settings
        #[arg(long, default_value = "serin.yaml")]
        config: PathBuf,
    },
    /// Check policies and settings, and say everything that is wrong with them
    Validate(validate::Options),
    /// What every service runs, and what is on trial
    Status {
        /// Only this service
        service: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Why a deployment went as it did: every decision with its reason, and the evidence
    Explain(explain::Options),
    /// Hold the weight; evidence accumulates and a failing canary still goes
    Pause(Ordered),
    /// Go on, or release a service that waits for a person
    Resume(Ordered),
    /// To the next stage at once: full traffic, or the end of the bake
    Promote(Ordered),
    /// End it: traffic goes back, Git stays
    Abort(Ordered),
    /// Let a revert go ahead that waits for a person
    Approve(Ordered),
    /// Wait for a deployment to end: 0 promoted, 1 rolled back, 3 inconclusive, 4 timed out
    Wait {
        /// The service
        service: String,
        /// The commit, in full or its first digits; without it the deployment that runs or comes next
        #[arg(long)]
        revision: Option<String>,
        /// For how long, e.g. 30m
        #[arg(long, default_value = "1h", value_parser = duration)]
        timeout: Duration,
        #[command(flatten)]
        server: Server,
    },
    /// The same engine on any data: observations as lines of JSON on standard input
    ///
    /// One object a line: {"t": 5.0, "arm": "canary", "instance": "c1", "check": "errors",
    /// "events": 3, "of": 125}, or with "le" and "counts" for latency. Lines with one t make one
    /// scrape. Exits 0 if the weight is allowed, 1 if the canary fails, 3 if nothing is proven.
    Judge(judge::Options),
    /// Judge a finished deployment's evidence again, from the file that `explain --bundle` writes
    Replay(replay::Options),
    /// What a policy would have done with past deployments and quiet periods of a Prometheus
    Backtest(backtest::Options),
    /// Play a script through the state machine, or say how long a policy's steps would take
    ///
    /// With a script of commits, traffic and faults: what happens, in virtual time. With a policy
    /// and --traffic: how long each step needs to see a change of a stated size, and how long a
    /// healthy version takes.
    Simulate(simulate::Options),
    /// Traces without a running Serin: what made a version slower or failing
    #[command(subcommand)]
    Traces(traces::Traces),
    /// The small service of the demo
    #[command(hide = true)]
    DemoService {
        /// Its file in the checkout
        #[arg(long)]
        config: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Ordered {
    /// The service
    service: String,
    #[command(flatten)]
    server: Server,
}

impl Server {
    /// Its address, as it is asked and shown.
    fn shown(&self) -> String {
        self.address.trim_end_matches('/').to_owned()
    }
}

/// Where Serin runs.
#[derive(Debug, Args)]
pub struct Server {
    /// Address of the running Serin
    #[arg(long = "server", env = "SERIN_URL", default_value = "http://127.0.0.1:8787")]
    address: String,
    /// Token, if it asks for one
    #[arg(long, env = "SERIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let wrong = error.use_stderr();
            // Nowhere to print to is nothing to report either.
            let _ = error.print();
            return if wrong { Exit::WrongInput.into() } else { Exit::Done.into() };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("failed to start: {error}"));
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(dispatch(cli.command));
    // What hangs in a system call must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(2));
    exit.into()
}

async fn dispatch(command: Command) -> Exit {
    match command {
        Command::Demo(options) => demo::run(options).await,
        Command::Run { config } => run::run(&config).await,
        Command::Validate(options) => validate::run(&options).await,
        Command::Status { service, server } => remote::status(&server, service.as_deref()).await,
        Command::Explain(options) => explain::run(&options).await,
        Command::Pause(to) => remote::order(&to.server, &to.service, Order::Pause).await,
        Command::Resume(to) => remote::order(&to.server, &to.service, Order::Resume).await,
        Command::Promote(to) => remote::order(&to.server, &to.service, Order::Promote).await,
        Command::Abort(to) => remote::order(&to.server, &to.service, Order::Abort).await,
        Command::Approve(to) => remote::order(&to.server, &to.service, Order::Approve).await,
        Command::Wait { service, revision, timeout, server } => {
            remote::wait(&server, &service, revision.as_deref(), timeout).await
        }
        Command::Judge(options) => judge::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Backtest(options) => backtest::run(&options).await,
        Command::Simulate(options) => simulate::run(&options),
        Command::Traces(traces) => traces::run(&traces),
        Command::DemoService { config } => demo_service(&config).await,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demo's service is told its port, its revision and where spans go by its environment"
)]
async fn demo_service(config: &std::path::Path) -> Exit {
    let Some(port) = std::env::var("PORT").ok().and_then(|port| port.parse().ok()) else {
        complain("the environment variable PORT must hold the port to listen on");
        return Exit::WrongInput;
    };
    let served = async {
        let mut settings = demo::service::ServiceConfig::read(config).await?;
        settings.revision = std::env::var("SERIN_REVISION").ok();
        settings.telemetry =
            demo::service::Telemetry::from_environment(|name| std::env::var(name).ok());
        demo::service::serve(settings, port).await
    };
    match served.await {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&format!("the demo's service ended: {}", crate::chain(&error)));
            Exit::Failed
        }
    }
}

/// `90s`, `30m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "write a time with its unit, e.g. 30s, 10m or 1h".to_owned())?;
    Duration::try_from(span).map_err(|_| "a time is not negative".to_owned())
}

/// Prints to standard output; a closed pipe ends quietly.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    // Whoever read this has gone away.
    let _ = write!(out, "{text}{newline}");
}

/// Prints to standard error.
pub(crate) fn complain(text: &str) {
    // Nowhere to complain to is nothing to report either.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether standard output is a terminal that likes colour.
pub(crate) fn colourful() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "NO_COLOR is a convention of the terminal, not configuration"
    )]
    let plain = std::env::var("NO_COLOR").is_ok_and(|v| !v.is_empty());
    std::io::stdout().is_terminal() && !plain
}

/// Columns of the terminal, as far as it says.
pub(crate) fn width() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "COLUMNS is a convention of the terminal, not configuration"
    )]
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.unwrap_or(100)
}
