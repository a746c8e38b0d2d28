//! Whatever the bytes: no panic, no hang, no flood, no secret.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Reads the bytes as both kinds of documents and shows what is wrong with them.
fn read(text: &[u8]) -> Vec<Problem> {
    let mut problems = policies("p.yaml", text).err().unwrap_or_default();
    problems.extend(instance("serin.yaml", text, Path::new(BASE), &env).err().unwrap_or_default());
    let shown = render_problems(&problems, Colour::Always);
    assert!(shown.len() < 1_000_000, "{} bytes of problems", shown.len());
    assert!(problems.iter().all(|p| !p.message.is_empty() && p.line > 0 && p.column > 0));
    problems
}

/// Far more than it takes in a debug build on a busy machine; a quadratic pass would take longer.
const BOUND: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "the test is about the time that reading takes")]
fn read_in_time(name: &str, text: &[u8]) -> Vec<Problem> {
    let begun = Instant::now();
    let problems = read(text);
    assert!(begun.elapsed() < BOUND, "{name} took {:?}", begun.elapsed());
    problems
}

fn many(count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).map(each).collect()
}

#[test]
fn hostile_files_are_refused_in_time() {
    let mega = 1_000_000;
    let deep = "[".repeat(mega);
    let blocks: String = many(1_000, |depth| format!("{:depth$}a:\n", ""));
    let flat_list = format!("spec: {{ checks: [{}] }}", "errors, ".repeat(100_000));
    let many_keys: String = many(9_000, |n| format!("key{n}: x\n"));
    let same_key = "a: 1\n".repeat(9_000);
    let names = format!("spec: {{ notify: [{}] }}", many(9_000, |n| format!("n{n}, ")));
    let one_line = format!("spec: \"{}", "x".repeat(mega));
    let long_key = format!("{}: 1", "k".repeat(1_000));
    let documents = "---\na: 1\n".repeat(5_000);
    let aliases = format!("a: &a [x, y]\nb: [{}]", "*a, ".repeat(100_000));
    let chain: String = many(20_000, |n| format!("k{}: &a{} [*a{n}]\n", n + 1, n + 1));
    let chain = format!("k0: &a0 x\n{chain}");
    let secrets = "token: x\n".repeat(9_000);
    for (name, text) in [
        ("deep", &deep),
        ("blocks", &blocks),
        ("flat list", &flat_list),
        ("many keys", &many_keys),
        ("same key", &same_key),
        ("names", &names),
        ("one line", &one_line),
        ("long key", &long_key),
        ("documents", &documents),
        ("aliases", &aliases),
        ("chain", &chain),
        ("secrets", &secrets),
    ] {
        assert!(!read_in_time(name, text.as_bytes()).is_empty(), "{name} is accepted");
    }
}

#[test]
fn queries_that_nest_are_refused_without_exhausting_the_stack() {
    let queries = [
        "a*".repeat(2_000) + "a",
        "a^".repeat(2_000) + "a",
        "a or ".repeat(800) + "a",
        "a unless on(b) ".repeat(60) + "a",
        "!".repeat(4_000),
        "-".repeat(4_000) + "a",
        "(".repeat(4_000),
        "sum(".repeat(60) + "a" + &")".repeat(60),
        "a[5m:".repeat(60),
        format!("a{{b=~\"{}\"}}", "(".repeat(4_000)),
        format!("a{{b=~\"{}\"}}", "(a*)*".repeat(700)),
        format!("a{{b=~\"{}\"}}", "a{1000}{1000}{1000}"),
        "x".repeat(5_000),
        "$".repeat(4_000) + "{",
        "${".repeat(2_000),
    ];
    for query in queries {
        let quoted = serde_json::Value::from(query.as_str()).to_string();
        for metrics in ["scrape", "{ prometheus: { provider: a } }", "{ store: { provider: a } }"] {
            let text = format!(
                "metadata: {{ name: a }}\nspec:\n  paths: [a]\n  target: {{ process: {{ command: a }} }}\n  metrics: {metrics}\n  checks:\n    - errors: {{ bad: {quoted}, total: {quoted} }}\n    - {{ name: g, gauge: {{ query: {quoted} }} }}\n"
            );
            assert!(!read_in_time("a query", text.as_bytes()).is_empty(), "{text}");
        }
    }
}

#[test]
fn a_file_of_ten_megabytes_is_refused_by_its_size() {
    let problems = read_in_time("10 MB", &vec![b'a'; 10_000_000]);
    assert_eq!(problems[0].message, "the file has 10000000 bytes, and Serin reads at most 1048576");
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_place() {
    let problem = policies("p.yaml", b"metadata:\n  name: caf\xe9\n").unwrap_err().remove(0);
    assert_eq!(
        (problem.line, problem.column, &*problem.message),
        (2, 12, "the file is not UTF-8 text")
    );
}

#[test]
fn a_problem_in_the_line_break_is_told() {
    assert_eq!(read(b"\x0e\r\x80").len(), 2);
}

#[test]
fn a_byte_order_mark_is_no_text() {
    assert!(policies("p.yaml", b"\xef\xbb\xbf# nothing\n").unwrap().is_empty());
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let text = "metadata: { name: \"\\e[31mred\" }\n\"\\e]0;title\": 1\nspec: { \"\\u202e\": x }\n";
    let shown =
        render_problems(&policies("\u{1b}[1m.yaml", text.as_bytes()).unwrap_err(), Colour::Never);
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    assert!(!shown.contains('\u{202e}'), "{shown:?}");
}

/// The pieces that real files are made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "metadata",
        "name",
        "spec",
        "paths",
        "target",
        "process",
        "command",
        "steps",
        "auto",
        "weight",
        "checks",
        "errors",
        "latency",
        "objective",
        "tolerance",
        "freezes",
        "days",
        "from",
        "to",
        "metrics",
        "store",
        "provider",
        "metric",
        "bad",
        "total",
        "slower",
        "gauge",
        "query",
        "judge",
        "kayenta",
        "effectSize",
        "sum(rate(a[5m]))",
        "${version}",
        "1.5GB",
        "p99",
        "repositories",
        "providers",
        "datadog",
        "http",
        "pointers",
        "url",
        "credentials",
        "tokenFrom",
        "env",
        "hunter2",
        "token",
        "1%",
        "0.1",
        "-5m",
        "1h30m",
        "99999999999999999999d",
        "é",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<",
        "|",
        ">",
        "?",
        "---\n",
        "#",
        "%",
        "!",
        "~",
        "\t",
        "\u{feff}",
        "\u{0}",
        "\r\n",
        "\u{85}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read(&bytes);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        read(text.as_bytes());
    }

    #[test]
    fn no_order_of_real_pieces_makes_it_panic(text in pieces()) {
        read(text.as_bytes());
    }

    #[test]
    fn a_changed_byte_never_makes_it_panic(at in 0_usize..2_000, byte in 1_u8..127) {
        let mut text = include_bytes!("policy/units.yaml").to_vec();
        let at = at % text.len();
        text[at] = byte;
        read(&text);
    }

    #[test]
    fn a_slip_in_any_letter_does_not_tell_the_secret(at in 0_usize..2_000, letter in "[a-z]") {
        let text = include_str!("instance/secrets.yaml");
        let letters: Vec<usize> = text.bytes().enumerate().filter(|(_, b)| b.is_ascii_alphabetic()).map(|(at, _)| at).collect();
        let at = letters[at % letters.len()];
        let slipped = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
        let problems = read(slipped.as_bytes());
        let told = format!("{problems:?}{}", render_problems(&problems, Colour::Never));
        prop_assert!(!told.contains(SECRET), "{}", told);
    }

    #[test]
    fn a_literal_secret_is_never_told(secret in "[a-zA-Z0-9]{12,40}", place in 0_usize..11) {
        let repository = "repositories: [{ name: shop, url: /srv/shop.git }]\n";
        let text = match place {
            8 => format!("{repository}providers: [{{ name: a, datadog: {{ site: eu, apiKey: {secret}, applicationKeyFrom: {secret} }} }}]\n"),
            9 => format!("{repository}providers: [{{ name: a, cloudWatch: {{ region: x, secretKey: {secret}, accessKeyFrom: {{ env: {secret}-x }} }} }}]\n"),
            10 => format!("{repository}providers: [{{ name: a, influx: {{ url: 'http://u:{secret}@host', version: 2, token: {secret} }} }}]\n"),
            0 => format!("{repository}api: {{ tokenFrom: {secret} }}\n"),
            1 => format!("{repository}api: {{ token: {secret} }}\n"),
            2 => format!("{repository}hooks:\n  secret: |\n    {secret}\n"),
            3 => format!("{repository}providers: [{{ name: a, prometheus: {{ url: http://u:{secret}@host, timeout: 5 }} }}]\n"),
            4 => format!("{repository}api: {{ tokenFrom: {{ env: {secret}-x }} }}\n"),
            5 => format!("repositories: [{{ name: shop, url: 'https://u:pa/{secret}@host/x' }}]\n"),
            6 => format!("repositories: [{{ name: shop, url: 'ssh://u:{secret}@host/x', poll: 5 }}]\n"),
            _ => format!("{repository}api: {{ token: '{secret}\n  {secret}, listen: 5\n"),
        };
        let problems = read(text.as_bytes());
        let told = format!("{problems:?}{}", render_problems(&problems, Colour::Never));
        prop_assert!(!problems.is_empty());
        prop_assert!(!told.contains(&secret), "{}", told);
    }
}
