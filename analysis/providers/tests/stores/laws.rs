//! What every store must do, written once and run for each.

use std::time::Instant;

use analysis_providers::{MetricProvider as _, Persistence};

use crate::server::{Answer, Server};
use crate::told::{at, told};
use crate::vendors::{ALL, BOUND, SECRET, Vendor};

const COUNTS: &str =
    "full\n    baseline stable errors: 3 of 1900\n    canary canary errors: 1 of 87";

async fn started(vendor: Vendor) -> (Server, analysis_providers::Windows) {
    let server = Server::start().await;
    vendor.set_good(&server);
    let provider = vendor.provider(&server.url).unwrap();
    let measured = provider.measure(&[vendor.subject("d1")], at(0)).await;
    assert_eq!(told(&measured[0]), "full", "{vendor:?}");
    assert!(server.seen().is_empty(), "{vendor:?}: nothing has settled yet");
    (server, provider)
}

#[tokio::test]
async fn known_counts_come_out_exactly_and_once() {
    for vendor in ALL {
        let (server, provider) = started(vendor).await;
        let subjects = [vendor.subject("d1")];
        let measured = provider.measure(&subjects, at(125)).await;
        assert_eq!(told(&measured[0]), COUNTS, "{vendor:?}");
        assert_eq!(measured[0].result.as_ref().unwrap().0.at, at(120), "{vendor:?}");
        // The same interval and the next, which the store does not have yet.
        for second in [126, 150, 179, 180, 185] {
            let measured = provider.measure(&subjects, at(second)).await;
            assert_eq!(told(&measured[0]), "full", "{vendor:?} {second}");
        }
        let asked = server.seen().len();
        provider.measure(&subjects, at(186)).await;
        assert_eq!(server.seen().len(), asked, "{vendor:?}: only when an interval has settled");
        let measured = provider.measure(&subjects, at(520)).await;
        let text = told(&measured[0]);
        assert!(text.starts_with("stale, shop: errors of the baseline: no new data"), "{text}");
    }
}

#[tokio::test]
async fn an_empty_reply_is_no_data_and_never_zero() {
    for vendor in ALL {
        let (server, provider) = started(vendor).await;
        let empty = crate::told::reply(&format!("{}/empty.json", vendor.folder()));
        server.set_all(Answer::json(200, empty));
        let subjects = [vendor.subject("d1")];
        for second in [125, 185] {
            let measured = provider.measure(&subjects, at(second)).await;
            let text = told(&measured[0]);
            assert!(text.starts_with("none, shop: errors of the baseline: no data of"), "{text}");
            assert!(measured[0].result.as_ref().unwrap().0.observations.is_empty());
        }
        // They were not lost: when the store has them, they are there.
        server.clear();
        vendor.set_good(&server);
        let measured = provider.measure(&subjects, at(245)).await;
        assert_eq!(told(&measured[0]), COUNTS, "{vendor:?}");
    }
}

#[tokio::test]
async fn an_outage_costs_its_bound_and_loses_nothing() {
    for vendor in ALL {
        for answer in
            [Answer::Hang, Answer::Slow, Answer::Endless, Answer::BrokenOff, Answer::json(500, "")]
        {
            let (server, provider) = started(vendor).await;
            server.set_all(answer.clone());
            let subjects = [vendor.subject("d1"), vendor.subject("d2")];
            let begun = Instant::now();
            let measured = provider.measure(&subjects, at(125)).await;
            assert!(begun.elapsed() < 4 * BOUND, "{vendor:?} {answer:?} {:?}", begun.elapsed());
            let error = measured[0].result.as_ref().unwrap_err();
            let lasts = matches!(answer, Answer::Endless);
            assert_eq!(error.persistence == Persistence::Permanent, lasts, "{error}");
            server.clear();
            vendor.set_good(&server);
            let measured = provider.measure(&subjects[..1], at(126)).await;
            assert_eq!(told(&measured[0]), COUNTS, "{vendor:?} {answer:?}");
        }
    }
}

#[tokio::test]
async fn nothing_shows_a_credential() {
    for vendor in ALL {
        for status in [200, 400, 401, 403, 404, 429, 500] {
            let (server, provider) = started(vendor).await;
            // A store that repeats what it was sent.
            let key = vendor.key();
            let echo = format!(
                r#"{{"message":"bad key {key}","errors":[{{"message":"bad key {key}"}}]}}"#
            );
            server.set_all(Answer::json(status, echo));
            let measured = provider.measure(&[vendor.subject("d1")], at(125)).await;
            let text = format!("{measured:?} {provider:?}");
            assert!(!text.contains(SECRET), "{vendor:?} {status}: {text}");
            let sent = server.seen();
            let has_key = |value: &axum::http::HeaderValue| {
                value.to_str().is_ok_and(|value| value.contains(SECRET))
            };
            assert!(sent[0].headers.values().any(has_key), "{vendor:?}");
            let said = format!("{} {}", sent[0].path, sent[0].body);
            assert!(!said.contains(SECRET), "{vendor:?}: {said}");
        }
    }
}

#[tokio::test]
async fn many_subjects_share_their_queries() {
    for vendor in ALL {
        let server = Server::start().await;
        vendor.set_good(&server);
        let provider = vendor.provider(&server.url).unwrap();
        let subjects: Vec<_> = (0..100).map(|n| vendor.subject(&format!("d{n}"))).collect();
        provider.measure(&subjects, at(0)).await;
        let measured = provider.measure(&subjects, at(125)).await;
        assert!(measured.iter().all(|one| told(one) == COUNTS), "{vendor:?}");
        assert!(server.seen().len() <= 4, "{vendor:?}: {}", server.seen().len());
        let ids: Vec<&str> = measured.iter().map(|m| m.subject.as_str()).collect();
        assert!(ids.iter().enumerate().all(|(n, id)| *id == format!("d{n}")), "{ids:?}");
        provider.forget("d0");
        provider.forget("never heard of");
        assert!(provider.chosen("d0").is_empty());
        assert!(provider.measure(&[], at(126)).await.is_empty());
    }
}
