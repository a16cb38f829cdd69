//! Detects whether a client of HTTP/1 that closed its sending side still reads; only a write to it can show that.
//!
//! `printf … | nc -N` closes its sending side behind the request and waits for the answer. A client that is gone looks
//! the same to the system until something is written to it. nginx ends the exchange of both, HAProxy serves both and lets
//! the server work for nobody.
//!
//! After a second in which nothing moved, or in which its login was not over, a client of HTTP/1.1 that waits for the final head
//! gets `100 Continue`, which every client reads past (RFC 9110, section 15.2). The system of a client that is gone answers with a
//! reset, and the exchange ends. One that is there is probed again after twice the time. Behind the final head, and to clients of
//! HTTP/1.0, only the server's own bytes may be written: such a client counts as there once it has got something after it closed
//! its side, and as gone after a second otherwise.

use std::task::Context;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::client::Client;
use crate::server::message::ResponseHead;

/// How long nothing may happen before it is looked for; each further time after twice as long.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// How long the system of a client that is gone may take to answer what was written with a reset.
const RESET: Duration = Duration::from_millis(250);

/// The client.
#[derive(Clone, Copy, Debug)]
pub(super) struct HalfClosed {
    /// When it is looked for.
    pub(super) at: Instant,
    pause: Duration,
    /// Whether something was just written to find out.
    is_probed: bool,
    /// How much was written before it closed.
    written: u64,
}

impl HalfClosed {
    /// Begins to look for a client that has closed its sending side now.
    pub(super) fn new(client: &Client<'_>) -> Self {
        Self {
            at: Instant::now() + FIRST_LOOK,
            pause: FIRST_LOOK,
            is_probed: false,
            written: client.written(),
        }
    }

    /// Returns whether the client is still there, as far as can be known. Before the final head, an interim one is written to
    /// find out; behind it, what the server says is all that may be written.
    pub(super) fn is_there(
        &mut self,
        client: &mut Client<'_>,
        cx: &mut Context<'_>,
        moved: Instant,
        is_answered: bool,
    ) -> bool {
        let now = Instant::now();
        if client.is_broken() {
            return false;
        }
        if self.is_probed {
            self.is_probed = false;
            self.look_later(now);
        } else if moved + self.pause > now {
            self.at = moved + self.pause;
        } else if !is_answered && client.knows_interim() {
            // Any client of HTTP/1.1 reads past it (RFC 9110, section 15.2).
            client.put_interim(ResponseHead::new(StatusCode::CONTINUE));
            // A failure is seen when it is looked for once more.
            let _ = client.poll_flush(cx);
            self.is_probed = true;
            self.at = now + RESET;
        } else if client.written() == self.written {
            return false;
        } else {
            self.look_later(now);
        }
        true
    }

    fn look_later(&mut self, now: Instant) {
        self.pause *= 2;
        self.at = now + self.pause;
    }
}
