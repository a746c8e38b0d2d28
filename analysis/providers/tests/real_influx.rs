//! The `InfluxDB` provider against a real `InfluxDB` 1.
//!
//! Runs where the program `influxd` is installed; elsewhere it says that it was left out. The sums of all
//! scrapes must equal what was written, to the request, across an outage of the store.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "it runs a program beside itself, against the real clock"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use analysis::{Arm, Sample};
use analysis_providers::{
    Completeness, InfluxApi, InfluxSettings, Instance, Measure, MeasureKind, MetricProvider as _,
    Source, Subject, Windows,
};
use jiff::Timestamp;

/// Longest wait for the program to answer.
const BOUND: Duration = Duration::from_secs(30);

/// A version that would end every string that is not escaped.
const NEW: &str = r#"it's "new" \ v2"#;

/// Failed and all requests by arm and process.
type Sums = BTreeMap<(Arm, String), (u64, u64)>;

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("influxd")).find(|file| file.is_file())
}

/// The running program; ended by its own process when the test ends in any way.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn start(program: &Path, folder: &Path, port: u16, client: &reqwest::Client) -> Running {
    let root = folder.display();
    let file = folder.join("influxdb.conf");
    let configuration = format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:{}\"\n[meta]\ndir = \"{root}/meta\"\n\
         [data]\ndir = \"{root}/data\"\nwal-dir = \"{root}/wal\"\n[monitor]\nstore-enabled = false\n\
         [http]\nbind-address = \"127.0.0.1:{port}\"\nlog-enabled = false\n",
        free_port()
    );
    std::fs::write(&file, configuration).unwrap();
    let running = Running(
        Command::new(program)
            .arg("-config")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let begun = Instant::now();
    let url = format!("http://127.0.0.1:{port}/ping");
    while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(begun.elapsed() < BOUND, "influxd did not answer within {BOUND:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_714_564_800 + second).unwrap()
}

fn query(metric: &str) -> String {
    format!(
        "SELECT SUM({metric}) AS \"count\" FROM http WHERE version = '${{version}}' AND time >= ${{from}} AND \
         time < ${{to}} GROUP BY time(${{step}}s), pod"
    )
}

fn subject() -> Subject {
    let instance = |arm, version: &str| Instance {
        name: version.into(),
        arm,
        url: None,
        labels: BTreeMap::from([("version".into(), version.into())]),
    };
    Subject {
        id: "d1".into(),
        service: "shop".into(),
        instances: vec![instance(Arm::Baseline, "old"), instance(Arm::Canary, NEW)],
        measures: vec![Measure {
            check: "errors".into(),
            kind: MeasureKind::Errors,
            source: Source::Query { bad: query("failed"), total: query("requests") },
            strata: Vec::new(),
        }],
    }
}

/// What each process counts every two seconds of `seconds`, as lines to write and as sums.
fn traffic(seconds: std::ops::Range<i64>) -> (String, Sums) {
    let (mut lines, mut sums) = (String::new(), Sums::new());
    for second in seconds.step_by(2) {
        for (arm, version, pod) in
            [(Arm::Baseline, "old", "p1"), (Arm::Baseline, "old", "p2"), (Arm::Canary, NEW, "p3")]
        {
            let n = second.unsigned_abs() % 11;
            let (failed, all) = (n % 3, if arm == Arm::Canary { 3 + n } else { 40 + 2 * n });
            let tag = version.replace(' ', "\\ ");
            let moment = at(second).as_second();
            // A failure that did not happen is not written.
            let failures = if failed == 0 { String::new() } else { format!(",failed={failed}i") };
            lines.push_str(&format!(
                "http,version={tag},pod={pod} requests={all}i{failures} {moment}\n"
            ));
            let sum = sums.entry((arm, pod.to_owned())).or_default();
            sum.0 += failed;
            sum.1 += all;
        }
    }
    (lines, sums)
}

async fn measure(provider: &Windows, second: i64, sums: &mut Sums) -> Result<Completeness, String> {
    let measured = provider.measure(&[subject()], at(second)).await.remove(0);
    let (scrape, completeness) = measured.result.map_err(|error| error.text)?;
    for one in scrape.observations {
        let Sample::Events { events, of } = one.sample else { panic!("{one:?}") };
        let sum = sums.entry((one.arm, one.instance.clone())).or_default();
        sum.0 += events;
        sum.1 += of;
    }
    Ok(completeness)
}

#[tokio::test]
async fn sums_equal_what_was_written_across_an_outage() {
    let Some(program) = program() else {
        eprintln!(
            "left out: the test against a real InfluxDB, as no program `influxd` is on the path"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let running = start(&program, folder.path(), port, &client).await;
    let create = format!("{url}/query?q=CREATE%20DATABASE%20shop");
    client.post(create).send().await.unwrap().error_for_status().unwrap();
    let (lines, truth) = traffic(0..300);
    let write = client.post(format!("{url}/write?db=shop&precision=s")).body(lines);
    write.send().await.unwrap().error_for_status().unwrap();

    let settings = InfluxSettings::new(&url, InfluxApi::V1 { database: "shop".into() });
    let provider = settings.provider().unwrap();
    let mut sums = Sums::new();
    for second in [0, 7, 31, 60, 61, 100] {
        assert_eq!(measure(&provider, second, &mut sums).await, Ok(Completeness::Full), "{second}");
    }
    assert_eq!(sums, traffic(0..80).1);

    // Without the store nothing is counted, and nothing is lost.
    drop(running);
    let error = measure(&provider, 150, &mut sums).await.unwrap_err();
    assert!(error.contains("cannot be reached") || error.contains("broke off"), "{error}");
    assert_eq!(sums, traffic(0..80).1);
    let _running = start(&program, folder.path(), port, &client).await;
    for second in [200, 320] {
        assert_eq!(measure(&provider, second, &mut sums).await, Ok(Completeness::Full), "{second}");
    }
    assert_eq!(sums, truth);

    // A database that is not there is told by an error inside of a success.
    let settings = InfluxSettings::new(&url, InfluxApi::V1 { database: "nope".into() });
    let other = settings.provider().unwrap();
    measure(&other, 0, &mut sums).await.unwrap();
    let error = measure(&other, 60, &mut sums).await.unwrap_err();
    assert!(error.contains("database not found: nope"), "{error}");
}
