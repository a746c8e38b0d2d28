//! Which tags find the traces of one version and none of the other.
//!
//! In the order of `ArmLabel`: version, commit (whole and abbreviated), the hash of the pods' template, instances.
//! What both versions have in common finds both and is left out.

use analysis_traces::ArmLabel;

use crate::error::FetchError;

/// How far a commit's hash is abbreviated by default.
const SHORT_HASH: usize = 7;

/// Instances that are asked for by name; each may cost a search of its own.
const MOST_INSTANCES: usize = 16;

/// Longest value that is searched for; no version or pod has a longer one.
const LONGEST: usize = 256;

/// A resource attribute with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// Tags of which any tells the arm; never empty.
pub(super) type Label = Vec<Tag>;

/// The labels of an arm in the order in which they are tried.
pub(super) fn labels(arm: &ArmLabel, other: &ArmLabel) -> Vec<Label> {
    let own = |mine: &Option<String>, others: &Option<String>| {
        mine.clone().filter(|value| is_usable(value) && Some(value) != others.as_ref())
    };
    let mut labels: Vec<Label> = Vec::new();
    let version = own(&arm.version, &other.version);
    labels.extend(version.map(|value| vec![Tag { name: "service.version", value }]));
    let short = |hash: &str| hash.get(..SHORT_HASH).map(str::to_owned);
    let whole = own(&arm.revision, &other.revision);
    let brief =
        own(&arm.revision.as_deref().and_then(short), &other.revision.as_deref().and_then(short));
    let brief = brief.filter(|brief| whole.as_ref() != Some(brief));
    labels.extend([whole, brief].into_iter().flatten().flat_map(|hash| {
        ["vcs.ref.head.revision", "service.version"]
            .map(|name| vec![Tag { name, value: hash.clone() }])
    }));
    let pods = own(&arm.pod_template_hash, &other.pod_template_hash);
    labels.extend(pods.map(|value| vec![Tag { name: "k8s.pod.label.pod-template-hash", value }]));
    let instances: Vec<&String> = arm
        .instances
        .iter()
        .filter(|one| is_usable(one) && !other.instances.contains(one))
        .take(MOST_INSTANCES)
        .collect();
    if !instances.is_empty() {
        labels.extend(
            ["service.instance.id", "k8s.pod.name"].map(|name| {
                instances.iter().map(|one| Tag { name, value: (*one).clone() }).collect()
            }),
        );
    }
    labels.dedup();
    labels
}

/// The same as one label, for stores whose queries know "or".
pub(super) fn together(arm: &ArmLabel, other: &ArmLabel) -> Vec<Label> {
    let all: Label = labels(arm, other).into_iter().flatten().collect();
    if all.is_empty() { Vec::new() } else { vec![all] }
}

/// The text of a label for people.
pub(super) fn told(label: &[Tag]) -> String {
    let one = |tag: &Tag| format!("{}={}", tag.name, tag.value);
    match label {
        [] => "nothing".to_owned(),
        [tag] => one(tag),
        [tag, rest @ ..] => format!("{} or another of {} labels", one(tag), rest.len()),
    }
}

/// Nothing that tells the versions apart is known.
pub(super) fn none(arm: &str) -> FetchError {
    FetchError::permanent(format!(
        "nothing is known that tells {arm} from the other version in traces: neither version, revision nor \
         instances differ"
    ))
}

fn is_usable(value: &str) -> bool {
    !value.trim().is_empty() && value.len() <= LONGEST && !value.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(version: &str, revision: &str, instances: &[&str]) -> ArmLabel {
        ArmLabel {
            version: Some(version.to_owned()),
            revision: Some(revision.repeat(40)),
            pod_template_hash: None,
            instances: instances.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    #[test]
    fn labels_come_in_their_order_and_never_shared_ones() {
        let told = |arm: &ArmLabel, other: &ArmLabel| -> Vec<String> {
            labels(arm, other).iter().map(|label| super::told(label)).collect()
        };
        let (baseline, canary) = (label("1.0", "a", &["b-1"]), label("1.1", "c", &["c-1", "b-1"]));
        insta::assert_snapshot!(told(&canary, &baseline).join("\n"), @r"
        service.version=1.1
        vcs.ref.head.revision=cccccccccccccccccccccccccccccccccccccccc
        service.version=cccccccccccccccccccccccccccccccccccccccc
        vcs.ref.head.revision=ccccccc
        service.version=ccccccc
        service.instance.id=c-1
        k8s.pod.name=c-1
        ");
        assert_eq!(told(&canary, &canary), [""; 0]);
        let latest = |instance: &str| ArmLabel {
            version: Some("latest".into()),
            revision: Some("é".into()),
            pod_template_hash: Some("line\nbreak".into()),
            instances: vec![instance.into(), String::new()],
        };
        let only = ["service.instance.id=c-1", "k8s.pod.name=c-1"];
        assert_eq!(told(&latest("c-1"), &latest("b-1")), only);
        let many = ArmLabel {
            instances: (0..1_000).map(|n| format!("pod-{n}")).collect(),
            ..ArmLabel::default()
        };
        assert_eq!(together(&many, &canary), [labels(&many, &canary).concat()]);
        assert_eq!(together(&many, &canary)[0].len(), 2 * MOST_INSTANCES);
        assert!(together(&canary, &canary).is_empty());
    }
}
