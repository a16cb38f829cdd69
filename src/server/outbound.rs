//! Turns the client's request into the one that the upstream gets.

use http::HeaderValue;
use http::Version;
use http::header::{AUTHORIZATION, HOST, SEC_WEBSOCKET_PROTOCOL};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};

use super::exchange::Exchange;
use super::gate::Gate;
use super::{cookies, failure};
use crate::request::{Pass, Subprotocols, without_tokens};

/// Rewrites the head; called again when another server is tried. `authority` is what a client of HTTP/2 sent.
pub(super) fn edit(
    gate: &Gate,
    upstream: &mut RequestHeader,
    exchange: &Exchange,
    authority: Option<&str>,
) -> Result<()> {
    let (Some(pass), Some(client)) = (&exchange.pass, &exchange.client) else {
        return Err(failure::refused());
    };
    if let Some(target) = &pass.target {
        upstream.set_raw_path(target.as_bytes())?;
    }
    if upstream.headers.get(HOST).is_none_or(HeaderValue::is_empty) {
        // HTTP/1.1 asks for one, though the client's HTTP/1.0 does not; HTTP/2 asks for one that is not empty.
        let name = gate
            .upstream_of(pass)
            .and_then(|at| gate.upstreams.name(at));
        let host = (upstream.version == Version::HTTP_2).then(|| authority.or(name));
        upstream.insert_header(HOST, host.flatten().unwrap_or_default())?;
    }
    cookies::join(upstream)?;
    let edits = gate
        .identities
        .edits(&upstream.headers, pass, client, &exchange.request_id);
    for name in &edits.remove {
        upstream.remove_header(name);
    }
    hide_token(upstream, edits.hide_authorization)?;
    for (name, value) in edits.set {
        upstream.insert_header(name.clone(), value.clone())?;
    }
    assert_identity(gate, upstream, pass)
}

/// Takes our token out, wherever the client put it.
fn hide_token(upstream: &mut RequestHeader, in_authorization: bool) -> Result<()> {
    match without_tokens(&upstream.headers) {
        Subprotocols::Unchanged => {}
        Subprotocols::Left(left) => upstream.insert_header(SEC_WEBSOCKET_PROTOCOL, left)?,
        Subprotocols::None => {
            upstream.remove_header(&SEC_WEBSOCKET_PROTOCOL);
        }
    }
    if in_authorization {
        upstream.remove_header(&AUTHORIZATION);
    }
    Ok(())
}

fn assert_identity(gate: &Gate, upstream: &mut RequestHeader, pass: &Pass) -> Result<()> {
    let (Some(assertions), Some(who)) = (&gate.assertions, &pass.who) else {
        return Ok(());
    };
    let index = gate.upstream_of(pass).ok_or_else(failure::refused)?;
    let audience = gate.upstreams.name(index).ok_or_else(failure::refused)?;
    let assertion = assertions
        .assert(who, index, audience)
        .map_err(|error| Error::because(ErrorType::InternalError, "assertion", error))?;
    upstream.insert_header(gate.identities.assertion_name().clone(), assertion)
}
