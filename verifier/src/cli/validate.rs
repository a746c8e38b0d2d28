//! `serin validate`: every problem of every file, and with `--show` what the defaults make of them.

use std::path::{Path, PathBuf};

use clap::Args;
use rollout::Policy;

use super::{Exit, colourful, complain, print};
use crate::config::{self, Colour, Instance};

/// What to validate.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Policy files, or folders of them
    #[arg(default_value = ".serin")]
    paths: Vec<PathBuf>,
    /// Also check these settings, and that the policies fit them
    #[arg(long)]
    config: Option<PathBuf>,
    /// Print the policies with every default filled in
    #[arg(long)]
    show: bool,
    /// Ask this Prometheus, or read this metrics page, and say whether the checks would find what they read:
    /// metrics of both versions, fresh, with buckets that can tell
    #[arg(long, value_name = "URL", alias = "metrics")]
    against: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Validates; exits 0 or 2.
pub(super) async fn run(options: &Options) -> Exit {
    let instance = match &options.config {
        None => None,
        Some(path) => match super::run::read(path).await {
            Ok(instance) => Some(instance),
            Err(problems) => {
                complain(&problems);
                return Exit::WrongInput;
            }
        },
    };
    let files = match files(&options.paths) {
        Ok(files) => files,
        Err(problem) => {
            complain(&problem);
            return Exit::WrongInput;
        }
    };
    match (&options.against, check(options, &files, instance.as_ref())) {
        (Some(url), Ok(policies)) => super::against::run(url, &policies, options.json).await,
        (None, Ok(_)) => Exit::Done,
        (_, Err(exit)) => exit,
    }
}

/// The policies, if nothing is wrong with them.
fn check(
    options: &Options,
    files: &[(String, Vec<u8>)],
    instance: Option<&Instance>,
) -> Result<Vec<Policy>, Exit> {
    let named: Vec<(&str, &[u8])> =
        files.iter().map(|(name, text)| (name.as_str(), text.as_slice())).collect();
    match config::folder(&named, instance) {
        Ok(policies) => {
            if options.json && options.against.is_some() {
                // One command prints one document: what was found there.
            } else if options.json {
                let shown = serde_json::to_string_pretty(&policies);
                print(&shown.unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}")));
            } else if options.show {
                let shown: Vec<String> = policies.iter().map(config::show_policy).collect();
                print(&shown.join("---\n"));
            } else {
                let names: Vec<&str> = policies.iter().map(|p| p.name.as_str()).collect();
                print(&format!(
                    "{} in {}: no problems",
                    counted(names.len(), "policy", "policies"),
                    counted(files.len(), "file", "files")
                ));
                for name in names {
                    print(&format!("  {name}"));
                }
            }
            Ok(policies)
        }
        Err(problems) => {
            let colour = if colourful() { Colour::Always } else { Colour::Never };
            if options.json {
                let list = problems.iter().map(|p| {
                    serde_json::json!({
                        "file": p.file, "line": p.line, "column": p.column, "key": p.key,
                        "message": p.message, "hint": p.hint,
                    })
                });
                print(&serde_json::json!({ "problems": list.collect::<Vec<_>>() }).to_string());
            } else {
                complain(&config::render_problems(&problems, colour));
            }
            Err(Exit::WrongInput)
        }
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn files(paths: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |path: &Path, error: &std::io::Error| {
            format!(
                "failed to read {}: {error}\nhint: name the policy files, or the folder that holds them",
                path.display()
            )
        };
        let found = if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(|e| failed(path, &e))?;
            let mut found: Vec<PathBuf> = entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|p| is_policy(p))
                .collect();
            found.sort();
            found
        } else {
            vec![path.clone()]
        };
        for file in found {
            let text = std::fs::read(&file).map_err(|e| failed(&file, &e))?;
            files.push((file.display().to_string(), text));
        }
    }
    if files.is_empty() {
        return Err("there is no policy here\nhint: a policy is a .yaml file in the folder .serin of the repository".to_owned());
    }
    Ok(files)
}

/// YAML, but not the list that Serin keeps beside the policies.
fn is_policy(path: &Path) -> bool {
    let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    yaml && path.file_stem().is_none_or(|stem| stem != "quarantine")
}
