//! Serves one connection: TLS, then HTTP/1.1 or HTTP/2 as the client speaks.

use std::sync::Arc;
use std::time::Duration;

use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{ALPN, UniqueID};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::Notify;

use super::phases::Proxy;
use super::seats::Seats;

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
    pub(super) shutdown: ShutdownWatch,
}

/// What a client speaks.
enum Speaks {
    Http1,
    Http2,
}

impl Connections {
    /// Serves a connection until one side ends it.
    pub(super) async fn serve(&self, tcp: L4Stream) {
        let mut shutdown = self.shutdown.clone();
        let greeted = tokio::select! {
            biased;
            greeted = self.greet(tcp) => greeted,
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
        let mut session = ServerSession::new_http1(stream);
        // A new connection is not kept, it is about to be used: the first head has as long as any other read.
        session.set_keepalive(None);
        session.set_read_timeout(Some(self.client_timeout));
        let mut next = self.exchange(session, self.head_timeout).await;
        // An idle connection costs as little as one on which a head trickles in, so the two share their time.
        let limit = self.keepalive.saturating_add(self.head_timeout);
        while let Some((stream, settings)) = next.map(ReusedHttpStream::consume) {
            let mut session = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                HttpPersistentSettings::apply_to_session(settings, &mut session);
            }
            next = self.exchange(session, limit).await;
        }
    }

    /// Serves one exchange, whose head must arrive within `limit`.
    ///
    /// pingora limits each read of a head, so that a byte at a time could take for ever.
    async fn exchange(
        &self,
        mut session: ServerSession,
        limit: Duration,
    ) -> Option<ReusedHttpStream> {
        let read = Arc::new(Notify::new());
        session.set_connection_user_context(Some(Box::new(HeadRead(Arc::clone(&read)))));
        let late = async {
            if tokio::time::timeout(limit, read.notified()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            next = self.app.process_new_http(session, &self.shutdown) => next,
            () = late => None,
        }
    }
}

/// Is told when the head of a request has been read.
pub(super) struct HeadRead(Arc<Notify>);

impl HeadRead {
    pub(super) fn tell(&self) {
        self.0.notify_one();
    }
}

/// Returns how long an idle connection is kept as pingora takes it: in whole seconds, where 0 would be for ever.
pub(super) fn keepalive_secs(keepalive: Duration) -> Option<u64> {
    let begun = u64::from(keepalive.subsec_nanos() > 0);
    Some(keepalive.as_secs() + begun).filter(|secs| *secs > 0)
}
