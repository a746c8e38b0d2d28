//! What is written down about each process, so that the next Serin finds it.
//!
//! One small file per instance, replaced as a whole. It is not synced to the disk: whatever loses
//! an unsynced file, a power cut or a kernel crash, ends the process too. Between the start of a
//! process and its record lies an instant in which a kill of Serin would leave a process without
//! record; so each process carries the path of its record in its environment, and a process
//! without record is found by that.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kernel::{self, Identity};
use super::spec::Version;

/// Environment variable that holds the path of the record of a process.
pub(super) const MARK: &str = "SERIN_RECORD";
/// Environment variable that holds the number of the instance.
pub(super) const INDEX: &str = "SERIN_INSTANCE_INDEX";
/// A record is a few hundred bytes; a longer file is not one.
const LARGEST_RECORD: u64 = 64 * 1024;
/// A file name holds 255 bytes on every usual file system; the rest is for endings.
const LONGEST_STEM: usize = 245;
/// Grace of a process whose record is lost, as the default of a specification.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// One process of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) service: String,
    pub(super) revision: String,
    pub(super) index: u16,
    pub(super) process: Identity,
    pub(super) port: u16,
    /// Where the output of this process begins in its log.
    pub(super) log_from: u64,
    /// Time between SIGTERM and SIGKILL.
    pub(super) stop_grace: Duration,
    /// Whether the version as a whole has been healthy; such a one is restarted, not given up.
    pub(super) established: bool,
}

impl Record {
    pub(super) fn version(&self) -> Version {
        Version { service: self.service.clone(), revision: self.revision.clone() }
    }
}

/// Serin's own folder for processes: records and logs.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens the folder, made if missing, for nobody but this user: logs may hold secrets.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        for folder in [root.join("instances"), root.join("logs")] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        Ok(Self { root: root.canonicalize()? })
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(super) fn log(&self, version: &Version, index: u16) -> PathBuf {
        self.logs().join(format!("{}.log", stem(version, index)))
    }

    /// Path of the record of an instance; it also marks the process.
    pub(super) fn record(&self, version: &Version, index: u16) -> PathBuf {
        self.root.join("instances").join(format!("{}.json", stem(version, index)))
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let path = self.record(&record.version(), record.index);
        let draft = path.with_extension("new");
        let text = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
        let mut file =
            File::options().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&text)?;
        fs::rename(draft, path)
    }

    /// Removes a record; one that is gone already is no error.
    pub(super) fn remove(&self, version: &Version, index: u16) -> io::Result<()> {
        match fs::remove_file(self.record(version, index)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Finds every process of this folder that still runs, by record or by mark, and removes the
    /// records of those that do not.
    pub(super) fn living(&self) -> io::Result<Vec<Record>> {
        let mut living = BTreeMap::new();
        for entry in fs::read_dir(self.root.join("instances"))? {
            let path = entry?.path();
            match read(&path) {
                Ok(record) if record.process.is_alive() => {
                    living.insert((record.version(), record.index), record);
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "removing a file that is not a record");
                }
            }
            fs::remove_file(&path)?;
        }
        for record in self.marked()? {
            living.entry((record.version(), record.index)).or_insert(record);
        }
        Ok(living.into_values().collect())
    }

    /// Processes that carry the mark of this folder, the eldest first.
    fn marked(&self) -> io::Result<Vec<Record>> {
        let instances = self.root.join("instances");
        let mut found: Vec<Record> = kernel::marked(&format!("{MARK}={}/", instances.display()))?
            .into_iter()
            .filter_map(|marked| {
                let value = |name: &str| {
                    let of = |entry: &String| {
                        entry.strip_prefix(name)?.strip_prefix('=').map(str::to_owned)
                    };
                    marked.environment.iter().find_map(of)
                };
                Some(Record {
                    service: value("SERIN_SERVICE")?,
                    revision: value("SERIN_REVISION")?,
                    index: value(INDEX)?.parse().ok()?,
                    port: value("PORT")?.parse().ok()?,
                    process: marked.identity,
                    log_from: 0,
                    stop_grace: DEFAULT_GRACE,
                    established: false,
                })
            })
            .collect();
        found.sort_by_key(|record| record.process.started);
        Ok(found)
    }
}

fn read(path: &Path) -> io::Result<Record> {
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST_RECORD).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// File name of an instance: distinct for distinct instances, and safe whatever the names hold.
fn stem(version: &Version, index: u16) -> String {
    format!("{}@{}@{index}", escaped(&version.service), escaped(&version.revision))
}

/// Whether the files of every instance of a version can be named.
pub(super) fn fits_a_file_name(version: &Version) -> bool {
    stem(version, u16::MAX).len() <= LONGEST_STEM
}

fn escaped(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02x}").expect("a String takes any text");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(service: &str, process: Identity) -> Record {
        Record {
            service: service.to_owned(),
            revision: "4f2c1a9".to_owned(),
            index: 0,
            process,
            port: 4000,
            log_from: 7,
            stop_grace: Duration::from_millis(1500),
            established: true,
        }
    }

    #[test]
    fn a_living_process_is_found_by_its_record_and_others_are_forgotten() {
        let root = tempfile::tempdir().expect("folder");
        let folder = Folder::open(root.path()).expect("opened");
        let mine = Identity::of(std::process::id()).expect("this process is there");
        let living = record("checkout", mine.clone());
        folder.write(&living).expect("written");
        folder.write(&record("gone", Identity { started: 1, ..mine })).expect("written");
        let instances = root.path().join("instances");
        fs::write(instances.join("broken.json"), "{\"pid\":").expect("written");
        fs::write(instances.join("huge.json"), vec![b' '; 1_000_000]).expect("written");

        assert_eq!(folder.living().expect("read"), [living]);
        assert_eq!(fs::read_dir(instances).expect("read").count(), 1);
    }

    #[test]
    fn file_names_are_distinct_and_stay_in_the_folder() {
        let stem = |service: &str, revision: &str| {
            let (service, revision) = (service.to_owned(), revision.to_owned());
            stem(&Version { service, revision }, 0)
        };
        assert_eq!(stem("checkout", "4f2c1a9"), "checkout@4f2c1a9@0");
        assert_eq!(stem("../a/ü", "%41"), "%2e%2e%2fa%2f%c3%bc@%2541@0");
        assert_ne!(stem("a@b", "c"), stem("a", "b@c"));
        let fits = |service: &str, revision: &str| {
            let (service, revision) = (service.to_owned(), revision.to_owned());
            fits_a_file_name(&Version { service, revision })
        };
        assert!(fits(&"a".repeat(64), &"a".repeat(64)));
        assert!(fits(&"ü".repeat(32), &"a".repeat(40)));
        assert!(!fits(&"ü".repeat(32), &"ü".repeat(32)));
    }
}
