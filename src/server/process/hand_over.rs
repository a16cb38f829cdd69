//! Hands the listening sockets of a running process over to the one that takes its place.
//!
//! The successor connects to a Unix socket and is sent the sockets. When it has prepared all that it can, it says so; the
//! running process then lets go of what only one can have, and says so; the successor says when it serves, and only then
//! is the other's work done, which it confirms. Whoever is gone before that has changed nothing; whoever ends without a
//! word has died, and what it had is free.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use super::Listening;

/// As many sockets as the system passes on at once, and a few less.
const MOST_SOCKETS: usize = 128;
/// How many may say at a time that they want this place.
const MOST_CANDIDATES: usize = 16;
/// How long one process waits for the other's next word while everybody is served.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same while nobody is.
const UNSERVED: Duration = Duration::from_secs(10);

/// The sockets follow.
const SOCKETS: u8 = b's';
/// The successor has all that it can have before the other lets go.
const READY: u8 = b'r';
/// The running process has let go.
const YOURS: u8 = b'y';
/// The successor serves.
const SERVING: u8 = b'd';
/// The running process will not serve again.
const FAREWELL: u8 = b'f';
/// The running process keeps its place.
const MINE: u8 = b'm';

/// Why one process does not take another's place.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
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
    /// The other process hangs, or does something else for long.
    #[error("no answer within {} seconds", .0.as_secs())]
    NoAnswer(Duration),
    /// Another successor was faster, or this one too slow, or the process is stopping.
    #[error("it keeps its place, or gives it to another")]
    Kept,
    /// The other process has ended.
    #[error("the other process is gone")]
    Gone,
    /// What was heard is no word of this.
    #[error("the other process says something else")]
    Unexpected,
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
    pub async fn open(path: &Path) -> Result<Self, HandOverError> {
        Self::may_open(path)?;
        match UnixStream::connect(path).await {
            Err(error) if is_absence(&error) => {}
            Ok(_) => return Err(io::Error::from(io::ErrorKind::AddrInUse).into()),
            Err(error) => return Err(error.into()),
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

    /// Says whether the door can be made, and nothing but a socket is in its place, which alone may be taken away.
    pub fn may_open(path: &Path) -> Result<(), HandOverError> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                Err(HandOverError::NotASocket(path.to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => can_hold(path),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
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

/// Says whether something can be made in the folder of a path, by making it and taking it away.
fn can_hold(path: &Path) -> Result<(), HandOverError> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    tempfile::tempfile_in(folder)
        .map(drop)
        .map_err(|cause| HandOverError::NoPlace {
            folder: folder.to_owned(),
            cause,
        })
}

impl Drop for Doorway {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The process that takes this one's place.
pub struct Successor {
    stream: UnixStream,
    last_word: u8,
}

impl Successor {
    fn admit(stream: UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred()?.uid();
        if peer != rustix::process::geteuid().as_raw() && peer != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self {
            stream,
            last_word: MINE,
        })
    }

    /// Sends the sockets, and waits until the successor is ready.
    async fn prepare(mut self, listening: &Listening) -> Result<Self, HandOverError> {
        let send = || {
            let fds: Vec<_> = listening.sockets().map(|socket| socket.as_fd()).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(io::Error::other("too many sockets"));
            }
            let (said, flags) = ([SOCKETS], SendFlags::NOSIGNAL);
            let sent = sendmsg(&self.stream, &[IoSlice::new(&said)], &mut control, flags);
            sent.map(drop).map_err(io::Error::from)
        };
        self.stream.async_io(Interest::WRITABLE, send).await?;
        hear(&mut self.stream, READY, PATIENCE).await?;
        Ok(self)
    }

    /// Says that everything has been let go.
    pub async fn let_have(&mut self) -> Result<(), HandOverError> {
        Ok(self.stream.write_all(&[YOURS]).await?)
    }

    /// Waits until the successor serves.
    pub async fn serves(&mut self) -> Result<(), HandOverError> {
        hear(&mut self.stream, SERVING, UNSERVED).await?;
        self.last_word = FAREWELL;
        Ok(())
    }

    /// Leaves the place to it, whether it serves or not.
    pub fn leave(mut self) {
        self.last_word = FAREWELL;
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = self.stream.try_write(&[self.last_word]);
    }
}

/// The process whose place this one takes.
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// Asks the process that runs for its sockets; `None` where none runs.
    pub async fn find(path: &Path) -> Result<Option<(Self, Vec<TcpListener>)>, HandOverError> {
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let receive = stream.async_io(Interest::READABLE, || receive(&stream));
        let received = timeout(PATIENCE, receive).await;
        let (word, sockets) = received.map_err(|_| HandOverError::NoAnswer(PATIENCE))??;
        expect(word, SOCKETS)?;
        Ok(Some((Self(stream), sockets)))
    }

    /// Says that this process is ready, and waits until the other has let go of what only one can have, or has died.
    pub async fn let_go(mut self) -> Result<Self, HandOverError> {
        self.say_and_hear(READY, YOURS, PATIENCE).await?;
        Ok(self)
    }

    /// Says that this process serves, so that the other may end; where it has died or hangs, nothing is left to be said.
    pub async fn dismiss(mut self) -> Result<(), HandOverError> {
        match self.say_and_hear(SERVING, FAREWELL, UNSERVED).await {
            Err(HandOverError::NoAnswer(_)) => Ok(()),
            heard => heard,
        }
    }

    async fn say_and_hear(
        &mut self,
        say: u8,
        word: u8,
        patience: Duration,
    ) -> Result<(), HandOverError> {
        // What cannot be said may still have been answered before.
        let _ = self.0.write_all(&[say]).await;
        match hear(&mut self.0, word, patience).await {
            Err(HandOverError::Gone) => {
                tracing::warn!("the process that ran has died");
                Ok(())
            }
            heard => heard,
        }
    }
}

/// Reads a word, and the sockets that come with it.
fn receive(stream: &UnixStream) -> io::Result<(Option<u8>, Vec<TcpListener>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let (mut said, mut sockets) = ([0], Vec::new());
    let mut parts = [IoSliceMut::new(&mut said)];
    let heard = recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            sockets.extend(fds.map(TcpListener::from));
        }
    }
    let [word] = said;
    Ok(((heard.bytes == 1).then_some(word), sockets))
}

fn is_absence(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::NotFound || kind == io::ErrorKind::ConnectionRefused
}

async fn hear(stream: &mut UnixStream, word: u8, patience: Duration) -> Result<(), HandOverError> {
    let heard = timeout(patience, stream.read_u8()).await;
    match heard.map_err(|_| HandOverError::NoAnswer(patience))? {
        Ok(heard) => expect(Some(heard), word),
        Err(error) if is_end(&error) => Err(HandOverError::Gone),
        Err(error) => Err(error.into()),
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

fn expect(heard: Option<u8>, word: u8) -> Result<(), HandOverError> {
    match heard {
        Some(heard) if heard == word => Ok(()),
        Some(MINE) => Err(HandOverError::Kept),
        Some(_) => Err(HandOverError::Unexpected),
        None => Err(HandOverError::Gone),
    }
}
