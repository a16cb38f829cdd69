//! Reads the head of an HTTP/1 request, so that what is refused is refused in our words and within one time.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::{access_log, reply};
use crate::request::{Chunks, Denial, Framing, RequestId, Shape, check_head, check_start};

/// Where pingora stops as well.
const MAX_BYTES: usize = 1024 * 1024;
/// An idle connection holds so much, since it may wait for long.
const FIRST_BYTES: usize = 64;
/// What a head that has begun is read in.
const MORE_BYTES: usize = 4096;
/// How long a client that is refused may go on sending: closing on it would destroy the answer before it is read.
const LINGER: Duration = Duration::from_secs(5);
/// A client that has paused for so long waits for the answer.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until the first byte.
    pub(super) idle: Duration,
    /// Between two reads.
    pub(super) read: Duration,
    /// From the first byte to the last.
    pub(super) whole: Duration,
}

/// What came.
pub(super) enum Head {
    /// A head that was checked, and what was read behind it; and where its body is if that comes in chunks.
    Read(BytesMut, Option<Chunks>),
    /// A head that is refused.
    Refused(Denial),
    /// Nothing that could be answered: the client is gone, late, or never came.
    Gone,
}

/// Reads one head.
pub(super) async fn read(stream: &mut Stream, patience: Patience) -> Head {
    let mut head = BytesMut::with_capacity(FIRST_BYTES);
    match timeout(patience.idle, stream.read_buf(&mut head)).await {
        Ok(Ok(1..)) => {}
        Ok(Ok(_) | Err(_)) | Err(_) => return Head::Gone,
    }
    let deadline = Instant::now() + patience.whole;
    let mut seen = 0;
    loop {
        // A client may send empty lines between two requests.
        while head.starts_with(b"\r\n") {
            head.advance(2);
        }
        if let Some(end) = end_of(&head, seen) {
            return passed(head, end).unwrap_or_else(Head::Refused);
        }
        if let Err(denial) = check_start(&head) {
            return Head::Refused(denial);
        }
        if head.len() > MAX_BYTES {
            let _ = timeout(LINGER, discard(stream, &mut head)).await;
            return Head::Refused(Denial::HeadersTooLarge);
        }
        seen = head.len();
        head.reserve(MORE_BYTES);
        let late = deadline.min(Instant::now() + patience.read);
        match timeout_at(late, stream.read_buf(&mut head)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(_) | Err(_)) | Err(_) => return Head::Gone,
        }
    }
}

/// Checks what was read, whose head ends at `end`.
fn passed(mut head: BytesMut, end: usize) -> Result<Head, Denial> {
    let (head_only, body) = head.split_at_checked(end).unwrap_or((&head, &[]));
    let Shape { framing, origin } = check_head(head_only)?;
    let mut chunks = (framing == Framing::Chunks).then(Chunks::default);
    if let Some(chunks) = &mut chunks {
        chunks
            .follow(body)
            .map_err(|_| Denial::BadRequest("The chunks of the body are malformed."))?;
    }
    if let Some(origin) = origin {
        // `Host` says it again, and pingora compares the two by the byte.
        let rest = head.split_off(origin.end);
        head.truncate(origin.start);
        head.extend_from_slice(&rest);
    }
    Ok(Head::Read(head, chunks))
}

/// Reads on, without keeping anything, until the client pauses.
async fn discard(stream: &mut Stream, buffer: &mut BytesMut) {
    // No array: every idle connection would hold it, as part of what it may yet have to do.
    loop {
        buffer.clear();
        match timeout(PAUSE, stream.read_buf(buffer)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(_) | Err(_)) | Err(_) => return,
        }
    }
}

/// Answers a request that pingora is not to see, and ends its stream.
pub(super) async fn refuse(mut session: ServerSession, denial: Denial) {
    let id = RequestId::random();
    if let Ok(header) = reply::refusal(&denial, &id) {
        let body = Bytes::from(denial.body(id.as_str()));
        if let Err(error) = session.write_error_response(header, body).await {
            tracing::debug!(%error, "a refusal could not be written");
        }
    }
    access_log::write_unread(&session, &id, &denial);
    session.shutdown().await;
}

/// Returns where the head ends, looking only at what came after the first `seen` bytes.
///
/// A line feed that lacks its carriage return ends a head as well, so that it is found and refused.
fn end_of(head: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    let tail = head.get(from..)?;
    let mut feeds = tail.iter().enumerate().filter(|(_, b)| **b == b'\n');
    feeds
        .find(|(at, _)| {
            let rest = tail.get(at + 1..).unwrap_or(&[]);
            rest.starts_with(b"\r\n") || rest.starts_with(b"\n")
        })
        .map(|(at, _)| {
            let rest = tail.get(at + 1..).unwrap_or(&[]);
            from + at + 1 + if rest.starts_with(b"\n") { 1 } else { 2 }
        })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use pingora::http::RequestHeader;
    use proptest::prelude::*;

    use super::{Head, end_of, passed};

    proptest! {
        #[test]
        fn pingora_refuses_no_target_that_we_pass(target in "(http://H:1)?/[ -~é]{0,12}[?/]?[ -~é]{0,12}") {
            let head = format!("GET {target} HTTP/1.1\r\nHost: h:1\r\n\r\n");
            if let Ok(Head::Read(head, None)) = passed(BytesMut::from(&*head), head.len()) {
                let line = head[..].split(|&b| b == b' ').nth(1).unwrap();
                prop_assert!(line.starts_with(b"/"), "{:?}", head);
                prop_assert!(RequestHeader::build("GET", line, None).is_ok(), "{:?}", head);
            }
        }
    }

    #[test]
    fn the_end_is_found_wherever_the_reads_were_cut() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nbody";
        let end = head.len() - 4;
        for cut in 0..head.len() {
            let early = end_of(&head[..cut], 0);
            assert_eq!(early, (cut >= end).then_some(end), "{cut}");
            if early.is_none() {
                assert_eq!(end_of(head, cut), Some(end), "{cut}");
            }
        }
        assert_eq!(end_of(b"GET / HTTP/1.1\n\nx", 0), Some(16));
        assert_eq!(end_of(b"GET / HTTP/1.1\r\n", 0), None);
    }
}
