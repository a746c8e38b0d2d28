//! Which files of a repository belong to a service.
//!
//! Patterns are globs relative to the repository's root: `*` stays within a folder, `**` does not, and
//! a name without any wildcard means that file or the whole folder. The literal beginning of each
//! pattern lets a walk skip folders that cannot match, which is what makes a big monorepo cheap.
//!
//! The quarantine list never belongs to a service, whatever the patterns say: Serin writes it itself
//! beside a revert, and a service with `paths: ["**"]` would otherwise see its own revert as news.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// Name of the quarantine list within the policy folder.
pub(super) const QUARANTINE: &str = "quarantine.yaml";

/// Most patterns of one service; more is a mistake or an attack.
const PATTERNS: usize = 256;

/// Most bytes of one pattern.
const PATTERN_BYTES: usize = 1024;

/// The files of one service, as globs over paths from the repository's root.
#[derive(Debug, Clone)]
pub struct Paths {
    patterns: Vec<String>,
    globs: GlobSet,
    roots: Vec<Root>,
    folder: String,
    quarantine: String,
}

/// The literal folders with which a pattern begins.
#[derive(Debug, Clone)]
struct Root {
    folder: String,
    /// Whether the pattern holds everything below the folder.
    whole: bool,
}

/// Why a list of path patterns is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// There is no pattern at all, so that no commit could ever deploy the service.
    #[error("no path is given: no commit would ever deploy this service")]
    Empty,
    /// There are more patterns than anybody needs.
    #[error("{0} path patterns are given, at most 256 are possible")]
    TooMany(usize),
    /// One pattern is not a usable glob.
    #[error("path pattern `{pattern}` cannot be used: {why}")]
    Pattern {
        /// The pattern, cut when it is very long.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Paths {
    /// Reads patterns; `folder` is where the policies live (`.serin`), for the quarantine list there.
    ///
    /// # Errors
    /// When there is no pattern, or one is not a glob: show the message to whoever wrote the policy.
    pub fn new<S: AsRef<str>>(patterns: &[S], folder: &str) -> Result<Self, PathsError> {
        if patterns.is_empty() {
            return Err(PathsError::Empty);
        }
        if patterns.len() > PATTERNS {
            return Err(PathsError::TooMany(patterns.len()));
        }
        let mut globs = GlobSetBuilder::new();
        let mut roots = Vec::new();
        for pattern in patterns {
            let given = pattern.as_ref();
            let fault = |why: &str| PathsError::Pattern {
                pattern: given.chars().take(80).collect(),
                why: why.to_owned(),
            };
            if given.len() > PATTERN_BYTES {
                return Err(fault("it is longer than 1024 bytes"));
            }
            let clean = given.strip_prefix("./").unwrap_or(given).trim_start_matches('/');
            let name = clean.trim_end_matches('/');
            if name.is_empty() {
                return Err(fault("it is empty; write `**` for the whole repository"));
            }
            if name.split('/').any(|part| matches!(part, "." | ".." | "")) {
                return Err(fault("it holds `.`, `..` or an empty folder name"));
            }
            let mut add = |glob: &str| match GlobBuilder::new(glob)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
            {
                Ok(glob) => {
                    globs.add(glob);
                    Ok(())
                }
                Err(error) => Err(fault(&error.kind().to_string())),
            };
            let wild = name.find(['*', '?', '[', '{', '\\']);
            match wild {
                None => {
                    if clean == name {
                        add(name)?;
                    }
                    add(&format!("{name}/**"))?;
                    roots.push(Root { folder: name.to_owned(), whole: true });
                }
                Some(at) => {
                    let folder = name[..at].rfind('/').map_or("", |slash| &name[..slash]);
                    let rest = &name[if folder.is_empty() { 0 } else { folder.len() + 1 }..];
                    roots.push(Root { folder: folder.to_owned(), whole: rest == "**" });
                    if clean == name {
                        add(name)?;
                    } else {
                        add(&format!("{name}/**"))?;
                    }
                }
            }
        }
        let globs = globs.build().map_err(|error| PathsError::Pattern {
            pattern: error.glob().unwrap_or_default().chars().take(80).collect(),
            why: error.kind().to_string(),
        })?;
        let folder = folder.trim_matches('/').to_owned();
        Ok(Self {
            patterns: patterns.iter().map(|pattern| pattern.as_ref().to_owned()).collect(),
            globs,
            roots,
            quarantine: within(&folder, QUARANTINE),
            folder,
        })
    }

    /// The patterns as they were written.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// The folder of the policies.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The quarantine list's path, the one file that a revert may change besides the service's own.
    pub fn quarantine_file(&self) -> &str {
        &self.quarantine
    }

    /// Whether the file at this path belongs to the service.
    pub fn matches(&self, path: impl AsRef<[u8]>) -> bool {
        let path = path.as_ref();
        path != self.quarantine.as_bytes()
            && self.globs.is_match_candidate(&Candidate::from_bytes(path))
    }

    /// The literal folder with which each pattern begins, empty for the root.
    pub(super) fn roots(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(|root| root.folder.as_str())
    }

    /// Whether any file below this folder (no slash at the end, empty for the root) may belong to it.
    pub(super) fn may_hold(&self, folder: &[u8]) -> bool {
        self.roots.iter().any(|root| {
            below(folder, root.folder.as_bytes()) || below(root.folder.as_bytes(), folder)
        })
    }

    /// Whether every file below this folder belongs to it.
    pub(super) fn covers(&self, folder: &[u8]) -> bool {
        !below(self.quarantine.as_bytes(), folder)
            && self.roots.iter().any(|root| root.whole && below(folder, root.folder.as_bytes()))
    }
}

/// Whether `path` is `folder` or something below it.
fn below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

/// The path of a file in a folder, which is empty for the root.
pub(super) fn within(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
