//! Stack traces as text, in the formats of Java (and Kotlin, Scala), Python, Go, Node and Rust.
//!
//! OpenTelemetry keeps `exception.stacktrace` as the language prints it. Lines that look like no frame are passed
//! over, so that an unknown format yields no frames rather than wrong ones.

use serde::{Deserialize, Serialize};

use crate::mask;

/// Longest stack that is read, in bytes.
const LONGEST: usize = 65_536;

/// Most frames that are read.
const MOST_FRAMES: usize = 256;

/// One frame.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Function or method, with its class or module if the language says it.
    pub function: String,
    /// Source file; for Java with the folders of the package. Empty if unknown.
    pub file: String,
    /// Line, from 1, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

impl Frame {
    /// Whether the frame is of a language's runtime, its standard library or a package of others.
    pub fn is_foreign(&self) -> bool {
        const FILES: [&str; 14] = [
            "node_modules/",
            "node:",
            "internal/",
            "site-packages/",
            "dist-packages/",
            "/usr/lib/",
            "/usr/local/lib/python",
            "/usr/local/go/",
            "/go/pkg/mod/",
            "/rustc/",
            "/.cargo/registry/",
            "/vendor/",
            "<frozen",
            "<anonymous>",
        ];
        const FUNCTIONS: [&str; 22] = [
            "java.",
            "javax.",
            "jdk.",
            "sun.",
            "com.sun.",
            "jakarta.",
            "kotlin.",
            "kotlinx.",
            "scala.",
            "org.springframework.",
            "org.apache.",
            "org.hibernate.",
            "io.netty.",
            "runtime.",
            "runtime/",
            "net/http.",
            "core::",
            "std::",
            "alloc::",
            "tokio::",
            "rust_begin_unwind",
            "__rust",
        ];
        let file = self.file.as_str();
        FILES.iter().any(|part| match part.strip_prefix('/') {
            // Absolute places only at the front, folders anywhere.
            Some(_) => file.contains(part),
            None => file.starts_with(part) || file.contains(&format!("/{part}")),
        }) || FUNCTIONS.iter().any(|part| self.function.starts_with(part))
    }
}

/// The frames of a stack trace, innermost first; of its root cause where one exception wraps another.
pub fn frames(stack: &str) -> Vec<Frame> {
    let stack = mask::cut(stack, LONGEST);
    if stack.contains("Traceback (most recent call last)") || stack.contains("\n  File \"") {
        return python(stack);
    }
    // What follows the last "Caused by" is where it began.
    let cause = stack.rfind("\nCaused by: ").map_or(stack, |at| &stack[at..]);
    let found = collect(cause);
    if found.is_empty() { collect(stack) } else { found }
}

fn python(stack: &str) -> Vec<Frame> {
    let last = stack.rfind("Traceback (most recent call last)").map_or(stack, |at| &stack[at..]);
    let mut found: Vec<Frame> = last.lines().filter_map(python_frame).take(MOST_FRAMES).collect();
    found.reverse();
    found
}

/// `  File "/app/cart.py", line 12, in load`
fn python_frame(line: &str) -> Option<Frame> {
    let (file, rest) = line.trim_start().strip_prefix("File \"")?.split_once('"')?;
    let mut parts = rest.trim_start_matches(',').split(", ");
    let number = parts.find_map(|part| part.trim().strip_prefix("line "))?;
    let function = parts.find_map(|part| part.trim().strip_prefix("in ")).unwrap_or_default();
    Some(Frame {
        function: function.to_owned(),
        file: file.to_owned(),
        line: number.trim().parse().ok(),
    })
}

fn collect(stack: &str) -> Vec<Frame> {
    let mut found: Vec<Frame> = Vec::new();
    // Rust and Go print the function in one line and its place in the next.
    let mut pending: Option<String> = None;
    for line in stack.lines() {
        if found.len() >= MOST_FRAMES {
            break;
        }
        let text = line.trim();
        if let Some(place) = text.strip_prefix("at ") {
            if let Some(function) = pending.take() {
                let (file, number) = file_and_line(place);
                found.push(Frame { function, file: file.to_owned(), line: number });
            } else if let Some(frame) = java_frame(place).or_else(|| node_frame(place)) {
                found.push(frame);
            }
        } else if let Some(function) = rust_function(text) {
            found.extend(pending.replace(function).map(nameless));
        } else if line.starts_with('\t') && text.contains(".go:") {
            let place = text.split_once(" +0x").map_or(text, |(place, _)| place);
            let (file, number) = file_and_line(place);
            let function = pending.take().unwrap_or_default();
            found.push(Frame { function, file: file.to_owned(), line: number });
        } else if let Some(function) = go_function(line) {
            pending = Some(function);
        }
    }
    found
}

fn nameless(function: String) -> Frame {
    Frame { function, ..Frame::default() }
}

/// `com.shop.cart.Repo.load(Repo.java:88)`, perhaps with a module before a slash.
fn java_frame(place: &str) -> Option<Frame> {
    let (function, inside) = place.strip_suffix(')')?.rsplit_once('(')?;
    if function.contains(' ') || inside.contains('/') || inside.contains('\\') {
        return None;
    }
    // A module's name comes before a slash; so does the address of a lambda's class, after its name.
    let module = function.split_once('/').filter(|(module, _)| !module.contains("$$"));
    let function = module.map_or(function, |(_, function)| function);
    let (class, _) = function.rsplit_once('.')?;
    let (file, number) = match inside.rsplit_once(':') {
        Some((file, number)) => (file, number.parse().ok()),
        None => (inside, None),
    };
    if inside != "Native Method" && inside != "Unknown Source" && !file.contains('.') {
        return None;
    }
    let folders = class
        .rsplit_once('.')
        .map_or(String::new(), |(package, _)| format!("{}/", package.replace('.', "/")));
    let file = if file.contains('.') { format!("{folders}{file}") } else { String::new() };
    Some(Frame { function: function.to_owned(), file, line: number })
}

/// `load (/app/src/cart.js:10:5)`, `async Cart.load (file:///app/cart.mjs:1:2)` or `/app/src/cart.js:10:5`.
fn node_frame(place: &str) -> Option<Frame> {
    let (function, place) = match place.strip_suffix(')').and_then(|p| p.rsplit_once(" (")) {
        Some((function, place)) => (function, place),
        None => ("", place),
    };
    let place = place.strip_prefix("file://").unwrap_or(place);
    let (file, number) = file_and_line(place);
    number?;
    let file = file.strip_prefix("async ").unwrap_or(file);
    let function = function.strip_prefix("async ").unwrap_or(function);
    let function = function.strip_prefix("new ").unwrap_or(function);
    let function = function.split(" [as ").next().unwrap_or(function);
    Some(Frame { function: function.to_owned(), file: file.to_owned(), line: number })
}

/// `  12: shop::cart::load` or `12: 0x55d - shop::cart::load::h0123456789abcdef`.
fn rust_function(text: &str) -> Option<String> {
    let (number, function) = text.split_once(": ")?;
    if number.is_empty() || number.len() > 4 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let function = function.trim();
    let function = match function.split_once(" - ") {
        Some((address, function)) if address.starts_with("0x") => function,
        Some(_) | None => function,
    };
    if function.contains(' ') && !function.starts_with('<') {
        return None;
    }
    let hash = function.rfind("::h").filter(|at| {
        let hex = &function[at + 3..];
        hex.len() == 16 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    Some(hash.map_or(function, |at| &function[..at]).to_owned())
}

/// `main.(*Cart).Load(0xc000, 0x1)` at the start of a line; the place follows.
fn go_function(line: &str) -> Option<String> {
    let line = line.strip_prefix("created by ").unwrap_or(line);
    let line = line.split_once(" in goroutine ").map_or(line, |(function, _)| function);
    if line.starts_with([' ', '\t']) || line.starts_with("goroutine ") {
        return None;
    }
    let function = match line.strip_suffix(')').or(line.strip_suffix("...")) {
        Some(call) => &call[..call.rfind('(')?],
        None => line,
    };
    let is_name = function.contains('.') && !function.contains([' ', ':']);
    is_name.then(|| function.to_owned())
}

/// Splits `file:line` or `file:line:column`.
fn file_and_line(place: &str) -> (&str, Option<u32>) {
    let Some((before, last)) = place.rsplit_once(':') else { return (place, None) };
    let Ok(last) = last.trim().parse::<u32>() else { return (place, None) };
    match before.rsplit_once(':').map(|(file, line)| (file, line.parse::<u32>())) {
        Some((file, Ok(line))) => (file, Some(line)),
        Some((_, Err(_))) | None => (before, Some(last)),
    }
}

#[cfg(test)]
mod tests;
