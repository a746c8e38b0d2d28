//! Which arm a resource belongs to: its attributes against the labels of the deployment's instances.

use analysis::Arm;

use super::model::{Attributes, attribute};
use super::names::sanitized;
use crate::subject::Instance;

/// Attributes that tell a version, the most telling first.
const VERSIONS: [&str; 2] = ["service.version", "vcs.ref.head.revision"];

/// Attributes that tell one process from another, the most telling first.
const PROCESSES: [&str; 4] = ["service.instance.id", "k8s.pod.name", "container.id", "host.name"];

/// Fewest hexadecimal digits that stand for a revision, as Git abbreviates.
const SHORTEST: usize = 7;

/// Longest name of an instance in bytes.
const LONGEST: usize = 200;

/// Where a resource belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) arm: Arm,
    /// The process, or the instance where the resource does not tell.
    pub(super) instance: String,
}

/// The place of a resource among the instances.
///
/// # Errors
/// What the resource says of its version instead, for people.
pub(super) fn place(instances: &[Instance], resource: &Attributes) -> Result<Place, String> {
    let ranked = instances.iter().filter_map(|one| Some((rank(one, resource)?, one)));
    let mut best: Vec<(usize, &Instance)> = ranked.collect();
    let least = best.iter().map(|(rank, _)| *rank).min();
    best.retain(|(rank, _)| Some(*rank) == least);
    match best.first() {
        Some((_, first)) if best.iter().all(|(_, other)| other.arm == first.arm) => {
            let told = PROCESSES.iter().find_map(|name| attribute(resource, name));
            let name = told.filter(|name| !name.is_empty()).unwrap_or(&first.name);
            let cut = (0..=LONGEST.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
            Ok(Place { arm: first.arm, instance: name[..cut.unwrap_or(0)].to_owned() })
        }
        Some(_) => Err(format!("{}, which both versions match", said(resource))),
        None => Err(said(resource)),
    }
}

/// How well an instance fits, 0 is best; `None` when it does not.
fn rank(instance: &Instance, resource: &Attributes) -> Option<usize> {
    let is_version = |label: &str| sanitized(label) == "service_version";
    let others = instance.labels.iter().filter(|(label, _)| !is_version(label));
    let fits = |(label, wanted): (&String, &String)| {
        value(resource, label).is_some_and(|said| is_same(wanted, said))
    };
    let mut others = others.peekable();
    let has_others = others.peek().is_some_and(|(label, _)| sanitized(label) != "service_name");
    if !others.all(fits) {
        return None;
    }
    let version = instance.labels.iter().find(|(label, _)| is_version(label)).map(|(_, v)| v);
    let wanted = match version {
        Some(version) => version,
        // The labels say it all.
        None if has_others => return Some(0),
        None => &instance.name,
    };
    let said = VERSIONS
        .iter()
        .position(|name| attribute(resource, name).is_some_and(|said| is_same(wanted, said)));
    let named = || attribute(resource, PROCESSES[0]) == Some(&instance.name);
    said.or_else(|| named().then_some(VERSIONS.len()))
}

/// The value of an attribute by its own name or as Prometheus would write it.
fn value<'a>(resource: &'a Attributes, label: &str) -> Option<&'a str> {
    attribute(resource, label).or_else(|| {
        let found = resource.iter().find(|(name, _)| sanitized(name) == label)?;
        Some(found.1.as_str())
    })
}

/// Whether two texts are the same, or one abbreviates the other as a revision.
fn is_same(wanted: &str, said: &str) -> bool {
    let (short, long) = if said.len() < wanted.len() { (said, wanted) } else { (wanted, said) };
    wanted == said
        || short.len() >= SHORTEST
            && long.is_ascii()
            && long.bytes().all(|b| b.is_ascii_hexdigit())
            && long[..short.len()].eq_ignore_ascii_case(short)
}

/// What a resource says of its version.
fn said(resource: &Attributes) -> String {
    let told = VERSIONS.iter().find_map(|name| Some((*name, attribute(resource, name)?)));
    told.filter(|(_, value)| !value.is_empty()).map_or_else(
        || "no service.version".to_owned(),
        |(name, value)| format!("{name}={}", value.chars().take(40).collect::<String>()),
    )
}

/// The attributes that a resource of an instance should have, as OpenTelemetry's environment variable takes them.
pub(super) fn labels(instance: &Instance) -> String {
    let labels = instance.labels.iter().filter(|(label, _)| sanitized(label) != "service_name");
    let written: Vec<String> = labels.map(|(label, value)| format!("{label}={value}")).collect();
    if written.is_empty() {
        format!("service.version={}", instance.name)
    } else {
        written.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "4f2c1a9b0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f";
    const STABLE: &str = "0d1c2b3a4f5e6d7c8b9a0f1e2d3c4b5a6f7e8d9c";

    fn instance(name: &str, arm: Arm, labels: &[(&str, &str)]) -> Instance {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Instance { name: name.to_owned(), arm, url: None, labels }
    }

    fn resource(pairs: &[(&str, &str)]) -> Attributes {
        let mut all: Attributes =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        all.sort();
        all
    }

    fn placed(pairs: &[(&str, &str)]) -> Result<Arm, String> {
        let instances = [
            instance(CANARY, Arm::Canary, &[("service.version", CANARY)]),
            instance(STABLE, Arm::Baseline, &[("service.version", STABLE)]),
        ];
        place(&instances, &resource(pairs)).map(|place| place.arm)
    }

    #[test]
    fn a_version_may_be_whole_or_abbreviated() {
        assert_eq!(placed(&[("service.version", CANARY)]), Ok(Arm::Canary));
        assert_eq!(placed(&[("service.version", "0D1C2B3")]), Ok(Arm::Baseline));
        for wrong in ["4f2c1a", "4f2c1a9z", "", "1.4.2", "4f2c1a9b1"] {
            assert!(placed(&[("service.version", wrong)]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_attribute_that_fits_decides() {
        let release = [("service.version", "1.4.2"), ("vcs.ref.head.revision", CANARY)];
        assert_eq!(placed(&release), Ok(Arm::Canary));
        assert_eq!(
            placed(&[("service.version", STABLE), ("vcs.ref.head.revision", CANARY)]),
            Ok(Arm::Baseline)
        );
        assert_eq!(placed(&[("service.instance.id", STABLE)]), Ok(Arm::Baseline));
        assert_eq!(placed(&[("service.version", "1.4.2")]), Err("service.version=1.4.2".into()));
        assert_eq!(placed(&[]), Err("no service.version".into()));
    }

    #[test]
    fn every_label_must_be_there_and_both_arms_are_none() {
        let zone = [("service_version", CANARY), ("cloud.region", "north")];
        let instances = [instance("c", Arm::Canary, &zone)];
        let fits = resource(&[("service.version", "4f2c1a9b"), ("cloud.region", "north")]);
        assert_eq!(place(&instances, &fits).unwrap().arm, Arm::Canary);
        assert!(place(&instances, &resource(&[("service.version", CANARY)])).is_err());

        let track = [
            instance("c", Arm::Canary, &[("track", "canary")]),
            instance("b", Arm::Baseline, &[("track", "stable")]),
            instance("d", Arm::Baseline, &[("track", "canary")]),
        ];
        assert_eq!(place(&track, &resource(&[("track", "stable")])).unwrap().arm, Arm::Baseline);
        let both = place(&track, &resource(&[("track", "canary")])).unwrap_err();
        assert_eq!(both, "no service.version, which both versions match");
    }

    #[test]
    fn an_instance_is_named_by_its_process() {
        let instances = [instance(CANARY, Arm::Canary, &[])];
        let version = ("vcs.ref.head.revision", CANARY);
        let named = |pairs: &[(&str, &str)]| place(&instances, &resource(pairs)).unwrap().instance;
        assert_eq!(named(&[version, ("k8s.pod.name", "checkout-1")]), "checkout-1");
        assert_eq!(named(&[version]), CANARY);
        let long = "ä".repeat(300);
        assert_eq!(named(&[version, ("service.instance.id", &long)]).len(), LONGEST);
    }
}
