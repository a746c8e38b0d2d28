//! What holds for each of these stores alike.

use std::collections::BTreeMap;
use std::time::Duration;

use analysis::{Arm, Sample};
use analysis_providers::{
    AwsCredentials, CloudWatchSettings, Completeness, Credentials, FetchError, GraphiteSettings,
    HttpJsonSettings, InfluxApi, InfluxSettings, Instance, JsonPointers, Measure, MeasureKind,
    Measured, MetricProvider as _, Secret, Source, Subject, TimeFormat, Windows,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::server::{Answer, Seen, Server};

/// A moment that is a multiple of every step.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_714_564_800 + second).unwrap()
}

pub(crate) const SECRETS: [&str; 2] = ["hunter2", "c2VyaW46aHVudGVyMg=="];

/// A store under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    CloudWatch,
    Influx1,
    Influx2,
    Influx3,
    Graphite,
    HttpJson,
}

pub(crate) const ALL: [Kind; 6] =
    [Kind::CloudWatch, Kind::Influx1, Kind::Influx2, Kind::Influx3, Kind::Graphite, Kind::HttpJson];

pub(crate) fn provider(kind: Kind, url: &str) -> Windows {
    let (step, settle) = (Duration::from_secs(60), Duration::from_secs(60));
    let (timeout, max_bytes) = (Duration::from_millis(300), 100_000);
    let secret = || Secret::new("hunter2");
    let influx = |api, credentials| {
        let mut settings =
            InfluxSettings { step, settle, timeout, max_bytes, ..InfluxSettings::new(url, api) };
        settings.access.credentials = credentials;
        settings.provider()
    };
    let built = match kind {
        Kind::CloudWatch => {
            let credentials = AwsCredentials {
                access_key: "AKIDEXAMPLE".into(),
                secret_key: Secret::new("SECRET-hunter2"),
                session_token: Some(Secret::new("SESSION-hunter2")),
            };
            let settings = CloudWatchSettings::new("eu-central-1", credentials, || at(0));
            let endpoint = Some(url.to_owned());
            CloudWatchSettings { endpoint, step, settle, timeout, max_bytes, ..settings }.provider()
        }
        Kind::Influx1 => influx(
            InfluxApi::V1 { database: "shop".into() },
            Credentials::Basic { user: "serin".into(), password: secret() },
        ),
        Kind::Influx2 => {
            influx(InfluxApi::V2 { org: "acme".into() }, Credentials::Bearer(secret()))
        }
        Kind::Influx3 => {
            influx(InfluxApi::V3 { database: "shop".into() }, Credentials::Bearer(secret()))
        }
        Kind::Graphite => {
            let url = url.replace("http://", "http://serin:hunter2@");
            GraphiteSettings { step, settle, timeout, max_bytes, ..GraphiteSettings::new(url) }
                .provider()
        }
        Kind::HttpJson => {
            let pointers = JsonPointers {
                series: "/rows".into(),
                instance: None,
                rows: None,
                time: "/t".into(),
                value: "/n".into(),
                error: None,
                partial: None,
            };
            let settings =
                HttpJsonSettings::new(format!("{url}/api"), TimeFormat::Seconds, pointers);
            let mut settings = HttpJsonSettings { step, settle, timeout, max_bytes, ..settings };
            settings.access.headers.push(("X-Token".into(), secret()));
            settings.provider()
        }
    };
    built.unwrap()
}

/// A query that names a column or metric and the version.
fn query(kind: Kind, metric: &str) -> String {
    match kind {
        Kind::CloudWatch => format!(
            "{{\"Namespace\": \"Shop\", \"MetricName\": \"{metric}\", \"Dimensions\": \
             {{\"Version\": \"${{version}}\"}}, \"Stat\": \"Sum\"}}"
        ),
        Kind::Influx1 => format!(
            "SELECT SUM({metric}) AS \"count\" FROM http WHERE version = '${{version}}' AND time >= ${{from}} AND \
             time < ${{to}} GROUP BY time(${{step}}s)"
        ),
        Kind::Influx2 => format!(
            "from(bucket: \"shop\") |> range(start: ${{from}}, stop: ${{to}}) |> filter(fn: (r) => r._field == \
             \"{metric}\" and r.version == \"${{version}}\") |> aggregateWindow(every: ${{step}}s, fn: sum, \
             timeSrc: \"_start\")"
        ),
        Kind::Influx3 => format!(
            "SELECT date_bin(INTERVAL '${{step}} seconds', time) AS time, SUM({metric}) AS count FROM http WHERE \
             version = '${{version}}' AND time >= ${{from}} AND time < ${{to}} GROUP BY 1"
        ),
        Kind::Graphite => {
            format!("sumSeries(seriesByTag('name=shop.{metric}', 'version=${{version}}'))")
        }
        Kind::HttpJson => {
            format!("counts?metric={metric}&version=${{version}}&from=${{from}}&to=${{to}}")
        }
    }
}

pub(crate) fn subject(kind: Kind, id: &str) -> Subject {
    let instance = |arm, version: &str| Instance {
        name: version.into(),
        arm,
        url: None,
        labels: BTreeMap::from([("version".into(), version.into())]),
    };
    Subject {
        id: id.into(),
        service: "shop".into(),
        instances: vec![instance(Arm::Baseline, "old"), instance(Arm::Canary, "new")],
        measures: vec![Measure {
            check: "errors".into(),
            kind: MeasureKind::Errors,
            source: Source::Query { bad: query(kind, "failed"), total: query(kind, "requests") },
            strata: Vec::new(),
        }],
    }
}

/// What was counted in the minute that begins at a moment: failed and all.
fn truth(version: &str, minute: i64) -> (u64, u64) {
    let n = u64::try_from(minute.rem_euclid(97)).unwrap();
    if version == "new" { (n % 3, 10 + n) } else { (n % 2, 1_000 + 7 * n) }
}

/// The window, the version and whether failures are meant, as the request says.
fn asked(kind: Kind, seen: &Seen) -> (i64, i64, String) {
    let number = |text: &str| text.trim_end_matches('s').parse::<i64>().unwrap();
    let json: Value = serde_json::from_str(&seen.body).unwrap_or_default();
    let moments = |text: &str, zone: &str| -> Vec<i64> {
        let found = text
            .split([' ', ',', ')', '\''])
            .filter(|word| word.ends_with(zone) && word.contains('T'));
        found.filter_map(|word| Some(word.parse::<Timestamp>().ok()?.as_second())).collect()
    };
    match kind {
        Kind::CloudWatch => {
            let second = |name: &str| json[name].as_i64().unwrap();
            (second("StartTime"), second("EndTime"), seen.body.clone())
        }
        Kind::Influx1 => {
            let q = seen.pair("q").to_owned();
            let words: Vec<&str> = q.split(' ').collect();
            let after =
                |mark: &str| number(words[words.iter().position(|w| *w == mark).unwrap() + 1]);
            (after(">="), after("<"), q.clone())
        }
        Kind::Influx2 | Kind::Influx3 => {
            let text = json[if kind == Kind::Influx2 { "query" } else { "q" }]
                .as_str()
                .unwrap()
                .to_owned();
            let found = moments(&text, "Z");
            (found[0], found[1], text)
        }
        // Graphite leaves out the point at `from`.
        Kind::Graphite => (
            number(seen.pair("from")) + 1,
            number(seen.pair("until")) + 1,
            seen.pair("target").to_owned(),
        ),
        Kind::HttpJson => {
            let text = format!("{} {}", seen.pair("metric"), seen.pair("version"));
            (number(seen.pair("from")), number(seen.pair("to")), text)
        }
    }
}

/// Answers as the store would, newest first, with failures only where there are some.
fn right(kind: Kind, seen: &Seen) -> Answer {
    let (from, to, text) = asked(kind, seen);
    let points = |text: &str| -> Vec<(i64, u64)> {
        let version = if text.contains("new") { "new" } else { "old" };
        let minutes = (from..to).step_by(60).map(|second| {
            let (failed, all) = truth(version, second / 60);
            (second, if text.contains("failed") { failed } else { all })
        });
        let mut points: Vec<_> = minutes.filter(|(_, count)| *count > 0).collect();
        points.reverse();
        points
    };
    Answer::ok(match kind {
        Kind::CloudWatch => {
            let json: Value = serde_json::from_str(&text).unwrap();
            let results = json["MetricDataQueries"].as_array().unwrap().iter().map(|query| {
                let points = points(&query.to_string());
                let (times, values): (Vec<_>, Vec<_>) = points.into_iter().unzip();
                json!({"Id": query["Id"], "Label": "x", "StatusCode": "Complete",
                    "Timestamps": times, "Values": values})
            });
            json!({"MetricDataResults": results.collect::<Vec<_>>(), "Messages": []}).to_string()
        }
        Kind::Influx1 => {
            let rows: Vec<_> =
                points(&text).into_iter().map(|(t, n)| json!([t * 1_000, n])).collect();
            json!({"results": [{"series": [{"columns": ["time", "count"], "values": rows}]}]})
                .to_string()
        }
        Kind::Influx2 => {
            let rows: Vec<String> = points(&text)
                .into_iter()
                .map(|(t, n)| format!(",_result,0,{},{n}\r\n", Timestamp::from_second(t).unwrap()))
                .collect();
            format!(",result,table,_time,_value\r\n{}\r\n", rows.concat())
        }
        Kind::Influx3 => {
            let time = |t| Timestamp::from_second(t).unwrap().to_string().replace('Z', "");
            let rows = points(&text).into_iter().map(|(t, n)| json!({"time": time(t), "count": n}));
            Value::from(rows.collect::<Vec<_>>()).to_string()
        }
        Kind::Graphite => {
            let rows: Vec<_> = points(&text).into_iter().map(|(t, n)| json!([n, t])).collect();
            // As Graphite does, a bucket more than was asked.
            let rows = [rows, vec![json!([7, to])]].concat();
            json!([{"target": "x", "datapoints": rows}]).to_string()
        }
        Kind::HttpJson => {
            let rows: Vec<_> =
                points(&text).into_iter().map(|(t, n)| json!({"t": t, "n": n})).collect();
            json!({"rows": rows}).to_string()
        }
    })
}

/// Adds up what came.
fn add(sums: &mut BTreeMap<Arm, (u64, u64)>, measured: Vec<Measured>) -> Vec<String> {
    let mut told = Vec::new();
    for one in measured {
        match one.result {
            Err(error) => told.push(error.text),
            Ok((scrape, completeness)) => {
                if completeness != Completeness::Full {
                    told.push(format!("{completeness:?}"));
                }
                for observation in scrape.observations {
                    let Sample::Events { events, of } = observation.sample else { panic!() };
                    let sum = sums.entry(observation.arm).or_default();
                    sum.0 += events;
                    sum.1 += of;
                }
            }
        }
    }
    told
}

#[tokio::test]
async fn every_interval_is_counted_once() {
    for kind in ALL {
        let server = Server::start(move |seen| right(kind, seen)).await;
        let provider = provider(kind, &server.url);
        let subjects = [subject(kind, "d1")];
        let mut sums = BTreeMap::new();
        for second in [0, 5, 61, 118, 130, 200, 201, 420, 421, 700] {
            let told = add(&mut sums, provider.measure(&subjects, at(second)).await);
            assert_eq!(told, Vec::<String>::new(), "{kind:?} at {second}");
        }
        // The last look was at 700 s, 60 s to settle: minutes 0 to 9.
        let minutes = at(0).as_second() / 60..at(600).as_second() / 60;
        for (arm, version) in [(Arm::Baseline, "old"), (Arm::Canary, "new")] {
            let all = minutes.clone().map(|minute| truth(version, minute));
            let expected = all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            assert_eq!(sums[&arm], expected, "{kind:?} {version}");
        }
    }
}

/// The result of a look at one interval.
async fn look(provider: &Windows, subjects: &[Subject]) -> Vec<Result<String, FetchError>> {
    provider.measure(subjects, at(0)).await;
    let measured = provider.measure(subjects, at(120)).await;
    measured
        .into_iter()
        .map(|one| {
            one.result.map(|(scrape, completeness)| {
                format!("{} observations, {completeness:?}", scrape.observations.len())
            })
        })
        .collect()
}

/// What came, without the server's address.
pub(crate) async fn told(provider: &Windows, subjects: &[Subject], url: &str) -> Vec<String> {
    let looked = look(provider, subjects).await;
    looked
        .into_iter()
        .map(|one| match one {
            Ok(text) => text,
            Err(error) => format!("{:?}: {}", error.persistence, error.text),
        })
        .map(|text| text.replace(url, "http://store"))
        .collect()
}

#[tokio::test]
async fn servers_that_misbehave() {
    /// A name and what the server does.
    type Case = (&'static str, fn(&Seen) -> Answer);
    let cases: [Case; 9] = [
        // A server that says everything it was told.
        ("unauthorized", |seen| {
            let names = ["authorization", "x-token", "x-amz-security-token"];
            let sent = names.iter().filter_map(|name| seen.headers.get(*name)?.to_str().ok());
            // A signature differs with the port, and is of no use to anybody else.
            let sent: Vec<_> = sent.filter(|value| !value.starts_with("AWS4-")).collect();
            Answer::Whole(401, Vec::new(), format!("not let in: {}", sent.join(" ")))
        }),
        ("forbidden", |_| Answer::Whole(403, Vec::new(), String::new())),
        ("limited", |_| Answer::Whole(429, vec![("retry-after", "30".into())], String::new())),
        ("failed", |_| {
            Answer::Whole(500, vec![("content-type", "text/html".into())], "<html>".into())
        }),
        ("elsewhere", |_| {
            Answer::Whole(302, vec![("location", "http://evil.example/".into())], String::new())
        }),
        ("a page to log in", |_| Answer::ok("<!doctype html><title>Log in</title>")),
        ("hangs", |_| Answer::Hang),
        ("endless", |_| Answer::Endless),
        ("broken off", |_| Answer::BrokenOff),
    ];
    let mut lines = Vec::new();
    for (name, case) in cases {
        lines.push(format!("# {name}"));
        for kind in ALL {
            let server = Server::start(case).await;
            let provider = provider(kind, &server.url);
            let begun = tokio::time::Instant::now();
            let line = told(&provider, &[subject(kind, "d1")], &server.url).await.join("; ");
            assert!(begun.elapsed() < Duration::from_secs(5), "{name} {kind:?}");
            lines.push(format!("{kind:?}: {line}"));
        }
    }
    let text = lines.join("\n");
    for secret in SECRETS {
        assert!(!text.contains(secret), "{text}");
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_store_is_left_alone_as_long_as_it_asks() {
    for kind in ALL {
        let limited =
            |_: &Seen| Answer::Whole(429, vec![("retry-after", "100".into())], String::new());
        let server = Server::start(limited).await;
        let provider = provider(kind, &server.url);
        let subjects = [subject(kind, "d1")];
        look(&provider, &subjects).await;
        let first = server.seen().len();
        assert!(first >= 1);
        provider.measure(&subjects, at(219)).await;
        assert_eq!(server.seen().len(), first, "{kind:?}");
        provider.measure(&subjects, at(240)).await;
        assert!(server.seen().len() > first, "{kind:?}");
    }
}

#[tokio::test]
async fn no_request_goes_anywhere_but_below_the_configured_address() {
    let server = Server::start(|_| Answer::ok("{\"rows\": []}")).await;
    let provider = provider(Kind::HttpJson, &server.url);
    let with = |version: &str, query: String| {
        let mut subject = subject(Kind::HttpJson, "d1");
        subject.instances[1].labels.insert("version".into(), version.into());
        let total = query.clone();
        subject.measures[0].source = Source::Query { bad: format!("{query}&bad"), total };
        subject
    };
    let window = "${version}?from=${from}&to=${to}";
    let mut lines = Vec::new();
    for (version, query) in [
        ("new", format!("http://127.0.0.1:9/{window}")),
        ("new", format!("../admin/{window}")),
        ("new", format!("//127.0.0.1:9/{window}")),
        ("../../admin", window.to_owned()),
        ("a/../../admin", window.to_owned()),
    ] {
        let mut subject = with(version, query);
        subject.id = format!("d{}", lines.len());
        lines.extend(told(&provider, &[subject], &server.url).await);
    }
    assert!(server.seen().is_empty(), "{:?}", server.seen());
    let mut subject = with("a/b?c#d", window.to_owned());
    subject.id = "fine".into();
    lines.extend(told(&provider, &[subject], &server.url).await);
    let paths: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
    assert!(paths.iter().all(|path| path.starts_with("/api/")), "{paths:?}");
    assert!(paths.contains(&"/api/a%2Fb%3Fc%23d".to_owned()), "{paths:?}");
    insta::assert_snapshot!(lines.join("\n"));
}
