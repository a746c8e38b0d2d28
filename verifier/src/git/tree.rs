//! Walks two trees side by side and reports the files in which they differ.
//!
//! Equal subtrees have equal ids and are skipped unread, as are folders that cannot hold a file of the
//! service, so the cost follows the size of the change and not of the repository.

use std::collections::BTreeMap;

use git2::{Error, ErrorClass, ErrorCode, ObjectType, Oid, Repository, Tree, TreeEntry};

use super::paths::Paths;

/// Deepest nesting of folders that is followed. File systems end at about 2,000 in a path of 4,096
/// bytes; a tree made to exhaust the stack must end in an error instead.
pub(super) const DEPTH: usize = 256;

/// Which files count.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// Every file.
    All,
    /// The files of a service.
    Only(&'a Paths),
}

impl Scope<'_> {
    fn file(self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Only(paths) => paths.matches(path),
        }
    }

    fn folder(self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Only(paths) => paths.may_hold(path),
        }
    }
}

/// A file as a tree names it: mode and content (or the commit of a submodule).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    pub(super) mode: i32,
    pub(super) id: Oid,
}

/// One file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) path: Vec<u8>,
    pub(super) old: Option<File>,
    pub(super) new: Option<File>,
}

impl Difference {
    /// The path for people.
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// Lists the files within `scope` that differ between two trees, in order of their paths.
pub(super) fn differences(
    repository: &Repository,
    old: &Tree<'_>,
    new: &Tree<'_>,
    scope: Scope<'_>,
) -> Result<Vec<Difference>, Error> {
    let mut found = Vec::new();
    let mut visit = |difference| {
        found.push(difference);
        true
    };
    walk(repository, [Some(old), Some(new)], &mut Vec::new(), scope, &mut visit, 0)?;
    Ok(found)
}

/// Whether any file within `scope` differs; stops at the first.
pub(super) fn differ(
    repository: &Repository,
    old: Option<&Tree<'_>>,
    new: Option<&Tree<'_>>,
    scope: Scope<'_>,
) -> Result<bool, Error> {
    if let (Some(old), Some(new), Scope::Only(paths)) = (old, new, scope)
        && equal_at_roots(repository, old, new, paths)?
    {
        return Ok(false);
    }
    let mut visit = |_| false;
    let equal = walk(repository, [old, new], &mut Vec::new(), scope, &mut visit, 0)?;
    Ok(!equal)
}

/// Whether the literal beginnings of all patterns lead to equal entries: then nothing can differ.
///
/// With hundreds of services in one repository this decides almost every one in a few lookups.
fn equal_at_roots(
    repository: &Repository,
    old: &Tree<'_>,
    new: &Tree<'_>,
    paths: &Paths,
) -> Result<bool, Error> {
    for folder in paths.roots() {
        let same = !folder.is_empty()
            && entry_at(repository, old, folder.as_bytes())?
                == entry_at(repository, new, folder.as_bytes())?;
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The file at a path, if the tree has one there.
pub(super) fn file_at(
    repository: &Repository,
    root: &Tree<'_>,
    path: &[u8],
) -> Result<Option<File>, Error> {
    let entry = entry_at(repository, root, path)?;
    Ok(entry.filter(|(folder, _)| !folder).map(|(_, file)| file))
}

/// What is at a path.
fn entry_at(repository: &Repository, root: &Tree<'_>, path: &[u8]) -> Result<Side, Error> {
    let mut tree = root.clone();
    let mut parts = path.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let Some((folder, file)) = tree.get_name_bytes(part).map(|entry| side(&entry)) else {
            return Ok(None);
        };
        if parts.peek().is_none() {
            return Ok(Some((folder, file)));
        }
        if !folder {
            return Ok(None);
        }
        tree = repository.find_tree(file.id)?;
    }
    Ok(None)
}

/// An entry of one side: whether it is a folder, and what it names.
type Side = Option<(bool, File)>;

fn side(entry: &TreeEntry<'_>) -> (bool, File) {
    let file = File { mode: entry.filemode_raw(), id: entry.id() };
    (entry.kind() == Some(ObjectType::Tree), file)
}

/// Reports differences until `visit` answers `false`; the answer is whether it never did.
fn walk(
    repository: &Repository,
    trees: [Option<&Tree<'_>>; 2],
    path: &mut Vec<u8>,
    scope: Scope<'_>,
    visit: &mut dyn FnMut(Difference) -> bool,
    depth: usize,
) -> Result<bool, Error> {
    if depth > DEPTH {
        return Err(too_deep());
    }
    // Only what differs is kept: most folders are large and hardly changed.
    let mut names: BTreeMap<Vec<u8>, [Side; 2]> = BTreeMap::new();
    for (here, there) in [(0, 1), (1, 0)] {
        for entry in trees[here].into_iter().flat_map(Tree::iter) {
            let mine = side(&entry);
            let other = trees[there].and_then(|tree| tree.get_name_bytes(entry.name_bytes()));
            if other.is_none_or(|other| side(&other) != mine) {
                names.entry(entry.name_bytes().to_vec()).or_default()[here] = Some(mine);
            }
        }
    }
    for (name, sides) in names {
        let parent = path.len();
        if parent > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let [old, new] = sides.map(|side| side.filter(|(folder, _)| !folder).map(|(_, file)| file));
        if old != new && scope.file(path) {
            let difference = Difference { path: path.clone(), old, new };
            if !visit(difference) {
                return Ok(false);
            }
        }
        let folders = sides.map(|side| side.filter(|(folder, _)| *folder).map(|(_, file)| file.id));
        if folders.iter().any(Option::is_some) && scope.folder(path) {
            let [old, new] = folders.map(|id| id.map(|id| repository.find_tree(id)).transpose());
            let (old, new) = (old?, new?);
            if !walk(repository, [old.as_ref(), new.as_ref()], path, scope, visit, depth + 1)? {
                return Ok(false);
            }
        }
        path.truncate(parent);
    }
    Ok(true)
}

/// The error for trees that are nested without end.
pub(super) fn too_deep() -> Error {
    let text = format!("the folders of this commit are nested more than {DEPTH} deep");
    Error::new(ErrorCode::Invalid, ErrorClass::Tree, text)
}
