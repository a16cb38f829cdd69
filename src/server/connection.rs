//! Serves one connection: TLS, then HTTP/1.1 or HTTP/2 as the client speaks.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ipnet::IpNet;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{ALPN, GetSocketDigest, UniqueID};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;

use super::head::{self, Head, Patience};
use super::phases::Proxy;
use super::proxy_protocol;
use super::seats::{Seat, Seats};
use crate::request::Peer;

/// The first bytes of HTTP/2 without TLS; no method of HTTP/1.1 starts with them.
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What all connections of a listener share.
pub(super) struct Connections {
    pub(super) app: Arc<HttpProxy<Proxy>>,
    pub(super) acceptor: Option<Acceptor>,
    pub(super) http2: H2Options,
    pub(super) client_timeout: Duration,
    pub(super) head_timeout: Duration,
    pub(super) keepalive: Duration,
    pub(super) seats: Arc<Seats>,
    /// The proxies that must say whose connection it is; `None` where each is its peer's own.
    pub(super) proxies: Option<Vec<IpNet>>,
    pub(super) shutdown: ShutdownWatch,
}

/// What a client speaks.
enum Speaks {
    Http1,
    Http2,
}

impl Connections {
    /// Serves a connection until one side ends it.
    pub(super) async fn serve(&self, mut tcp: L4Stream, mut seat: Seat) {
        let mut shutdown = self.shutdown.clone();
        let greeted = tokio::select! {
            biased;
            greeted = async {
                let client = self.client(&mut tcp).await?;
                seat.claim(client).then_some(())?;
                self.greet(tcp).await
            } => greeted,
            // Nothing has been asked for, so there is nothing to finish.
            _ = shutdown.wait_for(|&stop| stop) => None,
        };
        match greeted {
            Some((stream, Speaks::Http2)) => {
                self.serve_http2(stream).await;
            }
            Some((stream, Speaks::Http1)) => self.serve_http1(stream).await,
            None => {}
        }
    }

    /// Returns the address by which a connection counts, which a proxy may have to say first.
    async fn client(&self, tcp: &mut L4Stream) -> Option<IpAddr> {
        let peer = tcp.get_socket_digest()?.peer_addr()?.as_inet()?.ip();
        let Some(proxies) = &self.proxies else {
            return Some(peer);
        };
        let known = peer.to_canonical();
        if !proxies.iter().any(|net| net.contains(&known)) {
            tracing::debug!(%peer, "a connection does not come from a trusted proxy");
            return None;
        }
        let told = proxy_protocol::accept(tcp, peer);
        let client = tokio::time::timeout(self.client_timeout, told).await.ok()?;
        if client.is_none() {
            tracing::debug!(%peer, "a trusted proxy sent no PROXY header");
        }
        client
    }

    /// Does what comes before the first request: TLS, and finding out what the client speaks.
    async fn greet(&self, mut tcp: L4Stream) -> Option<(Stream, Speaks)> {
        let _ = tcp.set_nodelay();
        let id = tcp.id();
        let mut stream: Stream = match &self.acceptor {
            None => Box::new(tcp),
            Some(acceptor) => {
                let handshake = acceptor.tls_handshake(tcp);
                match tokio::time::timeout(self.client_timeout, handshake).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    Ok(Err(error)) => {
                        tracing::debug!(id, %error, "TLS handshake failed");
                        return None;
                    }
                    Err(_) => return None,
                }
            }
        };
        let speaks = match (&self.acceptor, stream.selected_alpn_proto()) {
            (Some(_), Some(ALPN::H2)) => Speaks::Http2,
            (Some(_), _) => Speaks::Http1,
            (None, _) => self.first_bytes(&mut stream).await?,
        };
        Some((stream, speaks))
    }

    /// Waits for the first bytes and says whose they are; `None` when they do not come in time.
    async fn first_bytes(&self, stream: &mut Stream) -> Option<Speaks> {
        let peek = async {
            let mut start = [0; 4];
            let mut whole = [0; 24];
            let begins = stream.try_peek(&mut start).await?;
            if !begins || !H2_PREFACE.starts_with(&start) {
                return Ok(Speaks::Http1);
            }
            let http2 = stream.try_peek(&mut whole).await? && whole == *H2_PREFACE;
            Ok::<_, std::io::Error>(if http2 { Speaks::Http2 } else { Speaks::Http1 })
        };
        tokio::time::timeout(self.client_timeout, peek)
            .await
            .ok()?
            .ok()
    }

    async fn serve_http1(&self, stream: Stream) {
        let mut patience = Patience {
            // A new connection is not kept, it is about to be used.
            idle: self.client_timeout,
            read: self.client_timeout,
            whole: self.head_timeout,
        };
        let peer = peer_of(&stream);
        let mut next = Some(ReusedHttpStream::new(stream, None));
        while let Some((mut stream, settings)) = next.map(ReusedHttpStream::consume) {
            let mut shutdown = self.shutdown.clone();
            let head = tokio::select! {
                biased;
                head = head::read(&mut stream, patience) => head,
                // What has not been asked for whole by now is asked for elsewhere.
                _ = shutdown.wait_for(|&stop| stop) => Head::Gone,
            };
            patience.idle = self.keepalive;
            next = match head {
                Head::Read(head) => self.exchange(stream, settings, peer.clone(), head).await,
                Head::Refused(denial) => {
                    head::refuse(stream, denial).await;
                    None
                }
                Head::Gone => None,
            };
        }
    }

    /// Serves one exchange whose head has been read.
    async fn exchange(
        &self,
        stream: Stream,
        settings: Option<HttpPersistentSettings>,
        peer: Option<Peer>,
        head: BytesMut,
    ) -> Option<ReusedHttpStream> {
        let mut session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        if let Some(peer) = peer {
            session.set_connection_user_context(Some(Box::new(peer)));
        }
        // pingora takes it as read on from the exchange before, and parses it without reading again.
        session.set_pipelined_prefix(head);
        self.app.process_new_http(session, &self.shutdown).await
    }
}

fn peer_of(stream: &Stream) -> Option<Peer> {
    let digest = stream.get_socket_digest()?;
    let address = digest.peer_addr()?.as_inet()?;
    Some(Peer::new(address.ip()))
}

/// Returns how long an idle connection is kept as pingora takes it: in whole seconds, where 0 would be for ever.
pub(super) fn keepalive_secs(keepalive: Duration) -> Option<u64> {
    let begun = u64::from(keepalive.subsec_nanos() > 0);
    Some(keepalive.as_secs() + begun).filter(|secs| *secs > 0)
}
