//! Answers Menshen's own endpoints.

use std::sync::Once;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::client::Client;
use super::generation::Generation;
use super::outcome::Outcome;
use super::reply::Reply;
use super::state::Exchange;
use super::wait::unless_left;
use super::{body, cookie_session, login, reply, web};
use crate::login::{LoginBody, LogoutBody, RefreshBody, SignBody, expired_session_cookie};
use crate::request::{
    Allowed, CredentialKind, DESCRIBER_UNTRUSTED, Denial, Endpoint, Message, left,
};
use crate::server::message::RequestHead;
use crate::server::timer::Timer;
use crate::token::Verified;

/// Names what Envoy takes out of a request that it may forward.
const ENVOY_REMOVES: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Whether the log was told of a description that does not count; once is enough for an operator.
static DESCRIBED: Once = Once::new();

/// What is answered when nothing went wrong.
enum OwnAnswer {
    Json(Vec<u8>),
    PublicKeys,
    Nothing,
    /// What another gateway needs to forward a request itself.
    Allowed(Vec<(HeaderName, HeaderValue)>),
}

/// Answers a request to one of our own endpoints.
pub(super) async fn answer(
    generation: &Generation,
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
    endpoint: Endpoint,
) -> Outcome {
    if matches!(
        endpoint,
        Endpoint::Web | Endpoint::WebCallback | Endpoint::TicketUse | Endpoint::DomainCheck
    ) {
        return web::answer(generation, client, timer, exchange, head, endpoint).await;
    }
    let answered = match endpoint {
        Endpoint::Login => log_in(generation, client, timer, exchange, head).await,
        Endpoint::Refresh => renew(generation, client, timer, exchange, head).await,
        Endpoint::Session => session(generation, exchange, head).await,
        Endpoint::Logout => log_out(generation, client, timer, exchange, head).await,
        Endpoint::Ticket => ticket(generation, exchange, head).await,
        Endpoint::Sign => sign(generation, client, timer, exchange, head).await,
        Endpoint::Jwks => Ok(OwnAnswer::PublicKeys),
        Endpoint::Verify => verify(generation, exchange, head).await,
        Endpoint::Web | Endpoint::WebCallback | Endpoint::TicketUse | Endpoint::DomainCheck => {
            Err(Denial::RouteUnknown)
        }
    };
    let reply = match answered {
        Ok(OwnAnswer::Json(body)) => Reply::json(Bytes::from(body)),
        Ok(OwnAnswer::PublicKeys) => Reply::public_json(generation.jwks.clone()),
        Ok(OwnAnswer::Nothing) => Reply::no_content(),
        Ok(OwnAnswer::Allowed(lines)) => Reply::allowed(lines),
        Err(denial) => return reply::refuse(client, timer, exchange, head, denial).await,
    };
    reply::answer(client, timer, exchange, head, reply).await
}

/// Reads the body, and counts its bytes.
async fn read(
    generation: &Generation,
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<BytesMut, Denial> {
    let body = body::read(client, timer, head, generation.client_timeout).await?;
    exchange.body_bytes = body.len() as u64;
    Ok(body)
}

async fn log_in(
    generation: &Generation,
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<OwnAnswer, Denial> {
    exchange.credential = Some(CredentialKind::LoginCode);
    let body = read(generation, client, timer, exchange, head).await?;
    let body = LoginBody::parse(&body)?;
    let login = async |caller| {
        let login = generation
            .logins
            .log_in(body, login::referer(head), &caller);
        unless_left(client, login).await
    };
    let grant = login::counted(exchange, head, login).await?;
    Ok(OwnAnswer::Json(grant.body()))
}

async fn renew(
    generation: &Generation,
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<OwnAnswer, Denial> {
    exchange.credential = Some(CredentialKind::RefreshToken);
    if let Some(rates) = &generation.refresh_rates {
        rates.admit(&exchange.client, Instant::now())?;
    }
    let body = read(generation, client, timer, exchange, head).await?;
    let grant = generation.logins.renew(RefreshBody::parse(&body)?).await?;
    Ok(OwnAnswer::Json(grant.body()))
}

async fn session(
    generation: &Generation,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<OwnAnswer, Denial> {
    let about = match cookie_session::caller(generation, exchange, head).await {
        Ok(who) => about(generation, &who),
        Err(denial) if denial.status() == StatusCode::UNAUTHORIZED => json!({"logged_in": false}),
        Err(denial) => return Err(denial),
    };
    Ok(OwnAnswer::Json(about.to_string().into_bytes()))
}

async fn log_out(
    generation: &Generation,
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<OwnAnswer, Denial> {
    let who = cookie_session::caller(generation, exchange, head).await?;
    let body = read(generation, client, timer, exchange, head).await?;
    generation
        .logins
        .log_out(&who, &LogoutBody::parse(&body)?, &exchange.request_id)
        .await?;
    if head.headers.contains_key(COOKIE) {
        exchange.cookies = Vec::from_iter(expired_session_cookie(exchange.is_https()));
    }
    Ok(OwnAnswer::Nothing)
}

async fn ticket(
    generation: &Generation,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<OwnAnswer, Denial> {
    let who = cookie_session::caller(generation, exchange, head).await?;
    generation.logins.ticket(&who).map(OwnAnswer::Json)
}

async fn sign(
    generation: &Generation,
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<OwnAnswer, Denial> {
    let who = cookie_session::caller(generation, exchange, head).await?;
    let body = body::read(client, timer, head, generation.client_timeout).await?;
    let body = SignBody::parse(&body)?;
    let method = body.method()?;
    let message = Message {
        method: &method,
        target: body.path()?.as_bytes(),
        ..head.message()
    };
    let taken = generation.requests.find_for_signature(&message, &who)?;
    let origin = web::browser_origin(exchange);
    let signed = generation
        .logins
        .sign(&who, &taken.request, &body, &origin)?;
    Ok(OwnAnswer::Json(signed))
}

async fn verify(
    generation: &Generation,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<OwnAnswer, Denial> {
    let trusted = exchange.client.trusted;
    let asker = exchange.asker(&head.headers);
    let allowed = generation.requests.verify(&head.message(), &asker);
    let Allowed {
        mut who,
        route,
        lapsed,
    } = allowed.inspect_err(|denial| {
        if *denial == DESCRIBER_UNTRUSTED {
            DESCRIBED.call_once(|| tracing::warn!(
                "somebody outside server.trusted_proxies describes a request at verify, which is refused: \
                 is a gateway's address missing there?"
            ));
        }
    })?;
    exchange.route.clone_from(&route);
    if let Some(cookie) = lapsed {
        who = Some(match &route {
            Some(route) => cookie_session::renew(generation, exchange, &cookie, route).await?,
            None => cookie_session::renew_anywhere(generation, exchange, &cookie).await?,
        });
    }
    let set = generation.identities.of(who.as_deref()).into_iter();
    exchange.user.clone_from(&who);
    let mut set: Vec<_> = set.map(|(n, v)| (n.clone(), v.clone())).collect();
    let upstream = route.map(|route| route.upstream);
    // A client could show its assertion to the backend itself; who it is, it may know.
    let assertions = generation.assertions.as_ref().filter(|_| trusted);
    if let (Some(assertions), Some(who), Some(index)) = (assertions, &who, upstream)
        && let Some(name) = generation.upstreams.name(index)
    {
        let assertion = assertions.assert(who, index, name).map_err(|error| {
            tracing::error!(%error, "an assertion could not be signed");
            Denial::Internal
        })?;
        set.push((generation.identities.assertion_name().clone(), assertion));
    }
    let relay = generation.relay_headers.as_ref().filter(|_| trusted);
    if let (Some(relay), Some(who), Some(_)) = (relay, &who, upstream) {
        set.extend(generation.identities.relay_lines(relay, who));
    }
    set.extend(subprotocols(&head.headers));
    Ok(OwnAnswer::Allowed(set))
}

/// Returns what a gateway is to make of the sub-protocols, which it forwards as they are in the answer.
fn subprotocols(asked: &HeaderMap) -> Option<(HeaderName, HeaderValue)> {
    if let Some(left) = left(asked) {
        return Some((SEC_WEBSOCKET_PROTOCOL, left));
    }
    // Where a header stays that the answer does not set, Envoy is told to remove it.
    let named = HeaderValue::from_static("sec-websocket-protocol");
    let there = asked.contains_key(SEC_WEBSOCKET_PROTOCOL);
    there.then_some((ENVOY_REMOVES, named))
}

fn about(generation: &Generation, who: &Verified) -> serde_json::Value {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut told = json!({
        "logged_in": true,
        "app": generation.logins.app_name(who),
        "openid": text(who.openid()),
        "session": who.session().to_string(),
        "expires_in": generation.logins.secs_left(who),
    });
    if let (Some(unionid), Some(told)) = (who.unionid(), told.as_object_mut()) {
        told.insert("unionid".to_owned(), text(unionid).into());
    }
    told
}
