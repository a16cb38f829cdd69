//! Counts and traces the login of an exchange's client.

use http::header::REFERER;

use super::spans;
use super::state::Exchange;
use crate::login::Caller;
use crate::request::Denial;
use crate::server::message::RequestHead;

/// Has an exchange's client log in, or refuses it for what its address did before.
pub(super) async fn counted<T>(
    exchange: &Exchange,
    head: &RequestHead,
    login: impl AsyncFnOnce(Caller) -> Result<T, Denial>,
) -> Result<T, Denial> {
    let address = exchange.client.address;
    let traced = spans::begin_login(exchange);
    let caller = |over_limit| {
        let mut caller = Caller::new(exchange.request_id.clone(), address, over_limit);
        caller.trace_id = spans::trace_id(head, exchange).map(str::to_owned);
        caller.trace = traced.as_ref().map(|(_, below)| below.clone());
        caller
    };
    let outcome = match &exchange.generation.login_rates {
        Some(rates) => {
            let login = async |charge, over_limit| {
                let mut caller = caller(over_limit);
                caller.charge = Some(charge);
                login(caller).await
            };
            rates.counting(&exchange.client, login).await
        }
        None => login(caller(false)).await,
    };
    spans::end_login(traced, &outcome);
    outcome
}

/// Returns the page that a mini-program's requests come from.
pub(super) fn referer(head: &RequestHead) -> Option<&str> {
    head.headers.get(REFERER)?.to_str().ok()
}
