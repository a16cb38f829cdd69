//! The connections of HTTP/2 to one server, each shared by many exchanges.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use h2::client::{Builder, SendRequest};
use pingora::protocols::Stream;
use pingora::protocols::l4::socket::SocketAddr;

use super::budget::{Budget, Share};
use super::uploads::{Unread, Uploads};

/// The most exchanges on one connection.
const MAX_STREAMS: u32 = 100;
/// What an exchange may hold unread of its response.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What all exchanges of a connection may hold: more than they can, so that none waits for what another does not read.
const CONNECTION_WINDOW: u32 = (MAX_STREAMS + 1) * STREAM_WINDOW;
/// A connection on which clients gave up so many exchanges gets no more of them: a server that counts resets ends its
/// connection, with the exchanges of all others on it.
const MAX_RESETS: u32 = 50;
/// The longest header section of a response, as HTTP/2 counts it.
const MAX_HEADER_LIST: u32 = 256 * 1024;

/// The connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
    /// Held while a connection is made, so that a crowd that finds none makes one.
    pub(super) making: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Open {
    kept: Vec<Arc<Connection>>,
    /// The connections of an upstream that a reload replaced. Each ends with its last exchange, and until then the exchanges of the
    /// old generation share it.
    ending: Vec<Weak<Connection>>,
    /// Whether a reload replaced the upstream, so that nothing is kept any more.
    is_retired: bool,
}

#[derive(Debug)]
struct Connection {
    requests: SendRequest<Bytes>,
    place: SocketAddr,
    /// How often the files had changed when it was made.
    revision: u32,
    streams: AtomicU32,
    resets: AtomicU32,
    uploads: Uploads,
    is_gone: AtomicBool,
    /// Is told when somebody who waits for a connection may use this one.
    budget: Arc<Budget>,
    last_used: Mutex<Instant>,
}

/// A connection as one exchange uses it.
#[derive(Debug)]
pub(in crate::server) struct Lease {
    connection: Arc<Connection>,
    upload: Unread,
    /// Whether the exchange has ended, so that nothing is reset.
    pub(in crate::server) is_over: bool,
}

impl Connections {
    /// Takes a place on an open connection to an address.
    pub(super) fn take(
        &self,
        place: &SocketAddr,
        revision: u32,
        upload: Unread,
    ) -> Option<(Lease, SendRequest<Bytes>)> {
        let mut open = self.open();
        let is_there = |connection: &Connection| !connection.is_gone.load(Ordering::Acquire);
        open.kept.retain(|connection| is_there(connection));
        open.ending
            .retain(|connection| connection.upgrade().is_some_and(|it| is_there(&it)));
        let lease = |connection: &Arc<Connection>| {
            let fits = connection.place == *place && connection.revision == revision;
            fits.then(|| connection.lease(upload))?
        };
        let mut ending = open.ending.iter().filter_map(Weak::upgrade);
        let leased = open.kept.iter().find_map(lease);
        leased.or_else(|| ending.find_map(|connection| lease(&connection)))
    }

    /// Begins to speak HTTP/2 on a new connection, and takes a place on it.
    pub(super) async fn add(
        &self,
        stream: Stream,
        place: SocketAddr,
        revision: u32,
        upload: Unread,
        share: Share,
    ) -> Result<(Lease, SendRequest<Bytes>), h2::Error> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buffer_size(STREAM_WINDOW as usize)
            // Until the server has said how many it takes.
            .initial_max_send_streams(MAX_STREAMS as usize);
        let (requests, driver) = builder.handshake(stream).await?;
        let connection = Arc::new(Connection {
            requests,
            place,
            revision,
            streams: AtomicU32::new(0),
            resets: AtomicU32::new(0),
            uploads: Uploads::default(),
            is_gone: AtomicBool::new(false),
            budget: share.budget(),
            last_used: Mutex::new(Instant::now()),
        });
        let driven = Arc::downgrade(&connection);
        tokio::spawn(async move {
            let ended = driver.await;
            drop(share);
            if let Some(connection) = driven.upgrade() {
                connection.is_gone.store(true, Ordering::Release);
            }
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection of HTTP/2 to a server ended");
            }
        });
        connection.uploads.begin(upload);
        let lease = Lease::new(&connection, upload);
        let requests = connection.requests.clone();
        let mut open = self.open();
        match open.is_retired {
            true => open.ending.push(Arc::downgrade(&connection)),
            false => open.kept.push(connection),
        }
        drop(open);
        Ok((lease, requests))
    }

    /// Closes a connection without exchanges, and tells whether there was one; it is gone in a moment.
    pub(super) fn close_one(&self) -> bool {
        let mut open = self.open();
        let idle = |connection: &Arc<Connection>| connection.streams.load(Ordering::Acquire) == 0;
        let closed = open.kept.iter().position(idle);
        let closed = closed.map(|at| open.kept.remove(at));
        drop(open);
        closed.is_some()
    }

    /// Closes what was idle for too long, or was made before the files changed.
    pub(super) fn sweep(&self, keepalive: Duration, revision: u32) {
        let now = Instant::now();
        self.open().kept.retain(|connection| {
            let idle = now.saturating_duration_since(*connection.last_used());
            let is_used = connection.streams.load(Ordering::Acquire) > 0;
            !connection.is_gone.load(Ordering::Acquire)
                && (is_used || connection.revision == revision && idle < keepalive)
        });
    }

    /// Closes those without exchanges, and each of the others once it has none.
    pub(super) fn retire(&self) {
        let mut open = self.open();
        open.is_retired = true;
        let kept = std::mem::take(&mut open.kept);
        open.ending.extend(kept.iter().map(Arc::downgrade));
        drop(open);
        drop(kept);
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn lease(self: &Arc<Self>, upload: Unread) -> Option<(Lease, SendRequest<Bytes>)> {
        if !self.uploads.has_room(upload) {
            return None;
        }
        let mut requests = self.requests.clone();
        let most = u32::try_from(requests.current_max_send_streams()).unwrap_or(u32::MAX);
        let is_full = self.streams.load(Ordering::Acquire) >= most.min(MAX_STREAMS);
        if is_full || self.resets.load(Ordering::Relaxed) >= MAX_RESETS {
            return None;
        }
        // A handle waits while a request before it waits for the server's permission.
        let ready = std::future::poll_fn(|cx| requests.poll_ready(cx)).now_or_never();
        let is_ready = matches!(ready, Some(Ok(())));
        (is_ready && self.uploads.begin(upload)).then(|| (Lease::new(self, upload), requests))
    }

    fn last_used(&self) -> MutexGuard<'_, Instant> {
        self.last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    fn new(connection: &Arc<Connection>, upload: Unread) -> Self {
        connection.streams.fetch_add(1, Ordering::AcqRel);
        Self {
            connection: Arc::clone(connection),
            upload,
            is_over: false,
        }
    }
}

impl Lease {
    /// Gives the connection no more exchanges.
    pub(in crate::server) fn retire(self) {
        self.connection.is_gone.store(true, Ordering::Release);
    }

    /// Notes the length of its upload, which has come to its end.
    pub(in crate::server) fn end(&mut self, length: u64) {
        if self.connection.uploads.end(&mut self.upload, length) {
            self.connection.budget.freed();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let connection = &self.connection;
        if self.is_over {
            connection.uploads.forget(self.upload);
        } else {
            connection.resets.fetch_add(1, Ordering::Relaxed);
            if connection.uploads.lose(self.upload) {
                connection.is_gone.store(true, Ordering::Release);
            }
        }
        *connection.last_used() = Instant::now();
        connection.streams.fetch_sub(1, Ordering::AcqRel);
        connection.budget.freed();
    }
}
