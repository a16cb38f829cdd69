//! Why Menshen could not start.

use std::io;
use std::path::PathBuf;

use crate::server::{BindError, HandOverError, PrivateError, TlsError, UpstreamError};
use crate::session::OpenError;
use crate::token::{KeyFileError, NoRandomness};
use crate::traces::CollectorError;
use crate::wechat::ClientError;

/// Why Menshen could not start; each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is in use, or an address is not this machine's.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A listener's address is not to be had, or its socket.
    #[error(transparent)]
    Listen(#[from] PrivateError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An upstream's certificates cannot be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The signing keys cannot be read or made.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The session store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Spans cannot be sent.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// An app's name or appid cannot be a header's value.
    #[error("an app's name or appid cannot be a header's value")]
    Header(#[from] http::header::InvalidHeaderValue),
    /// Assertions would be signed with a key that nobody else may have.
    #[error(
        "headers.assertion: the signing key {0} is shared, so no backend can verify with it; make another (menshen keys new --now)"
    )]
    SharedKey(String),
    /// The process that runs does not hand over.
    #[error("the process that runs does not hand over: {0}")]
    HandOver(#[source] HandOverError),
    /// The upgrade socket cannot be created.
    #[error(transparent)]
    UpgradeSocket(HandOverError),
    /// No upgrade socket is configured.
    #[error("server.upgrade_socket is required to take the place of a process that runs")]
    NoUpgradeSocket,
    /// A folder is not there and cannot be made.
    #[error("{}: cannot be made: {cause}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The cache's key cannot be drawn.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The public keys cannot be written as JSON.
    #[error("the public keys cannot be published")]
    Jwks(#[from] serde_json::Error),
}

impl StartError {
    /// Returns whether another try may go better with the same configuration.
    pub fn may_pass(&self) -> bool {
        let elsewhere = matches!(
            self,
            Self::Store(
                OpenError::RedisAway { .. } | OpenError::RedisRefuses { .. } | OpenError::InUse(_)
            ) | Self::HandOver(_)
        );
        elsewhere || matches!(self, Self::Listen(error) if error.is_in_use())
    }
}
