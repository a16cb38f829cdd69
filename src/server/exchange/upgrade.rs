//! Hands a connection over to a WebSocket, once the server has agreed to the handshake.

use std::time::Duration;

use super::client::Client;
use super::outcome::{Held, Outcome, Upgraded};
use super::server::Server;
use super::state::Exchange;
use super::{inbound, wait};
use crate::config::UpstreamTimeouts;
use crate::server::message::{Body, RequestHead, ResponseHead};
use crate::server::sockets::{Kind, WebSocketLimits};
use crate::server::timer::Timer;

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
