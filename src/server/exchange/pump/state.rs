//! What is known of an exchange while both its bodies are on their way.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::UpstreamTimeouts;
use crate::server::exchange::client::Client;
use crate::server::exchange::half_closed::HalfClosed;
use crate::server::exchange::replay::Replay;
use crate::server::exchange::server::Server;
use crate::server::exchange::state::Exchange;
use crate::server::message::{RequestHead, ResponseHead};
use crate::server::sockets::Entry;
use crate::server::timer::Timer;

/// One exchange between a client and a server.
pub(in crate::server::exchange) struct Pump<'p, 'c> {
    pub(in crate::server::exchange) client: &'p mut Client<'c>,
    pub(in crate::server::exchange) server: &'p mut Server,
    pub(in crate::server::exchange) timer: &'p mut Timer,
    pub(in crate::server::exchange) exchange: &'p mut Exchange,
    pub(in crate::server::exchange) request: &'p RequestHead,
    pub(in crate::server::exchange) replay: &'p mut Replay,
    pub(in crate::server::exchange) timeouts: UpstreamTimeouts<Duration>,
    pub(in crate::server::exchange) max_body_bytes: u64,
    pub(in crate::server::exchange) upload: Upload,
    pub(super) download: Download,
    /// When each direction last moved, and how much of it the other side has taken.
    pub(super) up: Motion,
    pub(super) down: Motion,
    pub(super) begun: Instant,
    pub(super) half_closed: Option<HalfClosed>,
    /// When a client that is not seen leaving was last looked for.
    pub(super) looked: Instant,
    pub(super) entry: Option<Entry>,
}

/// When a direction last moved, and how much of it the other side had taken by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Motion {
    pub(super) last: Instant,
    pub(super) written: u64,
}

impl Motion {
    /// Notes what was taken by now, which may be a part of what still waits.
    pub(super) fn note(&mut self, has_moved: bool, written: u64) {
        if has_moved || written != self.written {
            self.last = Instant::now();
            self.written = written;
        }
    }
}

/// Where the request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server::exchange) enum Upload {
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
pub(super) enum Download {
    Head,
    Body,
    /// All of it was given to the client's side.
    Flushing,
    Over,
}

/// What a pump comes to.
#[derive(Debug)]
pub(in crate::server::exchange) enum End {
    /// The client has the whole response.
    Response,
    /// The server has switched to the WebSocket that was asked for.
    Upgrade(Box<ResponseHead>),
}

/// What an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    ClientRead,
    ClientWrite,
    ServerRead,
    ServerWrite,
}

/// What a step of the response came to.
pub(super) enum Progress {
    Moved,
    Waits(Option<Wait>),
    Done(End),
}

impl<'p, 'c> Pump<'p, 'c> {
    #[expect(
        clippy::too_many_arguments,
        reason = "these are the parts of one exchange"
    )]
    pub(in crate::server::exchange) fn new(
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
            looked: now,
            entry: None,
        }
    }

    /// Returns whether the client has got the final head, so that nothing can be sent again.
    pub(in crate::server::exchange) fn is_answered(&self) -> bool {
        self.download != Download::Head
    }
}
