//! The log file of an instance: opening it, quoting its end, keeping it small.
//!
//! The process writes to the file itself. A pipe through Serin would give exact limits, but would
//! break, and with it the service, whenever Serin is killed. So the file is checked now and then:
//! one that is too large keeps its last part in a second file and is emptied in place, which is
//! safe because the process appends. Output written in that very moment may be lost.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A log file is cut when it is larger than this: days of ordinary output, and nothing to a disk.
pub(super) const LARGEST_LOG: u64 = 10 * 1024 * 1024;
/// What is kept of a log file that is cut.
const KEPT_PART: u64 = 1024 * 1024;
/// How many log files of instances that no longer run are kept: some ten deployments to look into.
const KEPT_LOGS: usize = 40;
/// Lines of a quoted end; more would bury the rest of a message.
const TAIL_LINES: usize = 20;
/// Bytes read for a quoted end.
const TAIL_BYTES: u64 = 16 * 1024;
/// Characters kept of one quoted line.
const TAIL_COLUMNS: usize = 300;

/// Opens a log for a process to append to; returns it with its length, where the output of the
/// process begins.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    cut_if_large(path)?;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// Cuts a log that has grown too large, keeping its last part beside it as `NAME.1`.
pub(super) fn cut_if_large(path: &Path) -> io::Result<()> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if length <= LARGEST_LOG {
        return Ok(());
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    file.seek(SeekFrom::Start(length.saturating_sub(KEPT_PART)))?;
    // The part is copied only when the disk takes it; the cut must happen even on a full disk.
    let mut part = Vec::new();
    let kept = (&mut file)
        .take(KEPT_PART)
        .read_to_end(&mut part)
        .and_then(|_| create(&older(path))?.write_all(&part));
    file.set_len(0)?;
    kept
}

/// The last lines that a process wrote since `from`, at most twenty and at most 16 KiB, without
/// control characters. A log that cannot be read says so in its only line.
pub(super) fn tail(path: &Path, from: u64) -> Vec<String> {
    match read_end(path, from) {
        Ok(bytes) => last_lines(&bytes),
        Err(error) => vec![format!("(its log cannot be read: {error})")],
    }
}

/// Removes the oldest logs of instances that no longer run, beyond the few that are kept.
pub(super) fn prune(folder: &Path, in_use: &BTreeSet<PathBuf>) -> io::Result<()> {
    let mut unused = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        if is_log && !in_use.contains(&path) {
            unused.push((entry.metadata()?.modified()?, path));
        }
    }
    unused.sort();
    let surplus = unused.len().saturating_sub(KEPT_LOGS);
    for (_, path) in unused.into_iter().take(surplus) {
        fs::remove_file(&path)?;
        match fs::remove_file(older(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn read_end(path: &Path, from: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // A log that was cut meanwhile is shorter than where the process began.
    let from = if from > length { 0 } else { from };
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn last_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    lines.into_iter().skip(skipped).map(plain).collect()
}

/// One line without what could move a cursor or colour a terminal, and not endless.
fn plain(line: &str) -> String {
    let mut kept: String = line
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .take(TAIL_COLUMNS + 1)
        .collect();
    if let Some((end, _)) = kept.char_indices().nth(TAIL_COLUMNS) {
        kept.truncate(end);
        kept.push('…');
    }
    kept
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)
}

fn older(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quoted_end_is_bounded_in_lines_columns_and_bytes() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.log");
        let mut text = "x".repeat(2_000_000);
        for line in 0..50 {
            text.extend([
                "\n",
                &format!("line {line} \u{1b}[31mred\u{1b}[0m\t"),
                &"é".repeat(1000),
            ]);
        }
        fs::write(&path, &text).expect("written");
        let tail = tail(&path, 0);
        assert!(tail.len() <= TAIL_LINES && !tail.is_empty());
        assert!(tail.iter().all(|line| line.chars().count() <= TAIL_COLUMNS + 1), "{tail:?}");
        assert!(tail.last().expect("a line").starts_with("line 49 [31mred[0m é"), "{tail:?}");
    }

    #[test]
    fn only_the_output_of_this_run_is_quoted() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.log");
        fs::write(&path, "earlier\n").expect("written");
        let (mut file, from) = open(&path).expect("opened");
        file.write_all(b"now\xff\n\n").expect("written");
        assert_eq!(tail(&path, from), ["now\u{fffd}"]);
        assert_eq!(tail(&path, 1_000_000), ["earlier", "now\u{fffd}"], "the log was cut");
        assert!(tail(&folder.path().join("none"), 0)[0].contains("cannot be read"));
    }

    #[test]
    fn a_large_log_is_cut_while_it_is_written_and_keeps_its_last_part() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.log");
        let (mut file, _) = open(&path).expect("opened");
        file.write_all(&vec![b'a'; usize::try_from(LARGEST_LOG).expect("fits")]).expect("written");
        file.write_all(b"the end").expect("written");
        cut_if_large(&path).expect("cut");
        file.write_all(b"after").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "after");
        let part = fs::read(older(&path)).expect("read");
        assert_eq!(part.len() as u64, KEPT_PART);
        assert!(part.ends_with(b"the end"));
    }

    #[test]
    fn old_logs_go_and_those_in_use_stay() {
        let folder = tempfile::tempdir().expect("folder");
        let used = folder.path().join("0-used.log");
        fs::write(&used, "").expect("written");
        for index in 0..KEPT_LOGS + 5 {
            fs::write(folder.path().join(format!("{index}.log")), "").expect("written");
        }
        prune(folder.path(), &BTreeSet::from([used.clone()])).expect("pruned");
        assert!(used.exists());
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), KEPT_LOGS + 1);
    }
}
