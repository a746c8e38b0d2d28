//! What is written is replayed to the same bits, and every change of it is noticed.

use analysis::{
    Arm, Assessment, Check, History, Observation, Outcome, Sample, Scrape, Settings, Test,
};
use jiff::Timestamp;

use super::walk::Writer;
use super::*;

fn settings() -> Settings {
    Settings {
        false_alarm: 0.01,
        false_promotion: 0.05,
        harm: 0.01,
        latency_harm: 0.05,
        checks: vec![
            Check::new("errors", Test::Errors { ratio: 1.25, absolute: 0.001 }),
            Check::new("latency", Test::Latency { stretch: 0.1, ratio: 1.1 }),
        ],
    }
}

fn scrape(second: u16, failed: u64) -> Scrape {
    let arm = |arm, failed, of: u64| {
        let one = |check: &str, sample| Observation {
            arm,
            instance: "pod".to_owned(),
            check: check.to_owned(),
            stratum: None,
            sample,
        };
        let (some, few) = (of / 10, of / 50);
        let (le, counts) = (vec![0.01, 0.05, 0.25], vec![of - some, some - few, few, 0]);
        [
            one("errors", Sample::Events { events: failed, of }),
            one("latency", Sample::Histogram { le, counts }),
        ]
    };
    let mut observations = arm(Arm::Canary, failed, 97).to_vec();
    observations.extend(arm(Arm::Baseline, 2, 911));
    // Every third time has nothing below microseconds, and needs no line of its own.
    let at = Timestamp::new(
        1_764_000_000 + i64::from(second),
        1_000 + i32::from(!second.is_multiple_of(3)) * 7,
    );
    Scrape { at: at.unwrap(), observations }
}

fn blank() -> Header {
    Header {
        serin_bundle: FORMAT,
        deployment: "shop-4f2c1a9-2".to_owned(),
        service: "shop".to_owned(),
        canary: "4f2c1a9b".repeat(5),
        subject: "Add gift cards".to_owned(),
        stable: "1f0c2aa0".repeat(5),
        began: Timestamp::from_second(1_763_999_990).unwrap(),
        outcome: Some("promoted".to_owned()),
        reason: Some("passed every step".to_owned()),
        settings: settings(),
        history: History::default(),
        changes: Vec::new(),
        scrapes: 0,
        left_out: 0,
        sha256: String::new(),
        verdict: None,
    }
}

/// A ramp, a bake, a comparison in between, and a scrape with nothing to use.
fn bundle() -> String {
    let mut writer = Writer::default();
    for second in 0..30 {
        writer.scrape(&scrape(second, 0), 0.2, (second > 2).then_some(0.1));
    }
    let mut odd = scrape(30, 0);
    for one in &mut odd.observations {
        one.sample = Sample::Events { events: 2, of: 1 };
    }
    writer.scrape(&odd, 1.0, None);
    writer.change(Told::EntersBake);
    for second in 31..40 {
        writer.scrape(&scrape(second, 1), 1.0, None);
    }
    writer.change(Told::ComparesAgain);
    for second in 40..50 {
        writer.scrape(&scrape(second, 0), 1.0, None);
    }
    writer.change(Told::ComparedAgain);
    let text = writer.finish(blank());
    // The verdict is the engine's own, told the same things in the same order.
    let verdict = replay(text.as_bytes(), |_| ()).unwrap().verdict;
    let (header, body) = text.split_once('\n').unwrap();
    let header: Header = serde_json::from_str(header).unwrap();
    format!("{}\n{body}", serde_json::to_string(&Header { verdict, ..header }).unwrap())
}

fn told(text: &str) -> String {
    let problems = replay(text.as_bytes(), |_| ()).unwrap_err();
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_bundle_gives_the_same_verdict_bit_for_bit() {
    let mut heard = Vec::new();
    let replayed = replay(bundle().as_bytes(), |said| match said {
        Heard::Header(header) => heard.push(header.subject.clone()),
        Heard::Verdict { at, asks, verdict } => {
            heard.push(format!("{at} {asks}: {:?}", verdict.outcome));
        }
    });
    let replayed = replayed.unwrap();
    assert!(replayed.is_same(), "{:?}", replayed.difference);
    assert_eq!((replayed.scrapes, replayed.header.left_out), (50, 4));
    insta::assert_debug_snapshot!(replayed.header.changes, @r"
    [
        Change {
            after: 0,
            what: Asks(
                0.2,
            ),
        },
        Change {
            after: 3,
            what: Expects(
                Some(
                    0.1,
                ),
            ),
        },
        Change {
            after: 30,
            what: Asks(
                1.0,
            ),
        },
        Change {
            after: 30,
            what: Expects(
                None,
            ),
        },
        Change {
            after: 31,
            what: EntersBake,
        },
        Change {
            after: 40,
            what: ComparesAgain,
        },
        Change {
            after: 50,
            what: ComparedAgain,
        },
    ]
    ");
    insta::assert_snapshot!(heard.join("\n"), @r"
    Add gift cards
    2025-11-24T16:00:00.000001Z 0.2: Undecided
    2025-11-24T16:00:01.000001007Z 0.2: Pass
    2025-11-24T16:00:30.000001Z 1: Pass
    2025-11-24T16:00:40.000001007Z 1: Undecided
    2025-11-24T16:00:43.000001007Z 1: Pass
    ");
}

#[test]
fn the_engine_that_judged_and_the_one_that_replays_end_in_one_state() {
    let header: Header = serde_json::from_str(bundle().lines().next().unwrap()).unwrap();
    let mut judged = Assessment::new(&settings(), &History::default());
    for second in 0..30 {
        judged.expect((second > 2).then_some(0.1));
        judged.observe(&settings(), &scrape(second, 0));
    }
    judged.expect(None);
    judged.observe(&settings(), &Scrape { observations: Vec::new(), ..scrape(30, 0) });
    judged.enter_bake(&settings());
    (31..40).for_each(|second| judged.observe(&settings(), &scrape(second, 1)));
    judged.leave_bake();
    let mut again = Assessment::new(&settings(), &judged.history());
    for second in 40..50 {
        judged.observe(&settings(), &scrape(second, 0));
        again.observe(&settings(), &scrape(second, 0));
    }
    let overall = judged.verdict(&settings(), 1.0);
    let verdict =
        if overall.outcome == Outcome::Pass { again.verdict(&settings(), 1.0) } else { overall };
    assert_eq!(difference(header.verdict.as_ref(), Some(&verdict)), None);
}

#[test]
fn one_changed_digit_is_noticed() {
    let bundle = bundle();
    let newest = bundle.rfind("\"events\": 0, \"of\": 97").unwrap();
    let changed = format!("{}1{}", &bundle[..newest + 10], &bundle[newest + 11..]);
    let replayed = replay(changed.as_bytes(), |_| ()).unwrap();
    assert!(!replayed.intact && replayed.difference.is_some());
    // Where the engine does not look at it, the checksum still tells.
    let changed = bundle.replacen("pod", "pot", 1);
    assert!(!replay(changed.as_bytes(), |_| ()).unwrap().is_same());
    let (header, body) = bundle.split_once('\n').unwrap();
    let mut header: Header = serde_json::from_str(header).unwrap();
    let verdict = header.verdict.as_mut().unwrap();
    verdict.findings[0].log_evidence = verdict.findings[0].log_evidence.next_up();
    let changed = format!("{}\n{body}", serde_json::to_string(&header).unwrap());
    let difference = replay(changed.as_bytes(), |_| ()).unwrap().difference.unwrap();
    assert_eq!(difference.at, "findings[0].log_evidence");
}

#[test]
fn what_is_no_bundle_is_told_with_its_line() {
    let bundle = bundle();
    let wrong = |number: usize, instead: &str| {
        let mut lines: Vec<&str> = bundle.lines().collect();
        lines[number - 1] = instead;
        told(&(lines.join("\n") + "\n"))
    };
    insta::assert_snapshot!(wrong(4, "{\"t\": 5}"), @r#"line 4: missing field `arm` at column 8; a line is like {"t": 5.0, "arm": "canary", "check": "errors", "events": 3, "of": 125}"#);
    insta::assert_snapshot!(wrong(6, "-"), @r#"
    line 6: EOF while parsing a value at column 1; a line is like {"t": 5.0, "arm": "canary", "check": "errors", "events": 3, "of": 125}
    line 7: unknown field `at`, expected one of `t`, `arm`, `instance`, `check`, `stratum`, `events`, `of`, `le`, `counts`, `scale`, `zero`, `first`, `value`, `failed`, `seconds` at column 5; a line is like {"t": 5.0, "arm": "canary", "check": "errors", "events": 3, "of": 125}
    line 8: another `t` within a scrape; each scrape ends with an empty line
    "#);
    insta::assert_snapshot!(wrong(7, "{\"at\": \"noon\"}"), @r#"line 7: write the time of a scrape as {"at": "2026-11-24T18:43:20.338985775Z"}"#);
    insta::assert_snapshot!(wrong(7, "{\"at\": \"2026-01-01T00:00:00Z\"}"), @"line 12: the time of this scrape, `at`, is not that of its observations, `t`");
    insta::assert_snapshot!(told(""), @"line 1: the first line is not that of a bundle; write a bundle with `serin explain DEPLOYMENT --bundle FILE`");
    let foreign = bundle.replacen("\"serinBundle\":1", "\"serinBundle\":7", 1);
    insta::assert_snapshot!(told(&foreign), @"line 1: the bundle has format 7, and this program reads 1; replay it with the version of Serin that wrote it");
    let (header, _) = bundle.split_once('\n').unwrap();
    let history = r#""history":{"checks":{"latency":{"errors":{"events":0,"of":0},"latency":{"le":[1.0],"counts":[3]}}}}"#;
    let damaged = header.replacen(r#""history":{"checks":{}}"#, history, 1);
    assert_ne!(damaged, header);
    insta::assert_snapshot!(told(&damaged), @"line 1: the bundle's first line has no checks or an impossible history; write it again from Serin's journal");
    insta::assert_snapshot!(told(&"x".repeat(70_000)), @"line 1: the first line is not that of a bundle; write a bundle with `serin explain DEPLOYMENT --bundle FILE`");
    insta::assert_snapshot!(told(&format!("{header}\n{}", "x".repeat(70_000))), @"line 2: longer than 65536 bytes; is this a bundle?");
}

#[test]
fn a_cut_bundle_is_told_wherever_it_is_cut() {
    let bundle = bundle();
    insta::assert_snapshot!(told(&bundle[..bundle.rfind("{\"t\"").unwrap()]), @"line 280: the file ends after 49 of 50 scrapes; copy it again as a whole");
    // The last line break is the empty line's and ends the last scrape.
    for end in (0..bundle.len() - 1).step_by(97).chain([bundle.len() - 2, bundle.len() - 1]) {
        assert!(replay(&bundle.as_bytes()[..end], |_| ()).is_err(), "cut at {end}");
    }
}

#[test]
fn no_number_of_a_bundle_panics() {
    let bundle = bundle();
    let (header, body) = bundle.split_once('\n').unwrap();
    let mut header: Header = serde_json::from_str(header).unwrap();
    // With a history of its own, which holds most of the numbers.
    let mut learnt = Assessment::new(&settings(), &History::default());
    (0..30).for_each(|second| learnt.observe(&settings(), &scrape(second, 1)));
    header.history = learnt.history();
    header.changes.iter_mut().for_each(|change| change.after /= 4);
    let header = serde_json::to_string(&header).unwrap();
    let body: String = body.split_inclusive("\n\n").take(12).collect();
    let is_digit = |at: &usize| header.as_bytes()[*at].is_ascii_digit();
    let starts = (1..header.len()).filter(|at| is_digit(at) && !is_digit(&(at - 1)));
    for start in starts {
        let end = (start..header.len()).find(|at| !is_digit(at)).unwrap_or(header.len());
        for other in ["0", "1e308", "18446744073709551615", "9007199254740993", "-1"] {
            let text = format!("{}{other}{}\n{body}", &header[..start], &header[end..]);
            let _ = replay(text.as_bytes(), |_| ());
        }
    }
}
