//! Scripts that are wrong, and what their writers are told.

use super::{ScriptProblem, run};

const BEGIN: &str = "> service checkout\n> stable 1f0c2aa \"Version 1\"\n";

fn problems(script: &str) -> Vec<String> {
    run(script).unwrap_err().iter().map(ScriptProblem::to_string).collect()
}

fn problem(line: &str) -> String {
    let mut all = problems(&format!("{BEGIN}{line}\n"));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn a_played_script_plays_to_itself() {
    let script = format!("# Remark\n\n{BEGIN}> commit \"Two\"\n> advance 5m\n> status\n");
    let played = run(&script).unwrap();
    assert!(played.contains("step 1 of 7: 1 % of traffic to the canary"), "{played}");
    assert_eq!(run(&played).unwrap(), played);
}

#[test]
fn windows_line_endings_make_no_difference() {
    let script = format!("{BEGIN}> commit \"Two\"\n> advance 5m\n");
    assert_eq!(run(&script.replace('\n', "\r\n")).unwrap(), run(&script).unwrap());
}

#[test]
fn all_lines_that_cannot_be_read_are_told_at_once() {
    let script = format!("{BEGIN}> comit \"Two\"\n> advance 10\n> traffic 200\n");
    let told = problems(&script);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("line 3: `comit` is not a command\n  hint: commands are service,"));
    assert_eq!(told[1], "line 4: `10` is not a duration\n  hint: write e.g. 30s, 10m or 1h30m");
    assert!(told[2].starts_with("line 5: `200` is not a rate of requests\n"), "{}", told[2]);
}

#[test]
fn each_mistake_gets_a_hint() {
    for (line, told) in [
        ("> commit", "line 3: a commit needs a subject in quotes"),
        ("> commit \"Two", "line 3: a quote is not closed"),
        ("> commit \"Two\" tuching x", "line 3: `tuching` is not understood"),
        ("> commit 1f0c2aa \"Two\"", "line 3: a commit 1f0c2aa is there already"),
        ("> stable \"Two\"", "line 3: a version serves already"),
        ("> service checkout", "line 3: a script plays one service"),
        ("> policy speed=1", "line 3: `speed` is not a key of a script's policy"),
        ("> policy steps=50%,10%", "line 3: step 2 has weight 10 %, which is not above"),
        ("> policy steps=100%", "line 3: step 1 has weight 100 %"),
        ("> policy falseAlarm=0%", "line 3: `0%` is not the probability of an error"),
        ("> policy revert=maybe", "line 3: `maybe` is none of the choices"),
        ("> policy bake", "line 3: `bake` has no value"),
        ("> traffic 200/s canary.errors=3", "line 3: `3` is not a share"),
        ("> traffic 200/s canary.speed=3", "line 3: `speed` is not known of a version"),
        ("> traffic -1/s", "line 3: `-1/s` is not a rate"),
        ("> traffic nan/s", "line 3: `nan/s` is not a rate"),
        ("> advance 99999999999999999999h", "line 3: `99999999999999999999h` is not a duration"),
        ("> advance 8d", "line 3: `8d` is more than a week"),
        ("> pause", "line 3: `pause` is not complete"),
        ("> exit canary \"signal 9\"", "line 3: no deployment is under way"),
        ("> revert by Ada", "line 3: there is no change to revert"),
        ("> git broken", "line 3: `git` is not written like this"),
        (">", "line 3: there is no command after `>`"),
    ] {
        let text = problem(line);
        assert!(text.starts_with(told) && text.contains("\n  hint: "), "{line}: {text}");
    }
}

#[test]
fn what_is_missing_at_the_beginning_is_told() {
    assert!(problems("hello\n")[0].contains("the script has no commands"));
    assert!(problems("> commit \"Two\"\n")[0].contains("the script has no service yet"));
    assert!(problems("> service a\n> commit \"Two\"\n")[0].contains("no version serves yet"));
    assert!(problems(&"x".repeat(1 << 17))[0].contains("larger than a script"));
}

#[test]
fn a_script_that_would_play_for_years_is_refused() {
    let script = format!("{BEGIN}> advance 7d\n> advance 7d\n");
    assert!(problems(&script)[0].starts_with("line 4: the script plays longer than a week"));
}

#[test]
fn any_text_is_played_or_refused() {
    use proptest::prelude::*;
    let words = prop::sample::select(vec![
        "commit",
        "\"Two\"",
        "advance",
        "10s",
        "1m",
        "by",
        "Ada",
        "revert",
        "traffic",
        "200/s",
        "0/s",
        "canary.errors=100%",
        "crash",
        "git",
        "unreachable",
        "conflict",
        "x",
        "router",
        "stuck",
        "ok",
        "provider",
        "down",
        "up",
        "promote",
        "abort",
        "pause",
        "resume",
        "approve",
        "freeze",
        "start",
        "fails",
        "exit",
        "canary",
        "status",
        "policy",
        "bake=0s",
        "steps=10%",
        "incident",
        "50%",
        "é\"",
    ]);
    let line =
        prop::collection::vec(words, 0..5).prop_map(|words| format!("> {}\n", words.join(" ")));
    let lines = prop::collection::vec(line, 0..12);
    proptest!(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() }, |(lines in lines)| {
        // Only what can be read is kept, so that most scripts are played to their end.
        let readable: String = lines.into_iter().filter(|line| super::command::read(line).is_ok()).collect();
        if let Ok(played) = run(&format!("{BEGIN}{readable}")) {
            prop_assert_eq!(run(&played).unwrap(), played);
        }
    });
}
