//! pingora's phases, in the order in which an exchange goes through them.

use std::any::Any;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, EXPECT, TRANSFER_ENCODING,
};
use http::{StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{BError, Error, ErrorSource, Result};

use super::exchange::Exchange;
use super::gate::Gate;
use super::gates::Gates;
use super::inbound::authority;
use super::upstreams::{Handshake, Wanted};
use super::{
    access_log, body, connection, failure, http2, inbound, outbound, receive, reply, retries,
};
use crate::request::{Client, Denial, Peer, RequestId, Secure, client};

/// The proxy as pingora runs it.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) gates: Arc<Gates>,
    pub(super) duty: Duty,
}

/// What is done with requests.
#[derive(Clone)]
pub(super) enum Duty {
    /// They are answered or forwarded.
    Serve,
    /// They are sent on to HTTPS.
    Redirect(Secure),
    /// They came on a connection over the limit, which is all that they are told.
    Refuse,
}

impl Proxy {
    pub(super) fn new(gates: &Arc<Gates>, duty: Duty) -> Self {
        let gates = Arc::clone(gates);
        Self { gates, duty }
    }

    /// Says whether a client has asked too often, or from too many connections.
    fn count(&self, gate: &Gate, seen: &Client) -> std::result::Result<(), Denial> {
        if matches!(self.duty, Duty::Refuse) {
            return Err(Denial::TooManyConnections);
        }
        let rates = gate.rates.as_ref();
        rates.map_or(Ok(()), |rates| rates.admit(seen, Instant::now()))
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new(self.gates.current())
    }

    fn on_connection_reuse(
        &self,
        _wire: &mut Session,
        exchange: &mut Exchange,
        connection: Box<dyn Any + Send + Sync>,
    ) {
        // pingora hands over whatever the connection was given, before it was used as well.
        exchange.peer = connection.downcast::<Peer>().ok().map(|peer| *peer);
    }

    async fn request_filter(&self, wire: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        let gate = Arc::clone(&exchange.gate);
        wire.set_read_timeout(Some(gate.client_timeout));
        wire.set_write_timeout(Some(gate.client_timeout));
        if wire.get_keepalive().is_some() {
            // pingora has just said "for ever", as it does for each request that may be followed by another.
            wire.set_keepalive(connection::keepalive_secs(gate.keepalive));
        }
        let request = wire.req_header();
        let seen = client(
            &inbound::connection(wire, exchange.peer.take().or_else(http2::peer)),
            &request.headers,
            authority(request),
            &gate.trusted_proxies,
        );
        if seen.trusted {
            let given = wire.req_header().headers.get("x-request-id");
            if let Some(id) = given.and_then(RequestId::adopt) {
                exchange.request_id = id;
            }
        }
        // Until it is known where the request goes.
        exchange.cors = receive::told(gate.origins.all(), wire.req_header());
        let counted = self.count(&gate, &seen);
        exchange.client = Some(seen);
        let settled =
            counted.and_then(|()| inbound::settle(wire.req_header_mut(), &gate.identities));
        if let Err(denial) = settled {
            reply::refuse(wire, exchange, denial).await?;
            return Ok(true);
        }
        let pass = match self.receive(wire, exchange).await {
            Ok(Some(pass)) => pass,
            Ok(None) => return Ok(true),
            Err(denial) => {
                reply::refuse(wire, exchange, denial).await?;
                return Ok(true);
            }
        };
        let route = gate.requests.route(pass.route);
        exchange.max_body_bytes = route.map_or(0, |route| route.max_body_bytes);
        if body::declared(wire).is_some_and(|length| length > exchange.max_body_bytes) {
            reply::refuse(wire, exchange, Denial::BodyTooLarge).await?;
            return Ok(true);
        }
        exchange.pass = Some(pass);
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        wire: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        let gate = Arc::clone(&exchange.gate);
        let pass = exchange.pass.as_ref().ok_or_else(failure::refused)?;
        let route = gate.requests.route(pass.route);
        let route = route.ok_or_else(failure::refused)?;
        exchange.handshake = Handshake::of(wire);
        let wanted = Wanted {
            openid: pass.who.as_ref().map(|who| who.openid().as_bytes()),
            upgrade: wire.is_upgrade_req(),
            handshake: &exchange.handshake,
            repeatable: retries::may_repeat(wire),
            patience: route.patience,
        };
        let attempts = &mut exchange.attempts;
        let chosen = gate.upstreams.choose(route.upstream, &wanted, attempts);
        let Some(peer) = chosen.await else {
            exchange.denial = Some(Denial::UpstreamUnreachable);
            return Err(failure::refused());
        };
        Ok(Box::new(peer))
    }

    async fn connected_to_upstream(
        &self,
        _wire: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        _digest: Option<&Digest>,
        exchange: &mut Exchange,
    ) -> Result<()> {
        exchange.attempts.connected(reused);
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _wire: &mut Session,
        _peer: &HttpPeer,
        exchange: &mut Exchange,
        mut error: BError,
    ) -> BError {
        let gate = Arc::clone(&exchange.gate);
        retries::unconnected(&gate, exchange, &mut error);
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        wire: &mut Session,
        mut error: BError,
        exchange: &mut Exchange,
        reused: bool,
    ) -> BError {
        let gate = Arc::clone(&exchange.gate);
        retries::broken_off(&gate, wire, exchange, &mut error, reused);
        error
    }

    async fn upstream_request_filter(
        &self,
        wire: &mut Session,
        upstream: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let gate = Arc::clone(&exchange.gate);
        let may_wait = wire.req_header().version == Version::HTTP_11;
        if may_wait && upstream.version == Version::HTTP_2 {
            // pingora passes no 100 on from HTTP/2.
            if upstream.remove_header(&EXPECT).is_some() {
                wire.write_continue_response().await?;
            }
        }
        let authority = authority(wire.req_header());
        exchange.handshake.ask();
        outbound::edit(&gate, upstream, exchange, authority)
    }

    async fn request_body_filter(
        &self,
        _wire: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let part = body.as_ref().map_or(0, Bytes::len);
        if end_of_stream && part == 0 {
            // pingora writes an empty part as a chunk of its own, which is the end of the body, and then the end: the server
            // would read the second one as another request.
            *body = None;
            exchange.handshake.end();
        }
        exchange.body_bytes = exchange.body_bytes.saturating_add(part as u64);
        if exchange.body_bytes > exchange.max_body_bytes {
            exchange.denial = Some(Denial::BodyTooLarge);
            return Err(failure::refused());
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        wire: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let gate = Arc::clone(&exchange.gate);
        exchange.attempts.answered(response.version);
        if response.status == StatusCode::SWITCHING_PROTOCOLS && wire.is_upgrade_req() {
            gate.sockets.admit(wire, exchange)?;
        }
        if wire.req_header().version < Version::HTTP_11 {
            // The end of the connection ends the body: HTTP/1.0 knows no chunks.
            response.remove_header(&TRANSFER_ENCODING);
        }
        // Clients take these for the result of a login; a backend's own would be one.
        for name in [reply::TOKEN, reply::TOKEN_EXPIRES_IN, reply::REFRESH_TOKEN] {
            response.remove_header(name);
        }
        let final_one = !response.status.is_informational() || response.status.as_u16() == 101;
        if let Some(grant) = exchange.grant.as_ref().filter(|_| final_one) {
            reply::add_grant(response, grant)?;
        }
        let route = exchange.pass.as_ref().map(|pass| pass.route);
        if route.is_some_and(|route| gate.origins.route(route).is_some()) {
            // A backend's own would be a second answer to the same question.
            response.remove_header(&ACCESS_CONTROL_ALLOW_ORIGIN);
            response.remove_header(&ACCESS_CONTROL_ALLOW_CREDENTIALS);
        }
        for (name, value) in &exchange.cors {
            response.append_header(name, value)?;
        }
        response.insert_header("X-Request-Id", exchange.request_id.value().clone())
    }

    async fn fail_to_proxy(
        &self,
        wire: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        let denial = exchange
            .denial
            .take()
            .or_else(|| failure::denial(wire, error));
        if let Some(denial) = denial {
            tracing::debug!(
                request_id = %exchange.request_id,
                error = failure::described(error),
                "exchange failed"
            );
            let status = denial.told().0.as_u16();
            // What is left of the body, or of the answer, would stand before the next one.
            wire.set_keepalive(None);
            if reply::is_under_way(wire) {
                exchange.denial = Some(denial);
            } else if let Err(error) = reply::refuse(wire, exchange, denial).await {
                tracing::debug!(%error, "a refusal could not be written");
            }
            return FailToProxy {
                error_code: status,
                can_reuse_downstream: false,
            };
        }
        FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, wire: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        let gate = Arc::clone(&exchange.gate);
        let by_client = error.is_some_and(|error| *error.esource() == ErrorSource::Downstream);
        if by_client && wire.response_written().is_none() {
            http2::give_up();
        }
        access_log::write(wire, exchange, error.is_some(), &gate);
    }

    fn suppress_error_log(&self, _wire: &Session, _exchange: &Exchange, _error: &Error) -> bool {
        // The access line says it, and pingora's own line would hold the request's target.
        true
    }

    fn request_summary(&self, _wire: &Session, exchange: &Exchange) -> String {
        format!("request_id={}", exchange.request_id)
    }
}
