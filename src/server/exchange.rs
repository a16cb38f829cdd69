//! What is known about one exchange while it goes through the phases.

use std::sync::Arc;
use std::time::Instant;

use super::gate::Gate;
use super::sockets::Entry;
use super::upstreams::{Attempts, Handshake};
use crate::login::Grant;
use crate::request::{Client, Denial, Line, Pass, Peer, RequestId};

/// One request and its response.
pub(super) struct Exchange {
    /// The parts that were there when it began.
    pub(super) gate: Arc<Gate>,
    pub(super) started: Instant,
    pub(super) request_id: RequestId,
    /// The other end of a connection of HTTP/1.
    pub(super) peer: Option<Peer>,
    pub(super) client: Option<Client>,
    /// Set when the request may be forwarded.
    pub(super) pass: Option<Pass>,
    /// The route of the request that another gateway asked about, where one was found.
    pub(super) asked: Option<usize>,
    /// Set when the user was logged in by this request.
    pub(super) grant: Option<Grant>,
    /// What browsers are told about pages of other origins, whatever else the answer says.
    pub(super) cors: Vec<Line>,
    /// Set when the exchange was refused.
    pub(super) denial: Option<Denial>,
    /// The most body bytes that the route lets through.
    pub(super) max_body_bytes: u64,
    pub(super) body_bytes: u64,
    /// The servers that were asked.
    pub(super) attempts: Attempts,
    /// What the server that is asked may make a WebSocket of.
    pub(super) handshake: Handshake,
    /// Set when the exchange became a WebSocket.
    pub(super) socket: Option<Entry>,
}

impl Exchange {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        Self {
            gate,
            started: Instant::now(),
            request_id: RequestId::random(),
            peer: None,
            client: None,
            pass: None,
            asked: None,
            grant: None,
            cors: Vec::new(),
            denial: None,
            max_body_bytes: 0,
            body_bytes: 0,
            attempts: Attempts::default(),
            handshake: Handshake::default(),
            socket: None,
        }
    }
}
