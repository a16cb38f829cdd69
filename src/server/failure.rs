//! Turns pingora's errors into the refusals that clients know.

use std::io;

use pingora::ErrorSource;
use pingora::ErrorType::{
    ConnectError, ConnectNoRoute, ConnectProxyFailure, ConnectRefused, ConnectTimedout, Custom,
    InvalidHTTPHeader, ReadTimedout, SocketError, TLSHandshakeFailure, TLSHandshakeTimedout,
    WriteTimedout,
};
use pingora::proxy::Session;
use pingora::{BError, Error};

use crate::request::{Denial, MalformedChunks};

/// Returns the refusal for an error; `None` when the client is gone and nobody would read it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "pingora has many kinds of error, and a new one is not the client's doing"
)]
pub(super) fn denial(wire: &mut Session, error: &Error) -> Option<Denial> {
    match error.esource() {
        // The backend only waited for what the client did not send.
        ErrorSource::Upstream if *error.etype() == ReadTimedout && !has_whole_body(wire) => {
            Some(Denial::RequestTimeout)
        }
        ErrorSource::Upstream => Some(match error.etype() {
            ConnectTimedout | ConnectRefused | ConnectNoRoute | ConnectError | SocketError
            | ConnectProxyFailure | TLSHandshakeFailure | TLSHandshakeTimedout => {
                Denial::UpstreamUnreachable
            }
            ReadTimedout | WriteTimedout => Denial::UpstreamTimeout,
            _ => Denial::UpstreamError,
        }),
        ErrorSource::Downstream => match error.etype() {
            InvalidHTTPHeader | Custom("InvalidChunk" | "InvalidTrailerEnd") => {
                Some(Denial::BadRequest("The request is malformed."))
            }
            ReadTimedout => Some(Denial::RequestTimeout),
            _ if is_malformed(error) => Some(Denial::BadRequest("The request is malformed.")),
            _ => None,
        },
        ErrorSource::Internal | ErrorSource::Unset => Some(Denial::Internal),
    }
}

/// Says whether a failure is the server's alone, so that no client can make a server look as if it were down.
///
/// As long as the body is not whole, the server may be waiting for it, or may have refused it by hanging up.
pub(super) fn is_by_server(wire: &mut Session, error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream && has_whole_body(wire)
}

fn has_whole_body(wire: &mut Session) -> bool {
    wire.as_downstream_mut().is_body_done()
}

/// Tells whether reading ended at a body that may not be read.
fn is_malformed(error: &Error) -> bool {
    let cause = error.cause.as_deref();
    let io = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    io.and_then(io::Error::get_ref)
        .is_some_and(|inner| inner.is::<MalformedChunks>())
}

/// Says what failed, for the log.
pub(super) fn described(error: &Error) -> String {
    if *error.root_etype() == InvalidHTTPHeader {
        // pingora quotes a malformed head, and in a backend's there may be anything.
        return format!("{} {}", error.esource().as_str(), error.etype().as_str());
    }
    error.to_string()
}

/// Returns an error that stops an exchange whose refusal is already known.
pub(super) fn refused() -> BError {
    Error::explain(pingora::ErrorType::HTTPStatus(400), "refused")
}
