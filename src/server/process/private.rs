//! The bound socket of the private listener, which may be a Unix socket.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::bind::{BindError, can_bind};
use super::socket_file::{self, SocketError, remove_unless_answered};
use crate::config::PrivateAddress;

/// Why the private listener cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// Its address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its socket cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

impl PrivateError {
    /// Returns whether somebody else listens there, who may be gone soon.
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::Bind(error) => error.is_in_use(),
            Self::Socket(error) => matches!(error, SocketError::InUse(_)),
        }
    }
}

/// A bound socket that is not the proxy's.
#[derive(Debug)]
pub enum PrivateSocket {
    /// At an address.
    Tcp(TcpListener),
    /// With a file of its own.
    Unix(SocketFile),
}

/// A Unix socket, whose file is removed with it unless another process listens there.
#[derive(Debug)]
pub struct SocketFile {
    /// `None` once it is closed.
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl SocketFile {
    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a handle; what waits there stays when it is closed and this is not.
    pub fn handle(&self) -> io::Result<UnixListener> {
        let listener = self.listener.as_ref();
        listener.map_or_else(
            || Err(io::ErrorKind::NotConnected.into()),
            UnixListener::try_clone,
        )
    }

    /// Makes the socket, or uses one that was `inherited` and is still in its place.
    pub(super) fn bind(
        path: &Path,
        mode: u32,
        inherited: Vec<UnixListener>,
    ) -> Result<Self, SocketError> {
        let here = |listener: &UnixListener| {
            let address = listener.local_addr();
            address.is_ok_and(|address| address.as_pathname() == Some(path))
        };
        let inherited = inherited.into_iter().find(here).filter(|_| path.exists());
        let listener = match inherited {
            Some(listener) => {
                socket_file::set_mode(path, mode)?;
                // Whoever had it may have used it in another way.
                listener.set_nonblocking(true)?;
                listener
            }
            None => socket_file::bind(path, mode)?,
        };
        Ok(Self {
            listener: Some(listener),
            path: path.to_owned(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        drop(self.listener.take());
        remove_unless_answered(&self.path);
    }
}

impl PrivateSocket {
    /// Returns its address, where it has one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Returns the same as it would be written in the configuration.
    pub(super) fn place(&self) -> Option<PrivateAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(PrivateAddress::Tcp),
            Self::Unix(socket) => Some(PrivateAddress::Unix(socket.path().to_owned())),
        }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(listener) => Some(listener.as_fd()),
            Self::Unix(socket) => socket.listener.as_ref().map(AsFd::as_fd),
        }
    }

    /// Returns whether it could be bound; an address that is in use is, by the process that runs.
    pub fn may_bind(address: &PrivateAddress) -> Result<(), PrivateError> {
        match address {
            PrivateAddress::Tcp(address) => Ok(can_bind(&[*address])?),
            PrivateAddress::Unix(path) => Ok(socket_file::may_bind(path)?),
        }
    }
}

/// Tells inherited sockets with a port from those with a file.
pub(super) fn by_kind(inherited: Vec<OwnedFd>) -> (Vec<TcpListener>, Vec<UnixListener>) {
    let (mut with_port, mut with_file) = (Vec::new(), Vec::new());
    for socket in inherited {
        let domain = rustix::net::sockopt::socket_domain(&socket);
        if domain == Ok(rustix::net::AddressFamily::UNIX) {
            with_file.push(UnixListener::from(socket));
        } else {
            with_port.push(TcpListener::from(socket));
        }
    }
    (with_port, with_file)
}
