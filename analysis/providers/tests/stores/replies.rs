//! What each store's recorded replies become, and what is said of those that cannot be used.

use std::fmt::Write as _;

use analysis_providers::MetricProvider as _;

use crate::server::{Answer, Server};
use crate::told::{at, reply, told};
use crate::vendors::{ALL, SIZE, Vendor};

/// What is told of an answer to the canary's total (or to all), and then when all is well again.
async fn second(vendor: Vendor, answer: Answer) -> String {
    let server = Server::start().await;
    vendor.set_good(&server);
    let provider = vendor.provider(&server.url).unwrap();
    let subjects = [vendor.subject("d1")];
    provider.measure(&subjects, at(0)).await;
    vendor.set(&server, answer);
    let mut text = told(&provider.measure(&subjects, at(125)).await[0]);
    vendor.set_good(&server);
    let measured = provider.measure(&subjects, at(246)).await;
    write!(text, "\n  then {}", told(&measured[0])).unwrap();
    text
}

/// The names of a store's recorded replies that are not the good ones.
fn recorded(vendor: Vendor) -> Vec<String> {
    let folder = format!("{}/replies/{}", env!("CARGO_MANIFEST_DIR"), vendor.folder());
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    let good = ["good", "baseline-", "canary-", "running"];
    names.retain(|name| !good.iter().any(|good| name.starts_with(good)));
    names.sort();
    names
}

/// The status that a recorded error came with.
fn status(vendor: Vendor, name: &str) -> u16 {
    let number = name.trim_end_matches(".json").rsplit('-').next();
    match number.and_then(|number| number.parse().ok()) {
        // NerdGraph tells some of them with a success.
        Some(403) if vendor == Vendor::NewRelic => 200,
        Some(status) => status,
        None => 200,
    }
}

#[tokio::test]
async fn replies_from_files() {
    for vendor in ALL {
        let mut text = String::new();
        for name in recorded(vendor) {
            let body = reply(&format!("{}/{name}", vendor.folder()));
            let status = status(vendor, &name);
            let told = second(vendor, Answer::json(status, body)).await;
            writeln!(text, "== {status} {name}\n{told}").unwrap();
        }
        insta::assert_snapshot!(format!("{}_files", vendor.folder()), text);
    }
}

#[tokio::test]
async fn replies_with_something_wrong_in_them() {
    for vendor in ALL {
        let good = vendor.good();
        let half = good[..good.len() / 2].to_owned();
        let mut text = String::new();
        for (name, body) in [
            ("null", good.replace("77", "null")),
            ("zero", good.replace("77", "0")),
            ("negative", good.replace("77", "-1")),
            ("fraction", good.replace("77", "76.6")),
            ("huge", good.replace("77", "1e300")),
            ("beyond every number", good.replace("77", "1e999")),
            ("NaN", good.replace("77", "NaN")),
            ("a text", good.replace("77", "\"many\"")),
            ("truncated", half),
            ("nothing", String::new()),
            ("a list", "[]".into()),
            ("an empty object", "{}".into()),
            ("deeply nested", "[".repeat(90_000)),
            ("too long", format!("{good}{}", " ".repeat(SIZE))),
            ("a web page", "<html><title>Log in</title></html>".into()),
        ] {
            let told = second(vendor, Answer::json(200, body)).await;
            writeln!(text, "== {name}\n{told}").unwrap();
        }
        insta::assert_snapshot!(format!("{}_wrong", vendor.folder()), text);
    }
}

#[tokio::test]
async fn statuses_without_words() {
    let mut text = String::new();
    for vendor in ALL {
        for status in [302, 400, 401, 403, 404, 500, 502] {
            let answer = Answer::Whole(status, Vec::new(), b"<html></html>".to_vec());
            let told = second(vendor, answer).await;
            writeln!(text, "== {vendor:?} {status}\n{told}").unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn queries_that_run_for_longer_are_looked_at_again() {
    let mut text = String::new();
    for (vendor, start, look) in [
        (Vendor::NewRelic, "async:true", "nrqlQueryProgress"),
        (Vendor::Grail, "query:execute", "query:poll"),
    ] {
        let server = Server::start().await;
        let provider = vendor.provider(&server.url).unwrap();
        let subjects = [vendor.subject("d1")];
        provider.measure(&subjects, at(0)).await;
        let running = reply(&format!("{}/running.json", vendor.folder()));
        server.set(&[start], Answer::json(200, running.clone()));
        server.set(&[look], Answer::json(200, running));
        let begun = std::time::Instant::now();
        let never = told(&provider.measure(&subjects, at(125)).await[0]);
        assert!(begun.elapsed() < 4 * crate::vendors::BOUND);
        server.set(&[look], Answer::json(200, vendor.good()));
        let then = told(&provider.measure(&subjects, at(126)).await[0]);
        let seen = server.seen();
        let last = seen.last().unwrap();
        writeln!(
            text,
            "== {vendor:?}\n{never}\n  then {then}\n{} {}\n{}",
            last.method, last.path, last.body
        )
        .unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_wrong_query_does_not_take_the_others_along() {
    let server = Server::start().await;
    let vendor = Vendor::Datadog;
    vendor.set_good(&server);
    let provider = vendor.provider(&server.url).unwrap();
    let mut wrong = vendor.subject("d2");
    wrong.service = "bogus".into();
    let subjects = [vendor.subject("d1"), wrong];
    provider.measure(&subjects, at(0)).await;
    server.set(&["POST", "bogus"], Answer::json(400, reply("datadog/error-400.json")));
    let measured = provider.measure(&subjects, at(125)).await;
    let first = told(&measured[0]);
    assert!(first.starts_with("full\n"), "{first}");
    assert!(measured[1].result.is_err());
}
