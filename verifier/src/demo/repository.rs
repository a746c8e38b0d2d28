//! The demo's bare repository: a small shop, its policy, and the commits that people push to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository, RepositoryInitOptions, Signature};

/// What one version of the shop does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Version {
    /// Share of requests that fail.
    pub error_share: f64,
    /// How the prices of a cart are looked up.
    pub prices: Prices,
    /// A line that changes nothing.
    pub greeting: &'static str,
}

/// How the prices of a cart are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prices {
    /// By one query.
    Together,
    /// By one query for each line: an N+1 query, as it is called.
    LineByLine,
}

impl Prices {
    const fn query(self) -> &'static str {
        match self {
            Self::Together => {
                "-- name: CartPrices :many\nSELECT amount FROM price WHERE sku = ANY($1);\n"
            }
            Self::LineByLine => {
                "-- name: LinePrice :one\nSELECT amount, tax FROM price WHERE sku = $1;\n"
            }
        }
    }
}

/// The version that serves first.
pub(super) const FIRST: Version =
    Version { error_share: 0.002, prices: Prices::Together, greeting: "Welcome" };

/// The repository and what it is about.
pub(super) struct Shop {
    path: PathBuf,
    dependency: String,
}

const BRANCH: &str = "refs/heads/main";

impl Shop {
    /// Creates the repository with the first version and the policy.
    pub(super) fn create(
        folder: &Path,
        address: SocketAddr,
        dependency: &str,
    ) -> Result<Self, super::DemoError> {
        let shop = Self { path: folder.join("shop.git"), dependency: dependency.to_owned() };
        let mut options = RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        let repository = Repository::init_opts(&shop.path, &options)?;
        let binary = std::env::current_exe()?;
        let policy = policy(&binary, address);
        let files = [
            (".serin/shop.yaml", policy.as_str()),
            (
                "README.md",
                "# Shop\n\nThe small service of `serin demo`. What it does is in shop/service.yaml, what it asks its database in shop/prices.query.\n",
            ),
            ("shop/prices.query", FIRST.prices.query()),
            ("shop/service.yaml", &shop.service(FIRST)),
        ];
        commit(&repository, &files, "Open the shop", "Ada Lovelace")?;
        Ok(shop)
    }

    /// Pushes a version as a person would; returns the commit.
    pub(super) fn push(
        &self,
        version: Version,
        subject: &str,
        author: &str,
    ) -> Result<Oid, git2::Error> {
        let repository = Repository::open(&self.path)?;
        let files = [
            ("shop/prices.query", version.prices.query()),
            ("shop/service.yaml", &*self.service(version)),
        ];
        commit(&repository, &files, subject, author)
    }

    /// The branch's newest commit and its first line.
    pub(super) fn tip(&self) -> Result<(Oid, String), git2::Error> {
        let repository = Repository::open(&self.path)?;
        let commit = repository.find_reference(BRANCH)?.peel_to_commit()?;
        let subject = commit.summary().ok().flatten().unwrap_or_default().to_owned();
        Ok((commit.id(), subject))
    }

    /// Settings with which `serin run` can go on here.
    pub(super) fn settings(&self, listen: SocketAddr) -> String {
        format!(
            "listen: {listen}\nfolder: serin\nrepositories:\n  - name: shop\n    url: {}\n    poll: 1s\n",
            quoted(&self.path.display().to_string())
        )
    }

    fn service(&self, version: Version) -> String {
        let Version { error_share, greeting, prices: _ } = version;
        format!(
            "# {greeting}\nroutes: [/, /checkout]\nerrorShare: {error_share}\nlatency: {{ medianMs: 30, p99Ms: 60 }}\nprices: prices.query\ndependency: {}\n",
            self.dependency
        )
    }
}

/// The policy, chosen so that at the demo's load the evidence suffices within seconds.
fn policy(binary: &Path, address: SocketAddr) -> String {
    format!(
        r#"apiVersion: serin.dev/v1
kind: CanaryPolicy
metadata: {{ name: shop }}
spec:
  paths: [shop/**]
  target:
    process:
      command: [{}, demo-service, --config, shop/service.yaml]
      health: /healthz
  router: {{ proxy: {{ listen: "{address}", timeout: 5s }} }}
  metrics: {{ scrape: {{ path: /metrics, interval: 1s }} }}
  steps: {{ auto: {{ first: 10%, deadline: 2m }} }}
  harm: 0.5%
  latencyHarm: 0.5%
  falseAlarm: 0.1%
  bake: 3s
  warmUp: 0s
  checks: [errors, latency]
  onFail: {{ revert: push, limits: ["10 per 1h"] }}
"#,
        quoted(&binary.display().to_string())
    )
}

/// A JSON string, which is YAML as well.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Puts files on top of the branch, as a push of a child of its tip.
fn commit(
    repository: &Repository,
    files: &[(&str, &str)],
    subject: &str,
    author: &str,
) -> Result<Oid, git2::Error> {
    let parent = match repository.find_reference(BRANCH) {
        Ok(reference) => Some(reference.peel_to_commit()?),
        Err(error) if error.code() == git2::ErrorCode::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut update = git2::build::TreeUpdateBuilder::new();
    for (path, text) in files {
        update.upsert(*path, repository.blob(text.as_bytes())?, git2::FileMode::Blob);
    }
    let empty = repository.treebuilder(None)?.write()?;
    let base = match &parent {
        Some(parent) => parent.tree()?,
        None => repository.find_tree(empty)?,
    };
    let tree = repository.find_tree(update.create_updated(repository, &base)?)?;
    let email =
        format!("{}@example.com", author.split(' ').next().unwrap_or("someone").to_lowercase());
    let who = Signature::now(author, &email)?;
    let parents: Vec<_> = parent.iter().collect();
    repository.commit(Some(BRANCH), &who, &who, &format!("{subject}\n"), &tree, &parents)
}
