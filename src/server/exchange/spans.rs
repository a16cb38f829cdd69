//! The spans of an exchange: its own, one for each try to get an answer from a server, and that of a login.
//!
//! Their attributes are the semantic conventions of OpenTelemetry for HTTP, and under `menshen.` what only Menshen knows. What the
//! access line leaves out is not said here either: queries, bodies, credentials, openids.

use std::time::Instant;

use http::{Method, Version};

use super::access_log;
use super::state::Exchange;
use crate::config::{Route, ServerAddress};
use crate::login::LoginTrace;
use crate::request::{Denial, Endpoint};
use crate::server::message::RequestHead;
use crate::traces::{self, Span, SpanKind, Trace};

/// What is said of a try whose client did not wait for its end.
const LEFT: &str = "client_left";

/// Begins the trace of a request, where requests are traced.
pub(super) fn begin(head: &RequestHead, exchange: &mut Exchange) {
    if let Some(tracer) = &exchange.generation.tracer {
        let trusted = exchange.client.trusted;
        let trace = tracer.begin(&head.headers, trusted, exchange.started);
        exchange.trace = Some(Box::new(trace));
    }
}

/// Returns the id of the trace that an exchange is part of. Where nothing is traced, that may still be somebody else's.
pub(super) fn trace_id<'e>(head: &'e RequestHead, exchange: &'e Exchange) -> Option<&'e str> {
    match &exchange.trace {
        Some(trace) => Some(trace.id()),
        None => traces::trace_id(&head.headers),
    }
}

/// Begins a try to get an answer from a server.
pub(super) fn begin_attempt(head: &RequestHead, exchange: &mut Exchange) {
    if let Some(trace) = &mut exchange.trace {
        trace.begin_attempt(word(&head.method).unwrap_or("HTTP"));
    }
}

/// Ends a try; `error` says why there was no answer, or no whole one.
pub(super) fn end_attempt(
    head: &RequestHead,
    exchange: &mut Exchange,
    route: &Route,
    error: Option<&'static str>,
) {
    let Some(trace) = &mut exchange.trace else {
        return;
    };
    let Some((mut span, before)) = trace.take_attempt() else {
        return;
    };
    put_method(&mut span, &head.method);
    if let Some(upstream) = exchange.generation.upstreams.name(route.upstream) {
        span.set("menshen.upstream", upstream.to_owned());
    }
    match exchange.attempts.server() {
        Some(ServerAddress::Tcp(server)) => span.set_address(server),
        Some(ServerAddress::Unix(path)) => span.set("server.address", path.clone()),
        None => {}
    }
    if before > 0 {
        span.set_number("http.request.resend_count", u64::from(before));
    }
    // Once there is an answer, the status is the server's; that of a handshake is passed on later.
    let status = match (exchange.first_byte, exchange.status) {
        (None, _) => None,
        (Some(_), 0) => error.is_none().then_some(101),
        (Some(_), status) => Some(status),
    };
    if let Some(status) = status {
        span.set_number("http.response.status_code", u64::from(status));
    }
    match (error, status) {
        (Some(error), _) => span.failed(error),
        (None, Some(status @ 400..)) => span.failed(status.to_string()),
        (None, _) => {}
    }
    span.end();
}

/// Ends the trace of an exchange that ended now.
pub(super) fn end(head: &RequestHead, exchange: &mut Exchange, now: Instant) {
    if exchange.trace.is_none() {
        return;
    }
    if let Some(route) = exchange.route.clone() {
        end_attempt(head, exchange, &route, Some(LEFT));
    }
    if let Some(trace) = &exchange.trace {
        whole(trace, head, exchange, now);
    }
}

fn whole(trace: &Trace, head: &RequestHead, exchange: &Exchange, now: Instant) {
    let route = place(head, exchange);
    let method = word(&head.method).unwrap_or("HTTP");
    let name = match &route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    let Some(mut span) = trace.whole(name) else {
        return;
    };
    put_method(&mut span, &head.method);
    if let Some(route) = route {
        span.set("http.route", route);
    }
    let scheme = exchange.client.proto.to_str().unwrap_or_default();
    span.set("url.scheme", scheme.to_owned());
    span.set_text("url.path", &access_log::path(head, exchange));
    span.set("network.protocol.version", version(head.version));
    let host = exchange.client.host.as_ref();
    if let Some(host) = host.and_then(|host| access_log::host_in(host.as_bytes())) {
        span.set_address(host);
    }
    if let Some(client) = &exchange.client.address_text {
        let client = client.to_str().unwrap_or_default();
        span.set("client.address", client.to_owned());
    }
    if exchange.status > 0 {
        span.set_number("http.response.status_code", u64::from(exchange.status));
    }
    span.set_number("http.request.body.size", exchange.body_bytes);
    span.set_number("http.response.body.size", exchange.sent_bytes);
    let id = exchange.request_id.as_str();
    span.set("menshen.request_id", id.to_owned());
    let denial = exchange.denial.as_ref();
    let decision = denial.map_or(exchange.decision.as_str(), |_| "refused");
    span.set("menshen.decision", decision);
    if let Some(denial) = denial {
        span.set("menshen.reason", denial.code());
    }
    if let Some(who) = &exchange.user {
        if let Some(app) = exchange.generation.logins.app_name(who) {
            span.set("menshen.app", app.to_owned());
        }
        let session = who.session_text().to_str().unwrap_or_default();
        span.set("menshen.session", session.to_owned());
    }
    // What a client did wrong is no error of the server's.
    if exchange.has_failed || exchange.status >= 500 {
        match denial {
            Some(denial) => span.failed(denial.code()),
            None if exchange.status >= 500 => span.failed(exchange.status.to_string()),
            None => span.failed(LEFT),
        }
    }
    span.end_at(now);
}

/// Returns the route that took a request, or the pattern of the endpoint of ours that answered it.
fn place(head: &RequestHead, exchange: &Exchange) -> Option<String> {
    let auth_path = exchange.generation.requests.auth_path();
    match Endpoint::find(auth_path, head.path(), &head.method) {
        Some(found) => Some(format!("{auth_path}{}", found.ok()?.pattern())),
        None => exchange.route.as_ref().map(|route| route.path.clone()),
    }
}

/// Has a login be a part of the trace, where there is a record of it.
pub(super) fn begin_login(exchange: &Exchange) -> Option<(Span, LoginTrace)> {
    let scope = exchange.trace.as_ref()?.scope()?;
    let span = scope.begin(SpanKind::Internal, "login");
    let below = LoginTrace::new(span.scope());
    Some((span, below))
}

/// Ends a login.
pub(super) fn end_login<T>(login: Option<(Span, LoginTrace)>, outcome: &Result<T, Denial>) {
    let Some((mut span, below)) = login else {
        return;
    };
    if let Some(app) = below.app() {
        span.set("menshen.app", app.to_owned());
    }
    match outcome {
        Ok(_) => span.set("menshen.outcome", "ok"),
        Err(denial) => {
            span.set("menshen.outcome", denial.code());
            if denial.status().is_server_error() {
                span.failed(denial.code());
            }
        }
    }
    span.end();
}

fn put_method(span: &mut Span, method: &Method) {
    span.set("http.request.method", word(method).unwrap_or("_OTHER"));
}

/// Returns a method's name where it is one that everybody knows; any other is a text of the client's.
fn word(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
