//! Reads what a proxy in front says about the client in the PROXY protocol, before anything else is said.

use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult as _, v1, v2};

/// How a header of version 1 begins.
const LINE: &[u8] = b"PROXY ";

/// How long one can be.
const LONGEST_LINE: usize = 107;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The beginning of a header.
    Incomplete,
    /// Not the PROXY protocol.
    Wrong,
    /// A header of this length, and the client; `None` where the proxy speaks for itself.
    Whole(usize, Option<SocketAddr>),
}

impl ProxyHeader {
    /// Reads the bytes that came so far.
    pub fn parse(bytes: &[u8]) -> Self {
        let is_line = bytes
            .iter()
            .zip(LINE)
            .all(|(read, expected)| read == expected);
        if is_line && !bytes.contains(&b'\n') && bytes.len() < LONGEST_LINE {
            // The parser takes some beginnings of a line for wrong ones.
            return Self::Incomplete;
        }
        let result = HeaderResult::parse(bytes);
        if result.is_incomplete() {
            return Self::Incomplete;
        }
        match result {
            HeaderResult::V1(Ok(header)) => {
                let client = match header.addresses {
                    v1::Addresses::Tcp4(from) => {
                        Some((from.source_address, from.source_port).into())
                    }
                    v1::Addresses::Tcp6(from) => {
                        Some((from.source_address, from.source_port).into())
                    }
                    v1::Addresses::Unknown => None,
                };
                Self::Whole(header.header.len(), client)
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
                    (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => {
                        None
                    }
                };
                Self::Whole(header.len(), client)
            }
            HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Self::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_to_its_end_and_no_further() {
        let header = "PROXY TCP4 192.0.2.1 198.51.100.1 4000 443\r\n";
        let client = "192.0.2.1:4000".parse().unwrap();
        let whole = ProxyHeader::Whole(header.len(), Some(client));
        assert_eq!(ProxyHeader::parse(format!("{header}GET").as_bytes()), whole);
        for length in 0..header.len() {
            assert_eq!(
                ProxyHeader::parse(&header.as_bytes()[..length]),
                ProxyHeader::Incomplete
            );
        }
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_no_client() {
        let unknown = b"PROXY UNKNOWN\r\n";
        assert_eq!(
            ProxyHeader::parse(unknown),
            ProxyHeader::Whole(unknown.len(), None)
        );
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        assert_eq!(
            ProxyHeader::parse(local),
            ProxyHeader::Whole(local.len(), None)
        );
    }

    #[test]
    fn anything_else_is_wrong() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PROXY TCP4 999.0.2.1 198.51.100.1 4000 443\r\n",
            b"PROXY TCP6 192.0.2.1 198.51.100.1 4000 443\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03aaaaaaaaaaaaaaa",
        ] {
            assert_eq!(ProxyHeader::parse(bytes), ProxyHeader::Wrong, "{bytes:?}");
        }
    }
}
