//! The shape of the repository, held by a test: who may depend on whom, what stays pure, how large
//! a file may grow, and under which licences others' work is used. It needs no network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Node, PackageId};

/// Crates without I/O, and everything that they are built of.
const PURE: [&str; 5] = ["analysis", "analysis-traces", "rollout", "alerts", "dashboards"];

/// Allowed edges: inward only, and adapters never know each other.
const EDGES: [(&str, &[&str]); 11] = [
    ("analysis", &[]),
    ("dashboards", &[]),
    ("rollout", &["analysis"]),
    ("alerts", &["rollout"]),
    ("analysis-providers", &["analysis", "analysis-traces"]),
    ("analysis-traces", &["analysis"]),
    // `analysis` for whose requests are counted, as `rollout` itself has it from there.
    ("rollout-routers", &["rollout", "analysis"]),
    ("rollout-targets", &["rollout"]),
    ("alerts-notifiers", &["alerts"]),
    (
        "verifier",
        &[
            "analysis",
            "analysis-providers",
            "analysis-traces",
            "rollout",
            "rollout-routers",
            "rollout-targets",
            "alerts",
            "alerts-notifiers",
            "dashboards",
        ],
    ),
    (
        "tests",
        &[
            "analysis",
            "analysis-providers",
            "analysis-traces",
            "rollout",
            "rollout-routers",
            "rollout-targets",
            "alerts",
            "alerts-notifiers",
            "dashboards",
            "verifier",
        ],
    ),
];

/// Crates that do I/O, read clocks or draw at random: none of them may be under a pure crate.
const IMPURE: [&str; 18] = [
    "async-std",
    "fastrand",
    "futures-executor",
    "getrandom",
    "git2",
    "h2",
    "hyper",
    "k8s-openapi",
    "kube",
    "mio",
    "rand",
    "rand_core",
    "reqwest",
    "rustix",
    "socket2",
    "sqlx",
    "tempfile",
    "tokio",
];

/// Parts of the standard library that a pure crate does not touch, tests apart.
const IMPURE_STD: [&str; 7] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
];

/// Licences that ask for no more than a notice.
const PERMISSIVE: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// All that is visible at the top, with the build's own folder.
const TOP: [&str; 10] = [
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "alerts",
    "analysis",
    "dashboards",
    "rollout",
    "target",
    "tests",
    "verifier",
];

/// A file that is longer is two files.
const MOST_LINES: usize = 500;

#[test]
fn dependencies_point_inward() {
    let metadata = metadata();
    let ours: BTreeSet<&PackageId> = metadata.workspace_members.iter().collect();
    let mut seen = BTreeSet::new();
    for node in nodes(&metadata).values().filter(|node| ours.contains(&node.id)) {
        let name = name(&metadata, &node.id);
        let (_, allowed) = EDGES
            .iter()
            .find(|(of, _)| *of == name)
            .unwrap_or_else(|| panic!("{name} has no place"));
        for dependency in normal(node).filter(|id| ours.contains(id)) {
            let dependency = self::name(&metadata, dependency);
            assert!(allowed.contains(&dependency.as_str()), "{name} must not know {dependency}");
        }
        seen.insert(name);
    }
    assert_eq!(seen.len(), EDGES.len(), "each crate has its place: {seen:?}");
}

#[test]
fn pure_crates_are_built_of_nothing_impure() {
    let metadata = metadata();
    let nodes = nodes(&metadata);
    for pure in PURE {
        let root = nodes.keys().find(|id| name(&metadata, id) == pure).copied();
        let mut found = BTreeSet::new();
        let mut left: Vec<&PackageId> = root.into_iter().collect();
        while let Some(id) = left.pop() {
            if found.insert(id) {
                left.extend(normal(nodes[id]));
            }
        }
        let names: BTreeSet<String> = found.iter().map(|id| name(&metadata, id)).collect();
        assert!(names.contains(pure), "{pure} was not found");
        let impure: Vec<_> = IMPURE.iter().filter(|name| names.contains(**name)).collect();
        assert!(impure.is_empty(), "{pure} is built of {impure:?}");
    }
}

#[test]
fn pure_crates_touch_no_files_clocks_or_networks() {
    for pure in PURE {
        for path in sources(&root().join(pure.replace('-', "/")).join("src")) {
            if path.components().any(|part| part.as_os_str() == "tests")
                || path.ends_with("tests.rs")
            {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for (number, line) in (1..).zip(code.lines()) {
                let line = line.split("//").next().unwrap_or_default();
                let used = IMPURE_STD.iter().find(|name| line.contains(**name));
                assert_eq!(used, None, "{}:{number} is not pure", path.display());
            }
        }
    }
}

#[test]
fn nothing_else_is_visible_at_the_top() {
    let names: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().display().to_string())
        .filter(|name| !name.starts_with('.'))
        .collect();
    let unknown: Vec<_> = names.iter().filter(|name| !TOP.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?} must not be at the top of the repository");
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    let folders = TOP.iter().filter(|name| **name != "target").map(|name| root().join(name));
    let mut files = folders.filter(|path| path.is_dir()).flat_map(|path| sources(&path)).peekable();
    assert!(files.peek().is_some());
    let mut wrong = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap_or(&path).display();
        if !text.starts_with("//!") && !text.starts_with("#![doc") {
            wrong.push(format!("{shown} does not open with `//!` and its purpose"));
        }
        let lines = text.lines().count();
        if MOST_LINES < lines {
            wrong.push(format!("{shown} has {lines} lines; {MOST_LINES} are enough"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_dependency_has_a_permissive_licence() {
    let metadata = metadata();
    let nodes = nodes(&metadata);
    let mut wrong = Vec::new();
    for package in metadata.packages.iter().filter(|package| nodes.contains_key(&package.id)) {
        let licence = package.license.as_deref().unwrap_or("none");
        if !is_permissive(licence) {
            wrong.push(format!("{} {}: {licence}", package.name, package.version));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn licences_are_read_as_spdx_expressions() {
    for licence in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-2.0) AND ISC"] {
        assert!(is_permissive(licence), "{licence}");
    }
    for licence in ["none", "GPL-3.0-only", "MIT AND GPL-2.0", "(GPL-2.0 OR MPL-2.0) AND MIT"] {
        assert!(!is_permissive(licence), "{licence}");
    }
}

/// Whether an SPDX expression can be met with permissive licences alone; `/` is the old `OR`.
fn is_permissive(expression: &str) -> bool {
    let mut flat = expression.replace(" / ", " OR ").replace('/', " OR ");
    // The innermost parentheses become a licence that is permissive or is not, until none is left.
    while let Some(close) = flat.find(')') {
        let Some(open) = flat[..close].rfind('(') else { return false };
        let word = if is_permissive(&flat[open + 1..close]) { "MIT" } else { "none" };
        flat.replace_range(open..=close, word);
    }
    flat.split(" OR ")
        .any(|all| all.split(" AND ").all(|licence| PERMISSIVE.contains(&licence.trim())))
}

/// What is built on this machine; crates for others need not be here.
fn metadata() -> Metadata {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8(version.stdout).expect("rustc speaks UTF-8");
    let host =
        version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let options = ["--offline", "--locked", "--filter-platform", host];
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(options.map(str::to_owned).to_vec())
        .exec()
        .expect("cargo metadata works without a network")
}

fn nodes(metadata: &Metadata) -> BTreeMap<&PackageId, &Node> {
    let resolve = metadata.resolve.as_ref().expect("dependencies were asked for");
    resolve.nodes.iter().map(|node| (&node.id, node)).collect()
}

/// What a crate is built of, tests and build scripts apart.
fn normal(node: &Node) -> impl Iterator<Item = &PackageId> {
    let is_normal = |kinds: &[cargo_metadata::DepKindInfo]| {
        kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
    };
    node.deps.iter().filter(move |dep| is_normal(&dep.dep_kinds)).map(|dep| &dep.pkg)
}

fn name(metadata: &Metadata, id: &PackageId) -> String {
    metadata[id].name.to_string()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is a folder of the repository")
        .to_owned()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).expect("the sources can be read") {
            let path = entry.expect("its entries as well").path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
