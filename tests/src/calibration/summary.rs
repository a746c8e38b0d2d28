//! The summary that the README shows, between two markers.

use super::{
    Cell, Results,
    rows::{DEFAULTS, KNOWING, STRICT},
    table::{limit_of, reverts},
    targets::{Line, State},
};

const BEGIN: &str = "<!-- calibration: generated, do not edit -->\n";
const END: &str = "<!-- end of calibration -->\n";

/// Rows of the summary, with what the README calls them.
const SHOWN: [(&str, &str); 11] = [
    ("A/A 0.1 %, 500 rps", "harmless, 0.1 % fail"),
    ("A/A 1 %, 500 rps", "harmless, 1 % fail"),
    (
        "staged A/A, incident anywhere, 500 rps",
        "harmless, rising weights, an incident of both arms",
    ),
    ("bursts of 3, ratio 1", "harmless, failures in bursts"),
    ("pods cv 0.6, ratio 1", "harmless, pods differ by 60 %"),
    ("0.1 % -> 0.5 %, 500 rps", "0.1 % to 0.5 %"),
    ("0.1 % -> 1 %, 500 rps", "0.1 % to 1 %"),
    ("0.1 % -> 5 %, 500 rps", "0.1 % to 5 %"),
    ("0.1 % -> 5 %, 50 rps", "0.1 % to 5 % at 50 requests/s"),
    ("latency log-normal x 1.5, 500 rps", "p99 200 to 300 ms"),
    ("latency slowest 2 % x 1.5, 500 rps", "the same, only the slowest 2 %"),
];

/// Columns: title and the tools of which a row has one.
const COLUMNS: [(&str, &[&str]); 6] = [
    ("Flagger 60 s", &["Flagger 60 s"]),
    ("Argo", &["Argo, limit 0"]),
    ("Kayenta", &["Kayenta"]),
    ("z-test, peeked", &["z peeked"]),
    ("Serin, no tolerance", &[STRICT]),
    ("Serin", &[DEFAULTS, KNOWING]),
];

/// The section, markers included.
pub fn summary(results: &Results, lines: &[Line]) -> String {
    let mut text = BEGIN.to_owned();
    text += &format!(
        "Simulated rollouts of 20 minutes at 500 requests/s, canary 5 %, a look every 5 s, alpha 1 %: rolled back \
         where that is wrong (with 95 % limits),\nor share rolled back, median / 95th percentile in seconds and \
         median canary requests until then. {} rollouts a row. All rows: `tests/CALIBRATION.md`.\n\
         `SERIN_CALIBRATION=full cargo test -p tests --test calibration` makes it anew, a part of a row's name instead of \
         `full` that row.\n\n",
        runs(results)
    );
    let cells = |row: &str| -> Vec<Option<&Cell>> {
        COLUMNS
            .iter()
            .map(|(_, tools)| tools.iter().find_map(|tool| results.cell(row, tool)))
            .collect()
    };
    let used: Vec<usize> = (0..COLUMNS.len())
        .filter(|column| SHOWN.iter().any(|(row, _)| cells(row)[*column].is_some()))
        .collect();
    text += "| rollout |";
    for column in &used {
        text += &format!(" {} |", COLUMNS[*column].0);
    }
    text += " limit |\n|---|";
    text += &"---|".repeat(used.len() + 1);
    text.push('\n');
    for (row, title) in SHOWN {
        let cells = cells(row);
        if cells.iter().all(Option::is_none) {
            continue;
        }
        text += &format!("| {title} |");
        for column in &used {
            text += &format!(" {} |", cells[*column].map_or(String::new(), reverts));
        }
        let strict = results.cell(row, STRICT).map_or(String::new(), limit_of);
        text += &format!(" {strict} |\n");
    }
    text += "\n*Limit*: no test without tolerance can be sooner on average: ln(1/alpha) over the information per \
             request (Wald), in seconds and canary requests,\nand how far \"Serin, no tolerance\" is from it.\n\n\
             | target | figure | wanted | |\n|---|---|---|---|\n";
    for line in lines {
        let state = match line.state {
            State::Met => "met",
            State::Near => "within chance",
            State::Missed | State::Refuted => "**not met**",
            State::Unmeasured => "not measured",
        };
        text += &format!("| {} | {} | {} | {state} |\n", line.id, line.figure, line.wanted);
    }
    text + END
}

/// `2,000`, or a range.
fn runs(results: &Results) -> String {
    let shown = |name: &str| SHOWN.iter().any(|(row, _)| *row == name);
    let rows = || results.0.iter().filter(|at| shown(&at.row.name));
    let runs = || rows().flat_map(|at| &at.cells).map(|cell| cell.reverts.runs());
    let (fewest, most) = (runs().min().unwrap_or(0), runs().max().unwrap_or(0));
    if fewest == most { most.to_string() } else { format!("{fewest} to {most}") }
}

/// The section of a document, markers included.
pub fn between_markers(document: &str) -> Option<&str> {
    let from = document.find(BEGIN)?;
    let to = document[from..].find(END)? + from + END.len();
    document.get(from..to)
}

/// A document with its section replaced; `None` if it has no markers.
pub fn with_section(document: &str, section: &str) -> Option<String> {
    let old = between_markers(document)?;
    let from = document.find(BEGIN)?;
    Some(format!("{}{section}{}", &document[..from], &document[from + old.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_nothing_else() {
        let document = format!("above\n{BEGIN}old\n{END}below\n");
        let section = format!("{BEGIN}new\n{END}");
        let replaced = with_section(&document, &section).unwrap();
        assert_eq!(replaced, format!("above\n{section}below\n"));
        assert_eq!(between_markers(&replaced), Some(section.as_str()));
        assert_eq!(with_section("none", &section), None);
    }
}
