//! Providers of `serin.yaml`, each built from its settings; none is contacted.

use std::collections::BTreeMap;
use std::sync::Arc;

use analysis_providers::prometheus::Login as Renewed;
use analysis_providers::traces::{self, TraceStore};
use analysis_providers::{
    Access, AwsCredentials, CloudWatchSettings, DatadogSettings, DynatraceSettings, DynatraceStore,
    ElasticAccess, ElasticSettings, FetchError, GraphiteSettings, HttpJsonSettings, InfluxApi,
    InfluxSettings, JsonPointers, MetricProvider, NewRelicRegion, NewRelicSettings, Prometheus,
    PrometheusSettings, Secret, TimeFormat, Windows,
};

use super::RunError;
use crate::clock::now;
use crate::config::{
    self, AwsKeys, DynatraceApi, Endpoint, InfluxVersion, Instance, Login, ProviderKind, Traces,
};

/// Every provider by its name.
pub(crate) fn stores(
    instance: &Instance,
) -> Result<BTreeMap<String, Arc<dyn MetricProvider>>, RunError> {
    let build = |provider: &config::Provider| {
        let store = store(&provider.kind).map_err(|error| RunError::Provider {
            name: provider.name.clone(),
            why: crate::chain(&error),
        })?;
        Ok((provider.name.clone(), store))
    };
    let metrics = |provider: &&config::Provider| !matches!(provider.kind, ProviderKind::Traces(_));
    instance.providers.iter().filter(metrics).map(build).collect()
}

/// Every store of traces by its name; Datadog is one as well.
pub(crate) fn trace_stores(
    instance: &Instance,
) -> Result<BTreeMap<String, Arc<dyn TraceStore>>, RunError> {
    let mut stores = BTreeMap::new();
    for provider in &instance.providers {
        let store = trace_store(&provider.kind).transpose().map_err(|error| {
            RunError::Provider { name: provider.name.clone(), why: crate::chain(&error) }
        })?;
        stores.extend(store.map(|store| (provider.name.clone(), store)));
    }
    Ok(stores)
}

fn trace_store(kind: &ProviderKind) -> Option<Result<Arc<dyn TraceStore>, FetchError>> {
    Some(match kind {
        ProviderKind::Traces(Traces::Jaeger(it)) => {
            let settings = traces::JaegerSettings::new(&it.endpoint.url, now);
            traces::jaeger(traces::JaegerSettings {
                access: access(&it.endpoint),
                page: it.page.clone(),
                timeout: it.timeout.unwrap_or(settings.timeout),
                ..settings
            })
        }
        ProviderKind::Traces(Traces::Zipkin(it)) => {
            let settings = traces::ZipkinSettings::new(&it.endpoint.url, now);
            traces::zipkin(traces::ZipkinSettings {
                access: access(&it.endpoint),
                page: it.page.clone(),
                timeout: it.timeout.unwrap_or(settings.timeout),
                ..settings
            })
        }
        ProviderKind::Traces(Traces::Tempo(it)) => {
            let settings = traces::TempoSettings::new(&it.endpoint.url, now);
            let grafana = it.grafana.clone();
            traces::tempo(traces::TempoSettings {
                access: access(&it.endpoint),
                tenant: it.tenant.clone(),
                grafana: grafana
                    .map(|it| traces::GrafanaPage { url: it.url, datasource: it.datasource }),
                timeout: it.timeout.unwrap_or(settings.timeout),
                ..settings
            })
        }
        ProviderKind::Datadog(it) => {
            let [api_key, application_key] = [secret(&it.api_key), secret(&it.application_key)];
            let settings =
                traces::DatadogTracesSettings::new(&it.site, api_key, application_key, now);
            let timeout = it.bounds.timeout.unwrap_or(settings.timeout);
            traces::datadog(traces::DatadogTracesSettings { timeout, ..settings })
        }
        ProviderKind::Prometheus(_)
        | ProviderKind::NewRelic(_)
        | ProviderKind::Dynatrace(_)
        | ProviderKind::Elastic(_)
        | ProviderKind::CloudWatch(_)
        | ProviderKind::Influx(_)
        | ProviderKind::Graphite(_)
        | ProviderKind::Http(_) => return None,
    })
}

/// A store of counts per interval with the times that were set.
macro_rules! timed {
    ($settings:expr, $bounds:expr) => {{
        let (mut settings, bounds) = ($settings, $bounds);
        settings.step = bounds.step.unwrap_or(settings.step);
        settings.settle = bounds.settle.unwrap_or(settings.settle);
        settings.timeout = bounds.timeout.unwrap_or(settings.timeout);
        Ok::<Arc<Windows>, FetchError>(Arc::new(settings.provider()?))
    }};
}

fn store(kind: &ProviderKind) -> Result<Arc<dyn MetricProvider>, FetchError> {
    Ok(match kind {
        ProviderKind::Prometheus(server) => Arc::new(Prometheus::new(prometheus(server))?),
        ProviderKind::Datadog(it) => {
            let keys = [secret(&it.api_key), secret(&it.application_key)];
            let [api_key, application_key] = keys;
            timed!(DatadogSettings::new(&it.site, api_key, application_key), it.bounds)?
        }
        ProviderKind::NewRelic(it) => {
            let region = match &it.region {
                config::NewRelicRegion::UnitedStates => NewRelicRegion::UnitedStates,
                config::NewRelicRegion::Europe => NewRelicRegion::Europe,
                config::NewRelicRegion::At(url) => NewRelicRegion::At(url.clone()),
            };
            let settings = NewRelicSettings::new(it.account, secret(&it.api_key));
            timed!(NewRelicSettings { region, ..settings }, it.bounds)?
        }
        ProviderKind::Dynatrace(it) => {
            let token = secret(&it.token);
            let store = match it.api {
                DynatraceApi::Grail => DynatraceStore::Grail { token },
                DynatraceApi::Classic => DynatraceStore::Classic { token },
            };
            timed!(DynatraceSettings::new(&it.url, store), it.bounds)?
        }
        ProviderKind::Elastic(it) => {
            let access = match (&it.api_key, &it.login) {
                (Some(key), _) => ElasticAccess::ApiKey(secret(key)),
                (None, Login::Basic { user, password }) => {
                    ElasticAccess::Basic { user: user.clone(), password: secret(password) }
                }
                (None, Login::None | Login::Bearer(_) | Login::TokenFile(_)) => ElasticAccess::Open,
            };
            timed!(ElasticSettings::new(&it.url, access), it.bounds)?
        }
        ProviderKind::CloudWatch(it) => {
            let endpoint = it.endpoint.clone();
            let settings = CloudWatchSettings::new(&it.region, aws(&it.keys), now);
            timed!(CloudWatchSettings { endpoint, ..settings }, it.bounds)?
        }
        ProviderKind::Influx(it) => {
            let api = match it.version.clone() {
                InfluxVersion::V1(database) => InfluxApi::V1 { database },
                InfluxVersion::V2(org) => InfluxApi::V2 { org },
                InfluxVersion::V3(database) => InfluxApi::V3 { database },
            };
            let access = Access { credentials: credentials(&it.login), headers: Vec::new() };
            timed!(InfluxSettings { access, ..InfluxSettings::new(&it.url, api) }, it.bounds)?
        }
        ProviderKind::Graphite(it) => {
            let settings = GraphiteSettings::new(&it.endpoint.url);
            timed!(GraphiteSettings { access: access(&it.endpoint), ..settings }, it.bounds)?
        }
        ProviderKind::Traces(_) => {
            return Err(FetchError::permanent("a store of traces has no metrics"));
        }
        ProviderKind::Http(it) => {
            let time = match it.time {
                config::TimeFormat::Seconds => TimeFormat::Seconds,
                config::TimeFormat::Milliseconds => TimeFormat::Milliseconds,
                config::TimeFormat::Rfc3339 => TimeFormat::Rfc3339,
            };
            let at = it.pointers.clone();
            let pointers = JsonPointers {
                series: at.series,
                instance: at.instance,
                rows: at.rows,
                time: at.time,
                value: at.value,
                error: at.error,
                partial: at.partial,
            };
            let settings = HttpJsonSettings::new(&it.endpoint.url, time, pointers);
            timed!(HttpJsonSettings { access: access(&it.endpoint), ..settings }, it.bounds)?
        }
    })
}

fn prometheus(server: &config::PrometheusServer) -> PrometheusSettings {
    let login = match (&server.signing, &server.endpoint.login) {
        (Some(signing), _) => {
            Renewed::SigV4 { credentials: aws(&signing.keys), region: signing.region.clone() }
        }
        (None, Login::TokenFile(path)) => Renewed::TokenFile(path.clone()),
        (None, Login::None | Login::Bearer(_) | Login::Basic { .. }) => Renewed::Fixed,
    };
    PrometheusSettings {
        access: access(&server.endpoint),
        login,
        timeout: server.timeout,
        settle: server.settle,
        ..PrometheusSettings::new(&server.endpoint.url, server.interval)
    }
}

fn access(endpoint: &Endpoint) -> Access {
    let headers = endpoint.headers.iter();
    Access {
        credentials: credentials(&endpoint.login),
        headers: headers.map(|(name, value)| (name.clone(), Secret::new(value))).collect(),
    }
}

fn credentials(login: &Login) -> analysis_providers::Credentials {
    match login {
        Login::None | Login::TokenFile(_) => analysis_providers::Credentials::None,
        Login::Bearer(token) => analysis_providers::Credentials::Bearer(secret(token)),
        Login::Basic { user, password } => analysis_providers::Credentials::Basic {
            user: user.clone(),
            password: secret(password),
        },
    }
}

fn aws(keys: &AwsKeys) -> AwsCredentials {
    AwsCredentials {
        access_key: keys.access_key.expose().to_owned(),
        secret_key: secret(&keys.secret_key),
        session_token: keys.session_token.as_ref().map(secret),
    }
}

fn secret(secret: &config::Secret) -> Secret {
    Secret::new(secret.expose())
}
