//! Hands the listening sockets of a running process over to the one that takes its place.
//!
//! The successor connects to a Unix socket and is sent the sockets. When it has prepared all that it can, it says so; the
//! running process then lets go of what only one can have, and says so; the successor says when it serves, and only then
//! is the other's work done. Whoever is gone before that has changed nothing.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt::socket_peercred,
};
use tokio::net::UnixListener;

use super::Listening;

/// As many sockets as the system passes on at once, and a few less.
const MOST_SOCKETS: usize = 128;
/// How long one process waits for the other's next word.
const PATIENCE: Duration = Duration::from_secs(60);

/// The sockets follow.
const SOCKETS: u8 = b's';
/// The successor has all that it can have before the other lets go.
const READY: u8 = b'r';
/// The running process has let go.
const YOURS: u8 = b'y';
/// The successor serves.
const SERVING: u8 = b'd';

/// Why one process does not take another's place.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// Something else has the socket's place, and nobody said that it may go.
    #[error("{} is there and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The operating system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Where a running process waits for its successor.
pub struct Doorway {
    listener: UnixListener,
    path: PathBuf,
}

impl Doorway {
    /// Opens the door in place of one that a process left which is gone.
    pub fn open(path: &Path) -> Result<Self, HandOverError> {
        Self::may_open(path)?;
        if UnixStream::connect(path).is_ok() {
            return Err(HandOverError::System(io::ErrorKind::AddrInUse.into()));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        Ok(Self {
            listener: UnixListener::bind(path)?,
            path: path.to_owned(),
        })
    }

    /// Says whether nothing but a socket is where the door would be, which alone may be taken away.
    pub fn may_open(path: &Path) -> Result<(), HandOverError> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                Err(HandOverError::NotASocket(path.to_owned()))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Waits for a successor that runs as the same user, or as root.
    pub async fn asked(&self) -> Successor {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream.into_std(),
                Err(error) => Err(error),
            };
            match stream.and_then(Successor::admit) {
                Ok(successor) => return successor,
                Err(error) => {
                    tracing::warn!(%error, "a successor could not be admitted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Doorway {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The process that takes this one's place.
pub struct Successor(UnixStream);

impl Successor {
    fn admit(stream: UnixStream) -> io::Result<Self> {
        let peer = socket_peercred(&stream)?.uid;
        if peer != rustix::process::geteuid() && !peer.is_root() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        prepare(&stream)?;
        Ok(Self(stream))
    }

    /// Sends the sockets, and waits until the successor is ready.
    pub async fn prepare(self, listening: &Listening) -> io::Result<Self> {
        let sockets = listening.sockets().map(TcpListener::try_clone);
        let sockets: Vec<TcpListener> = sockets.collect::<Result<_, _>>()?;
        blocking(move || {
            let fds: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(io::Error::other("too many sockets"));
            }
            let said = [SOCKETS];
            sendmsg(
                &self.0,
                &[IoSlice::new(&said)],
                &mut control,
                SendFlags::empty(),
            )?;
            hear(&self.0, READY)?;
            Ok(self)
        })
        .await
    }

    /// Says that everything has been let go, and waits until the successor serves.
    pub async fn take_over(self) -> io::Result<()> {
        blocking(move || {
            say(&self.0, YOURS)?;
            hear(&self.0, SERVING)
        })
        .await
    }
}

/// The process whose place this one takes.
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// Asks the process that runs for its sockets; `None` where none runs.
    pub async fn find(path: &Path) -> io::Result<Option<(Self, Vec<TcpListener>)>> {
        let path = path.to_owned();
        blocking(move || {
            let stream = match UnixStream::connect(path) {
                Ok(stream) => stream,
                Err(error) if is_absence(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            prepare(&stream)?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut said = [0];
            let heard = recvmsg(
                &stream,
                &mut [IoSliceMut::new(&mut said)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            if heard.bytes != 1 || said != [SOCKETS] {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut sockets = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    sockets.extend(fds.map(TcpListener::from));
                }
            }
            Ok(Some((Self(stream), sockets)))
        })
        .await
    }

    /// Says that this process is ready, and waits until the other has let go of what only one can have.
    pub async fn let_go(self) -> io::Result<Self> {
        blocking(move || {
            say(&self.0, READY)?;
            hear(&self.0, YOURS)?;
            Ok(self)
        })
        .await
    }

    /// Says that this process serves, so that the other may end.
    pub fn dismiss(self) -> io::Result<()> {
        say(&self.0, SERVING)
    }
}

fn is_absence(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::NotFound || kind == io::ErrorKind::ConnectionRefused
}

fn prepare(stream: &UnixStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

fn say(mut stream: &UnixStream, word: u8) -> io::Result<()> {
    stream.write_all(&[word])
}

fn hear(mut stream: &UnixStream, word: u8) -> io::Result<()> {
    let mut heard = [0];
    stream.read_exact(&mut heard)?;
    if heard == [word] {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
}
