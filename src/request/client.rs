//! Who sent the request: the client's address, and what a trusted proxy in front says about it.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// The other end of a connection, with its address as text: a connection serves many requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    address: IpAddr,
    text: Option<HeaderValue>,
    /// Whether what it sends may be a trusted proxy's words.
    vouched_for: bool,
}

impl Peer {
    /// Writes an address down once.
    pub fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self {
            address,
            text: text(address),
            vouched_for: true,
        }
    }

    /// Writes a proxy's address down that does not say whose words it brings.
    pub fn unknown_behind(proxy: IpAddr) -> Self {
        Self {
            vouched_for: false,
            ..Self::new(proxy)
        }
    }

    /// Returns the address.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

/// The connection a request came on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The other end; `None` when the system could not tell.
    pub peer: Option<Peer>,
    /// Whether it is encrypted.
    pub tls: bool,
}

/// What is forwarded about the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The right-most address that is not a trusted proxy's.
    pub address: Option<IpAddr>,
    /// The same as a header value.
    pub address_text: Option<HeaderValue>,
    /// The hops, where there is more to say than the address.
    chain: Option<HeaderValue>,
    /// `http` or `https`.
    pub proto: HeaderValue,
    /// The host that the client asked for, as a trusted proxy says or as it is in this request.
    pub host: Option<HeaderValue>,
    /// Whether the peer is a trusted proxy.
    pub trusted: bool,
}

/// Reads `X-Forwarded-*`, which count only when `trusted` holds the peer.
pub fn client(
    connection: &Connection,
    headers: &HeaderMap,
    // What HTTP/2 sends in place of `Host`.
    authority: Option<&str>,
    trusted: &[IpNet],
) -> Client {
    let own_host = || match authority {
        Some(authority) => HeaderValue::from_str(authority).ok(),
        // An empty one names nobody, and the server is sent its own name.
        None => headers.get(HOST).filter(|host| !host.is_empty()).cloned(),
    };
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let own_proto = if connection.tls { "https" } else { "http" };
    let peer = connection.peer.as_ref();
    let Some(peer) = peer.filter(|peer| peer.vouched_for && is_trusted(&peer.address)) else {
        return Client {
            address: peer.map(|peer| peer.address),
            address_text: peer.and_then(|peer| peer.text.clone()),
            chain: None,
            proto: HeaderValue::from_static(own_proto),
            host: own_host(),
            trusted: false,
        };
    };
    let hops = hops(headers);
    let mut address = peer.address;
    let mut believed = hops.len();
    for (at, hop) in hops.iter().enumerate().rev() {
        // What stands left of something unreadable is anybody's word.
        let Some(hop) = hop else { break };
        believed = at;
        address = *hop;
        if !is_trusted(hop) {
            break;
        }
    }
    let mut forwarded_for = String::new();
    for hop in hops.iter().skip(believed).flatten() {
        forwarded_for.push_str(&hop.to_string());
        forwarded_for.push_str(", ");
    }
    forwarded_for.push_str(&peer.address.to_string());
    let proto = match last(headers, "x-forwarded-proto") {
        Some("https") => "https",
        Some("http") => "http",
        _ => own_proto,
    };
    let host = last(headers, "x-forwarded-host");
    Client {
        address: Some(address),
        address_text: text(address),
        chain: HeaderValue::try_from(forwarded_for).ok(),
        proto: HeaderValue::from_static(proto),
        host: host
            .and_then(|host| HeaderValue::from_str(host).ok())
            .or_else(own_host),
        trusted: true,
    }
}

impl Client {
    /// Returns the value of `X-Forwarded-For`.
    pub fn forwarded_for(&self) -> Option<&HeaderValue> {
        self.chain.as_ref().or(self.address_text.as_ref())
    }
}

fn text(address: IpAddr) -> Option<HeaderValue> {
    // As long as an IPv6 address can get.
    let mut text = BytesMut::with_capacity(45);
    write!(text, "{address}").ok()?;
    HeaderValue::from_maybe_shared(text.freeze()).ok()
}

/// Returns the addresses of all `X-Forwarded-For` lines in order; `None` is one that cannot be read.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    headers
        .get_all("x-forwarded-for")
        .iter()
        .flat_map(|line| line.as_bytes().split(|&b| b == b','))
        .map(|hop| {
            let text = std::str::from_utf8(hop).ok()?.trim();
            hop_address(text).map(|hop| hop.to_canonical())
        })
        .collect()
}

/// Reads a hop, to which some proxies add the port.
fn hop_address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let with_port = || text.parse::<SocketAddr>().ok().map(|hop| hop.ip());
    bare.unwrap_or(text).parse().ok().or_else(with_port)
}

fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let line = headers.get_all(name).iter().next_back()?;
    line.to_str().ok()?.rsplit(',').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn seen(peer: &str, trusted: &[&str], headers: &[(&'static str, &str)]) -> Client {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let connection = Connection {
            peer: Some(Peer::new(peer.parse().unwrap())),
            tls: false,
        };
        client(&connection, &map, None, &trusted)
    }

    #[test]
    fn nobody_is_believed_by_default() {
        let client = seen(
            "192.0.2.1",
            &[],
            &[
                ("x-forwarded-for", "203.0.113.9"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil"),
            ],
        );
        assert_eq!(client.address, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(client.forwarded_for().unwrap(), "192.0.2.1");
        assert_eq!((client.proto.as_bytes(), client.host), (&b"http"[..], None));
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        let client = seen(
            "10.0.0.2",
            &["10.0.0.0/8"],
            &[
                ("x-forwarded-for", "6.6.6.6, 203.0.113.9"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "shop.example"),
            ],
        );
        assert_eq!(client.address, Some("203.0.113.9".parse().unwrap()));
        assert_eq!(
            client.forwarded_for().unwrap(),
            "203.0.113.9, 10.0.0.1, 10.0.0.2"
        );
        assert_eq!(client.proto, "https");
        assert_eq!(client.host.unwrap(), "shop.example");
    }

    #[test]
    fn whom_a_proxy_does_not_know_is_not_believed() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let said = HeaderValue::from_static("203.0.113.9");
        let headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), said)]);
        let connection = Connection {
            peer: Some(Peer::unknown_behind("10.0.0.2".parse().unwrap())),
            tls: false,
        };
        let client = client(&connection, &headers, None, &trusted);
        assert!(!client.trusted);
        assert_eq!(client.forwarded_for().unwrap(), "10.0.0.2");
    }

    #[test]
    fn a_hop_may_have_a_port() {
        for (hop, address) in [
            ("203.0.113.9:4711", "203.0.113.9"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ] {
            let client = seen("10.0.0.2", &["10.0.0.0/8"], &[("x-forwarded-for", hop)]);
            assert_eq!(client.address, Some(address.parse().unwrap()), "{hop}");
        }
    }

    #[test]
    fn nothing_left_of_an_unreadable_hop_counts() {
        let client = seen(
            "10.0.0.2",
            &["10.0.0.0/8"],
            &[("x-forwarded-for", "6.6.6.6, unknown, 10.0.0.1")],
        );
        assert_eq!(client.address, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(client.forwarded_for().unwrap(), "10.0.0.1, 10.0.0.2");
    }

    #[test]
    fn an_ipv4_peer_on_an_ipv6_socket_matches_an_ipv4_network() {
        let client = seen("::ffff:10.0.0.2", &["10.0.0.0/8"], &[]);
        assert!(client.trusted);
    }
}
