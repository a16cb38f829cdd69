//! Keeps what can be asked of an exchange afterwards.

use std::time::{Duration, Instant};

use super::access_log;
use super::generation::Generation;
use super::state::Exchange;
use crate::request::{CredentialKind, Denial, Entry, Peer, Refused, RequestId, TraceKey, What};
use crate::server::message::RequestHead;

/// Keeps an exchange that ended now.
pub(super) fn keep(head: &RequestHead, exchange: &Exchange, trace_id: Option<&str>, now: Instant) {
    let recent = &exchange.generation.recent;
    let user = exchange.user.as_deref();
    let route = exchange.route.as_ref();
    // Neither is looked for where nothing was refused.
    let refused = exchange.denial.as_ref().map(|denial| {
        let path = access_log::path(head, exchange);
        Refused::new(denial.clone(), head.method.as_str(), &path)
    });
    let credential = exchange
        .credential
        .unwrap_or_else(|| CredentialKind::of(&head.headers, head.query(), exchange.is_https()));
    recent.keep(Entry {
        id: exchange.request_id.key(),
        trace: trace_id.map_or(TraceKey::NONE, TraceKey::of),
        ended: now,
        took_us: Entry::micros(now.saturating_duration_since(exchange.started)),
        upstream_us: exchange.first_byte.map_or(u32::MAX, Entry::micros),
        status: exchange.status,
        what: What(exchange.decision.as_str()),
        credential,
        route: recent.route(route.map(|route| route.index)),
        app: recent.app(user.map(|user| user.app())),
        session: user.map(|user| *user.session()),
        client: exchange.client.address,
        refused,
    });
}

/// Keeps a request whose head nobody could read.
pub(super) fn keep_unread(
    generation: &Generation,
    peer: &Peer,
    id: &RequestId,
    status: u16,
    denial: Denial,
) {
    generation.recent.keep(Entry {
        id: id.key(),
        trace: TraceKey::NONE,
        ended: Instant::now(),
        took_us: Entry::micros(Duration::ZERO),
        upstream_us: u32::MAX,
        status,
        what: What("refused"),
        credential: CredentialKind::None,
        route: Entry::NONE,
        app: Entry::NONE,
        session: None,
        client: Some(peer.address()),
        refused: Some(Refused::new(denial, "", "")),
    });
}
