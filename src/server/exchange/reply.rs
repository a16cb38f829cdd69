//! Writes Menshen's own answers, all of them in one shape.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, SET_COOKIE, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::client::Client;
use super::outcome::Outcome;
use super::state::Exchange;
use super::wait::flush;
use crate::login::Grant;
use crate::request::{Denial, RequestId};
use crate::server::http1::ServerSide;
use crate::server::message::{Body, RequestHead, ResponseHead};
use crate::server::timer::Timer;

/// Carry the result of a login on the first request.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("menshen-token");
pub(super) const TOKEN_EXPIRES_IN: HeaderName = HeaderName::from_static("menshen-token-expires-in");
pub(super) const REFRESH_TOKEN: HeaderName = HeaderName::from_static("menshen-refresh-token");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Sent by a gateway that reads no bodies, as nginx when it asks, to find a refusal's in the header.
const ASKS_FOR_REFUSAL: &str = "x-menshen-refusal";
const REFUSAL: HeaderName = HeaderName::from_static("menshen-refusal");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const BY_LANGUAGE: HeaderValue = HeaderValue::from_static("Accept-Language");

/// An answer of our own, still without what every answer of an exchange has.
pub(super) struct Reply {
    head: ResponseHead,
    body: Option<Bytes>,
}

impl Reply {
    /// JSON.
    pub(super) fn json(body: Bytes) -> Self {
        Self::of(StatusCode::OK, NO_STORE, Some(body))
    }

    /// JSON that may be cached for five minutes.
    pub(super) fn public_json(body: Bytes) -> Self {
        let cache = HeaderValue::from_static("public, max-age=300");
        Self::of(StatusCode::OK, cache, Some(body))
    }

    /// That it is done, without a body.
    pub(super) fn no_content() -> Self {
        Self::of(StatusCode::NO_CONTENT, NO_STORE, None)
    }

    /// That another gateway may forward a request, with these headers.
    pub(super) fn allowed(lines: Vec<(HeaderName, HeaderValue)>) -> Self {
        let mut reply = Self::of(StatusCode::OK, NO_STORE, None);
        reply.head.headers.extend(lines);
        reply
    }

    /// That the same is found at another URL, for good.
    pub(super) fn moved(location: &str) -> Self {
        // A cached redirect would outlive the operator's change of mind.
        Self::of(StatusCode::PERMANENT_REDIRECT, NO_STORE, None).at(location)
    }

    /// Sends a browser on, with a GET.
    pub(super) fn found(location: &str) -> Self {
        let mut reply = Self::of(StatusCode::FOUND, NO_STORE, None).at(location);
        // The URL that led here may hold a code or a ticket.
        reply.head.headers.insert(REFERRER_POLICY, NO_REFERRER);
        reply
    }

    /// A file of plain text.
    pub(super) fn text(body: Bytes) -> Self {
        let mut reply = Self::of(StatusCode::OK, NO_STORE, Some(body));
        reply.head.headers.insert(CONTENT_TYPE, PLAIN);
        reply
    }

    fn of(status: StatusCode, cache: HeaderValue, body: Option<Bytes>) -> Self {
        let head = start(status, cache);
        Self { head, body }
    }

    fn at(mut self, location: &str) -> Self {
        if let Ok(location) = HeaderValue::from_str(location) {
            self.head.headers.insert(LOCATION, location);
        }
        self
    }
}

/// Refuses the exchange with a page for people, and remembers why for the log.
pub(super) async fn refuse_with_page(
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    request: &RequestHead,
    denial: Denial,
    page: String,
) -> Outcome {
    let (mut head, _) = refusal(&denial, &exchange.request_id);
    head.headers.insert(CONTENT_TYPE, HTML);
    head.headers.insert(REFERRER_POLICY, NO_REFERRER);
    head.headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(crate::page::policy()),
    );
    head.headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    head.headers.insert(VARY, BY_LANGUAGE);
    exchange.denial = Some(denial);
    let body = Some(page.into());
    answer(client, timer, exchange, request, Reply { head, body }).await
}

/// Refuses the exchange, and remembers why for the log.
pub(super) async fn refuse(
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    request: &RequestHead,
    denial: Denial,
) -> Outcome {
    let (mut head, body) = refusal(&denial, &exchange.request_id);
    if let Some(grant) = &exchange.grant {
        // The code is spent: losing the token now would cost the user another login.
        add_grant(&mut head, grant);
    }
    if request.headers.contains_key(ASKS_FOR_REFUSAL)
        && let Ok(text) = HeaderValue::from_bytes(&body)
    {
        head.headers.insert(REFUSAL, text);
    }
    if closes(&denial) {
        client.close_after();
    }
    exchange.forget_cookie_after(request, &denial);
    let is_late = denial == Denial::RequestTimeout;
    exchange.denial = Some(denial);
    let body = Some(body);
    let outcome = answer(client, timer, exchange, request, Reply { head, body }).await;
    if is_late && matches!(outcome, Outcome::Unread) {
        // It had its time.
        return Outcome::Broken;
    }
    outcome
}

/// Refuses a request whose head could not be read.
pub(in crate::server) async fn refuse_unread(
    client: &mut ServerSide,
    timer: &mut Timer,
    denial: &Denial,
    id: &RequestId,
    limit: Duration,
) {
    let (mut head, body) = refusal(denial, id);
    head.headers.insert(X_REQUEST_ID, id.value().clone());
    client.close_after();
    client.put_head(&head, Body::Length(body.len() as u64));
    client.put(body);
    client.finish(None);
    let _ = flush(&mut Client::Http1(client), timer, limit).await;
}

/// Returns whether a refusal ends its connection.
fn closes(denial: &Denial) -> bool {
    matches!(
        denial,
        Denial::RequestTimeout
            | Denial::TooManyConnections
            | Denial::BodyTooLarge
            | Denial::HeadersTooLarge
    )
}

/// Adds what a login on the first request brought.
pub(super) fn add_grant(head: &mut ResponseHead, grant: &Grant) {
    let expires = HeaderValue::from(grant.expires_in_secs);
    let token = HeaderValue::from_str(grant.token.expose());
    let refresh = HeaderValue::from_str(grant.refresh.expose());
    if let (Ok(token), Ok(refresh)) = (token, refresh) {
        head.set(TOKEN, token);
        head.set(TOKEN_EXPIRES_IN, expires);
        head.set(REFRESH_TOKEN, refresh);
        head.set(CACHE_CONTROL, NO_STORE);
    }
}

/// Returns the head of a refusal, and its body.
fn refusal(denial: &Denial, request_id: &RequestId) -> (ResponseHead, Bytes) {
    let status = denial.status();
    let mut head = start(status, NO_STORE);
    if let Some(secs) = denial.retry_after_secs() {
        head.headers.insert(RETRY_AFTER, secs.into());
    }
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer realm=\"menshen\"");
        head.headers.insert(WWW_AUTHENTICATE, scheme);
    }
    if let Denial::MethodNotAllowed(methods) = denial {
        let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
        // A method that is served nowhere is answered with those that are served somewhere (RFC 9110, section 15.5.6).
        let methods = match methods.is_empty() {
            true => HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            false => {
                HeaderValue::from_str(&methods.join(", ")).unwrap_or(HeaderValue::from_static(""))
            }
        };
        head.headers.insert(ALLOW, methods);
    }
    head.headers.insert(CONTENT_TYPE, JSON);
    (head, Bytes::from(denial.body(request_id.as_str())))
}

fn start(status: StatusCode, cache: HeaderValue) -> ResponseHead {
    let mut head = ResponseHead::new(status);
    head.headers.insert(CACHE_CONTROL, cache);
    head
}

/// Sends an answer.
pub(super) async fn answer(
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    request: &RequestHead,
    Reply { mut head, body }: Reply,
) -> Outcome {
    exchange.status = head.status.as_u16();
    if exchange.denial == Some(Denial::ClientLeft) {
        // Nobody reads it.
        exchange.has_failed = true;
        return Outcome::Broken;
    }
    for (name, value) in &exchange.cors {
        head.headers.append(name, value.clone());
    }
    for cookie in &exchange.cookies {
        head.headers.append(SET_COOKIE, cookie.clone());
    }
    head.headers
        .insert(X_REQUEST_ID, exchange.request_id.value().clone());
    if body.is_some() {
        head.headers.entry(CONTENT_TYPE).or_insert(JSON);
    }
    client.discard_buffered();
    let is_unread = !client.has_whole_body();
    if is_unread {
        client.close_after();
    }
    let length = Body::Length(body.as_ref().map_or(0, |body| body.len() as u64));
    client.put_head(head, length);
    if let Some(body) = body.filter(|_| request.method != Method::HEAD) {
        exchange.sent_bytes += body.len() as u64;
        client.put(body);
    }
    client.finish(None);
    let limit = exchange.generation.client_timeout;
    match flush(client, timer, limit).await {
        Ok(()) if is_unread => Outcome::Unread,
        Ok(()) => Outcome::Answered,
        Err(_) => {
            exchange.has_failed = true;
            Outcome::Broken
        }
    }
}
