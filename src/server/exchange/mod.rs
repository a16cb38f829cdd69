//! One exchange, in order: decide → answer or choose a server → connect → send → pump both ways → finish → log.
//!
//! # Layout
//! [`Proxy::exchange`] is the loop's body. `receive` decides, `own` answers Menshen's own endpoints (`web` those of browsers) and
//! `reply` writes what is ours, `forward` asks a server: `outbound` makes its request, `pump` carries both bodies, `inbound` makes
//! its answer ours, `half_closed` finds out whether a client still reads, `failure` and `replay` say what happens when it breaks
//! off. `state` is what is known of one exchange, `outcome` how it ends, `proxy` and `generation` what all share, `login` has its
//! client log in. At its end `traffic` counts it in `counters`, `access_log` writes its line, `audit` that of a refusal that
//! somebody should hear of, `spans` records its trace, and `recent` keeps in `recent_ring` what can be asked afterwards.

mod access_log;
mod audit;
mod body;
mod client;
mod cookie_session;
mod counters;
mod failure;
mod forward;
mod generation;
mod generations;
mod half_closed;
mod inbound;
mod login;
mod outbound;
mod outcome;
mod own;
mod proxy;
mod pump;
mod receive;
mod recent;
mod recent_ring;
mod replay;
mod reply;
mod server;
mod spans;
mod state;
mod traffic;
mod upgrade;
mod wait;
mod web;

use std::time::Instant;

use http::HeaderMap;

pub(super) use self::client::Client;
pub use self::counters::ExchangeTraffic;
pub use self::generation::Generation;
pub use self::generations::Generations;
pub(super) use self::outcome::{Held, Outcome, Upgraded};
pub(super) use self::proxy::{Duty, Proxy};
use self::receive::Received;
pub use self::recent_ring::ExchangeRecent;
pub(super) use self::reply::refuse_unread;
use self::state::Exchange;
pub use self::traffic::WORDS;
use crate::request::{self, Denial, RequestId, client};
use crate::server::http1::Buffered;
use crate::server::message::RequestHead;
use crate::server::sockets::WebSocket;
use crate::server::timer::Timer;

impl Proxy {
    /// Serves one request of a connection from `peer`.
    pub(super) async fn exchange(
        &self,
        client: &mut Client<'_>,
        timer: &mut Timer,
        head: &RequestHead,
        connection: &request::Connection,
    ) -> Outcome {
        let mut exchange = self.begin(head, connection);
        let outcome = match self.receive(client, timer, &mut exchange, head).await {
            Ok(Received::Pass(pass)) => {
                let outcome = forward::run(client, timer, &mut exchange, head, &pass).await;
                exchange.user = pass.who;
                outcome
            }
            Ok(Received::Answered(outcome)) => outcome,
            Err(denial) => reply::refuse(client, timer, &mut exchange, head, denial).await,
        };
        let now = Instant::now();
        spans::end(head, &mut exchange, now);
        traffic::note(&exchange, now);
        // Whoever keeps something of the exchange keeps its trace, so `traceparent` is read once.
        let trace_id = spans::trace_id(head, &exchange);
        access_log::write(head, &exchange, trace_id, now);
        audit::note(&exchange, trace_id);
        recent::keep(head, &exchange, trace_id, now);
        outcome
    }

    fn begin(&self, head: &RequestHead, connection: &request::Connection) -> Exchange {
        let generation = self.generations.current();
        let seen = client(
            connection,
            &head.headers,
            head.authority.as_deref(),
            &generation.trusted_proxies,
        );
        let given = head.headers.get("x-request-id").filter(|_| seen.trusted);
        let id = given
            .and_then(RequestId::adopt)
            .unwrap_or_else(RequestId::random);
        let mut exchange = Exchange::new(generation, seen, id);
        spans::begin(head, &mut exchange);
        exchange
    }

    /// Counts a request whose head nobody could read, and says whether there were too many.
    pub(super) fn count_unread(&self, connection: &request::Connection) -> Result<(), Denial> {
        let generation = self.generations.current();
        let trusted = &generation.trusted_proxies;
        let seen = client(connection, &HeaderMap::new(), None, trusted);
        // For whom a proxy sent it, nobody knows either.
        let rates = generation.rates.as_ref().filter(|_| !seen.trusted);
        rates.map_or(Ok(()), |rates| rates.admit(&seen, Instant::now()))
    }

    /// Writes the line of a request whose head nobody could read, and keeps what can be asked of it; `status` is 0 where nothing was
    /// answered.
    pub(super) fn note_unread(
        &self,
        connection: &request::Connection,
        id: &RequestId,
        status: u16,
        denial: Denial,
    ) {
        if let Some(peer) = &connection.peer {
            access_log::write_unread(peer, id, status, &denial);
            recent::keep_unread(&self.generations.current(), peer, id, status, denial);
        }
    }

    /// Counts a request that could not be read, and returns its denial: the address's limit comes before any other.
    pub(super) fn deny_unread(&self, connection: &request::Connection, denial: Denial) -> Denial {
        let denial = self.count_unread(connection).err().unwrap_or(denial);
        self.generations.current().traffic.note_unread(&denial);
        denial
    }
}

/// Joins both sides of a WebSocket, which counts for as long as what is returned beside it lives.
pub(super) fn join(upgraded: Upgraded, client: Buffered) -> (WebSocket, Held) {
    upgraded.with(client)
}
