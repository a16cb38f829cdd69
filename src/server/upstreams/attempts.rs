//! What one exchange has tried so far.

use std::sync::Arc;

use http::Version;
use pingora::protocols::l4::socket::SocketAddr;

use super::keeping::Connections;
use super::server::{Busy, Server};
use crate::config::ServerAddress;

/// The servers and addresses that were asked.
#[derive(Debug, Default)]
pub(in crate::server) struct Attempts {
    tried: Vec<(usize, SocketAddr)>,
    current: Option<(Busy, SocketAddr)>,
    second_chance: bool,
    /// Whether the current connection had been used before.
    reused: bool,
}

impl Attempts {
    /// Tells whether any address of a server was tried.
    pub(super) fn has_tried(&self, server: usize) -> bool {
        self.tried.iter().any(|(tried, _)| *tried == server)
    }

    /// Returns the first address of a server that was not tried.
    pub(super) fn untried<'p>(
        &self,
        server: usize,
        places: &'p [SocketAddr],
    ) -> Option<&'p SocketAddr> {
        let tried = |place: &SocketAddr| {
            let mut tried = self.tried.iter();
            tried.any(|(at, tried)| *at == server && tried == place)
        };
        places.iter().find(|place| !tried(place))
    }

    /// Notes that an address is about to be tried.
    pub(super) fn begin(
        &mut self,
        at: usize,
        server: &Arc<Server>,
        place: SocketAddr,
        connections: Connections,
    ) {
        self.tried.push((at, place.clone()));
        self.current = Some((Busy::with(server, connections), place));
    }

    /// Notes that there is a connection, and whether it had been used before.
    pub(in crate::server) fn connected(&mut self, reused: bool) {
        self.reused = reused;
    }

    /// Returns the server that is being asked, and where.
    pub(super) fn current(&self) -> Option<(&Server, &SocketAddr)> {
        let (busy, place) = self.current.as_ref()?;
        Some((busy.server(), place))
    }

    /// Tells whether the next connection must be a new one.
    pub(super) fn is_second_chance(&self) -> bool {
        self.second_chance
    }

    /// Lets the server be asked again whose kept connection was closed meanwhile, once; says whether it may.
    pub(in crate::server) fn forgive(&mut self) -> bool {
        self.tried.pop();
        !std::mem::replace(&mut self.second_chance, true)
    }

    /// Returns the server that was asked last.
    pub(in crate::server) fn server(&self) -> Option<&ServerAddress> {
        self.current().map(|(server, _)| &server.address)
    }

    /// Notes that the server answered.
    pub(in crate::server) fn answered(&self, version: Version) {
        if let Some((server, _)) = self.current() {
            server.standing.answered();
            if self.reused || version == Version::HTTP_2 {
                server.keeping.proven();
            }
        }
    }

    /// Notes that the server closed a kept connection without an answer.
    pub(in crate::server) fn lost(&self) {
        if let Some((server, _)) = self.current() {
            server.keeping.disproven();
        }
    }
}
