//! What is accepted, and what becomes of it.

use std::time::Duration;

use analysis::{OnBreach, Test};
use rollout::plan::Plan;
use rollout::policy::{Failed, Metrics, Named, Source, StatusRule, Steps, Target, VersionText};

use super::*;

const FIVE_LINES: &str = "\
metadata: { name: checkout }
spec:
  paths: [deploy/checkout/**]
  target: { process: { command: \"./service --port ${PORT}\" } }
";

fn one(text: &str) -> Policy {
    let mut policies = policies("p.yaml", text.as_bytes())
        .unwrap_or_else(|p| panic!("{}", render_problems(&p, Colour::Never)));
    assert_eq!(policies.len(), 1);
    policies.remove(0)
}

/// A policy with one more line in its `spec`.
fn with(line: &str) -> Policy {
    one(&format!("{FIVE_LINES}  {line}\n"))
}

#[test]
fn a_policy_of_a_few_lines_has_good_defaults() {
    let policy = one(FIVE_LINES);
    let Target::Process(process) = &policy.target;
    assert_eq!(process.command, ["./service", "--port", "${PORT}"]);
    assert_eq!(policy.metrics, Metrics::Proxy);
    assert_eq!(policy.bake, Duration::from_mins(30));
    let harm = policy.analysis.harm;
    assert!((harm - 0.001).abs() < 1e-15);
    assert_eq!(policy.analysis.checks.len(), 2);
    assert_eq!(Plan::new(&policy.steps).unwrap().steps().len(), 7);
}

#[test]
fn the_policy_of_the_design_is_read() {
    let policy = one(
        "apiVersion: serin.dev/v1
kind: CanaryPolicy
metadata: { name: checkout }
spec:
  paths: [deploy/checkout/**]            # commits that touch these
  target: { process: { command: [./service] } }
  steps: [{ weight: 1%, atLeast: 30s, deadline: 10m }, { weight: 10%, atLeast: 2m }, { weight: 50% }]
  harm: 0.1%
  bake: 30m
  checks:
    - errors: { tolerance: { ratio: 1.25, absolute: 0.1% } }
    - latency: { tolerance: { stretch: 10%, ratio: 1.1 } }
    - errors: { objective: 99.5% }
  falseAlarm: 1%
  onFail: { revert: push }
  onInconclusive: hold
  notify: [deploys]
",
    );
    let names: Vec<_> = policy.analysis.checks.iter().map(|check| &*check.name).collect();
    assert_eq!(names, ["errors", "latency", "errors-2"]);
    assert_eq!(
        policy.analysis.checks[2].test,
        Test::ErrorObjective { at_most: 0.005, on_breach: OnBreach::Pause }
    );
    assert_eq!(policy.notify, ["deploys"]);
}

#[test]
fn a_last_step_of_all_traffic_is_the_promotion() {
    let Steps::ByHand(steps) = with("steps: [{ weight: 1% }, { weight: 100% }]").steps else {
        panic!()
    };
    assert_eq!(steps.len(), 1);
}

#[test]
fn bare_words_and_empty_values_choose_the_defaults() {
    let default = one(FIVE_LINES);
    assert_eq!(with("checks: [errors, latency]"), default);
    assert_eq!(with("checks: [errors: , latency: {}]"), default);
    assert_eq!(with("steps: { auto: {} }"), default);
    assert_eq!(with("steps: { auto: }"), default);
    assert_eq!(with("router: proxy"), default);
    assert_eq!(with("router: { proxy: { listen: localhost:8080 } }"), default);
    assert_eq!(with("metrics: { proxy: {} }"), default);
}

#[test]
fn anchors_may_repeat_a_value() {
    let policy = with("harm: &h 0.5%\n  latencyHarm: *h");
    assert!((policy.analysis.latency_harm - 0.005).abs() < 1e-15);
}

#[test]
fn an_explicit_name_is_not_given_again() {
    let policy =
        with("checks: [errors, errors: { objective: 99% }, { name: errors-2, errors: {} }]");
    let names: Vec<_> = policy.analysis.checks.iter().map(|check| &*check.name).collect();
    assert_eq!(names, ["errors", "errors-3", "errors-2"]);
}

#[test]
fn several_documents_make_several_policies_and_empty_ones_none() {
    let second = FIVE_LINES.replace("name: checkout", "name: cart")
        + "  router: { proxy: { listen: 127.0.0.1:8081 } }\n";
    let text = format!("---\n{FIVE_LINES}---\n# off\n---\n{second}");
    let names: Vec<_> =
        policies("p.yaml", text.as_bytes()).unwrap().into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["checkout", "cart"]);
    assert!(policies("p.yaml", b"# nothing\n").unwrap().is_empty());
}

#[test]
fn settings_are_read_with_their_secrets() {
    let text = b"\
listen: 0.0.0.0:8787
publicUrl: https://serin.example.com/
repositories:
  - { name: shop, url: https://example.com/shop.git, credentials: { tokenFrom: { env: TOKEN } }, onlyDryRun: true }
  - { name: local, url: ../shop.git, branch: release/1.x }
  - { name: port, url: ssh://git@example.com:22/shop.git, credentials: { sshAgent: true, user: deploy } }
providers: [{ name: main, prometheus: { url: http://127.0.0.1:9090, bearerFrom: { env: TOKEN } } }]
notifiers: [{ name: deploys, slack: { webhookFrom: { env: SLACK_URL } } }]
api: { tokenFrom: { env: TOKEN } }
telemetry: { otlp: http://127.0.0.1:4318 }
otlp: { grpc: 0.0.0.0:4317 }
";
    let instance = instance("serin.yaml", text, Path::new(BASE), &env)
        .unwrap_or_else(|p| panic!("{}", render_problems(&p, Colour::Never)));
    assert_eq!(instance.public_url.as_deref(), Some("https://serin.example.com"));
    assert_eq!(instance.journal, Path::new("/nowhere/serin-work/journal.db"));
    assert_eq!(instance.grpc, Some(([0, 0, 0, 0], 4317).into()));
    assert_eq!(instance.repositories[1].url, "/nowhere/../shop.git");
    assert_eq!(instance.repositories[2].url, "ssh://git@example.com:22/shop.git");
    let Credentials::SshAgent { user } = &instance.repositories[2].credentials else { panic!() };
    assert_eq!(user, "deploy");
    assert_eq!(instance.repositories[0].pushing, Pushing::DryRun);
    let token = instance.api_token.clone().unwrap();
    assert!(token.matches(b"s3cret") && !token.matches(b"s3cre"));
    let NotifierKind::Slack { webhook } = &instance.notifiers[0].kind else { panic!() };
    assert_eq!(webhook.expose(), "https://hooks.slack.com/services/T0/B0/s3cret");
    let printed = format!("{instance:?} {token}");
    assert!(!printed.contains("s3cret"), "{printed}");
}

#[test]
fn names_that_the_instance_does_not_know_are_told() {
    let settings = b"repositories: [{ name: shop, url: /srv/shop.git }]\nnotifiers: [{ name: deploys, webhook: { url: http://127.0.0.1/x, secretFrom: { env: SLACK_URL } } }]\n";
    let instance = instance("serin.yaml", settings, Path::new(BASE), &env).unwrap();
    let text = format!(
        "{FIVE_LINES}  notify: [deploys, deplois]\n  metrics: {{ prometheus: {{ provider: main }} }}\n"
    );
    let problems = folder(&[("a.yaml", text.as_bytes())], Some(&instance)).unwrap_err();
    let told: Vec<_> = problems.iter().map(|p| (&*p.message, p.hint.as_deref().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("serin.yaml knows no notifier `deplois`", "did you mean `deploys`?"),
            ("serin.yaml knows no provider `main`", "serin.yaml names no provider yet"),
        ]
    );
}

#[test]
fn a_secret_in_a_file_is_read_without_its_line_break() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "s3cret\n").unwrap();
    let read = |path: &str| resolve(&Reference::File(path.into()), folder.path(), &env);
    assert_eq!(read("token").unwrap().expose(), "s3cret");
    assert!(matches!(read("none"), Err(SecretError::Unreadable { .. })));
    assert!(matches!(read("."), Err(SecretError::Unreadable { .. })));
    std::fs::write(folder.path().join("long"), vec![b'x'; 70_000]).unwrap();
    assert!(matches!(read("long"), Err(SecretError::NotText(_))));
}

#[test]
fn the_same_service_in_two_files_is_told_with_the_other_file() {
    let problems =
        folder(&[("a.yaml", FIVE_LINES.as_bytes()), ("b.yaml", FIVE_LINES.as_bytes())], None)
            .unwrap_err();
    assert_eq!(problems[0].file, "b.yaml");
    assert_eq!(problems[0].message, "two services are named `checkout`, the other one in `a.yaml`");
}

/// The checks with what they read and where that is found.
fn read(policy: &Policy) -> Vec<(&str, &str, Option<&Source>)> {
    let source = |reads| policy.sources.get(reads).map(|measurement| &measurement.source);
    let checks = policy.analysis.checks.iter();
    checks.map(|check| (&*check.name, &*check.reads, source(&check.reads))).collect()
}

#[test]
fn checks_with_the_same_source_share_it_and_others_read_their_own_name() {
    let policy = with(
        "metrics: scrape
  checks:
    - errors: { metric: orders_total, status: { label: state, failed: [lost] } }
    - errors
    - errors: { metric: orders_total, status: { label: state, failed: [lost] }, objective: 99%, onBreach: rollBack }
    - { name: returns, errors: { bad: returns_lost_total, total: returns_total, by: [] } }
    - latency: { metric: rpc_seconds }
    - { name: split, latency: { by: [route, zone] } }
    - restarts
",
    );
    let named = |metric: &str, status| {
        Source::Named(Named { metric: metric.to_owned(), status, ..Named::default() })
    };
    let failed = Failed::Values(vec!["lost".to_owned()]);
    let orders = named("orders_total", Some(StatusRule { label: "state".to_owned(), failed }));
    let returns =
        Source::Query { bad: "returns_lost_total".to_owned(), total: "returns_total".to_owned() };
    assert_eq!(
        read(&policy),
        [
            ("errors-2", "errors-2", Some(&orders)),
            ("errors", "errors", None),
            ("errors-3", "errors-2", Some(&orders)),
            ("returns", "returns", Some(&returns)),
            ("latency", "latency", Some(&named("rpc_seconds", None))),
            ("split", "split", Some(&Source::Auto)),
            ("restarts", "restarts", None),
        ]
    );
    assert_eq!(policy.sources["returns"].by, Some(vec![]));
    assert_eq!(policy.sources["split"].by, Some(vec!["route".to_owned(), "zone".to_owned()]));
    assert_eq!(policy.sources["errors-2"].by, None);
}

#[test]
fn a_store_is_asked_by_queries() {
    let policy = with(
        "metrics: { store: { provider: dd, version: short, labels: { env: prod } } }
  checks:
    - errors: { bad: 'a{${env},${version}}', total: 'b{${version}}' }
    - latency: { total: 'b{${version}}', slower: { 1s: 's{${version}}', 250ms: 'q{${version}}' } }
    - { name: queue, gauge: { query: 'g{${version}}', atMost: 1.5GB, for: 5m } }
",
    );
    let Metrics::Store { version, interval, .. } = &policy.metrics else { panic!() };
    assert_eq!((*version, *interval), (VersionText::Short, Duration::from_secs(60)));
    let slower = vec![
        (Duration::from_millis(250), "q{${version}}".to_owned()),
        (Duration::from_secs(1), "s{${version}}".to_owned()),
    ];
    assert_eq!(
        policy.sources["latency"].source,
        Source::Slower { total: "b{${version}}".to_owned(), slower }
    );
    assert_eq!(
        policy.analysis.checks[2].test,
        Test::Gauge { at_most: Some(1.5e9), sustained: Duration::from_mins(5) }
    );
}

#[test]
fn quantities_have_units() {
    for (text, value) in [
        ("1.5GB", 1.5e9),
        ("512Mi", 536_870_912.0),
        ("512 MiB", 536_870_912.0),
        ("80%", 0.8),
        ("0.8", 0.8),
        ("3k", 3e3),
        ("7B", 7.0),
        ("0", 0.0),
    ] {
        assert_eq!(units::quantity(text).ok(), Some(value), "{text}");
    }
    for text in ["", "-1", "1e9", "1.2.3", "GB", "1 GBs", "9999999Ti", "NaN", "inf", "½"] {
        assert!(units::quantity(text).is_err(), "{text}");
    }
}

#[test]
fn warm_up_is_the_checks_own_else_the_policys_else_that_of_its_kind() {
    let seconds = |policy: &Policy| -> Vec<u64> {
        policy.analysis.checks.iter().map(|check| check.warm_up.as_secs()).collect()
    };
    assert_eq!(seconds(&one(FIVE_LINES)), [0, 30]);
    assert_eq!(seconds(&with("warmUp: 0s")), [0, 0]);
    assert_eq!(
        seconds(&with("warmUp: 1m\n  checks: [errors, latency: { warmUp: 5s }, restarts]")),
        [60, 5, 60]
    );
}

#[test]
fn kayentas_judge_has_its_defaults_written_out() {
    let policy = with(
        "checks:
    - latency: { judge: kayenta, kayenta: { critical: true, effectSize: { allowedIncrease: 1.1 } } }
",
    );
    let Test::Kayenta(metric) = &policy.analysis.checks[0].test else { panic!() };
    assert_eq!(metric.value, analysis::kayenta::Value::Latency(0.99));
    assert_eq!(metric.direction, Some(analysis::kayenta::Direction::Increase));
    assert_eq!(metric.effect_size.allowed_increase, Some(1.1));
    assert_eq!(metric.effect_size.critical_decrease, Some(1.0));
    assert!(metric.critical && metric.validate().is_ok());
}

#[test]
fn stores_are_read_with_their_secrets() {
    let text = b"\
repositories: [{ name: shop, url: /srv/shop.git }]
providers:
  - { name: aws, prometheus: { url: https://aps/workspaces/ws-1, sigv4: { region: eu-central-1, accessKeyFrom: { env: TOKEN }, secretKeyFrom: { env: TOKEN }, sessionTokenFrom: { env: TOKEN } } } }
  - { name: gcp, prometheus: { url: https://gmp, tokenFile: token } }
  - { name: dd, datadog: { site: us5.datadoghq.com, apiKeyFrom: { env: TOKEN }, applicationKeyFrom: { env: TOKEN }, step: 20s, settle: 2m, timeout: 9s } }
  - { name: nr, newRelic: { account: 1234567, region: eu, apiKeyFrom: { env: TOKEN } } }
  - { name: dt, dynatrace: { url: https://abc.live.dynatrace.com, api: classic, tokenFrom: { env: TOKEN } } }
  - { name: es, elastic: { url: https://elastic:9200, basic: { user: serin, passwordFrom: { env: TOKEN } } } }
  - { name: cw, cloudWatch: { region: eu-central-1, accessKeyFrom: { env: TOKEN }, secretKeyFrom: { env: TOKEN }, endpoint: https://vpce.example } }
  - { name: in, influx: { url: http://influx:8086, version: 2, org: shop, tokenFrom: { env: TOKEN } } }
  - { name: gr, graphite: { url: http://graphite:8080, headers: { X-Org: shop } } }
  - { name: ht, http: { url: http://metrics, time: milliseconds, pointers: { series: /s, rows: /p, time: /0, value: /1 } } }
  - { name: ja, jaeger: { url: http://jaeger:16686, page: https://jaeger.example.com/ui, timeout: 9s, bearerFrom: { env: TOKEN } } }
  - { name: te, tempo: { url: http://tempo:3200, tenant: shop, grafana: { url: https://grafana.example.com, datasource: tempo-uid } } }
  - { name: zi, zipkin: { url: http://zipkin:9411, basic: { user: serin, passwordFrom: { env: TOKEN } } } }
";
    let instance = instance("serin.yaml", text, Path::new(BASE), &env)
        .unwrap_or_else(|p| panic!("{}", render_problems(&p, Colour::Never)));
    let kinds: Vec<_> = instance.providers.iter().map(|p| p.kind.name()).collect();
    assert_eq!(kinds[..2], ["prometheus"; 2]);
    assert_eq!(kinds[2..10], STORES);
    assert_eq!(kinds[10..], TRACES);
    let printed = format!("{instance:?}");
    assert!(!printed.contains("s3cret"), "{printed}");
}

#[test]
fn a_store_that_needs_queries_is_told_with_those_of_its_kind() {
    let settings = b"repositories: [{ name: shop, url: /srv/shop.git }]\nproviders:\n  - { name: dd, datadog: { site: datadoghq.eu, apiKeyFrom: { env: TOKEN }, applicationKeyFrom: { env: TOKEN } } }\n  - { name: main, prometheus: { url: http://127.0.0.1:9090 } }\n  - { name: te, tempo: { url: http://tempo:3200 } }\n";
    let instance = instance("serin.yaml", settings, Path::new(BASE), &env).unwrap();
    let told = |more: &str| -> Vec<(String, String, String)> {
        let text = format!("{FIVE_LINES}  {more}\n");
        let problems = folder(&[("a.yaml", text.as_bytes())], Some(&instance)).err();
        let told = |p: Problem| (p.key, p.message, p.hint.unwrap_or_default());
        problems.unwrap_or_default().into_iter().map(told).collect()
    };
    let none: [(String, String, String); 0] = [];
    assert_eq!(told("metrics: { store: { provider: dd } }\n  checks: [errors]"), none);
    assert_eq!(told("metrics: { prometheus: { provider: main } }"), none);
    insta::assert_debug_snapshot!([
        told("metrics: { store: { provider: dd } }"),
        told("metrics: { store: { provider: dd } }\n  checks: [errors, restarts]"),
        told("metrics: { store: { provider: main } }"),
        told("metrics: { prometheus: { provider: dd } }"),
        told("metrics: { store: { provider: de } }"),
        told("metrics: { store: { provider: te } }"),
        told("metrics: { prometheus: { provider: te } }"),
    ]);
}

#[test]
fn the_policy_of_the_readme_is_accepted() {
    let readme = include_str!("../../../README.md");
    let (_, yaml) = readme.split_once("```yaml\nspec:\n").expect("a policy");
    let (yaml, _) = yaml.split_once("```").expect("its end");
    let policy = one(&format!("{FIVE_LINES}{yaml}"));
    assert_eq!(policy.analysis.checks.len(), 12);
    assert_eq!(policy.sources.len(), 5);
}
