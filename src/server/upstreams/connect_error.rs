//! Why there is no connection to a server.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum ConnectError {
    #[error("the connection failed: {0}")]
    Failed(String),
    #[error(
        "the server did not choose HTTP/2 in the TLS handshake, which protocol = \"http2\" asks for"
    )]
    NoHttp2,
    #[error("HTTP/2 could not be begun: {0}")]
    Http2(#[from] h2::Error),
    #[error("no connection in time")]
    Late,
    /// It is not the server's doing.
    #[error("there are no file descriptors for another connection")]
    Exhausted,
}

/// Finds out why a connection failed.
pub(super) fn failed(error: &pingora::Error) -> ConnectError {
    let mut cause = error
        .cause
        .as_deref()
        .map(|cause| cause as &(dyn Error + 'static));
    while let Some(error) = cause {
        let of_system = error.downcast_ref::<io::Error>();
        let code = of_system.and_then(io::Error::raw_os_error);
        if code.is_some_and(|code| {
            [Errno::MFILE, Errno::NFILE].contains(&Errno::from_raw_os_error(code))
        }) {
            return ConnectError::Exhausted;
        }
        cause = match error.downcast_ref::<pingora::Error>() {
            Some(error) => error
                .cause
                .as_deref()
                .map(|cause| cause as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    ConnectError::Failed(error.to_string())
}
