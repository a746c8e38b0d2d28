//! From a body to what it reports: Grafana Faro's payload, or objects of the `web-vitals` library.
//!
//! Senders of many versions post here, so a part that is not as expected is left out and counted instead of failing
//! the rest. Nothing but what [`Beacon`] holds is looked at: no user, no address, no query string, no user agent.
//!
//! Faro: <https://github.com/grafana/faro-web-sdk> (2.0, `TransportBody`); `web-vitals`:
//! <https://github.com/GoogleChrome/web-vitals> (6.2, `Metric`).

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use serde_json::Value;

use super::answer::{Left, LeftOut, Refused};
use super::private::{cut, error, page_group};
use super::vital::Vital;

/// Most bytes of a body, packed and unpacked; browsers send at most as much with a page that closes.
pub(super) const LARGEST: usize = 64 * 1_024;

/// Vitals and errors of one beacon; Faro sends at most 30 items at once.
const MOST_ITEMS: usize = 100;

/// Longest name of an app or a version, in bytes.
const LONGEST_NAME: usize = 100;

/// Longest identity of a session or a vital, in bytes; they are only hashed.
const LONGEST_IDENTITY: usize = 256;

/// What a page says of its version: `gitHash`, `version` and `release`, the most telling first.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Versions(pub(super) [Option<String>; 3]);

/// What a browser reports of one page view.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Beacon {
    pub(super) app: String,
    pub(super) versions: Versions,
    pub(super) session: Option<String>,
    /// The page group.
    pub(super) page: String,
    /// The page view is over: nothing more will be reported of it.
    pub(super) ended: bool,
    pub(super) vitals: Vec<Reported>,
    /// Script errors, masked.
    pub(super) errors: Vec<String>,
    /// A check asked, not a person.
    pub(super) synthetic: bool,
    pub(super) left: Left,
}

/// One value of one vital.
#[derive(Debug, PartialEq)]
pub(super) struct Reported {
    pub(super) vital: Vital,
    /// The same for all reports of one page view.
    pub(super) id: String,
    pub(super) value: f64,
    /// When it was measured, by the browser's clock in milliseconds, if it says so.
    pub(super) stamp: Option<i64>,
}

/// Reads a body as JSON, unpacked if it is packed.
pub(super) fn json(body: &[u8], encoding: Option<&str>) -> Result<Value, Refused> {
    if body.len() > LARGEST {
        return Err(Refused::TooLarge);
    }
    let plain;
    let body = match encoding.map(str::trim) {
        None | Some("" | "identity") => body,
        Some(gzip) if gzip.eq_ignore_ascii_case("gzip") => {
            plain = gunzip(body)?;
            &plain
        }
        Some(other) => return Err(Refused::Encoding(cut(other, 40).to_owned())),
    };
    serde_json::from_slice(body)
        .map_err(|error| Refused::Malformed { what: "JSON", cause: error.to_string() })
}

fn gunzip(body: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut plain = Vec::new();
    let most = u64::try_from(LARGEST).unwrap_or(u64::MAX).saturating_add(1);
    let read = MultiGzDecoder::new(body).take(most).read_to_end(&mut plain);
    read.map_err(|error| Refused::Malformed { what: "gzip", cause: error.to_string() })?;
    if plain.len() > LARGEST { Err(Refused::TooLarge) } else { Ok(plain) }
}

/// What a payload of Faro reports.
pub(super) fn faro(body: &Value) -> Result<Beacon, Refused> {
    let meta = body.get("meta").unwrap_or(&Value::Null);
    let app = meta.get("app").unwrap_or(&Value::Null);
    let address = text(meta.pointer("/page/url")).or_else(|| text(meta.pointer("/view/name")));
    let mut beacon = Beacon {
        app: name(app.get("name")).ok_or(Refused::NoApp)?,
        versions: versions(app),
        session: identity(meta.pointer("/session/id")),
        page: page_group(address.unwrap_or_default()),
        synthetic: meta.pointer("/k6/isK6Browser").and_then(Value::as_bool).unwrap_or(false),
        ..Beacon::default()
    };
    for measurement in list(body.get("measurements")) {
        if text(measurement.get("type")) != Some("web-vitals") {
            continue;
        }
        let id = identity(measurement.pointer("/context/id"));
        let stamp = stamp(measurement.get("timestamp"));
        let values = measurement.get("values").and_then(Value::as_object);
        // Beside the vital there are parts of it and its `delta`.
        let found = values.into_iter().flatten();
        for (vital, value) in found.filter_map(|(name, value)| Some((Vital::named(name)?, value))) {
            beacon.add(vital, value, id.clone(), stamp);
        }
    }
    for exception in list(body.get("exceptions")) {
        beacon.fail(exception.get("type"), exception.get("value"));
    }
    Ok(beacon)
}

/// What vitals report: one metric of the library, a list of them, or an object with `vitals` and `errors`. What the
/// objects do not say of app, version and page is in `usual`.
pub(super) fn vitals(body: &Value, usual: &Value) -> Result<Beacon, Refused> {
    let one = std::slice::from_ref(body);
    let (metrics, errors) = match body {
        Value::Array(metrics) => (metrics.as_slice(), [].as_slice()),
        Value::Object(fields) if fields.contains_key("name") => (one, [].as_slice()),
        Value::Object(_) => (list(body.get("vitals")), list(body.get("errors"))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let cause = "it is neither an object nor a list".to_owned();
            return Err(Refused::Malformed { what: "web vital", cause });
        }
    };
    // Whoever sends a list says it in each of its objects, in the request, or around the list.
    let sayings = [Some(body), metrics.first(), Some(usual)];
    let said = |field: &str| sayings.into_iter().flatten().find_map(|saying| saying.get(field));
    let saying = sayings.into_iter().flatten().find(|saying| !versions(saying).is_empty());
    let address = ["page", "path", "url"].into_iter().find_map(|field| text(said(field)));
    let mut beacon = Beacon {
        app: name(said("app")).ok_or(Refused::NoApp)?,
        versions: saying.map(versions).unwrap_or_default(),
        session: identity(said("session").or_else(|| said("sessionId"))),
        page: page_group(address.unwrap_or_default()),
        ended: body.get("ended").and_then(Value::as_bool).unwrap_or(false),
        ..Beacon::default()
    };
    for metric in metrics {
        let Some(vital) = text(metric.get("name")).and_then(Vital::named) else {
            beacon.left.add(LeftOut::NoVital);
            continue;
        };
        let id = identity(metric.get("id"));
        let stamp = stamp(metric.get("timestamp")).or_else(|| stamp(body.get("timestamp")));
        beacon.add(vital, metric.get("value").unwrap_or(&Value::Null), id, stamp);
    }
    for error in errors {
        beacon.fail(error.get("type"), error.get("message"));
    }
    Ok(beacon)
}

impl Beacon {
    fn add(&mut self, vital: Vital, value: &Value, id: Option<String>, stamp: Option<i64>) {
        let Some(value) = value.as_f64().filter(|value| vital.is_real(*value)) else {
            return self.left.add(LeftOut::NoValue);
        };
        // Old senders give none: then a session's page has one value.
        let session = self.session.as_ref().map(|session| format!("{session} {}", self.page));
        let Some(id) = id.or(session) else { return self.left.add(LeftOut::NoId) };
        if self.vitals.len() >= MOST_ITEMS {
            return self.left.add(LeftOut::TooMany);
        }
        self.vitals.push(Reported { vital, id, value, stamp });
    }

    fn fail(&mut self, kind: Option<&Value>, message: Option<&Value>) {
        if self.errors.len() >= MOST_ITEMS {
            return self.left.add(LeftOut::TooMany);
        }
        self.errors.push(error(text(kind).unwrap_or_default(), text(message).unwrap_or_default()));
    }
}

impl Versions {
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The most telling, for people.
    pub(super) fn shown(&self) -> &str {
        self.0.iter().flatten().next().map_or("", String::as_str)
    }
}

fn versions(said: &Value) -> Versions {
    Versions(["gitHash", "version", "release"].map(|field| name(said.get(field))))
}

fn text(value: Option<&Value>) -> Option<&str> {
    value?.as_str()
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A name that people wrote, if it is one.
fn name(value: Option<&Value>) -> Option<String> {
    let name = text(value)?.trim();
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(char::is_control);
    fits.then(|| name.to_owned())
}

fn identity(value: Option<&Value>) -> Option<String> {
    let identity = text(value)?;
    (!identity.is_empty()).then(|| cut(identity, LONGEST_IDENTITY).to_owned())
}

/// Milliseconds since 1970, as a number or as RFC 3339.
fn stamp(value: Option<&Value>) -> Option<i64> {
    let value = value?;
    let written = || value.as_str()?.parse::<Timestamp>().ok();
    value.as_i64().or_else(|| Some(written()?.as_millisecond()))
}
