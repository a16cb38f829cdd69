//! Binds the addresses before anything else starts, so that a port in use is one clear sentence.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use tokio::net::TcpListener;

use super::bind::{BindError, bind};
use super::private::{PrivateError, PrivateSocket, SocketFile, by_kind};
use crate::config::{Control, PrivateAddress};

/// Bound sockets that wait to be served.
#[derive(Debug)]
pub struct Listening {
    pub(super) listeners: Vec<std::net::TcpListener>,
    /// Those that only send on to HTTPS.
    pub(super) redirects: Vec<std::net::TcpListener>,
    /// The one that is not the proxy's.
    private: Option<PrivateSocket>,
}

impl Listening {
    /// Binds every address, or none; of those that were `inherited` from another process, each is used as it is.
    pub fn bind(
        addresses: &[SocketAddr],
        redirects: &[SocketAddr],
        control: &Control,
        inherited: Vec<OwnedFd>,
    ) -> Result<Self, PrivateError> {
        let (mut inherited, sockets) = by_kind(inherited);
        let private = control.listen.as_ref();
        let all = addresses.iter().chain(redirects).copied();
        let all: Vec<SocketAddr> = all.chain(private.and_then(PrivateAddress::tcp)).collect();
        let mut listener = |&address: &SocketAddr| {
            let here = |known: &std::net::TcpListener| {
                known.local_addr().is_ok_and(|known| is_for(known, address))
            };
            if let Some(at) = inherited.iter().position(here) {
                // Those without a port are told apart by their order.
                let listener = inherited.remove(at);
                // Whoever had it may have used it in another way.
                let usable = listener.set_nonblocking(true).map(|()| listener);
                return usable.map_err(|cause| BindError { address, cause });
            }
            let bound = bind(address, shares_port(address, &all));
            let listener = bound.and_then(TcpListener::into_std);
            listener.map_err(|cause| BindError { address, cause })
        };
        Ok(Self {
            listeners: addresses
                .iter()
                .map(&mut listener)
                .collect::<Result<_, _>>()?,
            redirects: redirects
                .iter()
                .map(&mut listener)
                .collect::<Result<_, _>>()?,
            private: match private {
                None => None,
                Some(PrivateAddress::Tcp(address)) => Some(PrivateSocket::Tcp(listener(address)?)),
                Some(PrivateAddress::Unix(path)) => {
                    let socket = SocketFile::bind(path, control.socket_mode, sockets)?;
                    Some(PrivateSocket::Unix(socket))
                }
            },
        })
    }

    /// Returns every socket.
    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let proxied = self.listeners.iter().chain(&self.redirects);
        let private = self.private.as_ref().and_then(PrivateSocket::fd);
        proxied.map(|listener| listener.as_fd()).chain(private)
    }

    /// Returns the socket that is not the proxy's.
    pub fn private(&self) -> Option<&PrivateSocket> {
        self.private.as_ref()
    }

    /// Closes every socket but the one that is not the proxy's.
    pub fn into_private(self) -> Option<PrivateSocket> {
        self.private
    }

    /// Returns that one's address, where it has one.
    pub fn private_address(&self) -> Option<SocketAddr> {
        self.private.as_ref()?.address()
    }

    /// Returns where it is, with the port that the system chose.
    pub fn private_place(&self) -> Option<PrivateAddress> {
        self.private.as_ref()?.place()
    }

    /// Binds one address, for a listener that is not the proxy's.
    pub fn bind_one(address: SocketAddr) -> Result<TcpListener, BindError> {
        bind(address, false).map_err(|cause| BindError { address, cause })
    }

    /// Returns the addresses with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        local(&self.listeners)
    }

    /// Returns the same of those that only send on to HTTPS.
    pub fn redirect_addresses(&self) -> Vec<SocketAddr> {
        local(&self.redirects)
    }
}

/// Returns whether a socket is what an address asks for; one without a port asks for any.
fn is_for(known: SocketAddr, address: SocketAddr) -> bool {
    known.ip() == address.ip() && (address.port() == 0 || known.port() == address.port())
}

fn local(listeners: &[std::net::TcpListener]) -> Vec<SocketAddr> {
    let addresses = listeners.iter().map(std::net::TcpListener::local_addr);
    addresses.filter_map(Result::ok).collect()
}

/// Returns whether an IPv6 address leaves IPv4 on its port to another one of the list; alone, `[::]` is for both.
fn shares_port(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let with = |other: &&SocketAddr| other.is_ipv4() && other.port() == address.port();
    address.is_ipv6() && address.port() != 0 && all.iter().any(|other| with(&other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(listen: Option<SocketAddr>) -> Control {
        Control {
            listen: listen.map(PrivateAddress::Tcp),
            socket_mode: 0o600,
            secret: None,
            callers: Vec::new(),
        }
    }

    #[tokio::test]
    async fn ipv4_and_ipv6_have_the_same_port_and_alone_ipv6_is_for_both() {
        let both = Listening::bind(
            &["[::]:0".parse().unwrap()],
            &[],
            &control(None),
            Vec::new(),
        )
        .unwrap();
        let port = both.addresses()[0].port();
        let reach = |host: &str| std::net::TcpStream::connect((host, port)).is_ok();
        assert!(reach("127.0.0.1") && reach("::1"));
        drop(both);
        let addresses = [("[::]", port), ("0.0.0.0", port)];
        let addresses = addresses.map(|(host, port)| format!("{host}:{port}").parse().unwrap());
        for (listen, redirect) in [
            (&addresses[..], &[][..]),
            (&addresses[..1], &addresses[1..]),
        ] {
            let listening = Listening::bind(listen, redirect, &control(None), Vec::new()).unwrap();
            assert_eq!(listening.sockets().count(), 2);
            assert!(reach("127.0.0.1") && reach("::1"));
        }
    }

    #[tokio::test]
    async fn an_inherited_socket_is_used_whichever_way_it_was_used_before() {
        let before = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = before.local_addr().unwrap();
        let control = control(Some(address));
        let listening = Listening::bind(&[], &[], &control, vec![before.into()]).unwrap();
        let Some(PrivateSocket::Tcp(private)) = listening.into_private() else {
            panic!("it has a port");
        };
        assert_eq!(private.local_addr().unwrap(), address);
        // It would panic for one that blocks.
        TcpListener::from_std(private).unwrap();
    }
}
