//! Carries a request to a server and its response back, both at once, each as fast as the slower side takes it.

use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::Instant;

use super::client::Client;
use super::failure::Failure;
use super::half_closed::HalfClosed;
use super::replay::Replay;
use super::server::Server;
use super::state::Exchange;
use crate::config::UpstreamTimeouts;
use crate::server::message::{RequestHead, ResponseHead};
use crate::server::sockets::Entry;
use crate::server::timer::Timer;

mod deadlines;
mod download;
mod upload;

/// After so many steps the other exchanges of the thread have their turn: a step may be a read of 64 KiB, or some hundred chunks of one
/// byte.
const MOST_STEPS: u32 = 16;

/// One exchange between a client and a server.
pub(super) struct Pump<'p, 'c> {
    pub(super) client: &'p mut Client<'c>,
    pub(super) server: &'p mut Server,
    pub(super) timer: &'p mut Timer,
    pub(super) exchange: &'p mut Exchange,
    pub(super) request: &'p RequestHead,
    pub(super) replay: &'p mut Replay,
    pub(super) timeouts: UpstreamTimeouts<Duration>,
    pub(super) max_body_bytes: u64,
    pub(super) upload: Upload,
    download: Download,
    /// When each direction last moved, and how much of it the other side has taken.
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
        timeouts: UpstreamTimeouts<Duration>,
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
            timeouts,
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
            let mut waits = [None, None];
            for step in 0.. {
                if step == MOST_STEPS {
                    self.up.note(has_risen, self.server.written());
                    self.down.note(has_fallen, self.client.written());
                    if self.poll_deadlines(cx, waits)?.is_ready() {
                        break;
                    }
                    // `yield_now` wakes this task once the thread has looked for what the others wait for.
                    match pin!(yield_now()).poll(cx) {
                        Poll::Ready(()) => break,
                        Poll::Pending => return Poll::Pending,
                    }
                }
                let (up, wait_up) = self.poll_upload(cx)?;
                let (down, wait_down) = match self.poll_download(cx)? {
                    Progress::Done(end) => return Poll::Ready(Ok(end)),
                    Progress::Moved => (true, None),
                    Progress::Waits(wait) => (false, wait),
                };
                has_risen |= up;
                has_fallen |= down;
                waits = [wait_up, wait_down];
                if !up && !down {
                    self.up.note(has_risen, self.server.written());
                    self.down.note(has_fallen, self.client.written());
                    match self.poll_deadlines(cx, waits)? {
                        Poll::Ready(()) => break,
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }
}

/// What a step of the response came to.
enum Progress {
    Moved,
    Waits(Option<Wait>),
    Done(End),
}
