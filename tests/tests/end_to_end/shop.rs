//! What is deployed: a bare repository, the policy in it, and the versions of a small service.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository, RepositoryInitOptions, Signature};
use serde_json::Value;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_serin");

const BRANCH: &str = "refs/heads/main";

/// The policy of one service, chosen so that some hundred requests a second settle it in seconds.
#[derive(Clone)]
pub(crate) struct Policy {
    name: String,
    spec: BTreeMap<String, String>,
}

impl Policy {
    pub(crate) fn new(name: &str, proxy: u16) -> Self {
        let command =
            Value::from(vec![BINARY, "demo-service", "--config", &format!("{name}/service.yaml")]);
        let process = format!(
            "{{ process: {{ command: {command}, health: /healthz, startTimeout: 10s, stopGrace: 2s }} }}"
        );
        Self { name: name.to_owned(), spec: BTreeMap::new() }
            .with("paths", &format!("[{name}/**]"))
            .with("target", &process)
            .with(
                "router",
                &format!("{{ proxy: {{ listen: \"127.0.0.1:{proxy}\", timeout: 3s }} }}"),
            )
            .with("steps", "{ auto: { first: 25%, deadline: 2m } }")
            .with("harm", "2%")
            .with("latencyHarm", "10%")
            .with("falseAlarm", "0.1%")
            .with("bake", "1s")
            .with("checks", "[errors, latency]")
            .with("warmUp", "0s")
            .with("onFail", "{ revert: push, limits: [\"10 per 1h\"] }")
    }

    /// Another value for one key of `spec`.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.spec.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn text(&self) -> String {
        let head = "apiVersion: serin.dev/v1\nkind: CanaryPolicy\nmetadata: { name: ";
        let spec = self.spec.iter().map(|(key, value)| format!("  {key}: {value}\n"));
        format!("{head}{} }}\nspec:\n{}", self.name, spec.collect::<String>())
    }

    /// Where it lies in the repository.
    pub(crate) fn path(&self) -> String {
        format!(".serin/{}.yaml", self.name)
    }
}

/// The file of a version that fails this share of its requests.
pub(crate) fn version(error_share: f64, greeting: &str) -> String {
    format!(
        "# {greeting}\nroutes: [/, /checkout]\nerrorShare: {error_share}\nlatency: {{ medianMs: 3, p99Ms: 9 }}\n"
    )
}

/// A version that is as good as any.
pub(crate) fn good(greeting: &str) -> String {
    version(0.001, greeting)
}

/// A bare repository that people push to.
pub(crate) struct Forge {
    pub(crate) path: PathBuf,
}

impl Forge {
    pub(crate) fn create(path: &Path) -> Self {
        let mut options = RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        Repository::init_opts(path, &options).expect("a bare repository");
        Self { path: path.to_owned() }
    }

    fn open(&self) -> Repository {
        Repository::open(&self.path).expect("the repository")
    }

    /// Puts files on top of the branch; `None` takes one away. Returns the revision.
    pub(crate) fn push(&self, subject: &str, files: &[(&str, Option<&str>)]) -> String {
        let repository = self.open();
        let parent = repository.find_reference(BRANCH).ok();
        let parent = parent.map(|r| r.peel_to_commit().expect("a commit"));
        let mut update = git2::build::TreeUpdateBuilder::new();
        for (path, text) in files {
            match text {
                Some(text) => {
                    let blob = repository.blob(text.as_bytes()).expect("a blob");
                    update.upsert(*path, blob, git2::FileMode::Blob);
                }
                None => drop(update.remove(*path)),
            }
        }
        let empty = repository.treebuilder(None).and_then(|t| t.write()).expect("an empty tree");
        let base = parent.as_ref().map_or(empty, git2::Commit::tree_id);
        let base = repository.find_tree(base).expect("a tree");
        let tree = update.create_updated(&repository, &base).expect("a tree");
        let tree = repository.find_tree(tree).expect("a tree");
        let who = Signature::now("Ada Lovelace", "ada@example.com").expect("a name");
        let parents: Vec<_> = parent.iter().collect();
        let message = format!("{subject}\n");
        let commit = repository.commit(Some(BRANCH), &who, &who, &message, &tree, &parents);
        commit.expect("a commit").to_string()
    }

    /// Pushes a version of a service.
    pub(crate) fn version(&self, service: &str, subject: &str, text: &str) -> String {
        self.push(subject, &[(&format!("{service}/service.yaml"), Some(text))])
    }

    /// The branch, newest first: revision and message.
    pub(crate) fn log(&self) -> Vec<(String, String)> {
        let repository = self.open();
        let mut walk = repository.revwalk().expect("a walk");
        walk.push_ref(BRANCH).expect("the branch");
        walk.map(|oid| {
            let oid = oid.expect("a commit");
            let commit = repository.find_commit(oid).expect("a commit");
            (oid.to_string(), commit.message().expect("text").to_owned())
        })
        .collect()
    }

    pub(crate) fn tip(&self) -> String {
        self.log()[0].0.clone()
    }

    /// How many commits of Serin's own undo this revision.
    pub(crate) fn reverts_of(&self, revision: &str) -> usize {
        let trailer = format!("..{revision}\n");
        self.log()
            .iter()
            .filter(|(_, m)| m.contains("\nReverts-Deployment: ") && m.contains(&trailer))
            .count()
    }

    /// A file at the tip.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let repository = self.open();
        let tip = repository.find_reference(BRANCH).ok()?.peel_to_tree().ok()?;
        let blob = tip.get_path(Path::new(path)).ok()?.to_object(&repository).ok()?;
        Some(String::from_utf8_lossy(blob.as_blob()?.content()).into_owned())
    }

    /// Moves the branch by force.
    pub(crate) fn point(&self, revision: &str) {
        let oid = Oid::from_str(revision).expect("a revision");
        self.open().reference(BRANCH, oid, true, "forced").expect("moved");
    }

    /// What `git revert` of the newest commit does.
    pub(crate) fn revert_tip(&self) -> String {
        let repository = self.open();
        let bad = repository.find_reference(BRANCH).and_then(|r| r.peel_to_commit()).expect("tip");
        let tree = bad.parent(0).and_then(|p| p.tree()).expect("a parent");
        let who = Signature::now("Grace Hopper", "grace@example.com").expect("a name");
        let message = format!("Revert \"{}\"\n", bad.summary().ok().flatten().unwrap_or_default());
        let commit = repository.commit(Some(BRANCH), &who, &who, &message, &tree, &[&bad]);
        commit.expect("a commit").to_string()
    }
}
