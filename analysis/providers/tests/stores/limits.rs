//! Stores that ask to be left alone are.

use std::fmt::Write as _;

use analysis_providers::MetricProvider as _;

use crate::server::{Answer, Server};
use crate::told::{at, told};
use crate::vendors::{ALL, Vendor};

#[tokio::test]
async fn a_store_that_says_when_is_asked_again_then_and_not_before() {
    for vendor in ALL {
        for answer in [
            Answer::json(429, "{}").with("retry-after", "100"),
            Answer::json(503, "{}").with("retry-after", "100"),
            Answer::json(429, "{}").with("x-ratelimit-reset", "100"),
            Answer::json(429, "{}").with("x-ratelimit-reset", "1764000225"),
            Answer::json(429, "{}").with("x-ratelimit-reset", "1764000225000000"),
        ] {
            let server = Server::start().await;
            let provider = vendor.provider(&server.url).unwrap();
            let subjects = [vendor.subject("d1"), vendor.subject("d2")];
            provider.measure(&subjects, at(0)).await;
            server.set_all(answer);
            provider.measure(&subjects, at(125)).await;
            let asked = server.seen().len();
            server.clear();
            vendor.set_good(&server);
            for second in [126, 185, 224] {
                let measured = provider.measure(&subjects, at(second)).await;
                for one in &measured {
                    let text = told(one);
                    let until = "the next attempt is after 2025-11-24T16:03:45Z";
                    assert!(text.starts_with("Transient") && text.contains(until), "{text}");
                }
                assert_eq!(server.seen().len(), asked, "{vendor:?}: not asked at {second}");
            }
            let measured = provider.measure(&subjects, at(225)).await;
            assert!(told(&measured[0]).ends_with("canary canary errors: 1 of 87"), "{vendor:?}");
        }
    }
}

#[tokio::test]
async fn what_is_told_while_waiting() {
    let mut text = String::new();
    for vendor in ALL {
        let server = Server::start().await;
        let provider = vendor.provider(&server.url).unwrap();
        let subjects = [vendor.subject("d1")];
        provider.measure(&subjects, at(0)).await;
        server.set_all(Answer::json(429, "{\"message\":\"slow down\"}"));
        for second in [125, 126] {
            let measured = provider.measure(&subjects, at(second)).await;
            writeln!(text, "{vendor:?} at {second}: {}", told(&measured[0])).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_success_that_uses_up_the_limit_is_taken_and_then_waited_for() {
    let vendor = Vendor::Datadog;
    let server = Server::start().await;
    let provider = vendor.provider(&server.url).unwrap();
    let subjects = [vendor.subject("d1")];
    provider.measure(&subjects, at(0)).await;
    let good = Answer::json(200, vendor.good());
    let last = good.with("x-ratelimit-remaining", "0").with("x-ratelimit-reset", "30");
    server.set_all(last);
    assert!(told(&provider.measure(&subjects, at(125)).await[0]).starts_with("full\n"));
    assert!(provider.measure(&subjects, at(154)).await[0].result.is_err());
    assert!(provider.measure(&subjects, at(155)).await[0].result.is_ok());
}
