//! Writes Menshen's own answers, all of them in one shape.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::exchange::Exchange;
use crate::login::Grant;
use crate::request::{Denial, RequestId};

/// Carry the result of a login on the first request.
pub(super) const TOKEN: &str = "Menshen-Token";
pub(super) const TOKEN_EXPIRES_IN: &str = "Menshen-Token-Expires-In";
pub(super) const REFRESH_TOKEN: &str = "Menshen-Refresh-Token";

/// Sent by a gateway that reads no bodies, as nginx when it asks, to find a refusal's in the header.
const ASKS_FOR_REFUSAL: &str = "x-menshen-refusal";
const REFUSAL: &str = "Menshen-Refusal";

/// How long a client that was refused may go on sending its body.
const LINGER: Duration = Duration::from_secs(5);

/// Answers with a JSON body.
pub(super) async fn json(
    wire: &mut Session,
    exchange: &Exchange,
    status: StatusCode,
    body: Bytes,
) -> Result<()> {
    let mut header = start(status, &exchange.request_id)?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    finish(wire, exchange, header, Some(body)).await
}

/// Answers with JSON that may be cached for five minutes.
pub(super) async fn public_json(
    wire: &mut Session,
    exchange: &Exchange,
    body: Bytes,
) -> Result<()> {
    let mut header = start(StatusCode::OK, &exchange.request_id)?;
    header.insert_header(CACHE_CONTROL, "public, max-age=300")?;
    finish(wire, exchange, header, Some(body)).await
}

/// Answers that it is done, without a body.
pub(super) async fn no_content(wire: &mut Session, exchange: &Exchange) -> Result<()> {
    let mut header = start(StatusCode::NO_CONTENT, &exchange.request_id)?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    finish(wire, exchange, header, None).await
}

/// Answers another gateway that it may forward a request, with these headers.
pub(super) async fn allowed(
    wire: &mut Session,
    exchange: &Exchange,
    told: Vec<(HeaderName, HeaderValue)>,
) -> Result<()> {
    let mut header = start(StatusCode::OK, &exchange.request_id)?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    header.insert_header(CONTENT_LENGTH, 0)?;
    for (name, value) in told {
        header.insert_header(name, value)?;
    }
    finish(wire, exchange, header, None).await
}

/// Answers that the same is found at another URL, for good.
pub(super) async fn moved(wire: &mut Session, exchange: &Exchange, location: &str) -> Result<()> {
    let mut header = start(StatusCode::PERMANENT_REDIRECT, &exchange.request_id)?;
    // A cached redirect would outlive the operator's change of mind.
    header.insert_header(CACHE_CONTROL, "no-store")?;
    header.insert_header(LOCATION, location)?;
    header.insert_header(CONTENT_LENGTH, 0)?;
    finish(wire, exchange, header, None).await?;
    linger(wire).await;
    Ok(())
}

/// Refuses the exchange, and remembers why for the log.
pub(super) async fn refuse(
    wire: &mut Session,
    exchange: &mut Exchange,
    denial: Denial,
) -> Result<()> {
    let mut header = refusal(&denial, &exchange.request_id)?;
    if let Some(grant) = &exchange.grant {
        // The code is spent: losing the token now would cost the user another login.
        add_grant(&mut header, grant)?;
    }
    let body = Bytes::from(denial.body(exchange.request_id.as_str()));
    if denial == Denial::TooManyConnections {
        wire.set_keepalive(None);
    }
    if wire.req_header().headers.contains_key(ASKS_FOR_REFUSAL)
        && let Ok(told) = HeaderValue::from_bytes(&body)
    {
        header.insert_header(REFUSAL, told)?;
    }
    let late = denial == Denial::RequestTimeout;
    exchange.denial = Some(denial);
    finish(wire, exchange, header, Some(body)).await?;
    if !late {
        linger(wire).await;
    }
    Ok(())
}

/// Reads on for a moment: closing on a client that still sends would destroy the answer before it is read.
async fn linger(wire: &mut Session) {
    if wire.req_header().version == Version::HTTP_2 || wire.as_downstream_mut().is_body_done() {
        return;
    }
    let downstream = wire.as_downstream_mut();
    downstream.shutdown().await;
    let _ = tokio::time::timeout(LINGER, downstream.drain_request_body()).await;
}

/// Tells whether the final head was written; a 100 before it is written as a response as well.
pub(super) fn is_under_way(wire: &Session) -> bool {
    let written = wire.response_written();
    written.is_some_and(|head| {
        !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS
    })
}

/// Adds what a login on the first request brought.
pub(super) fn add_grant(header: &mut ResponseHeader, grant: &Grant) -> Result<()> {
    header.insert_header(TOKEN, grant.token.expose())?;
    header.insert_header(TOKEN_EXPIRES_IN, grant.expires_in_secs.to_string())?;
    header.insert_header(REFRESH_TOKEN, grant.refresh.expose())?;
    header.insert_header(CACHE_CONTROL, "no-store")
}

/// Returns the head of a refusal.
pub(super) fn refusal(denial: &Denial, request_id: &RequestId) -> Result<ResponseHeader> {
    let (status, ..) = denial.told();
    let mut header = start(status, request_id)?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    header.insert_header(CONTENT_TYPE, "application/json")?;
    header.insert_header(CONTENT_LENGTH, denial.body(request_id.as_str()).len())?;
    if let Some(secs) = denial.retry_after_secs() {
        header.insert_header(RETRY_AFTER, secs.to_string())?;
    }
    if status == StatusCode::UNAUTHORIZED {
        header.insert_header(WWW_AUTHENTICATE, "Bearer realm=\"menshen\"")?;
    }
    if let Denial::MethodNotAllowed(methods) = denial {
        let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
        header.insert_header(ALLOW, methods.join(", "))?;
    }
    Ok(header)
}

fn start(status: StatusCode, request_id: &RequestId) -> Result<ResponseHeader> {
    let mut header = ResponseHeader::build(status, Some(8))?;
    header.insert_header("X-Request-Id", request_id.value().clone())?;
    Ok(header)
}

async fn finish(
    wire: &mut Session,
    exchange: &Exchange,
    mut header: ResponseHeader,
    body: Option<Bytes>,
) -> Result<()> {
    for (name, value) in &exchange.cors {
        header.append_header(name, value)?;
    }
    if let Some(body) = &body {
        header.insert_header(CONTENT_TYPE, "application/json")?;
        header.insert_header(CONTENT_LENGTH, body.len())?;
    }
    let body = body.filter(|_| wire.req_header().method != Method::HEAD);
    wire.write_response_header(Box::new(header), body.is_none())
        .await?;
    if body.is_some() {
        wire.write_response_body(body, true).await?;
    }
    Ok(())
}
