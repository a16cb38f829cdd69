//! Receives a request: counts it, decides, answers what is ours, and lets the rest through.

use std::sync::Arc;
use std::time::Instant;

use super::client::Client;
use super::generation::Generation;
use super::outcome::Outcome;
use super::proxy::{Duty, Proxy};
use super::reply::{self, Reply};
use super::state::{Decision as Decided, Exchange};
use super::wait::unless_left;
use super::{cookie_session, login, own, web};
use crate::config::Auth;
use crate::login::{Caller, Nonce};
use crate::request::{Cors, Decision, Denial, FirstLogin, Line, Pass, Renewal, named_hops};
use crate::server::message::RequestHead;
use crate::server::timer::Timer;

/// What became of a request.
pub(super) enum Received {
    /// It goes to a server.
    Pass(Pass),
    /// It was answered.
    Answered(Outcome),
}

impl Proxy {
    /// Decides, answers what is ours, and lets the rest through.
    pub(super) async fn receive(
        &self,
        client: &mut Client<'_>,
        timer: &mut Timer,
        exchange: &mut Exchange,
        head: &RequestHead,
    ) -> Result<Received, Denial> {
        let generation = Arc::clone(&exchange.generation);
        let Generation {
            requests, origins, ..
        } = &*generation;
        // Until it is known where the request goes.
        exchange.cors = lines(origins.all(), head);
        self.count(&generation, exchange)?;
        let message = head.message();
        let admitted = named_hops(&head.headers).and_then(|_| requests.find(&message));
        if matches!(admitted, Err(Denial::BadRequest(_))) {
            // Where its parts can be read in two ways, what follows may be one of them.
            client.close_after();
        }
        if let Duty::Redirect(secure) = &self.duty {
            let location = secure.location(&message)?;
            let reply = Reply::moved(&location);
            let sent = reply::answer(client, timer, exchange, head, reply).await;
            return Ok(Received::Answered(sent));
        }
        if let Some(cors) = origins.preflight(requests, &message)? {
            exchange.cors = cors.preflight(&head.headers);
            let reply = Reply::no_content();
            let sent = reply::answer(client, timer, exchange, head, reply).await;
            return Ok(Received::Answered(sent));
        }
        let destination = admitted?;
        exchange.cors = lines(origins.at(&destination), head);
        exchange.owns_cors = origins.at(&destination).is_some();
        let route = destination.route();
        let decided = requests.decide_at(destination, &exchange.asker(&head.headers));
        exchange.decided_in = Some(exchange.started.elapsed());
        if decided.is_err() {
            // Who asks why wants to know where it would have gone.
            exchange.route = route.map(Arc::clone);
        }
        match decided? {
            Decision::Own(endpoint) => {
                let _busy = self.generations.busy();
                // Boxed, since nearly every exchange is forwarded and would have room for this in its state.
                let answering = Box::pin(own::answer(
                    &generation,
                    client,
                    timer,
                    exchange,
                    head,
                    endpoint,
                ));
                Ok(Received::Answered(answering.await))
            }
            Decision::Forward(pass) => admit(exchange, head, pass),
            Decision::Renew(renewal) => {
                let _busy = self.generations.busy();
                let Renewal {
                    cookie,
                    mut pass,
                    otherwise,
                } = *renewal;
                match Box::pin(cookie_session::renew(
                    &generation,
                    exchange,
                    &cookie,
                    &pass.route,
                ))
                .await
                {
                    Ok(who) => {
                        pass.who = Some(who);
                        admit(exchange, head, pass)
                    }
                    Err(denial) => match otherwise.filter(|_| denial.ends_session()) {
                        Some(sign_in) => {
                            let sent =
                                web::sign_in(&generation, client, timer, exchange, head, sign_in);
                            Ok(Received::Answered(Box::pin(sent).await))
                        }
                        None => Err(denial),
                    },
                }
            }
            Decision::SignIn(sign_in) => {
                let sent = web::sign_in(&generation, client, timer, exchange, head, sign_in);
                Ok(Received::Answered(Box::pin(sent).await))
            }
            Decision::LogIn(first) => {
                let _busy = self.generations.busy();
                let pass = Box::pin(self.log_in(client, exchange, head, first)).await?;
                admit(exchange, head, pass)
            }
        }
    }

    /// Refuses a client that has asked too often, too much at a time or from too many connections.
    fn count(&self, generation: &Generation, exchange: &mut Exchange) -> Result<(), Denial> {
        if matches!(self.duty, Duty::Refuse) {
            return Err(Denial::TooManyConnections);
        }
        let client = &exchange.client;
        if let Some(rates) = &generation.rates {
            rates.admit(client, Instant::now())?;
        }
        if let Some(in_flight) = &generation.in_flight {
            exchange.permit = in_flight.enter(client, &generation.trusted_proxies)?;
        }
        Ok(())
    }

    /// Logs in on the first request, which then goes on as that user's.
    async fn log_in(
        &self,
        client: &mut Client<'_>,
        exchange: &mut Exchange,
        head: &RequestHead,
        first: FirstLogin,
    ) -> Result<Pass, Denial> {
        let FirstLogin {
            code,
            nonce,
            app,
            mut pass,
        } = first;
        let generation = Arc::clone(&exchange.generation);
        exchange.route = Some(Arc::clone(&pass.route));
        // A body that will be refused must not cost the user's code.
        if is_too_large(head, &pass) {
            return Err(Denial::BodyTooLarge);
        }
        let (app, referer) = (app.as_deref(), login::referer(head));
        let logins = &generation.logins;
        let nonce = nonce.as_deref().map(Nonce::parse).transpose()?;
        let login = async |mut caller: Caller| {
            caller.nonce = nonce;
            let login = logins.log_in_with(&code, app, Some(&pass.route.apps), referer, &caller);
            unless_left(client, login).await
        };
        let grant = login::counted(exchange, head, login).await?;
        let token = grant.token.expose().to_owned();
        exchange.grant = Some(grant);
        pass.who = Some(
            generation
                .requests
                .admit_token(token.as_bytes(), &exchange.client)?,
        );
        Ok(pass)
    }
}

/// Lets a request through to its route.
fn admit(exchange: &mut Exchange, head: &RequestHead, pass: Pass) -> Result<Received, Denial> {
    exchange.route = Some(Arc::clone(&pass.route));
    exchange.credential = Some(pass.credential);
    if is_too_large(head, &pass) {
        return Err(Denial::BodyTooLarge);
    }
    exchange.decision = match &pass.who {
        _ if pass.route.auth == Auth::Public => Decided::Public,
        Some(_) => Decided::Authenticated,
        None => Decided::Anonymous,
    };
    // A session does not end before its tokens do, unless it is revoked.
    let who = pass.who.as_ref();
    exchange.session = who.map(|who| (*who.session(), who.expires()));
    Ok(Received::Pass(pass))
}

fn is_too_large(head: &RequestHead, pass: &Pass) -> bool {
    let length = head.body.length();
    length.is_some_and(|length| length > pass.route.max_body_bytes)
}

/// Returns what an answer says about web pages of other origins.
fn lines(cors: Option<&Cors>, head: &RequestHead) -> Vec<Line> {
    cors.map_or_else(Vec::new, |cors| cors.actual(&head.headers))
}
