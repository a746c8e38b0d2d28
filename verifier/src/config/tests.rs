//! Every message that a person reads is a snapshot; what is accepted is compared as values; whatever
//! the bytes, nothing panics, hangs or tells a secret.

mod accepted;
mod hostile;
mod journeys;
mod shown;

use std::path::Path;

use super::*;

/// An environment with one token and one empty variable.
fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("s3cret".to_owned()),
        "SLACK_URL" => Some("https://hooks.slack.com/services/T0/B0/s3cret\n".to_owned()),
        "EMPTY" => Some("\n".to_owned()),
        _ => None,
    }
}

/// The folder of `serin.yaml`; nothing is there.
const BASE: &str = "/nowhere";

/// The only word in the files of this folder that is a secret.
const SECRET: &str = "hunter2";

fn check(folder: &str, name: &str, problems: &[Problem]) {
    let shown = render_problems(problems, Colour::Never);
    assert!(!shown.contains(SECRET), "a secret is shown:\n{shown}");
    let settings = || {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_snapshot_path(format!("tests/{folder}"));
        settings.set_omit_expression(true);
        settings
    };
    settings().bind(|| insta::assert_snapshot!(name, shown));
}

macro_rules! bad_policies {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let text = include_bytes!(concat!("tests/policy/", stringify!($name), ".yaml"));
            let problems = policies(".serin/checkout.yaml", text).unwrap_err();
            check("policy", stringify!($name), &problems);
        }
    )*};
}

mod bad_policies {
    use super::*;

    bad_policies! {
        anchors bomb braces checks contradictions first_good_then_broken foreign freezes indentation journeys kayenta
        missing no_step not_yet objectives_only open_bracket open_quote secrets serving source_names
        source_objective source_of_proxy source_of_store sources star steps tab two_names units unknown_keys wrong_types
    }
}

macro_rules! bad_instances {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let text = include_bytes!(concat!("tests/instance/", stringify!($name), ".yaml"));
            let problems = instance("serin.yaml", text, Path::new(BASE), &env).unwrap_err();
            check("instance", stringify!($name), &problems);
        }
    )*};
}

mod bad_instances {
    use super::*;

    bad_instances! { broken_secret empty open_to_all providers pushes repositories secrets traces two_documents }
}
