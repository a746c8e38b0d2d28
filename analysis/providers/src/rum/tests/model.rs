//! Exact counts, held against a model that looks at each id's reports one after the other and keeps no queue.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::rum::ids::{LATEST, QUIET, REMEMBERED};
use crate::rum::{Rate, Share};

/// One beacon, or a look at the counts.
#[derive(Debug, Clone)]
enum Act {
    Beacon {
        canary: bool,
        cart: bool,
        session: Option<u8>,
        failed: bool,
        ended: bool,
        /// Id, value and the browser's clock.
        vitals: Vec<(u8, bool, Option<i64>)>,
    },
    Measure,
}

/// What was reported of one id at a time; which page, whether poor or failed, by which clock, and whether it ended.
#[derive(Debug, Clone)]
struct Report {
    at: i64,
    page: &'static str,
    bad: bool,
    stamp: Option<i64>,
    ended: bool,
}

/// When something counted, on which page, and whether as a bad one.
type Counted = (i64, &'static str, bool);

/// When a vital counts, by the rules as they are told.
fn vital(reports: &[Report]) -> Vec<Counted> {
    let mut counted = Vec::new();
    let mut rest = reports;
    while let Some(first) = rest.first() {
        let (mut value, mut last, mut used) = (first, first, 1);
        let mut when = if first.ended { first.at } else { first.at + QUIET };
        while let Some(next) = rest.get(used).filter(|next| next.at < when && !last.ended) {
            if next.stamp >= value.stamp {
                value = next;
            }
            (last, used) = (next, used + 1);
            when = if next.ended { next.at } else { (next.at + QUIET).min(first.at + LATEST) };
        }
        counted.push((when, first.page, value.bad));
        rest = after(rest, used);
    }
    counted
}

/// When a session counts.
fn session(reports: &[Report]) -> Vec<Counted> {
    let mut counted = Vec::new();
    let mut rest = reports;
    while let Some(first) = rest.first() {
        let until = first.at + LATEST;
        let end = rest.iter().position(|one| one.ended || one.at >= until);
        let ended = end.filter(|end| rest[*end].at < until);
        let used = ended.map_or(end.unwrap_or(rest.len()), |end| end + 1);
        let failed = rest[..used].iter().any(|one| one.bad);
        counted.push((ended.map_or(until, |end| rest[end].at), first.page, failed));
        rest = if failed { after(rest, used) } else { &rest[used..] };
    }
    counted
}

/// The reports that are left when the id was forgotten.
fn after(reports: &[Report], used: usize) -> &[Report] {
    let mut at = used;
    while at < reports.len() && reports[at].at < reports[at - 1].at + REMEMBERED {
        at += 1;
    }
    &reports[at..]
}

/// Everything that counted, by arm and check, and all looks, in order.
#[derive(Debug, Default)]
struct Model {
    reports: BTreeMap<(bool, String), Vec<Report>>,
    looks: Vec<i64>,
}

impl Model {
    fn counted(&self) -> Vec<(i64, bool, &'static str, &'static str, bool)> {
        let mut all = Vec::new();
        for ((canary, id), reports) in &self.reports {
            let (check, counted) = match id.split_once(' ') {
                Some(("session", _)) => ("script-errors", session(reports)),
                _ => ("cls", vital(reports)),
            };
            all.extend(counted.into_iter().map(|(at, page, bad)| (at, *canary, check, page, bad)));
        }
        all.sort_by_key(|one| one.0);
        all
    }

    /// What each look must show: the arms of a check begin and advance together.
    fn observed(&self) -> Vec<(usize, String)> {
        let counted = self.counted();
        let mut observed = Vec::new();
        for check in ["cls", "script-errors"] {
            let of = |canary: bool, from: i64, to: i64| -> BTreeMap<&str, Share> {
                let within = |at: i64| from < at && at <= to;
                let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
                for (_, _, _, page, bad) in
                    counted.iter().filter(|one| within(one.0) && one.1 == canary && one.2 == check)
                {
                    let share = shares.entry(page).or_default();
                    share.of += 1;
                    share.bad += u64::from(*bad);
                }
                shares
            };
            let mut from = self.looks[0];
            for (look, now) in self.looks.iter().enumerate().skip(1) {
                let arms = [false, true].map(|canary| of(canary, from, *now));
                let begun = [false, true].map(|canary| !of(canary, self.looks[0], *now).is_empty());
                if begun.contains(&false) {
                    from = *now;
                } else if arms.iter().all(|arm| !arm.is_empty()) {
                    for (arm, shares) in ["Baseline", "Canary"].iter().zip(arms) {
                        for (page, share) in shares {
                            let line = format!(
                                "{check} {arm} browsers {page}: {} of {}",
                                share.bad, share.of
                            );
                            observed.push((look, line));
                        }
                    }
                    from = *now;
                }
            }
        }
        observed.sort();
        observed
    }
}

fn act() -> impl Strategy<Value = Act> {
    let vital = (0..3_u8, any::<bool>(), prop::option::of(0..4_i64));
    let beacon = (
        any::<bool>(),
        any::<bool>(),
        prop::option::of(0..3_u8),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.15),
        prop::collection::vec(vital, 0..3),
    );
    let beacon = beacon.prop_map(|(canary, cart, session, failed, ended, vitals)| Act::Beacon {
        canary,
        cart,
        session,
        failed,
        ended,
        vitals,
    });
    prop_oneof![4 => beacon, 1 => Just(Act::Measure)]
}

/// Seconds since the act before: mostly few, sometimes until all is forgotten.
fn pause() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0..8_i64, 2 => 8..70_i64, 1 => 1_700..1_900_i64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn counts_are_those_of_the_naive_model(
        acts in prop::collection::vec((pause(), act()), 1..80)
    ) {
        let often = Rate { per_second: 1_000, burst: 100_000 };
        let rum = Rum::new(RumSettings { origin_rate: often, session_rate: often, ..settings() });
        let (mut model, mut seconds, mut observed) = (Model::default(), 0_i64, Vec::new());
        let mut look = |model: &mut Model, seconds: i64| {
            #[expect(clippy::cast_precision_loss, reason = "some hours")]
            let (scrape, _) = measured(&rum, &usual(), seconds as f64);
            let number = model.looks.len();
            model.looks.push(at(0.0).as_second() * 1_000_000_000 + seconds * 1_000_000_000);
            let lines = written(&scrape.observations);
            observed.extend(lines.lines().map(|line| (number, line.to_owned())));
        };
        look(&mut model, 0);
        seconds += 1;
        for (pause, act) in acts {
            seconds += pause;
            let Act::Beacon { canary, cart, session, failed, ended, vitals: reported } = act else {
                // What settles at once belongs to one look or the other.
                look(&mut model, seconds + 1);
                seconds += 2;
                continue;
            };
            let page = if cart { "/cart" } else { "/" };
            let metric = |(id, poor, stamp): &(u8, bool, Option<i64>)| {
                let value = if *poor { 0.3 } else { 0.2 };
                json!({ "name": "CLS", "id": id.to_string(), "value": value, "timestamp": stamp })
            };
            let errors = if failed { json!([{ "type": "Error", "message": "x" }]) } else { json!([]) };
            let body = json!({
                "app": "shop", "version": if canary { CANARY } else { STABLE }, "page": page,
                "session": session.map(|session| session.to_string()), "ended": ended,
                "vitals": reported.iter().map(metric).collect::<Vec<_>>(), "errors": errors,
            });
            #[expect(clippy::cast_precision_loss, reason = "some hours")]
            vitals(&rum, &body, seconds as f64).unwrap();
            let now = at(0.0).as_second() * 1_000_000_000 + seconds * 1_000_000_000;
            for (id, poor, stamp) in reported {
                let report = Report { at: now, page, bad: poor, stamp, ended };
                model.reports.entry((canary, format!("vital {id}"))).or_default().push(report);
            }
            if let Some(session) = session {
                let report = Report { at: now, page, bad: failed, stamp: None, ended };
                let id = format!("session {session}{page}");
                model.reports.entry((canary, id)).or_default().push(report);
            }
        }
        seconds += 3_600;
        look(&mut model, seconds);
        observed.sort();
        prop_assert_eq!(observed, model.observed());

        #[expect(clippy::cast_precision_loss, reason = "some hours")]
        let counts = rum.counts(at(seconds as f64));
        prop_assert_eq!(counts.open, 0);
        for (canary, revision) in [(true, CANARY), (false, STABLE)] {
            let told = counts.apps.iter().find(|one| one.version == revision);
            for check in ["cls", "script-errors"] {
                let mut share = Share::default();
                for one in model.counted().iter().filter(|one| one.1 == canary && one.2 == check) {
                    share.of += 1;
                    share.bad += u64::from(one.4);
                }
                let told = told.map_or_else(Share::default, |told| match check {
                    "cls" => told.vital(Vital::Cls),
                    _ => told.sessions,
                });
                prop_assert_eq!(told, share);
            }
        }
    }
}
