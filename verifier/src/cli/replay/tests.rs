//! What people read of a replay.

use super::*;

const RECORDED: &str = concat!(
    r#"{"serinBundle":1,"deployment":"shop-4f2c1a9-2","service":"shop","canary":"4f2c1a9b4f2c1a9b4f2c1a9b4f2c1a9b4f2c1a9b","#,
    r#""subject":"Add gift cards","stable":"1f0c2aa01f0c2aa01f0c2aa01f0c2aa01f0c2aa0","began":"2026-01-01T00:00:00Z","#,
    r#""outcome":"rolled back","reason":"errors: too many","#,
    r#""settings":{"false_alarm":0.01,"false_promotion":0.05,"harm":0.001,"latency_harm":0.01,"checks":[{"name":"errors","reads":"errors","test":{"Errors":{"ratio":1.25,"absolute":0.001}},"warm_up":{"secs":0,"nanos":0}}]},"#,
    r#""history":{"checks":{}},"changes":[{"after":0,"what":{"asks":0.1}}],"scrapes":2,"leftOut":0,"sha256":"none","verdict":null}"#,
    "\n",
    r#"{"t": 5, "arm": "canary", "instance": "c", "check": "errors", "events": 0, "of": 9}"#,
    "\n\n",
    r#"{"at": "1970-01-01T00:00:06.000000007Z"}"#,
    "\n",
    r#"{"t": 6, "arm": "canary", "instance": "c", "check": "errors", "events": 12, "of": 380}"#,
    "\n",
    r#"{"t": 6, "arm": "baseline", "instance": "b", "check": "errors", "events": 9, "of": 8812}"#,
    "\n\n",
);

fn replayed(said: &mut String) -> Replayed {
    bundle::replay(RECORDED.as_bytes(), |heard| *said += &(heard_text(&heard) + "\n")).unwrap()
}

#[test]
fn a_replay_says_what_it_came_to_and_whether_that_is_the_same() {
    let mut said = String::new();
    let mut replayed = replayed(&mut said);
    insta::assert_snapshot!(said + &end_text(&replayed), @r#"
    shop-4f2c1a9-2: "Add gift cards" of shop, 4f2c1a9 over 1f0c2aa
    rolled back: errors: too many

    what the evidence said
      1970-01-01T00:00:05Z  for 10 %: undecided: errors: no scrape with requests of both arms yet
      1970-01-01T00:00:06.000000007Z  for 10 %: fail: errors: 3.2 % of canary requests failed (12 of 380) against 0.1 % of stable's (9 of 8,812); tolerated is 1.25 x + 0.1 %; evidence 15.6 of 4.6 needed

    fail: errors: 3.2 % of canary requests failed (12 of 380) against 0.1 % of stable's (9 of 8,812); tolerated is 1.25 x + 0.1 %; evidence 15.6 of 4.6 needed

    evidence
      errors         15.6 of 4.6  3.2 % of canary requests failed (12 of 380) against 0.1 % of stable's (9 of 8,812); tolerated is 1.25 x + 0.1 %; evidence 15.6 of 4.6 needed

    2 scrapes replayed
    the observations are not those that were recorded: their checksum differs
    not the verdict that was recorded: the verdict was nothing and is {"allowed":0.0,"breached":false,"findings":[{"allowed":0.0,"… here; the file was changed, or another version of Serin recorded it
    "#);
    replayed.difference = None;
    replayed.intact = true;
    replayed.header.left_out = 3;
    insta::assert_snapshot!(end_text(&replayed).lines().rev().take(2).collect::<Vec<_>>().join("\n"), @r"
    the same verdict as recorded, bit for bit
    2 scrapes replayed, 3 impossible observations had been left out
    ");
}

#[test]
fn as_json_it_is_an_object_a_line() {
    let mut lines = Vec::new();
    let replayed =
        bundle::replay(RECORDED.as_bytes(), |heard| lines.push(heard_json(&heard))).unwrap();
    lines.push(end_json(&replayed));
    let lines: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["subject"], "Add gift cards");
    assert_eq!(
        (&lines[1]["weight"], &lines[1]["verdict"]["outcome"]),
        (&0.1.into(), &"undecided".into())
    );
    assert_eq!(lines[2]["at"], "1970-01-01T00:00:06.000000007Z");
    assert_eq!(
        (&lines[3]["same"], &lines[3]["verdict"]["outcome"]),
        (&false.into(), &"fail".into())
    );
}
