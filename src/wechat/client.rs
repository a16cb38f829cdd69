//! The HTTP client for WeChat: every call has a time limit and a size limit, and no error holds a URL.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use serde::Serialize;
use zeroize::Zeroizing;

use super::ApiError;
use super::connections::Connections;
use crate::config::{App, WeChat};
use crate::metrics::Metrics;

/// WeChat's answers to logins have a few hundred bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What all usual answers fit in, so that nothing of one is left behind where a buffer grew.
const USUAL_ANSWER_BYTES: usize = 2048;

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client could not be made")]
pub struct ClientError(#[source] pub(super) reqwest::Error);

/// Why a call brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection: WeChat has not seen the call.
    #[error("WeChat could not be reached")]
    Unreachable,
    /// The call was sent, and nothing came back in time or the connection broke.
    #[error("WeChat did not answer")]
    NoAnswer,
    /// What came back is not from WeChat's API: a gateway's error page, a redirect, far too much.
    #[error("WeChat answered with something else than an answer ({0})")]
    NotAnAnswer(&'static str),
}

/// Calls WeChat's API; clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    connections: Arc<Connections>,
    api_base: String,
    timeout: Duration,
    metrics: Metrics,
}

impl Client {
    /// Makes a client; the calls share its connections.
    pub fn new(config: &WeChat) -> Result<Self, ClientError> {
        Ok(Self {
            connections: Arc::new(Connections::new(config)?),
            api_base: config.api_base.clone(),
            timeout: config.timeout,
            metrics: Metrics::default(),
        })
    }

    /// Has the calls with an access_token, and those for one, counted there.
    pub fn counted_in(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Counts a call to a path.
    pub(super) fn count<T>(&self, app: &App, path: &'static str, called: &Result<T, ApiError>) {
        let result = match called {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.counted_as(),
        };
        let endpoint = path.rsplit('/').next().unwrap_or(path);
        self.metrics.call(&app.name, endpoint, result);
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Starts a GET of a path with these query parameters.
    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> Call<'_> {
        self.call(path, |http, url| http.get(url).query(query))
    }

    /// Starts a POST of JSON to a path.
    pub(super) fn post(&self, path: &str, body: &impl Serialize) -> Call<'_> {
        // WeChat answers 412 to a body in chunks; this one has a length.
        self.call(path, |http, url| http.post(url).json(body))
    }

    fn call(
        &self,
        path: &str,
        begin: impl FnOnce(&reqwest::Client, String) -> RequestBuilder,
    ) -> Call<'_> {
        let used = self.connections.current();
        let request = begin(&used, format!("{}{path}", self.api_base));
        Call {
            connections: &self.connections,
            used,
            request,
        }
    }

    /// Returns where WeChat is.
    pub(super) fn api_base(&self) -> &str {
        &self.api_base
    }
}

/// A call that is yet to be made.
pub(super) struct Call<'c> {
    connections: &'c Arc<Connections>,
    used: Arc<reqwest::Client>,
    request: RequestBuilder,
}

impl Call<'_> {
    /// Limits it further than all calls are.
    pub(super) fn timeout(mut self, limit: Duration) -> Self {
        self.request = self.request.timeout(limit);
        self
    }

    /// Makes it and returns the body of its answer, which is wiped when dropped.
    pub(super) async fn send(self) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let brought = answer_to(self.request).await;
        if matches!(brought, Err(CallError::NoAnswer)) {
            self.connections.leave(&self.used);
        }
        brought
    }
}

async fn answer_to(request: RequestBuilder) -> Result<Zeroizing<Vec<u8>>, CallError> {
    let mut answer = request.send().await.map_err(|error| {
        // reqwest's own text holds the URL, and so the secret: only the kind goes on.
        if error.is_connect() || error.is_builder() {
            CallError::Unreachable
        } else {
            CallError::NoAnswer
        }
    })?;
    if answer.status() != StatusCode::OK {
        return Err(CallError::NotAnAnswer("its status is not 200"));
    }
    let mut body = Zeroizing::new(Vec::with_capacity(USUAL_ANSWER_BYTES));
    while let Some(chunk) = answer.chunk().await.map_err(|_| CallError::NoAnswer)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(CallError::NotAnAnswer("it is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
