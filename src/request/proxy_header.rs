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
        let end = bytes.iter().position(|&byte| byte == b'\n');
        if is_line && end.is_none() && bytes.len() < LONGEST_LINE {
            // The parser takes some beginnings of a line for wrong ones.
            return Self::Incomplete;
        }
        let line = end.and_then(|end| bytes.get(..end));
        if is_line && !line.is_some_and(is_plain) {
            // The parser goes on behind a line feed of its own, and finds an end there or here.
            return Self::Wrong;
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

/// Returns whether a line, without its line feed, ends in a carriage return and is text before it.
fn is_plain(line: &[u8]) -> bool {
    let text = line.strip_suffix(b"\r");
    text.is_some_and(|text| text.iter().all(|byte| (b' '..0x7f).contains(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_one_end() {
        for line in [
            "PROXY UNKNOWN 4\n\r\n",
            "PROXY UNKNOWN 4\0\r\n",
            "PROXY UNKNOWN \r4\r\n",
            "PROXY UNKNOWN \u{e9}\r\n",
            "PROXY UNKNOWN\n",
        ] {
            assert_eq!(
                ProxyHeader::parse(line.as_bytes()),
                ProxyHeader::Wrong,
                "{line:?}"
            );
        }
        let line = b"PROXY UNKNOWN whatever\r\n";
        assert_eq!(
            ProxyHeader::parse(line),
            ProxyHeader::Whole(line.len(), None)
        );
    }

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
