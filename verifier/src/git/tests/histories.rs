//! Random histories against what is promised, whatever happens between plan and push.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::git::quarantined;

/// Something that people do to the repository.
#[derive(Debug, Clone)]
enum Work {
    /// Changes a line of a file.
    Edit { file: usize, line: usize },
    /// Adds a file to a service's folder.
    Add { service: usize },
    /// Removes a file.
    Remove { file: usize },
    /// Renames a file within its service's folder.
    Rename { file: usize },
    /// Moves a file to the other service's folder.
    Move { file: usize },
}

/// How work reaches the branch.
#[derive(Debug, Clone)]
enum Landing {
    Commit(Vec<Work>),
    /// Two commits on a side branch, merged while the branch itself went on.
    Merge {
        side: Vec<Work>,
        main: Vec<Work>,
    },
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        6 => (0..12_usize, 0..12_usize).prop_map(|(file, line)| Work::Edit { file, line }),
        1 => (0..3_usize).prop_map(|service| Work::Add { service }),
        1 => (0..12_usize).prop_map(|file| Work::Remove { file }),
        1 => (0..12_usize).prop_map(|file| Work::Rename { file }),
        1 => (0..12_usize).prop_map(|file| Work::Move { file }),
    ]
}

fn landing() -> impl Strategy<Value = Landing> {
    let some = || prop::collection::vec(work(), 1..3);
    prop_oneof![
        3 => some().prop_map(Landing::Commit),
        1 => (some(), some()).prop_map(|(side, main)| Landing::Merge { side, main }),
    ]
}

type Files = BTreeMap<String, Vec<String>>;

const FOLDERS: [&str; 3] = ["svc/a", "svc/b", "shared"];

/// The repository with a model of its files, in which every change leaves a text of its own.
struct Story {
    world: World,
    count: RefCell<usize>,
}

impl Story {
    fn new() -> Self {
        let story = Self { world: World::new(), count: RefCell::new(0) };
        let mut files = Files::new();
        for folder in FOLDERS {
            for name in ["one", "two"] {
                let path = format!("{folder}/{name}");
                let text = (0..12).map(|line| format!("{path} line {line}")).collect();
                files.insert(path, text);
            }
        }
        let id = story.write(&[], &files);
        story.world.point(id);
        story
    }

    fn fresh(&self) -> usize {
        *self.count.borrow_mut() += 1;
        *self.count.borrow()
    }

    fn files(&self, revision: Oid) -> Files {
        let tree = self.world.forge.find_commit(revision).unwrap().tree().unwrap();
        let mut files = Files::new();
        tree.walk(git2::TreeWalkMode::PreOrder, |folder, entry| {
            if entry.kind() == Some(git2::ObjectType::Blob) && !folder.starts_with(".serin") {
                let blob = self.world.forge.find_blob(entry.id()).unwrap();
                let text = String::from_utf8(blob.content().to_vec()).unwrap();
                let path = format!("{folder}{}", entry.name().unwrap());
                files.insert(path, text.lines().map(str::to_owned).collect());
            }
            git2::TreeWalkResult::Ok
        })
        .unwrap();
        files
    }

    fn write(&self, parents: &[Oid], files: &Files) -> Oid {
        let mut index = git2::Index::new().unwrap();
        if let Some(parent) = parents.first() {
            let tree = self.world.forge.find_commit(*parent).unwrap().tree().unwrap();
            index.read_tree(&tree).unwrap();
            for path in self.files(*parent).keys() {
                index.remove(path.as_ref(), 0).unwrap();
            }
        }
        for (path, text) in files {
            let mut entry = super::entry(path);
            entry.id = self.world.forge.blob((text.join("\n") + "\n").as_bytes()).unwrap();
            index.add(&entry).unwrap();
        }
        let tree = index.write_tree_to(&self.world.forge).unwrap();
        self.world.commit_tree(parents, &format!("Change {}", self.fresh()), tree)
    }

    fn apply(&self, files: &mut Files, work: &[Work]) {
        for item in work {
            let number = self.fresh();
            let path = |at: &usize| files.keys().nth(at % files.len().max(1)).cloned();
            match item {
                Work::Add { service } => {
                    let text = (0..12).map(|line| format!("new {number} line {line}")).collect();
                    files.insert(format!("{}/new{number}", FOLDERS[*service]), text);
                }
                Work::Edit { file, line } => {
                    if let Some(lines) = path(file).and_then(|path| files.get_mut(&path)) {
                        lines[*line] = format!("edit {number}");
                    }
                }
                Work::Remove { file } => {
                    if let Some(path) = path(file) {
                        files.remove(&path);
                    }
                }
                Work::Rename { file } | Work::Move { file } => {
                    if let Some(old) = path(file) {
                        let text = files.remove(&old).unwrap();
                        let folder = match item {
                            Work::Move { .. } => FOLDERS[number % 3],
                            Work::Add { .. }
                            | Work::Edit { .. }
                            | Work::Remove { .. }
                            | Work::Rename { .. } => old.rsplit_once('/').unwrap().0,
                        };
                        files.insert(format!("{folder}/moved{number}"), text);
                    }
                }
            }
        }
    }

    fn land(&self, landing: &Landing) {
        let tip = self.world.tip().unwrap();
        let before = self.files(tip);
        let next = match landing {
            Landing::Commit(work) => {
                let mut files = before;
                self.apply(&mut files, work);
                self.write(&[tip], &files)
            }
            Landing::Merge { side, main } => {
                let mut files = before.clone();
                self.apply(&mut files, side);
                let side = self.write(&[tip], &files);
                let mut files = before;
                self.apply(&mut files, main);
                let main = self.write(&[tip], &files);
                let commit = |id| self.world.forge.find_commit(id).unwrap();
                let mut merged =
                    self.world.forge.merge_commits(&commit(main), &commit(side), None).unwrap();
                if merged.has_conflicts() {
                    main
                } else {
                    let tree = merged.write_tree_to(&self.world.forge).unwrap();
                    self.world.commit_tree(&[main, side], "Merge branch 'side'", tree)
                }
            }
        };
        self.world.point(next);
    }
}

fn of_a(path: &str) -> bool {
    path.starts_with("svc/a/")
}

/// Checks one revert commit line by line: every change makes a line that exists nowhere else, so it is
/// known of each line whose work it is.
fn check_result(verified: &Files, bad: &Files, tip: &Files, result: &Files) {
    let outside = |files: &Files| -> Files {
        files.iter().filter(|(path, _)| !of_a(path)).map(|(p, t)| (p.clone(), t.clone())).collect()
    };
    assert_eq!(outside(result), outside(tip), "a file of somebody else changed");
    let all = |files: &Files| -> Vec<String> {
        files.iter().filter(|(path, _)| of_a(path)).flat_map(|(_, text)| text.clone()).collect()
    };
    let (verified_lines, bad_lines) = (all(verified), all(bad));
    let (tip_lines, result_lines) = (all(tip), all(result));
    for line in &result_lines {
        let brought = bad_lines.contains(line) && !verified_lines.contains(line);
        assert!(!brought, "the bad line `{line}` survived");
        assert!(tip_lines.contains(line) || verified_lines.contains(line), "`{line}` from nowhere");
    }
    for line in &tip_lines {
        let later = !bad_lines.contains(line) && !verified_lines.contains(line);
        assert!(!later || result_lines.contains(line), "the later line `{line}` was lost");
    }
    for (path, text) in verified.iter().filter(|(path, _)| of_a(path)) {
        let untouched = bad.get(path) == tip.get(path) && bad.get(path).is_some();
        assert!(!untouched || result.get(path) == Some(text), "{path} is not as it was");
    }
}

fn check(bad: &[Landing], later: &[Landing], meanwhile: &[Vec<Landing>]) {
    let story = Story::new();
    let world = &story.world;
    let verified = world.tip().unwrap();
    for landing in bad {
        story.land(landing);
    }
    let bad = world.tip().unwrap();
    for landing in later {
        story.land(landing);
    }
    let request = ask(verified, bad);
    let mut before = world.tip().unwrap();
    let mut rounds = meanwhile.iter();
    let reverted = world
        .mirror
        .revert_with(&request, |_| {
            for landing in rounds.next().into_iter().flatten() {
                story.land(landing);
            }
            before = world.tip().unwrap();
        })
        .unwrap();
    let after = world.tip().unwrap();
    let files = [verified, bad, before, after].map(|revision| story.files(revision));
    let [of_verified, of_bad, of_before, of_after] = &files;
    let changed = |path: &String| of_verified.get(path) != of_bad.get(path);
    let mut undo = of_verified.keys().chain(of_bad.keys()).filter(|p| of_a(p) && changed(p));
    match reverted {
        Reverted::Pushed { revision, parent, .. } => {
            assert_eq!(after, revision);
            assert_eq!(parent, before, "G3: the parent is the tip at the time of the push");
            let commit = world.forge.find_commit(revision).unwrap();
            assert_eq!(commit.parent_ids().collect::<Vec<_>>(), [before], "G2");
            check_result(of_verified, of_bad, of_before, of_after);
            let again = world.revert(&request);
            assert_eq!(again, Reverted::AlreadyDone { commit: Some(revision) }, "G4");
            assert_eq!(world.tip(), Some(after), "G4");
            let entries = world.mirror.quarantine(after, ".serin").unwrap();
            let content = world.mirror.content(bad, &request.paths).unwrap();
            assert!(quarantined(&entries, "a", before, content).is_some(), "G10");
            let back = world.revert(&ask(before, revision));
            assert!(matches!(back, Reverted::Refused { .. }), "G10: {back:?}");
        }
        Reverted::Conflict { files } => {
            assert_eq!(after, before, "G7");
            assert!(!files.is_empty());
            let moved = undo.any(|path| of_bad.get(path) != of_before.get(path));
            let renamed = of_before.keys().any(|path| !of_bad.contains_key(path));
            assert!(moved || renamed, "a conflict in {files:?} without anybody's later work");
        }
        Reverted::AlreadyDone { commit } => {
            assert_eq!((after, commit), (before, None));
            assert!(undo.all(|path| of_bad.get(path) != of_before.get(path)));
        }
        Reverted::Refused { why } => {
            assert_eq!(after, before);
            assert_eq!(undo.next(), None, "{why}");
        }
        Reverted::Branch { .. } => panic!("{reverted:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_revert_keeps_its_promises_on_any_history(
        (file, line) in (2..4_usize, 0..12_usize),
        mut bad in prop::collection::vec(landing(), 0..3),
        later in prop::collection::vec(landing(), 0..4),
        meanwhile in prop::collection::vec(prop::collection::vec(landing(), 0..2), 0..3),
    ) {
        // The files of service `a` are the third and the fourth.
        bad.insert(0, Landing::Commit(vec![Work::Edit { file, line }]));
        check(&bad, &later, &meanwhile);
    }
}
