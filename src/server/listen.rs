//! Binds the addresses before anything else starts, so that a port in use is one clear sentence.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

const BACKLOG: u32 = 4096;

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}")]
pub struct BindError {
    address: SocketAddr,
    cause: std::io::Error,
}

/// Bound sockets that wait to be served.
#[derive(Debug)]
pub struct Listening {
    pub(super) listeners: Vec<TcpListener>,
    /// Those that only send on to HTTPS.
    pub(super) redirects: Vec<TcpListener>,
}

impl Listening {
    /// Binds every address, or none.
    pub fn bind(addresses: &[SocketAddr], redirects: &[SocketAddr]) -> Result<Self, BindError> {
        let bind = |addresses: &[SocketAddr]| -> Result<Vec<_>, _> {
            let addresses = addresses.iter();
            addresses.map(|&address| Self::bind_one(address)).collect()
        };
        Ok(Self {
            listeners: bind(addresses)?,
            redirects: bind(redirects)?,
        })
    }

    /// Says whether the addresses are this machine's; one in use is, by the process that runs.
    pub fn can_bind(addresses: &[SocketAddr]) -> Result<(), BindError> {
        for &address in addresses {
            match std::net::TcpListener::bind(address) {
                Err(cause) if cause.kind() != std::io::ErrorKind::AddrInUse => {
                    return Err(BindError { address, cause });
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Binds one address, for a listener that is not the proxy's.
    pub fn bind_one(address: SocketAddr) -> Result<TcpListener, BindError> {
        bind(address).map_err(|cause| BindError { address, cause })
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

fn local(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    let addresses = listeners.iter().map(TcpListener::local_addr);
    addresses.filter_map(Result::ok).collect()
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restart must not wait for the last connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
