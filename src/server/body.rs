//! Reads the small bodies of Menshen's own endpoints.

use std::time::Duration;

use bytes::BytesMut;
use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::request::Denial;

/// A code, a refresh token and some names fit many times over.
const MAX_BYTES: usize = 16 * 1024;

/// Reads the whole body, or refuses one that is malformed, too large or too slow.
pub(super) async fn read(wire: &mut Session, limit: Duration) -> Result<BytesMut, Denial> {
    let kept = wire.get_keepalive();
    // Until the end of the body is found, what comes next on the connection may be the rest of it. pingora takes a
    // body that failed for one that is done.
    wire.set_keepalive(None);
    let body = read_to_end(wire, limit).await?;
    wire.set_keepalive(kept);
    Ok(body)
}

async fn read_to_end(wire: &mut Session, limit: Duration) -> Result<BytesMut, Denial> {
    if declared(wire).is_some_and(|length| length > MAX_BYTES as u64) {
        return Err(Denial::BodyTooLarge);
    }
    if expects_continue(wire) {
        wire.write_continue_response()
            .await
            .map_err(|_| Denial::RequestTimeout)?;
    }
    tokio::time::timeout(limit, collect(wire))
        .await
        .unwrap_or(Err(Denial::RequestTimeout))
}

/// Says whether the client waits for a word before it sends the body.
fn expects_continue(wire: &Session) -> bool {
    let request = wire.req_header();
    let expected = request.headers.get(EXPECT);
    request.version != Version::HTTP_10
        && expected.is_some_and(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Returns the length that the client declared.
pub(super) fn declared(wire: &Session) -> Option<u64> {
    let length = wire.req_header().headers.get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// pingora limits each read to what the whole body has, so either limit may be the first to notice.
fn unread(error: &Error) -> Denial {
    if *error.etype() == ErrorType::ReadTimedout {
        return Denial::RequestTimeout;
    }
    Denial::BadRequest("The body could not be read.")
}

async fn collect(wire: &mut Session) -> Result<BytesMut, Denial> {
    let mut body = BytesMut::new();
    while let Some(part) = wire
        .read_request_body()
        .await
        .map_err(|error| unread(&error))?
    {
        if body.len() + part.len() > MAX_BYTES {
            return Err(Denial::BodyTooLarge);
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}
