//! Which arm a subtree belongs to, from what its process says about itself.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::span::Resource;
use crate::tree::EntrySubtree;
use analysis::Arm;

/// Shortest abbreviation of a commit's hash that is accepted.
const SHORTEST_HASH: usize = 7;

/// How the processes of one arm can be recognised; what is not known is left empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmLabel {
    /// `service.version`.
    #[serde(default)]
    pub version: Option<String>,
    /// `vcs.ref.head.revision`; also compared with `service.version`, which is often the hash.
    #[serde(default)]
    pub revision: Option<String>,
    /// `k8s.pod.label.pod-template-hash`.
    #[serde(default)]
    pub pod_template_hash: Option<String>,
    /// `service.instance.id`, `k8s.pod.name` or `host.name` of its processes.
    #[serde(default)]
    pub instances: Vec<String>,
}

/// Both arms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arms {
    /// The version that serves now.
    pub baseline: ArmLabel,
    /// The candidate.
    pub canary: ArmLabel,
}

/// Subtrees by arm.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Split {
    /// Those of the baseline.
    pub baseline: Vec<EntrySubtree>,
    /// Those of the canary.
    pub canary: Vec<EntrySubtree>,
    /// How many say nothing that tells the arms apart, or name another version.
    pub unlabelled: u64,
}

/// Traces that do not say which version sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "none of {traces} traces says that it is of {missing}; label your telemetry: set the resource attribute \
     `service.version` to the deployed version, or `vcs.ref.head.revision` to the commit \
     (for OpenTelemetry SDKs: OTEL_RESOURCE_ATTRIBUTES=service.version=...,vcs.ref.head.revision=...)"
)]
pub struct Unlabelled {
    /// Traces that were looked at.
    pub traces: u64,
    /// Which arm is missing: `the canary`, `the baseline` or `either version`.
    pub missing: &'static str,
}

impl ArmLabel {
    /// How surely a process is of this arm: the place of the first label that agrees, from 0; `None` if none does.
    fn agrees(&self, resource: &Resource) -> Option<usize> {
        let attributes = &resource.attributes;
        let said = |names: &[&str]| attributes.text(names);
        let version = said(&["service.version"]);
        let hash = self.revision.as_deref();
        let is_hash = |said: Option<&str>| said.zip(hash).is_some_and(|(a, b)| same_hash(a, b));
        if version.is_some() && version == self.version.as_deref() {
            return Some(0);
        }
        if is_hash(said(&["vcs.ref.head.revision", "vcs.repository.ref.revision"]))
            || is_hash(version)
        {
            return Some(1);
        }
        let pod_hash =
            said(&["k8s.pod.label.pod-template-hash", "k8s.pod.labels.pod-template-hash"]);
        if pod_hash.is_some() && pod_hash == self.pod_template_hash.as_deref() {
            return Some(2);
        }
        let is_listed = ["service.instance.id", "k8s.pod.name", "host.name"]
            .iter()
            .filter_map(|name| said(&[name]))
            .any(|said| self.instances.iter().any(|instance| instance == said));
        is_listed.then_some(3)
    }
}

fn same_hash(one: &str, other: &str) -> bool {
    let shorter = one.len().min(other.len());
    shorter >= SHORTEST_HASH
        && one.is_char_boundary(shorter)
        && other.is_char_boundary(shorter)
        && one[..shorter].eq_ignore_ascii_case(&other[..shorter])
}

impl Arms {
    /// The arm of a process; `None` if it says nothing, or the same of both.
    pub fn arm_of(&self, resource: &Resource) -> Option<Arm> {
        match (self.baseline.agrees(resource), self.canary.agrees(resource)) {
            (Some(baseline), Some(canary)) if baseline == canary => None,
            (Some(baseline), Some(canary)) if canary < baseline => Some(Arm::Canary),
            (Some(_), _) => Some(Arm::Baseline),
            (None, Some(_)) => Some(Arm::Canary),
            (None, None) => None,
        }
    }

    /// Sorts subtrees by the process that sent their entry.
    ///
    /// # Errors
    /// When an arm has none: the telemetry lacks the label that tells the arms apart. Show the message.
    pub fn split(&self, subtrees: Vec<EntrySubtree>) -> Result<Split, Unlabelled> {
        let mut split = Split::default();
        for subtree in subtrees {
            match self.arm_of(&subtree.entry().resource) {
                Some(Arm::Baseline) => split.baseline.push(subtree),
                Some(Arm::Canary) => split.canary.push(subtree),
                None => split.unlabelled += 1,
            }
        }
        let missing = match (split.baseline.is_empty(), split.canary.is_empty()) {
            (true, true) => "either version",
            (true, false) => "the baseline",
            (false, true) => "the canary",
            (false, false) => return Ok(split),
        };
        let found = u64::try_from(split.baseline.len() + split.canary.len()).unwrap_or(u64::MAX);
        Err(Unlabelled { traces: found.saturating_add(split.unlabelled), missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{span, subtree};

    fn arms() -> Arms {
        let label = |version: &str, revision: &str, pod: &str| ArmLabel {
            version: Some(version.into()),
            revision: Some(revision.repeat(40)),
            pod_template_hash: None,
            instances: vec![pod.into()],
        };
        Arms { baseline: label("1.0", "a", "b-1"), canary: label("1.1", "c", "c-1") }
    }

    fn of(attributes: &[(&'static str, &'static str)]) -> Resource {
        Resource {
            service: "shop".into(),
            attributes: attributes.iter().map(|(name, value)| (*name, (*value).into())).collect(),
        }
    }

    #[test]
    fn labels_are_tried_in_order() {
        let arms = arms();
        for (attributes, expected) in [
            (&[("service.version", "1.1")][..], Some(Arm::Canary)),
            (&[("service.version", "1.0")], Some(Arm::Baseline)),
            (&[("vcs.ref.head.revision", "ccccccc")], Some(Arm::Canary)),
            (&[("vcs.ref.head.revision", "cccccc")], None),
            (&[("service.version", "aaaaaaaaaaaa")], Some(Arm::Baseline)),
            (&[("service.instance.id", "c-1")], Some(Arm::Canary)),
            (&[("service.version", "1.1"), ("k8s.pod.name", "b-1")], Some(Arm::Canary)),
            (&[("service.version", "0.9")], None),
            (&[], None),
        ] {
            assert_eq!(arms.arm_of(&of(attributes)), expected, "{attributes:?}");
        }
    }

    #[test]
    fn an_arm_without_label_is_asked_for() {
        let one = subtree(vec![span("shop", "get")]);
        let error = arms().split(vec![one]).unwrap_err();
        assert_eq!(error, Unlabelled { traces: 1, missing: "either version" });
        insta::assert_snapshot!(error, @"none of 1 traces says that it is of either version; label your telemetry: set the resource attribute `service.version` to the deployed version, or `vcs.ref.head.revision` to the commit (for OpenTelemetry SDKs: OTEL_RESOURCE_ATTRIBUTES=service.version=...,vcs.ref.head.revision=...)");
    }
}
