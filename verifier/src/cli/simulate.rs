//! `serin simulate`: a script through the state machine, or how long a policy's steps would take.

use std::path::PathBuf;

use clap::Args;

use super::table::{count, percent, seconds, table};
use super::{Exit, complain, judge, print};
use crate::simulate::durations::{Durations, Load, Time, durations};

/// What is simulated.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The script; its output lines are replaced by what happens. With --traffic: a policy
    file: PathBuf,
    /// Say how long the policy's steps take at this many requests, e.g. 200/s or 30/min
    #[arg(long, value_name = "RATE", value_parser = crate::simulate::requests_per_second)]
    traffic: Option<f64>,
    /// Share of the requests that fail now
    #[arg(long, value_name = "SHARE", default_value = "0.1%", requires = "traffic", value_parser = crate::simulate::share)]
    errors: f64,
    /// Which policy, if the file holds several
    #[arg(long, requires = "traffic")]
    service: Option<String>,
    /// Print JSON
    #[arg(long, requires = "traffic")]
    json: bool,
}

/// Simulates; exits 0, or 2 for what cannot be read.
pub(super) fn run(options: &Options) -> Exit {
    match options.traffic {
        None => script(&options.file),
        Some(requests_per_second) => {
            plan(options, Load { requests_per_second, errors: options.errors })
        }
    }
}

fn plan(options: &Options, load: Load) -> Exit {
    let planned = judge::policy(&options.file, options.service.as_deref())
        .and_then(|policy| durations(&policy, load).map_err(|error| error.to_string()));
    match planned {
        Ok(planned) if options.json => {
            let text = serde_json::to_string_pretty(&planned);
            print(&text.unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}")));
            Exit::Done
        }
        Ok(planned) => {
            print(&told(&planned));
            Exit::Done
        }
        Err(problem) => {
            complain(&problem);
            Exit::WrongInput
        }
    }
}

fn told(planned: &Durations) -> String {
    let Load { requests_per_second, errors } = planned.load;
    let mut text = format!(
        "{} at {} requests/s of which {} fail, read every {}\n\n",
        planned.service,
        requests_per_second,
        percent(errors),
        seconds(planned.interval)
    );
    let mut head = vec!["weight".to_owned(), "canary".to_owned(), "healthy".to_owned()];
    head.extend(planned.changes.iter().map(|change| {
        if change.name.starts_with("to") {
            format!("fails {}", change.name.trim_start_matches("to "))
        } else {
            format!("{} ({})", change.name, percent(change.errors))
        }
    }));
    let rows = planned.steps.iter().map(|step| {
        let mut row =
            vec![percent(step.weight), rate(step.per_second), cell(step.healthy, "never")];
        row.extend(step.sees.iter().map(|time| cell(*time, "tolerated")));
        row
    });
    text += &table(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    text.push('\n');
    text += &match planned.healthy {
        Some(healthy) => format!(
            "a healthy version has all traffic after {} and is promoted after the bake of {}\n",
            seconds(healthy),
            seconds(planned.bake)
        ),
        None => {
            "a healthy version would wait for a person: see the steps that need more requests than come before their deadline\n"
                .to_owned()
        }
    };
    let late = |time: &Time| matches!(time, Time::TooLate { .. });
    if planned.steps.iter().any(|step| late(&step.healthy) || step.sees.iter().any(late)) {
        text += "needs N more: would not decide before the deadline; so many canary requests are missing then\n";
    }
    if planned.steps.iter().any(|step| step.sees.contains(&Time::Never)) {
        text += "tolerated: within what the policy allows\n";
    }
    for note in &planned.notes {
        text += &format!("{note}\n");
    }
    text
}

fn cell(time: Time, never: &str) -> String {
    match time {
        Time::Decided { seconds: needed, .. } => seconds(needed),
        Time::TooLate { more_requests } => format!("needs {} more", count(more_requests)),
        Time::Never => never.to_owned(),
    }
}

/// Requests a second with as few digits as help: `0.4/s`, `25/s`.
fn rate(per_second: f64) -> String {
    let decimals = if per_second < 1.0 { 2 } else { usize::from(per_second < 10.0) };
    let text = format!("{per_second:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}/s")
}

fn script(file: &std::path::Path) -> Exit {
    let script = match std::fs::read_to_string(file) {
        Ok(script) => script,
        Err(error) => {
            complain(&format!("failed to read {}: {error}", file.display()));
            return Exit::WrongInput;
        }
    };
    match crate::simulate::run(&script) {
        Ok(output) => {
            print(&output);
            Exit::Done
        }
        Err(problems) => {
            for problem in problems {
                complain(&format!("{}: {problem}", file.display()));
            }
            Exit::WrongInput
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_table_for_people() {
        let text = b"metadata: { name: shop }\nspec:\n  paths: [a]\n  target: { process: { command: a } }\n  steps: [{ weight: 1%, deadline: 10m }, { weight: 10%, atLeast: 2m }, { weight: 50% }]\n  checks: [errors, latency, restarts]\n";
        let policy = crate::config::policies("policy", text).unwrap().remove(0);
        let load = Load { requests_per_second: 40.0, errors: 0.001 };
        insta::assert_snapshot!(told(&durations(&policy, load).unwrap()), @"
        shop at 40 requests/s of which 0.1 % fail, read every 0.25 s

          weight  canary  healthy         2x (0.2 %)  5x (0.5 %)        fails 1 %       fails 5 %  fails 30 %
          1 %     0.4/s   needs 290 more  tolerated   needs 6,070 more  needs 870 more  3m 11s     20 s
          10 %    4/s     16m 49s         tolerated   28m 40s           5m 11s          25 s       3.5 s
          50 %    20/s    7m 54s          tolerated   10m 40s           2m 16s          15 s       2.3 s

        a healthy version would wait for a person: see the steps that need more requests than come before their deadline
        needs N more: would not decide before the deadline; so many canary requests are missing then
        tolerated: within what the policy allows
        the first step begins with the warm-up of 30 s
        not in the numbers: restarts
        at this traffic 1 % is too little to begin with; a first weight of 5 % decides after 4m 27s
        ");
        let load = Load { requests_per_second: 2_000.0, errors: 0.02 };
        insta::assert_snapshot!(told(&durations(&policy, load).unwrap()), @"
        shop at 2000 requests/s of which 2 % fail, read every 0.25 s

          weight  canary  healthy  2x (4 %)  5x (10 %)  fails 1 %  fails 5 %  fails 30 %
          1 %     20/s    1m       2m 1s     6.8 s      tolerated  45 s       1 s
          10 %    200/s   2m       14 s      1 s        tolerated  5.3 s      0.25 s
          50 %    1000/s  0.25 s   5.8 s     0.5 s      tolerated  2.3 s      0.25 s

        a healthy version has all traffic after 3m and is promoted after the bake of 30m
        tolerated: within what the policy allows
        the first step begins with the warm-up of 30 s
        not in the numbers: restarts
        ");
    }
}
