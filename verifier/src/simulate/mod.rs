//! `serin simulate`: a script of what happens to a service, played through the real machine.
//!
//! A script is documentation that a test can check. Lines that start with `>` are commands, `#`
//! begins a remark; what stands below a command is what Serin did, with the virtual time. Playing
//! a script writes those lines anew, so a script that plays to itself is right. Nothing is drawn
//! by chance: traffic and errors are spread evenly over time, and the same script gives the same
//! text on every machine.

mod branch;
mod command;
pub mod durations;
mod play;
mod policy;
mod problem;
mod show;
#[cfg(test)]
mod tests;
mod traffic;
mod words;
mod world;

pub use problem::ScriptProblem;

use command::Line;
use play::Player;

/// Longest script in bytes; beyond it something other than a script was named.
const LONGEST: usize = 1 << 16;

/// Requests per second, of a rate such as `200/s` or `30/min`.
///
/// # Errors
/// What to write instead.
pub fn requests_per_second(text: &str) -> Result<f64, String> {
    let rate = words::rate(text).map_err(|wrong| wrong.to_string())?;
    if rate > 0.0 { Ok(rate) } else { Err("write more than 0, e.g. 200/s or 30/min".to_owned()) }
}

/// A share of requests such as `0.2%`, below all of them.
///
/// # Errors
/// What to write instead.
pub fn share(text: &str) -> Result<f64, String> {
    let share = words::percent(text).map_err(|wrong| wrong.to_string())?;
    if share < 1.0 { Ok(share) } else { Err("write less than 100%, e.g. 0.2%".to_owned()) }
}

/// Plays a script and returns it with the lines that Serin's doing yields.
///
/// # Errors
/// Every line that cannot be read, or the first command that cannot be played; each problem says
/// what to write instead.
pub fn run(script: &str) -> Result<String, Vec<ScriptProblem>> {
    if script.len() > LONGEST {
        let hint = "name a script such as tests/scripts/healthy.txt";
        return Err(vec![ScriptProblem::new(1, "the file is larger than a script", hint)]);
    }
    let mut lines = Vec::new();
    let mut problems = Vec::new();
    for (number, text) in (1..).zip(script.lines()) {
        match command::read(text) {
            Ok(line) => lines.push((number, text, line)),
            Err(problem) => problems.push(problem.at(number)),
        }
    }
    if lines.iter().all(|(_, _, line)| !matches!(line, Line::Command(_))) && problems.is_empty() {
        let hint = "begin with `> service checkout`, `> stable \"Version 1\"` and a commit";
        problems.push(ScriptProblem::new(1, "the script has no commands", hint));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut player = Player::new();
    let mut output = String::with_capacity(script.len());
    for (number, text, line) in lines {
        match line {
            Line::Command(command) => {
                output.push_str(text.trim_end());
                output.push('\n');
                player.play(command).map_err(|problem| vec![problem.at(number)])?;
                output.push_str(&player.said());
            }
            Line::Remark => {
                output.push_str(text.trim_end());
                output.push('\n');
            }
            Line::Output => {}
        }
    }
    Ok(output)
}
