//! The changed lines between two contents of a file, without context.

use std::path::Path;

use git2::{DiffOptions, ObjectType, Oid, Patch, Repository};

use super::LARGEST_FILE;

/// What became of a file.
#[derive(Debug)]
pub(super) enum Edit {
    /// One of both is not text, or no file at all.
    Binary,
    /// One of both is too large.
    Large,
    /// Its places, in order.
    Lines(Vec<Place>),
}

/// Lines that took the place of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// First line before, from 1; where nothing was removed, the line before which lines were added.
    pub(super) old: u32,
    /// How many lines there were.
    pub(super) old_count: u32,
    /// First line after, from 1; where nothing was added, the line before which lines were removed.
    pub(super) new: u32,
    /// How many lines there are.
    pub(super) new_count: u32,
    /// What Git shows after `@@`.
    pub(super) function: String,
}

/// Compares two contents; one that is not there is empty.
pub(super) fn edits(
    repository: &Repository,
    old: Option<Oid>,
    new: Option<Oid>,
    path: &[u8],
) -> Result<Edit, git2::Error> {
    if old == new {
        return Ok(Edit::Lines(Vec::new()));
    }
    let odb = repository.odb()?;
    for id in [old, new].into_iter().flatten() {
        // A submodule names a commit that is not here.
        if !odb.exists(id) {
            return Ok(Edit::Binary);
        }
        match odb.read_header(id)? {
            (_, kind) if kind != ObjectType::Blob => return Ok(Edit::Binary),
            (size, _) if size > LARGEST_FILE => return Ok(Edit::Large),
            (_, _) => {}
        }
    }
    let blob = |id: Option<Oid>| id.map(|id| repository.find_blob(id)).transpose();
    let (old, new) = (blob(old)?, blob(new)?);
    if old.iter().chain(&new).any(git2::Blob::is_binary) {
        return Ok(Edit::Binary);
    }
    let content = |blob: &Option<git2::Blob<'_>>| {
        blob.as_ref().map(|blob| blob.content().to_vec()).unwrap_or_default()
    };
    let (old, new) = (content(&old), content(&new));
    // The path chooses how Git finds functions; one that is no text finds them as in any file.
    let path = std::str::from_utf8(path).ok().filter(|path| !path.contains('\0')).map(Path::new);
    let mut options = DiffOptions::new();
    options.context_lines(0).interhunk_lines(0).force_text(true);
    let patch = Patch::from_buffers(&old, path, &new, path, Some(&mut options))?;
    let mut places = Vec::with_capacity(patch.num_hunks());
    for at in 0..patch.num_hunks() {
        let (hunk, _) = patch.hunk(at)?;
        // Where a side is empty, Git names the line before.
        let first = |start: u32, count: u32| if count == 0 { start + 1 } else { start };
        places.push(Place {
            old: first(hunk.old_start(), hunk.old_lines()),
            old_count: hunk.old_lines(),
            new: first(hunk.new_start(), hunk.new_lines()),
            new_count: hunk.new_lines(),
            function: function(hunk.header()),
        });
    }
    Ok(Edit::Lines(places))
}

/// What follows the second `@@`.
fn function(header: &[u8]) -> String {
    let text = String::from_utf8_lossy(header);
    let shown = text.splitn(3, "@@").nth(2).unwrap_or_default();
    super::super::commit::printable(shown, super::function::WIDEST)
}
