//! Writes one line for each exchange, without anything that could be used again.

use std::borrow::Cow;
use std::time::Instant;

use super::state::Exchange;
use crate::request::{Denial, Peer, RequestId};
use crate::server::message::RequestHead;

/// Writes the line of an exchange that ended now.
pub(super) fn write(head: &RequestHead, exchange: &Exchange, now: Instant) {
    let decision = match &exchange.denial {
        Some(_) => "refused",
        None => exchange.decision.as_str(),
    };
    tracing::info!(
        target: "menshen::access",
        request_id = exchange.request_id.as_str(),
        method = head.method.as_str(),
        path = &*path(head, exchange),
        status = u64::from(exchange.status),
        decision,
        reason = exchange.denial.as_ref().map(|denial| denial.code()),
        token_fault = exchange.denial.as_ref().and_then(|denial| denial.token_fault()),
        route = exchange.route.as_ref().map(|route| route.path.as_str()),
        server = exchange.attempts.server().map(tracing::field::display),
        client = exchange.client.address_text.as_ref().and_then(|text| text.to_str().ok()),
        elapsed_ms = u64::try_from(now.saturating_duration_since(exchange.started).as_millis()).unwrap_or(u64::MAX),
        failed = exchange.has_failed,
        "exchange"
    );
}

/// Returns the path without its query, which may hold a signature or a code, and without a ticket, which may still be good.
fn path<'h>(head: &'h RequestHead, exchange: &Exchange) -> Cow<'h, str> {
    let path = head.path();
    let below = path.strip_prefix(exchange.gate.requests.auth_path());
    match below.is_some_and(|below| below.starts_with("/ticket/")) {
        true => format!("{}/ticket/…", exchange.gate.requests.auth_path()).into(),
        false => path.into(),
    }
}

/// Writes the line for a head that was refused before it was parsed.
pub(in crate::server) fn write_unread(
    peer: &Peer,
    request_id: &RequestId,
    status: u16,
    denial: &Denial,
) {
    tracing::info!(
        target: "menshen::access",
        request_id = request_id.as_str(),
        status = u64::from(status),
        decision = "refused",
        reason = denial.code(),
        client = tracing::field::display(peer.address()),
        "exchange"
    );
}
