//! Writes one line for each exchange, without anything that could be used again.

use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;

use super::exchange::Exchange;
use super::gate::Gate;
use crate::config::Auth;
use crate::request::{Denial, Peer, RequestId};

/// Writes the line.
pub(super) fn write(wire: &Session, exchange: &Exchange, failed: bool, gate: &Gate) {
    let request = wire.req_header();
    let route = exchange
        .pass
        .as_ref()
        .and_then(|pass| gate.requests.route(pass.route));
    let decision = match (&exchange.denial, route) {
        (Some(_), _) => "refused",
        (None, Some(route)) if route.auth == Auth::Public => "public",
        (None, Some(_)) => match &exchange.pass {
            Some(pass) if pass.who.is_some() => "authenticated",
            Some(_) | None => "anonymous",
        },
        (None, None) => "own",
    };
    let asked = exchange.asked.and_then(|index| gate.requests.route(index));
    let status = wire
        .response_written()
        .map_or(0, |head| head.status.as_u16());
    let client = exchange.client.as_ref().and_then(|client| client.address);
    tracing::info!(
        target: "menshen::access",
        request_id = %exchange.request_id,
        method = %request.method,
        // Without the query: links carry tickets and signatures there.
        path = request.uri.path(),
        status,
        decision,
        reason = exchange.denial.as_ref().map(|denial| denial.code()),
        token_fault = exchange.denial.as_ref().and_then(|denial| denial.token_fault()),
        route = route.or(asked).map(|route| route.path.as_str()),
        server = exchange.attempts.server().map(tracing::field::display),
        client = client.map(tracing::field::display),
        elapsed_ms = u64::try_from(exchange.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        failed,
        "exchange"
    );
}

/// Writes the line for a head that was refused before it was parsed.
pub(super) fn write_unread(session: &ServerSession, request_id: &RequestId, denial: &Denial) {
    let client = session.client_addr().and_then(|peer| peer.as_inet());
    tracing::info!(
        target: "menshen::access",
        request_id = %request_id,
        status = denial.told().0.as_u16(),
        decision = "refused",
        reason = denial.code(),
        client = client.map(|peer| tracing::field::display(peer.ip())),
        "exchange"
    );
}

/// Writes the line for a request over HTTP/2 that pingora refused by itself: with 400, or by resetting its stream.
pub(super) fn write_rejected(peer: &Peer) {
    tracing::info!(
        target: "menshen::access",
        request_id = %RequestId::random(),
        decision = "refused",
        reason = "bad_request",
        client = tracing::field::display(peer.address()),
        "exchange"
    );
}
