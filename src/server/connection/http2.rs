//! Serves a connection of HTTP/2: its streams at once, each with its own flow control, and ends one that only makes work.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use pingora::protocols::Stream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::serve::Connections;
use crate::request::{self, Denial, RequestId};
use crate::server::exchange::{Client, Outcome, Proxy};
use crate::server::http2::ServerStream;
use crate::server::timer::Timer;

/// The most streams of a connection that are open at a time.
const MAX_STREAMS: u32 = 100;
/// What a client may send of one body before somebody takes it.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all its bodies: more than they can hold, so that none waits for another.
const CONNECTION_WINDOW: u32 = (MAX_STREAMS + 1) * STREAM_WINDOW;

/// What HTTP/2 counts for each header beside its text, for as many headers as HTTP/1.1 may have.
const HEADER_OVERHEAD: usize = 32 * 256;

/// So many requests may be given up or malformed before anybody asks whether others were worth the work.
const FORGIVEN: usize = 100;

/// The bytes of a decoded head that are not counted: a request of this size costs what any request costs, and a gateway sends
/// thousands of them a second on one connection.
const ORDINARY_HEAD: usize = 4096;
/// How much larger than [`ORDINARY_HEAD`] the decoded heads of a connection may be in all, in heads of the largest size, at once and
/// each second.
///
/// HPACK says in one byte what was said before, so the bytes on the wire bound nothing.
const HEADS_AT_ONCE: usize = 16;

/// How long a GOAWAY may take to leave.
const CLOSING: Duration = Duration::from_secs(1);

/// How a client uses its connection.
#[derive(Default)]
struct Conduct {
    answered: usize,
    given_up: usize,
}

impl Conduct {
    /// Returns whether the client asks for work that it does not wait for, as in a rapid reset.
    fn is_abuse(&self) -> bool {
        self.given_up > FORGIVEN && self.given_up > self.answered
    }
}

/// A token bucket of the bytes by which decoded heads are larger than ordinary ones.
struct HeadBudget {
    capacity: f64,
    left: f64,
    since: Instant,
}

impl HeadBudget {
    fn new(max_header_bytes: usize) -> Self {
        let capacity = (max_header_bytes * HEADS_AT_ONCE) as f64;
        Self {
            capacity,
            left: capacity,
            since: Instant::now(),
        }
    }

    fn take(&mut self, head_bytes: usize) {
        self.earn();
        self.left -= head_bytes.saturating_sub(ORDINARY_HEAD) as f64;
    }

    /// Returns for how long no more requests are taken.
    fn pause(&mut self) -> Duration {
        if self.left >= 0.0 {
            return Duration::ZERO;
        }
        self.earn();
        Duration::from_secs_f64((-self.left / self.capacity).max(0.0))
    }

    fn earn(&mut self) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        self.left = (self.left + passed * self.capacity).min(self.capacity);
    }
}

type Accepted = Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>;

/// Waits for the next request, which is taken after a pause at the earliest; responses go on meanwhile.
async fn next(
    wire: &mut h2::server::Connection<Stream, Bytes>,
    pause: Duration,
) -> Option<Accepted> {
    if !pause.is_zero() {
        let closed = poll_fn(|cx| wire.poll_closed(cx));
        match tokio::time::timeout(pause, closed).await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => return Some(Err(error)),
            Err(_) => {}
        }
    }
    wire.accept().await
}

impl Connections {
    /// Serves the streams of a connection until one side ends it, or only the first where it is to be the last.
    pub(super) async fn serve_http2(
        &self,
        stream: Stream,
        proxy: &Proxy,
        connection: &request::Connection,
        only_first: bool,
    ) {
        let max_header_bytes = self.gates.current().max_header_bytes;
        let greeting = limits(max_header_bytes).handshake::<_, Bytes>(stream);
        let mut wire = match tokio::time::timeout(self.client_timeout(), greeting).await {
            Ok(Ok(wire)) => wire,
            Ok(Err(error)) => return note_broken(proxy, connection, &error),
            Err(_) => return,
        };
        let connection = Arc::new(connection.clone());
        let mut shutdown = self.shutdown.clone();
        let mut stopping = false;
        let mut streams = JoinSet::new();
        let mut conduct = Conduct::default();
        let mut budget = HeadBudget::new(max_header_bytes);
        let mut idle = self.keepalive();
        if idle.is_zero() {
            // It is about to be used for the first time.
            idle = self.client_timeout();
        }
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopped(&mut shutdown), if !stopping => {
                    wire.graceful_shutdown();
                    stopping = true;
                    continue;
                }
                Some(served) = streams.join_next() => {
                    match served {
                        Ok(true) => conduct.answered += 1,
                        Ok(false) | Err(_) => conduct.given_up += 1,
                    }
                    if conduct.is_abuse() {
                        end(&mut wire, &conduct).await;
                        break;
                    }
                    continue;
                }
                accepted = next(&mut wire, budget.pause()) => accepted,
                () = tokio::time::sleep(idle), if streams.is_empty() => {
                    wire.graceful_shutdown();
                    // The ends of responses may still be on their way to a client that reads slowly.
                    let limit = match wire.has_streams() {
                        true => self.client_timeout(),
                        false => CLOSING,
                    };
                    let closing = poll_fn(|cx| wire.poll_closed(cx));
                    let _ = tokio::time::timeout(limit, closing).await;
                    break;
                }
            };
            let (request, respond) = match accepted {
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) => {
                    note_broken(proxy, &connection, &error);
                    break;
                }
                None => break,
            };
            idle = self.keepalive();
            budget.take(size_of_head(&request));
            streams.spawn(serve_stream(
                proxy.clone(),
                Arc::clone(&connection),
                request,
                respond,
            ));
            if only_first && !stopping {
                wire.graceful_shutdown();
                stopping = true;
            }
        }
        drop(wire);
        // They learn from their streams that the connection is gone, and still write their lines of the log. It counts as
        // open as long as any of them holds a connection to a server.
        while streams.join_next().await.is_some() {}
    }
}

/// Counts frames that break the protocol as a request that nobody could read, since they are no way round the limits, and logs it.
fn note_broken(proxy: &Proxy, connection: &request::Connection, error: &h2::Error) {
    if error.is_library() {
        let denial = proxy.told(connection, Denial::BadRequest("The frames break HTTP/2."));
        proxy.note_unread(connection, &RequestId::random(), 0, denial);
    }
}

/// Resolves when nobody is accepted any more.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|&stop| stop).await;
}

/// Tells a client that it makes too much work, and ends its connection.
async fn end(wire: &mut h2::server::Connection<Stream, Bytes>, conduct: &Conduct) {
    let Conduct { answered, given_up } = conduct;
    tracing::debug!(
        answered,
        given_up,
        "a connection of HTTP/2 was ended: too much work"
    );
    wire.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    let closing = poll_fn(|cx| match wire.poll_closed(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    });
    let _ = tokio::time::timeout(CLOSING, closing).await;
}

/// Returns the limits of the protocol's own machinery.
fn limits(max_header_bytes: usize) -> Builder {
    let list = u32::try_from(max_header_bytes.saturating_add(HEADER_OVERHEAD));
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        // What one exchange may hold that its client has not taken.
        .max_send_buffer_size(STREAM_WINDOW as usize)
        // A little more than we accept, so that the refusal is ours.
        .max_header_list_size(list.unwrap_or(u32::MAX))
        .max_local_error_reset_streams(Some(FORGIVEN));
    builder
}

fn size_of_head(request: &Request<RecvStream>) -> usize {
    let fields = request.headers().iter();
    let fields: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    fields + target
}

/// Serves a stream, and tells whether the client waited for its answer.
async fn serve_stream(
    proxy: Proxy,
    connection: Arc<request::Connection>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> bool {
    let (head, mut stream) = ServerStream::accept(request, respond);
    let mut timer = Timer::default();
    let mut client = Client::Http2(&mut stream);
    let outcome = proxy
        .exchange(&mut client, &mut timer, &head, &connection)
        .await;
    match outcome {
        Outcome::Answered | Outcome::Unread => true,
        Outcome::Broken | Outcome::Upgraded(_) => !stream.is_lost(),
    }
}
