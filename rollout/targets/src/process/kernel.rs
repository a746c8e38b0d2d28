//! What the kernel knows of a process: whether it is the one that was started, and signals to it.
//!
//! A process id alone is reused sooner or later, and a signal to a reused id ends a stranger.
//! The id together with the start time and the boot names one process for ever.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde::{Deserialize, Serialize};

/// One process of one boot of this machine; never equal for two processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: u32,
    /// Start in clock ticks since boot, field 22 of `/proc/PID/stat` (see proc(5)).
    pub(super) started: u64,
    /// `/proc/sys/kernel/random/boot_id`, because ticks begin anew with each boot.
    pub(super) boot: String,
}

impl Identity {
    /// Reads the identity of a process that is there now, even as a zombie.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let stat = Stat::read(pid)?;
        Ok(Self { pid, started: stat.started, boot: boot()? })
    }

    /// Whether this very process still runs; a zombie does not.
    pub(super) fn is_alive(&self) -> bool {
        let same = Stat::read(self.pid).is_ok_and(|s| s.started == self.started && !s.is_dead());
        same && boot().is_ok_and(|boot| boot == self.boot)
    }
}

/// Sends a signal to the group that `pid` leads. A group that is gone already is no error.
pub(super) fn signal_group(pid: u32, signal: Signal) -> io::Result<()> {
    match kill_process_group(group(pid)?, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the group that `pid` leads still has members; zombies count.
pub(super) fn group_lives(pid: u32) -> bool {
    group(pid).is_ok_and(|group| test_kill_process_group(group) != Err(rustix::io::Errno::SRCH))
}

/// A group leader whose environment holds a given entry.
pub(super) struct Marked {
    pub(super) identity: Identity,
    /// Its environment as it was at its start, as `NAME=value` entries.
    pub(super) environment: Vec<String>,
}

/// Finds the group leaders whose environment has an entry that begins with `mark`.
///
/// Processes of other users are passed over: their environment cannot be read, and none of them
/// was started by this Serin.
pub(super) fn marked(mark: &str) -> io::Result<Vec<Marked>> {
    let boot = boot()?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // A process may end between any two of these reads, which makes it no longer of interest.
        let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else {
            continue;
        };
        let environ = String::from_utf8_lossy(&environ);
        if !environ.split('\0').any(|entry| entry.starts_with(mark)) {
            continue;
        }
        let Ok(stat) = Stat::read(pid) else { continue };
        if stat.is_dead() || stat.group != i64::from(pid) {
            continue;
        }
        found.push(Marked {
            identity: Identity { pid, started: stat.started, boot: boot.clone() },
            environment: environ.split('\0').map(str::to_owned).collect(),
        });
    }
    Ok(found)
}

/// The fields of `/proc/PID/stat` that matter here.
struct Stat {
    state: char,
    group: i64,
    started: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&String::from_utf8_lossy(&text)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is not as known"))
        })
    }

    /// The program's name stands in parentheses and may itself hold spaces and parentheses, so the
    /// fields are counted from the last closing one; the first after it is field 3.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Refuses 0 and 1, which `kill(2)` would take for Serin's own group and for everything.
fn group(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 1)
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no group {pid}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let text = "77 (a) R) b) S 1 77 29 0 -1 4 97 0 0 0 0 0 0 0 20 0 1 0 81563 3133440 382";
        let stat = Stat::parse(text).expect("parsed");
        assert_eq!((stat.state, stat.group, stat.started), ('S', 77, 81_563));
        for broken in ["", "77", "77 (a", "77 (a)", "77 (a) S 1 x", "77 (a) S 1 77 29"] {
            assert!(Stat::parse(broken).is_none(), "{broken:?}");
        }
    }

    #[test]
    fn a_reused_process_id_is_not_the_process_that_was_started() {
        let mine = Identity::of(std::process::id()).expect("this process is there");
        assert!(mine.is_alive());
        assert!(!Identity { started: mine.started + 1, ..mine.clone() }.is_alive());
        assert!(!Identity { boot: "another".to_owned(), ..mine }.is_alive());
    }

    #[test]
    fn no_signal_ever_goes_to_init_to_the_own_group_or_to_everything() {
        for pid in [0, 1, u32::MAX, i32::MAX.unsigned_abs() + 1] {
            assert!(signal_group(pid, Signal::TERM).is_err(), "{pid}");
            assert!(!group_lives(pid), "{pid}");
        }
    }
}
