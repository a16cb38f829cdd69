//! The servers that one exchange has tried so far.

use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::l4::socket::SocketAddr;

use super::server::{Busy, Server};
use crate::config::ServerAddress;

/// The servers and addresses that were tried.
#[derive(Debug, Default)]
pub(in crate::server) struct Attempts {
    tried: Vec<(usize, SocketAddr)>,
    current: Option<Busy>,
    is_retry: bool,
    /// Whether the current connection had been used before.
    reused: bool,
    /// How long it took to make it, until somebody asked.
    connect_time: Option<Duration>,
    /// How often a server left the request unprocessed.
    unprocessed: u32,
}

impl Attempts {
    /// Returns whether any address of a server was tried.
    pub(super) fn has_tried(&self, server: usize) -> bool {
        self.tried.iter().any(|(tried, _)| *tried == server)
    }

    /// Returns whether an address of a server was tried.
    pub(super) fn has_tried_at(&self, server: usize, place: &SocketAddr) -> bool {
        let mut tried = self.tried.iter();
        tried.any(|(at, tried)| *at == server && tried == place)
    }

    /// Records that an address is about to be tried.
    pub(super) fn begin(&mut self, at: usize, server: &Arc<Server>, place: SocketAddr) {
        self.tried.push((at, place));
        self.current = Some(Busy::with(server));
    }

    /// Records that there is a connection, and whether it had been used before.
    pub(in crate::server) fn connected(&mut self, reused: bool, connect_time: Option<Duration>) {
        self.reused = reused;
        self.connect_time = connect_time;
    }

    /// Returns how long it took to make the current connection, the first time; `None` for one that there was.
    pub(in crate::server) fn connect_time(&mut self) -> Option<Duration> {
        self.connect_time.take()
    }

    /// Returns whether the current connection had been used before.
    pub(in crate::server) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Returns the server that is being tried, and its address.
    pub(super) fn current(&self) -> Option<(&Server, &SocketAddr)> {
        let (_, place) = self.tried.last()?;
        Some((self.current.as_ref()?.server(), place))
    }

    /// Returns whether the next connection must be a new one.
    pub(super) fn is_retry(&self) -> bool {
        self.is_retry
    }

    /// Allows one retry at a server that closed a reused connection; returns whether it is allowed.
    pub(in crate::server) fn retry_on_new_connection(&mut self) -> bool {
        if self.is_retry {
            return false;
        }
        self.tried.pop();
        self.is_retry = true;
        true
    }

    /// Allows a retry at a server that left the request unprocessed, twice at most.
    pub(in crate::server) fn retry_unprocessed(&mut self) -> bool {
        const MOST: u32 = 2;
        self.unprocessed += 1;
        if self.unprocessed > MOST {
            return false;
        }
        self.tried.pop();
        true
    }

    /// Counts one more exchange with the current server until the returned value is dropped.
    pub(in crate::server) fn busy(&self) -> Option<Busy> {
        self.current.as_ref().map(Busy::again)
    }

    /// Returns the server that was tried last.
    pub(in crate::server) fn server(&self) -> Option<&ServerAddress> {
        self.current.as_ref().map(|busy| &busy.server().address)
    }

    /// Records that the server answered.
    pub(in crate::server) fn answered(&self) {
        if let Some(busy) = &self.current {
            busy.server().health.answered();
            if self.reused {
                busy.server().reuse.answered();
            }
        }
    }

    /// Records that the server closed a reused connection without an answer.
    pub(in crate::server) fn lost(&self) {
        if let Some(busy) = &self.current {
            busy.server().reuse.lost();
        }
    }
}
