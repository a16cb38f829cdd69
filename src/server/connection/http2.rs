//! Serves a connection of HTTP/2: its streams at once, each with its own flow control, and ends one that only makes work.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use pingora::protocols::Stream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::progress::{BROKEN, Event, NO_REQUEST, Progress, Wire, note};
use super::serve::Connections;
use crate::request::{self, Denial};
use crate::server::exchange::{Client, Outcome, Proxy};
use crate::server::http2::{Heads, Outgoing, SectionBudget, ServerStream, Watched, size_of};
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

/// How long a GOAWAY may take to leave.
const CLOSING: Duration = Duration::from_secs(1);

/// How long the rest of a short body may take behind its response. The alternative is a reset, which some clients take for a failure
/// of the response.
const REST: Duration = Duration::from_secs(5);

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

impl Connections {
    /// Serves the streams of a connection until one side ends it, or only the first where it is to be the last.
    pub(super) async fn serve_http2(
        &self,
        stream: Stream,
        proxy: &Proxy,
        connection: &request::Connection,
        only_first: bool,
    ) {
        let max_header_bytes = self.generations.current().max_header_bytes;
        let heads = Arc::new(Heads::default());
        let outgoing = Arc::new(Outgoing::default());
        let stream = Watched::new(stream, &heads, &outgoing);
        let greeting = limits(max_header_bytes).handshake::<_, Bytes>(stream);
        let mut wire = match tokio::time::timeout(self.client_timeout(), greeting).await {
            Ok(Ok(wire)) => wire,
            Ok(Err(error)) if error.is_library() => {
                note(proxy, connection, BROKEN);
                return;
            }
            Ok(Err(_)) | Err(_) => {
                // It is no way round the limits, as half a head of HTTP/1 is none.
                if heads.is_used() {
                    note(proxy, connection, Denial::RequestTimeout);
                }
                return;
            }
        };
        let connection = Arc::new(connection.clone());
        let mut shutdown = self.shutdown.clone();
        let mut stopping = false;
        let mut streams = JoinSet::new();
        let mut conduct = Conduct::default();
        let budget = Arc::new(SectionBudget::new(max_header_bytes));
        let mut progress = Progress::new(heads);
        let begun = Instant::now();
        let mut idle = self.keepalive();
        if idle.is_zero() {
            // It is about to be used for the first time.
            idle = self.client_timeout();
        }
        loop {
            let late = progress.limit(self.head_timeout);
            let pause = budget.pause();
            let event = tokio::select! {
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
                event = progress.next(&mut wire, stopping, pause) => event,
                () = tokio::time::sleep_until(late.unwrap_or(begun)), if late.is_some() => {
                    progress.end(proxy, &connection, stopping);
                    end(&mut wire, &conduct).await;
                    break;
                }
                // What waits for its turn is no idle connection.
                () = tokio::time::sleep(idle), if streams.is_empty() && pause.is_zero() => {
                    progress.end(proxy, &connection, stopping);
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
            let (request, respond) = match event {
                Event::Request(request, respond) => (request, respond),
                Event::Moved => continue,
                Event::Lost(count) => {
                    let mut refused = (0..count).map(|_| note(proxy, &connection, NO_REQUEST));
                    if refused.all(|told| told == NO_REQUEST) {
                        continue;
                    }
                    end(&mut wire, &conduct).await;
                    break;
                }
                // What broke it is the last of the heads.
                Event::Ended(Some(error)) if error.is_library() => {
                    note(proxy, &connection, BROKEN);
                    break;
                }
                Event::Ended(_) => {
                    progress.end(proxy, &connection, stopping);
                    break;
                }
            };
            idle = self.keepalive();
            budget.take(size_of_head(&request));
            streams.spawn(serve_stream(
                proxy.clone(),
                Arc::clone(&connection),
                request,
                respond,
                Arc::clone(&budget),
                Arc::clone(&outgoing),
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

/// Resolves when nobody is accepted any more.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|&stop| stop).await;
}

/// Tells a client that it makes too much work, and ends its connection.
async fn end(wire: &mut Wire, conduct: &Conduct) {
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

/// Returns the bytes of a head with what HTTP/2 says in place of a first line, which HPACK repeats as cheaply as the rest.
fn size_of_head(request: &Request<RecvStream>) -> usize {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = uri.authority().map_or(0, |name| name.as_str().len());
    size_of(request.headers()) + target + authority + request.method().as_str().len()
}

/// Serves a stream, and tells whether the client waited for its answer.
async fn serve_stream(
    proxy: Proxy,
    connection: Arc<request::Connection>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    budget: Arc<SectionBudget>,
    outgoing: Arc<Outgoing>,
) -> bool {
    let (head, mut stream) = ServerStream::accept(request, respond, budget, outgoing);
    let mut timer = Timer::default();
    let mut client = Client::Http2(&mut stream);
    let outcome = proxy
        .exchange(&mut client, &mut timer, &head, &connection)
        .await;
    match outcome {
        Outcome::Answered => true,
        Outcome::Unread => {
            let _ = tokio::time::timeout(REST, stream.read_rest(STREAM_WINDOW as usize)).await;
            true
        }
        Outcome::Broken | Outcome::Upgraded(_) => !stream.is_lost(),
    }
}
