//! Decides what happens to a request, without any I/O.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use memchr::memmem::find_iter;

use super::bearer::is_empty_bearer;
use super::{
    Client, Credential, Denial, Destination, Destinations, Endpoint, Field, Message, Rates, Survey,
    Taken, admit_stranger, bearer, credential,
};
use crate::config::{Auth, Config, Route};
use crate::session::RevokedSessions;
use crate::token::{Recalled, Tokens, Unseen, Verified};

/// How every token of ours begins: its header is JSON, in base64url.
const TOKEN_BEGINS: &[u8] = b"eyJ";
/// The most words of `Authorization` that are looked at as tokens; nobody sends that many who means no harm.
const MOST_TOKENS: usize = 8;
/// So many wrong signatures of one address are checked at once, and as many a minute: each costs as much as a hundred requests.
const WRONG_SIGNATURES: NonZeroU32 = NonZeroU32::MIN.saturating_add(599);

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
    /// The route that takes it.
    pub route: Arc<Route>,
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
    /// The nonce that proves who sent it, not yet checked.
    pub nonce: Option<String>,
    /// The app's name, where the client gave one.
    pub app: Option<String>,
    /// How the request goes on; nobody is known yet.
    pub pass: Pass,
}

/// Everything a decision needs.
#[derive(Debug)]
pub struct Requests {
    pub(super) destinations: Destinations,
    tokens: Arc<Tokens>,
    revoked: RevokedSessions,
    /// Counts the wrong signatures of each address.
    forgeries: Rates,
}

impl Requests {
    /// Prepares the decisions that `config` asks for.
    pub fn new(config: &Config, tokens: Arc<Tokens>, revoked: RevokedSessions) -> Self {
        Self {
            destinations: Destinations::new(config),
            tokens,
            revoked,
            forgeries: Rates::per_minute(WRONG_SIGNATURES),
        }
    }

    /// Gives up the memory of tokens that were verified.
    pub fn forget_tokens(&self) {
        self.tokens.forget();
    }

    /// Returns how many tokens are remembered.
    pub fn remembered_tokens(&self) -> usize {
        self.tokens.remembered()
    }

    /// Finds where a request goes, if its sender may.
    pub fn find<'a>(&'a self, message: &Message<'a>) -> Result<Destination<'a>, Denial> {
        self.destinations.find(message)
    }

    /// Decides what happens to a request.
    pub fn decide(&self, message: &Message<'_>, client: &Client) -> Result<Decision, Denial> {
        self.decide_at(self.find(message)?, client)
    }

    /// Decides what happens to a client's request that goes to a destination.
    pub fn decide_at(
        &self,
        destination: Destination<'_>,
        client: &Client,
    ) -> Result<Decision, Denial> {
        let Taken {
            route,
            request,
            target,
            ..
        } = match destination {
            Destination::Own(endpoint) => return Ok(Decision::Own(endpoint)),
            Destination::Route(taken) => taken,
        };
        let mut pass = Pass {
            route: Arc::clone(route),
            who: None,
            target,
            hide_authorization: false,
        };
        if route.auth == Auth::Public {
            let ours = self.carries_ours(&request.survey)?;
            pass.hide_authorization = ours && !route.forward_token;
            return Ok(Decision::Forward(pass));
        }
        match credential(&request.survey)? {
            Credential::Token(token) => {
                let who = self.admit_token(token, client)?;
                if !route.apps.contains(&who.app()) {
                    return Err(Denial::AppNotAllowed);
                }
                pass.who = Some(who);
                pass.hide_authorization = !route.forward_token;
                Ok(Decision::Forward(pass))
            }
            Credential::Code { code, nonce, app } => {
                let ours =
                    is_empty_bearer(&request.survey) || self.carries_ours(&request.survey)?;
                pass.hide_authorization = ours && !route.forward_token;
                Ok(Decision::LogIn(FirstLogin {
                    code: code.to_owned(),
                    nonce: nonce.map(str::to_owned),
                    app: app.map(str::to_owned),
                    pass,
                }))
            }
            Credential::None => {
                if self.carries_ours(&request.survey)? {
                    return Err(Denial::TokenSchemeMissing);
                }
                admit_stranger(route)?;
                pass.hide_authorization = !route.forward_token && is_empty_bearer(&request.survey);
                Ok(Decision::Forward(pass))
            }
        }
    }

    /// Returns who sent a request to one of our own endpoints.
    pub fn caller(&self, headers: &HeaderMap, client: &Client) -> Result<Arc<Verified>, Denial> {
        let survey = Survey::of(headers);
        self.admit_token(bearer(&survey)?.ok_or(Denial::TokenMissing)?, client)
    }

    /// Checks a client's token and that its session still stands.
    pub fn admit_token(&self, token: &[u8], client: &Client) -> Result<Arc<Verified>, Denial> {
        let who = match self.tokens.recall(token)? {
            Recalled::Valid(who) => who,
            Recalled::Unseen(token) => self.verify_token(&token, client)?,
        };
        if self.revoked.contains(who.session()) {
            return Err(Denial::SessionEnded);
        }
        if self.revoked.is_unknown() {
            return Err(Denial::StoreUnavailable);
        }
        Ok(who)
    }

    /// Checks a signature, unless too many of the client's address were wrong: tokens seen before are good all the same.
    fn verify_token(&self, token: &Unseen<'_>, client: &Client) -> Result<Arc<Verified>, Denial> {
        let now = Instant::now();
        self.forgeries.check(client, now)?;
        let checked = self.tokens.verify(token);
        if checked.as_ref().is_err_and(|error| error.is_forgery()) {
            self.forgeries.count(client, now);
        }
        Ok(checked?)
    }

    /// Says whether a token of ours, valid or not and however it is introduced, is in `Authorization`, or so much that looks like
    /// one that nobody looks any further.
    fn carries_ours(&self, survey: &Survey<'_>) -> Result<bool, Denial> {
        let value = match survey.authorization {
            Field::Absent => return Ok(false),
            Field::Once(value) => value.as_bytes(),
            Field::Repeated => return Err(Denial::TokenAmbiguous),
        };
        let in_token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let begins_word = |at: &usize| {
            let before = at.checked_sub(1).and_then(|before| value.get(before));
            !before.is_some_and(in_token)
        };
        let begins = find_iter(value, TOKEN_BEGINS).filter(begins_word);
        for (number, at) in begins.enumerate() {
            let rest = value.get(at..).unwrap_or_default();
            let word = rest.split(|b| !in_token(b)).next();
            let word = word.and_then(|word| std::str::from_utf8(word).ok());
            if number == MOST_TOKENS || word.is_some_and(|word| self.tokens.is_ours(word)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
