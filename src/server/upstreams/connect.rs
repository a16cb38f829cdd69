//! Gets an exchange a connection to the server that was chosen for it: a kept one, or a new one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use pingora::connectors::TransportConnector;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::{ALPN, Stream};
use tokio::time::timeout;

use super::http2::Lease;
use super::pool::Room;
use super::reuse::Reuse;
use super::server::Server;
use super::template::{Speaks, Template};
use crate::server::http1::{Buffered, ClientSide};
use crate::server::workers::Workers;

/// A connection on which a request can be sent.
#[derive(Debug)]
pub(in crate::server) enum Connection {
    Http1(ClientSide),
    Http2(SendRequest<Bytes>, Lease),
}

/// A connection, and what is known of it.
#[derive(Debug)]
pub(in crate::server) struct Found {
    pub(in crate::server) connection: Connection,
    /// Whether it was used before.
    pub(super) reused: bool,
    /// How long it took to make it; `None` for one that was there.
    pub(super) connect_time: Option<Duration>,
    /// The thread whose runtime watches it.
    pub(super) worker: usize,
}

impl Found {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            reused: false,
            connect_time: None,
            worker: Workers::current(),
        }
    }
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum ConnectError {
    #[error("the connection failed: {0}")]
    Failed(String),
    #[error(
        "the server did not choose HTTP/2 in the TLS handshake, which protocol = \"http2\" asks for"
    )]
    NoHttp2,
    #[error("HTTP/2 could not be begun: {0}")]
    Http2(#[from] h2::Error),
    #[error("no connection in time")]
    Late,
}

/// Makes connections, with what pingora needs for that.
pub(super) struct Connector {
    transport: TransportConnector,
    pub(super) room: Room,
}

/// What is connected to, and how.
pub(super) struct Target<'t> {
    pub(super) template: &'t Template,
    pub(super) server: &'t Server,
    pub(super) place: &'t SocketAddr,
    pub(super) speaks: Speaks,
    /// How often the files had changed that say whom to trust. What is made from now on counts as made with these, even
    /// where they change meanwhile.
    pub(super) generation: u32,
    pub(super) reuse: Reuse,
    pub(super) limit: Duration,
}

impl Connector {
    /// Prepares for connections, of which so many may be idle.
    pub(super) fn new(most_idle: usize) -> Self {
        Self {
            transport: TransportConnector::new(None),
            room: Room::new(most_idle),
        }
    }

    /// Returns a connection.
    pub(super) async fn connect(&self, target: &Target<'_>) -> Result<Found, ConnectError> {
        if let Some(kept) = target.kept() {
            return Ok(kept);
        }
        // Boxed: nearly every exchange finds a kept connection, and would have room for this in its own state.
        let connection = Box::pin(async {
            let started = Instant::now();
            let mut found = timeout(target.limit, self.make_once(target)).await;
            if let Ok(Ok(found)) = &mut found
                && !found.reused
            {
                found.connect_time = Some(started.elapsed());
            }
            found
        });
        connection.await.map_err(|_| ConnectError::Late)?
    }

    /// Makes a connection, or uses one of HTTP/2 that somebody else makes meanwhile.
    async fn make_once(&self, target: &Target<'_>) -> Result<Found, ConnectError> {
        if target.speaks == Speaks::Http1 {
            return Ok(Found::new(self.make(target).await?));
        }
        let making = &target.server.http2.making;
        let _turn = match making.try_lock() {
            Ok(turn) => Some(turn),
            Err(_) => {
                drop(making.lock().await);
                if let Some(made) = target.kept() {
                    return Ok(made);
                }
                None
            }
        };
        Ok(Found::new(self.make(target).await?))
    }

    async fn make(&self, target: &Target<'_>) -> Result<Connection, ConnectError> {
        let Target {
            template,
            server,
            place,
            speaks,
            limit,
            generation,
            ..
        } = *target;
        let peer = template.peer(server, place, speaks, limit);
        let stream: Stream = self
            .transport
            .new_stream(&peer)
            .await
            .map_err(|error| ConnectError::Failed(error.to_string()))?;
        let chose_http2 = stream.selected_alpn_proto() == Some(ALPN::H2);
        match speaks {
            Speaks::Http2 if template.is_tls() && !chose_http2 => {
                return Err(ConnectError::NoHttp2);
            }
            Speaks::Either if !chose_http2 => {}
            Speaks::Http1 => {}
            Speaks::Http2 | Speaks::Either => {
                let (lease, requests) = server.http2.add(stream, place.clone(), generation).await?;
                return Ok(Connection::Http2(requests, lease));
            }
        }
        Ok(Connection::Http1(ClientSide::new(Buffered::new(stream))))
    }
}

impl Target<'_> {
    fn kept(&self) -> Option<Found> {
        if self.reuse == Reuse::Never {
            return None;
        }
        if self.speaks != Speaks::Http1
            && let Some((lease, requests)) = self.server.http2.take(self.place, self.generation)
        {
            return Some(Found {
                connection: Connection::Http2(requests, lease),
                reused: true,
                connect_time: None,
                worker: Workers::current(),
            });
        }
        if self.speaks == Speaks::Http2 {
            return None;
        }
        let kept = self
            .server
            .pool
            .take(self.place, self.generation, self.reuse)?;
        Some(Found {
            connection: Connection::Http1(ClientSide::new(kept.wire)),
            reused: true,
            connect_time: None,
            worker: kept.worker,
        })
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
