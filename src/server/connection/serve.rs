//! Serves one connection: TLS, then HTTP/1.1 or HTTP/2 as the client speaks.

use std::sync::Arc;
use std::time::Duration;

use pingora::listeners::tls::Acceptor;
use pingora::protocols::Stream;
use pingora::protocols::{ALPN, Ssl as _, UniqueID as _};
use tokio::sync::watch;

use super::limits::{ConnectionLimits, Slot};
use super::progress::note;
use super::proxy_protocol::{self, ProxiedClient};
use crate::metrics::Traffic;
use crate::request::{self, Denial, Peer};
use crate::server::exchange::{Generation, Generations, Proxy};
use crate::server::tcp::Tcp;

/// How long a connection without an exchange is kept when the program stops: closing it at once would lose a request that is on its
/// way.
pub(in crate::server) const SHUTDOWN_DELAY: Duration = Duration::from_millis(500);

/// The first bytes of HTTP/2 without TLS; no request of HTTP/1.1 starts with them.
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The limit for refusing a connection over the limit.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(3);

/// The state that all connections of a listener share.
pub(in crate::server) struct Connections {
    pub(in crate::server) proxy: Proxy,
    /// Refuses connections over the limit.
    pub(in crate::server) refuser: Proxy,
    pub(in crate::server) acceptor: Option<Acceptor>,
    pub(in crate::server) head_timeout: Duration,
    pub(in crate::server) limits: Arc<ConnectionLimits>,
    /// Whether each connection must begin with a PROXY header of a trusted proxy.
    pub(in crate::server) proxied: bool,
    pub(in crate::server) shutdown: watch::Receiver<bool>,
    pub(in crate::server) generations: Arc<Generations>,
}

/// The protocol that a client speaks.
enum Protocol {
    Http1,
    Http2,
}

/// A connection that counts as open until this is dropped.
struct Open(Arc<Traffic>);

impl Open {
    fn count(traffic: &Arc<Traffic>) -> Self {
        traffic.connections.add(1);
        traffic.connections_open.add(1);
        Self(Arc::clone(traffic))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections_open.take(1);
    }
}

impl Connections {
    /// Serves a connection until one side ends it, or refuses it.
    pub(in crate::server) async fn serve(&self, mut tcp: Box<Tcp>, slot: Slot) {
        let _open = Open::count(&self.generations.current().traffic.all);
        let timeout = match slot {
            Slot::Served(_) => self.client_timeout(),
            Slot::Refused(_) => self.refusal(),
        };
        let placed = async {
            let peer = self.peer(&mut tcp, timeout).await?;
            let trusted = &self.generations.current().trusted_proxies;
            Some((slot.claim(peer.address(), trusted)?, peer))
        };
        let Some((slot, peer)) = self.unless_stopping(placed).await else {
            return;
        };
        let connection = request::Connection {
            peer: Some(peer),
            tls: self.acceptor.is_some(),
        };
        match slot {
            Slot::Served(_permit) => match self.greeted(tcp, &connection).await {
                Some((stream, Protocol::Http2)) => {
                    let serving = self.serve_http2(stream, &self.proxy, &connection, false);
                    Box::pin(serving).await;
                }
                Some((stream, Protocol::Http1)) => {
                    self.serve_http1(stream, &self.proxy, &connection).await;
                }
                None => {}
            },
            Slot::Refused(_permit) => {
                // Boxed: every connection would be as large as this rare one.
                let refusing = Box::pin(self.refuse(tcp, &connection));
                let _ = tokio::time::timeout(self.refusal(), refusing).await;
            }
        }
    }

    /// Returns the limit between two reads, which a reload may change.
    pub(super) fn client_timeout(&self) -> Duration {
        self.generations.current().client_timeout
    }

    /// Returns how long an idle connection is kept, which a reload may change.
    pub(super) fn keepalive(&self) -> Duration {
        self.generations.current().keepalive
    }

    /// Returns the limit for refusing a connection.
    fn refusal(&self) -> Duration {
        REFUSAL_TIMEOUT.min(self.head_timeout)
    }

    /// Answers the first request of a connection over the limit.
    async fn refuse(&self, tcp: Box<Tcp>, connection: &request::Connection) {
        let refuser = &self.refuser;
        match self.greeted(tcp, connection).await {
            Some((stream, Protocol::Http2)) => {
                self.serve_http2(stream, refuser, connection, true).await;
            }
            Some((stream, Protocol::Http1)) => {
                self.serve_http1(stream, refuser, connection).await;
            }
            None => {}
        }
    }

    /// Runs what precedes a request, and gives it up when the program stops.
    async fn unless_stopping<T>(&self, begun: impl Future<Output = Option<T>>) -> Option<T> {
        tokio::select! {
            biased;
            done = begun => done,
            () = self.shutdown_delay() => None,
        }
    }

    /// Resolves a moment after the listener has stopped accepting. Requests that arrive before that are still answered.
    pub(super) async fn shutdown_delay(&self) {
        let mut shutdown = self.shutdown.clone();
        let _ = shutdown.wait_for(|&stop| stop).await;
        tokio::time::sleep(SHUTDOWN_DELAY).await;
    }

    /// Returns the client of a connection, which a PROXY header may have to name first.
    async fn peer(&self, tcp: &mut Tcp, timeout: Duration) -> Option<Peer> {
        let peer = tcp.peer();
        if !self.proxied {
            return Some(Peer::new(peer));
        }
        let known = peer.to_canonical();
        let trusts = |generation: &Generation| {
            generation
                .trusted_proxies
                .iter()
                .any(|net| net.contains(&known))
        };
        if !trusts(&self.generations.current()) {
            tracing::debug!(%peer, "a connection does not come from a trusted proxy");
            return None;
        }
        let told = proxy_protocol::accept(tcp);
        match tokio::time::timeout(timeout, told).await.ok()? {
            Some(ProxiedClient::Named(client)) => Some(Peer::new(client)),
            Some(ProxiedClient::Unnamed) => Some(Peer::unknown_behind(peer)),
            None => {
                tracing::debug!(%peer, "a trusted proxy sent no PROXY header");
                None
            }
        }
    }

    /// Does what precedes a request, and gives it up when the program stops.
    async fn greeted(
        &self,
        tcp: Box<Tcp>,
        connection: &request::Connection,
    ) -> Option<(Stream, Protocol)> {
        self.unless_stopping(self.handshake(tcp, connection)).await
    }

    /// Does the TLS handshake, and finds out which protocol the client speaks.
    async fn handshake(
        &self,
        mut tcp: Box<Tcp>,
        connection: &request::Connection,
    ) -> Option<(Stream, Protocol)> {
        let id = tcp.id();
        let Some(acceptor) = &self.acceptor else {
            let protocol = self.first_bytes(&mut tcp, connection).await?;
            return Some((tcp, protocol));
        };
        // Boxed: a connection would be as large as its handshake for as long as it lasts.
        let handshake = Box::pin(acceptor.tls_handshake(*tcp));
        let stream = match tokio::time::timeout(self.client_timeout(), handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(id, %error, "TLS handshake failed");
                return None;
            }
            Err(_) => return None,
        };
        let protocol = match stream.selected_alpn_proto() {
            Some(ALPN::H2) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Some((Box::new(stream), protocol))
    }

    /// Waits for the first bytes, and returns their protocol; `None` if they are late.
    async fn first_bytes(
        &self,
        tcp: &mut Tcp,
        connection: &request::Connection,
    ) -> Option<Protocol> {
        let begins = tcp.begins_with(H2_PREFACE);
        match tokio::time::timeout(self.client_timeout(), begins).await {
            Ok(Ok(true)) => Some(Protocol::Http2),
            Ok(Ok(false)) => Some(Protocol::Http1),
            Ok(Err(_)) | Err(_) => {
                if tcp.has_ahead() {
                    note(&self.proxy, connection, Denial::RequestTimeout);
                }
                None
            }
        }
    }
}
