//! Waits for a client: until it took what was written, or whether it leaves before there is an answer.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Client, Leaving};
use super::half_closed::HalfClosed;
use crate::request::Denial;
use crate::server::http1::BodyError;
use crate::server::timer::Timer;

/// Writes everything that waits for a client.
pub(super) async fn flush(
    client: &mut Client<'_>,
    timer: &mut Timer,
    limit: Duration,
) -> Result<(), BodyError> {
    let mut seen = None;
    poll_fn(|cx| {
        if let Poll::Ready(flushed) = client.poll_flush(cx) {
            return Poll::Ready(flushed);
        }
        // A slow client is given up when nothing moves: over HTTP/2 its other responses may be before this one.
        let written = client.written();
        let deadline = match seen {
            Some((before, deadline)) if before == written => deadline,
            _ => Instant::now() + limit,
        };
        seen = Some((written, deadline));
        ready!(timer.poll(cx, deadline));
        Poll::Ready(Err(BodyError::Gone))
    })
    .await
}

/// How often the system is asked about a client that is not seen leaving.
const LOOK: Duration = Duration::from_secs(1);

/// Watches a client from which nobody reads while it waits for an answer.
#[derive(Debug, Default)]
pub(super) struct ClientWatch {
    next: Option<Instant>,
}

impl ClientWatch {
    /// Resolves when the client leaves. A reset alone is seen of one whose body is unread, or that sent much before its turn.
    pub(super) fn poll(
        &mut self,
        client: &mut Client<'_>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Leaving> {
        if client.can_be_watched() {
            return client.poll_leaving(cx);
        }
        loop {
            let next = *self.next.get_or_insert_with(|| Instant::now() + LOOK);
            ready!(timer.poll(cx, next));
            if client.is_broken() {
                return Poll::Ready(Leaving::Gone);
            }
            self.next = None;
        }
    }
}

/// Waits for what `work` brings, unless the client leaves before; nobody reads the refusal then.
pub(super) async fn unless_left<T>(
    client: &mut Client<'_>,
    work: impl Future<Output = Result<T, Denial>>,
) -> Result<T, Denial> {
    let mut work = pin!(work);
    let begun = Instant::now();
    let mut half_closed: Option<HalfClosed> = None;
    let mut watch = ClientWatch::default();
    let mut timer = Timer::default();
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        match watch.poll(client, &mut timer, cx) {
            Poll::Ready(Leaving::Gone) => return Poll::Ready(Err(Denial::ClientLeft)),
            Poll::Ready(Leaving::HalfClosed) if half_closed.is_none() => {
                half_closed = Some(HalfClosed::new(client));
            }
            Poll::Ready(Leaving::HalfClosed) | Poll::Pending => {}
        }
        while let Some(seen) = &mut half_closed {
            ready!(timer.poll(cx, seen.at));
            if !seen.is_there(client, cx, begun, false) {
                return Poll::Ready(Err(Denial::ClientLeft));
            }
        }
        Poll::Pending
    })
    .await
}
