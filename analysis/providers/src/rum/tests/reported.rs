//! Both senders' forms, whose pages they are, and what people are told.

use std::io::Write as _;

use serde_json::json;

use super::*;

/// What Faro 2 sends after a page was left.
fn payload(revision: &str, session: &str, cls: f64, exceptions: &Value) -> Value {
    json!({
        "meta": {
            "sdk": { "name": "faro-web", "version": "2.0.0" },
            "app": { "name": "shop", "version": "1.4.2", "environment": "prod", "gitHash": revision },
            "session": { "id": session, "attributes": { "previousSession": "x" } },
            "user": { "id": "4711", "email": "ada@example.org" },
            "page": { "id": "p", "url": "https://shop.example/cart/4711?coupon=ada" },
            "browser": { "name": "Firefox", "version": "140", "os": "Linux", "mobile": false,
                "userAgent": "Mozilla/5.0" },
            "k6": { "isK6Browser": false }
        },
        "measurements": [
            { "type": "web-vitals", "values": { "cls": cls, "delta": cls, "largest_shift_value": cls },
              "context": { "id": format!("v5-{session}"), "rating": "poor", "navigation_type": "navigate" },
              "timestamp": "2026-11-24T10:00:00.000Z" },
            { "type": "web-vitals", "values": { "ttfb": 120, "delta": 120, "waiting_duration": 3 },
              "context": { "id": format!("v5-{session}-t"), "rating": "good" },
              "timestamp": "2026-11-24T10:00:00Z" },
            { "type": "custom", "values": { "lcp": 9_999 } }
        ],
        "exceptions": exceptions,
        "logs": [], "events": [{ "name": "session_start", "domain": "x", "attributes": {} }],
        "traces": { "resourceSpans": [] }
    })
}

#[test]
fn both_senders_are_counted_by_version_page_and_arm() {
    let rum = Rum::new(settings());
    assert!(measured(&rum, &usual(), 0.0).0.observations.is_empty());
    let error =
        json!([{ "type": "TypeError", "value": "cart 4711 is undefined", "stacktrace": {} }]);
    let taken = faro(&rum, &payload(CANARY, "a", 0.4, &error), 1.0).unwrap();
    assert_eq!((taken.vitals, taken.errors, taken.synthetic), (2, 1, false));
    assert_eq!(taken.left_out, Vec::<String>::new());
    faro(&rum, &payload(&CANARY[..7], "b", 0.1, &json!([])), 1.0).unwrap();
    faro(&rum, &payload(STABLE, "c", 0.0, &json!([])), 1.0).unwrap();
    faro(&rum, &payload("1.4.1", "d", 0.9, &error), 1.0).unwrap();

    // The library's plain objects: one, and several in a list; what they lack is in the address.
    let query = |body: Value, version, seconds| {
        let text = body.to_string();
        let arrival =
            Arrival { app: Some("shop"), version: Some(version), ..arrival(text.as_bytes()) };
        rum.receive_vitals(&arrival, at(seconds)).unwrap()
    };
    let plain = |name: &str, value: f64| {
        json!({ "name": name, "value": value, "delta": value, "rating": "good", "id": "v5-1",
            "navigationType": "navigate", "entries": [{ "name": "https://shop.example/?user=ada" }] })
    };
    assert_eq!(query(plain("CLS", 0.3), STABLE, 2.0).vitals, 1);
    let list = json!([plain("CLS", 0.01), plain("LCP", 4_000.1), plain("FID", 3.0)]);
    let taken = query(list, CANARY, 2.0);
    assert_eq!(taken.vitals, 2);
    assert_eq!(taken.left_out, ["1 of no web vital that is judged"]);

    let shown = |seconds| written(&measured(&rum, &usual(), seconds).0.observations);
    assert_eq!(shown(10.5), "", "nothing is quiet yet");
    insta::assert_snapshot!([11.5, 12.5, 60.5, 61.5].map(shown).join("\n--\n"));
    let (_, completeness) = measured(&rum, &usual(), 62.0);
    assert_eq!(completeness, Completeness::Full);
    assert!(measured(&rum, &usual(), 63.0).0.observations.is_empty(), "once");
    insta::assert_json_snapshot!(rum.counts(at(63.0)));
    let chosen = rum.chosen("one").into_iter().map(|choice| choice.chosen.unwrap().to_string());
    assert_eq!(
        chosen.collect::<Vec<_>>(),
        [
            "page views whose CLS is above 0.25, of all with one (reported by browsers of shop)",
            "sessions on a page with a script error, of all sessions (reported by browsers of shop)",
        ]
    );
}

#[test]
fn nothing_of_a_visitor_is_kept() {
    let rum = Rum::new(settings());
    measured(&rum, &usual(), 0.0);
    let error = json!([{ "type": "Error", "value": "no user 'Ada' (ada@example.org)" }]);
    faro(&rum, &payload(CANARY, "session-of-ada", 0.4, &error), 1.0).unwrap();
    let kept = format!("{rum:?}");
    assert!(kept.contains("/cart/*"), "{kept}");
    for secret in ["ada", "Ada", "4711", "coupon", "Mozilla", "session-of", "v5-", "Firefox"] {
        assert!(!kept.contains(secret), "{secret} is kept");
    }
}

#[test]
fn checks_are_no_people_and_packed_bodies_are_unpacked() {
    let rum = Rum::new(settings());
    let mut robot = payload(CANARY, "a", 0.4, &json!([]));
    robot["meta"]["k6"]["isK6Browser"] = json!(true);
    assert!(faro(&rum, &robot, 1.0).unwrap().synthetic);
    let text = payload(CANARY, "a", 0.4, &json!([])).to_string();
    let ours = Arrival { synthetic: true, ..arrival(text.as_bytes()) };
    assert!(rum.receive_faro(&ours, at(1.0)).unwrap().synthetic);
    assert_eq!(rum.counts(at(100.0)), crate::rum::RumCounts::default());

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let packed = Arrival { encoding: Some("gzip"), ..arrival(&packed) };
    assert_eq!(rum.receive_faro(&packed, at(1.0)).unwrap().vitals, 2);
}

#[test]
fn the_last_value_counts_whatever_the_order_of_arrival() {
    let rum = Rum::new(settings());
    measured(&rum, &usual(), 0.0);
    let report = |value: f64, stamp: i64, seconds: f64| {
        let body = json!({ "app": "shop", "version": CANARY, "page": "/cart", "timestamp": stamp,
            "vitals": [{ "name": "CLS", "value": value, "id": "one" }] });
        vitals(&rum, &body, seconds).unwrap()
    };
    report(0.1, 1_000, 1.0);
    report(0.4, 3_000, 9.0);
    report(0.2, 2_000, 10.0);
    let open = rum.counts(at(19.0));
    assert_eq!((open.open, open.apps.len()), (1, 0));
    let counted = rum.counts(at(20.0));
    assert_eq!(counted.apps[0].vital(Vital::Cls), crate::rum::Share { bad: 1, of: 1 });
    assert_eq!(report(0.0, 9_000, 21.0).left_out, ["1 that came after its page view was counted"]);
    assert_eq!(rum.counts(at(3_000.0)).apps, counted.apps);
}

#[test]
fn what_never_is_quiet_counts_after_a_minute() {
    let rum = Rum::new(settings());
    let report = |seconds: f64| {
        let body = json!({ "app": "shop", "version": CANARY, "page": "/",
            "vitals": [{ "name": "CLS", "value": seconds / 100.0, "id": "one" }] });
        vitals(&rum, &body, seconds).unwrap()
    };
    assert!((0..12).all(|fives| report(f64::from(fives) * 5.0).vitals == 1));
    assert_eq!(rum.counts(at(59.9)).open, 1);
    assert_eq!(report(60.0).left_out, ["1 that came after its page view was counted"]);
    assert_eq!(rum.counts(at(60.0)).apps[0].vital(Vital::Cls), crate::rum::Share { bad: 1, of: 1 });
}

#[test]
fn apps_belong_to_services() {
    let apps = [("web", "shop"), ("admin", "back-office")];
    let apps = apps.map(|(app, service)| (app.to_owned(), service.to_owned())).into();
    let rum = Rum::new(RumSettings { apps, ..settings() });
    let named = crate::subject::Named {
        metric: "admin".to_owned(),
        labels: BTreeMap::new(),
        status: None,
        per_second: None,
    };
    let mut own = usual();
    own.measures.push(Measure {
        source: Source::Named(named),
        strata: vec![String::new()],
        ..measure("admin-cls", MeasureKind::Vital(Vital::Cls))
    });
    measured(&rum, &own, 0.0);
    for (app, revision) in [("web", CANARY), ("web", STABLE), ("admin", CANARY), ("admin", STABLE)]
    {
        let body = json!({ "app": app, "version": revision, "page": "/a", "ended": true,
            "vitals": [{ "name": "CLS", "value": 0.3, "id": format!("{app}{revision}") }] });
        vitals(&rum, &body, 1.0).unwrap();
    }
    let unknown = json!({ "app": "shop", "version": CANARY, "vitals": [] });
    assert_eq!(vitals(&rum, &unknown, 1.0), Err(Refused::UnknownApp("shop".to_owned())));
    insta::assert_snapshot!(written(&measured(&rum, &own, 2.0).0.observations));
    rum.forget("one");
    assert!(rum.locked().by_app.is_empty() && rum.chosen("one").is_empty());
}

#[test]
fn many_pages_are_one_stratum_beyond_the_first_twenty() {
    let rum = Rum::new(settings());
    measured(&rum, &usual(), 0.0);
    for (revision, page) in [CANARY, STABLE].into_iter().flat_map(|r| (0..60).map(move |p| (r, p)))
    {
        let letters = "abcdefghijklmnopqrstuvwxyz";
        let page =
            format!("/{}{}", &letters[page % 26..=page % 26], &letters[page / 26..=page / 26]);
        let body = json!({ "app": "shop", "gitHash": revision, "page": page, "ended": true,
            "vitals": [{ "name": "CLS", "value": 0.1, "id": page }] });
        vitals(&rum, &body, 1.0).unwrap();
    }
    let (scrape, _) = measured(&rum, &usual(), 2.0);
    assert_eq!(scrape.observations.len(), 2 * 21);
    let other = scrape.observations.iter().find(|one| one.stratum.as_deref() == Some("(other)"));
    assert_eq!(other.unwrap().sample, Sample::Events { events: 0, of: 40 });
}

#[test]
fn people_are_told_what_is_missing_and_how_to_say_the_version() {
    let rum =
        Rum::new(RumSettings { stale_after: std::time::Duration::from_secs(60), ..settings() });
    let mut told = Vec::new();
    let mut note = |rum: &Rum, subject: &Subject, seconds| {
        told.push(format!("{:?}", measured(rum, subject, seconds).1));
    };
    let only = subject(vec![measure("cls", MeasureKind::Vital(Vital::Cls))]);
    note(&rum, &only, 0.0);
    let report = |rum: &Rum, version: &str, id: &str, seconds| {
        let body = json!({ "app": "shop", "version": version, "page": "/", "ended": true,
            "vitals": [{ "name": "CLS", "value": 0.1, "id": id }] });
        vitals(rum, &body, seconds).unwrap();
    };
    report(&rum, "1.4.2", "a", 1.0);
    report(&rum, "1.4.2", "b", 1.0);
    report(&rum, STABLE, "c", 1.0);
    note(&rum, &only, 2.0);
    report(&rum, CANARY, "d", 3.0);
    note(&rum, &only, 4.0);
    note(&rum, &only, 64.0);
    note(&rum, &subject(vec![measure("errors", MeasureKind::Errors)]), 65.0);
    let mine = RumSettings { apps: [("web".to_owned(), "other".to_owned())].into(), ..settings() };
    note(&Rum::new(mine), &only, 0.0);
    let full = Rum::new(RumSettings { max_ids: 2, ..settings() });
    measured(&full, &only, 0.0);
    report(&full, CANARY, "a", 1.0);
    report(&full, STABLE, "a", 1.0);
    report(&full, STABLE, "b", 1.0);
    note(&full, &only, 2.0);
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn refusals_say_what_to_do() {
    let rum = Rum::new(RumSettings { key: Some("public".to_owned()), ..settings() });
    let keyed = |body: &'static str| Arrival { key: Some("public"), ..arrival(body.as_bytes()) };
    let all = [
        rum.receive_vitals(&Arrival { origin: None, ..keyed("{}") }, at(0.0)),
        rum.receive_vitals(
            &Arrival { origin: Some("https://evil.example"), ..keyed("{}") },
            at(0.0),
        ),
        rum.receive_vitals(&Arrival { key: None, ..keyed("{}") }, at(0.0)),
        rum.receive_vitals(&Arrival { encoding: Some("br"), ..keyed("{}") }, at(0.0)),
        rum.receive_vitals(&Arrival { encoding: Some("gzip"), ..keyed("{}") }, at(0.0)),
        rum.receive_vitals(&keyed("{"), at(0.0)),
        rum.receive_vitals(&keyed("4"), at(0.0)),
        rum.receive_vitals(&keyed("{}"), at(0.0)),
        rum.receive_vitals(&keyed(r#"{"app":"shop"}"#), at(0.0)),
        rum.receive_faro(&keyed(r#"{"meta":{"app":{"version":"1"}}}"#), at(0.0)),
        Err(Refused::UnknownApp("web".to_owned())),
        Err(Refused::TooLarge),
        Err(Refused::TooOften { retry_after: 2 }),
    ];
    let told = all.map(|one| one.unwrap_err()).map(|one| format!("{} {one}", one.status()));
    insta::assert_snapshot!(told.join("\n"));
}
