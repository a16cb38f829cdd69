//! What two processes say to each other while one hands over to the other.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::error::HandOverError;

/// As many sockets as the system passes on at once, and a few less.
const MOST_SOCKETS: usize = 128;
/// The sockets follow.
pub(super) const SOCKETS: u8 = b's';
/// The successor has all that it can have before the other lets go.
pub(super) const READY: u8 = b'r';
/// The running process has let go.
pub(super) const RELEASED: u8 = b'y';
/// The successor serves.
pub(super) const SERVING: u8 = b'd';
/// The running process will not serve again.
pub(super) const STOPPED: u8 = b'f';
/// The running process keeps its place.
pub(super) const KEPT: u8 = b'm';

/// Says a word, and hands sockets over with it.
pub(super) async fn send(
    stream: &UnixStream,
    word: u8,
    fds: &[BorrowedFd<'_>],
) -> Result<(), HandOverError> {
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::other("too many sockets"));
        }
        let (said, flags) = ([word], SendFlags::NOSIGNAL);
        let sent = sendmsg(stream, &[IoSlice::new(&said)], &mut control, flags);
        sent.map(drop).map_err(io::Error::from)
    };
    Ok(stream.async_io(Interest::WRITABLE, send).await?)
}

/// Waits for a word, and returns the sockets that come with it.
pub(super) async fn receive(
    stream: &UnixStream,
    word: u8,
    limit: Duration,
) -> Result<Vec<OwnedFd>, HandOverError> {
    let receive = stream.async_io(Interest::READABLE, || receive_now(stream));
    let received = timeout(limit, receive).await;
    match received.map_err(|_| HandOverError::NoAnswer(limit))? {
        Ok((heard, sockets)) => expect(heard, word).map(|()| sockets),
        Err(error) if is_end(&error) => Err(HandOverError::Gone),
        Err(error) => Err(error.into()),
    }
}

fn receive_now(stream: &UnixStream) -> io::Result<(Option<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let (mut said, mut sockets) = ([0], Vec::new());
    let mut parts = [IoSliceMut::new(&mut said)];
    let heard = recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            sockets.extend(fds);
        }
    }
    let [word] = said;
    Ok(((heard.bytes == 1).then_some(word), sockets))
}

pub(super) async fn hear(
    stream: &mut UnixStream,
    word: u8,
    limit: Duration,
) -> Result<(), HandOverError> {
    let heard = timeout(limit, stream.read_u8()).await;
    match heard.map_err(|_| HandOverError::NoAnswer(limit))? {
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
        Some(KEPT) => Err(HandOverError::Kept),
        Some(_) => Err(HandOverError::Unexpected),
        None => Err(HandOverError::Gone),
    }
}
