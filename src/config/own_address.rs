//! Servers that are Menshen itself: a request for one would come back for ever, and use up every connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::Path;

use super::backend::ServerAddress;
use super::model::{Config, Control, Server};
use super::private_address::PrivateAddress;

/// Returns the address of ours, and the key that names it, where a server would be asked.
pub(super) fn own_address(
    asked: &ServerAddress,
    server: &Server,
    control: Option<&Control>,
) -> Option<(PrivateAddress, &'static str)> {
    let text = match asked {
        ServerAddress::Tcp(text) => text,
        ServerAddress::Unix(path) => return own_socket(path, control),
    };
    let (_, port) = text.rsplit_once(':')?;
    let (port, ips): (u16, _) = (port.parse().ok()?, addresses(asked.host()?));
    let control = control.and_then(|control| control.listen.as_ref()?.tcp());
    let mut all = listeners(server, control);
    let found = all.find(|(address, _)| is_reached(*address, port, &ips));
    found.map(|(address, key)| (PrivateAddress::Tcp(address), key))
}

/// Returns every address that is listened on, and the key that names it.
fn listeners(
    server: &Server,
    control: Option<SocketAddr>,
) -> impl Iterator<Item = (SocketAddr, &'static str)> {
    let named = |key| move |address: &SocketAddr| (*address, key);
    let listen = server.listen.iter().map(named("server.listen"));
    let redirects = server
        .redirect_http
        .iter()
        .map(named("server.redirect_http"));
    let control = control.map(|address| (address, "control.listen"));
    listen.chain(redirects).chain(control)
}

/// Returns whether a connection to a port at one of these addresses comes out at a listener.
fn is_reached(listener: SocketAddr, port: u16, ips: &[IpAddr]) -> bool {
    listener.port() == port && ips.iter().any(|ip| leads_to(*ip, listener.ip()))
}

/// Every address that is listened on, and the key that names it.
#[derive(Clone, Debug, Default)]
pub struct OwnListeners(Vec<(SocketAddr, &'static str)>);

impl OwnListeners {
    /// Returns the one that a connection to an address comes out at.
    pub fn reached_at(&self, asked: SocketAddr) -> Option<(SocketAddr, &'static str)> {
        let (port, ips) = (asked.port(), [asked.ip()]);
        let mut all = self.0.iter();
        all.find(|(address, _)| is_reached(*address, port, &ips))
            .copied()
    }
}

#[cfg(test)]
impl From<SocketAddr> for OwnListeners {
    fn from(address: SocketAddr) -> Self {
        Self(vec![(address, "server.listen")])
    }
}

/// A server that a name stands for, at a port that is listened on here.
#[derive(Debug)]
pub struct NamedServer {
    upstream: String,
    host: String,
    port: u16,
    /// Those of ours at that port, and the keys that name them.
    listeners: Vec<(SocketAddr, &'static str)>,
}

impl Config {
    /// Returns the addresses at which a server would be Menshen itself.
    pub fn own_listeners(&self) -> OwnListeners {
        let control = self.control.listen.as_ref().and_then(PrivateAddress::tcp);
        OwnListeners(listeners(&self.server, control).collect())
    }

    /// Returns the servers by whose names Menshen itself could be meant, which only a look-up tells.
    pub fn named_servers_at_own_ports(&self) -> Vec<NamedServer> {
        let own = self.own_listeners();
        let servers = self.upstreams.iter().flat_map(|upstream| {
            let servers = upstream.servers.iter();
            servers.map(|server| (&upstream.name, server))
        });
        let found = servers.filter_map(|(upstream, asked)| {
            let (host, text) = (asked.host()?, asked.to_string());
            let port = text.rsplit_once(':')?.1.parse().ok()?;
            let mut listeners = own.0.clone();
            listeners.retain(|(address, _)| address.port() == port);
            // Of addresses it is told when they are read.
            let is_name = addresses(host).is_empty();
            (is_name && !listeners.is_empty()).then(|| NamedServer {
                upstream: upstream.clone(),
                host: host.to_owned(),
                port,
                listeners,
            })
        });
        found.collect()
    }
}

impl NamedServer {
    /// Looks the name up, which may take as long as the system's resolver does, and says so if it leads here now.
    pub fn warning(&self) -> Option<String> {
        let Self {
            upstream,
            host,
            port,
            listeners,
        } = self;
        let found = (host.as_str(), *port).to_socket_addrs().ok()?;
        let ips: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        let mut listeners = listeners.iter();
        let (address, key) = listeners.find(|(address, _)| is_reached(*address, *port, &ips))?;
        Some(format!(
            "upstream.servers: {host}:{port} of {upstream} leads to Menshen itself ({address} of {key})"
        ))
    }
}

/// Returns the private listener's socket where that would be asked.
fn own_socket(asked: &str, control: Option<&Control>) -> Option<(PrivateAddress, &'static str)> {
    let listen = control?.listen.as_ref()?;
    let is_asked = listen.path() == Some(Path::new(asked));
    is_asked.then(|| (listen.clone(), "control.listen"))
}

/// Returns the addresses of a host that needs no look-up; a name may lead elsewhere tomorrow.
fn addresses(host: &str) -> Vec<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return vec![
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ];
    }
    host.parse().into_iter().collect()
}

/// Returns whether a connection to an address of this machine comes out at a listener.
fn leads_to(asked: IpAddr, listener: IpAddr) -> bool {
    let (asked, listener) = (asked.to_canonical(), listener.to_canonical());
    if asked == listener {
        return true;
    }
    // Where nothing is named, the system connects to this machine.
    let is_here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified() || is_of_this_machine(ip);
    let covers = listener.is_unspecified() && (listener.is_ipv6() || asked.is_ipv4());
    (covers && is_here(asked)) || (asked.is_unspecified() && listener.is_loopback())
}

/// Towards an address of its own, the system sends from that address; nothing is sent here. To bind it would say nothing: other
/// addresses can be bound too where `net.ipv4.ip_nonlocal_bind` is set.
fn is_of_this_machine(ip: IpAddr) -> bool {
    let any: IpAddr = match ip.is_ipv4() {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_to_this_machine_comes_out_at_a_listener_for_its_address() {
        let leads = |asked: &str, listener: &str| {
            leads_to(asked.parse().unwrap(), listener.parse().unwrap())
        };
        for (asked, listener) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "0.0.0.0"),
            ("127.0.0.5", "0.0.0.0"),
            ("127.0.0.1", "::"),
            ("::1", "::"),
            ("::1", "::1"),
            ("0.0.0.0", "127.0.0.1"),
            ("::ffff:127.0.0.1", "0.0.0.0"),
        ] {
            assert!(leads(asked, listener), "{asked} {listener}");
        }
        for (asked, listener) in [
            ("127.0.0.1", "127.0.0.2"),
            ("::1", "0.0.0.0"),
            ("::1", "127.0.0.1"),
            // Of a documentation's network, and nobody's.
            ("192.0.2.7", "0.0.0.0"),
        ] {
            assert!(!leads(asked, listener), "{asked} {listener}");
        }
    }
}
