//! What `validate --show` prints reads back as the same policy.

use proptest::prelude::*;
use rollout::plan::Plan;

use super::*;

fn check_round_trip(policy: &Policy) {
    let shown = show_policy(policy);
    let read = policies("shown.yaml", shown.as_bytes());
    let read = read.unwrap_or_else(|p| panic!("{shown}\n{}", render_problems(&p, Colour::Never)));
    assert_eq!(std::slice::from_ref(policy), &*read, "{shown}");
}

#[test]
fn every_default_is_shown() {
    let text = b"metadata: { name: checkout }\nspec:\n  paths: [deploy/checkout/**]\n  target: { process: { command: [./service] } }\n";
    let policy = policies("p.yaml", text).unwrap().remove(0);
    check_round_trip(&policy);
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path(".");
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("shown_defaults", show_policy(&policy)));
}

fn duration() -> impl Strategy<Value = String> {
    prop_oneof![
        (1_u32..5_000).prop_map(|n| format!("{n}ms")),
        (1_u32..3_000).prop_map(|n| format!("{n}s")),
        (0_u32..24, 0_u32..60, 1_u32..60).prop_map(|(h, m, s)| format!("{h}h{m}m{s}s")),
    ]
}

/// Durations that intervals, timeouts and graces take.
fn short() -> impl Strategy<Value = String> {
    (50_u32..3_600_000).prop_map(|n| format!("{n}ms"))
}

fn percent(low: u32, high: u32) -> impl Strategy<Value = String> {
    (low..high, 0_u32..1_000_000).prop_map(|(whole, part)| format!("{whole}.{part:06}%"))
}

fn quoted() -> impl Strategy<Value = String> {
    "[^\\x00]{1,30}".prop_map(|text| {
        let escape = |c: char| format!("\\U{:08x}", u32::from(c));
        let escaped: String = text.chars().map(escape).collect();
        format!("\"{escaped}\"")
    })
}

fn steps() -> impl Strategy<Value = String> {
    let by_hand = prop::collection::btree_set(1_u32..10_000, 1..8).prop_map(|points| {
        let step = |p: &u32| {
            format!(
                "{{ weight: {}.{:02}%, atLeast: {}s, deadline: {}m }}",
                p / 100,
                p % 100,
                p % 60,
                p % 90 + 1
            )
        };
        format!("[{}]", points.iter().map(step).collect::<Vec<_>>().join(", "))
    });
    let auto = (1_u32..10_000, duration()).prop_map(|(p, d)| {
        format!("{{ auto: {{ first: {}.{:02}%, deadline: {d} }} }}", p / 100, p % 100)
    });
    prop_oneof![by_hand, auto, Just("auto".to_owned())]
}

fn checks() -> impl Strategy<Value = String> {
    let breach = prop::sample::select(vec!["pause", "rollBack"]);
    let more = prop_oneof![
        (100_u32..10_000, percent(0, 99)).prop_map(|(r, a)| format!(
            "errors: {{ tolerance: {{ ratio: {}.{:02}, absolute: {a} }} }}",
            r / 100,
            r % 100
        )),
        (100_u32..10_000, percent(0, 999)).prop_map(|(r, s)| format!(
            "latency: {{ tolerance: {{ stretch: {s}, ratio: {}.{:02} }} }}",
            r / 100,
            r % 100
        )),
        (percent(1, 99), breach.clone())
            .prop_map(|(o, b)| format!("errors: {{ objective: {o}, onBreach: {b} }}")),
        (percent(1, 99), 1_u32..100_000, breach).prop_map(|(o, t, b)| format!(
            "latency: {{ objective: {o}, threshold: {t}ms, onBreach: {b} }}"
        )),
        (100_u32..10_000, 0_u32..3_600).prop_map(|(r, w)| format!(
            "restarts: {{ tolerance: {{ ratio: {}.{:02} }}, warmUp: {w}s }}",
            r / 100,
            r % 100
        )),
        (1_u32..1_000, prop::sample::select(vec!["mean", "cles"])).prop_map(|(n, m)| {
            let measure = m.replace("mean", "meanRatio");
            format!(
                "latency: {{ judge: kayenta, quantile: p{}.{}, kayenta: {{ outliers: {{ factor: {n} }}, effectSize: {{ measure: {measure}, allowedIncrease: 0.{n} }} }} }}",
                n % 99 + 1,
                n % 10
            )
        }),
    ];
    prop::collection::vec(more, 0..6)
        .prop_map(|more| format!("[errors, latency, {}]", more.join(", ")))
}

/// Checks with sources of their own, which the proxy cannot have.
fn sourced() -> impl Strategy<Value = String> {
    let metric = "[a-z_:][a-z0-9_:.]{0,20}";
    let by = prop::sample::select(vec!["", ", by: []", ", by: [route, zone]"]);
    let failed = prop::sample::select(vec!["http", "grpc", "[5xx, '429', \"a b\"]"]);
    let unit = prop::sample::select(vec!["s", "ms", "us", "ns"]);
    prop_oneof![
        (metric, failed, by.clone()).prop_map(|(m, f, by)| format!(
            "errors: {{ metric: '{m}', labels: {{ job: a }}, status: {{ label: code, failed: {f} }}{by} }}"
        )),
        (metric, unit, by).prop_map(|(m, u, by)| format!(
            "latency: {{ metric: '{m}', unit: {u}{by} }}"
        )),
        "[a-z_]{1,9}".prop_map(|m| {
            format!("errors: {{ bad: 'x_{m}{{state=~\"lost|[a-z]+\"}}', total: x_{m} }}")
        }),
        (metric, 0_u32..5_000, duration()).prop_map(|(m, n, d)| format!(
            "{{ name: gauge-{n}, gauge: {{ metric: '{m}', atMost: {n}.{n}Gi, for: {d} }} }}"
        )),
    ]
}

fn freezes() -> impl Strategy<Value = String> {
    let days =
        prop::sample::subsequence(vec!["mon", "tue", "wed", "thu", "fri", "sat", "sun"], 1..7);
    let weekly = (days, 0_u32..24, 0_u32..60, prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York"])).prop_map(
        |(days, hour, minute, zone)| format!("{{ reason: rest, days: [{}], from: \"{hour:02}:{minute:02}\", to: \"08:00\", zone: {zone} }}", days.join(", ")),
    );
    let span = (0_i64..4_000_000_000, 1_i64..1_000_000).prop_map(|(from, length)| {
        let moment = |second| jiff::Timestamp::from_second(second).unwrap();
        format!("{{ reason: \"a: b # c\", from: {}, to: {} }}", moment(from), moment(from + length))
    });
    prop::collection::vec(prop_oneof![weekly, span], 0..4)
        .prop_map(|freezes| format!("[{}]", freezes.join(", ")))
}

fn metrics() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("proxy".to_owned()),
        short().prop_map(|i| format!("{{ scrape: {{ path: /m?a=b, interval: {i} }} }}")),
        "[a-z ]{0,8}[a-z]".prop_map(|s| format!("{{ otlp: {{ service: \"{s}\" }} }}")),
        (duration(), "[a-z ]{0,8}[a-z]").prop_map(|(i, v)| format!("{{ prometheus: {{ provider: main, versionLabel: rev, version: short, labels: {{ job: {v} }}, interval: {i} }} }}")),
    ]
}

prop_compose! {
    fn document()(
        words in prop::collection::vec(quoted(), 0..4), value in quoted(), steps in steps(), checks in checks(),
        freezes in freezes(), metrics in metrics(), timeout in short(), bake in duration(),
        harm in percent(1, 99), alarm in percent(1, 49), http2 in any::<bool>(), count in 1_u32..100,
    ) -> String {
        format!(
            "metadata: {{ name: a-1 }}
spec:
  paths: [\"a/[b-c]/**\", \"{{x,y}}.yaml\", \"-1\", \"null\"]
  target: {{ process: {{ command: [./service, {}], environment: {{ A: {value} }}, workingDirectory: a b, instances: {count} }} }}
  router: {{ proxy: {{ listen: \"[::1]:80\", timeout: {timeout}, stickyCookie: c, testers: {{ header: x, value: \"a: b\" }}, http2: {http2} }} }}
  metrics: {metrics}
  steps: {steps}
  harm: {harm}
  latencyHarm: {harm}
  falseAlarm: {alarm}
  falsePromotion: {alarm}
  bake: {bake}
  checks: {checks}
  freezes: {freezes}
  onFail: {{ revert: pullRequest, limits: [{count} per {bake}], irreversible: [] }}
  onInconclusive: promote
  notify: [a, b-2]
",
            words.join(", ")
        )
    }
}

proptest! {
    #[test]
    fn what_is_shown_reads_back_as_the_same_policy(text in document()) {
        let policy = policies("p.yaml", text.as_bytes());
        let policy = policy.unwrap_or_else(|p| panic!("{text}\n{}", render_problems(&p, Colour::Never))).remove(0);
        check_round_trip(&policy);
        prop_assert!(Plan::new(&policy.steps).is_ok());
    }
}

proptest! {
    #[test]
    fn a_policy_with_sources_of_its_own_is_shown_as_it_is(
        checks in prop::collection::vec(sourced(), 1..6), warm_up in 0_u32..3_600,
    ) {
        let text = format!(
            "metadata: {{ name: a-1 }}\nspec:\n  paths: [a/**]\n  target: {{ process: {{ command: ./service }} }}\n  metrics: scrape\n  warmUp: {warm_up}s\n  checks:\n    - errors\n    - {}\n",
            checks.join("\n    - ")
        );
        match policies("p.yaml", text.as_bytes()) {
            Ok(policies) => check_round_trip(&policies[0]),
            // Two gauges may have drawn the same name, and two thirds of an hour are no `for`.
            Err(problems) => prop_assert!(
                problems.iter().all(|p| p.message.starts_with("two checks are named")),
                "{text}\n{}", render_problems(&problems, Colour::Never)
            ),
        }
    }
}

#[test]
fn everything_that_a_store_is_asked_is_shown() {
    let text = "metadata: { name: checkout }
spec:
  paths: [a/**]
  target: { process: { command: ./service } }
  metrics: { store: { provider: dd, version: short, labels: { env: prod } } }
  checks:
    - errors: { bad: 'sum:lost{version:${version}}.as_count()', total: 'sum:orders{version:${version}}.as_count()' }
    - latency:
        total: 'count:t{version:${version}}'
        slower: { 250ms: 'count(v: v>0.25):t{version:${version}}', 1s: \"count(v: v>1):t{\\n  version:${version}}\" }
    - errors: { judge: kayenta, kayenta: { outliers: remove } }
    - { name: memory, gauge: { query: 'avg:memory{version:${version}}', atMost: 1.5GB } }
    - restarts: { bad: 'r{${version}}', total: 's{${version}}' }
";
    let policy = policies("p.yaml", text.as_bytes());
    let policy = policy.unwrap_or_else(|p| panic!("{}", render_problems(&p, Colour::Never)));
    check_round_trip(&policy[0]);
    let shown = show_policy(&policy[0]);
    let (_, shown) = shown.split_once("# Where observations").unwrap();
    insta::assert_snapshot!(shown);
}
