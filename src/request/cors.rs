//! CORS: which pages of other origins may read an answer, and the answers to preflights.
//!
//! A browser sends a preflight without a token, so that a required route would refuse it. A preflight is therefore
//! answered after admission and before authentication, by the route that the announced request would take. Where that
//! route names no origins, it is a request like any other. It is never answered in place of `/_auth/verify`, where a
//! gateway would read the answer as a permission. On a route with CORS a backend's own `Access-Control-Allow-Origin` headers are
//! replaced, and every answer varies by `Origin`.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config;

/// What a page of another origin may do besides GET and POST.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// What a page may read of what Menshen itself adds to an answer.
const EXPOSED: &str =
    "Menshen-Token, Menshen-Token-Expires-In, Menshen-Refresh-Token, X-Request-Id, Retry-After";

/// A header of a response.
pub type Line = (HeaderName, HeaderValue);

/// The origins that may read answers, and what they may send.
#[derive(Debug)]
pub struct Cors {
    /// `None` means all.
    origins: Option<Vec<String>>,
    credentials: bool,
    headers: HeaderValue,
    max_age: HeaderValue,
}

impl Cors {
    /// Prepares the answers; `None` where no origin may.
    pub fn new(config: &config::Cors) -> Option<Self> {
        let origins = &config.allow_origins;
        let names: Vec<&str> = config
            .allow_headers
            .iter()
            .map(HeaderName::as_str)
            .collect();
        let headers = HeaderValue::from_str(&names.join(", ")).ok()?;
        (!origins.is_empty()).then(|| Self {
            origins: (!origins.iter().any(|origin| origin == "*")).then(|| origins.clone()),
            credentials: config.allow_credentials,
            headers,
            max_age: HeaderValue::from(config.max_age.as_secs()),
        })
    }

    /// Returns what the answer to a preflight says.
    pub fn preflight(&self, headers: &HeaderMap) -> Vec<Line> {
        let mut lines = self.allowed(headers);
        if !lines.is_empty() {
            lines.push((
                ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static(METHODS),
            ));
            lines.push((ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone()));
            lines.push((ACCESS_CONTROL_MAX_AGE, self.max_age.clone()));
        }
        self.varying(lines)
    }

    /// Returns what any other answer says.
    pub fn actual(&self, headers: &HeaderMap) -> Vec<Line> {
        let mut lines = self.allowed(headers);
        if !lines.is_empty() {
            let exposed = HeaderValue::from_static(EXPOSED);
            lines.push((ACCESS_CONTROL_EXPOSE_HEADERS, exposed));
        }
        self.varying(lines)
    }

    /// Returns whom the answer is for; nothing where the page's origin may not read it.
    fn allowed(&self, headers: &HeaderMap) -> Vec<Line> {
        let mut sent = headers.get_all(ORIGIN).iter();
        let (Some(origin), None) = (sent.next(), sent.next()) else {
            return Vec::new();
        };
        let Some(origins) = &self.origins else {
            return vec![(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))];
        };
        if !origins
            .iter()
            .any(|known| known.as_bytes() == origin.as_bytes())
        {
            return Vec::new();
        }
        let mut lines = vec![(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())];
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            lines.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, yes));
        }
        lines
    }

    /// Keeps caches from giving one origin's answer to another.
    fn varying(&self, mut lines: Vec<Line>) -> Vec<Line> {
        if self.origins.is_some() {
            lines.push((VARY, HeaderValue::from_static("Origin")));
        }
        lines
    }
}
