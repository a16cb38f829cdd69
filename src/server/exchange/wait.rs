//! Waits for a client: until it took what was written, or whether it leaves before there is an answer.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};
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
    let mut deadline = None;
    poll_fn(|cx| {
        if let Poll::Ready(flushed) = client.poll_flush(cx) {
            return Poll::Ready(flushed);
        }
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
        ready!(timer.poll(cx, deadline));
        Poll::Ready(Err(BodyError::Gone))
    })
    .await
}

/// Waits for what `work` brings, unless the client leaves before; nobody reads the refusal then.
pub(super) async fn unless_left<T>(
    client: &mut Client<'_>,
    work: impl Future<Output = Result<T, Denial>>,
) -> Result<T, Denial> {
    let mut work = pin!(work);
    let begun = Instant::now();
    let mut half_closed: Option<HalfClosed> = None;
    let mut timer = Timer::default();
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        if client.can_be_watched() {
            match client.poll_leaving(cx) {
                Poll::Ready(Leaving::Gone) => return Poll::Ready(Err(Denial::ClientLeft)),
                Poll::Ready(Leaving::HalfClosed) if half_closed.is_none() => {
                    half_closed = Some(HalfClosed::new(client));
                }
                Poll::Ready(Leaving::HalfClosed) | Poll::Pending => {}
            }
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
