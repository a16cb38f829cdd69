//! Finds the requests on a connection of HTTP/2, and what becomes none: it is counted and logged as half a head of HTTP/1 is.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use pingora::protocols::Stream;
use tokio::time::Instant;

use crate::request::{self, Denial, RequestId};
use crate::server::exchange::Proxy;
use crate::server::http2::{Heads, Watched};

pub(super) const BROKEN: Denial = Denial::BadRequest("The frames break HTTP/2.");
pub(super) const NO_REQUEST: Denial =
    Denial::BadRequest("The request is malformed, too large, or one too many.");

/// The connection, whose frames are followed.
pub(super) type Wire = h2::server::Connection<Watched<Stream>, Bytes>;

/// What comes next on a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every event is a request, and a box would cost each an allocation"
)]
pub(super) enum Event {
    Request(Request<RecvStream>, SendResponse<Bytes>),
    /// So many heads became no request.
    Lost(u32),
    /// A header section has begun whose end is still to come, or such a one has ended without becoming a request.
    Moved,
    Ended(Option<h2::Error>),
}

/// What is known of the heads on a connection.
pub(super) struct Progress {
    heads: Arc<Heads>,
    /// How many of them are requests, or were counted as none.
    known: u32,
    /// The header section that is unfinished, and when it is late.
    unfinished: Option<(u32, Instant)>,
}

impl Progress {
    pub(super) fn new(heads: Arc<Heads>) -> Self {
        Self {
            heads,
            known: 0,
            unfinished: None,
        }
    }

    /// Waits for what comes next, which is taken after a pause at the earliest; responses go on meanwhile. Where the server is
    /// `stopping`, what h2 passes over may be sent again elsewhere.
    pub(super) async fn next(&mut self, wire: &mut Wire, stopping: bool, pause: Duration) -> Event {
        if !pause.is_zero() {
            let closed = poll_fn(|cx| wire.poll_closed(cx));
            if let Ok(closed) = tokio::time::timeout(pause, closed).await {
                return Event::Ended(closed.err());
            }
        }
        poll_fn(|cx| match wire.poll_accept(cx) {
            Poll::Ready(Some(Ok((request, respond)))) => {
                self.known += 1;
                Poll::Ready(Event::Request(request, respond))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Event::Ended(Some(error))),
            Poll::Ready(None) => Poll::Ready(Event::Ended(None)),
            Poll::Pending => {
                let lost = self.heads.dealt_with().saturating_sub(self.known);
                if lost > 0 && !stopping {
                    self.known += lost;
                    return Poll::Ready(Event::Lost(lost));
                }
                let known = self.unfinished.map(|(number, _)| number);
                match self.heads.unfinished() == known {
                    true => Poll::Pending,
                    false => Poll::Ready(Event::Moved),
                }
            }
        })
        .await
    }

    /// Finds out when the header section that is unfinished is late.
    pub(super) fn limit(&mut self, limit: Duration) -> Option<Instant> {
        let number = self.heads.unfinished();
        self.unfinished = match (number, self.unfinished) {
            (Some(number), Some((known, at))) if number == known => Some((known, at)),
            (Some(number), _) => Some((number, Instant::now() + limit)),
            (None, _) => None,
        };
        self.unfinished.map(|(_, at)| at)
    }

    /// Notes what became no request when the connection ends; where the server is `stopping`, h2 passes whole heads over.
    pub(super) fn end(&self, proxy: &Proxy, connection: &request::Connection, stopping: bool) {
        let lost = match stopping {
            true => 0,
            false => self.heads.whole().saturating_sub(self.known),
        };
        for _ in 0..lost {
            note(proxy, connection, NO_REQUEST);
        }
        if self.heads.unfinished().is_some() {
            note(proxy, connection, Denial::RequestTimeout);
        }
    }
}

/// Counts what became no request, since it is no way round the limits, and logs it; returns what it
/// was counted as, which says whether there was too much of it.
pub(super) fn note(proxy: &Proxy, connection: &request::Connection, denial: Denial) -> Denial {
    let denial = proxy.deny_unread(connection, denial);
    proxy.note_unread(connection, &RequestId::random(), 0, denial.clone());
    denial
}
