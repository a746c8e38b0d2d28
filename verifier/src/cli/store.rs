//! A Prometheus that a command asks by itself: by its address, or as `serin.yaml` names it.

use std::collections::BTreeMap;
use std::time::Duration;

use analysis::Arm;
use analysis_providers::prometheus::Login as Renewed;
use analysis_providers::{
    Access, AwsCredentials, Credentials, Instance, Measure, Prometheus, PrometheusSettings, Secret,
    Subject,
};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rollout::Policy;
use rollout::policy::{Metrics, VersionText};
use serde::Deserialize;

use crate::config::{AwsKeys, Endpoint, Login, PrometheusServer};
use crate::{chain, config};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest answer to a question for versions, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;

/// A store, and how it is let in.
pub(super) struct Store {
    pub(super) prometheus: Prometheus,
    url: String,
    login: Login,
    headers: Vec<(String, String)>,
    signs: bool,
}

/// How a store tells the versions of a service apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) version: String,
    pub(super) all: BTreeMap<String, String>,
    pub(super) interval: Duration,
}

impl Labels {
    /// As the policy has them, or the usual ones where its metrics come from elsewhere.
    pub(super) fn of(policy: &Policy) -> Self {
        match &policy.metrics {
            Metrics::Prometheus { version_label, labels, interval, .. } => {
                Self { version: version_label.clone(), all: labels.clone(), interval: *interval }
            }
            Metrics::Proxy
            | Metrics::Scrape { .. }
            | Metrics::Otlp { .. }
            | Metrics::Traces { .. }
            | Metrics::Store { .. } => Self {
                version: "version".to_owned(),
                all: BTreeMap::new(),
                interval: Duration::from_secs(15),
            },
        }
    }

    /// The policy with its metrics in such a store, so that its checks read everything there.
    pub(super) fn put_into(&self, policy: Policy) -> Policy {
        let provider = match &policy.metrics {
            Metrics::Prometheus { provider, .. } => provider.clone(),
            Metrics::Proxy
            | Metrics::Scrape { .. }
            | Metrics::Otlp { .. }
            | Metrics::Traces { .. }
            | Metrics::Store { .. } => String::new(),
        };
        let metrics = Metrics::Prometheus {
            provider,
            version_label: self.version.clone(),
            labels: self.all.clone(),
            interval: self.interval,
            version: VersionText::Full,
        };
        Policy { metrics, ..policy }
    }

    /// What is asked for one version by itself.
    pub(super) fn subject(&self, service: &str, version: &str, measures: &[Measure]) -> Subject {
        let mut labels = self.all.clone();
        labels.insert(self.version.clone(), version.to_owned());
        let name = version.to_owned();
        Subject {
            id: version.to_owned(),
            service: service.to_owned(),
            instances: vec![Instance { name, arm: Arm::Baseline, url: None, labels }],
            measures: measures.to_vec(),
        }
    }

    /// `{job="checkout",version!=""}`.
    fn selector(&self) -> String {
        let quoted = |text: &str| {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("\"{text}\"")
        };
        let known = self.all.iter().map(|(name, value)| format!("{name}={},", quoted(value)));
        format!("{{{}{}!=\"\"}}", known.collect::<String>(), self.version)
    }
}

impl Store {
    /// At an address that asks for nothing.
    pub(super) fn at(url: &str, interval: Duration) -> Result<Self, String> {
        Self::of(&PrometheusServer {
            endpoint: Endpoint {
                url: url.trim_end_matches('/').to_owned(),
                login: Login::None,
                headers: Vec::new(),
            },
            signing: None,
            timeout: PATIENCE,
            settle: Duration::ZERO,
            interval,
        })
    }

    fn of(server: &PrometheusServer) -> Result<Self, String> {
        let Endpoint { url, login, headers } = &server.endpoint;
        let renewed = match (&server.signing, login) {
            (Some(signing), _) => {
                Renewed::SigV4 { credentials: aws(&signing.keys), region: signing.region.clone() }
            }
            (None, Login::TokenFile(path)) => Renewed::TokenFile(path.clone()),
            (None, Login::None | Login::Bearer(_) | Login::Basic { .. }) => Renewed::Fixed,
        };
        let secret = |secret: &config::Secret| Secret::new(secret.expose());
        let credentials = match login {
            Login::None | Login::TokenFile(_) => Credentials::None,
            Login::Bearer(token) => Credentials::Bearer(secret(token)),
            Login::Basic { user, password } => {
                Credentials::Basic { user: user.clone(), password: secret(password) }
            }
        };
        let named = headers.iter().map(|(name, value)| (name.clone(), Secret::new(value)));
        let settings = PrometheusSettings {
            access: Access { credentials, headers: named.collect() },
            login: renewed,
            timeout: PATIENCE,
            ..PrometheusSettings::new(url, server.interval)
        };
        Ok(Self {
            prometheus: Prometheus::new(settings).map_err(|error| chain(&error))?,
            url: url.clone(),
            login: login.clone(),
            headers: headers.clone(),
            signs: server.signing.is_some(),
        })
    }

    /// Values of the version label on the service's series between two moments.
    pub(super) async fn versions(
        &self,
        labels: &Labels,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<String>, String> {
        let name = &labels.version;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(format!("`{name}` is no name of a label; write letters, digits and `_`"));
        }
        if self.signs {
            return Err("the store asks for signed requests, and only its samples are asked so\nhint: name the versions with --versions OLD,NEW".to_owned());
        }
        let query = [
            ("match[]", labels.selector()),
            ("start", from.as_second().to_string()),
            ("end", to.as_second().to_string()),
        ];
        let path = format!("/api/v1/label/{name}/values");
        let failed = |why: String| format!("failed to ask {} for versions: {why}", self.url);
        let text = self.get(&path, &query).await.map_err(failed)?;
        let values: Values = serde_json::from_slice(&text)
            .map_err(|_| failed("the answer is not that of a Prometheus".to_owned()))?;
        values
            .data
            .ok_or_else(|| failed(values.error.unwrap_or_else(|| "it does not say why".to_owned())))
    }

    async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Vec<u8>, String> {
        let said = |error: reqwest::Error| chain(&error.without_url());
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
            let mut value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let client = reqwest::Client::builder().timeout(PATIENCE).build().map_err(said)?;
        let address = format!("{}{path}", self.url);
        let mut request = client.get(address).headers(headers).query(query);
        request = match &self.login {
            Login::None => request,
            Login::Bearer(token) => request.bearer_auth(token.expose()),
            Login::Basic { user, password } => request.basic_auth(user, Some(password.expose())),
            Login::TokenFile(path) => {
                let token = tokio::fs::read_to_string(path).await.map_err(|error| {
                    format!("the token's file {} cannot be read: {error}", path.display())
                })?;
                request.bearer_auth(token.trim())
            }
        };
        let mut answer = request.send().await.map_err(said)?;
        let status = answer.status();
        let mut text = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(said)? {
            if LONGEST < text.len() + part.len() {
                return Err(format!("the answer is longer than {LONGEST} bytes"));
            }
            text.extend_from_slice(&part);
        }
        // Prometheus says in the body what it does not like.
        if status.is_success() || status.as_u16() == 400 || status.as_u16() == 422 {
            Ok(text)
        } else {
            Err(format!("it answered {status}"))
        }
    }

    /// Whether there is an API of Prometheus at this address.
    pub(super) async fn is_there(&self) -> bool {
        let now = crate::clock::now();
        let query = [("start", now.as_second().to_string()), ("end", now.as_second().to_string())];
        let text = self.get("/api/v1/label/job/values", &query).await;
        text.ok()
            .and_then(|text| serde_json::from_slice::<Values>(&text).ok())
            .is_some_and(|values| values.status == "success")
    }
}

#[derive(Deserialize)]
struct Values {
    status: String,
    #[serde(default)]
    data: Option<Vec<String>>,
    #[serde(default)]
    error: Option<String>,
}

fn aws(keys: &AwsKeys) -> AwsCredentials {
    AwsCredentials {
        access_key: keys.access_key.expose().to_owned(),
        secret_key: Secret::new(keys.secret_key.expose()),
        session_token: keys.session_token.as_ref().map(|token| Secret::new(token.expose())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_quotes_what_labels_hold() {
        let labels = Labels {
            version: "version".to_owned(),
            all: BTreeMap::from([("job".to_owned(), "a\"b\\c\n".to_owned())]),
            interval: Duration::from_secs(1),
        };
        assert_eq!(labels.selector(), r#"{job="a\"b\\c\n",version!=""}"#);
    }
}
