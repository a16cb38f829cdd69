//! Reads the small bodies of Menshen's own endpoints.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::client::Client;
use crate::request::Denial;
use crate::server::http1::BodyError;
use crate::server::message::{Part, RequestHead};
use crate::server::timer::Timer;

/// A code, a refresh token and some names fit many times over.
const MAX_BYTES: usize = 16 * 1024;

/// Reads the whole body, or refuses one that is malformed, too large or too slow.
pub(super) async fn read(
    client: &mut Client<'_>,
    timer: &mut Timer,
    head: &RequestHead,
    limit: Duration,
) -> Result<BytesMut, Denial> {
    if head
        .body
        .length()
        .is_some_and(|length| length > MAX_BYTES as u64)
    {
        return Err(Denial::BodyTooLarge);
    }
    client.put_continue();
    let deadline = Instant::now() + limit;
    let mut body = BytesMut::new();
    poll_fn(|cx| {
        loop {
            if client.has_output() && matches!(client.poll_flush(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(Err(Denial::RequestTimeout));
            }
            match client.poll_part(cx) {
                Poll::Ready(Ok(Part::Data(data))) if body.len() + data.len() > MAX_BYTES => {
                    return Poll::Ready(Err(Denial::BodyTooLarge));
                }
                Poll::Ready(Ok(Part::Data(data))) => body.extend_from_slice(&data),
                Poll::Ready(Ok(Part::End(_))) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(BodyError::Malformed(_) | BodyError::Gone)) => {
                    return Poll::Ready(Err(Denial::BadRequest("The body could not be read.")));
                }
                Poll::Pending => {
                    ready!(timer.poll(cx, deadline));
                    return Poll::Ready(Err(Denial::RequestTimeout));
                }
            }
        }
    })
    .await?;
    Ok(body)
}
