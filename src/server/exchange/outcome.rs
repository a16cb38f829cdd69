//! How an exchange ends, and what is handed over where it ends in a WebSocket.

use crate::request::InFlightPermit;
use crate::server::http1::Buffered;
use crate::server::sockets::{Entry, WebSocket, WebSocketLimits};
use crate::server::upstreams::Busy;

/// How an exchange ended.
pub(in crate::server) enum Outcome {
    /// The response was written.
    Answered,
    /// The response was written, and the client may still be sending what nobody reads.
    Unread,
    /// The response broke off, or could not be written.
    Broken,
    /// The connection has become a WebSocket on the server's side. The client's joins it.
    Upgraded(Box<Upgraded>),
}

/// A WebSocket whose client's side is still to come.
pub(in crate::server) struct Upgraded {
    pub(super) server: Buffered,
    pub(super) limits: WebSocketLimits,
    pub(super) entry: Entry,
    pub(super) held: Held,
}

/// What counts for as long as a WebSocket lives.
pub(in crate::server) struct Held {
    pub(super) _busy: Option<Busy>,
    pub(super) _permit: Option<InFlightPermit>,
}

impl Upgraded {
    /// Joins both sides.
    pub(super) fn with(self, client: Buffered) -> (WebSocket, Held) {
        let socket = WebSocket::new(client, self.server, self.limits, self.entry);
        (socket, self.held)
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Answered => "Answered",
            Self::Unread => "Unread",
            Self::Broken => "Broken",
            Self::Upgraded(_) => "Upgraded",
        })
    }
}
