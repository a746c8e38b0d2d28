//! Which commit of a range wrote which of the given lines.
//!
//! All files together go back through the range, newest commit first: what a commit's difference to a parent does not
//! hold was there in the parent and goes on with it, the rest is the commit's own. One walk with one difference of
//! trees for each commit, instead of one walk for each file, is what makes fifty commits over two hundred files a
//! matter of milliseconds.

use std::collections::{BTreeMap, HashMap, HashSet};

use git2::{Oid, Repository};
use tokio::time::Instant;

use super::super::tree::{Difference, File, Scope, differences};
use super::edits::{Edit, Place, edits};
use super::renames::{Origin, origins};

/// Lines of the deployed version, and where they stand in an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// First line in the version that is looked at, from 1.
    pub(super) at: u32,
    /// How many; 0 for the gap before `at`, from which lines were removed.
    pub(super) count: u32,
    /// First line in the deployed version.
    pub(super) to: u32,
}

impl Run {
    /// What a place shows on its new side.
    pub(super) fn of(place: &Place) -> Self {
        Self { at: place.new, count: place.new_count, to: place.new }
    }
}

/// What of a file nobody has claimed yet.
#[derive(Debug, Clone)]
pub(super) struct Open {
    /// Its number.
    pub(super) file: usize,
    /// Its lines; empty where the file as a whole is asked for.
    pub(super) lines: Vec<Run>,
}

/// Who wrote what.
#[derive(Debug, Default)]
pub(super) struct Blamed {
    /// Commits that change files in scope against their first parent, newest first.
    pub(super) touching: Vec<Oid>,
    /// Lines by commit and file.
    pub(super) claimed: BTreeMap<(Oid, usize), Vec<Run>>,
    /// Places that nobody of the range wrote.
    pub(super) unclaimed: usize,
    /// Commits for which there was no time.
    pub(super) commits: usize,
}

/// What arrives at a commit, by the file's name there.
type Pending = BTreeMap<Vec<u8>, Vec<Open>>;

/// Goes through `commits`, newest first and `to` at the head, until `until`.
pub(super) fn blame(
    repository: &Repository,
    commits: &[Oid],
    to: Oid,
    scope: Scope<'_>,
    opens: impl Iterator<Item = (Vec<u8>, Open)>,
    until: Instant,
) -> Result<Blamed, git2::Error> {
    let mut blamed = Blamed::default();
    let is_in_range: HashSet<Oid> = commits.iter().copied().collect();
    let mut pending: HashMap<Oid, Pending> = HashMap::new();
    let first = pending.entry(to).or_default();
    for (path, open) in opens {
        first.entry(path).or_default().push(open);
    }
    for (at, id) in commits.iter().enumerate() {
        if Instant::now() >= until {
            blamed.commits = commits.len() - at;
            break;
        }
        let commit = repository.find_commit(*id)?;
        let tree = commit.tree()?;
        let mut open = pending.remove(id).unwrap_or_default();
        for (nth, parent) in commit.parents().enumerate() {
            if nth > 0 && open.is_empty() {
                break;
            }
            let old = parent.tree()?;
            let files = differences(repository, &old, &tree, scope)?;
            if nth == 0 && !files.is_empty() {
                blamed.touching.push(*id);
            }
            if open.is_empty() {
                continue;
            }
            let origins = origins(repository, &old, &tree, &files)?;
            let files = files.into_iter().map(|file| (file.path.clone(), file)).collect();
            let step = Step { repository, files, origins };
            let (kept, passed) = step.divide(open, until)?;
            open = kept;
            if is_in_range.contains(&parent.id()) {
                let arrives = pending.entry(parent.id()).or_default();
                for (path, opens) in passed {
                    arrives.entry(path).or_default().extend(opens);
                }
            } else {
                blamed.unclaimed += places(&passed);
            }
        }
        if commit.parent_count() == 0 {
            blamed.touching.push(*id);
        }
        for open in open.into_values().flatten() {
            blamed.claimed.entry((*id, open.file)).or_default().extend(open.lines);
        }
    }
    blamed.unclaimed += pending.values().map(places).sum::<usize>();
    Ok(blamed)
}

fn places(pending: &Pending) -> usize {
    pending.values().flatten().map(|open| open.lines.len().max(1)).sum()
}

/// A commit against one of its parents.
struct Step<'a> {
    repository: &'a Repository,
    files: HashMap<Vec<u8>, Difference>,
    origins: BTreeMap<Vec<u8>, Origin>,
}

impl Step<'_> {
    /// What stays with the commit, and what goes on to the parent.
    fn divide(&self, open: Pending, until: Instant) -> Result<(Pending, Pending), git2::Error> {
        let (mut kept, mut passed) = (Pending::new(), Pending::new());
        for (path, opens) in open {
            let Some(file) = self.files.get(&path) else {
                passed.insert(path, opens);
                continue;
            };
            let places = match self.before(file).zip(file.new) {
                // Without time a file's lines are all the newest commit's that changed it.
                Some(((_, old), new)) if Instant::now() < until => {
                    match edits(self.repository, Some(old.id), Some(new.id), &path)? {
                        Edit::Lines(places) => Some(places),
                        Edit::Binary | Edit::Large => None,
                    }
                }
                Some(_) | None => None,
            };
            let before = self.before(file).map_or(&path, |(before, _)| before).clone();
            for open in opens {
                let (Some(places), false) = (&places, open.lines.is_empty()) else {
                    kept.entry(path.clone()).or_default().push(open);
                    continue;
                };
                let (stay, go) = divide(&open.lines, places);
                for (lines, side, path) in [(stay, &mut kept, &path), (go, &mut passed, &before)] {
                    if !lines.is_empty() {
                        side.entry(path.clone()).or_default().push(Open { lines, ..open });
                    }
                }
            }
        }
        Ok((kept, passed))
    }

    /// The file's name and content in the parent.
    fn before<'b>(&'b self, file: &'b Difference) -> Option<(&'b Vec<u8>, File)> {
        match self.origins.get(&file.path) {
            Some(origin) => Some((&origin.path, origin.file)),
            None => Some((&file.path, file.old?)),
        }
    }
}

/// Lines that the places hold, and the others with their numbers before.
fn divide(lines: &[Run], places: &[Place]) -> (Vec<Run>, Vec<Run>) {
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for run in lines {
        if run.count == 0 {
            match gap_before(run.at, places) {
                Some(at) => go.push(Run { at, ..*run }),
                None => stay.push(*run),
            }
        } else {
            divide_lines(*run, places, &mut stay, &mut go);
        }
    }
    (stay, go)
}

fn divide_lines(run: Run, places: &[Place], stay: &mut Vec<Run>, go: &mut Vec<Run>) {
    let end = run.at + run.count;
    let mut at = run.at;
    let mut shift = 0_i64;
    let part = |from: u32, until: u32, shift: i64| Run {
        at: shifted(from, shift),
        count: until - from,
        to: run.to + (from - run.at),
    };
    for place in places {
        let place_end = place.new + place.new_count;
        if place.new >= end {
            break;
        }
        if place.new > at {
            go.push(part(at, place.new, shift));
            at = place.new;
        }
        let until = place_end.min(end);
        if until > at {
            stay.push(part(at, until, 0));
            at = until;
        }
        if at >= end {
            return;
        }
        shift += i64::from(place.old_count) - i64::from(place.new_count);
    }
    go.push(part(at, end, shift));
}

/// The line before which a gap was; `None` if one of the places removed something there.
fn gap_before(gap: u32, places: &[Place]) -> Option<u32> {
    let mut shift = 0_i64;
    for place in places {
        let end = place.new + place.new_count;
        if place.old_count > 0 && place.new <= gap && gap <= end {
            return None;
        }
        if end <= gap {
            shift += i64::from(place.old_count) - i64::from(place.new_count);
        } else if place.new < gap {
            // In the midst of lines that were not there before.
            return Some(shifted(place.new, shift));
        } else {
            break;
        }
    }
    Some(shifted(gap, shift))
}

fn shifted(line: u32, by: i64) -> u32 {
    u32::try_from((i64::from(line) + by).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(old: u32, old_count: u32, new: u32, new_count: u32) -> Place {
        Place { old, old_count, new, new_count, function: String::new() }
    }

    fn run(at: u32, count: u32, to: u32) -> Run {
        Run { at, count, to }
    }

    #[test]
    fn lines_are_divided_at_the_borders_of_places() {
        // Lines 3 and 4 are new, line 8 was removed before 10 of the new numbers.
        let places = [place(3, 0, 3, 2), place(8, 1, 10, 0)];
        let (stay, go) = divide(&[run(1, 12, 101)], &places);
        assert_eq!(stay, [run(3, 2, 103)]);
        assert_eq!(go, [run(1, 2, 101), run(3, 5, 105), run(9, 3, 110)]);
    }

    #[test]
    fn a_gap_stays_where_lines_were_removed() {
        let places = [place(3, 0, 3, 2), place(8, 1, 10, 0)];
        let gaps = [run(10, 0, 10), run(9, 0, 9), run(4, 0, 4), run(11, 0, 11)];
        let (stay, go) = divide(&gaps, &places);
        assert_eq!(stay, [run(10, 0, 10)]);
        assert_eq!(go, [run(7, 0, 9), run(3, 0, 4), run(10, 0, 11)]);
    }
}
