//! What is accepted, and what becomes of it.

use std::time::Duration;

use analysis::{OnBreach, Test};
use rollout::plan::Plan;
use rollout::policy::{Metrics, Steps, Target};

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
";
    let instance = instance("serin.yaml", text, Path::new(BASE), &env)
        .unwrap_or_else(|p| panic!("{}", render_problems(&p, Colour::Never)));
    assert_eq!(instance.public_url.as_deref(), Some("https://serin.example.com"));
    assert_eq!(instance.journal, Path::new("/nowhere/serin-work/journal.db"));
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
