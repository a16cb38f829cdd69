//! Reads the PROXY protocol's header, which names the client, before TLS and before any request.
//!
//! Where the protocol is on, each connection must begin with a header, and only headers of trusted proxies are accepted.
//! The client that the header names is the peer everywhere: in limits, in `trusted_proxies` and in the log. If it names
//! none (`UNKNOWN`, a Unix socket, a health check), the peer is the proxy, and its `X-Forwarded-*` headers are ignored.

use std::net::IpAddr;

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncReadExt as _;

use crate::request::ProxyHeader;
use crate::server::tcp::Tcp;

/// The longest header: more than the addresses and what load balancers add to them.
const MAX_BYTES: usize = 4096;

/// The client that a header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxiedClient {
    Named(IpAddr),
    /// None: the proxy checks our health, or does not know the client.
    Unnamed,
}

/// Reads the header; `None` if there is none.
pub(super) async fn accept(stream: &mut Tcp) -> Option<ProxiedClient> {
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
                stream.rewind(read.freeze());
                let Some(client) = client else {
                    return Some(ProxiedClient::Unnamed);
                };
                return Some(ProxiedClient::Named(client.ip()));
            }
        }
    }
}
