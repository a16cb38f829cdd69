//! Serves one connection: TLS, then HTTP/1.1 or HTTP/2 as the client speaks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::HeaderMap;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{ALPN, GetSocketDigest, UniqueID};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;

use super::Gate;
use super::gates::Gates;
use super::head::{self, Head, Patience};
use super::phases::Proxy;
use super::proxy_protocol::{self, Spoken};
use super::seats::{Place, Seats};
use super::sockets::{Closable, Socket};
use super::watched::Watched;
use crate::request::{self, Denial, Peer, client};

/// How long a connection without an exchange is kept when the program stops: closed at once, it would take a request
/// along that is on its way.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// The first bytes of HTTP/2 without TLS; no method of HTTP/1.1 starts with them.
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The most that a connection over the limit is waited for.
const REFUSAL: Duration = Duration::from_secs(3);

/// What all connections of a listener share.
pub(super) struct Connections {
    pub(super) app: Arc<HttpProxy<Proxy>>,
    /// Answers those over the limit.
    pub(super) refuser: Arc<HttpProxy<Proxy>>,
    pub(super) acceptor: Option<Acceptor>,
    pub(super) http2: H2Options,
    pub(super) head_timeout: Duration,
    pub(super) seats: Arc<Seats>,
    /// Whether trusted proxies must say whose connection it is, and nobody else may connect.
    pub(super) proxied: bool,
    pub(super) shutdown: ShutdownWatch,
    pub(super) gates: Arc<Gates>,
}

/// What a client speaks.
enum Speaks {
    Http1,
    Http2,
}

impl Connections {
    /// Serves a connection until one side ends it, or tells it that there is no place for it.
    pub(super) async fn serve(&self, mut tcp: L4Stream, place: Place) {
        let patience = match place {
            Place::Seat(_) => self.client_timeout(),
            Place::Refusal(_) => self.refusal(),
        };
        let placed = async {
            let peer = self.peer(&mut tcp, patience).await?;
            let trusted = &self.gates.current().trusted_proxies;
            Some((place.claim(peer.address(), trusted)?, peer))
        };
        match self.unless_stopping(placed).await {
            Some((Place::Seat(_seat), peer)) => match self.unless_stopping(self.greet(tcp)).await {
                Some((stream, Speaks::Http2)) => {
                    Box::pin(self.serve_http2(stream, &self.app, &peer, false)).await;
                }
                Some((stream, Speaks::Http1)) => self.serve_http1(stream, &self.app, &peer).await,
                None => {}
            },
            Some((Place::Refusal(_held), peer)) => {
                // Boxed: every connection would be as large as this rare one.
                let refusing = Box::pin(self.refuse(tcp, &peer));
                let _ = tokio::time::timeout(self.refusal(), refusing).await;
            }
            None => {}
        }
    }

    /// Returns the limit between two reads, as a reload may have changed it.
    pub(super) fn client_timeout(&self) -> Duration {
        self.gates.current().client_timeout
    }

    /// Returns how long an idle connection is kept, as a reload may have changed it.
    pub(super) fn keepalive(&self) -> Duration {
        self.gates.current().keepalive
    }

    /// Returns the most that a connection over the limit is waited for.
    fn refusal(&self) -> Duration {
        REFUSAL.min(self.head_timeout)
    }

    /// Answers the first request of a connection over the limit.
    async fn refuse(&self, tcp: L4Stream, peer: &Peer) {
        let app = &self.refuser;
        match self.unless_stopping(self.greet(tcp)).await {
            Some((stream, Speaks::Http2)) => self.serve_http2(stream, app, peer, true).await,
            Some((stream, Speaks::Http1)) => self.serve_http1(stream, app, peer).await,
            None => {}
        }
    }

    /// Does what comes before a request; when nothing has been asked for, there is nothing to finish.
    async fn unless_stopping<T>(&self, begun: impl Future<Output = Option<T>>) -> Option<T> {
        tokio::select! {
            biased;
            done = begun => done,
            () = self.lingered() => None,
        }
    }

    /// Resolves a moment after nobody is accepted any more: what a client sends meanwhile is still answered.
    async fn lingered(&self) {
        let mut shutdown = self.shutdown.clone();
        let _ = shutdown.wait_for(|&stop| stop).await;
        tokio::time::sleep(LINGER).await;
    }

    /// Returns whose a connection is, which a proxy may have to say first.
    async fn peer(&self, tcp: &mut L4Stream, patience: Duration) -> Option<Peer> {
        let peer = tcp.get_socket_digest()?.peer_addr()?.as_inet()?.ip();
        if !self.proxied {
            return Some(Peer::new(peer));
        }
        let known = peer.to_canonical();
        let trusts = |gate: &Gate| gate.trusted_proxies.iter().any(|net| net.contains(&known));
        if !trusts(&self.gates.current()) {
            tracing::debug!(%peer, "a connection does not come from a trusted proxy");
            return None;
        }
        let told = proxy_protocol::accept(tcp);
        match tokio::time::timeout(patience, told).await.ok()? {
            Some(Spoken::For(client)) => Some(Peer::new(client)),
            Some(Spoken::ForItself) => Some(Peer::unknown_behind(peer)),
            None => {
                tracing::debug!(%peer, "a trusted proxy sent no PROXY header");
                None
            }
        }
    }

    /// Does what comes before the first request: TLS, and finding out what the client speaks.
    async fn greet(&self, mut tcp: L4Stream) -> Option<(Stream, Speaks)> {
        let _ = tcp.set_nodelay();
        let id = tcp.id();
        let mut stream: Stream = match &self.acceptor {
            None => Box::new(tcp),
            Some(acceptor) => {
                // Boxed: a connection would be as large as its handshake for as long as it lasts.
                let handshake = Box::pin(acceptor.tls_handshake(tcp));
                match tokio::time::timeout(self.client_timeout(), handshake).await {
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
        tokio::time::timeout(self.client_timeout(), peek)
            .await
            .ok()?
            .ok()
    }

    async fn serve_http1(&self, stream: Stream, app: &Arc<HttpProxy<Proxy>>, peer: &Peer) {
        let mut patience = Patience {
            // A new connection is not kept, it is about to be used.
            idle: self.client_timeout(),
            read: self.client_timeout(),
            whole: self.head_timeout,
        };
        let (stream, watch) = Watched::new(stream);
        let socket = Arc::<Socket>::default();
        let stream = Box::new(Closable::new(Box::new(stream), Arc::clone(&socket)));
        let mut next = Some(ReusedHttpStream::new(stream, None));
        while let Some((mut stream, settings)) = next.map(ReusedHttpStream::consume) {
            watch.set(None);
            let head = tokio::select! {
                biased;
                head = head::read(&mut stream, patience) => head,
                // What has not been asked for whole by then is asked for elsewhere.
                () = self.lingered() => Head::Gone,
            };
            patience.idle = self.keepalive();
            patience.read = self.client_timeout();
            next = match head {
                Head::Read(head, chunks) => {
                    watch.set(chunks);
                    tokio::select! {
                        biased;
                        next = self.exchange(app, stream, settings, peer, head) => next,
                        () = socket.overdue() => {
                            tracing::info!("a WebSocket was cut: its backend does not read");
                            None
                        }
                    }
                }
                Head::Refused(denial) => {
                    let session = ServerSession::new_http1(stream);
                    head::refuse(session, self.counted(peer, denial)).await;
                    None
                }
                Head::Gone => None,
            };
        }
    }

    /// Serves one exchange whose head has been read.
    async fn exchange(
        &self,
        app: &Arc<HttpProxy<Proxy>>,
        stream: Stream,
        settings: Option<HttpPersistentSettings>,
        peer: &Peer,
        head: BytesMut,
    ) -> Option<ReusedHttpStream> {
        let mut session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        session.set_connection_user_context(Some(Box::new(peer.clone())));
        // pingora takes it as read on from the exchange before, and parses it without reading again.
        session.set_pipelined_prefix(head);
        app.process_new_http(session, &self.shutdown).await
    }

    /// Counts a request that is refused before anybody knows what it says, and returns what it is told.
    pub(super) fn counted(&self, peer: &Peer, denial: Denial) -> Denial {
        self.count(peer).err().unwrap_or(denial)
    }

    /// Counts such a request, and says whether there were too many.
    pub(super) fn count(&self, peer: &Peer) -> Result<(), Denial> {
        let connection = request::Connection {
            peer: Some(peer.clone()),
            tls: self.acceptor.is_some(),
        };
        let gate = self.gates.current();
        let trusted = &gate.trusted_proxies;
        let seen = client(&connection, &HeaderMap::new(), None, trusted);
        // For whom a proxy sent it, nobody knows either.
        let rates = gate.rates.as_ref().filter(|_| !seen.trusted);
        rates.map_or(Ok(()), |rates| rates.admit(&seen, Instant::now()))
    }
}

/// Returns how long an idle connection is kept as pingora takes it: in whole seconds, where 0 would be for ever.
pub(super) fn keepalive_secs(keepalive: Duration) -> Option<u64> {
    let begun = u64::from(keepalive.subsec_nanos() > 0);
    Some(keepalive.as_secs() + begun).filter(|secs| *secs > 0)
}
