//! Hands a connection over to a WebSocket, once the server has agreed to the handshake.

use std::time::Duration;

use super::client::Client;
use super::server::Server;
use super::state::Exchange;
use super::{Outcome, inbound, wait};
use crate::config::UpstreamTimeouts;
use crate::request::InFlightPermit;
use crate::server::http1::Buffered;
use crate::server::message::{Body, RequestHead, ResponseHead};
use crate::server::sockets::{Entry, Kind, WebSocket, WebSocketLimits};
use crate::server::timer::Timer;
use crate::server::upstreams::Busy;

/// A WebSocket whose client's side is still to come.
pub(in crate::server) struct Upgraded {
    server: Buffered,
    limits: WebSocketLimits,
    entry: Entry,
    held: Held,
}

/// What counts for as long as a WebSocket lives.
pub(in crate::server) struct Held {
    _busy: Option<Busy>,
    _permit: Option<InFlightPermit>,
}

impl Upgraded {
    /// Joins both sides.
    pub(super) fn with(self, client: Buffered) -> (WebSocket, Held) {
        let socket = WebSocket::new(client, self.server, self.limits, self.entry);
        (socket, self.held)
    }
}

/// Answers a handshake, and hands the server's side over.
pub(super) async fn upgrade(
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
    server: Server,
    answer: ResponseHead,
    timeouts: UpstreamTimeouts<Duration>,
) -> Outcome {
    let Server::Http1(server, _) = server else {
        return left(exchange);
    };
    let entry = exchange
        .generation
        .sockets
        .enter(Kind::WebSocket, exchange.session);
    let answer = inbound::upgrade(answer, head, exchange);
    exchange.status = answer.status.as_u16();
    client.put_head(answer, Body::Unknown);
    let limit = exchange.generation.client_timeout;
    if wait::flush(client, timer, limit).await.is_err() {
        return left(exchange);
    }
    Outcome::Upgraded(Box::new(Upgraded {
        server: server.into_wire(),
        limits: WebSocketLimits {
            idle: timeouts.read,
            client_write: limit,
            server_write: timeouts.write,
        },
        entry,
        held: Held {
            _busy: exchange.attempts.busy(),
            _permit: exchange.permit.take(),
        },
    }))
}

/// Ends an exchange whose client has left.
pub(super) fn left(exchange: &mut Exchange) -> Outcome {
    exchange.has_failed = true;
    Outcome::Broken
}
