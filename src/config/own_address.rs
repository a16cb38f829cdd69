//! Servers that are Menshen itself: a request for one would come back for ever, and use up every connection.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

use super::backend::ServerAddress;
use super::model::{Control, Server};
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
    let named = |key| move |address: &SocketAddr| (*address, key);
    let control = control.and_then(|control| control.listen.as_ref()?.tcp());
    let listen = server.listen.iter().map(named("server.listen"));
    let redirects = server
        .redirect_http
        .iter()
        .map(named("server.redirect_http"));
    let control = control.iter().map(named("control.listen"));
    let mut all = listen.chain(redirects).chain(control);
    let found = all.find(|(address, _)| {
        address.port() == port && ips.iter().any(|ip| leads_to(*ip, address.ip()))
    });
    found.map(|(address, key)| (PrivateAddress::Tcp(address), key))
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

/// Only an address of this machine can be bound.
fn is_of_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
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
