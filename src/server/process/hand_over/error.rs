//! Why one process does not take another's place.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::server::process::socket_file::SocketError;

/// Why one process does not take another's place.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// There cannot be a socket to ask at.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The other process is another user's.
    #[error("the process at {} is another user's ({peer})", path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Who runs it.
        peer: u32,
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
