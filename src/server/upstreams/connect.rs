//! Gets an exchange a connection to the server that was chosen for it: a kept one, or a new one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use pingora::connectors::TransportConnector;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::tls::client::handshake;
use pingora::protocols::{ALPN, Stream};
use rustls::ClientConfig;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;

use super::budget::{Budget, Share};
use super::connect_error::{ConnectError, failed};
use super::http2::Lease;
use super::pool::Room;
use super::reuse::Reuse;
use super::server::Server;
use super::template::{Speaks, Template};
use super::uploads::Unread;
use crate::server::http1::{Buffered, ClientSide};
use crate::server::workers::Workers;

/// How long to wait for the system to have file descriptors again.
const EXHAUSTED: Duration = Duration::from_millis(50);

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

/// Makes connections, with what pingora needs for that.
pub(super) struct Connector {
    transport: TransportConnector,
    pub(super) room: Room,
    pub(super) budget: Arc<Budget>,
}

/// What is connected to, and how.
pub(super) struct Target<'t> {
    pub(super) template: &'t Template,
    pub(super) server: &'t Server,
    pub(super) place: &'t SocketAddr,
    pub(super) speaks: Speaks,
    /// The version of the trust files. It is read before connecting, so that a change during the handshake makes the new
    /// connection an outdated one.
    pub(super) revision: u32,
    pub(super) reuse: Reuse,
    /// For which a connection of HTTP/2 must have room.
    pub(super) upload: Unread,
    pub(super) limit: Duration,
}

impl Connector {
    /// Prepares for connections, of which so many may be idle, and so many open.
    pub(super) fn new(most_idle: usize, most_open: usize) -> Self {
        Self {
            transport: TransportConnector::new(None),
            room: Room::new(most_idle),
            budget: Budget::new(most_open),
        }
    }

    /// Returns a connection. `close_one` closes an idle one, if there is one.
    pub(super) async fn connect(
        &self,
        target: &Target<'_>,
        close_one: impl Fn() -> bool,
    ) -> Result<Found, ConnectError> {
        if let Some(kept) = target.kept() {
            return Ok(kept);
        }
        // Boxed: nearly every exchange finds a kept connection, and would have room for this in its own state.
        Box::pin(self.make_in_time(target, close_one)).await
    }

    /// Makes a connection as soon as there may be another.
    async fn make_in_time(
        &self,
        target: &Target<'_>,
        close_one: impl Fn() -> bool,
    ) -> Result<Found, ConnectError> {
        let deadline = Instant::now() + target.limit;
        loop {
            let share = match self.budget.take() {
                Some(share) => share,
                None => {
                    let place = self.budget.wait(|| match target.kept() {
                        Some(kept) => Some(Err(kept)),
                        None => {
                            let share = self.budget.take();
                            share
                                .or_else(|| close_one().then(|| self.budget.take())?)
                                .map(Ok)
                        }
                    });
                    match timeout_at(deadline, place).await {
                        Ok(Ok(share)) => share,
                        Ok(Err(kept)) => return Ok(kept),
                        Err(_) => return Err(ConnectError::Exhausted),
                    }
                }
            };
            let started = Instant::now();
            let made = timeout_at(deadline, self.make_once(target, share)).await;
            let mut made = made.map_err(|_| ConnectError::Late)?;
            if let Ok(found) = &mut made
                && !found.reused
            {
                found.connect_time = Some(started.elapsed());
            }
            let may_try_again = Instant::now() + EXHAUSTED < deadline;
            if !(matches!(made, Err(ConnectError::Exhausted)) && may_try_again) {
                return made;
            }
            close_one();
            sleep(EXHAUSTED).await;
        }
    }

    /// Makes a connection, or uses one of HTTP/2 that somebody else makes meanwhile.
    async fn make_once(&self, target: &Target<'_>, share: Share) -> Result<Found, ConnectError> {
        if target.speaks == Speaks::Http1 {
            return Ok(Found::new(self.make(target, share).await?));
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
        Ok(Found::new(self.make(target, share).await?))
    }

    async fn make(&self, target: &Target<'_>, share: Share) -> Result<Connection, ConnectError> {
        let Target {
            template,
            server,
            place,
            speaks,
            limit,
            revision,
            upload,
            ..
        } = *target;
        let peer = template.peer(server, place, speaks, limit);
        let connected = self.transport.new_stream(&peer).await;
        let connected = match (connected, template.handshakes(speaks)) {
            (Ok(stream), Some(config)) => {
                encrypted(stream, config, template.server_name(server)).await
            }
            (connected, _) => connected.map_err(|error| failed(&error)),
        };
        let stream = connected.map_err(|error| {
            // So a server says that there is nothing to choose.
            let has_no_choice = matches!(
                &error,
                ConnectError::Failed(text) if text.contains("NoApplicationProtocol")
            );
            match has_no_choice && speaks == Speaks::Http2 {
                true => ConnectError::NoHttp2,
                false => error,
            }
        })?;
        let chose_http2 = stream.selected_alpn_proto() == Some(ALPN::H2);
        match speaks {
            Speaks::Http2 if template.is_tls() && !chose_http2 => {
                return Err(ConnectError::NoHttp2);
            }
            Speaks::Either if !chose_http2 => {}
            Speaks::Http1 => {}
            Speaks::Http2 | Speaks::Either => {
                let (lease, requests) = server
                    .http2
                    .add(stream, place.clone(), revision, upload, share)
                    .await?;
                return Ok(Connection::Http2(requests, lease));
            }
        }
        let wire = Buffered::new(stream).counted(share);
        Ok(Connection::Http1(ClientSide::new(wire)))
    }
}

impl Target<'_> {
    fn kept(&self) -> Option<Found> {
        // A retry may share a connection of HTTP/2 too: one that is lost accepts no stream, and if each exchange of a lost connection
        // made a new one, that would be up to a hundred.
        if self.speaks != Speaks::Http1
            && let Some((lease, requests)) =
                self.server
                    .http2
                    .take(self.place, self.revision, self.upload)
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
            .take(self.place, self.revision, self.reuse)?;
        Some(Found {
            connection: Connection::Http1(ClientSide::new(kept.wire)),
            reused: true,
            connect_time: None,
            worker: kept.worker,
        })
    }
}

/// Does a handshake by rules of our own, for which pingora's connector has no place.
async fn encrypted(
    stream: Stream,
    config: ClientConfig,
    name: &str,
) -> Result<Stream, ConnectError> {
    let wrong = || ConnectError::Failed("the connection is of an unknown kind".to_owned());
    let tcp = stream.into_any().downcast::<L4Stream>();
    let tcp = tcp.map_err(|_| wrong())?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = handshake(&connector, name, *tcp).await;
    Ok(Box::new(stream.map_err(|error| failed(&error))?))
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
