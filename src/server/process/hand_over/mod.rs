//! Socket hand-over: passes the listening sockets of a running process to its successor.
//!
//! 1. The successor connects to a Unix socket, and the running process sends the sockets (SOCKETS).
//! 2. The successor prepares all that it can, and sends READY.
//! 3. The running process releases what only one process can have, such as the store, and sends RELEASED.
//! 4. The successor serves, and sends SERVING; the running process stops accepting, and confirms with STOPPED.
//!
//! A successor that fails before SERVING changes nothing. The end of the stream without a message means that the other process
//! died, and that its resources are free.
//!
//! The Unix socket is handed over as well, so it never disappears; a second successor that connects meanwhile is admitted by
//! whichever process serves in the end. Each side accepts only a peer of its own user, or of root.

mod error;
mod protocol;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

pub use self::error::HandOverError;
use self::protocol::{KEPT, READY, RELEASED, SERVING, SOCKETS, STOPPED, hear, receive, send};
use super::Listening;
use super::socket_file::{self, in_our_folder, is_absence};

/// Only this user may connect, beside root.
const MODE: u32 = 0o600;
/// How many may say at a time that they want this place.
const MOST_CANDIDATES: usize = 16;
/// How long one process waits for the other's next word while everybody is served.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The same while nobody is.
const UNSERVED: Duration = Duration::from_secs(10);

/// Where a running process waits for its successor.
pub struct UpgradeSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Whether the socket's file is another process's to remove.
    given_away: bool,
}

impl UpgradeSocket {
    /// Opens the socket in place of one that a process left which is gone.
    pub fn open(path: &Path) -> Result<Self, HandOverError> {
        let listener = socket_file::bind(path, MODE)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path: path.to_owned(),
            given_away: false,
        })
    }

    /// Leaves the socket to the successor that was handed it.
    pub fn give_away(mut self) {
        self.given_away = true;
    }

    /// Returns whether the socket can be made, and nothing but a socket is in its place, which alone may be taken away.
    pub fn may_open(path: &Path) -> Result<(), HandOverError> {
        Ok(socket_file::may_bind(path)?)
    }

    /// Waits for a successor that has prepared everything but what this process has to let go of.
    pub async fn prepared(&self, listening: &Listening) -> Successor {
        let mut candidates = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(prepared) = candidates.next() => match prepared {
                    Ok(successor) => return successor,
                    Err(error) => {
                        let error: HandOverError = error;
                        tracing::warn!(%error, "a successor gave up: going on");
                    }
                },
                successor = self.asked(), if candidates.len() < MOST_CANDIDATES => {
                    candidates.push(successor.prepare(listening));
                }
            }
        }
    }

    /// Waits for one that runs as the same user, or as root.
    async fn asked(&self) -> Successor {
        loop {
            let accepted = self.listener.accept().await;
            match accepted.and_then(|(stream, _)| Successor::admit(stream)) {
                Ok(successor) => return successor,
                Err(error) => {
                    tracing::warn!(%error, "a successor could not be admitted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Returns who runs the other process where that is neither this user nor root.
fn stranger(stream: &UnixStream) -> io::Result<Option<u32>> {
    let peer = stream.peer_cred()?.uid();
    let known = peer == rustix::process::geteuid().as_raw() || peer == 0;
    Ok((!known).then_some(peer))
}

impl Drop for UpgradeSocket {
    fn drop(&mut self) {
        if !self.given_away {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The process that takes this one's place.
pub struct Successor {
    stream: UnixStream,
    last_word: u8,
}

impl Successor {
    fn admit(stream: UnixStream) -> io::Result<Self> {
        if stranger(&stream)?.is_some() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self {
            stream,
            last_word: KEPT,
        })
    }

    /// Sends the sockets, and waits until the successor is ready.
    async fn prepare(mut self, listening: &Listening) -> Result<Self, HandOverError> {
        let fds: Vec<_> = listening.sockets().collect();
        send(&self.stream, SOCKETS, &fds).await?;
        hear(&mut self.stream, READY, ANSWER_TIMEOUT).await?;
        Ok(self)
    }

    /// Says that everything has been let go, and hands the Unix socket over.
    pub async fn let_have(
        &mut self,
        upgrade_socket: Option<&UpgradeSocket>,
    ) -> Result<(), HandOverError> {
        let listener = upgrade_socket.map(|upgrade_socket| upgrade_socket.listener.as_fd());
        send(&self.stream, RELEASED, listener.as_slice()).await
    }

    /// Waits until the successor serves.
    pub async fn serves(&mut self) -> Result<(), HandOverError> {
        hear(&mut self.stream, SERVING, UNSERVED).await?;
        self.last_word = STOPPED;
        Ok(())
    }

    /// Returns the number of the process.
    pub fn process(&self) -> Option<u32> {
        let peer = self.stream.peer_cred().ok()?;
        u32::try_from(peer.pid()?).ok()
    }

    /// Leaves the place to it, whether it serves or not.
    pub fn leave(mut self) {
        self.last_word = STOPPED;
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = self.stream.try_write(&[self.last_word]);
    }
}

/// The process whose place this one takes.
pub struct Predecessor {
    stream: UnixStream,
    path: PathBuf,
    /// The Unix socket, once it has been handed over.
    upgrade_socket: Option<OwnedFd>,
}

impl Predecessor {
    /// Asks the process that runs for its sockets; `None` where none runs.
    pub async fn find(path: &Path) -> Result<Option<(Self, Vec<OwnedFd>)>, HandOverError> {
        in_our_folder(path)?;
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let path = path.to_owned();
        if let Some(peer) = stranger(&stream)? {
            return Err(HandOverError::Stranger { path, peer });
        }
        let sockets = receive(&stream, SOCKETS, ANSWER_TIMEOUT).await?;
        let found = Self {
            stream,
            path,
            upgrade_socket: None,
        };
        Ok(Some((found, sockets)))
    }

    /// Says that this process is ready, and waits until the other has let go of what only one can have, or has died.
    pub async fn let_go(mut self) -> Result<Self, HandOverError> {
        // What cannot be said may still have been answered before.
        let _ = self.stream.write_all(&[READY]).await;
        let heard = receive(&self.stream, RELEASED, ANSWER_TIMEOUT).await;
        self.upgrade_socket = unless_gone(heard)?.and_then(|mut handed| handed.pop());
        Ok(self)
    }

    /// Says that this process serves, so that the other may end, and returns the Unix socket where the other handed it
    /// over; where it has died or hangs, nothing is left to be said.
    pub async fn dismiss(mut self) -> Result<Option<UpgradeSocket>, HandOverError> {
        let _ = self.stream.write_all(&[SERVING]).await;
        match unless_gone(hear(&mut self.stream, STOPPED, UNSERVED).await) {
            Ok(_) | Err(HandOverError::NoAnswer(_)) => {}
            Err(error) => return Err(error),
        }
        let Some(upgrade_socket) = self.upgrade_socket else {
            return Ok(None);
        };
        let listener = StdUnixListener::from(upgrade_socket);
        listener.set_nonblocking(true)?;
        Ok(Some(UpgradeSocket {
            listener: UnixListener::from_std(listener)?,
            path: self.path,
            given_away: false,
        }))
    }
}

/// Takes a process that ended without a word for one that died: what it had is free.
fn unless_gone<T>(heard: Result<T, HandOverError>) -> Result<Option<T>, HandOverError> {
    match heard {
        Err(HandOverError::Gone) => {
            tracing::warn!("the process that ran has died");
            Ok(None)
        }
        heard => heard.map(Some),
    }
}
