//! Each script in `tests/scripts` plays to itself. `UPDATE=1` writes what they play to instead, to
//! be read before it is committed.

use std::fs;
use std::path::{Path, PathBuf};

/// Fewer would mean that the folder was not found.
const AT_LEAST: usize = 15;

#[test]
fn every_script_plays_to_itself() {
    let scripts = scripts();
    assert!(AT_LEAST <= scripts.len(), "only {} scripts", scripts.len());
    let mut wrong = Vec::new();
    for path in scripts {
        let script = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap_or_default().display().to_string();
        let played = verifier::simulate::run(&script).unwrap_or_else(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{name}: {}", problems.join("\n"))
        });
        if played == script {
            continue;
        }
        if is_update() {
            fs::write(&path, played).unwrap();
        } else {
            wrong.push(format!("{name}: {}", first_difference(&script, &played)));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 writes what was played\n{}", wrong.join("\n"));
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder of scripts can be read")
        .map(|entry| entry.expect("its entries as well").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    paths
}

fn first_difference(script: &str, played: &str) -> String {
    let mut lines = (1..).zip(script.lines().zip(played.lines()));
    lines.find(|(_, (old, new))| old != new).map_or_else(
        || "one is longer than the other".to_owned(),
        |(number, (old, new))| format!("line {number}\n  - {old}\n  + {new}"),
    )
}

#[expect(clippy::disallowed_methods, reason = "whoever runs the tests asks for an update")]
fn is_update() -> bool {
    std::env::var("UPDATE").is_ok()
}
