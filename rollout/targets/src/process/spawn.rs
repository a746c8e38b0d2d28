//! Starts one process so that it outlives Serin and can be found again.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::error::StartError;
use super::kernel::{self, Identity};
use super::log;
use super::record::{self, Folder};
use super::spec::Prepared;
use super::telemetry::{self, Sender};

/// What a process gets of Serin's own environment; anything else, credentials above all, is none
/// of its business.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// A process that has just been started.
pub(super) struct Spawned {
    pub(super) child: Child,
    pub(super) identity: Identity,
    /// Where its output begins in the log.
    pub(super) log_from: u64,
}

/// Starts instance `index` on `port`, in a process group of its own, without input, its output
/// appended to its log.
pub(super) fn spawn(
    prepared: &Prepared,
    folder: &Folder,
    index: u16,
    port: u16,
) -> Result<Spawned, StartError> {
    let path = folder.log(&prepared.version, index);
    let (log, log_from) = log::open(&path).map_err(|error| {
        StartError::environment(format!("cannot open the log {}", path.display()), error)
    })?;
    let mut command = command(prepared, folder, index, port, log).map_err(|error| {
        StartError::environment(format!("cannot share the log {}", path.display()), error)
    })?;
    let child = command.spawn().map_err(|error| refused(prepared, error))?;
    let pid = child.id().expect("a child that was not waited for has an id");
    match Identity::of(pid) {
        Ok(identity) => Ok(Spawned { child, identity, log_from }),
        Err(error) => {
            // It cannot be found again, so it must not run. The runtime reaps it once dropped.
            if let Err(error) = kernel::signal_group(pid, Signal::KILL) {
                tracing::error!(pid, %error, "a process that cannot be watched cannot be ended");
            }
            let what = format!("cannot read the start time of process {pid}");
            Err(StartError::environment(what, error))
        }
    }
}

fn command(
    prepared: &Prepared,
    folder: &Folder,
    index: u16,
    port: u16,
    log: File,
) -> io::Result<Command> {
    let with_port = |text: &String| text.replace("${PORT}", &port.to_string());
    let spec = &prepared.spec;
    let mut words = spec.command.iter().map(with_port);
    let program = words.next().unwrap_or_default();
    let sender = Sender {
        service: &prepared.version.service,
        revision: &prepared.version.revision,
        instance: &prepared.version.instance(index),
    };
    let telemetry = telemetry::variables(sender, &spec.environment, prepared.endpoint.as_deref());
    let mut command = Command::new(program_path(&program, &prepared.working_directory));
    command
        .args(words)
        .current_dir(&prepared.working_directory)
        .env_clear()
        .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .envs(spec.environment.iter().map(|(name, value)| (name, with_port(value))))
        .envs(telemetry.iter().map(|(name, value)| (name, with_port(value))))
        .env("PORT", port.to_string())
        .env("SERIN_SERVICE", &prepared.version.service)
        .env("SERIN_REVISION", &prepared.version.revision)
        .env(record::INDEX, index.to_string())
        .env(record::MARK, folder.record(&prepared.version, index))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// A program with a slash belongs to the working directory; any other is looked for in `PATH`.
fn program_path(program: &str, working_directory: &Path) -> OsString {
    if program.contains('/') {
        PathBuf::from(working_directory).join(program).into()
    } else {
        program.into()
    }
}

/// Whose fault it is that the kernel did not start a command.
fn refused(prepared: &Prepared, error: io::Error) -> StartError {
    let program = prepared.spec.command.first().cloned().unwrap_or_default();
    // 8 is ENOEXEC on every Unix: neither a program nor a script with an interpreter line.
    let not_a_program = error.raw_os_error() == Some(8);
    let missing = matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidFilename
    );
    if missing || not_a_program {
        StartError::NoSuchCommand { program, source: error.into() }
    } else if error.kind() == io::ErrorKind::ArgumentListTooLong {
        StartError::Invalid { what: "the command and its environment are too long".to_owned() }
    } else {
        StartError::environment(format!("cannot start `{program}`"), error)
    }
}
