//! Carries a WebSocket: bytes both ways, until one side ends it, it is idle for too long, or its session ends.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::frames::Frames;
use super::handle::Ending;
use super::index::Entry;
use crate::server::http1::Buffered;
use crate::server::timer::Timer;

/// The limit for writing a close frame.
const CLOSE_FRAME_TIMEOUT: Duration = Duration::from_millis(400);
/// The limit for the client to close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The timeouts of a WebSocket.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct WebSocketLimits {
    /// Without a byte in either direction.
    pub(in crate::server) idle: Duration,
    /// Between two writes to the client.
    pub(in crate::server) client_write: Duration,
    /// Between two writes to the server.
    pub(in crate::server) server_write: Duration,
}

/// A connection that has become a WebSocket on both sides.
pub(in crate::server) struct WebSocket {
    client: Side,
    server: Side,
    /// The frame boundaries in the server's bytes that were passed to the client.
    frames: Frames,
    limits: WebSocketLimits,
    entry: Entry,
    last: Instant,
}

/// One of the two connections.
struct Side {
    wire: Buffered,
    /// Whether it has closed its sending side.
    is_over: bool,
    /// Since when bytes wait to be written to it.
    waiting: Option<Instant>,
}

/// Why a WebSocket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// One side has closed or lost its connection.
    Closed,
    Late,
    Asked(Ending),
}

impl WebSocket {
    pub(in crate::server) fn new(
        client: Buffered,
        server: Buffered,
        limits: WebSocketLimits,
        entry: Entry,
    ) -> Self {
        let side = |wire| Side {
            wire,
            is_over: false,
            waiting: None,
        };
        Self {
            client: side(client),
            server: side(server),
            frames: Frames::default(),
            limits,
            entry,
            last: Instant::now(),
        }
    }

    /// Copies bytes until the WebSocket ends.
    pub(in crate::server) async fn run(mut self) {
        let mut timer = Timer::default();
        let end = poll_fn(|cx| self.poll(cx, &mut timer)).await;
        let Self {
            mut client,
            server,
            frames,
            entry,
            ..
        } = self;
        // The backend's connection is closed at once.
        drop(server);
        let told = match end {
            End::Asked(why) => {
                // Inside a frame no close frame fits, and the connection is cut.
                let fits = match frames {
                    Frames::Between => {
                        client.wire.put(why.frame().into());
                        true
                    }
                    // The server has sent a close frame itself.
                    Frames::Closed => true,
                    Frames::Length { .. } | Frames::LongLength { .. } | Frames::Payload { .. } => {
                        false
                    }
                };
                let leaving = poll_fn(|cx| client.wire.poll_shutdown(cx));
                fits && matches!(timeout(CLOSE_FRAME_TIMEOUT, leaving).await, Ok(Ok(())))
            }
            End::Closed => {
                let leaving = poll_fn(|cx| client.wire.poll_shutdown(cx));
                matches!(timeout(CLOSE_FRAME_TIMEOUT, leaving).await, Ok(Ok(())))
            }
            End::Late => false,
        };
        drop(entry);
        if told && !client.is_over {
            // Closing while the client still sends would reset the connection before it reads the close frame.
            let answered = poll_fn(|cx| {
                loop {
                    drop(client.wire.take_input());
                    match ready!(client.wire.poll_fill(cx)) {
                        Ok(1..) => {}
                        Ok(_) | Err(_) => return Poll::Ready(()),
                    }
                }
            });
            let _ = timeout(CLOSE_TIMEOUT, answered).await;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<End> {
        if let Poll::Ready(why) = self.entry.handle().poll_ending(cx) {
            return Poll::Ready(End::Asked(why));
        }
        loop {
            let (sockets, frames) = (&self.entry.sockets, &mut self.frames);
            let up = self.client.pass_to(&mut self.server, cx, |bytes| {
                sockets.received.add(bytes.len() as u64);
            });
            let down = self.server.pass_to(&mut self.client, cx, |bytes| {
                sockets.sent.add(bytes.len() as u64);
                frames.advance(bytes);
            });
            let (Ok(up), Ok(down)) = (up, down) else {
                return Poll::Ready(End::Closed);
            };
            if up || down {
                self.last = Instant::now();
                continue;
            }
            let over = |from: &Side, to: &Side| from.is_over && !to.wire.has_output();
            if over(&self.client, &self.server) || over(&self.server, &self.client) {
                return Poll::Ready(End::Closed);
            }
            let deadlines = [
                Some(self.last + self.limits.idle),
                self.client
                    .waiting
                    .map(|since| since + self.limits.client_write),
                self.server
                    .waiting
                    .map(|since| since + self.limits.server_write),
            ];
            if let Some(deadline) = deadlines.into_iter().flatten().min() {
                ready!(timer.poll(cx, deadline));
            }
            return Poll::Ready(End::Late);
        }
    }
}

impl Side {
    /// Copies bytes from this side as far as the other takes them; returns whether any moved.
    fn pass_to(
        &mut self,
        other: &mut Self,
        cx: &mut Context<'_>,
        follow: impl FnOnce(&[u8]),
    ) -> std::io::Result<bool> {
        if other.wire.has_output() {
            let before = other.wire.written();
            if other.wire.poll_flush(cx)?.is_pending() {
                if other.waiting.is_none() || other.wire.written() != before {
                    other.waiting = Some(Instant::now());
                }
                return Ok(false);
            }
            other.waiting = None;
            return Ok(true);
        }
        let mut bytes = self.wire.take_input();
        if bytes.is_empty() && !self.is_over {
            match self.wire.poll_fill(cx)? {
                Poll::Ready(0) => self.is_over = true,
                Poll::Ready(_) => bytes = self.wire.take_input(),
                Poll::Pending => {}
            }
        }
        follow(&bytes);
        let moved = !bytes.is_empty();
        other.wire.put(bytes);
        Ok(moved)
    }
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket").finish_non_exhaustive()
    }
}
