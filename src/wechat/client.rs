//! The HTTP client for WeChat: every call has a time limit and a size limit, and no error holds a URL.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use serde::Serialize;
use zeroize::Zeroizing;

use super::answer::mended;
use super::connections::Connections;
use super::lost::lost;
use super::reach::Way;
use super::{AnswerError, ApiError, Fields, Reach, UnreachableCause};
use crate::config::{App, WeChat};
use crate::metrics::Metrics;

/// WeChat's answers to logins have a few hundred bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What begins data that gzip has compressed.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What some programs put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What all usual answers fit in, so that nothing of one is left behind where a buffer grew.
const USUAL_ANSWER_BYTES: usize = 2048;

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The authorities to trust cannot be read.
    #[error("wechat.ca_file cannot be read: {0}")]
    Authorities(#[source] rustls::pki_types::pem::Error),
    /// They can verify nobody.
    #[error("wechat.ca_file: {0}")]
    Named(#[source] rustls::Error),
    /// They are not what they should be, or the rest is not.
    #[error("the HTTP client could not be made")]
    Http(#[source] reqwest::Error),
    /// What is to be trusted cannot be used.
    #[error("the authorities to trust could not be loaded")]
    Tls,
    /// The API's address is none.
    #[error("wechat.api_base is no address")]
    Address,
}

/// Why a call brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection: WeChat has not seen the call.
    #[error("WeChat could not be reached")]
    Unreachable(UnreachableCause),
    /// The call was sent, and nothing came back in time.
    #[error("WeChat did not answer")]
    NoAnswer,
    /// The call was sent, and the connection ended before there was a whole answer.
    #[error("the connection ended before WeChat had answered")]
    BrokenOff,
    /// What came back is no answer of WeChat's API: far too much, or what WeChat says of a request that is not whole.
    #[error("WeChat answered with something else than an answer ({0})")]
    NotAnAnswer(&'static str),
    /// A gateway answered, which may have passed the call on.
    #[error("a gateway answered in WeChat's place ({0})")]
    Gateway(&'static str),
    /// What came back is somebody else's: a portal's redirect, a web page, another program's JSON.
    #[error("something else answered in WeChat's place ({0})")]
    NotWeChat(&'static str),
}

/// Calls WeChat's API; clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    connections: Arc<Connections>,
    api_base: String,
    way: Way,
    reach: Reach,
    timeout: Duration,
    is_simulated: bool,
    metrics: Metrics,
}

impl Client {
    /// Makes a client; the calls share its connections.
    pub fn new(config: &WeChat) -> Result<Self, ClientError> {
        Ok(Self {
            connections: Arc::new(Connections::new(config)?),
            api_base: config.api_base.clone(),
            way: Way::of(config),
            reach: Reach::default(),
            timeout: config.timeout,
            is_simulated: config.is_simulated,
            metrics: Metrics::default(),
        })
    }

    /// Has it noted there whether WeChat can be reached.
    pub fn noting_in(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// Has the calls with an access_token, and those for one, counted there.
    pub fn counted_in(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Returns whether it calls the simulator of `menshen dev`.
    pub fn is_simulated(&self) -> bool {
        self.is_simulated
    }

    /// Returns why the last call did not reach WeChat.
    pub fn unreachable_cause(&self) -> Option<UnreachableCause> {
        self.reach.unreachable_cause()
    }

    /// Counts a call to a path.
    pub(super) fn count<T>(
        &self,
        app: &App,
        path: &'static str,
        called: &Result<T, ApiError>,
        took: Option<Duration>,
    ) {
        let result = match called {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.counted_as(),
        };
        let endpoint = path.rsplit('/').next().unwrap_or(path);
        self.metrics.call(&app.name, endpoint, result, took);
    }

    /// Counts a call that the relay made, by what WeChat said.
    pub fn count_relayed(&self, app: &App, error: Option<&ApiError>) {
        let called = error.map_or(Ok(()), |error| Err(error.clone()));
        self.count(app, "relay", &called, None);
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

    /// Does the same with these query parameters.
    pub(super) fn post_with(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Call<'_> {
        self.call(path, |http, url| http.post(url).query(query).json(body))
    }

    fn call(
        &self,
        path: &str,
        begin: impl FnOnce(&reqwest::Client, String) -> RequestBuilder,
    ) -> Call<'_> {
        let used = self.connections.current();
        let request = begin(&used, format!("{}{path}", self.api_base));
        Call {
            client: self,
            used,
            request,
            mends: false,
        }
    }

    /// Limits a call further than all are, where there is a limit.
    pub(super) fn within<'c>(&self, call: Call<'c>, limit: Option<Duration>) -> Call<'c> {
        match limit {
            Some(limit) => call.timeout(limit.min(self.timeout())),
            None => call,
        }
    }

    /// Returns WeChat's host, with its port where that is not the usual one.
    pub fn authority(&self) -> &str {
        let (_, rest) = self.api_base.split_once("://").unwrap_or_default();
        rest.split('/').next().unwrap_or_default()
    }

    /// Returns where WeChat is.
    pub(super) fn api_base(&self) -> &str {
        &self.api_base
    }
}

/// A call that is yet to be made.
pub(super) struct Call<'c> {
    client: &'c Client,
    used: Arc<reqwest::Client>,
    request: RequestBuilder,
    mends: bool,
}

impl Call<'_> {
    /// Has control characters read that stand in texts as they are, which JSON forbids.
    pub(super) fn mending(mut self) -> Self {
        self.mends = true;
        self
    }

    /// Limits it further than all calls are.
    pub(super) fn timeout(mut self, limit: Duration) -> Self {
        self.request = self.request.timeout(limit);
        self
    }

    /// Makes it and returns the fields of its answer.
    pub(super) async fn fields<E: From<CallError> + From<AnswerError>>(self) -> Result<Fields, E> {
        let Client {
            connections,
            way,
            reach,
            ..
        } = self.client;
        let body = match answer_to(self.request).await {
            Ok(body) => body,
            Err(Failed { error, detail }) => {
                // Without TLS the proxy's own answer is seen; nobody else may ask for a proxy's user.
                let asks_for_user = CallError::Unreachable(UnreachableCause::ProxyAuth);
                let error = match error == asks_for_user && way.proxy.is_none() {
                    true => CallError::NotWeChat("its status is 407"),
                    false => error,
                };
                match error {
                    CallError::Unreachable(cause) => reach.met(cause, detail.as_deref(), way),
                    CallError::Gateway(what) | CallError::NotWeChat(what) => {
                        reach.met(UnreachableCause::Page, Some(what), way)
                    }
                    CallError::NoAnswer => connections.leave(&self.used),
                    CallError::BrokenOff => {
                        connections.leave(&self.used);
                        reach.met(UnreachableCause::BrokenOff, None, way);
                    }
                    CallError::NotAnAnswer(_) => {}
                }
                return Err(error.into());
            }
        };
        let fields = match self.mends {
            true => Fields::parse(&mended(&body)),
            false => Fields::parse(&body),
        };
        if fields.as_ref().is_ok_and(|fields| !fields.are_wechats()) {
            let what = "it is JSON without a field of WeChat's";
            reach.met(UnreachableCause::Page, Some(what), way);
            return Err(CallError::NotWeChat(what).into());
        }
        if !matches!(fields, Err(AnswerError::NotAnObject)) {
            reach.reached(way);
        }
        Ok(fields?)
    }
}

/// A call that failed, with the words of the system or of TLS.
struct Failed {
    error: CallError,
    detail: Option<String>,
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self {
            error,
            detail: None,
        }
    }
}

/// Makes a call and returns the body of its answer, which is wiped when dropped.
async fn answer_to(request: RequestBuilder) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let mut answer = request.send().await.map_err(|error| {
        // reqwest's own text holds the URL, and so the secret: only what others said goes on.
        if error.is_connect() || error.is_builder() {
            let (cause, detail) = UnreachableCause::of(&error);
            Failed {
                error: CallError::Unreachable(cause),
                detail,
            }
        } else {
            lost(&error).into()
        }
    })?;
    if let Some(error) = refused(answer.status()) {
        return Err(error.into());
    }
    let mut body = Zeroizing::new(Vec::with_capacity(USUAL_ANSWER_BYTES));
    while let Some(chunk) = answer.chunk().await.map_err(|error| lost(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(too_large(&body, &chunk).into());
        }
        body.extend_from_slice(&chunk);
    }
    match foreign(&body) {
        Some(what) => Err(CallError::NotWeChat(what).into()),
        None => Ok(body),
    }
}

/// Returns what an answer is whose chunk goes beyond the limit, by how it begins.
fn too_large(body: &[u8], chunk: &[u8]) -> CallError {
    let begins = if body.is_empty() { chunk } else { body };
    foreign(begins).map_or(
        CallError::NotAnAnswer("it is too large"),
        CallError::NotWeChat,
    )
}

/// Returns what a body is that is not even the beginning of an answer of WeChat's.
fn foreign(body: &[u8]) -> Option<&'static str> {
    if body.starts_with(&GZIP) {
        return Some("it is compressed, which nobody asked for");
    }
    let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    match text.trim_ascii_start().first() {
        Some(b'{') => None,
        Some(b'<') => Some("it is a web page"),
        Some(_) => Some("it is no JSON object"),
        None => Some("it is empty"),
    }
}

/// Returns what a status says that is not WeChat's API's, which answers 200 to everything.
fn refused(status: StatusCode) -> Option<CallError> {
    Some(match status {
        StatusCode::OK => return None,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            CallError::Unreachable(UnreachableCause::ProxyAuth)
        }
        StatusCode::NETWORK_AUTHENTICATION_REQUIRED => CallError::NotWeChat("its status is 511"),
        _ if status.is_redirection() => CallError::NotWeChat("it is a redirect"),
        StatusCode::BAD_GATEWAY => CallError::Gateway("its status is 502"),
        StatusCode::SERVICE_UNAVAILABLE => CallError::Gateway("its status is 503"),
        StatusCode::GATEWAY_TIMEOUT => CallError::Gateway("its status is 504"),
        _ if status.is_server_error() => CallError::Gateway("its status is not 200"),
        StatusCode::PRECONDITION_FAILED => CallError::NotAnAnswer("its status is not 200"),
        _ => CallError::NotWeChat("its status is not 200"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_judged_by_how_it_begins() {
        let too_large_one = CallError::NotAnAnswer("it is too large");
        assert_eq!(too_large(b"", b"{\"openid\":"), too_large_one);
        assert_eq!(too_large(b"{", b"<html>"), too_large_one);
        let page = CallError::NotWeChat("it is a web page");
        assert_eq!(too_large(b"", b"<html>"), page);
        assert_eq!(too_large(b"<", b"{"), page);
    }
}
