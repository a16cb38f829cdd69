//! Says after a failure whether another server is asked, or the same one again.

use pingora::proxy::Session;
use pingora::{Error, ErrorSource};

use super::exchange::Exchange;
use super::gate::Gate;
use super::{failure, reply};

/// No connection could be made: nothing was sent, so whatever is left may be asked.
///
/// When nothing is left, the choice of the next server says so.
pub(super) fn unconnected(gate: &Gate, exchange: &Exchange, error: &mut Error) {
    tracing::debug!(
        request_id = %exchange.request_id,
        error = failure::described(error),
        "a server could not be reached"
    );
    blame(gate, exchange);
    error.set_retry(true);
}

/// An exchange broke off: only what a kept connection did is worth another try, since it was probably closed before
/// the request came, and only where the request may be repeated and can be.
pub(super) fn broken_off(
    gate: &Gate,
    wire: &Session,
    exchange: &mut Exchange,
    error: &mut Error,
    reused: bool,
) {
    let by_server = *error.esource() == ErrorSource::Upstream;
    if by_server && !reused && !reply::is_under_way(wire) {
        blame(gate, exchange);
    }
    let repeatable =
        wire.req_header().method.is_idempotent() && !wire.as_downstream().retry_buffer_truncated();
    error.retry.decide_reuse(reused);
    let again = error.retry() && repeatable && exchange.attempts.forgive();
    error.set_retry(again);
}

/// Notes that the server of an exchange failed.
fn blame(gate: &Gate, exchange: &Exchange) {
    let pass = exchange.pass.as_ref();
    if let Some(index) = pass.and_then(|pass| gate.upstream_of(pass)) {
        gate.upstreams.failed(index, &exchange.attempts);
    }
}
