//! Where the private listener is: at an address, or at a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::address::canonical;
use super::kind::Kind;

/// Where the private listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrivateAddress {
    /// An address with a port.
    Tcp(SocketAddr),
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

impl PrivateAddress {
    /// Returns the address, where it has one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Returns the path of the socket, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }
}

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address as written; a socket's path may still be relative.
pub(super) const LISTEN: Kind<Option<PrivateAddress>> = Kind {
    expected: "an address such as \"127.0.0.1:9090\", or \"\" for no private listener, or a socket such as \"unix:/run/menshen/control.sock\"",
    read: |value| {
        let text = value.as_str()?;
        if text.is_empty() {
            return Some(None);
        }
        let address = match text.strip_prefix("unix:") {
            Some("") => return None,
            Some(path) => PrivateAddress::Unix(path.into()),
            None => PrivateAddress::Tcp(canonical(text.parse().ok()?)),
        };
        Some(Some(address))
    },
};

/// Who may connect to a socket: to do so is to write to it.
pub(super) const MODE: Kind<u32> = Kind {
    expected: "\"0600\" (its owner), \"0660\" (its group too) or \"0666\" (everybody)",
    read: |value| match value.as_str()? {
        "0600" => Some(0o600),
        "0660" => Some(0o660),
        "0666" => Some(0o666),
        _ => None,
    },
};
