//! Answers browsers: logins by way of WeChat, and tickets.

use bytes::Bytes;
use http::Method;
use http::header::ACCEPT_LANGUAGE;

use super::client::Client;
use super::generation::Generation;
use super::login;
use super::outcome::Outcome;
use super::reply::{self, Reply};
use super::state::Exchange;
use super::wait::unless_left;
use crate::config::code_in;
use crate::login::{BrowserOrigin, Callback, ReturnTo, Started, explain};
use crate::page::Language;
use crate::request::{Caller, CredentialKind, Denial, Endpoint, SignIn};
use crate::server::message::RequestHead;
use crate::server::timer::Timer;

/// Where a browser is sent.
enum BrowserAnswer {
    To(String),
    Text(String),
}

/// A refusal, and to which app and place a person may log in again.
struct Refused {
    denial: Denial,
    app: Option<String>,
    return_to: Option<ReturnTo>,
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Self {
            denial,
            app: None,
            return_to: None,
        }
    }
}

/// Answers one of the endpoints that browsers open.
pub(super) async fn answer(
    generation: &Generation,
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
    endpoint: Endpoint,
) -> Outcome {
    let answered = match endpoint {
        Endpoint::Web => begin(generation, exchange, head),
        Endpoint::WebCallback => come_back(generation, client, exchange, head).await,
        Endpoint::TicketUse => use_ticket(generation, client, exchange, head).await,
        Endpoint::DomainCheck => domain_check(head).map_err(Refused::from),
        Endpoint::Login
        | Endpoint::Refresh
        | Endpoint::Session
        | Endpoint::Logout
        | Endpoint::Jwks
        | Endpoint::Ticket
        | Endpoint::Sign
        | Endpoint::Verify => Err(Denial::RouteUnknown.into()),
    };
    match answered {
        Ok(answer) => {
            let reply = match answer {
                BrowserAnswer::To(location) => Reply::found(&location),
                BrowserAnswer::Text(text) => Reply::text(Bytes::from(text)),
            };
            reply::answer(client, timer, exchange, head, reply).await
        }
        Err(refused) => refuse(generation, client, timer, exchange, head, refused).await,
    }
}

/// Sends a person who loads a page to WeChat.
pub(super) async fn sign_in(
    generation: &Generation,
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
    sign_in: SignIn,
) -> Outcome {
    let started = match sign_in.app {
        Some(app) => generation
            .logins
            .return_to(Some(&sign_in.return_to))
            .and_then(|return_to| {
                let browser = browser_origin(exchange);
                generation
                    .logins
                    .begin(app, &return_to, &browser, &head.headers)
            }),
        None => Err(Denial::OtherBrowser),
    };
    match started {
        Ok(Started { location, cookies }) => {
            exchange.cookies.extend(cookies);
            let reply = Reply::found(&location);
            reply::answer(client, timer, exchange, head, reply).await
        }
        Err(denial) => refuse(generation, client, timer, exchange, head, denial.into()).await,
    }
}

/// Returns where the browser is.
pub(super) fn browser_origin(exchange: &Exchange) -> BrowserOrigin {
    let host = exchange.client.host.as_ref();
    let host = host.and_then(|host| host.to_str().ok());
    BrowserOrigin {
        https: exchange.is_https(),
        host: host.unwrap_or_default().to_owned(),
    }
}

fn begin(
    generation: &Generation,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<BrowserAnswer, Refused> {
    only_get(head)?;
    let name = generation.requests.named(head.path());
    let app = generation.logins.web_app(name)?;
    let asked = parameter(head, "return_to")?;
    let return_to = generation.logins.return_to(asked.as_deref())?;
    let refused = |denial, return_to| Refused {
        denial,
        app: Some(name.to_owned()),
        return_to: Some(return_to),
    };
    let asker = exchange.asker(&head.headers);
    // Who comes from another site is asked first, and an image or a frame there begins nothing.
    if asker.is_referred_from_elsewhere() {
        return Err(refused(Denial::OriginNotAllowed, return_to));
    }
    let begun = generation
        .logins
        .begin(app, &return_to, &browser_origin(exchange), &head.headers);
    let Started { location, cookies } = begun.map_err(|denial| refused(denial, return_to))?;
    exchange.cookies.extend(cookies);
    Ok(BrowserAnswer::To(location))
}

async fn come_back(
    generation: &Generation,
    client: &mut Client<'_>,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<BrowserAnswer, Refused> {
    only_get(head)?;
    exchange.credential = Some(CredentialKind::LoginCode);
    let name = generation.requests.named(head.path());
    let app = generation.logins.web_app(name)?;
    let browser = browser_origin(exchange);
    let mut return_to = None;
    let mut cookies = Vec::new();
    let login = async |caller| {
        let query = head.query();
        let finish = async {
            let finished = generation
                .logins
                .finish(app, query, &browser, &head.headers, &caller);
            let Callback {
                outcome,
                return_to: end,
                cookies: lines,
            } = finished.await;
            (return_to, cookies) = (end, lines);
            outcome
        };
        unless_left(client, finish).await
    };
    let granted = login::counted(exchange, head, login).await;
    exchange.cookies.extend(cookies);
    match granted {
        Ok(_) => Ok(BrowserAnswer::To(
            return_to.as_ref().map_or("/", ReturnTo::as_str).to_owned(),
        )),
        Err(denial) => {
            // Who goes back in the history and comes again has what they came for.
            if let Some(return_to) = &return_to
                && is_over(&denial)
                && is_logged_in_to(generation, exchange, head, app)
            {
                return Ok(BrowserAnswer::To(return_to.as_str().to_owned()));
            }
            Err(Refused {
                denial,
                app: Some(name.to_owned()),
                return_to,
            })
        }
    }
}

/// Returns whether a login is over and not gone wrong.
fn is_over(denial: &Denial) -> bool {
    matches!(denial, Denial::CodeUsed(_) | Denial::StateInvalid(_))
}

fn is_logged_in_to(
    generation: &Generation,
    exchange: &Exchange,
    head: &RequestHead,
    app: usize,
) -> bool {
    let asker = exchange.asker(&head.headers);
    match generation.requests.caller(&head.method, &asker) {
        Ok(Caller::Known(who)) => who.app() == app,
        Ok(Caller::Lapsed(_)) | Err(_) => false,
    }
}

async fn use_ticket(
    generation: &Generation,
    client: &mut Client<'_>,
    exchange: &mut Exchange,
    head: &RequestHead,
) -> Result<BrowserAnswer, Refused> {
    // A preview that asks for the head must not use it up.
    only_get(head)?;
    exchange.credential = Some(CredentialKind::Ticket);
    if exchange.asker(&head.headers).is_from_elsewhere() {
        // Nobody is to be made somebody else by a page.
        return Err(Denial::OriginNotAllowed.into());
    }
    let asked = parameter(head, "return_to")?;
    let return_to = generation.logins.return_to(asked.as_deref())?;
    let browser = browser_origin(exchange);
    let ticket = generation.requests.named(head.path());
    let redeem = async |caller| {
        let redeem =
            generation
                .logins
                .redeem_ticket(ticket, &browser, &caller, &generation.requests);
        unless_left(client, redeem).await
    };
    let granted = login::counted(exchange, head, redeem).await?;
    exchange.cookies.push(granted.cookie);
    Ok(BrowserAnswer::To(return_to.as_str().to_owned()))
}

fn domain_check(head: &RequestHead) -> Result<BrowserAnswer, Denial> {
    let name = head.path().trim_start_matches('/');
    let code = code_in(name).ok_or(Denial::RouteUnknown)?;
    Ok(BrowserAnswer::Text(code.to_owned()))
}

async fn refuse(
    generation: &Generation,
    client: &mut Client<'_>,
    timer: &mut Timer,
    exchange: &mut Exchange,
    head: &RequestHead,
    refused: Refused,
) -> Outcome {
    let Refused {
        denial,
        app,
        return_to,
    } = refused;
    if !exchange.asker(&head.headers).loads_a_page(&head.method) {
        return reply::refuse(client, timer, exchange, head, denial).await;
    }
    let accept = head.headers.get(ACCEPT_LANGUAGE);
    let page = explain(
        &denial,
        Language::of(accept.and_then(|accept| accept.to_str().ok())),
        exchange.request_id.as_str(),
        generation.requests.auth_path(),
        app.as_deref().map(|app| (app, return_to.as_ref())),
    );
    reply::refuse_with_page(client, timer, exchange, head, denial, page).await
}

fn only_get(head: &RequestHead) -> Result<(), Denial> {
    match head.method {
        Method::GET => Ok(()),
        _ => Err(Denial::MethodNotAllowed(vec![Method::GET])),
    }
}

fn parameter(head: &RequestHead, name: &str) -> Result<Option<String>, Denial> {
    let query = head.query().unwrap_or_default();
    let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Ok(Some(value.into_owned())),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Denial::ReturnInvalid),
    }
}
