//! Where files of a newer tree come from that the older one has under another name.
//!
//! Git stores no renames. Equal contents are found here by their hash; similar ones by libgit2, among few and small
//! files only, since it compares each with each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use git2::{Delta, DiffFindOptions, DiffOptions, Oid, Repository, Tree};

use super::super::tree::{Difference, File};
use super::LARGEST_FILE;

/// Most files on either side that are compared by similarity.
const MOST: usize = 200;

/// The name and content before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) path: Vec<u8>,
    pub(super) file: File,
}

/// The origins of added files, by their new path.
pub(super) fn origins(
    repository: &Repository,
    old: &Tree<'_>,
    new: &Tree<'_>,
    files: &[Difference],
) -> Result<BTreeMap<Vec<u8>, Origin>, git2::Error> {
    let mut gone: BTreeMap<&[u8], File> = files
        .iter()
        .filter(|file| file.new.is_none())
        .filter_map(|file| Some((file.path.as_slice(), file.old?)))
        .collect();
    let mut added: BTreeMap<&[u8], File> = files
        .iter()
        .filter(|file| file.old.is_none())
        .filter_map(|file| Some((file.path.as_slice(), file.new?)))
        .collect();
    let mut found = BTreeMap::new();
    if gone.is_empty() || added.is_empty() {
        return Ok(found);
    }
    let mut by_content: HashMap<Oid, Vec<&[u8]>> = HashMap::new();
    for (path, file) in &gone {
        by_content.entry(file.id).or_default().push(path);
    }
    added.retain(|path, file| {
        let Some(from) = by_content.get_mut(&file.id).and_then(Vec::pop) else { return true };
        let Some(old) = gone.remove(from) else { return true };
        found.insert(path.to_vec(), Origin { path: from.to_vec(), file: old });
        false
    });
    let odb = repository.odb()?;
    let is_small = |file: &File| {
        odb.exists(file.id) && odb.read_header(file.id).is_ok_and(|(size, _)| size <= LARGEST_FILE)
    };
    gone.retain(|_, file| is_small(file));
    added.retain(|_, file| is_small(file));
    if gone.is_empty() || added.is_empty() || gone.len() > MOST || added.len() > MOST {
        return Ok(found);
    }
    let mut options = DiffOptions::new();
    options.disable_pathspec_match(true);
    let named: BTreeSet<&[u8]> = gone.keys().chain(added.keys()).copied().collect();
    for path in named.into_iter().filter(|path| !path.contains(&0)) {
        options.pathspec(path);
    }
    let mut diff = repository.diff_tree_to_tree(Some(old), Some(new), Some(&mut options))?;
    diff.find_similar(Some(DiffFindOptions::new().renames(true).rename_limit(MOST)))?;
    for delta in diff.deltas().filter(|delta| delta.status() == Delta::Renamed) {
        let (from, to) = (delta.old_file().path_bytes(), delta.new_file().path_bytes());
        let (Some(from), Some(to)) = (from, to) else { continue };
        if let Some(file) = gone.get(from) {
            found.insert(to.to_vec(), Origin { path: from.to_vec(), file: *file });
        }
    }
    Ok(found)
}
