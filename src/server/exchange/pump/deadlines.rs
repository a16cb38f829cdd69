//! The limits of time of an exchange: those of writing to one side are moved by what that side takes, and by what comes for it.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::state::{Download, Pump, Upload, Wait};
use crate::server::exchange::failure::Failure;
use crate::server::exchange::outbound;
use crate::server::exchange::server::Server;
use crate::server::sockets::Kind;

/// An exchange that has lasted so long can be ended by others: most are over before, and need no entry.
const LASTING: Duration = Duration::from_millis(500);
/// How often a client that is not seen leaving is looked for while nothing moves.
const LOOK: Duration = Duration::from_secs(1);

impl Pump<'_, '_> {
    /// Waits for the next time at which something is to be done, and does it. `Ready` where the exchange goes on.
    pub(super) fn poll_deadlines(
        &mut self,
        cx: &mut Context<'_>,
        waits: [Option<Wait>; 2],
    ) -> Result<Poll<()>, Failure> {
        let client_limit = self.exchange.generation.client_timeout;
        let unsent = matches!(self.upload, Upload::Reading | Upload::Flushing);
        let mut next = None;
        let mut failure = Failure::ResponseLate;
        let any = self.up.last.max(self.down.last);
        for wait in waits.into_iter().flatten() {
            let (last, limit, what) = match wait {
                // A server that waits for the body is not late.
                Wait::ServerRead if unsent => continue,
                Wait::ServerRead => (any, self.timeouts.read, Failure::ResponseLate),
                Wait::ServerWrite => (self.up.last, self.timeouts.write, Failure::ResponseLate),
                // A stream in both directions may be silent in one of them.
                Wait::ClientRead => {
                    let limit = client_limit.min(self.timeouts.read);
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
        let reset_look = self
            .is_unwatched(waits)
            .then(|| any.max(self.looked) + LOOK);
        let wants_entry = self.entry.is_none() && self.exchange.session.is_some();
        let lasting = wants_entry.then(|| self.begun + LASTING);
        let too_slow = self.too_slow_at(waits);
        let all = [next, lasting, too_slow, look, reset_look];
        let Some(at) = all.into_iter().flatten().min() else {
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
        if reset_look.is_some_and(|at| at <= now) {
            if self.client.is_broken() {
                return Err(Failure::ClientGone);
            }
            self.looked = now;
        }
        if lasting.is_some_and(|at| at <= now) {
            let sockets = &self.exchange.generation.sockets;
            self.entry = Some(sockets.enter(Kind::Exchange, self.exchange.session));
        }
        Ok(Poll::Ready(()))
    }

    /// Returns whether a reset by the client goes unseen: nobody reads from its connection, because the server takes no more of the body
    /// or because the client has sent much before its turn.
    fn is_unwatched(&self, [up, _]: [Option<Wait>; 2]) -> bool {
        let is_still = match self.upload {
            Upload::Reading | Upload::Flushing => up == Some(Wait::ServerWrite),
            Upload::Over | Upload::Abandoned => true,
        };
        is_still && !self.client.can_be_watched()
    }

    /// Returns when a body that comes too slowly is late. An idle timeout alone would let a client hold a server's connection with one
    /// byte every few seconds, so the average rate counts as well, from `client_timeout` after the body's beginning. gRPC and
    /// requests whose response has begun are exempt.
    fn too_slow_at(&self, waits: [Option<Wait>; 2]) -> Option<Instant> {
        let rate = self.exchange.generation.min_body_rate?;
        let waits_for_body = waits.contains(&Some(Wait::ClientRead));
        // Any client can say that it speaks gRPC, which none does with a server of HTTP/1.
        let is_grpc = outbound::is_grpc(self.request) && matches!(self.server, Server::Http2(..));
        if !waits_for_body || self.download != Download::Head || is_grpc {
            return None;
        }
        let earned = Duration::from_secs(self.exchange.body_bytes / rate);
        Some(self.begun + self.exchange.generation.client_timeout + earned)
    }
}
