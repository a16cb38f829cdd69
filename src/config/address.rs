//! Network addresses as operators write them.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::backend::ServerAddress;
use super::kind::{self, Kind};

/// Where to listen.
pub(super) const LISTEN: Kind<SocketAddr> = Kind {
    expected: "a list of addresses such as [\"127.0.0.1:8080\"]",
    read: |value| Some(canonical(kind::text(value)?.parse().ok()?)),
};

/// Returns the same address as IPv4 where IPv6 only wraps it: a socket of IPv6 alone cannot be bound to that.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        // It may have a scope, too.
        IpAddr::V6(_) => address,
    }
}

/// Who is trusted.
pub(super) const NETWORK: Kind<IpNet> = Kind {
    expected: "a list of networks or addresses such as [\"10.0.0.0/8\", \"127.0.0.1\"], each network by its first \
               address and IPv4 as IPv4",
    read: |value| {
        let text = kind::text(value)?;
        let Ok(network) = text.parse::<IpNet>() else {
            let address: IpAddr = text.parse().ok()?;
            return Some(IpNet::from(address.to_canonical()));
        };
        // 10.1.2.3/8 trusts more than is seen in it; peers are IPv4 or IPv6, never one in the other.
        let is_mapped = network.addr() != network.addr().to_canonical();
        (network == network.trunc() && !is_mapped).then_some(network)
    },
};

/// A server as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrittenServer {
    /// Whether its scheme asks for TLS; `None` where there is no scheme.
    pub(super) tls: Option<bool>,
    pub(super) address: ServerAddress,
}

/// Where a backend listens; a name is looked up later.
pub(super) const SERVER: Kind<WrittenServer> = Kind {
    expected: "a list of servers such as [\"127.0.0.1:3000\", \"https://api.internal\", \"unix:/run/api.sock\"], without path",
    read: |value| {
        let text = kind::text(value)?;
        if let Some(path) = text.strip_prefix("unix:") {
            // What the system has room for, with the NUL behind it.
            let fits = path.starts_with('/') && path.len() < 108;
            return fits.then(|| WrittenServer {
                tls: None,
                address: ServerAddress::of(text),
            });
        }
        let (tls, rest) = match text.split_once("://") {
            None => (None, text),
            Some(("http", rest)) => (Some(false), rest.strip_suffix('/').unwrap_or(rest)),
            Some(("https", rest)) => (Some(true), rest.strip_suffix('/').unwrap_or(rest)),
            Some(_) => return None,
        };
        let (host, port) = host_and_port(rest)?;
        let usual = tls.map(|tls| if tls { 443 } else { 80 });
        let port = port.or(usual).filter(|port| *port != 0)?;
        let address = ServerAddress::of(&format!("{host}:{port}"));
        Some(WrittenServer { tls, address })
    },
};

/// An `http` or `https` origin, without a trailing slash.
pub(super) const ORIGIN: Kind<String> = Kind {
    expected: "an origin without user, path or query, such as \"https://api.weixin.qq.com\"",
    read: |value| {
        let text = kind::text(value)?;
        let origin = text.strip_suffix('/').unwrap_or(text);
        origin_host(origin).map(|_| origin.to_owned())
    },
};

/// An `http` or `https` URL that paths are added to, without a trailing slash.
pub(super) const BASE: Kind<String> = Kind {
    expected: "an origin, with or without a path, such as \"https://api.weixin.qq.com\"",
    read: |value| {
        let base = kind::text(value)?.trim_end_matches('/');
        let (origin, path) = origin_and_path(base);
        let in_path = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
        let is_path = path.bytes().all(in_path) && !path.contains("//");
        (origin_host(origin).is_some() && is_path).then(|| base.to_owned())
    },
};

/// Returns whether an origin, with or without a path, would carry secrets over a network in clear.
pub(super) fn is_plain_and_remote(base: &str) -> bool {
    let (origin, _) = origin_and_path(base);
    let local = origin_host(origin).is_some_and(|host| {
        let bare = host.trim_matches(['[', ']']);
        let address: Result<IpAddr, _> = bare.parse();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    origin.starts_with("http://") && !local
}

/// Splits a URL behind its host and port.
fn origin_and_path(base: &str) -> (&str, &str) {
    let host = base.find("://").map_or(0, |at| at + 3);
    let end = base.bytes().skip(host).position(|b| b == b'/');
    end.and_then(|end| base.split_at_checked(host + end))
        .unwrap_or((base, ""))
}

/// Returns an origin's host, or `None` when it is no origin.
fn origin_host(origin: &str) -> Option<&str> {
    let rest = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"))?;
    let (host, port) = host_and_port(rest)?;
    (port != Some(0)).then_some(host)
}

/// Splits `host`, `host:port` or `[v6]:port`; `None` when either half is not one.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port = match port {
        // `parse` alone would take "+80".
        Some(port) if port.chars().all(|c| c.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
        None => None,
    };
    is_host(host).then_some((host, port))
}

fn is_host(host: &str) -> bool {
    match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    }
}

/// Returns whether a text is a host name or an IPv4 address.
pub(super) fn is_host_name(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.chars().all(allowed);
    // What ends in a number is an IPv4 address to every resolver, whatever the number means.
    let numeric = |label: &str| label.chars().all(|c| c.is_ascii_digit());
    let is_address = host.rsplit('.').next().is_some_and(numeric);
    host.len() <= 253
        && host.split('.').all(label)
        && (!is_address || host.parse::<std::net::Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use toml::de::DeValue;

    use super::*;

    fn read<T>(kind: &Kind<T>, text: &str) -> Option<T> {
        let text = format!("{text:?}");
        (kind.read)(DeValue::parse(&text).unwrap().get_ref())
    }

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for good in [
            "127.0.0.1:3000",
            "[::1]:3000",
            "api.internal:80",
            "my_api:65535",
            "unix:/run/api.sock",
        ] {
            let server = read(&SERVER, good).unwrap();
            assert_eq!(
                (server.tls, server.address.to_string().as_str()),
                (None, good)
            );
        }
        for bad in [
            "127.0.0.1",
            "api:0",
            "api:65536",
            "api:+80",
            "api:",
            ":80",
            "::1:80",
            "[::1]",
            "[x]:80",
            "ftp://api:80",
            "HTTP://api:80",
            "http://",
            "http://api:0",
            "http://api//",
            "https://api/x",
            "https://me:pw@api",
            "https://unix:/run/api.sock",
            "api:80/x",
            "a b:80",
            "a..b:80",
            "300.0.0.1:80",
            "me:pw@api:80",
            "unix:",
            "unix:api.sock",
            &format!("unix:/{}", "x".repeat(107)),
        ] {
            assert_eq!(read(&SERVER, bad), None, "{bad}");
        }
    }

    #[test]
    fn a_server_may_have_a_scheme_that_says_its_port_and_tls() {
        for (text, tls, address) in [
            ("http://api:3000", false, "api:3000"),
            ("http://api", false, "api:80"),
            ("http://api/", false, "api:80"),
            ("https://api.internal", true, "api.internal:443"),
            ("https://[::1]:8443/", true, "[::1]:8443"),
        ] {
            let server = read(&SERVER, text).unwrap();
            assert_eq!(server.tls, Some(tls), "{text}");
            assert_eq!(server.address.to_string(), address, "{text}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for (text, origin) in [
            ("https://api.weixin.qq.com", "https://api.weixin.qq.com"),
            ("https://api.weixin.qq.com/", "https://api.weixin.qq.com"),
            ("http://127.0.0.1:8600", "http://127.0.0.1:8600"),
            ("http://[::1]:8600", "http://[::1]:8600"),
        ] {
            assert_eq!(read(&ORIGIN, text).as_deref(), Some(origin));
        }
        for bad in [
            "api.weixin.qq.com",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://a//",
            "https://a?b",
            "https://a#b",
            "https://me:pw@a",
            "https://a:",
            "https://a:0",
        ] {
            assert_eq!(read(&ORIGIN, bad), None, "{bad}");
        }
    }

    #[test]
    fn a_base_is_an_origin_that_may_have_a_path() {
        for (text, base) in [
            ("https://api.weixin.qq.com", "https://api.weixin.qq.com"),
            (
                "https://gw.example:8443/wechat/v1/",
                "https://gw.example:8443/wechat/v1",
            ),
            ("http://127.0.0.1:8600/x", "http://127.0.0.1:8600/x"),
        ] {
            assert_eq!(read(&BASE, text).as_deref(), Some(base));
        }
        for bad in [
            "gw.example/wechat",
            "https:///a",
            "https://a//b",
            "https://a/b?c",
            "https://a/b#c",
            "https://me:pw@a/b",
            "https://a/é",
            "https://a/b c",
        ] {
            assert_eq!(read(&BASE, bad), None, "{bad}");
        }
    }

    #[test]
    fn only_this_machine_is_reached_in_clear_without_a_word() {
        for local in [
            "http://localhost:1",
            "http://127.8.8.8",
            "http://[::1]:1",
            "http://[::1]:1/path",
            "https://a.example",
        ] {
            assert!(!is_plain_and_remote(local), "{local}");
        }
        for remote in [
            "http://a.example",
            "http://10.0.0.1:80",
            "http://localhost.a.example",
            "http://a.example/localhost",
        ] {
            assert!(is_plain_and_remote(remote), "{remote}");
        }
    }

    #[test]
    fn a_network_may_be_one_address() {
        assert_eq!(read(&NETWORK, "10.0.0.0/8"), "10.0.0.0/8".parse().ok());
        assert_eq!(
            read(&NETWORK, "::ffff:10.0.0.1"),
            "10.0.0.1/32".parse().ok()
        );
        assert_eq!(read(&NETWORK, "::1"), "::1/128".parse().ok());
        for bad in [
            "10.0.0.0/33",
            "10.1.2.3/8",
            "fe80::1/10",
            "::ffff:10.0.0.0/104",
        ] {
            assert_eq!(read(&NETWORK, bad), None, "{bad}");
        }
    }
}
