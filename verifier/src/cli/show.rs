//! Which metrics of a running instance the checks would use, and why.

use std::collections::BTreeMap;

use analysis_providers::{
    Instance, Measure, MeasureKind, MetricProvider, Scraper, ScraperSettings, Source, Subject,
};
use rollout::Arm;

use super::{Exit, complain, print};
use crate::chain;
use crate::clock::now;

/// Reads one metrics page and prints what would be chosen for `errors` and `latency`.
pub(super) async fn metrics(url: &str, json: bool) -> Exit {
    let scraper = match Scraper::new(ScraperSettings::default()) {
        Ok(scraper) => scraper,
        Err(error) => {
            complain(&chain(&error));
            return Exit::Failed;
        }
    };
    let instance = |name: &str, arm| Instance {
        name: name.to_owned(),
        arm,
        url: Some(url.to_owned()),
        labels: BTreeMap::new(),
    };
    let measure = |check: &str, kind| Measure {
        check: check.to_owned(),
        kind,
        source: Source::Auto,
        strata: Vec::new(),
    };
    let subject = Subject {
        id: "validate".to_owned(),
        service: "validate".to_owned(),
        instances: vec![instance("one", Arm::Baseline), instance("two", Arm::Canary)],
        measures: vec![
            measure("errors", MeasureKind::Errors),
            measure("latency", MeasureKind::Latency),
        ],
    };
    let measured = scraper.measure(&[subject], now()).await;
    if let Some(Err(error)) = measured.first().map(|m| &m.result) {
        complain(&format!("failed to read {url}: {}", chain(error)));
        return Exit::WrongInput;
    }
    let chosen = scraper.chosen("validate");
    let all_found = !chosen.is_empty() && chosen.iter().all(|c| c.chosen.is_ok());
    if json {
        let list = chosen.iter().map(|choice| match &choice.chosen {
            Ok(found) => serde_json::json!({ "check": choice.check, "metric": found.metric, "reading": found.reading, "why": found.why }),
            Err(problem) => serde_json::json!({ "check": choice.check, "problem": problem }),
        });
        print(&list.collect::<serde_json::Value>().to_string());
    } else {
        print(&format!("metrics at {url}:"));
        for choice in &chosen {
            match &choice.chosen {
                Ok(found) => print(&format!("  {}: {found}", choice.check)),
                Err(problem) => print(&format!("  {}: {problem}", choice.check)),
            }
        }
    }
    if all_found { Exit::Done } else { Exit::WrongInput }
}
