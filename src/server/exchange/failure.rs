//! Why a forwarded exchange fails, and what the client is told.

use crate::request::Denial;
use crate::server::http1::{BodyError, ResponseError};

/// What went wrong, and on which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The client's body cannot be read; nobody is told where the client is gone.
    #[error(transparent)]
    Request(#[from] BodyError),
    #[error("the client has left")]
    ClientGone,
    #[error("the request did not arrive in time")]
    RequestLate,
    #[error("the request's body is over the limit")]
    BodyTooLarge,
    #[error(transparent)]
    Response(#[from] ResponseError),
    #[error("the server did not answer in time")]
    ResponseLate,
    #[error("the server answered 101 to a request that asked for no WebSocket")]
    UnaskedUpgrade,
    #[error("the session has ended")]
    SessionEnded,
}

impl Failure {
    /// Returns the refusal; `None` when the client is gone and nobody would read it.
    pub(super) fn denial(self) -> Option<Denial> {
        Some(match self {
            Self::Request(BodyError::Gone) | Self::ClientGone => return None,
            Self::Request(BodyError::Malformed(_)) => {
                Denial::BadRequest("The request is malformed.")
            }
            Self::RequestLate => Denial::RequestTimeout,
            Self::BodyTooLarge => Denial::BodyTooLarge,
            Self::ResponseLate => Denial::UpstreamTimeout,
            Self::Response(_) | Self::UnaskedUpgrade => Denial::UpstreamError,
            Self::SessionEnded => Denial::SessionEnded,
        })
    }

    /// Returns a word for it, as traces have it.
    pub(super) fn word(self) -> &'static str {
        self.denial().map_or("client_left", |denial| denial.code())
    }

    /// Returns whether the server failed, and not the client or its session.
    pub(super) fn is_by_server(self) -> bool {
        match self {
            Self::Response(_) | Self::ResponseLate | Self::UnaskedUpgrade => true,
            Self::Request(_)
            | Self::ClientGone
            | Self::RequestLate
            | Self::BodyTooLarge
            | Self::SessionEnded => false,
        }
    }
}
