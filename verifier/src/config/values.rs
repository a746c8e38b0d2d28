//! Values without units: names, globs, paths, addresses, URLs, commands.
//!
//! Each function takes the text and says in one sentence what is wrong with it.

use std::net::SocketAddr;

use axum::http::{HeaderName, HeaderValue, Uri};

use super::problem::quote;
use super::reader::Wrong;

/// A DNS label: names become parts of URLs, branch names and metric labels.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edges = !text.starts_with('-') && !text.ends_with('-');
    if (1..=63).contains(&text.len()) && edges && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    let mut label: String = text
        .chars()
        .take(63)
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    label = label.trim_matches('-').to_owned();
    let hint = "a name has 1 to 63 lowercase letters, digits and hyphens";
    let hint = if label.is_empty() { hint.to_owned() } else { format!("{hint}, e.g. {label}") };
    Err(Wrong::new(format!("{} is not a name", quote(text)), hint))
}

/// Some text on one line.
pub(super) fn line(text: &str) -> Result<String, Wrong> {
    match text.trim() {
        "" => Err(Wrong::new("the text is empty", "write at least one character")),
        text if text.len() > LONGEST_LINE => {
            Err(Wrong::new(format!("the text is longer than {LONGEST_LINE} bytes"), "shorten it"))
        }
        text if text.chars().any(char::is_control) => Err(Wrong::new(
            format!("{} holds control characters", quote(text)),
            "write it on one line",
        )),
        text => Ok(text.to_owned()),
    }
}

/// Bytes; nothing that a person writes on one line is longer, and it bounds what patterns cost.
const LONGEST_LINE: usize = 1_000;

/// A path inside the repository or checkout.
pub(super) fn inside(text: &str) -> Result<String, Wrong> {
    let path = line(text)?;
    let hint = "paths are relative to the root of the repository, e.g. deploy/checkout";
    if path.starts_with('/') || path.starts_with('~') {
        return Err(Wrong::new(format!("{} is not relative", quote(text)), hint));
    }
    if path.contains('\\') {
        return Err(Wrong::new(
            format!("{} holds a backslash", quote(text)),
            "separate folders with /",
        ));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(Wrong::new(format!("{} leaves the repository", quote(text)), hint));
    }
    Ok(path)
}

/// A glob inside the repository.
pub(super) fn glob(text: &str) -> Result<String, Wrong> {
    let text = inside(text)?;
    match globset::Glob::new(&text) {
        Ok(_) if text.starts_with("./") => {
            let hint = format!("Git knows no `./`; write {}", text.trim_start_matches("./"));
            Err(Wrong::new(format!("{} would match nothing", quote(&text)), hint))
        }
        Ok(_) if text.ends_with('/') => {
            let hint = format!("write {text}** for everything in the folder");
            Err(Wrong::new(format!("{} would match nothing", quote(&text)), hint))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(Wrong::new(
            format!("{} is not a glob: {}", quote(&text), error.kind()),
            "`**` stands for any folders, `*` and `?` for part of a name, {a,b} for either",
        )),
    }
}

/// A command as a shell would split it, without expansions.
pub(super) fn command(text: &str) -> Result<Vec<String>, Wrong> {
    let words = shlex::split(text).ok_or_else(|| {
        Wrong::new(
            format!("{} has an open quote or a trailing backslash", quote(text)),
            "close the quote",
        )
    })?;
    let operator = words.iter().find(|word| OPERATORS.contains(&&***word));
    if let Some(operator) = operator {
        let message = format!("`{operator}` needs a shell, and a command is started without one");
        return Err(Wrong::new(message, "write [sh, -c, \"...\"] with the line in the quotes"));
    }
    check_command(&words)?;
    Ok(words)
}

/// Words that are a shell's, not a program's.
const OPERATORS: [&str; 9] = ["&&", "||", "|", ";", ">", ">>", "<", "&", "2>&1"];

/// Whether words can be a command.
pub(super) fn check_command(words: &[String]) -> Result<(), Wrong> {
    let example = "write the program and its arguments, e.g. [./service, --port, \"${PORT}\"]";
    match words.first().map(|program| program.trim()) {
        None | Some("") => Err(Wrong::new("the command names no program", example)),
        Some(_) if words.iter().any(|word| word.contains('\0')) => {
            Err(Wrong::new("the command holds a NUL character", "remove it"))
        }
        Some(_) => Ok(()),
    }
}

/// The path of an HTTP request, e.g. `/healthz`.
pub(super) fn http_path(text: &str) -> Result<String, Wrong> {
    let text = line(text)?;
    if !text.starts_with('/') {
        let hint =
            format!("begin with a slash, e.g. /{}", text.rsplit('/').next().unwrap_or("healthz"));
        return Err(Wrong::new(format!("{} is not a path", quote(&text)), hint));
    }
    match text.parse::<Uri>() {
        Ok(_) => Ok(text),
        Err(error) => Err(Wrong::new(
            format!("{} is not a path: {error}", quote(&text)),
            "write a path such as /healthz",
        )),
    }
}

/// An address and port to listen on; port 0 lets the system choose one.
pub(super) fn listen(text: &str) -> Result<SocketAddr, Wrong> {
    let named = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    if let Ok(address) = named.as_deref().unwrap_or(text).parse() {
        return Ok(address);
    }
    let port = text.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
    let hint = match port {
        Some(port) => format!(
            "write an IP address and a port, e.g. 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface"
        ),
        None => "write an IP address and a port up to 65535, e.g. 127.0.0.1:8080".to_owned(),
    };
    Err(Wrong::new(format!("{} is not an address to listen on", quote(text)), hint))
}

/// An HTTP or HTTPS URL without login.
pub(super) fn url(text: &str) -> Result<String, Wrong> {
    let example = "write a whole URL, e.g. http://prometheus:9090";
    let text = line(text)?;
    let uri: Uri = text
        .parse()
        .map_err(|error| Wrong::new(format!("{} is not a URL: {error}", quote(&text)), example))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Err(Wrong::fixed(
                "the URL holds a login",
                "take it out; passwords and tokens are given by reference, e.g. tokenFrom: { env: NAME }",
            ))
        }
        (Some("http" | "https"), Some(authority)) if !authority.host().is_empty() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        (Some(_), _) | (None, None | Some(_)) => {
            Err(Wrong::new(format!("{} is not an HTTP URL", quote(&text)), example))
        }
    }
}

/// A name of an HTTP header or cookie.
pub(super) fn header(text: &str) -> Result<String, Wrong> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Wrong::new(
            format!("{} is not a name of a header or cookie", quote(text)),
            "write letters, digits and hyphens, e.g. x-tester",
        )),
    }
}

/// A value of an HTTP header.
pub(super) fn header_value(text: &str) -> Result<String, Wrong> {
    match HeaderValue::from_str(text) {
        Ok(_) if text.trim() == text && !text.is_empty() => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(Wrong::new(
            format!("{} is not a value of a header", quote(text)),
            "write visible characters, with no space around them",
        )),
    }
}

/// A label of Prometheus.
pub(super) fn label(text: &str) -> Result<String, Wrong> {
    if super::secret::is_variable(text) && !text.starts_with("__") {
        return Ok(text.to_owned());
    }
    let hint = "labels of Prometheus have letters, digits and underscores, e.g. version";
    Err(Wrong::new(format!("{} is not a label", quote(text)), hint))
}

/// A name of a metric; OpenTelemetry's have dots.
pub(super) fn metric(text: &str) -> Result<String, Wrong> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':'));
    if starts && text.len() <= 200 && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    let hint = if text.contains('{') {
        "write the name alone, and its labels in a map beside it: labels: { job: checkout }"
    } else if text.contains('(') {
        "write the name of the raw metric; Serin takes the raw counts and their differences itself"
    } else {
        "write its name, e.g. http_requests_total"
    };
    Err(Wrong::new(format!("{} is not a name of a metric", quote(text)), hint))
}

/// Bytes; longer than any query that a person writes.
const LONGEST_QUERY: usize = 4_096;

/// A query in the language of a store; it may take several lines.
pub(super) fn query(text: &str) -> Result<String, Wrong> {
    let text = text.trim();
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.is_empty() {
        Err(Wrong::new("the query is empty", "write what counts the events"))
    } else if text.len() > LONGEST_QUERY {
        Err(Wrong::new(format!("the query is longer than {LONGEST_QUERY} bytes"), "shorten it"))
    } else if text.contains(control) {
        Err(Wrong::new("the query holds control characters", "remove them"))
    } else {
        Ok(text.to_owned())
    }
}

/// A branch of Git.
pub(super) fn branch(text: &str) -> Result<String, Wrong> {
    let text = line(text)?;
    let forbidden =
        |c: char| c.is_whitespace() || matches!(c, '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let part_wrong = |part: &str| {
        part.is_empty() || part.starts_with('.') || part.to_ascii_lowercase().ends_with(".lock")
    };
    let wrong = text.contains(forbidden)
        || text.contains("..")
        || text.contains("@{")
        || text.starts_with('-')
        || text.ends_with('.')
        || text == "@"
        || text.split('/').any(part_wrong);
    match text.strip_prefix("refs/heads/") {
        Some(short) => Err(Wrong::new(
            format!("{} is a whole reference", quote(&text)),
            format!("write {short}"),
        )),
        None if wrong => Err(Wrong::new(
            format!("{} is not a name of a branch", quote(&text)),
            "write its name, e.g. main",
        )),
        None => Ok(text),
    }
}
