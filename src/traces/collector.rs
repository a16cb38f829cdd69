//! Sends spans to a collector: OTLP over HTTP, in protobuf.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::Traces;
use crate::trust::client_trusting;

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// No answer that says something is longer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How long nothing may happen on a connection that is kept.
const IDLE: Duration = Duration::from_secs(60);

/// Why a collector cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The authorities to trust cannot be read.
    #[error("traces.ca_file cannot be read: {0}")]
    Authorities(#[source] rustls::pki_types::pem::Error),
    /// They can verify nobody.
    #[error("traces.ca_file: {0}")]
    Named(#[source] rustls::Error),
    /// They are not what they should be, or the rest is not.
    #[error("the HTTP client for traces could not be made")]
    Http(#[source] reqwest::Error),
}

/// Why spans were not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{0}")]
    Unreachable(String),
    #[error("no answer in time")]
    Late,
    #[error("the collector answered {status}")]
    Status {
        status: StatusCode,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
}

impl SendError {
    /// Returns whether the same spans may be taken later, as OTLP says.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Late => true,
            Self::Status { status, .. } => {
                matches!(status.as_u16(), 429 | 502 | 503 | 504)
            }
        }
    }
}

/// Where spans are sent.
#[derive(Debug)]
pub struct Collector {
    http: reqwest::Client,
    endpoint: String,
    headers: HeaderMap,
    resource: ResourceAttributesWithSchema,
}

impl Collector {
    /// Prepares to send; `None` where nothing is traced.
    pub fn new(config: &Traces) -> Result<Option<Self>, CollectorError> {
        let Some(endpoint) = &config.endpoint else {
            return Ok(None);
        };
        let mut http = reqwest::Client::builder()
            .timeout(config.timeout)
            .connect_timeout(config.timeout)
            .pool_idle_timeout(IDLE)
            // The environment says nothing about it, and a redirect would carry the headers to somebody else.
            .no_proxy()
            .redirect(Policy::none())
            .referer(false);
        if let Some(file) = &config.ca_file {
            http = http.tls_backend_preconfigured(trusting(file)?);
        }
        let http = http
            .build()
            .map_err(|error| CollectorError::Http(error.without_url()))?;
        let mut headers = HeaderMap::from_iter(config.headers.iter().cloned());
        headers.insert(CONTENT_TYPE, PROTOBUF);
        let named = Resource::builder_empty()
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance()))
            .build();
        Ok(Some(Self {
            http,
            endpoint: endpoint.clone(),
            headers,
            resource: ResourceAttributesWithSchema::from(&named),
        }))
    }

    /// Returns where it is.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns the message that brings spans.
    pub(super) fn message(&self, spans: Vec<SpanData>) -> bytes::Bytes {
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        ExportTraceServiceRequest { resource_spans }
            .encode_to_vec()
            .into()
    }

    /// Sends a message once, and returns how many of its spans the collector refused.
    pub(super) async fn send(&self, message: bytes::Bytes) -> Result<u64, SendError> {
        let request = self.http.post(&self.endpoint).headers(self.headers.clone());
        let mut answer = request.body(message).send().await.map_err(failed)?;
        let status = answer.status();
        if !status.is_success() {
            let after = retry_after(answer.headers());
            return Err(SendError::Status { status, after });
        }
        let mut body = Vec::new();
        // The spans are taken, whatever else a collector says about it, or begins to say.
        while let Ok(Some(part)) = answer.chunk().await {
            if body.len() + part.len() > MAX_ANSWER_BYTES {
                return Ok(0);
            }
            body.extend_from_slice(&part);
        }
        let mut answer = ExportTraceServiceResponse::default();
        if answer.merge(&*body).is_err() {
            return Ok(0);
        }
        let refused = answer.partial_success.map_or(0, |part| part.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or(0))
    }
}

/// Returns a name for this process, which is another one after each start.
fn instance() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn trusting(file: &Path) -> Result<ClientConfig, CollectorError> {
    let named = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(CollectorError::Authorities)?;
    let client = client_trusting(named).map_err(CollectorError::Named)?;
    Ok(client.with_no_client_auth())
}

/// Puts an error in the words of its innermost cause, which name no header.
fn failed(error: reqwest::Error) -> SendError {
    if error.is_timeout() {
        return SendError::Late;
    }
    let error = error.without_url();
    let mut cause = error.source();
    let mut words = error.to_string();
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    SendError::Unreachable(words)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let secs = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(secs))
}
