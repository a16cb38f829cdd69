//! Reads what a proxy in front says about the client in the PROXY protocol, before anything else is read.

use std::net::IpAddr;

use bytes::{Buf as _, BytesMut};
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::{GetSocketDigest as _, SocketDigest, UniqueID as _};
use tokio::io::AsyncReadExt as _;

use crate::request::ProxyHeader;

/// More than the addresses and what load balancers add to them.
const MAX_BYTES: usize = 4096;

/// For whom a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxiedClient {
    Named(IpAddr),
    /// It checks our health, or does not know the client.
    Unnamed,
}

/// Reads the header and lets the stream say that it comes from the client; `None` when there is no header.
pub(super) async fn accept(stream: &mut Stream) -> Option<ProxiedClient> {
    let mut read = BytesMut::with_capacity(MAX_BYTES);
    loop {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
        match ProxyHeader::parse(&read) {
            ProxyHeader::Incomplete if read.len() < MAX_BYTES => {}
            ProxyHeader::Incomplete | ProxyHeader::Wrong => return None,
            ProxyHeader::Whole(length, client) => {
                read.advance(length);
                stream.rewind(&read);
                let Some(client) = client else {
                    return Some(ProxiedClient::Unnamed);
                };
                let digest = SocketDigest::from_raw_fd(stream.id());
                let _ = digest.peer_addr.set(Some(client.into()));
                stream.set_socket_digest(digest);
                return Some(ProxiedClient::Named(client.ip()));
            }
        }
    }
}
