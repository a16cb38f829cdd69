//! Serves a connection that speaks HTTP/2, and ends one that only makes work.

use std::cell::Cell;
use std::sync::Arc;

use http::Method;
use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{
    H2Accept, H2Options, HttpSession, default_h2_options, handshake,
};
use pingora::protocols::{Digest, Stream};
use pingora::proxy::HttpProxy;
use tokio::task::{JoinError, JoinSet};

use super::connection::Connections;
use super::phases::Proxy;
use super::{access_log, head};
use crate::request::{Denial, Peer};

/// The most streams of a connection that are open at a time.
const MAX_STREAMS: u32 = 100;

/// What HTTP/2 counts for each header beside its text, for as many headers as HTTP/1.1 may have.
const HEADER_OVERHEAD: usize = 32 * 256;

/// So many requests may be given up or malformed before anybody asks whether others were worth the work.
const FORGIVEN: usize = 100;

tokio::task_local! {
    /// Whether the client gave the stream up before it was answered.
    static GIVEN_UP: Cell<bool>;
    /// Whose connection the stream belongs to.
    static PEER: Peer;
}

/// Returns whose connection the stream that is being served belongs to; `None` where it is not one of HTTP/2.
pub(super) fn peer() -> Option<Peer> {
    PEER.try_with(Peer::clone).ok()
}

/// Notes that the client gave up the stream that is being served.
pub(super) fn give_up() {
    // HTTP/1.1 has no streams.
    let _ = GIVEN_UP.try_with(|given_up| given_up.set(true));
}

/// Returns the limits of the protocol's own machinery.
pub(super) fn options(max_header_bytes: usize) -> H2Options {
    let list = u32::try_from(max_header_bytes.saturating_add(HEADER_OVERHEAD));
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(MAX_STREAMS)
        // A little more than we accept, so that the refusal is ours.
        .max_header_list_size(list.unwrap_or(u32::MAX))
        .max_local_error_reset_streams(Some(FORGIVEN));
    options
}

/// How a client uses its connection.
#[derive(Default)]
struct Conduct {
    answered: usize,
    given_up: usize,
}

impl Conduct {
    fn count(&mut self, stream: std::result::Result<bool, JoinError>) {
        match stream {
            Ok(false) => self.answered += 1,
            Ok(true) | Err(_) => self.given_up += 1,
        }
    }

    /// Tells whether the client asks for work that it does not wait for, as in a rapid reset.
    fn is_abuse(&self) -> bool {
        self.given_up > FORGIVEN && self.given_up > self.answered
    }
}

impl Connections {
    /// Serves the streams of a connection until one side ends it, or only the first where it is to be the last.
    ///
    /// pingora's own loop waits for the preface for ever, and does not mind requests that are sent to be given up.
    pub(super) async fn serve_http2(
        &self,
        stream: Stream,
        app: &Arc<HttpProxy<Proxy>>,
        peer: &Peer,
        only_first: bool,
    ) {
        let digest = Arc::new(Digest {
            ssl_digest: stream.get_ssl_digest(),
            timing_digest: stream.get_timing_digest(),
            proxy_digest: stream.get_proxy_digest(),
            socket_digest: stream.get_socket_digest(),
        });
        let greeting = handshake(stream, Some(self.http2.clone()));
        let Ok(Ok(mut connection)) = tokio::time::timeout(self.client_timeout(), greeting).await
        else {
            return;
        };
        let mut shutdown = self.shutdown.clone();
        let mut stopping = false;
        let mut streams = JoinSet::new();
        let mut conduct = Conduct::default();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = shutdown.wait_for(|&stop| stop), if !stopping => {
                    connection.graceful_shutdown();
                    stopping = true;
                    continue;
                }
                Some(stream) = streams.join_next() => {
                    conduct.count(stream);
                    continue;
                }
                accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
                () = tokio::time::sleep(self.keepalive()), if streams.is_empty() => break,
            };
            match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    streams.spawn(self.serve_stream(app, peer, session));
                    if only_first && !stopping {
                        connection.graceful_shutdown();
                        stopping = true;
                    }
                }
                Ok(Some(H2Accept::Rejected)) => {
                    access_log::write_rejected(peer);
                    // It was answered already; what comes next pays for it.
                    let _ = self.count(peer);
                    conduct.given_up += 1;
                }
                Ok(None) | Err(_) => break,
            }
            if conduct.is_abuse() {
                let Conduct { answered, given_up } = conduct;
                tracing::debug!(
                    answered,
                    given_up,
                    "a connection was ended: too many resets"
                );
                break;
            }
        }
        // They learn from their streams that the connection is gone, and still write their lines of the log.
        streams.detach_all();
    }

    /// Returns what serves a stream and then says whether the client gave it up.
    fn serve_stream(
        &self,
        app: &Arc<HttpProxy<Proxy>>,
        peer: &Peer,
        session: HttpSession,
    ) -> impl Future<Output = bool> + Send + use<> {
        let (app, shutdown) = (Arc::clone(app), self.shutdown.clone());
        // pingora would answer it without a word.
        let connects = session.req_header().method == Method::CONNECT;
        let denial = Denial::MethodNotAllowed(Vec::new());
        let denial = connects.then(|| self.counted(peer, denial));
        let serving = async move {
            let session = ServerSession::new_http2(session);
            if let Some(denial) = denial {
                head::refuse(session, denial).await;
                return false;
            }
            app.process_new_http(session, &shutdown).await;
            GIVEN_UP.with(Cell::get)
        };
        PEER.scope(peer.clone(), GIVEN_UP.scope(Cell::new(false), serving))
    }
}
