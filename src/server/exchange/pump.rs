//! Carries a request to a server and its response back, both at once, each as fast as the slower side takes it.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Client, Leaving};
use super::failure::Failure;
use super::half_closed::HalfClosed;
use super::replay::Replay;
use super::server::Server;
use super::state::Exchange;
use super::{inbound, outbound};
use crate::config::Patience;
use crate::server::message::{Part, RequestHead, ResponseHead};
use crate::server::sockets::{Entry, Kind};
use crate::server::timer::Timer;

/// An exchange that has lasted so long can be ended by others: most are over before, and need no entry.
const LASTING: Duration = Duration::from_millis(500);
/// One exchange between a client and a server.
pub(super) struct Pump<'p, 'c> {
    pub(super) client: &'p mut Client<'c>,
    pub(super) server: &'p mut Server,
    pub(super) timer: &'p mut Timer,
    pub(super) exchange: &'p mut Exchange,
    pub(super) request: &'p RequestHead,
    pub(super) replay: &'p mut Replay,
    pub(super) patience: Patience<Duration>,
    pub(super) max_body_bytes: u64,
    pub(super) upload: Upload,
    download: Download,
    /// When each direction last moved: neither side's limits are moved by what the other does.
    up: Motion,
    down: Motion,
    begun: Instant,
    half_closed: Option<HalfClosed>,
    entry: Option<Entry>,
}

/// When a direction last moved, and how much of it the other side had taken by then.
#[derive(Clone, Copy, Debug)]
struct Motion {
    last: Instant,
    written: u64,
}

impl Motion {
    /// Notes what was taken by now, which may be a part of what still waits.
    fn note(&mut self, has_moved: bool, written: u64) {
        if has_moved || written != self.written {
            self.last = Instant::now();
            self.written = written;
        }
    }
}

/// Where the request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upload {
    /// More of it is to come.
    Reading,
    /// All of it was given to the server's side.
    Flushing,
    /// The server has it all.
    Over,
    /// The server takes no more, and may still answer.
    Abandoned,
}

/// Where the response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Download {
    Head,
    Body,
    /// All of it was given to the client's side.
    Flushing,
    Over,
}

/// What a pump comes to.
#[derive(Debug)]
pub(super) enum End {
    /// The client has the whole response.
    Response,
    /// The server has switched to the WebSocket that was asked for.
    Upgrade(Box<ResponseHead>),
}

/// What an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    ClientRead,
    ClientWrite,
    ServerRead,
    ServerWrite,
}

impl<'p, 'c> Pump<'p, 'c> {
    #[expect(
        clippy::too_many_arguments,
        reason = "these are the parts of one exchange"
    )]
    pub(super) fn new(
        client: &'p mut Client<'c>,
        server: &'p mut Server,
        timer: &'p mut Timer,
        exchange: &'p mut Exchange,
        request: &'p RequestHead,
        replay: &'p mut Replay,
        patience: Patience<Duration>,
        max_body_bytes: u64,
        upload: Upload,
    ) -> Self {
        let now = Instant::now();
        let motion = |written| Motion { last: now, written };
        Self {
            up: motion(server.written()),
            down: motion(client.written()),
            client,
            server,
            timer,
            exchange,
            request,
            replay,
            patience,
            max_body_bytes,
            upload,
            download: Download::Head,
            begun: now,
            half_closed: None,
            entry: None,
        }
    }

    /// Returns whether the client has got the final head, so that nothing can be sent again.
    pub(super) fn is_answered(&self) -> bool {
        self.download != Download::Head
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<End, Failure>> {
        loop {
            if let Some(entry) = &self.entry
                && entry.handle().poll_ending(cx).is_ready()
            {
                return Poll::Ready(Err(Failure::SessionEnded));
            }
            let (mut has_risen, mut has_fallen) = (false, false);
            loop {
                let (up, wait_up) = self.poll_upload(cx)?;
                let (down, wait_down) = match self.poll_download(cx)? {
                    Progress::Done(end) => return Poll::Ready(Ok(end)),
                    Progress::Moved => (true, None),
                    Progress::Waits(wait) => (false, wait),
                };
                has_risen |= up;
                has_fallen |= down;
                if !up && !down {
                    self.up.note(has_risen, self.server.written());
                    self.down.note(has_fallen, self.client.written());
                    match self.poll_deadlines(cx, [wait_up, wait_down])? {
                        Poll::Ready(()) => break,
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }

    /// Moves the request's body on by one step.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(bool, Option<Wait>), Failure> {
        let mut wait = None;
        match self.upload {
            Upload::Over | Upload::Abandoned => {
                if self.download != Download::Over
                    && let Poll::Ready(leaving) = self.client.poll_leaving(cx)
                {
                    match leaving {
                        Leaving::Gone => return Err(Failure::ClientGone),
                        Leaving::HalfClosed => {
                            let client = HalfClosed::new(self.client);
                            self.half_closed.get_or_insert(client);
                        }
                    }
                }
                return Ok((false, None));
            }
            Upload::Reading if !self.server.is_full() => match self.client.poll_part(cx) {
                Poll::Ready(part) => {
                    self.take_part(part?)?;
                    return Ok((true, None));
                }
                Poll::Pending => wait = Some(Wait::ClientRead),
            },
            Upload::Reading | Upload::Flushing => {}
        }
        if self.server.has_output() {
            match self.server.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    // It may have answered before it closed.
                    self.upload = Upload::Abandoned;
                    return Ok((true, None));
                }
                Poll::Pending => {
                    if self.client.can_be_watched()
                        && self.client.poll_leaving(cx) == Poll::Ready(Leaving::Gone)
                    {
                        return Err(Failure::ClientGone);
                    }
                    return Ok((false, Some(Wait::ServerWrite)));
                }
            }
            if self.upload == Upload::Flushing {
                self.upload = Upload::Over;
            }
            return Ok((true, wait));
        }
        if self.upload == Upload::Flushing {
            self.upload = Upload::Over;
            return Ok((true, None));
        }
        Ok((false, wait))
    }

    fn take_part(&mut self, part: Part) -> Result<(), Failure> {
        match part {
            Part::Data(data) => {
                self.exchange.body_bytes += data.len() as u64;
                if self.exchange.body_bytes > self.max_body_bytes {
                    return Err(Failure::BodyTooLarge);
                }
                if self.download == Download::Head {
                    self.replay.keep(&data);
                }
                self.server.put(data);
            }
            Part::End(trailers) => {
                let trailers = trailers.and_then(|trailers| {
                    outbound::trailers(&self.exchange.gate.identities, trailers)
                });
                self.replay.end(trailers.as_ref());
                self.server.finish(trailers);
                self.upload = Upload::Flushing;
            }
        }
        Ok(())
    }

    /// Moves the response on by one step.
    fn poll_download(&mut self, cx: &mut Context<'_>) -> Result<Progress, Failure> {
        match self.download {
            Download::Head if !self.client.is_full() => match self.server.poll_head(cx) {
                Poll::Ready(head) => return self.take_head(head?),
                Poll::Pending if self.client.has_output() => {}
                Poll::Pending => return Ok(Progress::Waits(Some(Wait::ServerRead))),
            },
            Download::Body if !self.client.is_full() => match self.server.poll_part(cx) {
                Poll::Ready(part) => {
                    match part? {
                        Part::Data(data) => {
                            self.exchange.sent_bytes += data.len() as u64;
                            self.client.put(data);
                        }
                        Part::End(trailers) => {
                            self.client.finish(trailers.and_then(inbound::trailers));
                            self.download = Download::Flushing;
                        }
                    }
                    return Ok(Progress::Moved);
                }
                Poll::Pending if self.client.has_output() => {}
                Poll::Pending => return Ok(Progress::Waits(Some(Wait::ServerRead))),
            },
            Download::Head | Download::Body | Download::Flushing => {}
            Download::Over => return Ok(Progress::Done(End::Response)),
        }
        match self.client.poll_flush(cx) {
            Poll::Ready(Ok(())) if self.download == Download::Flushing => {
                self.download = Download::Over;
                Ok(Progress::Done(End::Response))
            }
            Poll::Ready(Ok(())) => Ok(Progress::Moved),
            Poll::Ready(Err(_)) => Err(Failure::ClientGone),
            Poll::Pending => Ok(Progress::Waits(Some(Wait::ClientWrite))),
        }
    }

    fn take_head(&mut self, head: ResponseHead) -> Result<Progress, Failure> {
        if head.is_interim() {
            self.client.put_interim(inbound::interim(head));
            return Ok(Progress::Moved);
        }
        self.exchange.attempts.answered();
        self.exchange.asked = Some(self.begun.into_std());
        self.exchange.first_byte = Some(self.begun.elapsed());
        if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            if !self.request.handshake || !inbound::is_websocket(&head) {
                return Err(Failure::UnaskedUpgrade);
            }
            return Ok(Progress::Done(End::Upgrade(Box::new(head))));
        }
        self.replay.give_up();
        let body = inbound::length(&head, self.server.body(), self.request);
        let head = inbound::shape(head, self.exchange);
        self.exchange.status = head.status.as_u16();
        let is_early = !self.client.has_whole_body();
        if is_early && (self.upload == Upload::Abandoned || body.length() == Some(0)) {
            // Nobody reads the rest of the request.
            self.client.close_after();
        }
        self.client.put_head(head, body);
        self.download = Download::Body;
        Ok(Progress::Moved)
    }

    /// Waits for the next time at which something is to be done, and does it. `Ready` where the exchange goes on.
    fn poll_deadlines(
        &mut self,
        cx: &mut Context<'_>,
        waits: [Option<Wait>; 2],
    ) -> Result<Poll<()>, Failure> {
        let client_limit = self.exchange.gate.client_timeout;
        let unsent = matches!(self.upload, Upload::Reading | Upload::Flushing);
        let mut next = None;
        let mut failure = Failure::ResponseLate;
        let any = self.up.last.max(self.down.last);
        for wait in waits.into_iter().flatten() {
            let (last, limit, what) = match wait {
                // A server that waits for the body is not late.
                Wait::ServerRead if unsent => continue,
                Wait::ServerRead => (any, self.patience.read, Failure::ResponseLate),
                Wait::ServerWrite => (self.up.last, self.patience.write, Failure::ResponseLate),
                // A stream in both directions may be silent in one of them.
                Wait::ClientRead => {
                    let limit = client_limit.min(self.patience.read);
                    (any, limit, Failure::RequestLate)
                }
                Wait::ClientWrite => (self.down.last, client_limit, Failure::ClientGone),
            };
            let at = last + limit;
            if next.is_none_or(|next| at < next) {
                (next, failure) = (Some(at), what);
            }
        }
        let look = self.half_closed.map(|client| client.at);
        let wants_entry = self.entry.is_none() && self.exchange.session.is_some();
        let lasting = wants_entry.then(|| self.begun + LASTING);
        let too_slow = self.too_slow_at(waits);
        let Some(at) = [next, lasting, too_slow, look].into_iter().flatten().min() else {
            return Ok(Poll::Pending);
        };
        if self.timer.poll(cx, at).is_pending() {
            return Ok(Poll::Pending);
        }
        let now = Instant::now();
        if next.is_some_and(|next| next <= now) {
            return Err(failure);
        }
        if too_slow.is_some_and(|at| at <= now) {
            return Err(Failure::RequestLate);
        }
        if look.is_some_and(|at| at <= now)
            && let Some(half_closed) = &mut self.half_closed
        {
            let is_answered = self.download != Download::Head;
            if !half_closed.is_there(self.client, cx, any, is_answered) {
                return Err(Failure::ClientGone);
            }
            // What was written is nothing that the server did, which is late as before.
            self.down.written = self.client.written();
        }
        if lasting.is_some_and(|at| at <= now) {
            let sockets = &self.exchange.gate.sockets;
            self.entry = Some(sockets.enter(Kind::Exchange, self.exchange.session));
        }
        Ok(Poll::Ready(()))
    }

    /// Returns when a body that comes too slowly is late. An idle timeout alone would let a client hold a server's connection with one
    /// byte every few seconds, so the average rate counts as well, from `client_timeout` after the body's beginning. gRPC and
    /// requests whose response has begun are exempt.
    fn too_slow_at(&self, waits: [Option<Wait>; 2]) -> Option<Instant> {
        let rate = self.exchange.gate.min_body_rate?;
        let waits_for_body = waits.contains(&Some(Wait::ClientRead));
        if !waits_for_body || self.download != Download::Head || outbound::is_grpc(self.request) {
            return None;
        }
        let earned = Duration::from_secs(self.exchange.body_bytes / rate);
        Some(self.begun + self.exchange.gate.client_timeout + earned)
    }
}

/// What a step of the response came to.
enum Progress {
    Moved,
    Waits(Option<Wait>),
    Done(End),
}
