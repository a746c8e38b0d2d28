//! Which arm a page belongs to: what it calls its version against the versions of the deployment's instances.

use analysis::Arm;

use super::beacon::Versions;
use crate::subject::Instance;

/// Fewest hexadecimal digits that stand for a revision, as Git abbreviates.
const SHORTEST: usize = 7;

/// The arm of a page; `None` when it is neither's, or both arms have the version.
pub(super) fn arm(instances: &[Instance], versions: &Versions) -> Option<Arm> {
    versions.0.iter().flatten().find_map(|said| {
        let mut fitting = instances.iter().filter(|one| is_same(version(one), said));
        let first = fitting.next()?;
        fitting.all(|other| other.arm == first.arm).then_some(first.arm)
    })
}

/// The version of an instance: its label `service.version`, else its name.
pub(super) fn version(instance: &Instance) -> &str {
    let label = |name: &str| instance.labels.get(name);
    label("service.version").or_else(|| label("service_version")).unwrap_or(&instance.name)
}

/// Whether two texts are the same, or one abbreviates the other as a revision.
fn is_same(wanted: &str, said: &str) -> bool {
    let (short, long) = if said.len() < wanted.len() { (said, wanted) } else { (wanted, said) };
    wanted == said
        || short.len() >= SHORTEST
            && long.bytes().all(|b| b.is_ascii_hexdigit())
            && long.as_bytes()[..short.len()].eq_ignore_ascii_case(short.as_bytes())
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

    fn arm_of(said: [Option<&str>; 3]) -> Option<Arm> {
        let instances = [
            instance("c1", Arm::Canary, &[("service.version", CANARY)]),
            instance(STABLE, Arm::Baseline, &[]),
        ];
        arm(&instances, &Versions(said.map(|said| said.map(str::to_owned))))
    }

    #[test]
    fn a_version_may_be_whole_or_abbreviated() {
        assert_eq!(arm_of([Some(CANARY), None, None]), Some(Arm::Canary));
        assert_eq!(arm_of([Some("0D1C2B3"), None, None]), Some(Arm::Baseline));
        for wrong in ["4f2c1a", "4f2c1a9z", "", "1.4.2", "4f2c1a9b1", "4f2c1aé"] {
            assert_eq!(arm_of([Some(wrong), None, None]), None, "{wrong}");
        }
    }

    #[test]
    fn the_first_that_fits_decides_and_both_is_none() {
        assert_eq!(arm_of([Some("unknown"), Some(CANARY), None]), Some(Arm::Canary));
        assert_eq!(arm_of([None, Some("1.4.2"), Some(STABLE)]), Some(Arm::Baseline));
        assert_eq!(arm_of([Some(CANARY), Some(STABLE), None]), Some(Arm::Canary));
        let same = [instance(CANARY, Arm::Canary, &[]), instance(CANARY, Arm::Baseline, &[])];
        assert_eq!(arm(&same, &Versions([Some(CANARY.to_owned()), None, None])), None);
    }
}
