//! HTTP/2 streams as exchanges see them: one request and its response; for clients and for servers.

mod budget;
mod client;
mod heads;
mod outgoing;
mod sending;
mod server;

pub(super) use self::budget::{SectionBudget, size_of};
pub(super) use self::client::ClientStream;
pub(super) use self::heads::{Heads, Watched};
pub(super) use self::outgoing::Outgoing;
pub(super) use self::server::ServerStream;
