//! `spec.journeys`: what is accepted, what it becomes, and that it is shown as it is read.

use std::time::Duration;

use analysis::Test;
use proptest::prelude::*;
use rollout::journey::{Body, JsonRule, Method, Status, Take, TextRule};
use serde_json::json;

use super::*;

/// A policy with these lines below `journeys`.
fn with(journeys: &str) -> Policy {
    let text = format!(
        "metadata: {{ name: shop }}\nspec:\n  paths: [a]\n  target: {{ process: {{ command: ./a }} }}\n  journeys:\n{journeys}\n"
    );
    let read = policies("p.yaml", text.as_bytes());
    read.unwrap_or_else(|p| panic!("{text}\n{}", render_problems(&p, Colour::Never))).remove(0)
}

fn check_round_trip(policy: &Policy) {
    let shown = show_policy(policy);
    let read = policies("shown.yaml", shown.as_bytes());
    let read = read.unwrap_or_else(|p| panic!("{shown}\n{}", render_problems(&p, Colour::Never)));
    assert_eq!(std::slice::from_ref(policy), &*read, "{shown}");
}

const WHOLE: &str = r#"
    - name: buy
      every: 2s
      timeout: 3s
      gate: 0
      stretch: 12.5%
      variables: { user: "7" }
      requests:
        - get: /cart/{{user}}
          headers: { Accept: application/json, x-a: "{{attempt}}" }
          expect:
            status: [200, 3xx]
            within: 1s
            header: { Content-Type: ~json, x-b: "{{user}}" }
            body: "~\"id\": *[0-9]+"
            json: { /items/0/sku: not null, /a: "not null", /n: 3, /s: "3", /t: ~^x, /d: { deep: [1.5, -2, true, null, yes] }, /none: ~ }
          take: { id: { json: /id }, next: { header: Location }, csrf: { body: "~csrf=(\\w+)" }, session: { cookie: sid } }
        - post: /orders?after={{next}}
          json: { id: "{{id}}", count: 2, note: "2", "a b": [{ c: "" }] }
        - put: /orders/{{id}}
          body: "{\"csrf\": \"{{csrf}}\",\n \"ü\": 1}"
        - head: /
"#;

#[test]
fn a_journey_is_read_as_it_is_written() {
    let policy = with(WHOLE);
    let [journey] = &policy.journeys[..] else { panic!() };
    assert_eq!((&*journey.name, journey.gate), ("buy", 0));
    assert_eq!([journey.every, journey.timeout], [2, 3].map(Duration::from_secs));
    assert!((journey.stretch - 0.125).abs() < 1e-12);
    let [cart, order, put, head] = &journey.requests[..] else { panic!() };
    assert_eq!((cart.method, &*cart.path), (Method::Get, "/cart/{{user}}"));
    assert_eq!(cart.headers["accept"], "application/json");
    let expect = &cart.expect;
    assert_eq!(expect.status, [Status::Code(200), Status::Class(3)]);
    assert_eq!(expect.headers["content-type"], TextRule::Matches("json".to_owned()));
    assert_eq!(expect.headers["x-b"], TextRule::Equals("{{user}}".to_owned()));
    assert_eq!(expect.json["/items/0/sku"], JsonRule::NotNull);
    assert_eq!(expect.json["/a"], JsonRule::Equals(json!("not null")));
    assert_eq!(expect.json["/n"], JsonRule::Equals(json!(3)));
    assert_eq!(expect.json["/s"], JsonRule::Equals(json!("3")));
    assert_eq!(expect.json["/t"], JsonRule::Matches("^x".to_owned()));
    assert_eq!(expect.json["/none"], JsonRule::Equals(json!(null)));
    let deep = json!({"deep": [1.5, -2, true, null, "yes"]});
    assert_eq!(expect.json["/d"], JsonRule::Equals(deep));
    assert_eq!(cart.take["next"], Take::Header("location".to_owned()));
    assert_eq!(cart.take["csrf"], Take::Body(r"csrf=(\w+)".to_owned()));
    let sent = json!({"id": "{{id}}", "count": 2, "note": "2", "a b": [{"c": ""}]});
    assert_eq!(order.body, Body::Json(sent));
    assert_eq!(order.expect.status, [Status::Class(2)]);
    assert_eq!(put.body, Body::Text("{\"csrf\": \"{{csrf}}\",\n \"ü\": 1}".to_owned()));
    assert_eq!((head.method, &head.body), (Method::Head, &Body::Empty));
    check_round_trip(&policy);
    let shown = show_policy(&policy);
    let (_, shown) = shown.split_once("\n  # Requests that").unwrap();
    insta::assert_snapshot!(shown.split_once("\n  # ").unwrap().0);
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let text = include_str!("../../../README.md");
    let (_, text) = text.split_once("## Journeys").unwrap();
    let (_, text) = text.split_once("  journeys:\n").unwrap();
    let policy = with(text.split_once("```").unwrap().0);
    let requests = &policy.journeys[0].requests;
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[1].expect.json["/count"], JsonRule::Equals(json!(2)));
    let body = TextRule::Matches(r#""items": *\["#.to_owned());
    assert_eq!(requests[1].expect.body, Some(body));
    check_round_trip(&policy);
}

#[test]
fn a_short_journey_has_good_defaults_and_a_check() {
    let policy = with("    - name: home\n      requests: [get: /]");
    let journey = &policy.journeys[0];
    assert_eq!((journey.gate, journey.every), (20, Duration::from_secs(1)));
    let checks = &policy.analysis.checks;
    let names: Vec<&str> = checks.iter().map(|check| &*check.name).collect();
    assert_eq!(names, ["errors", "latency", "home"]);
    assert_eq!((&*checks[2].reads, checks[2].warm_up), ("home", Duration::ZERO));
    assert_eq!(checks[2].test, Test::Journey { stretch: 0.25, gate: 20 });
    check_round_trip(&policy);
}

fn many(count: u32, each: impl Fn(u32) -> String) -> String {
    (0..count).map(each).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test is about the time that reading takes")]
fn a_file_full_of_costly_patterns_is_refused_in_time() {
    let rules = many(32, |n| format!("/p{n}: '~\\w{{{}}}', ", n + 5));
    let request = format!("\n        - {{ get: /, expect: {{ json: {{ {rules} }} }} }}");
    let document = format!(
        "---\nmetadata: {{ name: shop }}\nspec:\n  journeys:\n    - name: a\n      requests:{}\n",
        request.repeat(20)
    );
    let text = document.repeat(1_000_000 / document.len());
    let begun = std::time::Instant::now();
    let problems = policies("p.yaml", text.as_bytes()).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let told = "the file holds more regular expressions than Serin compiles";
    assert!(problems.iter().any(|problem| problem.message == told));
}

#[test]
fn too_much_is_refused() {
    let refused = |journeys: &str, message: &str| {
        let text = format!(
            "metadata: {{ name: shop }}\nspec:\n  paths: [a]\n  target: {{ process: {{ command: ./a }} }}\n  journeys:{journeys}\n"
        );
        let problems = policies("p.yaml", text.as_bytes()).unwrap_err();
        assert!(problems.len() <= 2, "{}", render_problems(&problems, Colour::Never));
        assert_eq!(problems[0].message, message);
    };
    let journeys = many(9, |n| format!("\n  - {{ name: j{n}, requests: [get: /] }}"));
    refused(&journeys, "there are more than 8 journeys");
    let one = |request: &str| format!("\n  - name: a\n    requests: [{request}]");
    refused(&one(&"get: /, ".repeat(21)), "a journey has 1 to 20 requests");
    let body = "x".repeat(64 * 1024 + 1);
    refused(&one(&format!("{{ get: /, body: {body} }}")), "the body is longer than 65536 bytes");
    refused(
        &one(&format!("{{ get: /, json: {{ a: {body} }} }}")),
        "the body is longer than 65536 bytes",
    );
    let pattern = "x".repeat(1_001);
    refused(
        &one(&format!("{{ get: /, expect: {{ body: ~{pattern} }} }}")),
        "the regular expression is longer than 1000 bytes",
    );
    let headers = many(33, |n| format!("h{n}: a, "));
    refused(
        &one(&format!("{{ get: /, headers: {{ {headers} }} }}")),
        "there are more than 32 entries",
    );
}

fn quoted(text: &str) -> String {
    let escape = |c: char| format!("\\U{:08x}", u32::from(c));
    let escaped: String = text.chars().map(escape).collect();
    format!("\"{escaped}\"")
}

/// JSON as YAML, every text quoted.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        (-1e300..1e300_f64).prop_map(|n| json!(n).to_string()),
        "[^\\x00{}~]{0,12}".prop_map(|text| quoted(&text)),
        prop::sample::select(vec!["\"3\"", "\"true\"", "\"not null\"", "\"null\"", "\"\""])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(", "))),
            prop::collection::btree_map("[a-zé \"]{1,6}", inner, 0..4).prop_map(|entries| {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{}: {value}", quoted(key)))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_shown_reads_back_as_the_same_journey(
        sent in value(), expected in value(), text in "[^\\x00{}~]{1,30}", key in "[a-z!#$%&'*+.^_|~-]{1,8}",
        every in 100_u32..100_000, stretch in 0_u32..1_000, code in 100_u16..600, gate in 0_u32..1_000,
    ) {
        let text = quoted(&text);
        let policy = with(&format!(r#"
    - name: a-1
      every: {every}ms
      gate: {gate}
      stretch: {stretch}.{gate:03}%
      requests:
        - patch: "/a/[b]?c={{{{attempt}}}}&d=%20"
          headers: {{ x-b: "a: b, {{{{attempt}}}}" }}
          json: [{sent}]
          expect: {{ status: {code}, header: {{ "h{key}": {text} }}, json: {{ "/a b/~0": {expected} }} }}
        - post: /
          body: {text}
"#));
        check_round_trip(&policy);
    }
}
