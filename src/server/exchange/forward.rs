//! Asks a server: connects, sends, pumps both ways, and asks again where that is safe.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use h2::Reason;
use http::Method;

use super::client::{Client, Leaving};
use super::failure::Failure;
use super::outbound::Outbound;
use super::outcome::Outcome;
use super::pump::{End, Pump, Upload};
use super::replay::{KEPT_BYTES, Replay};
use super::server::Server;
use super::state::Exchange;
use super::upgrade::{left, upgrade};
use super::wait::ClientWatch;
use super::{reply, spans};
use crate::request::{Denial, Pass};
use crate::server::http1::ResponseError;
use crate::server::http2::ClientStream;
use crate::server::message::{Body, RequestHead};
use crate::server::timer::Timer;
use crate::server::upstreams::{Connected, Connection, Unconnected, Unread, Wanted};

/// How long what was received of a response that broke off may take to leave.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

/// Forwards a request.
pub(super) async fn run(
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
    pass: &Pass,
) -> Outcome {
    let mut replay = Replay::default();
    let max_body = pass.route.max_body_bytes;
    if head.body == Body::Unknown
        && let Err(failure) = replay.read_first(client, exchange, max_body)
    {
        return fail(client, timer, exchange, head, pass, failure, false).await;
    }
    loop {
        spans::begin_attempt(head, exchange);
        let upload = Unread::of(head.body.length().or_else(|| replay.length()));
        let connected = match connect(client, timer, exchange, head, pass, upload).await {
            Ok(connected) => connected,
            Err(None) => return left(exchange),
            Err(Some(denial)) => {
                spans::end_attempt(head, exchange, &pass.route, Some(denial.code()));
                return reply::refuse(client, timer, exchange, head, denial).await;
            }
        };
        let timeouts = connected.timeouts;
        if matches!(connected.connection, Connection::Http2(..)) {
            // Few servers of HTTP/2 send an interim answer, and a client would wait for it.
            client.put_continue();
        }
        let mut server = match start(connected, exchange, head, pass) {
            Ok(server) => server,
            Err(why) => {
                let denial = match why {
                    Start::Unprocessed => Denial::UpstreamError,
                    Start::Refused(ref denial) => denial.clone(),
                };
                spans::end_attempt(head, exchange, &pass.route, Some(denial.code()));
                if matches!(why, Start::Unprocessed) && exchange.attempts.retry_unprocessed() {
                    continue;
                }
                return reply::refuse(client, timer, exchange, head, denial).await;
            }
        };
        let upload = match head.body {
            Body::Empty => Upload::Flushing,
            Body::Length(_) | Body::Unknown if replay.send(&mut server) => Upload::Flushing,
            Body::Length(_) | Body::Unknown => Upload::Reading,
        };
        let mut pump = Pump::new(
            client,
            &mut server,
            timer,
            exchange,
            head,
            &mut replay,
            timeouts,
            max_body,
            upload,
        );
        let end = poll_fn(|cx| pump.poll(cx)).await;
        let is_answered = pump.is_answered();
        let error = end.as_ref().err().map(|failure| failure.word());
        spans::end_attempt(head, exchange, &pass.route, error);
        match end {
            Ok(End::Response) => {
                release(exchange, server);
                return match client.has_whole_body() {
                    true => Outcome::Answered,
                    false => Outcome::Unread,
                };
            }
            Ok(End::Upgrade(answer)) => {
                return upgrade(client, timer, exchange, head, server, *answer, timeouts).await;
            }
            Err(failure) => {
                let unprocessed = failure == Failure::Response(ResponseError::Unprocessed);
                if unprocessed || failure == Failure::ResponseLate && !is_answered {
                    // It takes no more, or may be dead: others get another connection.
                    server.retire();
                } else {
                    drop(server);
                }
                if !is_answered && may_ask_again(exchange, head, &replay, failure) {
                    continue;
                }
                return fail(client, timer, exchange, head, pass, failure, is_answered).await;
            }
        }
    }
}

/// Connects to the next server, unless the client leaves before; the error is what the client is told, if anything.
async fn connect(
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
    pass: &Pass,
    upload: Unread,
) -> Result<Connected, Option<Denial>> {
    let generation = Arc::clone(&exchange.generation);
    let wanted = Wanted {
        openid: pass.who.as_ref().map(|who| who.openid().as_bytes()),
        upgrade: head.handshake,
        upload,
        repeatable: is_idempotent(&head.method)
            && head
                .body
                .length()
                .is_some_and(|length| length <= KEPT_BYTES),
        timeouts: pass.route.timeouts,
    };
    let connected = {
        let connecting =
            generation
                .upstreams
                .connect(pass.route.upstream, &wanted, &mut exchange.attempts);
        let mut connecting = pin!(connecting);
        let mut watch = ClientWatch::default();
        poll_fn(|cx| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
                return Poll::Ready(connected.map_err(|why| {
                    Some(match why {
                        Unconnected::Unreachable => Denial::UpstreamUnreachable,
                        Unconnected::Exhausted => Denial::ProxyBusy,
                    })
                }));
            }
            match watch.poll(client, timer, cx) {
                Poll::Ready(Leaving::Gone) => Poll::Ready(Err(None)),
                Poll::Ready(Leaving::HalfClosed) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    };
    if let (Some(took), Some(upstream)) = (
        exchange.attempts.connect_time(),
        generation.traffic.upstream(pass.route.upstream),
    ) {
        upstream.connected(took);
    }
    connected
}

/// Why a request could not be begun on a connection.
enum Start {
    /// The connection takes no more requests.
    Unprocessed,
    Refused(Denial),
}

/// Writes the head of the request.
fn start(
    connected: Connected,
    exchange: &Exchange,
    head: &RequestHead,
    pass: &Pass,
) -> Result<Server, Start> {
    let outbound = Outbound::new(exchange, head, pass).map_err(Start::Refused)?;
    match connected.connection {
        Connection::Http1(mut server) => {
            let is_head = head.method == Method::HEAD;
            server.put_head(is_head, head.body, outbound.says_no_length(), |out| {
                outbound.write(out)
            });
            Ok(Server::Http1(server, connected.origin))
        }
        Connection::Http2(mut requests, lease) => {
            let request = outbound
                .into_request(connected.is_tls)
                .map_err(Start::Refused)?;
            let is_over = head.body == Body::Empty;
            match ClientStream::start(&mut requests, request, is_over) {
                Ok(stream) => Ok(Server::Http2(stream, lease)),
                Err(_) => {
                    lease.retire();
                    Err(Start::Unprocessed)
                }
            }
        }
    }
}

/// Gives back what was lent for an exchange whose response has ended.
fn release(exchange: &Exchange, server: Server) {
    match server {
        Server::Http1(server, origin) => exchange.generation.upstreams.release(server, origin),
        Server::Http2(stream, mut lease) => lease.is_over = stream.is_over(),
    }
}

/// Returns whether a request that got no answer is sent once more (RFC 9110, section 9.2.2; RFC 9113, section 8.7).
fn may_ask_again(
    exchange: &mut Exchange,
    head: &RequestHead,
    replay: &Replay,
    failure: Failure,
) -> bool {
    let attempts = &mut exchange.attempts;
    let Failure::Response(error) = failure else {
        return false;
    };
    match error {
        ResponseError::Unprocessed => replay.is_possible() && attempts.retry_unprocessed(),
        // Probably the server closed the connection before the request came.
        ResponseError::Closed if attempts.is_reused() => {
            attempts.lost();
            is_idempotent(&head.method)
                && replay.is_possible()
                && attempts.retry_on_new_connection()
        }
        ResponseError::Closed | ResponseError::BrokenOff | ResponseError::Malformed => false,
    }
}

fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent()
}

/// Ends an exchange that broke off.
async fn fail(
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
    pass: &Pass,
    failure: Failure,
    is_answered: bool,
) -> Outcome {
    tracing::debug!(request_id = %exchange.request_id, error = %failure, "exchange failed");
    // As long as the body is not whole, the server may be waiting for it, or may have refused it by hanging up.
    let blamed = failure.is_by_server()
        && !is_answered
        && !exchange.attempts.is_reused()
        && client.has_whole_body();
    if blamed {
        let upstreams = &exchange.generation.upstreams;
        upstreams.broke_off(
            pass.route.upstream,
            &exchange.attempts,
            exchange.client.address,
        );
    }
    let Some(denial) = failure.denial() else {
        return left(exchange);
    };
    if is_answered {
        exchange.denial = Some(denial);
        exchange.has_failed = true;
        // What the server sent before it broke off is the client's all the same.
        let sent = poll_fn(|cx| client.poll_sent(cx));
        let _ = tokio::time::timeout(LAST_FLUSH_TIMEOUT, sent).await;
        let reason = if failure == Failure::SessionEnded {
            Reason::CANCEL
        } else {
            Reason::INTERNAL_ERROR
        };
        client.break_off(reason);
        return Outcome::Broken;
    }
    exchange.has_failed = true;
    client.close_after();
    reply::refuse(client, timer, exchange, head, denial).await
}
