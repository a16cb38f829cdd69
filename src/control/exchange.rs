//! Wraps every request: authenticates it, writes refusals in one shape, and logs one line.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Method};

use super::calls::Limited;
use super::denial::ControlDenial;
use super::relay::{self, Target};
use super::{Control, guard, health, metrics, status};
use crate::config::LogField as F;
use crate::log::{Share, write_access};
use crate::request::{RequestId, network};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Whose connection a request came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    /// An address'.
    Address(IpAddr),
    /// A user's of this machine, over a Unix socket; `None` where the system does not say whose.
    User(Option<u32>),
}

impl Peer {
    /// Returns what is counted as one.
    pub(super) fn network(self) -> Self {
        match self {
            Self::Address(address) => Self::Address(network(address)),
            Self::User(user) => Self::User(user),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::User(Some(user)) => write!(f, "uid {user}"),
            Self::User(None) => f.write_str("a Unix socket"),
        }
    }
}

/// Goes round a request.
pub(super) async fn exchange(
    State(control): State<Control>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut line = Line::begin(&request);
    request.extensions_mut().insert(line.id.clone());
    let asker = Asker::default();
    let admitted = match Target::of(&request) {
        // The relay does its own authorization.
        Some(target) => target.map(|_| None),
        None => guard::admit(&control, &request),
    };
    let mut response = match admitted {
        Ok(limited) => {
            if let Some(limited) = limited {
                asker.is(&limited);
                request.extensions_mut().insert(limited);
            }
            request.extensions_mut().insert(asker.clone());
            next.run(relayed(request)).await
        }
        Err(refusal) => refusal.into_response(),
    };
    line.caller = asker.0.get().cloned();
    let refusal = response.extensions_mut().remove::<ControlDenial>();
    if let Some(refusal) = &refusal {
        if let ControlDenial::WeChat(error) = refusal {
            let errcode = error.errcode();
            tracing::warn!(%error, errcode, "WeChat could not be asked for the private listener");
        }
        shape(&mut response, refusal, &line.id);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, line.id.value().clone());
    // A web page that gets a browser to ask must not be able to use what comes back.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    line.write(&response, refusal.as_ref());
    response
}

/// Learns whose secret came, for the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Asker(Arc<OnceLock<Limited>>);

impl Asker {
    /// Says who it is.
    pub(super) fn is(&self, limited: &Limited) {
        let _ = self.0.set(limited.clone());
    }
}

/// Has a call that was sent to WeChat by name take the route of the relay, which reads the name once more.
fn relayed(mut request: Request) -> Request {
    let uri = request.uri();
    if uri.path().starts_with(relay::PREFIX) || Target::of(&request).is_none() {
        return request;
    }
    let target = format!("{}-{}", relay::PREFIX, uri.path());
    let query = uri
        .query()
        .map_or(String::new(), |query| format!("?{query}"));
    if let Ok(target) = format!("{target}{query}").parse() {
        *request.uri_mut() = target;
        request.extensions_mut().insert(ByName);
    }
    request
}

/// Says that a call was sent to WeChat by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByName;

/// Lets [`exchange`] know which call it was.
pub(super) async fn named(call: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(call) = call {
        response.extensions_mut().insert(call);
    }
    response
}

/// Writes a refusal into a response, which may already say which methods there are.
fn shape(response: &mut Response, refusal: &ControlDenial, id: &RequestId) {
    *response.body_mut() = Body::from(refusal.body(id.as_str()));
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(secs) = refusal.retry_after_secs() {
        headers.insert(RETRY_AFTER, HeaderValue::from(secs));
    }
    if refusal.wants_bearer() {
        let challenge = HeaderValue::from_static("Bearer realm=\"menshen control\"");
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
}

/// What is logged of a request.
struct Line {
    id: RequestId,
    started: Instant,
    method: Method,
    peer: Option<Peer>,
    caller: Option<Limited>,
}

impl Line {
    fn begin(request: &Request) -> Self {
        let peer = request.extensions().get::<Peer>();
        Self {
            id: RequestId::random(),
            started: Instant::now(),
            method: request.method().clone(),
            peer: peer.copied(),
            caller: None,
        }
    }

    fn write(&self, response: &Response, refusal: Option<&ControlDenial>) {
        // As the router lists it: the path itself may hold an openid.
        let call = response.extensions().get::<MatchedPath>();
        let call = call.map(MatchedPath::as_str);
        let is_routine =
            |call| health::is_probe(call) || call == metrics::PATH || status::is_routine(call);
        if refusal.is_none() && call.is_some_and(is_routine) {
            // Somebody asks every few seconds.
            return;
        }
        let client = self.peer.map(|peer| peer.to_string());
        let caller = self.caller.as_ref().map(Limited::name);
        let took = self.started.elapsed().as_millis();
        write_access("control", Share::All, |line| {
            line.word(F::RequestId, self.id.as_str());
            line.word(F::Method, self.method.as_str());
            if let Some(call) = call {
                line.text(F::Call, call);
            }
            line.number(F::Status, response.status().as_u16().into());
            match refusal {
                None => line.word(F::Decision, "control"),
                Some(refusal) => {
                    line.word(F::Decision, "refused");
                    line.word(F::Reason, refusal.code());
                }
            }
            if let Some(client) = &client {
                line.text(F::Client, client);
            }
            if let Some(caller) = caller {
                line.text(F::Caller, caller);
            }
            line.number(F::Elapsed, u64::try_from(took).unwrap_or(u64::MAX));
        });
        if let Some(refusal) = refusal.filter(|refusal| refusal.is_about_the_caller()) {
            tracing::info!(
                target: "menshen::audit",
                event = "refused",
                request_id = self.id.as_str(),
                client,
                call,
                reason = refusal.code(),
                caller,
                "a call of the private listener was refused"
            );
        }
    }
}
