//! What to run, checked before anything is started.
//!
//! The specification comes out of the user's repository, so each mistake in it is reported in
//! words that say what to write instead, and none of it can reach outside the checkout by its
//! working directory.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::StartError;
use super::{probe, record};

/// More on one machine is a mistake in the policy rather than a wish.
const MOST_INSTANCES: u16 = 256;
/// Longest name of a service or revision in bytes: a SHA-256 in hexadecimal has this length.
const LONGEST_NAME: usize = 64;

/// How one version of a service is run as processes.
#[derive(Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// Program and arguments. A program with a `/` is taken from the working directory, one
    /// without is looked for in `PATH`. `${PORT}` stands for the port.
    pub command: Vec<String>,
    /// Variables beside those that every instance gets; `${PORT}` stands for the port. Those that OpenTelemetry
    /// knows win over the ones that Serin would set.
    pub environment: BTreeMap<String, String>,
    /// Where the command runs, relative to the checkout, which it must not leave. Default: the
    /// checkout.
    pub working_directory: Option<PathBuf>,
    /// Path that answers 2xx or 3xx as soon as the instance can serve. Default `/`.
    pub health_path: String,
    /// How long an instance may take to be healthy. Default 60 s.
    pub start_timeout: Duration,
    /// Time between SIGTERM and SIGKILL. Default 10 s.
    pub stop_grace: Duration,
    /// How many processes make the version, 1 to 256. Default 1.
    pub instances: u16,
}

impl ProcessSpec {
    /// A specification with every default but the command.
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            environment: BTreeMap::new(),
            working_directory: None,
            health_path: "/".to_owned(),
            start_timeout: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
            instances: 1,
        }
    }
}

/// Values of the environment are left out: they may be secrets.
impl fmt::Debug for ProcessSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessSpec")
            .field("command", &self.command)
            .field("environment", &self.environment.keys())
            .field("working_directory", &self.working_directory)
            .field("health_path", &self.health_path)
            .field("start_timeout", &self.start_timeout)
            .field("stop_grace", &self.stop_grace)
            .field("instances", &self.instances)
            .finish()
    }
}

/// One version to be run.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Name of the service, at most 64 bytes.
    pub service: String,
    /// Full revision of the version, at most 64 bytes.
    pub revision: String,
    /// Folder in which the revision is checked out.
    pub checkout: PathBuf,
    /// How it is run.
    pub spec: ProcessSpec,
}

/// One healthy instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Stable name: service, first seven characters of the revision, number from 0.
    pub instance: String,
    /// Where it answers, on the loopback address.
    pub address: SocketAddr,
    /// Its process id, which is also its process group.
    pub pid: u32,
}

/// An instance ended though nobody stopped it. It is started again after a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Name of the service.
    pub service: String,
    /// Full revision of the version.
    pub revision: String,
    /// Name of the instance.
    pub instance: String,
    /// Exit status, signal or other cause, in words.
    pub status: String,
    /// How many times in a row it has ended, this one included; a minute of health begins anew.
    pub failures: u32,
    /// Pause until it is started again, 1 s to 30 s.
    pub restart_in: Duration,
    /// Its last lines of output, at most twenty.
    pub log_tail: Vec<String>,
}

/// A version: the key under which everything is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) service: String,
    pub(super) revision: String,
}

impl Version {
    /// Name of an instance for people and labels.
    pub(super) fn instance(&self, index: u16) -> String {
        let short: String = self.revision.chars().take(7).collect();
        format!("{}-{short}-{index}", self.service)
    }
}

/// A launch that has been checked.
pub(super) struct Prepared {
    pub(super) version: Version,
    pub(super) spec: ProcessSpec,
    /// Absolute, exists, inside the checkout.
    pub(super) working_directory: PathBuf,
    /// Where telemetry is taken in, if it is.
    pub(super) endpoint: Option<Arc<str>>,
}

/// Checks a launch and finds its working directory.
pub(super) async fn prepare(
    launch: &Launch,
    endpoint: Option<Arc<str>>,
) -> Result<Prepared, StartError> {
    let Launch { service, revision, checkout, spec } = launch;
    validate(service, revision, spec)?;
    let version = Version { service: service.clone(), revision: revision.clone() };
    if !record::fits_a_file_name(&version) {
        return Err(invalid(format!("the name of the service `{service}` is too long for a file")));
    }
    let checkout = tokio::fs::canonicalize(checkout).await.map_err(|error| {
        StartError::environment(
            format!("cannot open the checkout {} of {revision}", checkout.display()),
            error,
        )
    })?;
    let working_directory = match &spec.working_directory {
        None => checkout,
        Some(relative) => inside(&checkout, relative).await?,
    };
    Ok(Prepared { version, spec: spec.clone(), working_directory, endpoint })
}

/// Resolves a folder of the checkout; neither `..` nor a symbolic link may lead out of it.
async fn inside(checkout: &Path, relative: &Path) -> Result<PathBuf, StartError> {
    let shown = relative.display();
    let leaves = || {
        invalid(format!(
            "the working directory `{shown}` leaves the checkout; \
             hint: write a folder of the repository, as `services/checkout`"
        ))
    };
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(plain) {
        return Err(leaves());
    }
    let found = match tokio::fs::canonicalize(checkout.join(relative)).await {
        Ok(found) => found,
        Err(error) => {
            return Err(invalid(format!(
                "the working directory `{shown}` cannot be opened in this revision: {error}"
            )));
        }
    };
    if !found.starts_with(checkout) {
        return Err(leaves());
    }
    if !found.is_dir() {
        return Err(invalid(format!("the working directory `{shown}` is not a folder")));
    }
    Ok(found)
}

fn validate(service: &str, revision: &str, spec: &ProcessSpec) -> Result<(), StartError> {
    for (what, name) in [("service", service), ("revision", revision)] {
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
            return Err(invalid(format!("the name of the {what} must have 1 to 64 bytes")));
        }
    }
    match spec.command.first() {
        None => {
            return Err(invalid("the command is empty; hint: write [program, argument, ...]"));
        }
        Some(program) if program.trim().is_empty() => {
            return Err(invalid("the command begins with an empty word instead of a program"));
        }
        Some(_) => {}
    }
    if spec.command.iter().any(|word| word.contains('\0')) {
        return Err(invalid("the command holds a NUL character, which no program can be given"));
    }
    for (name, value) in &spec.environment {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(invalid(format!(
                "the environment variable {name:?} cannot be set; \
                 hint: a name holds neither `=` nor NUL, a value no NUL"
            )));
        }
    }
    if !probe::is_usable(&spec.health_path) {
        return Err(invalid(format!(
            "the health path {:?} is not one; hint: write a path as /healthz",
            spec.health_path
        )));
    }
    if !(1..=MOST_INSTANCES).contains(&spec.instances) {
        return Err(invalid(format!(
            "{} instances are not possible; hint: write 1 to {MOST_INSTANCES}",
            spec.instances
        )));
    }
    Ok(())
}

fn invalid(what: impl Into<String>) -> StartError {
    StartError::Invalid { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut ProcessSpec), expected: &str) {
        let mut spec = ProcessSpec::new(vec!["./serve".to_owned()]);
        change(&mut spec);
        let error = validate("checkout", "4f2c1a9", &spec).expect_err(expected);
        assert!(error.is_version_fault());
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn a_wrong_specification_is_refused_in_words() {
        check(|spec| spec.command.clear(), "command is empty");
        check(|spec| spec.command = vec![" ".to_owned()], "empty word");
        check(|spec| spec.command.push("a\0b".to_owned()), "NUL");
        check(|spec| spec.health_path = "healthz".to_owned(), "write a path as /healthz");
        check(|spec| spec.instances = 0, "write 1 to 256");
        check(|spec| spec.instances = 257, "write 1 to 256");
        check(
            |spec| {
                spec.environment.insert("A=B".to_owned(), "c".to_owned());
            },
            "\"A=B\" cannot be set",
        );
    }

    #[test]
    fn names_have_a_length() {
        let spec = ProcessSpec::new(vec!["./serve".to_owned()]);
        assert!(validate("", "4f2c1a9", &spec).is_err());
        assert!(validate("checkout", &"a".repeat(65), &spec).is_err());
        assert!(validate("Kasse-Süd ☕", &"a".repeat(64), &spec).is_ok());
    }

    #[test]
    fn secrets_of_the_environment_are_not_shown() {
        let mut spec = ProcessSpec::new(vec!["./serve".to_owned()]);
        spec.environment.insert("TOKEN".to_owned(), "hunter2".to_owned());
        let shown = format!("{spec:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }

    #[tokio::test]
    async fn the_working_directory_stays_in_the_checkout() {
        let outside = tempfile::tempdir().expect("folder");
        let checkout = tempfile::tempdir().expect("folder");
        let root = checkout.path().canonicalize().expect("there");
        std::fs::create_dir(root.join("app")).expect("made");
        std::fs::write(root.join("file"), "").expect("written");
        std::os::unix::fs::symlink(outside.path(), root.join("link")).expect("linked");

        assert_eq!(inside(&root, Path::new("./app")).await.expect("inside"), root.join("app"));
        let absolute = outside.path().display().to_string();
        for refused in ["..", "app/../..", "link", absolute.as_str()] {
            let error = inside(&root, Path::new(refused)).await.expect_err(refused);
            assert!(error.to_string().contains("leaves the checkout"), "{error}");
        }
        for (refused, why) in [("none", "cannot be opened"), ("file", "not a folder")] {
            let error = inside(&root, Path::new(refused)).await.expect_err(refused);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
