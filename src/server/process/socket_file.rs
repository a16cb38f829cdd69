//! A Unix socket's file: where it may be, in place of what, and when it is removed.
//!
//! The file is created with mode 0600, by `fchmod` of the socket before `bind` (Linux applies that to the file), and
//! widened afterwards to the mode that is configured. Its folder must be one that other users cannot write to. An
//! existing file is removed only if it is a socket of this user or root at which nobody accepts. A successor is handed
//! the socket and knows it by its absolute path. The process that closes it last removes the file: each closes its own
//! handle first and then connects, to learn whether another still accepts.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::owner::{Exposed, keeps_ours};

const BACKLOG: i32 = 1024;

/// Why there cannot be a socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something else has the socket's place, and nobody said that it may go.
    #[error("{} is there and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The socket's folder is missing, or not to be written to.
    #[error("{}: no socket can be made there: {cause}", folder.display())]
    NoPlace {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Another user may put a socket of their own into the socket's place, or has.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// Another process listens there.
    #[error("another process listens at {}", .0.display())]
    InUse(PathBuf),
    /// The operating system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Returns whether a socket can be made, and nothing but a socket of ours or of root's is in its place, which alone may be taken away.
pub(super) fn may_bind(path: &Path) -> Result<(), SocketError> {
    in_our_folder(path)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(SocketError::NotASocket(path.to_owned()))
        }
        Ok(found) => is_ours(path, found.uid()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => can_hold(path),
        Err(error) => Err(error.into()),
    }
}

/// Binds a socket in place of one that was left by a process that is gone; `mode` says who may connect.
pub(super) fn bind(path: &Path, mode: u32) -> Result<UnixListener, SocketError> {
    may_bind(path)?;
    if is_answered(path)? {
        return Err(SocketError::InUse(path.to_owned()));
    }
    remove(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let socket = socket.map_err(io::Error::from)?;
    // The file gets the socket's own permissions, so that nobody can connect before it has those that are wanted.
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(io::Error::from)?;
    rustix::net::bind(&socket, &address(path)?).map_err(io::Error::from)?;
    // From here on it is removed where something fails.
    let listener = UnixListener::from(socket);
    let listened = set_mode(path, mode).and_then(|()| listen(&listener));
    if let Err(error) = listened {
        let _ = remove(path);
        return Err(error.into());
    }
    Ok(listener)
}

/// Says who may connect to a socket.
pub(super) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Removes a socket that this process no longer listens at, unless another one does.
pub(super) fn remove_unless_answered(path: &Path) {
    if let Ok(false) = is_answered(path) {
        let _ = remove(path);
    }
}

/// Refuses a folder where another user could take the socket's place.
pub(super) fn in_our_folder(path: &Path) -> Result<(), SocketError> {
    let folder = folder_of(path);
    let found = fs::metadata(folder).map_err(|cause| no_place(folder, cause))?;
    Ok(keeps_ours(folder, &found)?)
}

fn is_ours(path: &Path, owner: u32) -> Result<(), SocketError> {
    let us = rustix::process::geteuid().as_raw();
    if owner == us || owner == 0 {
        return Ok(());
    }
    let path = path.to_owned();
    Err(Exposed::Foreign { path, owner, us }.into())
}

/// Returns whether something can be made in the folder of a path, by making it and taking it away.
fn can_hold(path: &Path) -> Result<(), SocketError> {
    let folder = folder_of(path);
    tempfile::tempfile_in(folder)
        .map(drop)
        .map_err(|cause| no_place(folder, cause))
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
}

fn no_place(folder: &Path, cause: io::Error) -> SocketError {
    let folder = folder.to_owned();
    SocketError::NoPlace { folder, cause }
}

/// Returns whether a process listens at a path.
fn is_answered(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address(path)?).map_err(io::Error::from) {
        Ok(()) => Ok(true),
        // Too many wait to be accepted.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether nobody listens, as far as an error tells.
pub(super) fn is_absence(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::NotFound || kind == io::ErrorKind::ConnectionRefused
}

fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(path)?)
}

fn listen(socket: &impl AsFd) -> io::Result<()> {
    Ok(rustix::net::listen(socket, BACKLOG)?)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_is_for_whom_its_mode_says_and_takes_the_place_of_one_that_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        for mode in [0o600, 0o660, 0o666] {
            let listener = bind(&path, mode).unwrap();
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!(found.mode() & 0o777, mode, "{mode:o}");
            UnixStream::connect(&path).unwrap();
            let second = bind(&path, mode).unwrap_err();
            assert!(matches!(second, SocketError::InUse(_)), "{second}");
            // Nobody removed it.
            drop(listener);
        }
        remove_unless_answered(&path);
        assert!(!path.exists());
    }

    #[test]
    fn nothing_but_a_socket_of_ours_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        fs::write(&path, "precious").unwrap();
        let refused = bind(&path, 0o600).unwrap_err();
        assert!(matches!(refused, SocketError::NotASocket(_)), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(
            bind(&path, 0o600),
            Err(SocketError::NotASocket(_))
        ));
        let us = rustix::process::geteuid().as_raw();
        assert!(is_ours(&path, us).is_ok() && is_ours(&path, 0).is_ok());
        assert!(is_ours(&path, us.wrapping_add(1).max(1)).is_err());
    }

    #[test]
    fn a_socket_of_a_process_that_listens_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = bind(&path, 0o600).unwrap();
        let handed_over = listener.try_clone().unwrap();
        drop(listener);
        remove_unless_answered(&path);
        assert!(path.exists());
        drop(handed_over);
        remove_unless_answered(&path);
        assert!(!path.exists());
    }
}
