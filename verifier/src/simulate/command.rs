//! The commands of a script, read from their lines.

use std::time::Duration;

use rollout::{Arm, Order};

use super::problem::Wrong;
use super::words::{duration, is_revision, latency, percent, quote, rate, split};

const COMMANDS: &str = "commands are service, policy, stable, commit, revert, traffic, incident, \
                        advance, pause, resume, promote, abort, approve, provider, router, git, \
                        start, exit, freeze, crash and status";

/// One line of a script.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Line {
    Command(Command),
    Remark,
    Output,
}

/// What a script can make happen.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Service(String),
    Policy(Vec<(String, String)>),
    Stable(Change),
    Commit(Change),
    /// A person undoes the newest change.
    Revert {
        by: String,
    },
    World(Vec<Setting>),
    Advance(Duration),
    Order {
        order: Order,
        by: String,
    },
    /// Whether counters can be read.
    Provider(Works),
    /// Whether weights can be set.
    Router(Works),
    Git(GitMode),
    Start(StartMode),
    Exit {
        arm: Arm,
        how: String,
    },
    Freeze {
        after: Duration,
        lasts: Duration,
        reason: String,
    },
    Crash,
    Status,
}

/// A commit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub(super) revision: Option<String>,
    pub(super) subject: String,
    pub(super) by: String,
    pub(super) touching: Vec<String>,
    pub(super) security: bool,
}

/// Something of the traffic that changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Setting {
    Rate(f64),
    Incident(f64),
    Errors(Arm, f64),
    Median(Arm, f64),
    P99(Arm, f64),
}

/// Whether a part of the world answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Works {
    Yes,
    No,
}

/// What a push meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GitMode {
    Works,
    Unreachable,
    /// Later changes touched the same lines of this file.
    Conflict(String),
}

/// How a canary starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StartMode {
    Works,
    /// The version is at fault.
    Fails(String),
}

/// Reads one line.
pub(super) fn read(text: &str) -> Result<Line, Wrong> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok(Line::Remark);
    }
    let Some(command) = text.strip_prefix('>') else { return Ok(Line::Output) };
    let words = split(command)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((name, rest)) = words.split_first() else {
        return Err(Wrong::new("there is no command after `>`", COMMANDS));
    };
    command_of(name, rest).map(Line::Command)
}

fn command_of(name: &str, rest: &[&str]) -> Result<Command, Wrong> {
    match (name, rest) {
        ("service", [name]) => Ok(Command::Service((*name).to_owned())),
        ("policy", [_, ..]) => {
            rest.iter().map(|word| pair(word)).collect::<Result<_, _>>().map(Command::Policy)
        }
        ("stable", _) => change(rest).map(Command::Stable),
        ("commit", _) => change(rest).map(Command::Commit),
        ("revert", ["by", by]) => Ok(Command::Revert { by: (*by).to_owned() }),
        ("traffic", [requests, rest @ ..]) => {
            let mut settings = vec![Setting::Rate(rate(requests)?)];
            settings.extend(rest.iter().map(|word| setting(word)).collect::<Result<Vec<_>, _>>()?);
            Ok(Command::World(settings))
        }
        ("incident", ["over"]) => Ok(Command::World(vec![Setting::Incident(0.0)])),
        ("incident", [share]) => Ok(Command::World(vec![Setting::Incident(percent(share)?)])),
        ("advance", [time]) => duration(time).map(Command::Advance),
        ("pause" | "resume" | "promote" | "abort" | "approve", ["by", by]) => {
            let order = match name {
                "pause" => Order::Pause,
                "resume" => Order::Resume,
                "promote" => Order::Promote,
                "abort" => Order::Abort,
                _ => Order::Approve,
            };
            Ok(Command::Order { order, by: (*by).to_owned() })
        }
        ("provider", ["up"]) => Ok(Command::Provider(Works::Yes)),
        ("provider", ["down"]) => Ok(Command::Provider(Works::No)),
        ("router", ["ok"]) => Ok(Command::Router(Works::Yes)),
        ("router", ["stuck"]) => Ok(Command::Router(Works::No)),
        ("git", ["ok"]) => Ok(Command::Git(GitMode::Works)),
        ("git", ["unreachable"]) => Ok(Command::Git(GitMode::Unreachable)),
        ("git", ["conflict", file]) => Ok(Command::Git(GitMode::Conflict((*file).to_owned()))),
        ("start", ["ok"]) => Ok(Command::Start(StartMode::Works)),
        ("start", ["fails", why]) => Ok(Command::Start(StartMode::Fails((*why).to_owned()))),
        ("exit", [arm, how]) => Ok(Command::Exit { arm: arm_of(arm)?, how: (*how).to_owned() }),
        ("freeze", [time, reason]) => freeze("0s", time, reason),
        ("freeze", [time, reason, "in", after]) => freeze(after, time, reason),
        ("crash", []) => Ok(Command::Crash),
        ("status", []) => Ok(Command::Status),
        _ if name.contains('.') && name.contains('=') => {
            let settings = std::iter::once(&name).chain(rest).map(|word| setting(word));
            settings.collect::<Result<_, _>>().map(Command::World)
        }
        _ => Err(misread(name)),
    }
}

fn misread(name: &str) -> Wrong {
    let usage = match name {
        "service" => "service checkout",
        "policy" => "policy steps=5%,25%,50% bake=10m",
        "stable" => "stable 1f0c2aa \"Version 1\"",
        "revert" => "revert by Ada",
        "traffic" => "traffic 200/s baseline.errors=0.2% canary.errors=3%",
        "incident" => "incident 20%, and later: incident over",
        "advance" => "advance 10m",
        "pause" | "resume" | "promote" | "abort" | "approve" => {
            let hint = format!("write `> {name} by Ada`");
            return Wrong::new(format!("`{name}` is not complete"), hint);
        }
        "provider" => "provider down, and later: provider up",
        "router" => "router stuck, and later: router ok",
        "git" => "git ok, git unreachable, or git conflict src/cart.rs",
        "start" => "start fails \"exit status 101\", and later: start ok",
        "exit" => "exit canary \"signal 9\"",
        "freeze" => "freeze 2h \"sale\", or freeze 2h \"sale\" in 10m",
        "crash" => "crash",
        "status" => "status",
        _ => return Wrong::new(format!("{} is not a command", quote(name)), COMMANDS),
    };
    Wrong::new(format!("`{name}` is not written like this"), format!("write `> {usage}`"))
}

fn freeze(after: &str, lasts: &str, reason: &str) -> Result<Command, Wrong> {
    let (after, lasts) = (duration(after)?, duration(lasts)?);
    Ok(Command::Freeze { after, lasts, reason: reason.to_owned() })
}

fn pair(word: &str) -> Result<(String, String), Wrong> {
    word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| {
        Wrong::new(format!("{} has no value", quote(word)), "write key=value, e.g. bake=10m")
    })
}

fn arm_of(word: &str) -> Result<Arm, Wrong> {
    match word {
        "canary" => Ok(Arm::Canary),
        "baseline" => Ok(Arm::Baseline),
        _ => Err(Wrong::new(format!("{} is no version", quote(word)), "write canary or baseline")),
    }
}

/// `canary.errors=3%`, `baseline.p99=200ms`.
fn setting(word: &str) -> Result<Setting, Wrong> {
    let (key, value) = pair(word)?;
    let (arm, what) = key.split_once('.').unwrap_or(("", &key));
    let arm = arm_of(arm)?;
    match what {
        "errors" => Ok(Setting::Errors(arm, percent(&value)?)),
        "median" => Ok(Setting::Median(arm, latency(&value)?)),
        "p99" => Ok(Setting::P99(arm, latency(&value)?)),
        _ => {
            let hint = "write errors, median or p99, e.g. canary.p99=300ms";
            Err(Wrong::new(format!("{} is not known of a version", quote(what)), hint))
        }
    }
}

/// `[1f0c2aa] "Subject" [by Ada] [touching path]... [security]`.
fn change(words: &[&str]) -> Result<Change, Wrong> {
    let usage = "write e.g. `> commit 4f2c1a9 \"Add gift cards\" by Ada touching src/cart.rs`";
    let wrong = |what: String| Wrong::new(what, usage);
    let (revision, words) = match words {
        [revision, _, ..] if is_revision(revision) => (Some((*revision).to_owned()), &words[1..]),
        _ => (None, words),
    };
    let Some((subject, mut rest)) = words.split_first() else {
        return Err(wrong("a commit needs a subject in quotes".to_owned()));
    };
    let mut change = Change {
        revision,
        subject: (*subject).to_owned(),
        by: "Ada".to_owned(),
        touching: Vec::new(),
        security: false,
    };
    while let Some((word, after)) = rest.split_first() {
        rest = match (*word, after) {
            ("by", [name, rest @ ..]) => {
                (*name).clone_into(&mut change.by);
                rest
            }
            ("touching", [path, rest @ ..]) => {
                change.touching.push((*path).to_owned());
                rest
            }
            ("security", rest) => {
                change.security = true;
                rest
            }
            _ => return Err(wrong(format!("{} is not understood", quote(word)))),
        };
    }
    Ok(change)
}
