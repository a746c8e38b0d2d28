//! The figures of this process, as Linux tells them in `/proc`; elsewhere there are none.

use std::fs::{read_dir, read_to_string};

/// `USER_HZ`: what `/proc` counts processor time in, the same on every platform that Rust's Linux
/// targets of today run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What could be read; each is `None` where it could not.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    /// Since 1970.
    pub(super) start_seconds: Option<f64>,
    pub(super) open_files: Option<f64>,
    pub(super) most_files: Option<f64>,
}

/// Reads all of it; some hundred microseconds.
pub(super) fn read() -> Process {
    let text = |path: &str| read_to_string(path).unwrap_or_default();
    let (stat, limits) = (text("/proc/self/stat"), text("/proc/self/limits"));
    // The name in brackets may hold blanks; numbers follow it, the state being field 3.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    let boot = text("/proc/stat")
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let resident = text("/proc/self/status").lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<f64>().ok()
    });
    let most = limits.lines().find_map(|line| {
        line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<f64>().ok()
    });
    Process {
        cpu_seconds: ticks(14)
            .zip(ticks(15))
            .map(|(user, system)| (user + system) / TICKS_PER_SECOND),
        resident_bytes: resident.map(|kib| kib * 1024.0),
        start_seconds: ticks(22).zip(boot).map(|(start, boot)| boot + start / TICKS_PER_SECOND),
        open_files: read_dir("/proc/self/fd")
            .ok()
            .and_then(|files| u32::try_from(files.count()).ok())
            .map(f64::from),
        most_files: most,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_plausible() {
        let process = read();
        assert!(process.resident_bytes.unwrap() > 1e6, "{process:?}");
        assert!(process.start_seconds.unwrap() > 1.6e9, "{process:?}");
        assert!(
            process.cpu_seconds.unwrap() >= 0.0 && process.open_files.unwrap() >= 3.0,
            "{process:?}"
        );
        assert!(process.most_files.unwrap() >= process.open_files.unwrap(), "{process:?}");
    }
}
