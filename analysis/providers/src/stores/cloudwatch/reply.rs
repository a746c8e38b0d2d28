//! What `CloudWatch` answers: pages of results, each with its own word on how complete it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Number;

use super::query::{Query, id};
use super::{Placed, Told};
use crate::error::FetchError;
use crate::stores::attempt::{Answer, Base, words};
use crate::stores::{Reply, StoredSeries, moment};

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// AWS refuses what was asked, or the answer is too long: fewer queries may do.
    Request(FetchError),
    /// AWS wants to be asked less often.
    Throttled(FetchError),
    /// Anything else.
    Other(FetchError),
}

/// One page of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page {
    #[serde(default)]
    metric_data_results: Vec<One>,
    #[serde(default)]
    messages: Vec<Message>,
    next_token: Option<String>,
    /// Its length in bytes.
    #[serde(skip)]
    pub(super) size: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    id: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    timestamps: Vec<Number>,
    #[serde(default)]
    values: Vec<Option<f64>>,
    #[serde(default)]
    status_code: String,
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(default)]
    code: String,
    #[serde(default)]
    value: String,
}

/// How AWS says no.
#[derive(Debug, Default, Deserialize)]
struct Refusal {
    #[serde(default, rename = "__type")]
    kind: String,
    #[serde(default, alias = "Message")]
    message: String,
}

/// Reads one page.
pub(super) fn page(base: &Base, answer: &Answer) -> Result<Page, Trouble> {
    if !answer.status.is_success() {
        return Err(refusal(base, answer));
    }
    let page: Result<Page, _> = serde_json::from_slice(&answer.body);
    let page = page.map_err(|error| Trouble::Other(base.broken(&error)))?;
    Ok(Page { size: answer.body.len(), ..page })
}

fn refusal(base: &Base, answer: &Answer) -> Trouble {
    let Ok(Refusal { kind, message }) = serde_json::from_slice(&answer.body) else {
        return Trouble::Other(base.refused(answer, &words(answer)));
    };
    if kind.is_empty() {
        return Trouble::Other(base.refused(answer, &words(answer)));
    }
    let kind = kind.rsplit('#').next().unwrap_or_default();
    let shown = base.shown();
    let message = message.trim_end_matches('.');
    let told = base.hide(&format!("{kind}: {message}"));
    // Throttling and a stale signature are 400 too, so that the status alone does not tell.
    let other = Trouble::Other;
    match kind {
        "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "TooManyRequestsException" => Trouble::Throttled(FetchError::transient(format!(
            "{shown} asks for fewer requests: {told}"
        ))),
        // These quote the signed request, session token included.
        "SignatureDoesNotMatch" | "IncompleteSignature" | "InvalidSignatureException" => {
            other(FetchError::permanent(format!(
                "{shown} refused the signature: {kind}; check the secret key and the region in serin.yaml and \
                 the clock of this machine"
            )))
        }
        "RequestExpired" | "ExpiredToken" | "ExpiredTokenException" => {
            other(FetchError::permanent(format!(
                "{shown} answered {told}; renew the session token in serin.yaml and check the clock of this machine"
            )))
        }
        _ if kind.starts_with("AccessDenied") => other(FetchError::permanent(format!(
            "{shown} answered {told}; allow cloudwatch:GetMetricData for these keys"
        ))),
        "InvalidClientTokenId" | "UnrecognizedClientException" | "MissingAuthenticationToken" => {
            other(FetchError::permanent(format!(
                "{shown} answered {told}; check the access key in serin.yaml"
            )))
        }
        _ if answer.status.as_u16() == 400 => {
            Trouble::Request(base.refused(answer, &format!("{kind}: {message}")))
        }
        _ => other(base.refused(answer, &format!("{kind}: {message}"))),
    }
}

/// The series of one query under one label, over all pages so far.
#[derive(Debug, Default)]
struct Part {
    label: String,
    points: Vec<(Timestamp, Option<f64>)>,
    /// The latest word on how complete it is.
    status: String,
    messages: Vec<String>,
    /// What is wrong with a page of it.
    wrong: Option<String>,
}

/// All pages of one request so far.
#[derive(Debug, Default)]
pub(super) struct Collected {
    parts: BTreeMap<String, Vec<Part>>,
    incomplete: Vec<String>,
}

impl Message {
    fn text(&self) -> String {
        format!("{}: {}", self.code, self.value)
    }
}

impl Collected {
    /// Adds a page and returns the token of the next one.
    pub(super) fn add(&mut self, page: Page) -> Option<String> {
        self.incomplete.extend(page.messages.iter().map(Message::text));
        for one in page.metric_data_results {
            let parts = self.parts.entry(one.id).or_default();
            let known = parts.iter().position(|part| part.label == one.label);
            let known = known.unwrap_or_else(|| {
                parts.push(Part { label: one.label.clone(), ..Part::default() });
                parts.len() - 1
            });
            let part = &mut parts[known];
            part.status = one.status_code;
            part.messages.extend(one.messages.iter().map(Message::text));
            if one.timestamps.len() != one.values.len() {
                part.wrong = Some("it has not as many moments as values".to_owned());
                continue;
            }
            for (at, value) in one.timestamps.iter().zip(one.values) {
                match moment::of_seconds(at) {
                    Some(at) => part.points.push((at, value)),
                    None => part.wrong = Some(format!("{at} is no moment")),
                }
            }
        }
        page.next_token.filter(|token| !token.is_empty())
    }

    /// Notes that further pages were not asked for.
    pub(super) fn cut(&mut self, pages: usize) {
        self.incomplete.push(format!("the answer has more than {pages} pages"));
    }

    /// What each query was told.
    pub(super) fn told(mut self, base: &Base, batch: &[Placed]) -> Vec<Told> {
        let whole = self.incomplete;
        batch
            .iter()
            .enumerate()
            .map(|(place, (at, query))| {
                let parts = self.parts.remove(&id(place)).unwrap_or_default();
                (*at, one(base, query, parts, &whole))
            })
            .collect()
    }
}

fn one(
    base: &Base,
    query: &Query,
    parts: Vec<Part>,
    whole: &[String],
) -> Result<Reply, FetchError> {
    let grouped = query.is_grouped();
    if parts.len() > 1 && !grouped {
        return Err(base.unreadable(format!(
            "the query has {} series, {:?} and {:?} among them; add them up with SUM(...) or name them with \
             GROUP BY",
            parts.len(),
            parts[0].label,
            parts[1].label
        )));
    }
    let mut incomplete: Vec<String> = whole.to_vec();
    let mut series = Vec::with_capacity(parts.len());
    for part in parts {
        if let Some(wrong) = part.wrong {
            return Err(base.unreadable(wrong));
        }
        if part.status == "Forbidden" {
            let shown = base.shown();
            return Err(FetchError::permanent(format!(
                "{shown} may not show {:?} to these keys; allow cloudwatch:GetMetricData for its account",
                part.label
            )));
        }
        if part.status != "Complete" {
            incomplete.push(format!("StatusCode {:?}", part.status));
        }
        incomplete.extend(part.messages);
        let instance = grouped.then_some(part.label);
        series.push(StoredSeries { instance, points: part.points });
    }
    let incomplete = (!incomplete.is_empty())
        .then(|| format!("{} says: {}", base.shown(), base.hide(&incomplete.join("; "))));
    Ok(Reply { series, incomplete })
}
