//! `providers`: the stores of counts per interval, each with what it takes to ask it.

use super::{
    AwsKeys, Bounds, Context, Endpoint, Login, ProviderKind, aws_keys, bounds, endpoint, password,
    region, secret, url,
};
use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::secret::Secret;
use crate::config::units;
use crate::config::values;

/// Datadog.
#[derive(Debug, Clone)]
pub struct Datadog {
    /// Its site, e.g. `datadoghq.eu`, or a whole address.
    pub site: String,
    /// The API key.
    pub api_key: Secret,
    /// The application key.
    pub application_key: Secret,
    /// Its times.
    pub bounds: Bounds,
}

/// New Relic.
#[derive(Debug, Clone)]
pub struct NewRelic {
    /// The account's number.
    pub account: u64,
    /// Where its data is.
    pub region: NewRelicRegion,
    /// A user key.
    pub api_key: Secret,
    /// Its times.
    pub bounds: Bounds,
}

/// Where a New Relic account's data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewRelicRegion {
    /// The United States.
    UnitedStates,
    /// Europe.
    Europe,
    /// Another address.
    At(String),
}

/// Dynatrace.
#[derive(Debug, Clone)]
pub struct Dynatrace {
    /// Its address.
    pub url: String,
    /// A token that may read.
    pub token: Secret,
    /// What is asked there.
    pub api: DynatraceApi,
    /// Its times.
    pub bounds: Bounds,
}

/// What of Dynatrace is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DynatraceApi {
    /// Grail, by DQL.
    Grail,
    /// The classic metrics API, by selectors.
    Classic,
}

/// Elasticsearch.
#[derive(Debug, Clone)]
pub struct Elastic {
    /// Its address.
    pub url: String,
    /// An API key; `None`: `login`.
    pub api_key: Option<Secret>,
    /// User and password, if there is no key.
    pub login: Login,
    /// Its times.
    pub bounds: Bounds,
}

/// Amazon `CloudWatch`.
#[derive(Debug, Clone)]
pub struct CloudWatch {
    /// The region.
    pub region: String,
    /// Keys that may read metrics.
    pub keys: AwsKeys,
    /// An address of its own; `None`: the region's public one.
    pub endpoint: Option<String>,
    /// Its times.
    pub bounds: Bounds,
}

/// `InfluxDB`.
#[derive(Debug, Clone)]
pub struct Influx {
    /// Its address.
    pub url: String,
    /// Which it is, and what of it is read.
    pub version: InfluxVersion,
    /// Token or password.
    pub login: Login,
    /// Its times.
    pub bounds: Bounds,
}

/// Which `InfluxDB` it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InfluxVersion {
    /// 1, by `InfluxQL`, with its database.
    V1(String),
    /// 2, by Flux, with its organization.
    V2(String),
    /// 3, by SQL, with its database.
    V3(String),
}

/// Graphite.
#[derive(Debug, Clone)]
pub struct Graphite {
    /// Where it is and how Serin is let in.
    pub endpoint: Endpoint,
    /// Its times.
    pub bounds: Bounds,
}

/// Anything that answers JSON.
#[derive(Debug, Clone)]
pub struct HttpStore {
    /// Where it is and how Serin is let in.
    pub endpoint: Endpoint,
    /// How its moments are written.
    pub time: TimeFormat,
    /// Where the numbers are.
    pub pointers: JsonPointers,
    /// Its times.
    pub bounds: Bounds,
}

/// How moments are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// RFC 3339.
    Rfc3339,
}

/// Where in an answer the numbers are: pointers of RFC 6901.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointers {
    /// From the answer to a list of series, or to the only one.
    pub series: String,
    /// From a series to the name of its process.
    pub instance: Option<String>,
    /// From a series to its rows; `None`: a series is one row.
    pub rows: Option<String>,
    /// From a row to its moment, or to a list of moments.
    pub time: String,
    /// From a row to its count, or to a list of counts.
    pub value: String,
    /// From the answer to an error that comes with a success.
    pub error: Option<String>,
    /// From the answer to a sign that it is incomplete.
    pub partial: Option<String>,
}

/// Reads a store of one of the kinds.
pub(super) fn read(kind: &str, at: &At<'_>, context: Context<'_>) -> Option<ProviderKind> {
    let read = |example: &str, read: fn(&Fields<'_>, Context<'_>) -> Option<ProviderKind>| {
        at.map(&format!("a map, e.g. {{ {example} }}"), |fields| read(fields, context))?
    };
    match kind {
        "datadog" => read(
            "site: datadoghq.eu, apiKeyFrom: { env: NAME }, applicationKeyFrom: { env: NAME }",
            datadog,
        ),
        "newRelic" => read("account: 1234567, region: eu, apiKeyFrom: { env: NAME }", new_relic),
        "dynatrace" => {
            read("url: https://abc12345.apps.dynatrace.com, tokenFrom: { env: NAME }", dynatrace)
        }
        "elastic" => read("url: https://elastic:9200, apiKeyFrom: { env: NAME }", elastic),
        "cloudWatch" => read(
            "region: eu-central-1, accessKeyFrom: { env: NAME }, secretKeyFrom: { env: NAME }",
            cloud_watch,
        ),
        "influx" => {
            read("url: http://influx:8086, version: 2, org: shop, tokenFrom: { env: NAME }", influx)
        }
        "graphite" => read("url: http://graphite:8080", graphite),
        _ => read("url: https://metrics.example.com", http),
    }
}

fn datadog(fields: &Fields<'_>, context: Context<'_>) -> Option<ProviderKind> {
    let site = fields.required("site", "site: datadoghq.eu").and_then(|at| {
        at.parse("a site, e.g. datadoghq.eu", |text| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
            match text {
                text if text.contains("://") => values::url(text),
                text if text.contains('.') && text.chars().all(plain) => Ok(text.to_owned()),
                _ => Err(Wrong::new(
                    format!("{} is not a site of Datadog", quote(text)),
                    "write the one in your browser's address, e.g. datadoghq.com, datadoghq.eu or us5.datadoghq.com",
                )),
            }
        })
    });
    let api_key = needed(fields, "apiKeyFrom", context);
    let application_key = needed(fields, "applicationKeyFrom", context);
    let bounds = bounds(fields);
    Some(ProviderKind::Datadog(Datadog {
        site: site?,
        api_key: api_key?,
        application_key: application_key?,
        bounds,
    }))
}

/// A secret that cannot be left out.
fn needed(fields: &Fields<'_>, name: &'static str, context: Context<'_>) -> Option<Secret> {
    let example = format!("{name}: {{ env: NAME }} or {name}: {{ file: path }}");
    fields.required(name, &example).and_then(|at| secret(&at, context))
}

fn new_relic(fields: &Fields<'_>, context: Context<'_>) -> Option<ProviderKind> {
    let account = fields
        .required("account", "account: 1234567, the account's number")
        .and_then(|at| at.parse("a whole number", units::whole(1, 9_999_999_999)));
    let region = fields.or("region", NewRelicRegion::UnitedStates, |at| {
        at.parse("us or eu", |text| match text {
            "us" => Ok(NewRelicRegion::UnitedStates),
            "eu" => Ok(NewRelicRegion::Europe),
            text if text.contains("://") => values::url(text).map(NewRelicRegion::At),
            _ => Err(Wrong::new(
                format!("{} is not a region of New Relic", quote(text)),
                "write us or eu",
            )),
        })
    });
    let (api_key, bounds) = (needed(fields, "apiKeyFrom", context), bounds(fields));
    Some(ProviderKind::NewRelic(NewRelic { account: account?, region, api_key: api_key?, bounds }))
}

fn dynatrace(fields: &Fields<'_>, context: Context<'_>) -> Option<ProviderKind> {
    let words = [("grail", DynatraceApi::Grail), ("classic", DynatraceApi::Classic)];
    let api = fields.or("api", DynatraceApi::Grail, |at| at.word(&words));
    let example = "url: https://abc12345.apps.dynatrace.com";
    let url = fields.required("url", example).and_then(|at| url(&at));
    let (token, bounds) = (needed(fields, "tokenFrom", context), bounds(fields));
    Some(ProviderKind::Dynatrace(Dynatrace { url: url?, token: token?, api, bounds }))
}

fn elastic(fields: &Fields<'_>, context: Context<'_>) -> Option<ProviderKind> {
    let api_key = fields.get("apiKeyFrom");
    if let (Some(_), Some(at)) = (&api_key, fields.get("basic")) {
        at.wrong(Wrong::new("`apiKeyFrom` and `basic` cannot both be used", "keep one of them"));
    }
    let api_key = api_key.and_then(|at| secret(&at, context));
    let login = fields.get("basic").and_then(|at| password(&at, context));
    let login = login.unwrap_or(Login::None);
    let url = fields.required("url", "url: https://elastic:9200").and_then(|at| url(&at));
    let bounds = bounds(fields);
    Some(ProviderKind::Elastic(Elastic { url: url?, api_key, login, bounds }))
}

fn cloud_watch(fields: &Fields<'_>, context: Context<'_>) -> Option<ProviderKind> {
    let (region, keys) = (region(fields), aws_keys(fields, context));
    let endpoint = fields.get("endpoint").and_then(|at| url(&at));
    let bounds = bounds(fields);
    Some(ProviderKind::CloudWatch(CloudWatch { region: region?, keys: keys?, endpoint, bounds }))
}

fn influx(fields: &Fields<'_>, context: Context<'_>) -> Option<ProviderKind> {
    let named = |name, example: &str| {
        fields.required(name, example).and_then(|at| at.parse("a name", values::line))
    };
    let versions = [("1", 1_u8), ("2", 2), ("3", 3)];
    let version = fields.required("version", "version: 2, the major version: 1, 2 or 3");
    let version = version.and_then(|at| at.word(&versions));
    let (database, org) = (fields.raw("database"), fields.raw("org"));
    let (version, stranger) = match version {
        Some(1) => (named("database", "database: metrics").map(InfluxVersion::V1), org),
        Some(2) => (named("org", "org: shop, the organization").map(InfluxVersion::V2), database),
        Some(_) => (named("database", "database: metrics").map(InfluxVersion::V3), org),
        None => (None, None),
    };
    if let Some(at) = stranger {
        let hint = "leave it out; a database belongs to versions 1 and 3, an organization to version 2, whose queries name the bucket";
        at.wrong(Wrong::new("this version of InfluxDB has no such thing", hint));
    }
    let token = fields.get("tokenFrom");
    if let (Some(_), Some(at)) = (&token, fields.get("basic")) {
        at.wrong(Wrong::new("`tokenFrom` and `basic` cannot both be used", "keep one of them"));
    }
    let token = token.and_then(|at| secret(&at, context)).map(Login::Bearer);
    let login = token.or_else(|| password(&fields.get("basic")?, context));
    let login = login.unwrap_or(Login::None);
    let url = fields.required("url", "url: http://influx:8086").and_then(|at| url(&at));
    let bounds = bounds(fields);
    Some(ProviderKind::Influx(Influx { url: url?, version: version?, login, bounds }))
}

fn graphite(fields: &Fields<'_>, context: Context<'_>) -> Option<ProviderKind> {
    let (endpoint, bounds) =
        (endpoint(fields, "url: http://graphite:8080", context), bounds(fields));
    Some(ProviderKind::Graphite(Graphite { endpoint: endpoint?, bounds }))
}

fn http(fields: &Fields<'_>, context: Context<'_>) -> Option<ProviderKind> {
    let endpoint = endpoint(fields, "url: https://metrics.example.com", context);
    let formats = [
        ("seconds", TimeFormat::Seconds),
        ("milliseconds", TimeFormat::Milliseconds),
        ("rfc3339", TimeFormat::Rfc3339),
    ];
    let time = fields.or("time", TimeFormat::Seconds, |at| at.word(&formats));
    let example = "pointers: { series: /series, rows: /points, time: /0, value: /1 }, where in the answer the numbers are";
    let pointers = fields.required("pointers", example).and_then(|at| {
        at.map("a map, e.g. { series: /series, rows: /points, time: /0, value: /1 }", pointers)?
    });
    let bounds = bounds(fields);
    Some(ProviderKind::Http(HttpStore { endpoint: endpoint?, time, pointers: pointers?, bounds }))
}

fn pointers(fields: &Fields<'_>) -> Option<JsonPointers> {
    let perhaps = |name| fields.get(name).and_then(|at| pointer(&at));
    let needed = |name, example| fields.required(name, example).and_then(|at| pointer(&at));
    let (instance, rows) = (perhaps("instance"), perhaps("rows"));
    let (error, partial) = (perhaps("error"), perhaps("partial"));
    let series = fields.or("series", String::new(), |at| pointer(at));
    let time = needed("time", "time: /0, from a row to its moment");
    let value = needed("value", "value: /1, from a row to its count");
    Some(JsonPointers { series, instance, rows, time: time?, value: value?, error, partial })
}

/// A pointer of RFC 6901: each step begins with a slash, and the empty text points to the whole.
fn pointer(at: &At<'_>) -> Option<String> {
    at.parse("a pointer, e.g. /data/series", |text| {
        let bad = text.contains(char::is_control) || 200 < text.len();
        if !bad && (text.is_empty() || text.starts_with('/')) {
            return Ok(text.to_owned());
        }
        let hint = format!("begin each step with a slash, e.g. /{}", text.replace('.', "/"));
        Err(Wrong::new(format!("{} is not a pointer into JSON", quote(text)), hint))
    })
}
