//! Who hears what: from the channels that a policy names to the notifiers of the instance.
//!
//! A policy lives beside the service and says `notify: [deploys]`; which chat that is, and from
//! which severity on it wants to hear, belongs to the instance. So a policy never holds an address
//! or a secret, and moving a channel changes no policy.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    alert::{Kind, Severity},
    text,
};

/// A named audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// The notifiers that deliver to it, at least one.
    pub notifiers: BTreeSet<String>,
    /// The least severity that it hears.
    pub at_least: Severity,
    /// The only kinds that it hears, of [`Kind::NAMES`]; empty for all.
    pub only: BTreeSet<String>,
}

impl Channel {
    /// A channel that hears everything through one notifier.
    pub fn of(notifier: impl Into<String>) -> Self {
        Self {
            notifiers: BTreeSet::from([notifier.into()]),
            at_least: Severity::Notice,
            only: BTreeSet::new(),
        }
    }

    fn hears(&self, kind: &Kind) -> bool {
        self.at_least <= kind.severity()
            && (self.only.is_empty() || self.only.contains(kind.name()))
    }
}

/// All channels of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    channels: BTreeMap<String, Channel>,
    duties: BTreeSet<String>,
}

/// What is wrong with a route, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteProblem {
    /// A channel or a policy names what does not exist.
    #[error("`{by}` names the {what} `{name}`, which does not exist: {hint}")]
    Unknown {
        /// Who names it: a channel, or `notify`.
        by: String,
        /// `notifier`, `channel` or `kind`.
        what: &'static str,
        /// The name.
        name: String,
        /// What there is instead.
        hint: String,
    },
    /// A channel reaches nobody.
    #[error("the channel `{name}` has no notifier: name at least one in its `notifiers`")]
    Empty {
        /// The channel.
        name: String,
    },
}

impl Routes {
    /// Routes from declared channels. Every notifier without a channel of its name is a channel
    /// itself that hears everything, so `notify: [deploys]` works with only a notifier `deploys`.
    ///
    /// `duties` names the channels that hear when Serin itself cannot do what it must; without it
    /// every notifier does.
    ///
    /// # Errors
    /// All problems at once; tell them to whoever wrote the configuration.
    pub fn new(
        notifiers: &BTreeSet<String>,
        mut channels: BTreeMap<String, Channel>,
        duties: Option<BTreeSet<String>>,
    ) -> Result<Self, Vec<RouteProblem>> {
        let mut problems = Vec::new();
        let kinds: BTreeSet<String> = Kind::NAMES.map(str::to_owned).into();
        for (name, channel) in &channels {
            if channel.notifiers.is_empty() {
                problems.push(RouteProblem::Empty { name: text::clean(name, 60) });
            }
            problems.extend(unknown(name, "notifier", &channel.notifiers, notifiers));
            problems.extend(unknown(name, "kind", &channel.only, &kinds));
        }
        for notifier in notifiers {
            channels.entry(notifier.clone()).or_insert_with(|| Channel::of(notifier));
        }
        let known: BTreeSet<String> = channels.keys().cloned().collect();
        let duties = duties.unwrap_or_else(|| notifiers.clone());
        problems.extend(unknown("duties", "channel", &duties, &known));
        if problems.is_empty() { Ok(Self { channels, duties }) } else { Err(problems) }
    }

    /// Whether all channels that a policy names exist: one problem for each that does not.
    pub fn validate(&self, notify: &[String]) -> Vec<RouteProblem> {
        let known: BTreeSet<String> = self.channels.keys().cloned().collect();
        unknown("notify", "channel", &notify.iter().cloned().collect(), &known)
    }

    /// The notifiers that hear an alert of a service whose policy names these channels, each once,
    /// in the order of their names.
    ///
    /// Channels that do not exist reach nobody: [`Routes::validate`] says so beforehand. Failed
    /// duties go to the channels for duties as well.
    pub fn audience(&self, notify: &[String], kind: &Kind) -> BTreeSet<&str> {
        let duty = matches!(kind, Kind::DutyFailed { .. });
        let named = notify.iter().filter_map(|name| self.channels.get(name));
        let of_duty =
            self.duties.iter().filter(|_| duty).filter_map(|name| self.channels.get(name));
        named
            .chain(of_duty)
            .filter(|channel| channel.hears(kind))
            .flat_map(|channel| channel.notifiers.iter().map(String::as_str))
            .collect()
    }
}

fn unknown(
    by: &str,
    what: &'static str,
    named: &BTreeSet<String>,
    known: &BTreeSet<String>,
) -> Vec<RouteProblem> {
    named
        .difference(known)
        .map(|name| RouteProblem::Unknown {
            by: text::clean(by, 60),
            what,
            name: text::clean(name, 60),
            hint: if known.is_empty() {
                "none is configured".to_owned()
            } else {
                let known: Vec<_> = known.iter().map(String::as_str).collect();
                text::clean(&format!("there are {}", known.join(", ")), 300)
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Duty, Git};

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn routes() -> Routes {
        let deploys = Channel { notifiers: names(&["slack", "hook"]), ..Channel::of("slack") };
        let night = Channel { at_least: Severity::Critical, ..Channel::of("pager") };
        let reverts = Channel { only: names(&["rolled_back"]), ..Channel::of("hook") };
        let channels = [("deploys", deploys), ("night", night), ("reverts", reverts)];
        let channels = channels.map(|(name, channel)| (name.to_owned(), channel));
        Routes::new(&names(&["slack", "hook", "pager"]), channels.into(), Some(names(&["night"])))
            .unwrap()
    }

    fn check(notify: &[&str], kind: &Kind, expected: &[&str]) {
        let notify: Vec<String> = notify.iter().map(|&name| name.to_owned()).collect();
        let routes = routes();
        let heard: Vec<&str> = routes.audience(&notify, kind).into_iter().collect();
        assert_eq!(heard, expected, "{notify:?} {kind:?}");
    }

    #[test]
    fn each_channel_hears_its_severities_and_kinds() {
        let reverted =
            Kind::RolledBack { git: Git::Reverted { revision: "9a".to_owned(), branch: None } };
        let stuck = Kind::RolledBack { git: Git::NotReverted { why: "conflict".to_owned() } };
        check(&["deploys"], &Kind::Promoted, &["hook", "slack"]);
        check(&["deploys", "deploys", "slack"], &Kind::Promoted, &["hook", "slack"]);
        check(&["night", "reverts"], &Kind::Promoted, &[]);
        check(&["night", "reverts"], &reverted, &["hook"]);
        check(&["night", "reverts"], &stuck, &["hook", "pager"]);
        check(&["nobody"], &stuck, &[]);
        check(&["pager"], &Kind::Promoted, &["pager"]);
    }

    #[test]
    fn a_failed_duty_is_heard_without_any_policy() {
        check(&[], &Kind::DutyFailed { duty: Duty::Journal, of: None }, &["pager"]);
        check(&[], &Kind::Promoted, &[]);
    }

    #[test]
    fn every_mistake_is_reported() {
        let empty = Channel { notifiers: BTreeSet::new(), ..Channel::of("x") };
        let wrong = Channel { only: names(&["rolledBack"]), ..Channel::of("slak") };
        let channels = BTreeMap::from([("a".to_owned(), empty), ("b".to_owned(), wrong)]);
        let problems =
            Routes::new(&names(&["slack"]), channels, Some(names(&["ops"]))).unwrap_err();
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n"), @r"
    the channel `a` has no notifier: name at least one in its `notifiers`
    `b` names the notifier `slak`, which does not exist: there are slack
    `b` names the kind `rolledBack`, which does not exist: there are aborted, adopted, duty_failed, inconclusive, needs_person, promoted, reverted_by_person, rolled_back, superseded
    `duties` names the channel `ops`, which does not exist: there are a, b, slack
    ");
        let text = routes().validate(&["deploy".to_owned(), "deploys".to_owned()])[0].to_string();
        insta::assert_snapshot!(text, @"`notify` names the channel `deploy`, which does not exist: there are deploys, hook, night, pager, reverts, slack");
    }
}
