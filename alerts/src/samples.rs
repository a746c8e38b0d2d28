//! One alert of every kind, as it comes from a real deployment, and some that nobody wishes for.
//!
//! Users' templates are tried on them when they are loaded, and tests of notifiers send them.

use jiff::Timestamp;

use crate::alert::{
    Alert, Commit, Duty, Evidence, Git, Kind, Link, Links, Need, Timings, Unsettled,
};

const CANARY: &str = "4f2c1a9d0b7e6c5a4938271605f4e3d2c1b0a998";
const STABLE: &str = "1f0c2aa8b9d7e6f50413223140596877a6b5c4d3";
const REVERT: &str = "9ab8c7d6e5f40312a1b2c3d4e5f60718293a4b5c";

/// All samples: every kind with all facts, every kind with none, and hostile ones.
pub fn all() -> Vec<Alert> {
    let mut all: Vec<Alert> = kinds().into_iter().map(|(_, alert)| alert).collect();
    all.extend(
        kinds().into_iter().map(|(_, alert)| Alert::new(alert.kind, alert.at, String::new())),
    );
    all.push(hostile());
    all
}

/// One alert of every kind with all the facts that it can have, each with a name of its own.
pub fn kinds() -> Vec<(&'static str, Alert)> {
    let git = || Git::Reverted { revision: REVERT.to_owned(), branch: Some("main".to_owned()) };
    let failing = "errors failed: 3.1 % against 0.2 %, tolerated 1.25 times".to_owned();
    let files =
        || vec!["deploy/checkout/app.yaml".to_owned(), "deploy/checkout/tax.yaml".to_owned()];
    let need = |need| Kind::NeedsPerson { need };
    let duty = |duty, of: Option<&str>| Kind::DutyFailed { duty, of: of.map(str::to_owned) };
    let inconclusive = |then| Kind::Inconclusive { then };
    let not_reverted = |why: &str| Git::NotReverted { why: why.to_owned() };
    let ada = || "Ada Lovelace".to_owned();
    let undecided = "the deadline of 10 min passed with too few requests".to_owned();
    vec![
        ("promoted", full(Kind::Promoted, "every check passed with 12,000 requests".to_owned())),
        ("rolled_back_and_reverted", full(Kind::RolledBack { git: git() }, failing.clone())),
        (
            "rolled_back_with_pull_request",
            full(
                Kind::RolledBack {
                    git: Git::PullRequest { url: "https://git.example/shop/pulls/7".to_owned() },
                },
                failing.clone(),
            ),
        ),
        (
            "rolled_back_without_revert",
            full(
                Kind::RolledBack { git: not_reverted("the policy says `revert: none`") },
                failing.clone(),
            ),
        ),
        (
            "superseded",
            full(Kind::Superseded { by: REVERT.to_owned() }, "a newer commit arrived".to_owned()),
        ),
        (
            "aborted",
            full(
                Kind::Aborted { by: ada(), git: not_reverted("an abort leaves Git as it is") },
                "Ada Lovelace aborted: wrong tax table".to_owned(),
            ),
        ),
        ("inconclusive_held", full(inconclusive(Unsettled::Held), undecided.clone())),
        ("inconclusive_rolled_back", full(inconclusive(Unsettled::RolledBack), undecided.clone())),
        ("inconclusive_promoted", full(inconclusive(Unsettled::Promoted), undecided)),
        ("needs_person_conflict", full(need(Need::Conflict { files: files() }), failing.clone())),
        ("needs_person_approval", full(need(Need::Approval), failing.clone())),
        ("needs_person_decision", full(need(Need::Decision), failing)),
        ("adopted", full(Kind::Adopted, "nothing served before".to_owned())),
        (
            "reverted_by_person",
            full(
                Kind::RevertedByPerson { by: ada(), revision: REVERT.to_owned() },
                "Ada Lovelace reverted the commit; traffic is back on stable".to_owned(),
            ),
        ),
        (
            "duty_failed_journal",
            Alert::new(
                duty(Duty::Journal, None),
                at(),
                "the disk is full; no step advances until the journal can be written",
            ),
        ),
        (
            "duty_failed_router",
            full(
                duty(Duty::Router, Some("embedded proxy")),
                "it did not answer for 30 s; the weight holds".to_owned(),
            ),
        ),
    ]
}

/// An alert in which every text is as long and as wicked as a text can be.
pub fn hostile() -> Alert {
    let wicked = |size: usize| {
        "<!channel> @here \u{1b}[2J\u{202e}\"}],\\ ```&<https://evil.example|click> \u{1F986}\u{0}\r\n"
            .repeat(size)
    };
    let mut alert = full(
        Kind::NeedsPerson { need: Need::Conflict { files: vec![wicked(9); 500] } },
        wicked(999),
    );
    alert.service = Some(wicked(99));
    alert.environment = Some(wicked(99));
    alert.repository = Some(wicked(99));
    alert.deployment = Some(wicked(99));
    alert.commit = Some(Commit {
        revision: wicked(9),
        subject: wicked(10_000),
        author: wicked(99),
        url: Some("javascript:alert(1)".to_owned()),
    });
    alert.stable = Some(wicked(9));
    alert.evidence = vec![
        Evidence {
            check: wicked(9),
            canary: wicked(9),
            baseline: wicked(9),
            tolerated: wicked(9),
            evidence: Some(f64::INFINITY),
            needed: Some(f64::NAN),
        };
        500
    ];
    alert.timings = Timings {
        detected_after_seconds: Some(f64::NAN),
        traffic_back_after_seconds: Some(-1.0),
        reverted_after_seconds: Some(f64::INFINITY),
    };
    alert.links.page = Some(format!("https://a.example/{}", "x".repeat(100_000)));
    alert.links.dashboards =
        vec![Link { title: wicked(9), url: "https://a.example/|<!channel>".to_owned() }; 500];
    alert
}

fn at() -> Timestamp {
    Timestamp::constant(1_764_000_005, 0)
}

/// An alert with every fact that a deployment of this kind has.
fn full(kind: Kind, reason: String) -> Alert {
    let git = kind.git().cloned();
    let back = matches!(kind, Kind::RolledBack { .. } | Kind::NeedsPerson { .. });
    let mut alert = Alert::new(kind, at(), reason);
    alert.service = Some("checkout".to_owned());
    alert.environment = Some("production".to_owned());
    alert.repository = Some("https://git.example/shop".to_owned());
    alert.deployment = Some("checkout-4f2c1a9-1".to_owned());
    alert.commit = Some(Commit {
        revision: CANARY.to_owned(),
        subject: "Add gift cards & <b>vouchers</b>".to_owned(),
        author: "Grace Hopper".to_owned(),
        url: Some(format!("https://git.example/shop/commit/{CANARY}")),
    });
    alert.stable = Some(STABLE.to_owned());
    alert.evidence = vec![
        Evidence {
            check: "errors".to_owned(),
            canary: "3.1 % (93 of 3,000)".to_owned(),
            baseline: "0.2 % (594 of 297,000)".to_owned(),
            tolerated: "1.25 times".to_owned(),
            evidence: Some(12.41),
            needed: Some(4.605),
        },
        Evidence {
            check: "latency".to_owned(),
            canary: "p99 at 251 ms".to_owned(),
            baseline: "p99 at 248 ms".to_owned(),
            tolerated: "10 % slower".to_owned(),
            evidence: Some(-0.52),
            needed: Some(4.605),
        },
    ];
    alert.cause = back.then(|| {
        "p99 +85 ms: 62 ms from 16 more `SELECT cart_items` per `GET /cart`, called from `CartRepo::load` \
         (src/cart/repo.rs:88, changed in 4f2c1a9)"
            .to_owned()
    });
    if back {
        alert.cause_table = vec![
            "operation                 calls         change".to_owned(),
            "shop SELECT cart_items    1.0 -> 17.0   +62 ms".to_owned(),
            "request                                 +64 ms".to_owned(),
        ];
    }
    alert.suspect =
        back.then(|| "commit 2 of 5, 4f2c1a9 Add gift cards (confidence high)".to_owned());
    alert.timings = Timings {
        detected_after_seconds: back.then_some(8.24),
        traffic_back_after_seconds: back.then_some(0.031),
        reverted_after_seconds: matches!(git, Some(Git::Reverted { .. })).then_some(1.2),
    };
    alert.failed_canary_requests = back.then_some(1_093);
    alert.links = Links {
        page: Some("http://127.0.0.1:8787/deployments/checkout-4f2c1a9-1".to_owned()),
        diff: Some("https://git.example/shop/compare/1f0c2aa...4f2c1a9".to_owned()),
        dashboards: vec![Link {
            title: "Rollout board".to_owned(),
            url: "https://grafana.example/d/serin?var-service=checkout&from=1764000005000"
                .to_owned(),
        }],
    };
    alert
}
