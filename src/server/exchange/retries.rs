//! Says after a failure whether another server is asked, or the same one again.

use pingora::Error;
use pingora::proxy::Session;

use super::exchange::Exchange;
use super::gate::Gate;
use super::{body, failure, reply};

/// How much of a body pingora keeps to send it again.
const KEPT_BYTES: u64 = 64 * 1024;

/// Says beforehand whether a request will be sent again if a kept connection loses it.
pub(super) fn may_repeat(wire: &mut Session) -> bool {
    wire.req_header().method.is_idempotent()
        && (wire.is_body_empty() || body::declared(wire).is_some_and(|bytes| bytes <= KEPT_BYTES))
}

/// No connection could be made: nothing was sent, so whatever is left may be asked.
///
/// When nothing is left, the choice of the next server says so.
pub(super) fn unconnected(gate: &Gate, exchange: &Exchange, error: &mut Error) {
    tracing::debug!(
        request_id = %exchange.request_id,
        error = failure::described(error),
        "a server could not be reached"
    );
    if let Some(index) = upstream(gate, exchange) {
        gate.upstreams.unreachable(index, &exchange.attempts);
    }
    error.set_retry(true);
}

/// An exchange broke off: only what a kept connection did is worth another try, since it was probably closed before
/// the request came, and only where the request may be repeated and can be.
pub(super) fn broken_off(
    gate: &Gate,
    wire: &mut Session,
    exchange: &mut Exchange,
    error: &mut Error,
    reused: bool,
) {
    let blamed = !reused && !reply::is_under_way(wire) && failure::is_by_server(wire, error);
    if let Some(index) = upstream(gate, exchange).filter(|_| blamed) {
        let client = exchange.client.as_ref().and_then(|client| client.address);
        gate.upstreams.broke_off(index, &exchange.attempts, client);
    }
    let repeatable =
        wire.req_header().method.is_idempotent() && !wire.as_downstream().retry_buffer_truncated();
    error.retry.decide_reuse(reused);
    if reused && error.retry() {
        exchange.attempts.lost();
    }
    let again = error.retry() && repeatable && exchange.attempts.forgive();
    error.set_retry(again);
}

fn upstream(gate: &Gate, exchange: &Exchange) -> Option<usize> {
    let pass = exchange.pass.as_ref();
    pass.and_then(|pass| gate.upstream_of(pass))
}
