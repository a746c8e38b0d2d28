//! The embedded scraper against pages from files and against servers that misbehave.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use analysis::Arm;
use analysis_providers::{
    Access, Credentials, Instance, Measure, MeasureKind, MetricProvider as _, Scraper,
    ScraperSettings, Secret, Source, Subject,
};

use crate::server::{Answer, Server};
use crate::told::{at, reply, told, without_port};

pub(crate) fn subject(id: &str, urls: &[(Arm, String)]) -> Subject {
    let instances = urls.iter().enumerate().map(|(index, (arm, url))| Instance {
        name: format!("i{index}"),
        arm: *arm,
        url: Some(url.clone()),
        labels: BTreeMap::new(),
    });
    Subject {
        id: id.into(),
        service: "shop".into(),
        instances: instances.collect(),
        measures: vec![
            Measure {
                check: "errors".into(),
                kind: MeasureKind::Errors,
                source: Source::Auto,
                strata: Vec::new(),
            },
            Measure {
                check: "latency".into(),
                kind: MeasureKind::Latency,
                source: Source::Auto,
                strata: Vec::new(),
            },
        ],
    }
}

fn both(server: &Server) -> Subject {
    let url = |path: &str| format!("{}{path}", server.url);
    subject("d1", &[(Arm::Baseline, url("/baseline")), (Arm::Canary, url("/canary"))])
}

fn scraper() -> Scraper {
    let settings = ScraperSettings {
        timeout: Duration::from_millis(600),
        max_bytes: 1 << 20,
        ..ScraperSettings::default()
    };
    Scraper::new(settings).unwrap()
}

/// What the second scrape says when the canary answers `page` then, and the third when all is well again.
async fn second(page: Answer, start: &Answer, next: &Answer) -> String {
    let server = Server::start().await;
    let scraper = scraper();
    let subjects = [both(&server)];
    server.set("/baseline", start.clone());
    server.set("/canary", start.clone());
    let first = scraper.measure(&subjects, at(0)).await;
    assert_eq!(told(&first[0]), "full");
    server.set("/baseline", next.clone());
    server.set("/canary", page);
    let mut text = told(&scraper.measure(&subjects, at(5)).await[0]);
    server.set("/canary", next.clone());
    text.push_str("\nthen ");
    text.push_str(&told(&scraper.measure(&subjects, at(10)).await[0]));
    without_port(&text)
}

#[tokio::test]
async fn pages_from_files() {
    let start = Answer::text(reply("scrape/start.txt"));
    let next = Answer::text(reply("scrape/next.txt"));
    let mut text = String::new();
    for file in [
        "next.txt",
        "start.txt",
        "nan.txt",
        "infinite.txt",
        "negative.txt",
        "null.txt",
        "empty.txt",
        "truncated.txt",
        "reset.txt",
        "reset-unnoticed-by-start-time.txt",
        "duplicates.txt",
        "late.txt",
        "other-buckets.txt",
        "other-family.txt",
        "login.html",
    ] {
        let page = Answer::text(reply(&format!("scrape/{file}")));
        writeln!(text, "== {file}\n{}", second(page, &start, &next).await).unwrap();
    }
    let zipped = Answer::Whole(200, "text/plain", "gzip", reply("scrape/next.txt.gz"));
    writeln!(text, "== next.txt.gz\n{}", second(zipped, &start, &next).await).unwrap();
    let start = Answer::open_metrics(reply("scrape/start.om"));
    let next = Answer::open_metrics(reply("scrape/next.om"));
    for file in ["next.om", "truncated.om"] {
        let page = Answer::open_metrics(reply(&format!("scrape/{file}")));
        writeln!(text, "== {file}\n{}", second(page, &start, &next).await).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn servers_that_misbehave() {
    let start = Answer::text(reply("scrape/start.txt"));
    let next = Answer::text(reply("scrape/next.txt"));
    let mut many = String::new();
    for n in 0..60_000 {
        writeln!(many, "http_requests_total{{code=\"200\",n=\"{n}\"}} 1").unwrap();
    }
    let mut text = String::new();
    for (name, answer) in [
        ("500", Answer::Whole(500, "text/plain", "", b"oh no".to_vec())),
        ("401", Answer::Whole(401, "text/plain", "", Vec::new())),
        ("404", Answer::Whole(404, "text/plain", "", Vec::new())),
        ("redirect", Answer::Whole(302, "text/plain", "", Vec::new())),
        ("hang", Answer::Hang),
        ("slow", Answer::Slow),
        ("endless", Answer::Endless),
        ("broken off", Answer::BrokenOff),
        ("too many series", Answer::text(many)),
        ("a line without end", Answer::text("x".repeat(900_000))),
        ("no UTF-8", Answer::text(b"http_requests_total{code=\"\xff\"} 1\n".to_vec())),
        ("not gzip", Answer::Whole(200, "text/plain", "gzip", b"plain".to_vec())),
    ] {
        writeln!(text, "== {name}\n{}", second(answer, &start, &next).await).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn what_is_chosen_is_shown() {
    let server = Server::start().await;
    server.set("/baseline", Answer::text(reply("scrape/start.txt")));
    server.set("/canary", Answer::text(reply("scrape/start.txt")));
    let scraper = scraper();
    let mut subject = both(&server);
    subject.measures.push(Measure {
        check: "orders".into(),
        kind: MeasureKind::Errors,
        source: Source::Query { bad: "rate(a[5m])".into(), total: "a".into() },
        strata: Vec::new(),
    });
    scraper.measure(&[subject], at(0)).await;
    let choices = scraper.chosen("d1").into_iter().map(|choice| match choice.chosen {
        Ok(chosen) => format!("{}: {chosen}", choice.check),
        Err(text) => format!("{}: none, {text}", choice.check),
    });
    insta::assert_snapshot!(choices.collect::<Vec<_>>().join("\n"));
    scraper.forget("d1");
    assert!(scraper.chosen("d1").is_empty());
}

#[tokio::test]
async fn an_arm_that_was_away_brings_its_counts_with_both_arms_together() {
    let server = Server::start().await;
    let scraper = scraper();
    let subjects = [both(&server)];
    let page = |n: u32| Answer::text(format!("http_requests_total{{code=\"200\"}} {n}\n"));
    for (second, baseline, canary) in
        [(0, Some(10), Some(1)), (1, Some(20), None), (2, Some(30), None), (3, Some(40), Some(9))]
    {
        for (path, count) in [("/baseline", baseline), ("/canary", canary)] {
            server.set(path, count.map_or(Answer::Whole(503, "", "", Vec::new()), page));
        }
        let measured = scraper.measure(&subjects, at(second)).await;
        let text = told(&measured[0]);
        match second {
            0 => assert_eq!(text, "full"),
            3 => assert_eq!(
                text,
                "full\n    baseline i0 errors: 0 of 30\n    canary i1 errors: 0 of 8"
            ),
            _ => assert!(text.starts_with("partial, ") && !text.contains('\n'), "{text}"),
        }
    }
}

#[tokio::test]
async fn an_instance_that_is_away_does_not_hold_its_arm() {
    let server = Server::start().await;
    let scraper = scraper();
    let url = |path: &str| format!("{}{path}", server.url);
    let subjects = [subject(
        "d1",
        &[
            (Arm::Baseline, url("/baseline")),
            (Arm::Canary, url("/canary")),
            (Arm::Canary, "http://127.0.0.1:1/metrics".into()),
        ],
    )];
    for (second, count) in [(0, 10), (1, 14)] {
        let page = format!("http_requests_total{{code=\"200\"}} {count}\n");
        server.set("/", Answer::text(page));
        let text = told(&scraper.measure(&subjects, at(second)).await[0]);
        if second == 1 {
            let lines: Vec<&str> = text.lines().skip(1).collect();
            assert_eq!(lines, ["    baseline i0 errors: 0 of 4", "    canary i1 errors: 0 of 4"]);
            assert!(
                text.contains("canary i2: http://127.0.0.1:1/metrics cannot be reached"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_hundred_hung_instances_do_not_delay_the_living_beyond_their_bound() {
    let server = Server::start().await;
    server.set("/hang", Answer::Hang);
    let scraper = Scraper::new(ScraperSettings {
        timeout: Duration::from_millis(400),
        concurrency: 120,
        ..ScraperSettings::default()
    })
    .unwrap();
    let url = |path: &str| format!("{}{path}", server.url);
    let mut subjects: Vec<Subject> = (0..100)
        .map(|n| subject(&format!("h{n}"), &[(Arm::Canary, url(&format!("/hang{n}")))]))
        .collect();
    subjects.push(subject("alive", &[(Arm::Canary, url("/alive"))]));
    for (second, count) in [(0, 1), (1, 5), (2, 9)] {
        server
            .set("/alive", Answer::text(format!("http_requests_total{{code=\"200\"}} {count}\n")));
        let begun = Instant::now();
        let measured = scraper.measure(&subjects, at(second)).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(measured.len(), 101);
        assert!(measured[..100].iter().all(|m| m.result.is_err()));
        if second > 0 {
            assert_eq!(told(&measured[100]), "full\n    canary i0 errors: 0 of 4");
        }
    }
}

#[tokio::test]
async fn asks_for_openmetrics_and_carries_its_credentials() {
    let server = Server::start().await;
    server.set("/", Answer::text(""));
    let scraper = Scraper::new(ScraperSettings {
        access: Access {
            credentials: Credentials::Bearer(Secret::new("hunter2")),
            headers: vec![("X-Scope-OrgID".into(), Secret::new("tenant-7"))],
        },
        ..ScraperSettings::default()
    })
    .unwrap();
    scraper.measure(&[both(&server)], at(0)).await;
    let seen = server.seen();
    assert_eq!(seen.len(), 2, "each page once for all checks");
    let header = |name: &str| seen[0].headers[name].to_str().unwrap().to_owned();
    assert!(header("accept").starts_with("application/openmetrics-text;version=1.0.0"));
    assert_eq!(header("accept-encoding"), "gzip");
    assert_eq!(header("authorization"), "Bearer hunter2");
    assert_eq!(header("x-scope-orgid"), "tenant-7");
}
