//! Decides what happens to a request, without any I/O.

use std::sync::Arc;

use http::HeaderMap;

use super::{
    Admitted, Credential, Denial, Endpoint, Field, Message, RouteTable, Survey, admit, bearer,
    credential,
};
use crate::config::{Auth, Config, Route};
use crate::session::RevokedSessions;
use crate::token::{Tokens, Verified};

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Menshen answers it itself.
    Own(Endpoint),
    /// It goes to an upstream.
    Forward(Pass),
    /// The user is logged in first, then it goes to an upstream.
    LogIn(FirstLogin),
}

/// A request that may be forwarded.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The route's index in the configuration.
    pub route: usize,
    /// Who sent it; `None` on routes that let strangers in.
    pub who: Option<Arc<Verified>>,
    /// The path and query to ask the upstream for; `None` when they are what the client sent.
    pub target: Option<String>,
    /// Whether `Authorization` holds our token, which the upstream does not get.
    pub hide_authorization: bool,
}

/// A login on the first request.
#[derive(Clone, Debug)]
pub struct FirstLogin {
    /// The code, not yet checked.
    pub code: String,
    /// The app's name, where the client gave one.
    pub app: Option<String>,
    /// How the request goes on; nobody is known yet.
    pub pass: Pass,
}

/// Everything a decision needs.
#[derive(Debug)]
pub struct Requests {
    routes: Vec<Route>,
    table: RouteTable,
    auth_path: String,
    max_header_bytes: usize,
    tokens: Arc<Tokens>,
    revoked: RevokedSessions,
}

impl Requests {
    /// Prepares the decisions that `config` asks for.
    pub fn new(config: &Config, tokens: Arc<Tokens>, revoked: RevokedSessions) -> Self {
        Self {
            table: RouteTable::new(&config.routes),
            routes: config.routes.clone(),
            auth_path: config.server.auth_path.clone(),
            max_header_bytes: config.server.max_header_bytes,
            tokens,
            revoked,
        }
    }

    /// Returns the route with this index.
    pub fn route(&self, index: usize) -> Option<&Route> {
        self.routes.get(index)
    }

    /// Decides what happens to a request.
    pub fn decide(&self, message: &Message<'_>) -> Result<Decision, Denial> {
        let request = admit(message, self.max_header_bytes)?;
        if let Some(own) = self.own(&request) {
            return own.map(Decision::Own);
        }
        let index = self.table.find(&request)?;
        let route = self.routes.get(index).ok_or(Denial::RouteUnknown)?;
        let mut pass = Pass {
            route: index,
            who: None,
            target: target(&request, message.target, route),
            hide_authorization: false,
        };
        if route.auth == Auth::Public {
            let ours = self.carries_ours(&request.survey)?;
            pass.hide_authorization = ours && !route.forward_token;
            return Ok(Decision::Forward(pass));
        }
        match credential(&request.survey)? {
            Credential::Token(token) => {
                let who = self.admit_token(token)?;
                if !route.apps.contains(&who.app()) {
                    return Err(Denial::AppNotAllowed);
                }
                pass.who = Some(who);
                pass.hide_authorization = !route.forward_token;
                Ok(Decision::Forward(pass))
            }
            Credential::Code { code, app } => Ok(Decision::LogIn(FirstLogin {
                code: code.to_owned(),
                app: app.map(str::to_owned),
                pass,
            })),
            Credential::None if route.auth == Auth::Optional => {
                pass.hide_authorization =
                    !route.forward_token && self.carries_ours(&request.survey)?;
                Ok(Decision::Forward(pass))
            }
            Credential::None => Err(Denial::TokenMissing),
        }
    }

    /// Returns who sent a request to one of our own endpoints.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Arc<Verified>, Denial> {
        self.admit_token(bearer(&Survey::of(headers))?.ok_or(Denial::TokenMissing)?)
    }

    /// Checks a token and that its session still stands.
    pub fn admit_token(&self, token: &str) -> Result<Arc<Verified>, Denial> {
        let who = self.tokens.check(token)?;
        if self.revoked.contains(who.session()) {
            return Err(Denial::SessionEnded);
        }
        Ok(who)
    }

    fn own(&self, request: &Admitted<'_>) -> Option<Result<Endpoint, Denial>> {
        let find = |path: &str| Endpoint::find(&self.auth_path, path, request.method);
        match request.path.other_reading() {
            // Neither a backend nor we may be reached by a spelling that the other reads differently.
            Some(other) if find(&other).is_some() => Some(Err(Denial::PathAmbiguous)),
            _ => find(request.path.as_str()),
        }
    }

    /// Says whether a token of ours, valid or not and however it is spelled, is in `Authorization`.
    fn carries_ours(&self, survey: &Survey<'_>) -> Result<bool, Denial> {
        let value = match survey.authorization {
            Field::Absent => return Ok(false),
            Field::Once(value) => value.as_bytes(),
            Field::Repeated => return Err(Denial::TokenAmbiguous),
        };
        let in_token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let mut words = value.split(|b| !in_token(b));
        Ok(words.any(|word| std::str::from_utf8(word).is_ok_and(|word| self.tokens.is_ours(word))))
    }
}

/// Returns the target to forward, unless it is the one that was sent.
fn target(request: &Admitted<'_>, sent: &[u8], route: &Route) -> Option<String> {
    let path = request.path.as_str();
    let path = if route.strip_prefix && route.path != "/" {
        path.strip_prefix(route.path.as_str()).unwrap_or(path)
    } else {
        path
    };
    let query = request.query.map_or(0, |query| query.len() + 1);
    if sent.len() == path.len() + query && sent.starts_with(path.as_bytes()) {
        return None;
    }
    let mut target = String::with_capacity(path.len() + query + 1);
    if !path.starts_with('/') {
        target.push('/');
    }
    target.push_str(path);
    if let Some(query) = request.query {
        target.push('?');
        target.push_str(query);
    }
    Some(target)
}
