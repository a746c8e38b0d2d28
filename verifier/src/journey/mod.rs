//! Synthetic journeys: the same requests to baseline and canary in turn, each attempt traced.
//!
//! One pair is one attempt of each version, one right after the other, so that both meet the same load. Nothing
//! is made to look better than it is: one try, one connection per request, no redirect followed. Whatever a version answers, an
//! attempt ends within its journey's timeout and holds a bounded amount of memory.
//!
//! Requests say that they are synthetic (`baggage: synthetic=true`, `user-agent: serin-journey/...`), so that a service
//! can leave them out of its own counts, and carry a sampled `traceparent`: a failing pair leaves two traces of
//! the same requests, which are what a comparison of traces needs most.

mod answer;
mod cookies;
mod fill;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use analysis::Arm;
use analysis_traces::TraceId;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rollout::journey::{ATTEMPT, Body, Journey, JsonRule, Request, Take, TextRule};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use self::answer::{Answer, Known};
use self::cookies::Cookies;
use self::fill::{Place, fill, filled};

/// Names the version to routers that send by header; `always` and `never` are what nginx and Traefik look for.
const CANARY_HEADER: HeaderName = HeaderName::from_static("x-serin-canary");

/// What requests are known by in the logs of a service.
const USER_AGENT: &str = concat!("serin-journey/", env!("CARGO_PKG_VERSION"));

/// Headers that Serin or HTTP itself sets, in small letters; a policy cannot.
pub const RESERVED: [&str; 9] = [
    "baggage",
    "connection",
    "content-length",
    "te",
    "traceparent",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-serin-canary",
];

/// A journey that is ready to run: its regular expressions are compiled once.
#[derive(Debug)]
pub struct Script {
    journey: Journey,
    patterns: HashMap<String, regex::Regex>,
}

impl Script {
    /// Compiles the regular expressions of a journey.
    ///
    /// # Errors
    /// One is not valid or too large. The configuration has looked at each, so that this means a journey from
    /// elsewhere; mend the expression that is named.
    pub fn new(journey: &Journey) -> Result<Self, regex::Error> {
        let mut patterns = HashMap::new();
        for text in journey.requests.iter().flat_map(patterns_of) {
            patterns.insert(text.to_owned(), pattern(text)?);
        }
        Ok(Self { journey: journey.clone(), patterns })
    }

    /// What it runs.
    pub fn journey(&self) -> &Journey {
        &self.journey
    }

    fn is_match(&self, pattern: &str, text: &str) -> bool {
        self.patterns.get(pattern).is_some_and(|pattern| pattern.is_match(text))
    }
}

/// A regular expression within bounds: matching takes time linear in the text, and compiling at most
/// half a mebibyte.
///
/// # Errors
/// It is not valid or too large.
pub fn pattern(text: &str) -> Result<regex::Regex, regex::Error> {
    const MOST: usize = 512 * 1024;
    regex::RegexBuilder::new(text).size_limit(MOST).dfa_size_limit(MOST).build()
}

fn patterns_of(request: &Request) -> impl Iterator<Item = &str> {
    let expect = &request.expect;
    let texts = expect.headers.values().chain(&expect.body).filter_map(|rule| match rule {
        TextRule::Matches(pattern) => Some(&**pattern),
        TextRule::Equals(_) => None,
    });
    let json = expect.json.values().filter_map(|rule| match rule {
        JsonRule::Matches(pattern) => Some(&**pattern),
        JsonRule::NotNull | JsonRule::Equals(_) => None,
    });
    let taken = request.take.values().filter_map(|take| match take {
        Take::Body(pattern) => Some(&**pattern),
        Take::Json(_) | Take::Header(_) | Take::Cookie(_) => None,
    });
    texts.chain(json).chain(taken)
}

/// Why an attempt failed. Shown as `step 2, GET /cart: expected status 2xx, got 500`; of what a version answered it
/// holds numbers and the media type only, so that it can go into alerts and commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which request, from 1.
    pub step: usize,
    /// The request as the policy writes it, without its query: `GET /cart/{{user}}`.
    pub request: String,
    /// What was wrong.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}, {}: {}", self.step, self.request, self.reason)
    }
}

/// One attempt at a journey.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Why it failed; nothing where it passed.
    pub failed: Option<Failure>,
    /// How long it took, up to its failure where it failed; finite and above 0.
    pub seconds: f64,
    /// The trace of all its requests.
    pub trace: TraceId,
}

/// A client for [`pair`]; `http2` where the service speaks HTTP/2 without TLS only. One serves all journeys.
///
/// # Errors
/// TLS cannot be set up on this machine.
pub fn client(http2: bool) -> Result<reqwest::Client, reqwest::Error> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        // A connection that went stale between two pairs would be a failure of nobody's.
        .pool_max_idle_per_host(0)
        .no_proxy()
        .no_gzip()
        .referer(false);
    if http2 { client.http2_prior_knowledge() } else { client.http1_only() }.build()
}

/// Runs one pair: baseline and canary at the two base URLs, such as `http://127.0.0.1:4001`, the canary first if so
/// wished. Let that alternate from pair to pair. Returns the baseline's attempt and the canary's, within twice the
/// journey's timeout.
pub async fn pair(
    client: &reqwest::Client,
    script: &Script,
    bases: [&str; 2],
    canary_first: bool,
) -> [Attempt; 2] {
    let [baseline, canary] = bases;
    if canary_first {
        let canary = attempt(client, script, Arm::Canary, canary).await;
        [attempt(client, script, Arm::Baseline, baseline).await, canary]
    } else {
        let baseline = attempt(client, script, Arm::Baseline, baseline).await;
        [baseline, attempt(client, script, Arm::Canary, canary).await]
    }
}

async fn attempt(client: &reqwest::Client, script: &Script, arm: Arm, base: &str) -> Attempt {
    let trace =
        TraceId(u128::from_be_bytes(RandomIdGenerator::default().new_trace_id().to_bytes()));
    let journey = &script.journey;
    let texts = journey.variables.iter().map(|(name, value)| (name.clone(), value.clone()));
    let variables = texts.chain([(ATTEMPT.to_owned(), trace.to_string())]);
    let variables = variables.map(|(name, value)| (name, Value::String(value))).collect();
    let mut walk = Walk {
        client,
        script,
        arm,
        base: base.trim_end_matches('/'),
        trace,
        variables,
        cookies: Cookies::default(),
    };
    let mut step = 0;
    let begun = Instant::now();
    let all = async {
        for (index, request) in journey.requests.iter().enumerate() {
            step = index;
            walk.step(request).await?;
        }
        Ok(())
    };
    let result = timeout(journey.timeout, all).await.unwrap_or_else(|_| {
        Err(format!("no whole answer within the {:?} of the journey", journey.timeout))
    });
    let seconds = begun.elapsed().as_secs_f64().max(1e-9);
    let failed = result.err().map(|reason| Failure {
        step: step + 1,
        request: journey.requests.get(step).map(named).unwrap_or_default(),
        reason,
    });
    Attempt { failed, seconds, trace }
}

/// A request as the policy writes it: variables may hold tokens, and a query as well.
fn named(request: &Request) -> String {
    let path = request.path.split('?').next().unwrap_or_default();
    format!("{} {path}", request.method)
}

/// One attempt under way.
struct Walk<'a> {
    client: &'a reqwest::Client,
    script: &'a Script,
    arm: Arm,
    base: &'a str,
    trace: TraceId,
    variables: BTreeMap<String, Value>,
    cookies: Cookies,
}

impl Walk<'_> {
    /// Makes one request and judges its answer; what is wrong in words.
    async fn step(&mut self, request: &Request) -> Result<(), String> {
        let path = fill(&request.path, &self.variables, Place::Path)?;
        let url = format!("{}{path}", self.base);
        let mut headers = self.headers(request, &path)?;
        let mut outgoing = self.client.request(method(request), url);
        match &request.body {
            Body::Empty => {}
            Body::Text(text) => {
                outgoing = outgoing.body(fill(text, &self.variables, Place::Text)?);
            }
            Body::Json(value) => {
                let json = HeaderValue::from_static("application/json");
                headers.entry(reqwest::header::CONTENT_TYPE).or_insert(json);
                outgoing = outgoing.body(filled(value, &self.variables)?.to_string());
            }
        }
        let begun = Instant::now();
        let response = outgoing
            .headers(headers)
            .send()
            .await
            .map_err(|error| format!("no answer: {}", crate::chain(&error.without_url())))?;
        self.cookies.keep(response.headers(), &path, crate::clock::now());
        let mut answer = Answer::head(&response);
        answer.check_status(&request.expect)?;
        answer.read(response).await?;
        let known = Known { script: self.script, variables: &self.variables };
        answer.check(&request.expect, known, begun.elapsed())?;
        for (name, take) in &request.take {
            let taken = answer.take(take, self.script, &self.cookies);
            let taken = taken.map_err(|reason| format!("`{name}` cannot be taken: {reason}"))?;
            self.variables.insert(name.clone(), taken);
        }
        Ok(())
    }

    fn headers(&self, request: &Request, path: &str) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let value = fill(value, &self.variables, Place::Text)?;
            let pair = HeaderName::from_bytes(name.as_bytes())
                .ok()
                .zip(HeaderValue::from_str(&value).ok());
            let (key, value) =
                pair.ok_or_else(|| format!("header {name} cannot hold its value"))?;
            headers.append(key, value);
        }
        if let Some(cookies) = self.cookies.header(path) {
            let given = headers.remove(reqwest::header::COOKIE);
            let given = given.as_ref().and_then(|value| value.to_str().ok());
            let all = given.map_or_else(|| cookies.clone(), |given| format!("{given}; {cookies}"));
            headers
                .extend(HeaderValue::from_str(&all).ok().map(|all| (reqwest::header::COOKIE, all)));
        }
        let span = RandomIdGenerator::default().new_span_id();
        let context = format!("00-{}-{span}-01", self.trace);
        let context = HeaderValue::from_str(&context).expect("hexadecimal digits and hyphens");
        headers.insert("traceparent", context);
        headers.insert("baggage", HeaderValue::from_static("synthetic=true"));
        headers.insert(reqwest::header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let canary = match self.arm {
            Arm::Canary => "always",
            Arm::Baseline => "never",
        };
        headers.insert(CANARY_HEADER, HeaderValue::from_static(canary));
        Ok(headers)
    }
}

fn method(request: &Request) -> reqwest::Method {
    use rollout::journey::Method;
    match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Delete => reqwest::Method::DELETE,
        Method::Head => reqwest::Method::HEAD,
        Method::Patch => reqwest::Method::PATCH,
    }
}
