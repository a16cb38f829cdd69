//! Binds one address, and says whether it could be.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

const BACKLOG: u32 = 4096;

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}")]
pub struct BindError {
    pub(super) address: SocketAddr,
    pub(super) cause: std::io::Error,
}

impl BindError {
    /// Returns whether somebody else listens there, who may be gone soon.
    pub fn is_in_use(&self) -> bool {
        self.cause.kind() == std::io::ErrorKind::AddrInUse
    }
}

/// Returns whether the addresses are this machine's; one in use is, by the process that runs.
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

pub(super) fn bind(address: SocketAddr, only_v6: bool) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if only_v6 {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // A restart must not wait for the last connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
