//! What one exchange has tried so far.

use std::sync::Arc;

use pingora::protocols::l4::socket::SocketAddr;

use super::server::{Busy, Server};
use crate::config::ServerAddress;

/// The servers and addresses that were asked.
#[derive(Debug, Default)]
pub(in crate::server) struct Attempts {
    tried: Vec<(usize, SocketAddr)>,
    current: Option<Busy>,
    is_retry: bool,
    /// Whether the current connection had been used before.
    reused: bool,
    /// How often a server said that it did not process the request.
    unprocessed: u32,
}

impl Attempts {
    /// Tells whether any address of a server was tried.
    pub(super) fn has_tried(&self, server: usize) -> bool {
        self.tried.iter().any(|(tried, _)| *tried == server)
    }

    /// Tells whether an address of a server was tried.
    pub(super) fn has_tried_at(&self, server: usize, place: &SocketAddr) -> bool {
        let mut tried = self.tried.iter();
        tried.any(|(at, tried)| *at == server && tried == place)
    }

    /// Notes that an address is about to be tried.
    pub(super) fn begin(&mut self, at: usize, server: &Arc<Server>, place: SocketAddr) {
        self.tried.push((at, place));
        self.current = Some(Busy::with(server));
    }

    /// Notes that there is a connection, and whether it had been used before.
    pub(in crate::server) fn connected(&mut self, reused: bool) {
        self.reused = reused;
    }

    /// Tells whether the current connection had been used before.
    pub(in crate::server) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Returns the server that is being asked, and where.
    pub(super) fn current(&self) -> Option<(&Server, &SocketAddr)> {
        let (_, place) = self.tried.last()?;
        Some((self.current.as_ref()?.server(), place))
    }

    /// Tells whether the next connection must be a new one.
    pub(super) fn is_retry(&self) -> bool {
        self.is_retry
    }

    /// Lets the server be asked again whose kept connection was closed meanwhile, once; says whether it may.
    pub(in crate::server) fn retry_on_new_connection(&mut self) -> bool {
        if self.is_retry {
            return false;
        }
        self.tried.pop();
        self.is_retry = true;
        true
    }

    /// Lets the server be asked again that did not process the request, as often as connections are left to try.
    pub(in crate::server) fn retry_unprocessed(&mut self) -> bool {
        const MOST: u32 = 2;
        self.unprocessed += 1;
        if self.unprocessed > MOST {
            return false;
        }
        self.tried.pop();
        true
    }

    /// Counts the current server as busy for as long as what is returned lives.
    pub(in crate::server) fn busy(&self) -> Option<Busy> {
        self.current.as_ref().map(Busy::again)
    }

    /// Returns the server that was asked last.
    pub(in crate::server) fn server(&self) -> Option<&ServerAddress> {
        self.current.as_ref().map(|busy| &busy.server().address)
    }

    /// Notes that the server answered.
    pub(in crate::server) fn answered(&self) {
        if let Some(busy) = &self.current {
            busy.server().health.answered();
            if self.reused {
                busy.server().reuse.answered();
            }
        }
    }

    /// Notes that the server closed a kept connection without an answer.
    pub(in crate::server) fn lost(&self) {
        if let Some(busy) = &self.current {
            busy.server().reuse.lost();
        }
    }
}
