//! What every kind of alert looks like, and that nothing from outside can change its form.

use proptest::prelude::*;

use super::*;
use crate::samples;

fn builtin(alert: &Alert) -> Message {
    let rendered = Templates::builtin().render(alert);
    assert_eq!(rendered.problems, [], "{alert:?}");
    rendered.message
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

/// One snapshot for each kind, with all three formats.
#[test]
fn every_kind_reads_well() {
    insta::with_settings!({sort_maps => true, omit_expression => true}, {
        for (name, alert) in samples::kinds() {
            let message = builtin(&alert);
            let formats = json!({
                "plain": message.plain.lines().collect::<Vec<_>>(),
                "slack": json(&message.slack),
                "webhook": json(&message.webhook),
            });
            insta::assert_json_snapshot!(name, formats);
        }
    });
}

#[test]
fn an_alert_without_facts_is_still_a_message() {
    for (name, alert) in samples::kinds() {
        let message = builtin(&Alert::new(alert.kind, alert.at, String::new()));
        assert!(message.plain.trim().len() > 5, "{name}");
        assert!(json(&message.slack)["text"].as_str().unwrap().len() > 5, "{name}");
    }
}

#[test]
fn keys_are_distinct_and_stable() {
    let keys: std::collections::BTreeSet<String> =
        samples::kinds().iter().map(|(_, alert)| alert.key()).collect();
    insta::assert_snapshot!(keys.into_iter().collect::<Vec<_>>().join("\n"), @r#"
    ///duty_failed/journal/
    production/checkout/checkout-4f2c1a9-1/aborted
    production/checkout/checkout-4f2c1a9-1/adopted
    production/checkout/checkout-4f2c1a9-1/duty_failed/router/embedded%20proxy
    production/checkout/checkout-4f2c1a9-1/inconclusive
    production/checkout/checkout-4f2c1a9-1/needs_person/approval
    production/checkout/checkout-4f2c1a9-1/needs_person/conflict
    production/checkout/checkout-4f2c1a9-1/needs_person/decision
    production/checkout/checkout-4f2c1a9-1/promoted
    production/checkout/checkout-4f2c1a9-1/reverted_by_person
    production/checkout/checkout-4f2c1a9-1/rolled_back
    production/checkout/checkout-4f2c1a9-1/superseded
    "#);
}

fn assert_harmless(message: &Message) {
    let slack = json(&message.slack);
    let blocks = slack["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50);
    for text in strings(&slack) {
        assert!(text.chars().count() <= 3000);
        for mention in ["<!", "<@", "<#", "@here", "@channel"] {
            assert!(!text.contains(mention), "{mention} in {text}");
        }
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
        assert_eq!(text.matches("```").count() % 2, 0, "{text}");
    }
    assert!(message.webhook.len() <= MOST_WEBHOOK_BYTES);
    assert_eq!(json(&message.webhook)["id"], message.key.as_str());
    assert!(message.plain.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(message.plain.len() < 64 * 1024);
}

fn strings(value: &Json) -> Vec<&str> {
    match value {
        Json::String(text) => vec![text],
        Json::Array(items) => items.iter().flat_map(strings).collect(),
        Json::Object(fields) => fields.values().flat_map(strings).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
    }
}

#[test]
fn a_hostile_alert_is_bounded_and_mentions_nobody() {
    let message = builtin(&samples::hostile());
    assert_harmless(&message);
    assert_eq!(json(&message.webhook)["data"]["truncated"], true);
}

#[test]
fn the_widest_characters_fit_into_a_webhook() {
    let mut alert = samples::hostile();
    let wide = "\u{1F986}".repeat(10_000);
    alert.reason.clone_from(&wide);
    for text in
        [&mut alert.service, &mut alert.environment, &mut alert.repository, &mut alert.deployment]
    {
        *text = Some(wide.clone());
    }
    for row in &mut alert.evidence {
        for cell in [&mut row.check, &mut row.canary, &mut row.baseline, &mut row.tolerated] {
            cell.clone_from(&wide);
        }
    }
    alert.kind = crate::Kind::NeedsPerson { need: crate::Need::Conflict { files: vec![wide; 99] } };
    assert_harmless(&builtin(&alert));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_the_form(subject in any::<String>(), reason in "(<!channel>|@here|[`\"\\\\{}&<>|\n]|.){0,200}") {
        let mut alert = samples::kinds().swap_remove(1).1;
        if let Some(commit) = &mut alert.commit {
            commit.subject = subject;
        }
        alert.evidence[0].check.clone_from(&reason);
        alert.service = Some(reason.clone());
        alert.reason = reason;
        assert_harmless(&builtin(&alert));
    }

    #[test]
    fn an_alert_survives_the_journal(index in 0_usize..16, occurrence in 0_u32..3) {
        let mut alert = samples::kinds().swap_remove(index).1;
        alert.occurrence = occurrence;
        let text = serde_json::to_string(&alert).unwrap();
        prop_assert_eq!(serde_json::from_str::<Alert>(&text).unwrap(), alert);
    }
}

fn with(name: &str, template: &str) -> Result<Templates, Vec<TemplateProblem>> {
    Templates::with(&BTreeMap::from([(name.to_owned(), template.to_owned())]))
}

#[test]
fn an_override_replaces_one_format() {
    let own = with("slack", r#"{"text": "<!here> {{ headline | safe }} {{ reason }}"}"#).unwrap();
    let mut alert = samples::kinds().swap_remove(0).1;
    alert.reason = "<!channel> \"quoted\"".to_owned();
    let rendered = own.render(&alert);
    assert_eq!(rendered.problems, []);
    assert_eq!(
        json(&rendered.message.slack)["text"],
        "<!here> checkout: 4f2c1a9 promoted &lt;!channel&gt; \"quoted\""
    );
    assert_eq!(rendered.message.plain, builtin(&alert).plain);
    assert!(format!("{own:?}").contains("slack"));
}

#[test]
fn every_problem_of_an_override_is_reported() {
    let overrides =
        [("slak", "x"), ("slack", "{\"text\": \n\"{{ headline\"}"), ("plain", "{% if x %}")];
    let overrides = overrides.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let problems = Templates::with(&overrides.into()).unwrap_err();
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text.join("\n"), @r#"
    template `plain`, line 1: Unexpected end of input
    template `slack`, line 2: String opened with `"` is missing its closing `"`
    template `slak`: there is no such template; the names are slack, webhook and plain
    "#);
}

#[test]
fn an_override_is_tried_before_it_is_used() {
    let refused = [
        ("slack", "{\"text\": {{ headline }}}"),
        ("slack", "{\"blocks\": []}"),
        ("plain", "{{ headline }}\n{{ nonsense }}"),
        ("plain", "{{ links[0].url }}"),
        ("webhook", "[]"),
        ("plain", "{% for a in range(end=100000) %}{{ headline }}{% endfor %}"),
        ("plain", "{% component A() %}{{ <A /> }}{% endcomponent A %}{{ <A /> }}"),
        ("plain", "{% include \"own\" %}"),
    ];
    let mut text = String::new();
    for (name, template) in refused {
        for problem in with(name, template).unwrap_err() {
            text.push_str(&problem.to_string());
            text.push('\n');
        }
    }
    text.push_str(&with("plain", &" ".repeat(40_000)).unwrap_err()[0].to_string());
    insta::assert_snapshot!(text, @r#"
    template `slack`: does not make valid JSON: expected ident at line 1 column 11; its output has a mistake there
    template `slack`: does not make valid JSON: expected value at line 1 column 10; its output has a mistake there
    template `slack`: needs a `text`: it is what a notification shows
    template `plain`, line 2: Variable `nonsense` is not defined. Available variables: at, author, cause_table, commit_url, deployment, emoji, environment, evidence, facts, files, headline, key, kind, links, reason, repository, revision, service, severity, short_revision, source, subject, table, timings
    template `plain`, line 1: Field `url` is not defined
    template `webhook`: must be a JSON object
    template `plain`: makes more than 262144 bytes
    template `plain`: defines a component; write it out instead
    template `plain`: Circular include detected for template 'own'. Include chain: `["own", "own"]`
    template `plain`: is 40000 bytes long, at most 32768 are read
    "#);
}

#[test]
fn a_deeply_nested_template_is_an_error() {
    for piece in ["(", "[", "not ", "-", "{% if 1 %}"] {
        let template = format!("{{{{ {} }}}}", piece.repeat(30_000 / piece.len()));
        assert!(with("plain", &template).is_err(), "{piece}");
    }
}
