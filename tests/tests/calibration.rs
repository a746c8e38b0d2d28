//! Calibration: the false-alarm probability is what was set, detection is near its limit, and the README says
//! what was measured.
//!
//! `cargo test -p tests --test calibration` runs a subset in about a minute and fails where a figure contradicts a
//! target of the statistics beyond chance (1 in 10,000; seeds are fixed, so it never fails by chance). Add
//! `-- --nocapture` to see the figures, and set `SERIN_CALIBRATION`
//! - to `full` for every row with its full number of runs, which writes `tests/CALIBRATION.md` and the section of
//!   the README between the markers;
//! - to a part of a row's name, for the rows that contain it, with their full number of runs
//!   (`SERIN_CALIBRATION_RUNS` for another).

#![expect(clippy::print_stdout, reason = "a test that prints its figures")]

use std::fs;
use std::path::PathBuf;

use tests::calibration::{
    Depth, Line, Results, State, between_markers, document, lines, measure, rows, with_section,
};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[expect(clippy::disallowed_methods, reason = "how much is simulated is a setting of this test")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn run(depth: Depth, part: Option<&str>) -> Results {
    let runs = setting("SERIN_CALIBRATION_RUNS").and_then(|runs| runs.parse::<u32>().ok());
    let mut results = Results::default();
    for row in rows() {
        let usual = row.runs[usize::from(depth == Depth::Full)];
        if usual == 0 || part.is_some_and(|part| !row.name.contains(part)) {
            continue;
        }
        let measured = measure(&row, runs.unwrap_or(usual));
        println!("{measured}");
        results.0.push(measured);
    }
    results
}

fn print(lines: &[Line]) {
    for line in lines {
        println!("{:6} {:?}: {} (wanted: {})", line.id, line.state, line.figure, line.wanted);
    }
}

#[test]
fn no_figure_contradicts_its_target() {
    let part = setting("SERIN_CALIBRATION");
    let (depth, part) = match part.as_deref() {
        None => (Depth::Fast, None),
        Some("full") => (Depth::Full, None),
        Some(part) => (Depth::Full, Some(part)),
    };
    let results = run(depth, part);
    if part.is_some() {
        return;
    }
    let lines = lines(&results);
    print(&lines);
    if depth == Depth::Full {
        let text = document(&results, &lines);
        let section = between_markers(&text).unwrap();
        let readme = fs::read_to_string(file("../README.md")).unwrap();
        fs::write(file("../README.md"), with_section(&readme, section).unwrap()).unwrap();
        fs::write(file("CALIBRATION.md"), text).unwrap();
    }
    let refuted: Vec<&Line> = lines.iter().filter(|line| line.state == State::Refuted).collect();
    assert!(refuted.is_empty(), "contradicted: {refuted:#?}");
}

#[test]
fn the_readme_says_what_the_table_says() {
    let readme = fs::read_to_string(file("../README.md")).unwrap();
    let table = fs::read_to_string(file("CALIBRATION.md")).unwrap();
    let section = between_markers(&table).expect("tests/CALIBRATION.md has the summary");
    let shown = between_markers(&readme).expect("the README has the two markers");
    assert_eq!(
        shown, section,
        "run `SERIN_CALIBRATION=full cargo test -p tests --test calibration`"
    );
}
