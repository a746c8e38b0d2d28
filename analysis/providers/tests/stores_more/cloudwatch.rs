//! `CloudWatch` alone: pages, wrong queries among right ones, signatures.

use analysis_providers::{MetricProvider as _, Source};
use serde_json::{Value, json};

use crate::server::{Answer, Seen, Server};
use crate::stores::{Kind, SECRETS, at, provider, subject, told};

/// One minute of every query of a request.
fn page(seen: &Seen, status: &str, next: Option<&str>) -> Answer {
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    let queries = body["MetricDataQueries"].as_array().unwrap();
    let results = queries.iter().map(|query| {
        json!({"Id": query["Id"], "Label": "x", "StatusCode": status,
            "Timestamps": [at(0).as_second()], "Values": [5]})
    });
    let results: Vec<Value> = results.collect();
    Answer::ok(json!({"MetricDataResults": results, "Messages": [], "NextToken": next}).to_string())
}

/// A page with a word on completeness and no values.
fn bare(seen: &Seen, status: &str, next: Option<&str>) -> Answer {
    let Answer::Whole(code, headers, body) = page(seen, status, next) else { panic!() };
    let mut body: Value = serde_json::from_str(&body).unwrap();
    for result in body["MetricDataResults"].as_array_mut().unwrap() {
        result["Timestamps"] = json!([]);
        result["Values"] = json!([]);
    }
    Answer::Whole(code, headers, body.to_string())
}

fn token(seen: &Seen) -> Option<String> {
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    body["NextToken"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn pages_are_followed_to_the_end_and_no_further() {
    let three = |seen: &Seen| match token(seen).as_deref() {
        None => bare(seen, "PartialData", Some("two")),
        Some("two") => page(seen, "PartialData", Some("three")),
        _ => bare(seen, "Complete", None),
    };
    let mut lines = Vec::new();
    let server = Server::start(three).await;
    let subjects = [subject(Kind::CloudWatch, "d1")];
    lines.extend(told(&provider(Kind::CloudWatch, &server.url), &subjects, &server.url).await);
    assert_eq!(server.seen().len(), 3);

    let server = Server::start(|seen: &Seen| bare(seen, "PartialData", Some("again"))).await;
    lines.extend(told(&provider(Kind::CloudWatch, &server.url), &subjects, &server.url).await);
    assert_eq!(server.seen().len(), 2, "a token that leads to itself is not followed");

    let endless = |seen: &Seen| {
        let next = token(seen).map_or(0, |token| token.parse::<u32>().unwrap()) + 1;
        bare(seen, "PartialData", Some(&next.to_string()))
    };
    let server = Server::start(endless).await;
    lines.extend(told(&provider(Kind::CloudWatch, &server.url), &subjects, &server.url).await);
    assert_eq!(server.seen().len(), 20);
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn a_wrong_query_takes_nothing_from_the_others() {
    let refusing = |seen: &Seen| {
        if seen.body.contains("Summ") {
            let body = json!({"__type": "com.amazonaws.cloudwatch#ValidationException",
                "message": "Invalid metric stat: Summ"});
            return Answer::Whole(400, Vec::new(), body.to_string());
        }
        page(seen, "Complete", None)
    };
    let server = Server::start(refusing).await;
    let mut subjects = ["d1", "d2", "d3", "d4"].map(|id| subject(Kind::CloudWatch, id));
    for (subject, name) in subjects.iter_mut().zip(["a", "b", "c", "d"]) {
        let Source::Query { bad, total } = &mut subject.measures[0].source else { panic!() };
        *bad = bad.replace("Shop", name);
        *total = total.replace("Shop", name);
        if name == "c" {
            *bad = bad.replace("\"Sum\"", "\"Summ\"");
        }
    }
    let lines = told(&provider(Kind::CloudWatch, &server.url), &subjects, &server.url).await;
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn requests_are_signed_and_shared() {
    let server = Server::start(|seen| page(seen, "Complete", None)).await;
    let mut subjects = ["d1", "d2", "d3"].map(|id| subject(Kind::CloudWatch, id));
    let Source::Query { bad, .. } = &mut subjects[2].measures[0].source else { panic!() };
    *bad = "SELECT SUM(failed) FROM \"Shop\" WHERE Version = '${version}'".into();
    let provider = provider(Kind::CloudWatch, &server.url);
    provider.measure(&subjects, at(0)).await;
    provider.measure(&subjects, at(120)).await;
    let seen = server.seen();
    // Two arms with a Metrics Insights query each, which AWS takes one at a time, and everything else at once.
    assert_eq!(seen.len(), 3);
    let together: usize = seen.iter().map(|one| one.body.matches("\"Id\"").count()).max().unwrap();
    assert_eq!(together, 4, "equal queries of several subjects are asked once");
    for one in seen {
        assert_eq!(one.headers["x-amz-target"], "GraniteServiceVersion20100801.GetMetricData");
        assert_eq!(one.headers["content-type"], "application/x-amz-json-1.0");
        assert_eq!(one.headers["x-amz-date"], "20240501T120000Z");
        assert_eq!(one.headers["x-amz-security-token"], "SESSION-hunter2");
        let signed = one.headers["authorization"].to_str().unwrap();
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240501/eu-central-1/monitoring/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=";
        assert!(signed.starts_with(expected), "{signed}");
        assert!(!one.body.contains("hunter2") && !signed.contains("hunter2"));
    }
    let shown = format!("{provider:?}");
    assert!(SECRETS.iter().all(|secret| !shown.contains(secret)), "{shown}");
}
