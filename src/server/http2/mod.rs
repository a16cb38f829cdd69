//! HTTP/2 streams as exchanges see them: one request and its response; for clients and for servers.

mod client;
mod sending;
mod server;

pub(super) use self::client::ClientStream;
pub(super) use self::server::ServerStream;
