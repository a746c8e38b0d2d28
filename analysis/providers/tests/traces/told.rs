//! Results and requests as text, for snapshots and for people who read failures.

use std::collections::BTreeMap;

use analysis_providers::FetchError;
use analysis_providers::traces::Fetched;
use analysis_traces::{EntrySubtree, Status};
use reqwest::Url;

use crate::server::Seen;

/// One result in a few lines.
pub(crate) fn told(result: &Result<Fetched, FetchError>) -> String {
    let fetched = match result {
        Ok(fetched) => fetched,
        Err(error) => return without_port(&format!("{:?}: {error}", error.persistence)),
    };
    let mut lines = Vec::new();
    for (arm, subtrees) in [("baseline", &fetched.baseline), ("canary", &fetched.canary)] {
        let mut shown: Vec<String> = subtrees.iter().map(subtree).collect();
        shown.sort();
        lines.push(format!("{arm}: {}", shown.join(", ")));
    }
    lines.push(format!("left out: {}", fetched.refused.subtrees()));
    if let Some(requests) = fetched.requests {
        lines.push(format!("requests: {} and {}", requests.baseline, requests.canary));
    }
    lines.extend(fetched.notes.iter().map(|note| format!("note: {note}")));
    without_port(&lines.join("\n"))
}

fn subtree(of: &EntrySubtree) -> String {
    let entry = of.entry();
    let failed = if entry.status == Status::Error { " failed" } else { "" };
    format!("{} {}{failed} of {} spans {:?}", entry.id, entry.name, of.spans().len(), of.kept())
}

/// Each kind of request once, with the number of those that differ only in their time, decoded.
pub(crate) fn requests(seen: &[Seen]) -> String {
    let mut counted: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for one in seen {
        let url = Url::parse(&format!("http://h{}", one.path)).unwrap();
        let mut line = format!("{} {}", one.method, url.path());
        let mut key = line.clone();
        for (name, value) in url.query_pairs() {
            line += &format!("\n    {name}={value}");
            let is_time = ["start", "end", "startTimeMin", "startTimeMax", "endTs", "lookback"]
                .iter()
                .any(|time| name.ends_with(time));
            if !is_time {
                key += &format!("&{name}={value}");
            }
        }
        if !one.body.is_empty() {
            line += &format!("\n    {}", one.body);
            key += one.body.split_once("\"query\"").map_or("", |(_, rest)| {
                rest.split_once(",\"to\"").map_or(rest, |(query, _)| query)
            });
        }
        let entry = counted.entry(key).or_insert((0, line.clone()));
        entry.0 += 1;
        entry.1 = entry.1.clone().min(line);
    }
    let lines = counted.into_values().map(|(times, line)| format!("{times} x {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Text without the port that loopback happened to give.
pub(crate) fn without_port(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("127.0.0.1:") {
        let (before, after) = rest.split_at(start + "127.0.0.1:".len());
        out.push_str(before);
        out.push_str("PORT");
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out + rest
}
