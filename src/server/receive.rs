//! Receives a request: decides, answers what is ours, and lets the rest through.

use std::sync::Arc;

use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::exchange::Exchange;
use super::gate::Gate;
use super::inbound::message;
use super::leaving::unless_left;
use super::phases::{Duty, Proxy};
use super::{body, own, reply};
use crate::login::{Caller, Nonce};
use crate::request::{Cors, Decision, Denial, FirstLogin, Line, Pass};

impl Proxy {
    /// Decides, answers what is ours, and lets the rest through.
    pub(super) async fn receive(
        &self,
        wire: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Option<Pass>, Denial> {
        let gate = Arc::clone(&exchange.gate);
        if let Duty::Redirect(secure) = &self.duty {
            let location = secure.location(&message(wire.req_header()))?;
            let written = reply::moved(wire, exchange, &location).await;
            return Ok(answered(wire, written));
        }
        let Gate {
            requests, origins, ..
        } = &*gate;
        let request = wire.req_header();
        if let Some(cors) = origins.preflight(requests, &message(request))? {
            exchange.cors = cors.preflight(&request.headers);
            let written = reply::no_content(wire, exchange).await;
            return Ok(answered(wire, written));
        }
        let destination = requests.find(&message(request))?;
        exchange.cors = told(origins.at(&destination), request);
        match requests.decide_at(destination)? {
            Decision::Own(endpoint) => {
                let _busy = self.gates.busy();
                let written = own::answer(&gate, wire, exchange, endpoint).await;
                Ok(answered(wire, written))
            }
            Decision::Forward(pass) => Ok(Some(pass)),
            Decision::LogIn(first) => {
                let _busy = self.gates.busy();
                self.log_in(wire, exchange, first).await.map(Some)
            }
        }
    }

    /// Logs in on the first request, which then goes on as that user's.
    async fn log_in(
        &self,
        wire: &mut Session,
        exchange: &mut Exchange,
        first: FirstLogin,
    ) -> Result<Pass, Denial> {
        let FirstLogin {
            code,
            nonce,
            app,
            mut pass,
        } = first;
        let gate = Arc::clone(&exchange.gate);
        let requests = &gate.requests;
        let route = requests.route(pass.route).ok_or(Denial::RouteUnknown)?;
        // A body that will be refused must not cost the user's code.
        if body::declared(wire).is_some_and(|length| length > route.max_body_bytes) {
            return Err(Denial::BodyTooLarge);
        }
        let referer = own::referer(wire).map(str::to_owned);
        let (app, referer) = (app.as_deref(), referer.as_deref());
        let logins = &gate.logins;
        let nonce = nonce.as_deref().map(Nonce::parse).transpose()?;
        let login = async |mut caller: Caller| {
            caller.nonce = nonce;
            let login = logins.log_in_with(&code, app, Some(&route.apps), referer, &caller);
            unless_left(wire, login).await
        };
        let grant = gate.counting(exchange, login).await?;
        let token = grant.token.expose().to_owned();
        exchange.grant = Some(grant);
        pass.who = Some(requests.admit_token(token.as_bytes())?);
        Ok(pass)
    }
}

/// Returns what an answer says about web pages of other origins.
pub(super) fn told(cors: Option<&Cors>, request: &RequestHeader) -> Vec<Line> {
    cors.map_or_else(Vec::new, |cors| cors.actual(&request.headers))
}

/// Ends an exchange that we answered ourselves; nothing is left to pass on.
fn answered(wire: &mut Session, written: pingora::Result<()>) -> Option<Pass> {
    if let Err(error) = written {
        tracing::debug!(%error, "an answer could not be written");
        wire.set_keepalive(None);
    }
    None
}
