//! Stops waiting for a client that has left.

use std::future::Future;

use pingora::ErrorType;
use pingora::proxy::Session;

use crate::request::Denial;

/// Waits for what `work` brings, unless the client leaves before; nobody reads the refusal then.
///
/// pingora tells only while a request is forwarded. As long as something is yet to be read, it cannot be told.
pub(super) async fn unless_left<T>(
    wire: &mut Session,
    work: impl Future<Output = Result<T, Denial>>,
) -> Result<T, Denial> {
    let upgrade = wire.is_upgrade_req();
    let downstream = wire.as_downstream_mut();
    let unread = !downstream.is_body_done() && !downstream.is_body_empty();
    if upgrade || unread {
        return work.await;
    }
    tokio::pin!(work);
    let left = tokio::select! {
        biased;
        done = &mut work => return done,
        left = downstream.read_body_or_idle(true) => left,
    };
    // It may send what does not belong there, but waits.
    wire.set_keepalive(None);
    match left {
        Err(error) if *error.etype() != ErrorType::ConnectError => {
            Err(Denial::BadRequest("The client has left."))
        }
        Ok(_) | Err(_) => work.await,
    }
}
