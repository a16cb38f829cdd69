//! Has sessions of browsers go on by their cookies, when the token in one has expired.

use std::sync::Arc;

use super::generation::Generation;
use super::state::Exchange;
use crate::config::Route;
use crate::login::WebGrant;
use crate::request::{Caller, Denial};
use crate::server::message::RequestHead;
use crate::token::Verified;

/// Returns who sent a request to one of our own endpoints, perhaps after their session went on by its cookie.
pub(super) async fn caller(
    generation: &Generation,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<Arc<Verified>, Denial> {
    let asker = exchange.asker(&head.headers);
    let who = match generation.requests.caller(&head.method, &asker)? {
        Caller::Known(who) => who,
        Caller::Lapsed(cookie) => renew_anywhere(generation, exchange, &cookie).await?,
    };
    exchange.user = Some(Arc::clone(&who));
    Ok(who)
}

/// Has a session go on by its cookie, for a route.
pub(super) async fn renew(
    generation: &Generation,
    exchange: &mut Exchange,
    cookie: &str,
    route: &Arc<Route>,
) -> Result<Arc<Verified>, Denial> {
    exchange.route = Some(Arc::clone(route));
    let granted = generation
        .logins
        .renew_cookie(cookie, exchange.is_https())
        .await?;
    let WebGrant { token, cookie } = granted;
    let who =
        generation
            .requests
            .admit_renewed(token.expose().as_bytes(), route, &exchange.client)?;
    exchange.cookies.push(cookie);
    Ok(who)
}

/// Has a session go on by its cookie, wherever.
pub(super) async fn renew_anywhere(
    generation: &Generation,
    exchange: &mut Exchange,
    cookie: &str,
) -> Result<Arc<Verified>, Denial> {
    let granted = generation
        .logins
        .renew_cookie(cookie, exchange.is_https())
        .await?;
    let who = generation
        .requests
        .admit_token(granted.token.expose().as_bytes(), &exchange.client)?;
    exchange.cookies.push(granted.cookie);
    Ok(who)
}
