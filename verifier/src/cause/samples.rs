//! Causes for tests: some found in the generator's populations, and some that nobody would wish for.
//!
//! The files in `fixtures` are what `analysis_traces::compare` says of `tests::traces::population`, 1,200 baseline and
//! 400 canary traces (N+1: seed 1,000; retries: 1,003; new error: 1,002; nothing: 1,001), with the first examples of
//! the first finding. They are also journals of an older Serin: what cannot read them cannot read those.

use analysis_traces::{Example, Kind, Operation, Shown, Stretch, TraceId};

use super::{Cause, Link};

pub(crate) fn n_plus_one() -> Cause {
    read(include_str!("fixtures/n-plus-one.json"))
}

pub(crate) fn retries() -> Cause {
    read(include_str!("fixtures/retries.json"))
}

pub(crate) fn new_error() -> Cause {
    read(include_str!("fixtures/new-error.json"))
}

pub(crate) fn nothing() -> Cause {
    read(include_str!("fixtures/nothing.json"))
}

fn read(text: &str) -> Cause {
    serde_json::from_str(text).unwrap()
}

/// A span below another.
pub(crate) fn span(parent: Option<usize>, name: &str, begins: f64, ends: f64) -> Shown {
    Shown {
        parent,
        service: "shop".to_owned(),
        kind: Kind::Internal,
        name: name.to_owned(),
        begins,
        seconds: ends - begins,
        own: 0.0,
        failed: false,
        attributes: Vec::new(),
    }
}

/// An example whose path is given by the spans that were waited for and until when.
pub(crate) fn example(mut spans: Vec<Shown>, path: &[(Option<usize>, f64)]) -> Example {
    let mut from = 0.0;
    let mut stretches = Vec::new();
    for (span, to) in path {
        if let Some(span) = span.and_then(|span| spans.get_mut(span)) {
            span.own += to - from;
        }
        stretches.push(Stretch { span: *span, from, to: *to });
        from = *to;
    }
    Example {
        trace: TraceId(0x4f2c),
        version: None,
        start: 1_764_000_000_000_000_000,
        seconds: from,
        spans,
        left_out: 0,
        path: stretches,
    }
}

/// Two examples of as many spans as there can be, all of different operations, `deep` below one another or not.
pub(crate) fn large(deep: bool) -> Cause {
    let all = |arm: &str| {
        let name = |at: usize| format!("{arm} operation number {at} of a shop's checkout");
        let mut spans = vec![span(None, &name(0), 0.0, 0.4)];
        let mut path = vec![(Some(0), 0.001)];
        for at in 1..400_u32 {
            let (begins, place) = (f64::from(at) * 0.001, at as usize);
            let parent = if deep { place - 1 } else { 0 };
            let mut span = span(Some(parent), &name(place), begins, 0.4);
            span.attributes =
                (0..12).map(|at| (format!("attribute.{at}"), "value ".repeat(20))).collect();
            spans.push(span);
            path.push((Some(place), begins + 0.001));
        }
        Some(Example { left_out: 4_600, ..example(spans, &path) })
    };
    Cause { baseline: all("baseline"), canary: all("canary"), ..retries() }
}

/// What strangers may call things.
pub(crate) const NASTY: &str =
    "</svg><script>alert(1)</script>\u{1b}[31m\r\nSigned-off-by: you <`x`> \"'&\u{202e}";

/// A cause in which strangers named everything.
pub(crate) fn nasty() -> Cause {
    let nasty = || NASTY.to_owned();
    let mut cause = n_plus_one();
    let operation = || Operation { service: nasty(), kind: Kind::Client, name: nasty() };
    for example in [&mut cause.baseline, &mut cause.canary].into_iter().flatten() {
        example.version = Some(nasty());
        for span in &mut example.spans {
            (span.service, span.name, span.kind) = (nasty(), nasty(), Kind::Client);
            span.attributes = vec![(nasty(), nasty())];
        }
    }
    let root = &mut cause.root;
    root.service = nasty();
    root.notes = vec![nasty()];
    root.table = format!("{}\n", NASTY.replace('\n', " "));
    for row in &mut root.operations {
        row.operation = operation();
    }
    for entry in &mut root.entries {
        entry.entry = nasty();
    }
    for finding in &mut root.findings {
        finding.sentence = nasty();
        (finding.operation, finding.caller) = (Some(operation()), Some(operation()));
        finding.also_changed = Some(nasty());
        for place in &mut finding.places {
            (place.file, place.function) = (nasty(), nasty());
        }
        if let Some(suspect) = &mut finding.suspect {
            (suspect.commit, suspect.subject, suspect.file) = (nasty(), nasty(), nasty());
        }
        if let Some(only) = &mut finding.only {
            only.what = nasty();
        }
    }
    cause.links = vec![
        Link { text: nasty(), url: "javascript:alert(1)".to_owned() },
        Link { text: nasty(), url: "https://jaeger.example/\"><script>".to_owned() },
    ];
    cause
}
