//! The audit line of a refusal that somebody should hear of: what came was no mistake of everyday life, as an expired token is.

use super::state::Exchange;
use crate::request::Denial;

/// Writes the line of an exchange, where it has one.
pub(super) fn note(exchange: &Exchange, trace_id: Option<&str>) {
    if let Some(denial) = exchange.denial.as_ref().filter(|denial| is_told(denial)) {
        tracing::info!(
            target: "menshen::audit",
            event = "refused",
            request_id = exchange.request_id.as_str(),
            trace_id,
            client = exchange.client.address.map(tracing::field::display),
            route = exchange.route.as_ref().map(|route| route.path.as_str()),
            reason = denial.code(),
            token_fault = denial.token_fault(),
            "a request was refused"
        );
    }
}

/// Says whether a refusal is about who sent a request, or about what nobody sends who means well. A login has a line of its own.
fn is_told(denial: &Denial) -> bool {
    matches!(
        denial,
        Denial::TokenInvalid(_)
            | Denial::TokenSchemeRepeated
            | Denial::TokenAmbiguous
            | Denial::SessionEnded
            | Denial::RefreshInvalid
            | Denial::RefreshReused
            | Denial::AppNotAllowed
            | Denial::OriginNotAllowed
            | Denial::SignatureInvalid(_)
            | Denial::StateInvalid(_)
            | Denial::TicketInvalid(_)
            | Denial::HostNotOurs
            | Denial::PathAmbiguous
    )
}
