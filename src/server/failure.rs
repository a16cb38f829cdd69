//! Turns pingora's errors into the refusals that clients know.

use http::Version;
use pingora::ErrorSource;
use pingora::ErrorType::{
    ConnectError, ConnectNoRoute, ConnectProxyFailure, ConnectRefused, ConnectTimedout, Custom,
    InvalidHTTPHeader, ReadTimedout, SocketError, TLSHandshakeFailure, TLSHandshakeTimedout,
    WriteTimedout,
};
use pingora::proxy::Session;
use pingora::{BError, Error};

use crate::request::Denial;

/// Returns the refusal for an error; `None` when the client is gone and nobody would read it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "pingora has many kinds of error, and a new one is not the client's doing"
)]
pub(super) fn denial(wire: &mut Session, error: &Error) -> Option<Denial> {
    let http2 = wire.req_header().version == Version::HTTP_2;
    if http2 && timed_out(error) && !wire.as_downstream_mut().is_body_done() {
        // pingora does not limit reads from a stream. The backend only waited for what the client did not send.
        return Some(Denial::RequestTimeout);
    }
    match error.esource() {
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
            _ => None,
        },
        ErrorSource::Internal | ErrorSource::Unset => Some(Denial::Internal),
    }
}

fn timed_out(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream && *error.etype() == ReadTimedout
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
