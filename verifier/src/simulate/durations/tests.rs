//! The plan agrees with what the engine does on even traffic.

use super::*;

fn policy(more: &str) -> Policy {
    let text = format!(
        "metadata: {{ name: shop }}\nspec:\n  paths: [a]\n  target: {{ process: {{ command: a }} }}\n  warmUp: 0s\n{more}"
    );
    crate::config::policies("policy", text.as_bytes()).unwrap().remove(0)
}

fn seconds(time: &Time) -> f64 {
    match time {
        Time::Decided { seconds, .. } => *seconds,
        Time::TooLate { .. } | Time::Never => panic!("{time:?}"),
    }
}

#[test]
fn a_healthy_version_takes_as_long_as_the_script_of_one_shows() {
    let load = Load { requests_per_second: 500.0, errors: 0.001 };
    let durations = durations(&policy(""), load).unwrap();
    let steps: Vec<f64> = durations.steps.iter().map(|step| seconds(&step.healthy)).collect();
    // In tests/scripts/healthy.txt: 18, 8, 8, 7, 14, 20 seconds and on.
    for (planned, played) in steps.iter().zip([18.0, 8.0, 8.0, 7.0, 14.0, 20.0]) {
        assert!((0.5..2.0).contains(&(planned / played)), "{steps:?}");
    }
    assert!((60.0..150.0).contains(&durations.healthy.unwrap()), "{durations:?}");
}

#[test]
fn the_time_to_see_a_change_is_that_of_the_engine() {
    let policy = policy("  checks: [errors]\n  metrics: { scrape: { interval: 1s } }\n");
    let load = Load { requests_per_second: 1_000.0, errors: 0.01 };
    let durations = durations(&policy, load).unwrap();
    let step = durations.steps.iter().find(|step| step.weight > 0.15).unwrap();
    let (canary, baseline) = (1_000.0 * step.weight, 1_000.0 * (1.0 - step.weight));
    let mut process = analysis::sequential::Ratio::new(1.25, 0.001);
    let mut scrapes = 0_u32;
    while process.log_e() < 100_f64.ln() {
        scrapes += 1;
        process.update(&Exposure {
            canary_events: canary * 0.05,
            baseline_events: baseline * 0.01,
            canary,
            baseline,
        });
    }
    let planned = seconds(&step.sees[1]);
    assert!((planned - f64::from(scrapes)).abs() <= 1.0, "{planned} {scrapes}");
}

#[test]
fn too_little_traffic_and_tolerated_changes_are_said() {
    let load = Load { requests_per_second: 0.2, errors: 0.005 };
    let durations = durations(&policy("  steps: [{ weight: 10%, deadline: 5m }]\n"), load).unwrap();
    assert!(matches!(durations.steps[0].healthy, Time::TooLate { .. }));
    assert_eq!(durations.healthy, None);
    let twice = durations.changes.iter().position(|change| change.name == "2x").unwrap();
    assert!(
        matches!(durations.steps[0].sees[twice], Time::TooLate { more_requests } if more_requests > 100.0)
    );
    let load = Load { requests_per_second: 1_000.0, errors: 0.02 };
    let durations = super::durations(&policy(""), load).unwrap();
    let one = durations.changes.iter().position(|change| change.name == "to 1 %").unwrap();
    assert_eq!(durations.steps[0].sees[one], Time::Never);
}

#[test]
fn without_an_absolute_tolerance_the_times_are_those_of_formula_7() {
    let policy = policy(
        "  checks: [{ errors: { tolerance: { ratio: 1, absolute: 0% } } }]\n  steps: [{ weight: 5% }]\n  metrics: { scrape: { interval: 1s } }\n",
    );
    let load = Load { requests_per_second: 500.0, errors: 0.001 };
    let durations = durations(&policy, load).unwrap();
    let seen = |name: &str| {
        let place = durations.changes.iter().position(|change| change.name == name).unwrap();
        seconds(&durations.steps[0].sees[place])
    };
    // (ln 100 + 2) / g, with g = 0.001 (250 ln 10 - 725 ln 1.45) = 0.306 and 0.001 (125 ln 5 - 600 ln 1.2) = 0.0918.
    assert_eq!((seen("to 1 %"), seen("5x")), (22.0, 72.0));
    for (truth, by_hand) in [(10.0, 21.57), (5.0, 71.96)] {
        let growth = analysis::sequential::expected_log_growth(0.001, truth, 1.0, 25.0, 475.0);
        let scrapes = analysis::sequential::scrapes_to_decide(growth, 0.01).unwrap();
        assert!((scrapes - by_hand).abs() < 0.01, "{scrapes}");
        assert!((seen(if truth > 5.0 { "to 1 %" } else { "5x" }) - scrapes).abs() < 2.0);
    }
}

#[test]
fn a_service_that_never_fails_is_planned_by_its_absolute_tolerance() {
    let policy = policy(
        "  checks: [errors]\n  steps: [{ weight: 5% }]\n  metrics: { scrape: { interval: 1s } }\n",
    );
    let load = Load { requests_per_second: 500.0, errors: 0.0 };
    let durations = durations(&policy, load).unwrap();
    // The mean path of the process for 1 of 100 canary requests failing, none of stable's: 16.8 s; a ratio has no base here.
    let names: Vec<&str> = durations.changes.iter().map(|change| &*change.name).collect();
    assert_eq!(names, ["to 1 %", "to 5 %", "to 30 %"]);
    let times: Vec<f64> = durations.steps[0].sees.iter().map(seconds).collect();
    assert!((10.0..25.0).contains(&times[0]) && times[1] <= 3.0, "{times:?}");
}

#[test]
fn low_traffic_gets_the_advice_of_a_larger_first_weight() {
    let advice = |rate: f64, steps: &str| {
        let load = Load { requests_per_second: rate, errors: 0.001 };
        let durations = durations(&policy(steps), load).unwrap();
        let late = !matches!(durations.steps[0].healthy, Time::Decided { .. });
        durations.notes.last().filter(|_| late).cloned()
    };
    assert_eq!(advice(500.0, ""), None);
    let steps = "  steps: [{ weight: 1%, deadline: 10m }, { weight: 10% }, { weight: 50% }]\n";
    let few = advice(40.0, steps).unwrap();
    assert!(few.starts_with("at this traffic 1 % is too little to begin with; a first weight of 5 % decides after 4m 27s"), "{few}");
    // By evidence the next weight is twice the first, which takes as long whatever the first is.
    let hardly = advice(1.0, "").unwrap();
    assert!(hardly.contains("1 % needs a `deadline` of "), "{hardly}");
}
