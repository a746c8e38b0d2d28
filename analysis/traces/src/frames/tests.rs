//! Stacks as the languages print them.

use super::*;

fn check(stack: &str, expected: &[(&str, &str, u32)]) {
    let found: Vec<_> = frames(stack)
        .into_iter()
        .map(|frame| (frame.function, frame.file, frame.line.unwrap_or(0)))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(function, file, line)| ((*function).to_owned(), (*file).to_owned(), *line))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn java_gives_the_cause_and_the_folders_of_the_package() {
    check(
        "java.lang.IllegalStateException: no price\n\
         \tat com.shop.web.Handler.get(Handler.java:12)\n\
         \tat java.base/java.lang.Thread.run(Thread.java:840)\n\
         Caused by: java.sql.SQLException: gone\n\
         \tat com.shop.price.PriceRepo$Loader.load(PriceRepo.java:88)\n\
         \tat com.shop.price.PriceRepo.all(Native Method)\n\
         \t... 12 more\n",
        &[
            ("com.shop.price.PriceRepo$Loader.load", "com/shop/price/PriceRepo.java", 88),
            ("com.shop.price.PriceRepo.all", "", 0),
        ],
    );
}

#[test]
fn python_gives_the_last_traceback_from_inside() {
    check(
        "Traceback (most recent call last):\n\
         \x20 File \"/app/a.py\", line 1, in first\n\
         KeyError: 'x'\n\n\
         During handling of the above exception, another exception occurred:\n\n\
         Traceback (most recent call last):\n\
         \x20 File \"/app/shop/web.py\", line 10, in get\n\
         \x20   return load()\n\
         \x20 File \"/app/shop/cart.py\", line 88, in load\n\
         ValueError: no price\n",
        &[("load", "/app/shop/cart.py", 88), ("get", "/app/shop/web.py", 10)],
    );
}

#[test]
fn go_pairs_functions_with_their_places() {
    check(
        "goroutine 12 [running]:\n\
         main.(*Cart).Load(0xc000010000, 0x2)\n\
         \t/src/shop/cart/repo.go:88 +0x1d\n\
         net/http.HandlerFunc.ServeHTTP(...)\n\
         \t/usr/local/go/src/net/http/server.go:2136\n\
         created by main.run in goroutine 1\n\
         \t/src/shop/main.go:20 +0x3c\n",
        &[
            ("main.(*Cart).Load", "/src/shop/cart/repo.go", 88),
            ("net/http.HandlerFunc.ServeHTTP", "/usr/local/go/src/net/http/server.go", 2136),
            ("main.run", "/src/shop/main.go", 20),
        ],
    );
}

#[test]
fn node_gives_functions_and_files() {
    check(
        "TypeError: x is undefined\n\
         \x20   at Cart.load (/app/src/cart.js:88:13)\n\
         \x20   at async /app/src/web.js:10:5\n\
         \x20   at new Shop (file:///app/shop.mjs:3:1)\n\
         \x20   at process.processTicksAndRejections (node:internal/process/task_queues:95:5)\n",
        &[
            ("Cart.load", "/app/src/cart.js", 88),
            ("", "/app/src/web.js", 10),
            ("Shop", "/app/shop.mjs", 3),
            ("process.processTicksAndRejections", "node:internal/process/task_queues", 95),
        ],
    );
}

#[test]
fn rust_gives_functions_without_their_hashes() {
    check(
        "   0: rust_begin_unwind\n\
         \x20            at /rustc/abc/library/std/src/panicking.rs:665:5\n\
         \x20  1: shop::cart::load::h0123456789abcdef\n\
         \x20            at ./src/cart/repo.rs:88:9\n\
         \x20  2: <shop::Web as shop::Handler>::get\n\
         \x20            at ./src/web.rs:10\n",
        &[
            ("rust_begin_unwind", "/rustc/abc/library/std/src/panicking.rs", 665),
            ("shop::cart::load", "./src/cart/repo.rs", 88),
            ("<shop::Web as shop::Handler>::get", "./src/web.rs", 10),
        ],
    );
}

#[test]
fn frames_of_others_are_told_apart() {
    let foreign = |function: &str, file: &str| {
        Frame { function: function.into(), file: file.into(), line: None }.is_foreign()
    };
    for (function, file) in [
        ("java.util.HashMap.get", "java/util/HashMap.java"),
        ("f", "/app/node_modules/express/lib/router.js"),
        ("f", "node:internal/process/task_queues"),
        ("f", "/usr/lib/python3.12/site-packages/flask/app.py"),
        ("net/http.serve", "/usr/local/go/src/net/http/server.go"),
        ("core::panicking::panic", ""),
    ] {
        assert!(foreign(function, file), "{function} {file}");
    }
    for (function, file) in [
        ("com.shop.Cart.load", "com/shop/Cart.java"),
        ("load", "/app/src/cart.js"),
        ("shop::cart::load", "./src/cart/repo.rs"),
    ] {
        assert!(!foreign(function, file), "{function} {file}");
    }
}

#[test]
fn whatever_is_no_stack_has_no_frames() {
    for text in ["", "at", "at (", "at )", "File \"", ": ", "1: ", "\u{2028}at x", "Caused by: "] {
        assert_eq!(frames(text), [], "{text:?}");
    }
    let deep = "   at f (/a.js:1:1)\n".repeat(100_000);
    assert_eq!(frames(&deep).len(), MOST_FRAMES);
}
