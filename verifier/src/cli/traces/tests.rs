//! Comparisons of files, and what is said of those that cannot be compared.

use std::fs;

use clap::Parser;
use git2::{Repository, Signature};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// As the command line says it.
#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    traces: Traces,
}

fn options(line: &str, folder: &Path) -> Options {
    let place = folder.to_str().unwrap();
    let words = line.split(' ').map(|word| word.replace("DIR", place));
    let line =
        Line::try_parse_from(["traces".to_owned(), "compare".to_owned()].into_iter().chain(words));
    let Traces::Compare(options) = line.unwrap().traces;
    options
}

/// What it says, with the folder as `DIR`.
fn said(line: &str, folder: &TempDir) -> String {
    let text = match compared(&options(line, folder.path())) {
        Ok(report) => report.told(),
        Err(problem) => problem,
    };
    text.replace(folder.path().to_str().unwrap(), "DIR")
}

/// A span in OTLP JSON, times in microseconds.
fn span(trace: usize, id: usize, parent: usize, name: &str, from: usize, to: usize) -> Value {
    let start = 1_764_000_000_000_000_usize + trace * 10_000;
    let mut span = json!({
        "traceId": format!("{:032x}", trace + 1),
        "spanId": format!("{id:016x}"),
        "name": name,
        "kind": if parent == 0 { 2 } else { 3 },
        "startTimeUnixNano": format!("{}000", start + from),
        "endTimeUnixNano": format!("{}000", start + to),
    });
    if parent == 0 {
        span["attributes"] = json!([{"key": "http.route", "value": {"stringValue": "/cart"}}]);
    } else {
        span["parentSpanId"] = format!("{parent:016x}").into();
        span["attributes"] = json!([
            {"key": "db.system.name", "value": {"stringValue": "postgresql"}},
            {"key": "code.file.path", "value": {"stringValue": "src/cart.rs"}},
            {"key": "code.function.name", "value": {"stringValue": "Cart::load"}},
            {"key": "code.line.number", "value": {"intValue": "4"}},
        ]);
    }
    span
}

/// Requests that ask for rows `calls` times, one after the other.
fn requests(version: &str, first: usize, count: usize, calls: usize) -> Value {
    let mut spans = Vec::new();
    for trace in first..first + count {
        // Carts differ in size.
        let calls = if calls == 1 { 1 } else { calls + trace * 7 % 23 };
        let mut at = 2_000 + trace % 7 * 300;
        for call in 0..calls {
            let took = 900 + (trace * 7 + call * 3) % 11 * 40;
            spans.push(span(trace, 2 + call, 1, "SELECT cart_items", at, at + took));
            at += took;
        }
        spans.push(span(trace, 1, 0, "GET /cart", 0, at + 1_000));
    }
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "shop"}},
            {"key": "service.version", "value": {"stringValue": version}},
            {"key": "service.instance.id", "value": {"stringValue": format!("{version}-0")}},
        ]},
        "scopeSpans": [{"spans": spans}],
    }]})
}

fn dumps() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (requests("1.4", 0, 60, 1), requests("1.5", 1_000, 40, 5));
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("old.json", old.to_string());
    write("new.json", new.to_string());
    // As the collector's file exporter writes it: one document a line.
    write("both.json", format!("{old}\n{new}\n"));
    folder
}

fn commit(repository: &Repository, text: &str, subject: &str) {
    let mut tree = repository.treebuilder(None).unwrap();
    tree.insert("cart.rs", repository.blob(text.as_bytes()).unwrap(), 0o100_644).unwrap();
    let source = tree.write().unwrap();
    let mut root = repository.treebuilder(None).unwrap();
    root.insert("src", source, 0o040_000).unwrap();
    let tree = repository.find_tree(root.write().unwrap()).unwrap();
    let who = Signature::new("Ann", "ann@example.com", &git2::Time::new(1_764_000_000, 0)).unwrap();
    let parent = repository.head().ok().map(|head| head.peel_to_commit().unwrap());
    let parents: Vec<_> = parent.iter().collect();
    repository.commit(Some("HEAD"), &who, &who, subject, &tree, &parents).unwrap();
}

#[test]
fn an_n_plus_one_is_told_with_line_and_commit() {
    let folder = dumps();
    let repository = Repository::init(folder.path().join("clone")).unwrap();
    let text = |load: &str, tax: u8| {
        format!(
            "impl Cart {{\n    fn load(&self) -> Vec<Item> {{\n        let ids = self.ids();\n        {load}\n    }}\n\n    const TAX: u8 = {tax};\n}}\n"
        )
    };
    let start = "self.items(&ids)";
    commit(&repository, &text(start, 19), "Open");
    commit(
        &repository,
        &text("ids.iter().map(|id| self.item(id)).collect()", 19),
        "Load item by item",
    );
    commit(&repository, &text("ids.iter().map(|id| self.item(id)).collect()", 7), "Lower the tax");
    let line = "--baseline DIR/old.json --canary DIR/new.json --service shop --repo DIR/clone --range HEAD~2..HEAD";
    insta::assert_snapshot!(said(line, &folder), @r"
    shop: +16.6 ms mean per request (95 % interval +14.3 ms to +18.9 ms), p95 +26.4 ms, p99 +27.5 ms, in 40 canary and 60 baseline traces. `SELECT cart_items`: 1.00 -> 16.1 calls by each caller, one after the other (N+1), +16.6 ms per request (100 % of the change); called from `/cart` at `Cart::load` (src/cart.rs:4); suspect commit 1 of 2: d28a2b9 Load item by item (src/cart.rs changed, 62 % of the evidence, confidence high). Not explained: +7.50 us. Traces: 00000000000000000000000000000008 (baseline), 000000000000000000000000000003f0 (canary). The canary has one instance: a bad host looks like bad code.

    operation                      calls                each    change  by calls   by time       p
    shop SELECT cart_items  1.00 -> 16.1  1.10 ms -> 1.10 ms  +16.6 ms  +16.6 ms  -3.04 us  < 1e-9
    shop /cart              1.00 -> 1.00  3.87 ms -> 3.88 ms  +7.50 us      0 ms  +7.50 us   0.952
    all others                                                    0 ms
    request                                                   +16.6 ms
    ");
    let report = compared(&options(&format!("{line} --json"), folder.path())).unwrap().json();
    assert_eq!(report["range"], json!({"commits": 2, "leftOut": []}));
    assert_eq!(report["rootCause"]["findings"][0]["cause"], "nPlusOne");
    assert_eq!(report["rootCause"]["findings"][0]["suspect"]["position"], 1);
}

#[test]
fn versions_of_one_file_are_told_apart() {
    let folder = dumps();
    let two = said("--baseline DIR/old.json --canary DIR/new.json", &folder);
    assert_eq!(said("--baseline DIR/both.json --versions 1.4,1.5", &folder), two);
    assert_eq!(said("--canary DIR/both.json --versions 1.4,1.5 --service shop", &folder), two);
    assert_eq!(
        said("--baseline DIR/new.json --canary DIR/old.json --versions 1.4,1.5", &folder),
        two
    );
    insta::assert_snapshot!(said("--baseline DIR/both.json --versions 1.4,1.6", &folder), @r"
    none of 100 traces says that it is of the canary; label your telemetry: set the resource attribute `service.version` to the deployed version, or `vcs.ref.head.revision` to the commit (for OpenTelemetry SDKs: OTEL_RESOURCE_ATTRIBUTES=service.version=...,vcs.ref.head.revision=...)
    hint: they are of 1.4, 1.5
    ");
}

#[test]
fn what_is_left_out_is_counted_with_what_to_do() {
    let folder = dumps();
    let mut new = requests("1.5", 1_000, 40, 1);
    let spans = new["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array_mut().unwrap();
    let again = spans[0].clone();
    spans.push(again);
    spans.remove(3);
    spans[7]["traceId"] = "xyz".into();
    spans[8]["endTimeUnixNano"] = Value::Null;
    fs::write(folder.path().join("new.json"), new.to_string()).unwrap();
    insta::assert_snapshot!(said("--baseline DIR/old.json --canary DIR/new.json", &folder), @r"
    shop: +26.2 us mean per request (95 % interval -222 us to +274 us), p95 +80.0 us, p99 0 ms, in 38 canary and 60 baseline traces. Nothing differs by more than chance. The canary has one instance: a bad host looks like bad code.

    operation                      calls                each    change  by calls   by time      p
    shop /cart              1.00 -> 1.00  3.87 ms -> 3.90 ms  +30.0 us      0 ms  +30.0 us  0.813
    shop SELECT cart_items  1.00 -> 1.00  1.10 ms -> 1.10 ms  -3.82 us      0 ms  -3.82 us  0.883
    all others                                                    0 ms
    request                                                   +26.2 us

    left out
      1 span whose ids are missing, zero or of a wrong length: look for what rewrites them between the sender and the file
      1 span without a start or an end: export spans when they have ended
      1 span that came more than once: export each trace once
      1 span whose parent is missing: export whole traces, a while after they have ended
    ");
}

#[test]
fn wrong_inputs_are_said_in_words() {
    let folder = dumps();
    let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
    write("empty", b"");
    write("cut.json", &fs::read(folder.path().join("old.json")).unwrap()[..2_000]);
    write("letter", b"Dear Ann,\n");
    write("none.json", br#"{"resourceSpans": []}"#);
    Repository::init(folder.path().join("clone")).unwrap();
    let mut all = String::new();
    for line in [
        "--baseline DIR/none --canary DIR/new.json",
        "--baseline DIR/old.json --canary DIR",
        "--baseline DIR/empty --canary DIR/new.json",
        "--baseline DIR/cut.json --canary DIR/new.json",
        "--baseline DIR/letter --canary DIR/new.json",
        "--baseline DIR/none.json --canary DIR/new.json",
        "--baseline DIR/old.json --canary DIR/new.json --service basket",
        "--baseline - --canary -",
        "--versions 1,2",
        "--baseline DIR/old.json --canary DIR/new.json --repo DIR/clone --range 1.4",
        "--baseline DIR/old.json --canary DIR/new.json --repo DIR/clone --range v1.4..v1.5",
        "--baseline DIR/old.json --canary DIR/new.json --repo DIR/nowhere --range a..b",
    ] {
        all += &format!("$ {line}\n{}\n\n", said(line, &folder));
    }
    insta::assert_snapshot!(all, @r"
    $ --baseline DIR/none --canary DIR/new.json
    failed to read DIR/none: No such file or directory (os error 2)
    hint: name a file of traces, as a store or the collector's file exporter writes it

    $ --baseline DIR/old.json --canary DIR
    failed to read DIR: Is a directory (os error 21)
    hint: name a file of traces, as a store or the collector's file exporter writes it

    $ --baseline DIR/empty --canary DIR/new.json
    DIR/empty: the body is empty; send or save the whole of it

    $ --baseline DIR/cut.json --canary DIR/new.json
    DIR/cut.json: no spans can be read from JSON that is broken or ends too early (EOF while parsing a string at line 1 column 2000); accepted are OTLP (Protobuf or JSON, also one document a line), replies of Jaeger, Tempo, Zipkin v2 and Datadog, each also packed with gzip

    $ --baseline DIR/letter --canary DIR/new.json
    DIR/letter: no spans can be read from text that begins with `Dear Ann,`; accepted are OTLP (Protobuf or JSON, also one document a line), replies of Jaeger, Tempo, Zipkin v2 and Datadog, each also packed with gzip

    $ --baseline DIR/none.json --canary DIR/new.json
    DIR/none.json holds no spans

    $ --baseline DIR/old.json --canary DIR/new.json --service basket
    the baseline's file holds no request that basket answered
    hint: it holds requests of shop

    $ --baseline - --canary -
    both versions are in one place: name a file for each, or tell them apart with --versions OLD,NEW

    $ --versions 1,2
    no traces are given: name their file with --baseline, or two files with --baseline and --canary

    $ --baseline DIR/old.json --canary DIR/new.json --repo DIR/clone --range 1.4
    `1.4` is no range
    hint: write the older version, two dots and the newer one, e.g. v1.4..v1.5

    $ --baseline DIR/old.json --canary DIR/new.json --repo DIR/clone --range v1.4..v1.5
    failed to find `v1.4` in DIR/clone: revspec 'v1.4' not found
    hint: fetch first (`git -C DIR/clone fetch --tags`), or write the commit's hash; a shallow clone lacks old commits

    $ --baseline DIR/old.json --canary DIR/new.json --repo DIR/nowhere --range a..b
    failed to open a Git repository at DIR/nowhere: failed to resolve path 'DIR/nowhere': No such file or directory
    hint: name a clone of the service's repository with --repo
    ");
}
