//! What a person who knows the plant would call right.

use analysis_traces::{Cause, ChangedFile, Commit, Diff, Finding, Hunk, RootCause};

use super::plant::Plant;

/// How right the comparison was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answer {
    /// The first finding is right; for a harmless plant: there is none.
    pub first: bool,
    /// One of the first three is right.
    pub third: bool,
    /// Something was named.
    pub named: bool,
    /// The right commit was named; `None` where the plant has none.
    pub commit: Option<bool>,
}

/// Compares what was found with what was planted.
pub fn answer(plant: Plant, found: &RootCause) -> Answer {
    let named = !found.findings.is_empty();
    if plant.is_harmless() {
        return Answer { first: !named, third: !named, named, commit: None };
    }
    let right = |finding: &Finding| is_right(plant, finding);
    let first = found.findings.first().is_some_and(right);
    let third = found.findings.iter().take(3).any(right);
    let commit = file_of(plant).map(|file| {
        let suspect = found.findings.iter().find(|finding| right(finding));
        suspect
            .and_then(|finding| finding.suspect.as_ref())
            .is_some_and(|suspect| suspect.file == file && suspect.position == 2)
    });
    Answer { first, third, named, commit }
}

fn is_right(plant: Plant, finding: &Finding) -> bool {
    let operation = finding.operation.as_ref().map_or("", |operation| operation.name.as_str());
    let is = |causes: &[Cause], name: &str| causes.contains(&finding.cause) && operation == name;
    match plant {
        Plant::SlowQuery => is(&[Cause::Slower], "SELECT prices"),
        Plant::SlowCallee => is(&[Cause::Slower], "Auth/Check"),
        Plant::SlowCode => is(&[Cause::Slower], "render"),
        Plant::NPlusOne => is(&[Cause::NPlusOne], "SELECT prices"),
        Plant::FanOut => is(&[Cause::FanOut], "SELECT prices"),
        Plant::RetryStorm => is(&[Cause::Retries], "POST /charge"),
        Plant::LostCache => is(&[Cause::LostCache], "SELECT cart_items"),
        Plant::NewCall => is(&[Cause::NewCall], "SELECT discounts"),
        Plant::NewException => {
            finding.cause == Cause::NewError
                && finding
                    .error
                    .as_ref()
                    .is_some_and(|it| it.error.kind == "checkout::PriceMissing")
        }
        Plant::MoreErrors => {
            finding.cause == Cause::MoreErrors
                && finding.error.as_ref().is_some_and(|it| it.error.kind == "payments::Timeout")
        }
        Plant::SlowTenant => {
            finding.only.as_ref().is_some_and(|only| only.what.starts_with("tenant = "))
                && (operation == "SELECT prices" || finding.cause == Cause::SomeRequests)
        }
        Plant::BadHost => finding.host.as_ref().is_some_and(|host| host.value == "c-1"),
        Plant::TrafficMix => finding.cause == Cause::TrafficMix,
        Plant::Nothing
        | Plant::Renamed
        | Plant::SlowTenantInBoth
        | Plant::SharedIncident
        | Plant::PodsDiffer => false,
    }
}

/// The file of the bad commit, where code is to blame and spans say where.
fn file_of(plant: Plant) -> Option<&'static str> {
    match plant {
        Plant::SlowQuery
        | Plant::NPlusOne
        | Plant::FanOut
        | Plant::LostCache
        | Plant::NewCall
        | Plant::SlowTenant => Some("src/cart/repo.rs"),
        Plant::SlowCode | Plant::NewException => Some("src/render.rs"),
        Plant::RetryStorm => Some("src/pay.rs"),
        Plant::Nothing
        | Plant::SlowCallee
        | Plant::MoreErrors
        | Plant::BadHost
        | Plant::Renamed
        | Plant::TrafficMix
        | Plant::SlowTenantInBoth
        | Plant::SharedIncident
        | Plant::PodsDiffer => None,
    }
}

/// A range of four commits, the second of which is the planted one; the others touch other code.
pub fn diff(plant: Plant) -> Diff {
    let commit = |id: &str, subject: &str, path: &str, start: u32, function: &str| Commit {
        id: id.repeat(10),
        subject: subject.to_owned(),
        files: vec![ChangedFile {
            path: path.to_owned(),
            hunks: vec![Hunk {
                start,
                lines: 6,
                function: function.to_owned(),
                added: String::new(),
            }],
        }],
    };
    let (path, start, function) = match file_of(plant) {
        Some("src/render.rs") => ("src/render.rs", 18, "pub fn page(cart: &Cart) -> Html"),
        Some("src/pay.rs") => ("src/pay.rs", 58, "async fn charge(order: &Order)"),
        Some(_) | None => ("src/cart/repo.rs", 86, "async fn load(&self, id: CartId)"),
    };
    Diff {
        commits: vec![
            commit("1a2b", "Say hello in the log", "src/main.rs", 10, "fn main()"),
            commit("4f2c", "Load carts in another way", path, start, function),
            commit("77aa", "Spell the imprint right", "src/pages/imprint.rs", 3, ""),
            commit("90ff", "Describe the setup", "README.md", 1, ""),
        ],
    }
}
