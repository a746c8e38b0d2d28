//! What people see of a cause, how large it is, and that it obeys nobody's names.

use tera::{Context, Tera};

use super::*;
use crate::cause::samples::{NASTY, large, n_plus_one, nasty, new_error, nothing, retries};

fn page(cause: &Cause) -> String {
    let mut engine = Tera::default();
    engine.add_raw_template("cause.html", include_str!("../../templates/cause.html")).unwrap();
    let mut context = Context::new();
    context.insert("cause", &section(cause));
    engine.render("cause.html", &context).unwrap()
}

/// The texts between tags, those of one line of the page together.
fn words(html: &str) -> String {
    let mut lines = Vec::new();
    for line in html.lines() {
        let parts = line.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
        let parts: Vec<&str> = parts.map(str::trim).filter(|part| !part.is_empty()).collect();
        if !parts.is_empty() {
            lines.push(parts.join(" | "));
        }
    }
    lines.join("\n").replace('\u{a0}', " ")
}

/// Every tag that is opened is closed, in order.
fn assert_balanced(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in html.split('<').skip(1) {
        let tag = part.split(['>', ' ']).next().unwrap();
        let (whole, _) = part.split_once('>').unwrap_or_else(|| panic!("not closed: {part}"));
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "before {}", &html[html.len() - 40..]);
        } else if !whole.ends_with('/') {
            open.push(tag);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn a_cause_is_told_in_its_parts() {
    insta::assert_snapshot!(words(&page(&n_plus_one())), @r"
    Root cause
    Requests to | checkout | : | +31.6 ms | on average | (95 % interval | +28.3 ms | to | +34.9 ms | ) | , p95 | +51.1 ms | , p99 | +42.8 ms | , in 400 canary and 1,200 baseline traces. | Not explained below: +96.2 us.
    N+1 | confidence high
    SELECT prices | : 1.00 → 12.7 calls by each caller, one after the other (N+1), +31.5 ms per request (100 % of the change)
    Where | 78 % of the damage is where | cart.items &gt;= 15 | In the code | checkout::cart::load | (src/cart/repo.rs:88), called from | CartRepo.load | Suspect | commit 2 of 4 | : | 4f2c4f2 | Load carts in another way | · src/cart/repo.rs, this very line was changed · 100 % of the evidence
    What one request of each version waited for
    baseline | 1.0.0
    Critical path of a request to the baseline | The request took 50.6 ms. It waited longest for Auth/Check 27.1 ms, SELECT prices 14.6 ms, render 4.83 ms, GET cart 1.79 ms.
    0 | 20 ms | 40 ms | 60 ms
    50.6 ms
    GET /cart/{id}, checkout, server, 50.6 ms, from 0 ms to 50.6 ms | GET /cart/{id} | Auth/Check, checkout, client, 27.9 ms, from 985 us to 28.9 ms | Auth/Check | Auth/Check, auth, server, 27.1 ms, from 1.39 ms to 28.5 ms | Auth/Check | CartRepo.load, checkout, 16.9 ms, from 28.9 ms to 45.8 ms | CartRepo.load | GET cart, checkout, client, 1.79 ms, from 29.3 ms to 31.1 ms | SELECT prices, checkout, client, 14.6 ms, from 31.1 ms to 45.8 ms | SELECT prices | render, checkout, 4.83 ms, from 45.8 ms to 50.6 ms | 3
    canary | 1.1.0
    Critical path of a request to the canary | The request took 62.3 ms. It waited longest for SELECT prices 45.9 ms in 10 calls, render 7.64 ms, Auth/Check 5.93 ms, Auth/Check 800 us.
    0 | 20 ms | 40 ms | 60 ms
    62.3 ms
    GET /cart/{id}, checkout, server, 62.3 ms, from 0 ms to 62.3 ms | GET /cart/{id} | Auth/Check, checkout, client, 6.73 ms, from 639 us to 7.37 ms | 6 | Auth/Check, auth, server, 5.93 ms, from 1.04 ms to 6.97 ms | 2 | CartRepo.load, checkout, 47.3 ms, from 7.37 ms to 54.7 ms | CartRepo.load | GET cart, checkout, client, 608 us, from 8.16 ms to 8.77 ms | SELECT prices, checkout, client, 10 calls one after the other, 45.9 ms, 4.59 ms each, from 8.77 ms to 54.7 ms | SELECT prices × 10 | render, checkout, 7.64 ms, from 54.7 ms to 62.3 ms | render
    1 | SELECT prices | checkout, client | 2 | Auth/Check | auth, server | 3 | render | checkout | 4 | GET cart | checkout, client | 5 | GET /cart/{id} | checkout, server | 6 | Auth/Check | checkout, client | 7 | CartRepo.load | checkout
    The same as a table
    Operation | Baseline | Canary | calls | its own time | calls | its own time
    SELECT prices | checkout, client | 1 | 14.6 ms | 10 | 45.9 ms | Auth/Check | auth, server | 1 | 27.1 ms | 1 | 5.93 ms | render | checkout | 1 | 4.83 ms | 1 | 7.64 ms | GET cart | checkout, client | 1 | 1.79 ms | 1 | 608 us | GET /cart/{id} | checkout, server | 1 | 985 us | 1 | 639 us | Auth/Check | checkout, client | 1 | 800 us | 1 | 800 us | CartRepo.load | checkout | 1 | 461 us | 1 | 796 us
    request | 50.6 ms | 62.3 ms
    Operations per request
    Operation | Calls | Each, ms | Change, ms | p
    baseline | canary | baseline | canary | whole | by calls | by time
    SELECT prices | checkout, client | N+1 | 1.00 | 12.74 | 14.59 | 3.62 | +31.50 | +106.87 | −75.37 | &lt; 1e-9 | render | checkout | 1.00 | 1.00 | 11.86 | 12.20 | +0.34 | 0.00 | +0.34 | 0.428 | POST /charge | payments, server | 0.26 | 0.25 | 18.05 | 17.02 | −0.34 | −0.07 | −0.26 | 0.414 | SELECT cart_items | checkout, client | 0.19 | 0.21 | 16.60 | 16.92 | +0.29 | +0.23 | +0.06 | 0.717 | pay | checkout | 0.25 | 0.25 | 0.64 | 0.20 | −0.11 | 0.00 | −0.11 | 0.025 | GET cart | checkout, client | 1.00 | 1.00 | 1.23 | 1.17 | −0.06 | 0.00 | −0.06 | 0.109 | GET /cart | checkout, server | 0.44 | 0.44 | 1.22 | 1.12 | −0.04 | 0.00 | −0.04 | 0.157 | CartRepo.load | checkout | 1.00 | 1.00 | 1.20 | 1.23 | +0.03 | 0.00 | +0.03 | 0.484 | Auth/Check | auth, server | 1.00 | 1.00 | 14.51 | 14.49 | −0.03 | 0.00 | −0.03 | 0.965 | GET /cart/{id} | checkout, server | 0.31 | 0.31 | 1.21 | 1.26 | +0.01 | 0.00 | +0.01 | 0.665 | POST /charge | checkout, client | 0.26 | 0.25 | 1.00 | 1.00 | 0.00 | 0.00 | 0.00 | 0.025 | POST /checkout | checkout, server | 0.25 | 0.25 | 1.23 | 1.23 | 0.00 | 0.00 | 0.00 | 0.937
    all others | 0.00
    request | +31.60
    Traces to look at
    the canary&#39;s trace in Jaeger | both arms side by side in Grafana Explore
    Trace of the baseline: | 00000000863ae030fce6fde700000486 | 2025-11-24 16:00:06 UTC
    All spans of the baseline 1.0.0: 9 in 50.6 ms
    GET /cart/{id} | checkout, server | 50.6 ms | http.route | /cart/{id} | http.request.method | GET | tenant | hooli | cart.items | 5 | enduser.id | user-439796 | request.number | 1157 | device | mobile | Auth/Check | checkout, client | 27.9 ms | rpc.service | Auth | rpc.method | Check | Auth/Check | auth, server | 27.1 ms | rpc.service | Auth | rpc.method | Check | CartRepo.load | checkout | 16.9 ms | code.function.name | checkout::cart::load | code.file.path | src/cart/repo.rs | code.line.number | 88 | GET cart | checkout, client | 1.79 ms | db.system.name | redis | db.operation.name | GET | db.collection.name | cart | SELECT prices | checkout, client | 14.6 ms | db.system.name | postgresql | db.operation.name | SELECT | db.collection.name | prices | render | checkout | 4.83 ms | code.function.name | checkout::render::page | code.file.path | src/render.rs | code.line.number | 20 | publish orders | checkout, producer | 500 us | work orders | auth, consumer | 161 ms
    Faint spans ran beside what the request waited for, or after it.
    Trace of the canary: | 00000000d0cd5acf0d76f2780000008d | 2025-11-24 16:00:31 UTC
    All spans of the canary 1.1.0: 18 in 62.3 ms
    GET /cart/{id} | checkout, server | 62.3 ms | http.route | /cart/{id} | http.request.method | GET | tenant | hooli | cart.items | 10 | enduser.id | user-111889 | request.number | 140 | device | mobile | Auth/Check | checkout, client | 6.73 ms | rpc.service | Auth | rpc.method | Check | Auth/Check | auth, server | 5.93 ms | rpc.service | Auth | rpc.method | Check | CartRepo.load | checkout | 47.3 ms | code.function.name | checkout::cart::load | code.file.path | src/cart/repo.rs | code.line.number | 88 | GET cart | checkout, client | 608 us | db.system.name | redis | db.operation.name | GET | db.collection.name | cart | SELECT prices | × 10 | checkout, client | 45.9 ms | db.system.name | postgresql | db.operation.name | SELECT | db.collection.name | prices | render | checkout | 7.64 ms | code.function.name | checkout::render::page | code.file.path | src/render.rs | code.line.number | 20 | publish orders | checkout, producer | 500 us | work orders | auth, consumer | 150 ms
    Faint spans ran beside what the request waited for, or after it.
    ");
}

#[test]
fn what_is_not_there_is_not_shown() {
    let html = page(&nothing());
    let text = words(&html);
    assert!(text.contains("Nothing differs by more than chance."), "{text}");
    for absent in ["class=\"flame\"", "class=\"tree\"", "class=\"causes\""] {
        assert!(!html.contains(absent), "{absent}");
    }
    let mut cause = new_error();
    cause.baseline = None;
    let html = page(&cause);
    assert_balanced(&html);
    assert_eq!(html.matches("class=\"flame\"").count(), 1);
    assert!(words(&html).contains("request | – | 36.9 ms"), "{html}");
    let empty = analysis_traces::compare(&[], &[], &analysis_traces::Settings::default(), None);
    let html = page(&Cause { root: empty, baseline: None, canary: None, links: Vec::new() });
    assert!(words(&html).contains("0 canary and 0 baseline traces of"), "{html}");
}

#[test]
fn the_page_stays_small_and_whole_whatever_the_traces() {
    for cause in [n_plus_one(), retries(), new_error()] {
        let html = page(&cause);
        assert_balanced(&html);
        assert!(html.len() < 30_000, "{}", html.len());
    }
    for deep in [false, true] {
        let html = page(&large(deep));
        assert_balanced(&html);
        assert!(html.len() < 60_000, "{}", html.len());
        assert!(html.contains("more spans are not shown"), "what is not shown is told");
    }
    let mut cause = large(false);
    for example in [&mut cause.baseline, &mut cause.canary].into_iter().flatten() {
        for span in &mut example.spans {
            (span.name, span.service) = ("<&\">".repeat(40), "<&\">".repeat(40));
            (span.own, span.failed) = (span.seconds, span.begins > 0.2);
        }
    }
    let html = page(&cause);
    assert_balanced(&html);
    assert!(html.len() < 60_000, "{}", html.len());
}

#[test]
fn names_are_text_and_nothing_else() {
    let html = page(&nasty());
    assert_balanced(&html);
    assert!(!html.contains("<script") && !html.contains(NASTY), "{html}");
    assert!(!html.contains("javascript:") && !html.contains(" style="), "{html}");
    assert!(html.contains("https://jaeger.example/&quot;&gt;&lt;script&gt;"), "{html}");
    assert!(!html.contains(|c: char| c != '\n' && c.is_control() || c == '\u{202e}'));
}

#[test]
fn code_stands_between_backticks_if_they_close() {
    let shown = |text: &str| Html::sentence(text).0;
    assert_eq!(shown("`a<b` -> c"), "<code>a&lt;b</code> → c");
    assert_eq!(shown("is `open -> x"), "Is `open -&gt; x");
    assert_eq!(shown("`pay` takes 5 ms"), "<code>pay</code> takes 5\u{a0}ms");
    assert_eq!(shown(""), "");
}
