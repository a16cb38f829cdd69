//! Reads what a proxy in front says about the client in the PROXY protocol, before anything else is read.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf as _, BytesMut};
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::{GetSocketDigest as _, SocketDigest, UniqueID as _};
use ppp::{HeaderResult, PartialResult as _, v1, v2};
use tokio::io::AsyncReadExt as _;

/// More than the addresses and what load balancers add to them.
const MAX_BYTES: usize = 4096;

/// How a header of version 1 begins.
const LINE: &[u8] = b"PROXY ";

/// How long one can be.
const LONGEST_LINE: usize = 107;

/// What the bytes read so far are.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Incomplete,
    /// Not the PROXY protocol.
    Wrong,
    /// A header of this length, and the client; `None` where the proxy speaks for itself.
    Whole(usize, Option<SocketAddr>),
}

/// Reads the header and lets the stream say that it comes from the client; `None` when there is no header.
///
/// Returns the address by which the connection counts.
pub(super) async fn accept(stream: &mut Stream, peer: IpAddr) -> Option<IpAddr> {
    let mut read = BytesMut::with_capacity(MAX_BYTES);
    loop {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
        match parsed(&read) {
            Parsed::Incomplete if read.len() < MAX_BYTES => {}
            Parsed::Incomplete | Parsed::Wrong => return None,
            Parsed::Whole(length, client) => {
                read.advance(length);
                stream.rewind(&read);
                let Some(client) = client else {
                    return Some(peer);
                };
                let digest = SocketDigest::from_raw_fd(stream.id());
                let _ = digest.peer_addr.set(Some(client.into()));
                stream.set_socket_digest(digest);
                return Some(client.ip());
            }
        }
    }
}

fn parsed(bytes: &[u8]) -> Parsed {
    let is_line = bytes
        .iter()
        .zip(LINE)
        .all(|(read, expected)| read == expected);
    if is_line && !bytes.contains(&b'\n') && bytes.len() < LONGEST_LINE {
        // The parser takes some beginnings of a line for wrong ones.
        return Parsed::Incomplete;
    }
    let result = HeaderResult::parse(bytes);
    if result.is_incomplete() {
        return Parsed::Incomplete;
    }
    match result {
        HeaderResult::V1(Ok(header)) => {
            let client = match header.addresses {
                v1::Addresses::Tcp4(from) => Some((from.source_address, from.source_port).into()),
                v1::Addresses::Tcp6(from) => Some((from.source_address, from.source_port).into()),
                v1::Addresses::Unknown => None,
            };
            Parsed::Whole(header.header.len(), client)
        }
        HeaderResult::V2(Ok(header)) => {
            let client = match (header.command, header.addresses) {
                // A health check of the proxy's own.
                (v2::Command::Local, _) => None,
                (v2::Command::Proxy, v2::Addresses::IPv4(from)) => {
                    Some((from.source_address, from.source_port).into())
                }
                (v2::Command::Proxy, v2::Addresses::IPv6(from)) => {
                    Some((from.source_address, from.source_port).into())
                }
                (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
            };
            Parsed::Whole(header.len(), client)
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Parsed::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_to_its_end_and_no_further() {
        let header = "PROXY TCP4 192.0.2.1 198.51.100.1 4000 443\r\n";
        let client = "192.0.2.1:4000".parse().unwrap();
        let whole = Parsed::Whole(header.len(), Some(client));
        assert_eq!(parsed(format!("{header}GET").as_bytes()), whole);
        for length in 0..header.len() {
            assert_eq!(parsed(&header.as_bytes()[..length]), Parsed::Incomplete);
        }
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_no_client() {
        let unknown = b"PROXY UNKNOWN\r\n";
        assert_eq!(parsed(unknown), Parsed::Whole(unknown.len(), None));
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        assert_eq!(parsed(local), Parsed::Whole(local.len(), None));
    }

    #[test]
    fn anything_else_is_wrong() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PROXY TCP4 999.0.2.1 198.51.100.1 4000 443\r\n",
            b"PROXY TCP6 192.0.2.1 198.51.100.1 4000 443\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03aaaaaaaaaaaaaaa",
        ] {
            assert_eq!(parsed(bytes), Parsed::Wrong, "{bytes:?}");
        }
    }
}
